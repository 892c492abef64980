package consumer_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"signup-sheet/consumer"
	"signup-sheet/internal/receiver"
)

// grace is what a shutdown may take beyond the drain timeout.
const grace = 2 * time.Second

// stops stops a member and requires that it ends within a limit, without an
// error if clean.
func (m *member) stops(t *testing.T, limit time.Duration, clean bool) {
	t.Helper()
	limit += m.stall
	began := time.Now()
	m.cancel()
	select {
	case <-m.done:
	case <-time.After(limit + 30*time.Second):
		t.Fatalf("still running %v after it was stopped", time.Since(began))
	}
	if took := time.Since(began); took > limit {
		t.Errorf("the shutdown took %v, longer than %v", took, limit)
	}
	if clean && m.err != nil {
		t.Errorf("the member ended with %v", m.err)
	}
}

// swallow loses requests of a kind while on says so.
func (w *wire) swallow(key kmsg.Key, on *bool) {
	w.request = func(req kmsg.Request) (f fate) {
		if req.Key() == key.Int16() {
			w.set(func() {
				if *on {
					f = lost
				}
			})
		}
		return f
	}
}

// Hazard 10: shutdown hangs.
func TestShutdownEndsWhileJoinGroupIsNotAnswered(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		w, on := newWire(s), true
		w.swallow(kmsg.JoinGroup, &on)
		m := s.join(t, w.on)
		await(t, "it asks to join", func() bool { return len(w.exchanges(kmsg.JoinGroup, time.Time{})) > 0 })
		m.stops(t, grace, true)
	})
}

// Hazard 10.
func TestShutdownEndsWhileJoiningAnewIsNotAnswered(t *testing.T) {
	play(t, 2, func(t *testing.T, s *scene) {
		w, on := newWire(s), false
		w.swallow(kmsg.JoinGroup, &on)
		records := s.publish(t, "x", 20, 20)
		m := s.join(t, w.on)
		s.delivered(t, 20)
		w.set(func() { on = true })
		began := time.Now()
		other := s.join(t)
		await(t, "it asks to join anew", func() bool { return len(w.exchanges(kmsg.JoinGroup, began)) > 0 })
		m.stops(t, grace, true)
		// It has left: the other one need not wait for the end of its session.
		awaitFor(t, 5*time.Second, "the other one has all partitions", func() bool { return len(other.Status().Partitions) == 2 })
		other.leave(t)
		s.judge(t, records, 0)
	})
}

// Hazard 10: the group waits for another member's drain, and does not answer.
func TestShutdownInTheMiddleOfARebalanceLeavesTheGroup(t *testing.T) {
	play(t, 2, func(t *testing.T, s *scene) {
		wa := newWire(s)
		a := s.join(t, wa.on)
		s.WaitGroup(t, s.group, 1)
		b := s.join(t, patient)
		s.WaitGroup(t, s.group, 2)
		a.running(t, 1)
		b.running(t, 1)
		// b is busy with one row.
		slow := s.signups("slow", 1, 1)
		slow[0].Partition = b.Status().Partitions[0].Partition
		s.sheet.Script(receiver.Always(receiver.Answer{Delay: 4 * time.Second}))
		s.Produce(t, s.topic, slow...)
		await(t, "b is busy", func() bool { return s.sheet.InFlight() == 1 })
		began := time.Now()
		c := s.join(t)
		await(t, "a joins anew", func() bool { return len(wa.exchanges(kmsg.JoinGroup, began)) == 1 })
		a.stops(t, grace, true)
		awaitFor(t, 8*time.Second, "the others share the partitions", func() bool {
			return len(b.Status().Partitions) == 1 && len(c.Status().Partitions) == 1 && b.Status().Generation == c.Status().Generation
		})
		b.leave(t)
		c.leave(t)
		s.judge(t, slow, 0)
	})
}

// Hazard 10: a member that stood still is told to stop before it has heard that the group has gone on without it. There is nothing
// left for it to commit: what it settled last comes again, as it does when it hears of that first.
func TestShutdownOfAMemberThatIsNotInTheGroupAnyMoreIsInOrder(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		w := newWire(s)
		records := s.publish(t, "x", 20, 20)
		m := s.join(t, w.on)
		s.committed(t, 20)
		joined := w.exchanges(kmsg.SyncGroup, time.Time{})[0].request.(*kmsg.SyncGroupRequest)
		leave := kmsg.NewPtrLeaveGroupRequest()
		leave.Group, leave.MemberID = s.group, joined.MemberID
		leave.Members = []kmsg.LeaveGroupRequestMember{{MemberID: joined.MemberID}}
		if _, err := leave.RequestWith(t.Context(), s.Client(t)); err != nil {
			t.Fatal(err)
		}
		m.stops(t, grace, true)
		s.judge(t, records, 0)
	})
}

// Hazard 10: the webhook takes connections and never answers.
func TestShutdownIsBoundedBySinkTimeoutWhenTheWebhookHangs(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		never := make(chan struct{})
		s.sheet.Script(receiver.Always(receiver.Answer{Hang: never}))
		records := s.publish(t, "x", 200, 200)
		m := s.join(t)
		await(t, "all slots are taken", func() bool { return s.sheet.InFlight() == 64 })
		m.stops(t, s.config().Sink.Timeout+grace, true)
		if got := s.Committed(t, s.group, s.topic)[0].Offset; got != 0 {
			t.Errorf("committed offset %d, and nothing was accepted", got)
		}
		s.sheet.Script(nil)
		next := s.join(t)
		s.delivered(t, 200)
		s.committed(t, 200)
		next.leave(t)
		s.judge(t, records, 0)
	})
}

// Hazard 10: rows wait for what the endpoint has asked for, and nothing is under way.
func TestShutdownInAHoldIsAtOnce(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		s.sheet.Script(receiver.Always(receiver.Answer{Status: 429, Header: map[string][]string{"Retry-After": {"900"}}}))
		records := s.publish(t, "x", 200, 200)
		m := s.join(t)
		await(t, "a hold without attempts", func() bool { st := m.Status(); return len(st.Holds) == 1 && st.Attempts == 0 })
		m.stops(t, grace, true)
		s.sheet.Script(nil)
		next := s.join(t)
		s.delivered(t, 200)
		s.committed(t, 200)
		next.leave(t)
		s.judge(t, records, 0)
	})
}

// Hazard 10: an age lookup that ignores its context.
func TestShutdownIsBoundedByTheDrainTimeoutWhenAnAgeNeverComes(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		ages := newStuckAges("Stuck Smith")
		defer ages.release()
		records := s.publish(t, "x", 3, 3)
		records[1].Value = fmt.Appendf(nil, `{"id":"stuck","email":"ann@example.com","name":"Stuck Smith"}`)
		s.Produce(t, s.topic, records[1])
		m := s.join(t, ages.on)
		s.delivered(t, 3)
		await(t, "a lookup is under way", func() bool { return ages.stuck() == 1 })
		m.stops(t, s.config().DrainTimeout+grace, true)
		if got := s.Committed(t, s.group, s.topic)[0].Offset; got != 3 {
			t.Errorf("committed offset %d: the last commit said 3", got)
		}
	})
}

// Hazard 10: the brokers are gone.
func TestShutdownEndsWithinTheDrainTimeoutWithoutBrokers(t *testing.T) {
	for _, brokers := range []struct {
		name string
		fail func(*wire)
		play func(*testing.T, int32, func(*testing.T, *scene))
	}{
		{"refuse", (*wire).sever, play},
		// kafka-go has requests wait for each other by mutex, which stops a bubble's time.
		{"are_silent", (*wire).darken, inParallel},
	} {
		short := func(cfg *consumer.Config) { cfg.Sink.Timeout, cfg.DrainTimeout = time.Second, 2*time.Second }
		t.Run(brokers.name, func(t *testing.T) {
			brokers.play(t, 1, func(t *testing.T, s *scene) {
				w := newWire(s)
				s.publish(t, "x", 50, 50)
				m := s.join(t, w.on, quick, short, threeBrokers)
				s.delivered(t, 50)
				brokers.fail(w)
				m.stops(t, 2*time.Second+grace, false)
			})
		})
		t.Run(brokers.name+"_from_the_start", func(t *testing.T) {
			brokers.play(t, 1, func(t *testing.T, s *scene) {
				w := newWire(s)
				brokers.fail(w)
				m := s.join(t, w.on, threeBrokers)
				<-time.After(2 * time.Second)
				m.stops(t, grace, true)
			})
		})
	}
}

// Hazard 10: kafka-go tries one broker after the other, each for five seconds.
func TestShutdownEndsWhileNoBrokerLetsItselfBeReached(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		w := newWire(s)
		m := s.join(t, w.on, quick, threeBrokers)
		m.running(t, 1)
		w.sever()
		await(t, "its session is over", func() bool { return m.Status().State == "joining" })
		w.darken()
		<-time.After(2 * time.Second) // the pause between two tries is shorter
		m.stops(t, grace, true)
	})
}

// inParallel runs a test in real time, while others run.
func inParallel(t *testing.T, partitions int32, test func(t *testing.T, s *scene)) {
	t.Helper()
	t.Parallel()
	test(t, set(t, partitions))
}

// threeBrokers names the first broker three times.
func threeBrokers(cfg *consumer.Config) {
	cfg.Brokers = []string{cfg.Brokers[0], cfg.Brokers[0], cfg.Brokers[0]}
}

// Hazards 4 and 10: SIGTERM under load costs one rebalance, and nothing is sent again.
func TestShutdownUnderLoadIsOneRebalanceWithoutDuplicates(t *testing.T) {
	play(t, 4, func(t *testing.T, s *scene) {
		s.sheet.Script(receiver.Always(receiver.Answer{Delay: 100 * time.Millisecond}))
		few := func(cfg *consumer.Config) { cfg.Sink.Concurrency = 16 }
		records := s.publish(t, "x", s.enough(2000), 500)
		wa, wb := newWire(s), newWire(s)
		a := s.join(t, few, wa.on)
		s.WaitGroup(t, s.group, 1)
		b := s.join(t, few, wb.on)
		s.WaitGroup(t, s.group, 2)
		a.running(t, 2)
		b.running(t, 2)
		s.delivered(t, s.sheet.State().Rows+100)

		// One of two.
		generation, began := a.Status().Generation, time.Now()
		b.stops(t, s.config().DrainTimeout+grace, true)
		if n := len(wb.exchanges(kmsg.JoinGroup, began)); n > 0 {
			t.Errorf("the member that leaves joined %d times more", n)
		}
		a.running(t, 4)
		if got := a.Status().Generation; got != generation+1 {
			t.Errorf("generation %d became %d by one leave", generation, got)
		}
		s.delivered(t, s.sheet.State().Rows+100)

		// The only one, and its restart.
		generation, began = a.Status().Generation, time.Now()
		a.stops(t, s.config().DrainTimeout+grace, true)
		if n := len(wa.exchanges(kmsg.JoinGroup, began)); n > 0 {
			t.Errorf("the member that leaves joined %d times more", n)
		}
		if left := len(records) - s.sheet.State().Rows; left < 100 {
			t.Fatalf("%d records are left: there was not always load", left)
		}
		w := newWire(s)
		again := s.join(t, few, w.on)
		again.running(t, 4)
		s.sheet.Script(nil)
		s.delivered(t, len(records))
		s.committed(t, int64(len(records)))
		got := again.Status().Generation
		t.Logf("generation %d became %d by the leave of the only member and its restart", generation, got)
		if got != generation+2 { // one for each
			t.Errorf("generation %d became %d by the leave of the only member and its restart", generation, got)
		}
		if n := len(w.exchanges(kmsg.JoinGroup, time.Time{})); n != 1 {
			t.Errorf("the restarted member joined %d times", n)
		}
		again.leave(t)
		s.judge(t, records, 0)
	})
}
