package consumer_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"signup-sheet/consumer"
	"signup-sheet/internal/kafkatest"
	"signup-sheet/internal/receiver"
)

// Hazard 31: what a member needs to renew its lease is away for longer than a session. As long as that lasts there is a hold and no attempt;
// then it resumes by itself, with nothing lost and nothing sent again.
func TestAnOutageOfBrokersLongerThanTheSessionHoldsForTheLease(t *testing.T) {
	for name, breaks := range map[string]func(t *testing.T, s *scene, c *cables) (mend func()){
		"coordinator down": func(t *testing.T, s *scene, c *cables) func() {
			node := c.coordinator(t, s.group)
			c.down(t, node)
			return func() { c.up(t, node) }
		},
		"all brokers down": func(t *testing.T, _ *scene, c *cables) func() {
			c.down(t, c.nodes()...)
			return func() { c.up(t, c.nodes()...) }
		},
		// Heartbeats go on, so the group sees nothing wrong, and gives the partitions to nobody else. But nobody could know.
		"commits fail": func(_ *testing.T, _ *scene, c *cables) func() {
			f := c.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.CoordinatorLoadInProgress, Count: -1})
			return f.Remove
		},
		"commits are not answered": func(_ *testing.T, _ *scene, c *cables) func() {
			var over atomic.Bool
			c.Fake().ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
				c.Fake().KeepControl()
				return nil, nil, !over.Load()
			})
			return func() { over.Store(true) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := setVirtual(t, 3, kafkatest.Brokers(3))
				c := newCables(s.Cluster)
				outlive(t, s, outage{
					rows: 1500, lasts: time.Minute, soon: 10 * time.Second, late: 0, tweak: c.through,
					begins: func() (mend func()) { return breaks(t, s, c) },
				})
			})
		})
	}
}

// Hazard 31, with brokers that are not heard of but refuse nothing: only time tells. (In real time, because kafka-go waits for its mutex then,
// which stops a bubble's clock.)
func TestASilenceOfBrokersLongerThanTheSessionHoldsForTheLease(t *testing.T) {
	s := set(t, 3)
	c := newCables(s.Cluster)
	outlive(t, s, outage{
		rows: 600, lasts: 4 * time.Second, soon: 30 * time.Second, late: 30 * time.Second,
		tweak: func(cfg *consumer.Config) {
			c.through(cfg)
			shortSession(cfg)
		},
		begins: func() (mend func()) {
			c.silence(t, c.nodes()...)
			return func() { c.up(t, c.nodes()...) }
		},
	})
}

// shortSession is for tests in real time. A machine that stands still for some seconds makes no attempt fail that was to succeed.
func shortSession(cfg *consumer.Config) {
	cfg.SessionTimeout, cfg.HeartbeatInterval, cfg.CommitInterval = 3*time.Second, 500*time.Millisecond, 500*time.Millisecond
	cfg.Sink.Timeout, cfg.DrainTimeout = 10*time.Second, 11*time.Second
}

// Hazard 31 on real brokers, which are killed: the coordinator, then all others.
func TestAnOutageOfRealBrokersLongerThanTheSessionHoldsForTheLease(t *testing.T) {
	kafkatest.Long(t)
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprint(n, " brokers"), func(t *testing.T) {
			a := startMachines(t, n)
			s := setOn(t, a.Cluster, 3)
			outlive(t, s, outage{
				rows: 600, lasts: 10 * time.Second, soon: time.Minute, late: 30 * time.Second, tweak: shortSession,
				begins: func() (mend func()) {
					first := a.coordinator(t, s.group)
					a.down(t, first)
					for _, node := range a.nodes() {
						if node != first {
							a.down(t, node)
						}
					}
					return func() { a.up(t, a.nodes()...) }
				},
			})
		})
	}
}

// outage is one that a member has to outlive.
type outage struct {
	rows   int // more than are delivered in a session
	tweak  func(*consumer.Config)
	begins func() (mend func())
	lasts  time.Duration // once deliveries are held
	soon   time.Duration // how long the member may take afterwards
	late   time.Duration // how long a request may be on its way: on a busy machine, longer than a moment
}

// outlive lets a member live through an outage in the middle of its work.
func outlive(t *testing.T, s *scene, o outage) {
	t.Helper()
	var latest atomic.Pointer[time.Time] // attempt
	s.sheet.Script(func(_ context.Context, a receiver.Attempt) receiver.Answer {
		latest.Store(&a.Time)
		return receiver.Answer{Delay: 200 * time.Millisecond} // so that there is work left when the lease ends
	})
	records := s.publish(t, "r", o.rows, 100)
	m := s.join(t, o.tweak, func(cfg *consumer.Config) { cfg.Sink.Concurrency = 16 })
	s.delivered(t, 100)

	mend := o.begins()
	await(t, "a hold for want of the lease", m.heldForLease)
	since := m.Status().Holds[0].Since
	await(t, "the end of what was in flight", func() bool { return s.sheet.InFlight() == 0 })
	before := s.sheet.State()
	if before.Rows >= o.rows {
		t.Fatal("nothing was left to deliver: the outage proves nothing")
	}
	over := time.After(o.lasts)
	awaitFor(t, 2*o.lasts, "the end of the outage", func() bool {
		select {
		case <-over:
			return true
		default:
		}
		if !m.heldForLease() {
			t.Fatalf("the hold ended while the outage lasts: %+v", m.Status())
		}
		return false
	})
	if got := m.metric(t, "consumer_hold", "lease"); got != 1 {
		t.Errorf("the metric of the hold is %v, want 1", got)
	}
	if err := m.Live(); err != nil {
		t.Errorf("not alive during the outage, but a restart would not help: %v", err)
	}
	if late := latest.Load().Sub(since); late > o.late || s.sheet.State().Attempts > before.Attempts {
		t.Errorf("an attempt came %v after the lease had ended, %d in all", late, s.sheet.State().Attempts-before.Attempts)
	}

	mend()
	awaitFor(t, o.soon, "an attempt after the outage", func() bool { return s.sheet.State().Attempts > before.Attempts })
	s.delivered(t, o.rows)
	s.committed(t, int64(o.rows))
	if m.heldForLease() {
		t.Errorf("the hold goes on: %+v", m.Status())
	}
	m.leave(t)
	s.judge(t, records, 0)
}

// heldForLease tells whether deliveries wait for the lease.
func (m *member) heldForLease() bool {
	return slices.ContainsFunc(m.Status().Holds, func(h consumer.Hold) bool { return h.Reason == "lease" })
}
