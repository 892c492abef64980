package consumer_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"signup-sheet/consumer"
	"signup-sheet/internal/kafkatest"
	"signup-sheet/internal/receiver"
)

// named makes a member's attempts known by its name.
func named(name string) func(*consumer.Config) {
	return func(cfg *consumer.Config) { cfg.Sink.UserAgent = name }
}

// commitErrors are the errors that the brokers answered commits with.
func commitErrors(w *wire, since time.Time) (codes []int16) {
	for _, e := range w.exchanges(kmsg.OffsetCommit, since) {
		if e.response == nil {
			continue
		}
		for _, t := range e.response.(*kmsg.OffsetCommitResponse).Topics {
			for _, p := range t.Partitions {
				if p.ErrorCode != 0 {
					codes = append(codes, p.ErrorCode)
				}
			}
		}
	}
	return codes
}

// quick is a session that is over soon.
func quick(cfg *consumer.Config) {
	cfg.SessionTimeout, cfg.HeartbeatInterval, cfg.CommitInterval = 3*time.Second, 500*time.Millisecond, 500*time.Millisecond
}

// Hazard 11: while brokers cannot say who leads the partitions, kafka-go's watcher ends each generation as it begins.
func TestAGroupWithoutLeadersIsNotJoinedInALoop(t *testing.T) {
	virtually(t, 2, func(t *testing.T, s *scene) {
		w := newWire(s)
		s.join(t).running(t, 2) // leads the group
		m := s.join(t, w.on)
		m.running(t, 1)
		id := m.Status().Member
		since := time.Now()
		lost := s.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: s.topic, Err: kerr.LeaderNotAvailable, Count: -1})
		// A member that does not lead the group and joins again gets its old generation back at once.
		s.Fake().Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.Heartbeat}, Group: s.group, Err: kerr.NotCoordinator,
			When: func(req kmsg.Request) bool { return req.(*kmsg.HeartbeatRequest).MemberID == id },
		})
		<-time.After(20 * time.Second)
		if n := len(w.exchanges(kmsg.JoinGroup, since)); n < 2 || n > 40 {
			t.Errorf("%d requests to join in 20 s, want some, and at most two a second", n)
		}
		lost.Remove()
		records := s.publish(t, "r", 100, 10)
		s.delivered(t, 100)
		s.judge(t, records, 0)
	})
}

// patient is a member that does not give up a slow row, however long a machine stands still.
func patient(cfg *consumer.Config) {
	cfg.Sink.Timeout, cfg.DrainTimeout = 30*time.Second, 31*time.Second
}

// Hazard 2: a former owner commits.
func TestAFormerOwnersCommitIsFenced(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		stuck := make(chan struct{})
		s.sheet.Script(receiver.Event("x-50", receiver.First(1, receiver.Answer{Hang: stuck})))
		records := s.publish(t, "x", 100, 100)
		w := newWire(s)
		a := s.join(t, quick, w.on, named("a"))
		s.delivered(t, 99)
		s.WaitCommitted(t, s.group, s.topic, func(c map[int32]kafkatest.Commit) bool { return c[0].Offset == 50 && c[0].Metadata != "" })
		// What it sends from now on arrives when another owns the partition.
		w.stall()
		s.WaitGroup(t, s.group, 0)
		b := s.join(t, quick, named("b"))
		s.delivered(t, 100)
		s.committed(t, 100)
		late := time.Now()
		w.flow()
		await(t, "the former owner's commit is refused", func() bool {
			codes := commitErrors(w, time.Time{})
			return slices.Contains(codes, kerr.IllegalGeneration.Code) || slices.Contains(codes, kerr.UnknownMemberID.Code)
		})
		await(t, "the commit counts as fenced", func() bool { return a.metric(t, "commits_total", "fenced") > 0 })
		if got := s.Committed(t, s.group, s.topic)[0].Offset; got != 100 {
			t.Errorf("the committed offset is %d: the former owner moved it", got)
		}
		close(stuck)
		s.WaitGroup(t, s.group, 2)
		more := s.publish(t, "y", 50, 50)
		s.delivered(t, 150)
		s.committed(t, 150)
		b.leave(t)
		a.leave(t)
		for _, e := range w.exchanges(kmsg.OffsetCommit, late) {
			for _, p := range e.request.(*kmsg.OffsetCommitRequest).Topics[0].Partitions {
				if p.Offset == 100 || e.response == nil {
					continue
				}
				if code := e.response.(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode; p.Offset < 100 && code == 0 {
					t.Errorf("the former owner's commit of offset %d was accepted", p.Offset)
				}
			}
		}
		// The attempt that the former owner had under way was answered in the end.
		s.judge(t, append(records, more...), 1)
	})
}

// Hazard 3: a wrong start offset.
func TestAnErrorOfOffsetFetchIsNeverTakenForNothingCommitted(t *testing.T) {
	for name, c := range map[string]struct {
		latest bool
		above  int16 // the versions of the request that fail: kafka-go's own has 1
	}{
		"start_earliest":              {false, 1},
		"start_latest":                {true, 1},
		"kafka_go_is_answered_so_too": {true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, 2, func(t *testing.T, s *scene) {
				start := func(cfg *consumer.Config) { cfg.StartLatest = c.latest }
				early := s.publish(t, "early", 40, 8)
				first := s.join(t, func(cfg *consumer.Config) { cfg.StartLatest = false })
				s.delivered(t, 40)
				s.committed(t, 40)
				first.leave(t)
				s.WaitGroup(t, s.group, 0)
				between := s.publish(t, "between", 40, 8)

				w := newWire(s)
				broken := true // guarded by w.mu
				w.answer = func(req kmsg.Request, res kmsg.Response) (changed bool) {
					fetched, ok := res.(*kmsg.OffsetFetchResponse)
					if !ok || req.GetVersion() <= c.above {
						return false
					}
					w.set(func() { changed = broken })
					for i := range fetched.Topics {
						for j := range fetched.Topics[i].Partitions {
							if p := &fetched.Topics[i].Partitions[j]; changed && p.Partition == 1 {
								p.Offset, p.Metadata, p.ErrorCode = -1, new(""), kerr.CoordinatorLoadInProgress.Code
							}
						}
					}
					return changed
				}
				began := time.Now()
				m := s.join(t, start, w.on)
				await(t, "it asks again, and again", func() bool { return len(w.exchanges(kmsg.OffsetFetch, began)) >= 5 })
				if n := s.sheet.State().Rows; n != 40 {
					t.Errorf("%d rows were delivered before it was known where to begin", n-40)
				}
				if n := len(w.exchanges(kmsg.OffsetCommit, began)); n > 0 {
					t.Errorf("%d commits before it was known where to begin", n)
				}
				w.set(func() { broken = false })
				s.delivered(t, 80)
				s.committed(t, 80)
				m.leave(t)
				s.judge(t, append(early, between...), 0)
			})
		})
	}
}

// Hazard 4: eviction while draining. Heartbeats stop in a rebalance, so that the
// session lives on the commits.
func TestADrainLongerThanTheSessionKeepsTheMember(t *testing.T) {
	play(t, 2, func(t *testing.T, s *scene) {
		slow := make(chan struct{})
		s.sheet.Script(receiver.Event("x-10", receiver.Always(receiver.Answer{Hang: slow})))
		records := s.publish(t, "x", 100, 100)
		wa, wb := newWire(s), newWire(s)
		a := s.join(t, wa.on, patient, func(cfg *consumer.Config) {
			cfg.SessionTimeout, cfg.HeartbeatInterval, cfg.CommitInterval = 2*time.Second, 500*time.Millisecond, 500*time.Millisecond
		})
		s.delivered(t, 99)
		before := a.Status()
		began := time.Now()
		b := s.join(t, wb.on)
		await(t, "a hears of b", func() bool { return len(heard(wa, began)) > 0 })
		<-time.After(2500 * time.Millisecond) // longer than its session
		close(slow)
		s.WaitGroup(t, s.group, 2)
		a.running(t, 1)
		b.running(t, 1)
		after := a.Status()
		if drain := drains(wa, began); len(drain) != 1 || drain[0] < 2*time.Second {
			t.Fatalf("drains of %v, not one that is longer than the session timeout", drain)
		}
		if after.Member != before.Member || after.Generation != before.Generation+1 {
			t.Errorf("member %s in generation %d became %s in %d", before.Member, before.Generation, after.Member, after.Generation)
		}
		if codes := commitErrors(wa, began); len(codes) > 0 {
			t.Errorf("commits were answered with errors %v", codes)
		}
		s.committed(t, 100)
		a.leave(t)
		b.leave(t)
		s.judge(t, records, 0)
	})
}

// heard returns when the brokers told a member of rebalances.
func heard(w *wire, since time.Time) (at []time.Time) {
	for _, e := range w.exchanges(kmsg.Heartbeat, since) {
		if e.response != nil && e.response.(*kmsg.HeartbeatResponse).ErrorCode == kerr.RebalanceInProgress.Code {
			at = append(at, e.answered)
		}
	}
	return at
}

// drains returns how long each rebalance took a member from hearing of it to
// joining anew.
func drains(w *wire, since time.Time) (all []time.Duration) {
	for _, d := range drainsAt(w, since) {
		all = append(all, d[1].Sub(d[0]))
	}
	return all
}

// drainsAt returns when they began and ended.
func drainsAt(w *wire, since time.Time) (all [][2]time.Time) {
	joins := w.exchanges(kmsg.JoinGroup, since)
	for _, at := range heard(w, since) {
		for _, j := range joins {
			if !j.sent.Before(at) {
				all = append(all, [2]time.Time{at, j.sent})
				break
			}
		}
	}
	return all
}

// sentWhileDraining is the most rows that were accepted of a member in one of its drains.
func (s *scene) sentWhileDraining(w *wire, name string) (most int) {
	for _, d := range drainsAt(w, time.Time{}) {
		n := 0
		for _, e := range s.sheet.Accepted() {
			if e.Header.Get("User-Agent") == name && e.Time.After(d[0]) && e.Time.Before(d[1]) {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// Hazard 16: queued work is sent after revocation.
func TestMembersComeAndGoInOrderUnderLoad(t *testing.T) {
	play(t, 6, func(t *testing.T, s *scene) {
		const latency = 50 * time.Millisecond
		s.sheet.Script(receiver.Always(receiver.Answer{Delay: latency}))
		load := func(cfg *consumer.Config) { cfg.Sink.Concurrency = 4 }
		records := s.publish(t, "x", s.enough(2500), 450)
		var wires []*wire
		var members []*member
		come := func() {
			w := newWire(s)
			members = append(members, s.join(t, load, w.on, named(fmt.Sprint(len(wires)))))
			wires = append(wires, w)
		}
		settle := func(n int) {
			s.WaitGroup(t, s.group, n)
			for _, m := range members {
				m.running(t, 6/n)
			}
			rows := s.sheet.State().Rows
			s.delivered(t, rows+100)
		}
		go1 := func(i int) {
			members[i].leave(t)
			members = slices.Delete(members, i, i+1)
		}
		come()
		settle(1)
		generation := members[0].Status().Generation
		come()
		settle(2)
		come()
		settle(3)
		go1(1)
		settle(2)
		come()
		settle(3)
		go1(0)
		settle(2)
		go1(0)
		settle(1)
		if got := members[0].Status().Generation; got != generation+6 {
			t.Errorf("generation %d after six changes of generation %d", got, generation)
		}
		if left := len(records) - s.sheet.State().Rows; left < 100 {
			t.Fatalf("%d records are left: there was not always load", left)
		}
		s.sheet.Script(nil)
		s.delivered(t, len(records))
		s.committed(t, int64(len(records)))
		for _, m := range members {
			m.leave(t)
		}
		var all []time.Duration
		for _, w := range wires {
			all = append(all, drains(w, time.Time{})...)
		}
		t.Logf("drains: %v", all)
		if len(all) == 0 {
			t.Error("nobody drained")
		}
		// Hundreds are queued, and four at a time are sent. Real brokers may take their time to answer the last commit.
		if longest := slices.Max(all); longest > 2*latency && !s.Real() {
			t.Errorf("a drain took %v, with answers that take %v", longest, latency)
		}
		for i, w := range wires {
			if n := s.sentWhileDraining(w, fmt.Sprint(i)); n > 20 {
				t.Errorf("%d rows were accepted of a member that drained", n)
			}
		}
		s.judge(t, records, 0)
	})
}

// Hazard 25: a rolling restart under load.
func TestARollingRestartUnderLoadIsShort(t *testing.T) {
	play(t, 6, func(t *testing.T, s *scene) {
		s.sheet.Script(receiver.Always(receiver.Answer{Delay: 40 * time.Millisecond}))
		load := func(cfg *consumer.Config) { cfg.Sink.Concurrency = 4 }
		records := s.publish(t, "x", s.enough(3000), 600)
		var members []*member
		for n := range 3 {
			members = append(members, s.join(t, load))
			s.WaitGroup(t, s.group, n+1)
		}
		for _, m := range members {
			m.running(t, 2)
		}
		began := time.Now()
		for range 3 {
			members = append(members, s.join(t, load))
			await(t, "the new one is ready", func() bool { return members[3].Ready() == nil })
			s.WaitGroup(t, s.group, 4)
			members[0].leave(t)
			members = members[1:]
			s.WaitGroup(t, s.group, 3)
		}
		for _, m := range members {
			m.running(t, 2)
		}
		rows := s.sheet.State().Rows
		s.delivered(t, rows+100)
		ended := time.Now()
		if left := len(records) - s.sheet.State().Rows; left < 100 {
			t.Fatalf("%d records are left: there was not always load", left)
		}
		s.sheet.Script(nil)
		s.delivered(t, len(records))
		s.committed(t, int64(len(records)))
		for _, m := range members {
			m.leave(t)
		}
		s.judge(t, records, 0)
		overall, partition := s.silences(records, began, ended)
		t.Logf("longest silence: %v over all partitions, %v of one", overall, partition)
		if overall > 2*time.Second+s.stall() { // and it waits for no drain timeout (7 s) and no end of a session (10 s)
			t.Errorf("nothing was accepted for %v", overall)
		}
	})
}

// enough is a backlog that lasts: in real time things take longer.
func (s *scene) enough(n int) int {
	if s.Real() {
		return 4 * n
	}
	return n
}

// silences returns the longest times without an acceptance, over all partitions
// and of one.
func (s *scene) silences(records []*kgo.Record, from, to time.Time) (overall, partition time.Duration) {
	of := map[string]int32{}
	for _, r := range records {
		of[idOf(r.Value)] = r.Partition
	}
	last, lastOf := from, map[int32]time.Time{}
	for p := range s.partitions {
		lastOf[p] = from
	}
	for _, e := range s.sheet.Accepted() {
		if e.Time.Before(from) || e.Time.After(to) {
			continue
		}
		p := of[e.EventID]
		overall, partition = max(overall, e.Time.Sub(last)), max(partition, e.Time.Sub(lastOf[p]))
		last, lastOf[p] = e.Time, e.Time
	}
	for _, at := range lastOf {
		partition = max(partition, to.Sub(at))
	}
	return max(overall, to.Sub(last)), partition
}
