package consumer_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"signup-sheet/consumer"
	"signup-sheet/internal/kafkatest"
	"signup-sheet/internal/receiver"
)

// Hazard 18: with 1 % of the records malformed, 20 ms posts and 256 in flight,
// throughput stays within 10 % of the clean run, and dead letters keep up with
// it. Each malformed record is dead-lettered once, and none is attempted.
func TestPoisonInAFastStreamDoesNotSlowItDown(t *testing.T) {
	kafkatest.OnKfake(t)
	const good = 9_900
	run := func(t *testing.T, poison int) (steady, all time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			s := setVirtual(t, 2)
			s.sheet.Script(receiver.Always(receiver.Answer{Delay: 20 * time.Millisecond}))
			s.produces(func(*kmsg.ProduceRequest) (kmsg.Response, error, bool) { // what brokers take to write to all replicas
				s.Fake().SleepControl(func() { time.Sleep(25 * time.Millisecond) }) //nolint:forbidigo // virtual
				return nil, nil, false
			})
			var records, bad []*kgo.Record
			for i, r := range s.signups("s", good, 4993) {
				records = append(records, r)
				if poison > 0 && i%(good/poison) == 0 {
					b := &kgo.Record{Key: r.Key, Value: fmt.Appendf(nil, `{"id":"bad-%d","email":`, i), Partition: r.Partition}
					records, bad = append(records, b), append(bad, b)
				}
			}
			s.Produce(t, s.topic, records...)
			m := s.join(t, func(c *consumer.Config) { c.Sink.Concurrency = 256 })
			m.running(t, 2)
			began := time.Now()
			s.delivered(t, good*9/10) // the last keys' own time is not the others'
			steady = time.Since(began)
			s.delivered(t, good)
			await(t, "all dead letters", func() bool { return m.metric(t, "dead_letters_total") == float64(poison) })
			all = time.Since(began)
			s.committed(t, int64(len(records)))
			m.leave(t)
			if st := s.sheet.State(); st.Requests != good || st.Accepted != good {
				t.Errorf("%d requests and %d accepted rows for %d good records", st.Requests, st.Accepted, good)
			}
			letters := s.letters(t)
			for _, b := range bad {
				if n := len(letters[placeOf(b)]); n != 1 {
					t.Errorf("%d dead letters of a record", n)
				}
			}
			if len(letters) != len(bad) || len(bad) != poison {
				t.Errorf("dead letters of %d records, want %d", len(letters), poison)
			}
		})
		return steady, all
	}
	clean, cleanAll := run(t, 0)
	dirty, dirtyAll := run(t, good/99)
	t.Logf("clean %v, with poison %v; to the end %v and %v", clean, dirty, cleanAll, dirtyAll)
	if dirty > clean*11/10 {
		t.Errorf("1 %% of poison slows down from %v to %v", clean, dirty)
	}
	if dirtyAll > cleanAll+250*time.Millisecond {
		t.Errorf("the last dead letter is %v behind", dirtyAll-cleanAll)
	}
}
