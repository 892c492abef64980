package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What the consumer is told.
const (
	topic           = "user.signup"
	deadLetterTopic = topic + ".dlq"
	group           = "signup-sheet"
)

// broker is an embedded Kafka with a client of its own: what the consumer did is read back over the wire.
type broker struct {
	cluster *kfake.Cluster
	addr    string // host:port
	client  *kgo.Client
	admin   *kadm.Client
	reader  *kgo.Client // of both topics
	reading sync.WaitGroup
}

// startBroker starts Kafka on a port of the loopback interface, 0 for a free one, and creates both topics.
func startBroker(port int) (*broker, error) {
	cluster, err := kfake.NewCluster(kfake.Ports(port))
	if err != nil {
		return nil, fmt.Errorf("--broker-port: start the embedded Kafka: %w (choose another port, or leave it out for a free one)", err)
	}
	b := &broker{cluster: cluster, addr: cluster.ListenAddrs()[0]}
	err = errors.Join(
		cluster.CreateTopic(topic, 6, nil),
		cluster.CreateTopic(deadLetterTopic, 3, map[string]string{"cleanup.policy": "delete"}),
	)
	if err == nil {
		b.client, err = kgo.NewClient(kgo.SeedBrokers(b.addr))
	}
	if err == nil {
		b.admin = kadm.NewClient(b.client)
		b.reader, err = kgo.NewClient(kgo.SeedBrokers(b.addr), kgo.ConsumeTopics(topic, deadLetterTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	}
	if err != nil {
		b.close()
		return nil, fmt.Errorf("set up the embedded Kafka: %w", err)
	}
	return b, nil
}

// publish hands the record over to Kafka and calls done when Kafka has it or refuses it.
func (b *broker) publish(ctx context.Context, r record, done func(*kgo.Record, error)) {
	b.client.Produce(ctx, &kgo.Record{Topic: topic, Key: r.key, Value: r.value}, done)
}

// flush waits until Kafka has everything that was published.
func (b *broker) flush(ctx context.Context) error { return b.client.Flush(ctx) }

// position is where a record of the source topic is.
type position struct {
	partition int32
	offset    int64
}

func (p position) String() string { return fmt.Sprintf("%s/%d@%d", topic, p.partition, p.offset) }

// deadLetter is what one says of itself.
type deadLetter struct {
	origin position
	class  string
	reason string
	time   time.Time
	value  []byte // of the record, as it was
}

// read calls published for each record of the source topic and died for each dead letter, until close.
func (b *broker) read(published func(*kgo.Record), died func(deadLetter, error)) {
	b.reading.Go(func() {
		for {
			fetches := b.reader.PollFetches(context.Background()) // close ends it
			if fetches.IsClientClosed() {
				return
			}
			fetches.EachRecord(func(r *kgo.Record) {
				if r.Topic == deadLetterTopic {
					died(parseDeadLetter(r))
				} else {
					published(r)
				}
			})
		}
	})
}

func parseDeadLetter(r *kgo.Record) (deadLetter, error) {
	headers := map[string]string{}
	for _, h := range r.Headers {
		headers[h.Key] = string(h.Value)
	}
	partition, err := strconv.ParseInt(headers["__connect.errors.partition"], 10, 32)
	offset, err2 := strconv.ParseInt(headers["__connect.errors.offset"], 10, 64)
	if headers["__connect.errors.topic"] != topic || err != nil || err2 != nil {
		return deadLetter{}, fmt.Errorf("dead letter %s/%d@%d does not say where it comes from", r.Topic, r.Partition, r.Offset)
	}
	return deadLetter{
		origin: position{int32(partition), offset},
		class:  headers["signup_sheet.dlq.class"],
		reason: headers["__connect.errors.exception.message"],
		time:   r.Timestamp,
		value:  r.Value,
	}, nil
}

// offsets is an offset of each partition of a topic.
type offsets map[int32]int64

// sum is the number of records if these are the ends and nothing was deleted.
func (o offsets) sum() (total int64) {
	for _, offset := range o {
		total += offset
	}
	return total
}

// committed returns how far the group is: nowhere before it exists.
func (b *broker) committed(ctx context.Context) (offsets, error) {
	responses, err := b.admin.FetchOffsets(ctx, group)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("fetch the offsets of the group %s: %w", group, err)
	}
	found := offsets{}
	for partition, response := range responses[topic] {
		if response.Err != nil {
			return nil, fmt.Errorf("fetch the offset of %s/%d: %w", topic, partition, response.Err)
		}
		found[partition] = response.At
	}
	return found, nil
}

// ends returns where the partitions of a topic end.
func (b *broker) ends(ctx context.Context, topic string) (offsets, error) {
	listed, err := b.admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("list the end offsets of %s: %w", topic, err)
	}
	found := offsets{}
	for partition, end := range listed[topic] {
		if end.Err != nil {
			return nil, fmt.Errorf("list the end offset of %s/%d: %w", topic, partition, end.Err)
		}
		found[partition] = end.Offset
	}
	return found, nil
}

// stable tells whether the group is at rest: no member is on its way in or out.
func (b *broker) stable() bool {
	info := b.cluster.GroupInfo(group)
	return info != nil && info.State == "Stable"
}

func (b *broker) close() {
	if b.reader != nil {
		b.reader.Close()
	}
	b.reading.Wait()
	if b.client != nil {
		b.client.Close()
	}
	b.cluster.Close()
}
