package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"signup-sheet/consumer"
	"signup-sheet/internal/kafkatest"
	"signup-sheet/internal/receiver"
)

// recreate deletes the topic and creates it again.
func (s *scene) recreate(t *testing.T) {
	t.Helper()
	s.DeleteTopic(t, s.topic)
	s.CreateTopic(t, s.topic, s.partitions, nil)
}

// Hazard 7: a topic is deleted and created again, with fewer records than before
// or with more. No record of the new topic is skipped, wherever the member was in
// the old one and whatever it had committed there.
func TestNoRecordOfARecreatedTopicIsSkipped(t *testing.T) {
	const old = 100
	refuse := receiver.Always(receiver.Answer{Status: 503})
	for situation, tc := range map[string]struct {
		script  receiver.Behaviour // of the old topic's rows
		window  int
		settled int  // rows of the old topic
		stopped bool // while the topic is recreated
	}{
		"at its end":       {window: 4096, settled: old},
		"in a hold":        {script: refuse, window: 4096},
		"with full window": {script: refuse, window: 10},
		"behind a stuck row": {
			script: receiver.Any(receiver.Event("old-7", refuse), receiver.Event("old-8", refuse)), window: 4096, settled: old - 2,
		},
		"stopped at its end": {window: 4096, settled: old, stopped: true},
		"stopped in a hold":  {script: refuse, window: 4096, stopped: true},
		"stopped behind a stuck row": {
			script: receiver.Any(receiver.Event("old-7", refuse), receiver.Event("old-8", refuse)), window: 4096, settled: old - 2, stopped: true,
		},
	} {
		for size, n := range map[string]int{"fewer": 30, "more": 300} {
			t.Run(situation+", "+size, func(t *testing.T) {
				play(t, 2, func(t *testing.T, s *scene) {
					s.sheet.Script(tc.script)
					s.publish(t, "old", old, old)
					window := func(c *consumer.Config) { c.Window = tc.window }
					m := s.join(t, window)
					await(t, "the situation", func() bool {
						taken := 0
						for _, p := range m.Status().Partitions {
							taken += p.Unsettled
						}
						return s.sheet.State().Rows == tc.settled && taken == min(2*tc.window, old)-tc.settled
					})
					s.committed(t, s.watermarks(m))
					if tc.stopped {
						m.leave(t)
					}
					s.recreate(t)
					records := s.publish(t, "new", n, 7)
					s.sheet.Script(nil)
					if tc.stopped {
						m = s.join(t, window)
					}
					s.allNew(t, records)
					s.committed(t, int64(n))
					m.leave(t)
					if !tc.stopped && !m.log.has("level=ERROR msg=\"the topic") {
						t.Error("the log does not say what happened")
					}
				})
			})
		}
	}
}

// Hazard 7: brokers without topic ids (before Kafka 2.8, and some that speak its
// protocol) are asked for the commits instead, which go with a topic.
func TestNoRecordOfARecreatedTopicIsSkippedWhereTopicsHaveNoID(t *testing.T) {
	for name, tc := range map[string]struct{ full, stops bool }{
		"at its end": {}, "with full windows": {full: true}, "with full windows, stopped at once": {full: true, stops: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := setVirtual(t, 2, kafkatest.Fake(kfake.MaxVersions(kversion.V2_7_0())))
				s.publish(t, "old", 100, 100)
				window := func(c *consumer.Config) { c.Window = 10 }
				m := s.join(t, window)
				s.delivered(t, 100)
				s.committed(t, 100)
				if got := s.Committed(t, s.group, s.topic)[0].Metadata; got != "" {
					t.Fatalf("metadata %q: there is an id", got)
				}
				if tc.full {
					s.fillWindows(t, m, "held", 10)
				}
				s.recreate(t)
				records := s.publish(t, "new", 300, 7)
				if tc.stops {
					m.leave(t)
				}
				s.sheet.Script(nil)
				if tc.stops {
					m = s.join(t, window)
				}
				s.allNew(t, records)
				s.committed(t, 300)
				m.leave(t)
			})
		})
	}
}

// fillWindows makes the endpoint fail, and writes signups until both windows of
// the member have as many unsettled as they take, so that nothing is fetched.
func (s *scene) fillWindows(t *testing.T, m *member, prefix string, window int) {
	t.Helper()
	s.sheet.Script(receiver.Always(receiver.Answer{Status: 503}))
	s.producedAnew(t, s.signups(prefix, 5*window, 7))
	await(t, "full windows", func() bool {
		st := m.Status().Partitions
		return len(st) == 2 && st[0].Unsettled == window && st[1].Unsettled == window
	})
}

// Hazard 7: consumer.start=latest is for a group that is new. A topic that is
// recreated under it is read from its start.
func TestARecreatedTopicIsReadFromItsStartWithLatestToo(t *testing.T) {
	play(t, 2, func(t *testing.T, s *scene) {
		s.publish(t, "old", 100, 7)
		m := s.join(t, latest)
		s.committed(t, 100)
		s.recreate(t)
		s.allNew(t, s.publish(t, "new", 300, 7))
		s.committed(t, 300)
		m.leave(t)
	})
}

// Hazard 7: the same topic again and again, deleted, created and refilled as fast
// as the brokers do it, under a member that is at its end or holds.
func TestATopicRecreatedAtOnceLosesNoRecord(t *testing.T) {
	play(t, 2, func(t *testing.T, s *scene) {
		m := s.join(t, func(c *consumer.Config) { c.Window = 20 })
		m.running(t, 2)
		admin := kadm.NewClient(s.Client(t))
		for round := range 6 {
			if hold := round%3 == 2; hold {
				s.fillWindows(t, m, fmt.Sprintf("held%d", round), 20)
			}
			if _, err := admin.DeleteTopic(t.Context(), s.topic); err != nil {
				t.Fatal(err)
			}
			var created kadm.CreateTopicResponse
			await(t, "a new topic", func() (ok bool) {
				var err error
				created, err = admin.CreateTopic(t.Context(), 2, -1, nil, s.topic)
				if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
					t.Fatal(err)
				}
				return err == nil
			})
			// The answers are the controller's. As long as the broker has not heard of them, it would take the records for the old topic.
			await(t, "a broker that knows of it", func() bool { return s.TopicID(t, s.topic) == created.ID })
			n := 100 * (round + 1) // each time more than before
			records := s.signups(fmt.Sprintf("round%d", round), n, 7)
			s.producedAnew(t, records)
			s.sheet.Script(nil)
			s.allNew(t, records)
			s.committed(t, int64(n))
		}
		m.leave(t)
	})
}

// watermarks adds up a member's.
func (s *scene) watermarks(m *member) (sum int64) {
	for _, p := range m.Status().Partitions {
		sum += p.Watermark
	}
	return sum
}

// allNew waits until all records were accepted. Their order is not judged: what
// was fetched of the new topic before anyone knew that it is new comes first.
func (s *scene) allNew(t *testing.T, records []*kgo.Record) {
	t.Helper()
	missing := make([]string, len(records))
	for i, r := range records {
		missing[i] = idOf(r.Value)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := s.sheet.Wait(ctx, func(receiver.State) bool {
		missing = slices.DeleteFunc(missing, func(id string) bool { return s.sheet.Count(id) > 0 })
		return len(missing) == 0
	})
	if err != nil {
		t.Fatalf("%d of %d records of the new topic are missing, %s the first: %v", len(missing), len(records), missing[0], err)
	}
}

// producedAnew writes records with a producer that never knew another topic.
func (s *scene) producedAnew(t *testing.T, records []*kgo.Record) {
	t.Helper()
	for _, r := range records {
		r.Topic = s.topic
	}
	if err := s.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.UnknownTopicRetries(-1)).ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// Hazard 7: the topic is recreated and refilled at once, in each place where the
// member looks away: after it has asked about the topic and before the broker has
// its commit, in a session's first commit, one in the middle and its last. The
// broker then keeps the old topic's offset for the new one.
func TestACommitThatMeetsARecreatedTopicNeverSkipsARecord(t *testing.T) {
	const old, fresh = 100, 300
	for name, tc := range map[string]struct {
		commit int64 // the one of the second session that meets the new topic; 0: its last
	}{"first": {1}, "second": {2}, "fifth": {5}, "last": {0}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := setVirtual(t, 2)
				s.publish(t, "old", old, old)
				m := s.join(t)
				s.delivered(t, old)
				s.committed(t, old)
				m.leave(t)

				var commits atomic.Int64
				var leaving atomic.Bool
				met := make(chan struct{})
				s.Fake().ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
					if n := commits.Add(1); n == tc.commit || tc.commit == 0 && leaving.Load() {
						s.Fake().DropControl()
						defer close(met)
						if err := s.Fake().DeleteTopic(s.topic); err != nil {
							t.Error(err)
						}
						if err := s.Fake().CreateTopic(s.topic, s.partitions, nil); err != nil {
							t.Error(err)
						}
					}
					return nil, nil, false
				})
				m = s.join(t)
				if tc.commit == 0 {
					m.running(t, 2)
					s.committed(t, old)
					leaving.Store(true)
					m.leave(t)
				}
				<-met
				records := s.signups("new", fresh, 7)
				s.producedAnew(t, records)
				if tc.commit == 0 {
					m = s.join(t)
				}
				s.allNew(t, records)
				s.committed(t, fresh)
				m.leave(t)
			})
		})
	}
}

// Hazard 7: a commit of a deleted topic that outlives it (restored by hand, or by
// a coordinator that was away when the topic was deleted) is not taken for one of
// the topic that has the name now.
func TestACommitOfADeletedTopicIsNotTakenForOneOfTheNew(t *testing.T) {
	for name, start := range map[string]func(*consumer.Config){"earliest": func(*consumer.Config) {}, "latest": latest} {
		t.Run(name, func(t *testing.T) {
			play(t, 1, func(t *testing.T, s *scene) {
				s.publish(t, "old", 100, 7)
				m := s.join(t)
				s.delivered(t, 100)
				s.committed(t, 100)
				m.leave(t)
				c := s.Committed(t, s.group, s.topic)[0]
				s.recreate(t)
				records := s.publish(t, "new", 300, 7)
				s.commitAs(t, 0, c.Offset, c.Metadata)
				m = s.join(t, start)
				s.allNew(t, records)
				s.committed(t, 300)
				m.leave(t)
				if got := m.metric(t, "commit_metadata_ignored_total", "recreated"); got != 1 {
					t.Errorf("counted %v times", got)
				}
			})
		})
	}
}

// Hazard 7: what a process remembers of a log is not believed of another one
// whose records have the same timestamps.
func TestWhatIsKnownOfADeletedTopicIsNotBelievedOfTheNew(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		at := time.Now().Add(-time.Hour).Truncate(time.Millisecond) // younger than retention allows
		same := func(prefix string) []*kgo.Record {
			records := s.signups(prefix, 50, 50)
			for i, r := range records {
				r.Timestamp = at.Add(time.Duration(i) * time.Second)
			}
			s.Produce(t, s.topic, records...)
			return records
		}
		s.sheet.Script(receiver.Event("old-0", receiver.Always(receiver.Answer{Status: 503})))
		same("old")
		m := s.join(t)
		s.delivered(t, 49)
		s.committed(t, 0)
		s.recreate(t)
		s.allNew(t, same("new"))
		s.committed(t, 50)
		m.leave(t)
	})
}

// Hazard 7: an offset beyond the log's end is an error in the log, and the log is
// read from its start. It may grow past that offset while the member looks: that
// makes no difference.
func TestAPositionBeyondTheEndOfTheLogSkipsNothing(t *testing.T) {
	t.Run("of a short log", func(t *testing.T) {
		play(t, 1, func(t *testing.T, s *scene) {
			records := s.publish(t, "r", 10, 3)
			s.commitAs(t, 0, 1000, "")
			m := s.join(t)
			s.delivered(t, 10)
			s.committed(t, 10)
			m.leave(t)
			s.judge(t, records, 0)
			if !m.log.has("level=ERROR msg=\"the position lies beyond the end of the log") {
				t.Error("no error in the log")
			}
			if got := m.metric(t, "positions_beyond_end_total"); got != 1 {
				t.Errorf("counted %v times", got)
			}
			if got := m.metric(t, "retention_lost_offsets_total"); got != 0 {
				t.Errorf("%v offsets counted as lost by retention", got)
			}
		})
	})
	t.Run("of a log that grows past it meanwhile", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := setVirtual(t, 1)
			records := s.publish(t, "r", 10, 3)
			s.commitAs(t, 0, 1000, "")
			s.Fake().ControlKey(int16(kmsg.ListOffsets), func(kmsg.Request) (kmsg.Response, error, bool) {
				s.Fake().DropControl()
				s.Fake().SleepControl(func() { records = append(records, s.publish(t, "more", 1200, 50)...) })
				return nil, nil, false
			})
			m := s.join(t)
			s.delivered(t, 1210)
			s.committed(t, 1210)
			m.leave(t)
			s.judge(t, records, 0)
		})
	})
}

// Hazard 7: while its topic does not exist, a member waits for it, quietly: it
// does not join the group again and again.
func TestADeletedTopicIsWaitedFor(t *testing.T) {
	for _, full := range []bool{false, true} {
		for _, delay := range []int{2, 4} { // a commit after 3 s and the group itself after 5 s find out first
			t.Run(fmt.Sprintf("full window %v, deleted after %d.5s", full, delay), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := setVirtual(t, 2)
					if full {
						s.sheet.Script(receiver.Always(receiver.Answer{Status: 503}))
					}
					s.publish(t, "old", 100, 7)
					m := s.join(t, func(c *consumer.Config) { c.Window, c.CommitInterval = 10, 3*time.Second })
					m.running(t, 2)
					time.Sleep(time.Duration(delay)*time.Second + time.Second/2) //nolint:forbidigo // virtual: some time in the session
					var joins atomic.Int64
					s.Fake().ControlKey(int16(kmsg.JoinGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
						if joins.Add(1) > 1000 {
							t.Error("the member joins and joins")
							m.cancel()
						}
						return nil, nil, false
					})
					s.DeleteTopic(t, s.topic)
					time.Sleep(time.Minute) //nolint:forbidigo // virtual: how long there is no topic
					if n := joins.Load(); n > 3 {
						t.Errorf("%d times joined the group in a minute without a topic", n)
					}
					if got := m.Status().State; got != "no topic" {
						t.Errorf("state %q", got)
					}
					if m.Ready() == nil {
						t.Error("ready")
					}
					s.CreateTopic(t, s.topic, 2, nil)
					s.sheet.Script(nil)
					records := s.publish(t, "new", 300, 7)
					s.allNew(t, records)
					s.committed(t, 300)
					m.leave(t)
				})
			})
		}
	}
}

// Hazard 7: an unclean election cuts the log below what was delivered. What is remembered of it is not believed any more, and neither
// is the committed offset, which by the next session may lie within the log again.
func TestALogThatWasCutIsReadFromItsStart(t *testing.T) {
	virtually(t, 1, func(t *testing.T, s *scene) {
		m := s.join(t)
		m.running(t, 1)
		s.publish(t, "first", 1, 1)
		s.committed(t, 1)
		lost := s.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Group: s.group, Topic: s.topic, Err: kerr.CoordinatorLoadInProgress, Count: -1})
		s.publish(t, "r", 20, 3)
		s.delivered(t, 21)
		// The log is as it was: what is sent again shows where it was read from.
		s.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: s.topic, Err: kerr.OffsetOutOfRange, Count: 1})
		await(t, "the cut to be seen", func() bool { return m.metric(t, "positions_beyond_end_total") == 1 })
		lost.Remove()
		await(t, "everything to be sent again", func() bool { return s.sheet.State().Accepted == 42 })
		s.committed(t, 21)
		if n := m.metric(t, "records_restored_total"); n > 0 {
			t.Errorf("%v records were passed over", n)
		}
		// It is read from its start once only.
		s.join(t)
		s.WaitGroup(t, s.group, 2)
		m.leave(t)
		s.publish(t, "last", 5, 5)
		s.delivered(t, 26)
		if got := s.sheet.State(); got.Accepted != 47 {
			t.Errorf("%d rows accepted, want 47", got.Accepted)
		}
	})
}
