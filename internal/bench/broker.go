package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// maxRecordBytes is what the brokers take: records of 1 MiB and what is around them.
const maxRecordBytes = 2 << 20

// runBroker is the role of a Kafka cluster. It writes the addresses of its brokers as one line of JSON, and ends when its input
// does.
func runBroker(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("broker", flag.ContinueOnError)
	brokers := flags.Int("brokers", 1, "how many")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(*brokers),
		kfake.BrokerConfigs(map[string]string{"message.max.bytes": strconv.Itoa(maxRecordBytes)}))
	if err != nil {
		return err
	}
	defer cluster.Close()
	if err := json.NewEncoder(out).Encode(cluster.ListenAddrs()); err != nil {
		return err
	}
	untilEnd(ctx, in)
	return nil
}

// untilEnd returns when whoever started this process has closed its input, or has ended.
func untilEnd(ctx context.Context, in io.Reader) {
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, in)
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}

// kafka is the broker process, as the one who started it sees it.
type kafka struct {
	process *child
	addrs   []string
	client  *kgo.Client
	admin   *kadm.Client
}

// batchBytes is batch.size of the Java producer, which collects so much of a partition before it sends.
const batchBytes = 16 << 10

func (l *lab) startKafka(ctx context.Context, brokers int) (*kafka, error) {
	process, err := l.startRole(ctx, "broker", "-brokers", strconv.Itoa(brokers))
	if err != nil {
		return nil, err
	}
	k := &kafka{process: process}
	if err := process.answer(&k.addrs); err != nil {
		k.stop()
		return nil, err
	}
	k.client, err = kgo.NewClient(kgo.SeedBrokers(k.addrs...))
	if err != nil {
		k.stop()
		return nil, err
	}
	k.admin = kadm.NewClient(k.client)
	return k, nil
}

func (k *kafka) stop() {
	if k.client != nil {
		k.client.Close()
	}
	k.process.kill()
}

// create makes a topic, and one for its dead letters.
func (k *kafka) create(ctx context.Context, topic string, partitions int32) error {
	for name, n := range map[string]int32{topic: partitions, deadLetters(topic): 1} {
		if _, err := k.admin.CreateTopic(ctx, n, 1, nil, name); err != nil {
			return fmt.Errorf("create topic %s: %w", name, err)
		}
	}
	return nil
}

func deadLetters(topic string) string { return topic + ".dlq" }

// publish writes the records of a load to a topic. They are in batches of 16 KiB without compression, the default of the Java
// producer under load; a record that is larger has a batch of its own.
func (k *kafka) publish(ctx context.Context, topic string, l load) error {
	producer, err := kgo.NewClient(kgo.SeedBrokers(k.addrs...), kgo.DefaultProduceTopic(topic),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerBatchMaxBytes(int32(max(batchBytes, l.bytes+1024))),
		kgo.MaxBufferedBytes(64<<20))
	if err != nil {
		return err
	}
	defer producer.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for r := range l.all() {
		producer.Produce(ctx, r, func(_ *kgo.Record, err error) {
			if err != nil {
				cancel(fmt.Errorf("publish: %w", err))
			}
		})
	}
	if err := producer.Flush(ctx); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return context.Cause(ctx)
}

// end returns the number of records of a topic from which nothing was deleted.
func (k *kafka) end(ctx context.Context, topic string) (total int64, err error) {
	listed, err := k.admin.ListEndOffsets(ctx, topic)
	if err == nil {
		err = listed.Error()
	}
	listed.Each(func(o kadm.ListedOffset) { total += o.Offset })
	return total, err
}

// stable reports whether a group has members that work.
func (k *kafka) stable(ctx context.Context, group string) (bool, error) {
	groups, err := k.admin.DescribeGroups(ctx, group)
	return groups[group].State == "Stable", err
}
