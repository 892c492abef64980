package kafkatest

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestTopicIsRecreatedEmptyAndGrows(t *testing.T) {
	onEach(t, func(t *testing.T, c *Cluster) {
		topic := UniqueName(t)
		c.CreateTopic(t, topic, 2, map[string]string{"cleanup.policy": "compact"})
		configs, err := c.admin.DescribeTopicConfigs(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		policy := ""
		for _, config := range configs[0].Configs {
			if config.Key == "cleanup.policy" {
				policy = config.MaybeValue()
			}
		}
		if policy != "compact" {
			t.Errorf("cleanup.policy %q, want compact", policy)
		}
		c.Produce(t, topic, &kgo.Record{Partition: 1, Key: []byte("k")})
		c.DeleteTopic(t, topic)
		c.CreateTopic(t, topic, 1, nil)
		if ends := c.EndOffsets(t, topic); len(ends) != 1 || ends[0] != 0 {
			t.Errorf("end offsets %v after the topic was created again, want one partition that is empty", ends)
		}
		c.Produce(t, topic, &kgo.Record{Partition: 0})
		c.AddPartitions(t, topic, 3)
		c.Produce(t, topic, &kgo.Record{Partition: 2}, &kgo.Record{Partition: 2})
		c.DeleteRecords(t, topic, 2, 1)
		starts, ends := c.StartOffsets(t, topic), c.EndOffsets(t, topic)
		if len(starts) != 3 || starts[2] != 1 || ends[2] != 2 {
			t.Errorf("partitions begin at %v and end at %v, want three, the last with one record left", starts, ends)
		}
		if got := c.ReadAll(t, topic); len(got) != 2 || got[1].Partition != 2 || got[1].Offset != 1 {
			t.Errorf("%d records, want the one of partition 0 and the second one of partition 2", len(got))
		}
	})
}
