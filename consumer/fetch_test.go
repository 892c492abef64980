package consumer_test

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"signup-sheet/consumer"
)

// An answer that is full with the large records of some partitions is no fault of the others.
func TestLargeRecordsOfOnePartitionAreNoFaultOfAnother(t *testing.T) {
	play(t, 6, func(t *testing.T, s *scene) {
		records := s.signups("large", 24, 6)
		for _, r := range records {
			r.Topic = s.topic
			r.Value = append(bytes.TrimSuffix(r.Value, []byte("}")), `,"padding":"`+strings.Repeat("x", 900<<10)+`"}`...)
		}
		c := s.Client(t, kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err := c.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		m := s.join(t)
		s.delivered(t, 24)
		s.committed(t, 24)
		if n := m.metric(t, "fetch_errors_total"); n != 0 {
			t.Errorf("%v fetch errors", n)
		}
		m.leave(t)
		s.judge(t, records, 0)
	})
}

// Brokers keep requests for partitions whose end was reached; a partition that has more is not to wait for them.
func TestABacklogDoesNotWaitForIdlePartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 4)
		records := s.signups("backlog", 400, 400)
		for i, r := range records {
			if i >= 20 {
				r.Partition = 0 // the others are at their ends soon, one after the other
			}
		}
		s.Produce(t, s.topic, records...)
		began := time.Now()
		m := s.join(t, func(c *consumer.Config) { c.Window = 4 })
		s.delivered(t, 400)
		if took := time.Since(began); took > time.Second {
			t.Errorf("took %v", took)
		}
		m.leave(t)
		s.judge(t, records, 0)
	})
}
