package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// CreateTopic creates a topic and waits until every partition has a leader that serves it, and every broker speaks of it:
// one learns of it from the controller some time after the other. On Apache Kafka it has as many replicas as there are
// brokers, at most 3, and its records are kept unless configs has a retention.ms: as on kfake, tests may write old ones.
func (c *Cluster) CreateTopic(t testing.TB, name string, partitions int32, configs map[string]string) {
	t.Helper()
	if c.fake != nil {
		if err := c.fake.CreateTopic(name, partitions, configs); err != nil {
			t.Fatalf("create topic %s: %v", name, err)
		}
		return
	}
	forever := "-1"
	settings := map[string]*string{"retention.ms": &forever}
	for k, v := range configs {
		settings[k] = &v
	}
	replicas := int16(min(3, c.brokers))
	if _, err := c.admin.CreateTopic(t.Context(), partitions, replicas, settings, name); err != nil {
		t.Fatalf("create topic %s: %v", name, err)
	}
	if c.tidy {
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
			defer cancel()
			if _, err := c.admin.DeleteTopic(ctx, name); err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
				t.Logf("delete topic %s: %v", name, err)
			}
		})
	}
	c.waitPartitions(t, name, int(partitions))
}

// DeleteTopic deletes a topic and waits until no broker speaks of it any more, so that it can be created again.
func (c *Cluster) DeleteTopic(t testing.TB, name string) {
	t.Helper()
	defer c.renewProducer(t)
	if c.fake != nil {
		if err := c.fake.DeleteTopic(name); err != nil {
			t.Fatalf("delete topic %s: %v", name, err)
		}
		return
	}
	if _, err := c.admin.DeleteTopic(t.Context(), name); err != nil {
		t.Fatalf("delete topic %s: %v", name, err)
	}
	poll(t, "deletion of topic "+name, func(ctx context.Context) error {
		return c.eachBroker(ctx, name, func(topic kmsg.MetadataResponseTopic) error {
			if err := kerr.ErrorForCode(topic.ErrorCode); !errors.Is(err, kerr.UnknownTopicOrPartition) {
				return fmt.Errorf("still there (%w)", err)
			}
			return nil
		})
	})
}

// eachBroker asks every broker of Apache Kafka what it says of a topic.
func (c *Cluster) eachBroker(ctx context.Context, topic string, says func(kmsg.MetadataResponseTopic) error) error {
	brokers, err := c.admin.BrokerMetadata(ctx)
	if err != nil {
		return err
	}
	for _, id := range brokers.Brokers.NodeIDs() {
		said, err := metadataOf(ctx, c.client.Broker(int(id)), topic)
		if err == nil {
			err = says(said)
		}
		if err != nil {
			return fmt.Errorf("broker %d: %w", id, err)
		}
	}
	return nil
}

// metadataOf is what a broker says of a topic now; kadm's answers may be older.
func metadataOf(ctx context.Context, broker kmsg.Requestor, topic string) (kmsg.MetadataResponseTopic, error) {
	of := kmsg.NewMetadataRequestTopic()
	of.Topic = &topic
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{of}
	res, err := req.RequestWith(ctx, broker)
	if err != nil {
		return kmsg.MetadataResponseTopic{}, err
	}
	return res.Topics[0], nil
}

// TopicID is a topic's id as a broker has it now, zero if it knows no such topic. It hears of a new one a moment after
// the controller's answer.
func (c *Cluster) TopicID(t testing.TB, topic string) kadm.TopicID {
	t.Helper()
	said, err := metadataOf(t.Context(), c.client, topic)
	if err != nil {
		t.Fatalf("metadata of %s: %v", topic, err)
	}
	return said.TopicID
}

// DeleteRecords removes the records of a partition below an offset, as retention does.
func (c *Cluster) DeleteRecords(t testing.TB, topic string, partition int32, before int64) {
	t.Helper()
	var err error
	if c.fake != nil {
		err = c.fake.DeleteRecords(topic, partition, before)
	} else {
		offsets := kadm.Offsets{}
		offsets.AddOffset(topic, partition, before, -1)
		var responses kadm.DeleteRecordsResponses
		if responses, err = c.admin.DeleteRecords(t.Context(), offsets); err == nil {
			err = responses.Error()
		}
	}
	if err != nil {
		t.Fatalf("delete records of %s partition %d before %d: %v", topic, partition, before, err)
	}
}

// AddPartitions raises the number of a topic's partitions to total and waits until all have a leader that serves them, and
// every broker speaks of them.
func (c *Cluster) AddPartitions(t testing.TB, topic string, total int) {
	t.Helper()
	responses, err := c.admin.UpdatePartitions(t.Context(), total, topic)
	if err == nil {
		err = responses.Error()
	}
	if err != nil {
		t.Fatalf("raise partitions of %s to %d: %v", topic, total, err)
	}
	c.waitPartitions(t, topic, total)
	c.renewProducer(t)
}

// waitPartitions returns when all brokers speak of all partitions, and the leaders of all answer for them.
func (c *Cluster) waitPartitions(t testing.TB, topic string, n int) {
	t.Helper()
	poll(t, fmt.Sprintf("%d partitions of %s", n, topic), func(ctx context.Context) error {
		ends, err := offsets(c.admin.ListEndOffsets(ctx, topic))
		switch {
		case err != nil:
			return err
		case len(ends) != n:
			return fmt.Errorf("%d partitions", len(ends))
		case c.fake != nil: // its brokers know all at once
			return nil
		}
		return c.eachBroker(ctx, topic, func(said kmsg.MetadataResponseTopic) error {
			if err := kerr.ErrorForCode(said.ErrorCode); err != nil {
				return err
			}
			if len(said.Partitions) != n {
				return fmt.Errorf("%d partitions", len(said.Partitions))
			}
			return nil
		})
	})
}

// StartOffsets returns the first offset of each partition.
func (c *Cluster) StartOffsets(t testing.TB, topic string) map[int32]int64 {
	t.Helper()
	return c.listOffsets(t, topic, "start", c.admin.ListStartOffsets)
}

// EndOffsets returns the high watermark of each partition: the offset that the next record gets.
func (c *Cluster) EndOffsets(t testing.TB, topic string) map[int32]int64 {
	t.Helper()
	return c.listOffsets(t, topic, "end", c.admin.ListEndOffsets)
}

// stableOffsets returns for each partition the offset below which every transaction is decided.
func (c *Cluster) stableOffsets(t testing.TB, topic string) map[int32]int64 {
	t.Helper()
	return c.listOffsets(t, topic, "stable", c.admin.ListCommittedOffsets)
}

func (c *Cluster) listOffsets(
	t testing.TB, topic, which string, list func(context.Context, ...string) (kadm.ListedOffsets, error),
) (found map[int32]int64) {
	t.Helper()
	poll(t, which+" offsets of "+topic, func(ctx context.Context) (err error) {
		found, err = offsets(list(ctx, topic))
		return err
	})
	return found
}

// offsets flattens the answer about one topic.
func offsets(listed kadm.ListedOffsets, err error) (map[int32]int64, error) {
	if err != nil {
		return nil, err
	}
	if err := listed.Error(); err != nil {
		return nil, err
	}
	found := make(map[int32]int64)
	listed.Each(func(o kadm.ListedOffset) { found[o.Partition] = o.Offset })
	return found, nil
}

// TopicConfig returns one setting of a topic.
func (c *Cluster) TopicConfig(t testing.TB, topic, name string) string {
	t.Helper()
	configs, err := c.admin.DescribeTopicConfigs(t.Context(), topic)
	if err != nil {
		t.Fatalf("describe configuration of %s: %v", topic, err)
	}
	for _, config := range configs {
		for _, entry := range config.Configs {
			if entry.Key == name {
				return entry.MaybeValue()
			}
		}
	}
	t.Fatalf("%s has no setting %s", topic, name)
	return ""
}
