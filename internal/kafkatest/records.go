package kafkatest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Produce writes records to a topic, in their order within a partition, and returns when all replicas in sync have
// them; each record's Offset, Partition and (if it was zero) Timestamp are set then. A Partition of zero or more is where
// the record goes; -1 leaves that to Kafka's hash of the key, or to a round for a null key.
func (c *Cluster) Produce(t testing.TB, topic string, records ...*kgo.Record) {
	t.Helper()
	for _, r := range records {
		r.Topic = topic
	}
	if err := c.producer.Load().ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatalf("produce to %s: %v", topic, err)
	}
}

// Transact writes records in one transaction of a producer that has a transactional id, and returns when their partitions
// are decided to their ends. A broker answers the end of a transaction before its markers are in the log
// (https://cwiki.apache.org/confluence/display/KAFKA/KIP-98+-+Exactly+Once+Delivery+and+Transactional+Messaging, 5.2).
// Meanwhile nothing else may write to the topic.
func (c *Cluster) Transact(t testing.TB, producer *kgo.Client, end kgo.TransactionEndTry, topic string, records ...*kgo.Record) {
	t.Helper()
	for _, r := range records {
		r.Topic = topic
	}
	if err := producer.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := producer.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := producer.EndTransaction(t.Context(), end); err != nil {
		t.Fatal(err)
	}
	poll(t, "markers of a transaction in "+topic, func(context.Context) error {
		if stable, ends := c.stableOffsets(t, topic), c.EndOffsets(t, topic); !maps.Equal(stable, ends) {
			return fmt.Errorf("the partitions are decided to %v, and end at %v", stable, ends)
		}
		return nil
	})
}

// renewProducer makes later calls of Produce ask anew which topics and partitions there are; a franz-go producer knows
// those it has seen for minutes. Calls under way go on with the producer that they have.
func (c *Cluster) renewProducer(t testing.TB) {
	t.Helper()
	c.producer.Store(c.Client(t, kgo.RecordPartitioner(chosenPartition())))
}

// chosenPartition sends a record to the partition that it names.
func chosenPartition() kgo.Partitioner {
	byKey := kgo.StickyKeyPartitioner(nil)
	return kgo.BasicConsistentPartitioner(func(topic string) func(*kgo.Record, int) int {
		hash, round := byKey.ForTopic(topic), -1
		return func(r *kgo.Record, n int) int {
			switch {
			case r.Partition >= 0:
				return int(r.Partition)
			case r.Key != nil:
				return hash.Partition(r, n)
			default:
				round++
				return round % n
			}
		}
	})
}

// ReadAll returns the records of a topic from its start to its current end, by partition and offset. It leaves out
// control records, aborted transactions and all that follows the start of an undecided one.
func (c *Cluster) ReadAll(t testing.TB, topic string) []*kgo.Record {
	t.Helper()
	at, ends := c.StartOffsets(t, topic), c.stableOffsets(t, topic)
	var records []*kgo.Record
	for _, partition := range slices.Sorted(maps.Keys(ends)) {
		poll(t, fmt.Sprintf("read %s partition %d to offset %d", topic, partition, ends[partition]), func(ctx context.Context) error {
			for at[partition] < ends[partition] {
				fetched, next, err := c.fetch(ctx, topic, partition, at[partition])
				if err != nil {
					return err
				}
				if next == at[partition] {
					return fmt.Errorf("nothing at offset %d", next)
				}
				records, at[partition] = append(records, fetched...), next
			}
			return nil
		})
	}
	// What was appended after the question for the end is not part of the answer.
	return slices.DeleteFunc(records, func(r *kgo.Record) bool { return r.Offset >= ends[r.Partition] })
}

// fetch asks the leader once and returns records from an offset on, and the offset to go on from.
func (c *Cluster) fetch(ctx context.Context, topic string, partition int32, offset int64) ([]*kgo.Record, int64, error) {
	topics, err := c.admin.ListTopics(ctx, topic)
	if err != nil {
		return nil, offset, err
	}
	detail, found := topics[topic]
	if err := cmp.Or(detail.Err, detail.Partitions[partition].Err); err != nil || !found {
		return nil, offset, fmt.Errorf("metadata of %s: %w", topic, cmp.Or(err, error(kerr.UnknownTopicOrPartition)))
	}
	req := fetchRequest(detail, partition, offset)
	answer, err := c.client.Broker(int(detail.Partitions[partition].Leader)).RetriableRequest(ctx, req)
	if err != nil {
		return nil, offset, err
	}
	response := answer.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(response.ErrorCode); err != nil {
		return nil, offset, err
	}
	if len(response.Topics) != 1 || len(response.Topics[0].Partitions) != 1 {
		return nil, offset, nil
	}
	got, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		Offset:         offset,
		IsolationLevel: kgo.ReadCommitted(),
		Topic:          topic,
		Partition:      partition,
	}, &response.Topics[0].Partitions[0], kgo.DefaultDecompressor(), nil)
	return got.Records, next, got.Err
}

func fetchRequest(topic kadm.TopicDetail, partition int32, offset int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis = 100
	req.MinBytes = 1
	req.MaxBytes = 16 << 20
	req.IsolationLevel = 1
	part := kmsg.NewFetchRequestTopicPartition()
	part.Partition = partition
	part.FetchOffset = offset
	part.PartitionMaxBytes = 4 << 20
	in := kmsg.NewFetchRequestTopic()
	in.Topic = topic.Topic
	in.TopicID = topic.ID
	in.Partitions = []kmsg.FetchRequestTopicPartition{part}
	req.Topics = []kmsg.FetchRequestTopic{in}
	return req
}
