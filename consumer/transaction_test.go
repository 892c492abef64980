package consumer_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"signup-sheet/internal/kafkatest"
)

// transact writes n signups in one transaction, and commits or aborts it.
func (s *scene) transact(t *testing.T, c *kgo.Client, prefix string, n int, commit kgo.TransactionEndTry) []*kgo.Record {
	t.Helper()
	records := s.signups(prefix, n, n)
	s.Transact(t, c, commit, s.topic, records...)
	return records
}

func (s *scene) transactional(t *testing.T) *kgo.Client {
	t.Helper()
	return s.Client(t, kgo.TransactionalID(kafkatest.UniqueName(t)), kgo.RecordPartitioner(kgo.ManualPartitioner()))
}

// Hazard 8: records of aborted transactions and transaction markers are not
// delivered, and the watermark passes them up to the end of the log, where a
// marker is last.
func TestAbortedAndControlRecordsAreNeitherDeliveredNorStallTheWatermark(t *testing.T) {
	play(t, 2, func(t *testing.T, s *scene) {
		first, second := s.transactional(t), s.transactional(t)
		var records []*kgo.Record
		records = append(records, s.transact(t, first, "a", 10, kgo.TryCommit)...)
		aborted := s.transact(t, first, "b", 10, kgo.TryAbort)
		records = append(records, s.transact(t, second, "c", 10, kgo.TryCommit)...)
		m := s.join(t)
		s.delivered(t, 20)
		records = append(records, s.publish(t, "d", 10, 10)...)
		aborted = append(aborted, s.transact(t, second, "e", 10, kgo.TryAbort)...)
		records = append(records, s.transact(t, second, "f", 10, kgo.TryCommit)...)
		aborted = append(aborted, s.transact(t, first, "g", 10, kgo.TryAbort)...)
		s.delivered(t, 40)
		var end int64
		for _, o := range s.EndOffsets(t, s.topic) {
			end += o
		}
		if want := int64(70 + 2*6); end != want {
			t.Fatalf("the log has %d offsets, want the records and a marker for each of 6 transactions in both partitions: %d", end, want)
		}
		s.committed(t, end)
		m.leave(t)
		s.judge(t, records, 0)
		for _, r := range aborted {
			if n := s.sheet.Attempts(idOf(r.Value)); n != 0 {
				t.Errorf("%s was aborted, and attempted %d times", idOf(r.Value), n)
			}
		}
		if got := m.metric(t, "records_consumed_total"); got != 40 {
			t.Errorf("%v records consumed, want the 40 of committed transactions", got)
		}
		if n := len(s.ReadAll(t, s.dlq())); n != 0 {
			t.Errorf("%d dead letters", n)
		}
		for _, p := range m.Status().Partitions {
			if p.Lag != 0 {
				t.Errorf("partition %d: lag %d", p.Partition, p.Lag)
			}
		}
	})
}

// Hazard 8: a record is not delivered before its transaction is decided, nor is
// what follows it; and then everything is.
func TestAnOpenTransactionIsWaitedFor(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		c := s.transactional(t)
		if err := c.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		records := s.signups("open", 3, 3)
		for _, r := range records {
			r.Topic = s.topic
		}
		if err := c.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		records = append(records, s.publish(t, "behind", 3, 3)...)
		m := s.join(t)
		m.running(t, 1)
		await(t, "the end of what is decided is known", func() bool { return m.Status().Partitions[0].End == 0 })
		if n := s.sheet.State().Attempts; n != 0 {
			t.Errorf("%d attempts while the transaction is open", n)
		}
		if err := c.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
		s.delivered(t, 6)
		s.committed(t, 7)
		m.leave(t)
		s.judge(t, records, 0)
	})
}
