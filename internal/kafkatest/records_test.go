package kafkatest

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestProducedRecordsAreReadBackByteForByte(t *testing.T) {
	onEach(t, func(t *testing.T, c *Cluster) {
		topic := UniqueName(t)
		c.CreateTopic(t, topic, 3, nil)
		old := time.UnixMilli(1700000000123)
		sent := []*kgo.Record{
			{Partition: 2, Key: nil, Value: []byte("v1"), Timestamp: old},
			{Partition: 0, Key: []byte{}, Value: nil, Timestamp: old},
			{Partition: 2, Key: []byte{0, 0xff}, Value: []byte{}, Timestamp: old, Headers: []kgo.RecordHeader{
				{Key: "b", Value: []byte("1")},
				{Key: "a", Value: nil},
				{Key: "b", Value: []byte{}},
			}},
		}
		c.Produce(t, topic, sent...)
		if sent[0].Offset != 0 || sent[1].Offset != 0 || sent[2].Offset != 1 {
			t.Errorf("offsets %d %d %d, want 0 0 1", sent[0].Offset, sent[1].Offset, sent[2].Offset)
		}
		got := c.ReadAll(t, topic)
		want := []*kgo.Record{sent[1], sent[0], sent[2]}
		if len(got) != len(want) {
			t.Fatalf("%d records, want %d", len(got), len(want))
		}
		for i := range want {
			if g, w := show(got[i]), show(want[i]); g != w {
				t.Errorf("record %d\n got %s\nwant %s", i, g, w)
			}
		}
	})
}

// show tells null from empty.
func show(r *kgo.Record) string {
	text := fmt.Sprintf("%d/%d %d key %#v value %#v", r.Partition, r.Offset, r.Timestamp.UnixMilli(), r.Key, r.Value)
	for _, h := range r.Headers {
		text += fmt.Sprintf(" %s=%#v", h.Key, h.Value)
	}
	return text
}

func TestProduceWithoutAPartitionGoesByKey(t *testing.T) {
	onEach(t, func(t *testing.T, c *Cluster) {
		topic := UniqueName(t)
		c.CreateTopic(t, topic, 4, nil)
		var keyed, null []*kgo.Record
		for i := range 40 {
			keyed = append(keyed, &kgo.Record{Partition: -1, Key: fmt.Append(nil, "key-", i%19)})
			null = append(null, &kgo.Record{Partition: -1})
		}
		c.Produce(t, topic, keyed...)
		c.Produce(t, topic, null...)
		used := make(map[int32]bool)
		for i := range 19 {
			used[keyed[i].Partition] = true
			if keyed[i].Partition != keyed[i+19].Partition {
				t.Errorf("key %s went to partitions %d and %d", keyed[i].Key, keyed[i].Partition, keyed[i+19].Partition)
			}
		}
		if len(used) != 4 {
			t.Errorf("19 keys went to %d partitions, want 4", len(used))
		}
		perPartition := make(map[int32]int)
		for _, r := range null {
			perPartition[r.Partition]++
		}
		if len(perPartition) != 4 || perPartition[0] != 10 {
			t.Errorf("null keys went to %v, want 10 each", perPartition)
		}
	})
}

func TestReadAllReadsPastOneFetch(t *testing.T) {
	onEach(t, func(t *testing.T, c *Cluster) {
		topic := UniqueName(t)
		c.CreateTopic(t, topic, 1, nil)
		records := make([]*kgo.Record, 12)
		for i := range records {
			records[i] = &kgo.Record{Value: make([]byte, 900_000)}
			rand.Read(records[i].Value) // nothing that a codec makes small
			records[i].Value[0] = byte(i)
		}
		c.Produce(t, topic, records...)
		got := c.ReadAll(t, topic)
		if len(got) != len(records) {
			t.Fatalf("%d records, want %d", len(got), len(records))
		}
		for i, r := range got {
			if r.Offset != int64(i) || r.Value[0] != byte(i) {
				t.Errorf("record %d has offset %d and value %d", i, r.Offset, r.Value[0])
			}
		}
	})
}

// TestReadAllLeavesOutControlAndAbortedRecords ends with an aborted transaction, so that nothing visible stands at the end.
func TestReadAllLeavesOutControlAndAbortedRecords(t *testing.T) {
	onEach(t, func(t *testing.T, c *Cluster) {
		topic := UniqueName(t)
		c.CreateTopic(t, topic, 1, nil)
		producer := c.Client(t, kgo.TransactionalID(UniqueName(t)))
		for _, tx := range []struct {
			value string
			end   kgo.TransactionEndTry
		}{{"kept", kgo.TryCommit}, {"dropped", kgo.TryAbort}} {
			c.Transact(t, producer, tx.end, topic, kgo.StringRecord(tx.value))
		}
		if end := c.EndOffsets(t, topic)[0]; end != 4 {
			t.Fatalf("the log ends at %d, want two records and two markers", end)
		}
		got := c.ReadAll(t, topic)
		if len(got) != 1 || string(got[0].Value) != "kept" {
			t.Errorf("read %d records, want the one that was committed", len(got))
		}
	})
}
