package consumer_test

import (
	"encoding/binary"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"signup-sheet/consumer"
	"signup-sheet/consumer/signup"
	"signup-sheet/internal/kafkatest"
)

func latest(c *consumer.Config) { c.StartLatest = true }

// A group without commits begins at the start of the log, or, with latest, at
// its end.
func TestANewGroupBeginsWhereItIsTold(t *testing.T) {
	for name, tc := range map[string]struct {
		tweak func(*consumer.Config)
		old   bool
	}{"earliest": {func(*consumer.Config) {}, true}, "latest": {latest, false}} {
		t.Run(name, func(t *testing.T) {
			play(t, 2, func(t *testing.T, s *scene) {
				records := s.publish(t, "old", 20, 4)
				m := s.join(t, tc.tweak)
				s.WaitCommitted(t, s.group, s.topic, func(c map[int32]kafkatest.Commit) bool { return len(c) == 2 })
				if !tc.old {
					records = nil
				}
				records = append(records, s.publish(t, "new", 20, 4)...)
				s.delivered(t, len(records))
				s.committed(t, 40)
				m.leave(t)
				s.judge(t, records, 0)
				if got := s.sheet.State().Rows; got != len(records) {
					t.Errorf("%d rows, want %d", got, len(records))
				}
			})
		})
	}
}

// A group goes on where it was, whatever consumer.start says.
func TestAKnownGroupGoesOnWhereItWas(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		records := s.publish(t, "a", 20, 4)
		m := s.join(t, latest)
		s.committed(t, 20) // the resolved start
		m.leave(t)
		records = append(records[:0], s.publish(t, "b", 20, 4)...)
		m = s.join(t, latest)
		s.delivered(t, 20)
		s.committed(t, 40)
		m.leave(t)
		s.judge(t, records, 0)
	})
}

// Records in partitions that are added while the program runs are delivered
// from the first one on, with consumer.start=latest too: they were written after
// the program began.
func TestPartitionsAddedWhileRunningAreDeliveredFromTheirStart(t *testing.T) {
	for name, tweak := range map[string]func(*consumer.Config){"earliest": func(*consumer.Config) {}, "latest": latest} {
		t.Run(name, func(t *testing.T) {
			play(t, 1, func(t *testing.T, s *scene) {
				m := s.join(t, tweak)
				m.running(t, 1)
				s.WaitCommitted(t, s.group, s.topic, func(c map[int32]kafkatest.Commit) bool { return len(c) == 1 })
				s.AddPartitions(t, s.topic, 3)
				s.partitions = 3
				records := s.publish(t, "added", 30, 6)
				s.delivered(t, 30)
				m.running(t, 3)
				records = append(records, s.publish(t, "then", 30, 6)...)
				s.delivered(t, 60)
				s.committed(t, 60)
				m.leave(t)
				s.judge(t, records, 0)
			})
		})
	}
}

// With consumer.start=latest, the end of the log is looked up once: a session
// that ends before its first commit was acknowledged leaves that start to the
// next one, which delivers what was written meanwhile and nothing older.
func TestAStartAtTheEndOutlivesASessionWithoutACommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 1)
		s.publish(t, "old", 20, 4)
		refuse := s.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Topic: s.topic, Err: kerr.CoordinatorNotAvailable, Count: -1})
		m := s.join(t, latest)
		m.running(t, 1)
		first := m.Status().Generation
		s.WaitGroup(t, s.group, 1)
		records := s.publish(t, "new", 20, 4)
		s.AddPartitions(t, s.topic, 2) // makes the group rebalance
		await(t, "another session", func() bool { return m.Status().Generation > first })
		refuse.Remove()
		s.delivered(t, 20)
		s.committed(t, 40)
		m.leave(t)
		s.judge(t, records, 0)
		if got := s.sheet.State().Rows; got != 20 {
			t.Errorf("%d rows, want the 20 new ones", got)
		}
	})
}

// On a topic with LogAppendTime a record's time is when it was appended, not
// what its producer says: so are the row's timestamp and what its id is made of.
func TestTheTimeOfARecordIsItsAppendTimeWhereTheTopicSaysSo(t *testing.T) {
	for name, tc := range map[string]struct {
		kind   string
		append bool
	}{"LogAppendTime": {"LogAppendTime", true}, "CreateTime": {"CreateTime", false}} {
		t.Run(name, func(t *testing.T) {
			play(t, 1, func(t *testing.T, s *scene) {
				// Created so: a broker answers a change of it before the log knows.
				s.retopic(t, map[string]string{"message.timestamp.type": tc.kind}, nil)
				written := time.Now().Add(-72 * time.Hour).Truncate(time.Millisecond)
				value := []byte(`{"email":"ann@example.com"}`)
				s.Produce(t, s.topic, &kgo.Record{Value: value, Timestamp: written}, &kgo.Record{Value: value, Timestamp: written.Add(time.Second)})
				if tc.append && !s.Real() { // kfake leaves it to producers, who cannot say so
					batch := s.batchAt(t, 0)
					batch[22] |= 8
					binary.BigEndian.PutUint64(batch[35:], uint64(time.Now().UnixMilli()))
					seal(batch)
					s.forge(2, func(int64) []byte { return batch })
				}
				stored := s.ReadAll(t, s.topic)
				if appended := time.Since(stored[0].Timestamp) < time.Hour; appended != tc.append {
					t.Fatalf("the log has %v as the record's time", stored[0].Timestamp)
				}
				m := s.join(t)
				s.delivered(t, 2)
				s.committed(t, 2)
				m.leave(t)
				rows := map[string]string{}
				for _, e := range s.sheet.Accepted() {
					rows[e.EventID] = e.Row.Text("timestamp")
				}
				for _, r := range stored {
					id := signup.EventID(s.topic, 0, r.Offset, r.Timestamp)
					if want := r.Timestamp.UTC().Format("2006-01-02T15:04:05.000Z"); rows[id] != want {
						t.Errorf("offset %d: row %s has the timestamp %q, want %q", r.Offset, id, rows[id], want)
					}
				}
			})
		})
	}
}
