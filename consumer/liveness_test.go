package consumer_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"signup-sheet/consumer"
	"signup-sheet/internal/receiver"
)

// stuckAges never comes back with the age of one name, whatever its context
// says, until it is released.
type stuckAges struct {
	name string
	free chan struct{}
	once sync.Once

	mu sync.Mutex
	n  int
}

func newStuckAges(name string) *stuckAges { return &stuckAges{name: name, free: make(chan struct{})} }

func (a *stuckAges) on(cfg *consumer.Config) { cfg.Ages = a }

func (a *stuckAges) Age(_ context.Context, name, _ string, _ func(int)) (int, string) {
	if name == a.name {
		a.mu.Lock()
		a.n++
		a.mu.Unlock()
		<-a.free
	}
	return 0, "unavailable"
}

func (a *stuckAges) stuck() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.n
}

func (a *stuckAges) release() { a.once.Do(func() { close(a.free) }) }

// lives requires that the watchdog finds nothing for so long, asked as a kubelet
// asks.
func (m *member) lives(t *testing.T, duration time.Duration) {
	t.Helper()
	tick, end := time.NewTicker(5*time.Second), time.After(duration)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := m.Live(); err != nil {
				t.Fatal(err)
			}
		case <-end:
			return
		}
	}
}

// dies returns how long it took the watchdog to find something.
func (m *member) dies(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	tick, end := time.NewTicker(5*time.Second), time.After(5*time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := m.Live(); err != nil {
				if !strings.Contains(err.Error(), "stuck") {
					t.Errorf("the watchdog says %q", err)
				}
				return time.Since(began)
			}
		case <-end:
			t.Fatal("the watchdog finds nothing in five minutes")
		}
	}
}

func TestAMemberWithoutPartitionsIsReady(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		w, on := newWire(s), true
		w.swallow(kmsg.JoinGroup, &on)
		waiting := s.join(t, w.on)
		await(t, "it asks to join", func() bool { return len(w.exchanges(kmsg.JoinGroup, time.Time{})) > 0 })
		if err := waiting.Ready(); err == nil {
			t.Error("ready before it joined")
		}
		waiting.leave(t)
		if err := waiting.Ready(); err == nil {
			t.Error("ready after it left")
		}

		a := s.join(t)
		s.WaitGroup(t, s.group, 1)
		b := s.join(t)
		s.WaitGroup(t, s.group, 2)
		// A member stays ready in a rebalance, and when the group is stable it may still ask where to begin.
		await(t, "both are ready, and one has the partition", func() bool {
			return a.Ready() == nil && b.Ready() == nil && len(a.Status().Partitions)+len(b.Status().Partitions) == 1
		})
		for _, m := range []*member{a, b} {
			if err := m.Live(); err != nil {
				t.Error(err)
			}
			m.leave(t)
		}
	})
}

func TestHoldsChangeNeitherReadinessNorLiveness(t *testing.T) {
	for name, answer := range map[string]receiver.Answer{
		"unauthorised": {Status: http.StatusUnauthorized},
		"gone":         {Status: http.StatusGone},
		"failing":      {Status: http.StatusServiceUnavailable},
		"rate_limited": {Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"100"}}},
	} {
		t.Run(name, func(t *testing.T) {
			virtually(t, 2, func(t *testing.T, s *scene) {
				s.sheet.Script(receiver.Always(answer))
				records := s.publish(t, "x", 500, 50)
				m := s.join(t)
				await(t, "attempts", func() bool { return s.sheet.State().Attempts > 0 })
				m.lives(t, 3*time.Minute)
				if err := m.Ready(); err != nil {
					t.Error(err)
				}
				s.sheet.Script(nil)
				s.delivered(t, 500)
				m.leave(t)
				s.judge(t, records, 0)
			})
		})
	}
}

func TestAChainAndItsBackoffAreAlive(t *testing.T) {
	virtually(t, 1, func(t *testing.T, s *scene) {
		s.sheet.Script(receiver.Event("x-0", receiver.Always(receiver.Answer{Status: http.StatusServiceUnavailable})))
		s.publish(t, "x", 100, 1)
		m := s.join(t)
		await(t, "it backs off", func() bool { return m.Status().Retrying == 1 })
		m.lives(t, 3*time.Minute)
		if rows := s.sheet.State().Rows; rows != 0 {
			t.Errorf("%d rows overtook the first of their key", rows)
		}
		m.leave(t)
	})
}

// At a slow pace, and with a small share of it, rows wait for minutes.
func TestASlowPaceIsAlive(t *testing.T) {
	virtually(t, 1, func(t *testing.T, s *scene) {
		records := s.publish(t, "x", 3, 3)
		m := s.join(t, func(c *consumer.Config) { c.Sink.Rate = 0.005 })
		s.delivered(t, 1)
		m.lives(t, 6*time.Minute)
		s.delivered(t, 3)
		m.leave(t)
		s.judge(t, records, 0)
	})
}

func TestAnIdleMemberIsAlive(t *testing.T) {
	virtually(t, 1, func(t *testing.T, s *scene) {
		s.publish(t, "x", 10, 10)
		m := s.join(t)
		s.delivered(t, 10)
		m.lives(t, 3*time.Minute)
		m.leave(t)
	})
}

func TestALostLeaseIsAlive(t *testing.T) {
	virtually(t, 1, func(t *testing.T, s *scene) {
		s.sheet.Script(receiver.Always(receiver.Answer{Delay: time.Second}))
		records := s.publish(t, "x", 1000, 1000)
		w, on := newWire(s), false
		w.swallow(kmsg.OffsetCommit, &on)
		m := s.join(t, w.on)
		s.delivered(t, 64)
		w.set(func() { on = true }) // heartbeats go on, so the session does too
		await(t, "it is held", func() bool { h := m.Status().Holds; return len(h) == 1 && h[0].Reason == "lease" })
		m.lives(t, 3*time.Minute)
		if err := m.Ready(); err != nil {
			t.Error(err)
		}
		w.set(func() { on = false })
		s.delivered(t, 1000)
		m.leave(t)
		s.judge(t, records, 0)
	})
}

func TestDeliveriesThatAreStuckAreNotAlive(t *testing.T) {
	for name, stuck := range map[string]int{"all": 200, "one_of_many": 1} {
		t.Run(name, func(t *testing.T) {
			virtually(t, 1, func(t *testing.T, s *scene) {
				ages := newStuckAges("Stuck Smith")
				defer ages.release()
				m := s.join(t, ages.on)
				for i := range stuck {
					s.Produce(t, s.topic, &kgo.Record{Value: []byte(`{"email":"ann@example.com","name":"Stuck Smith"}`), Partition: 0, Timestamp: time.Now().Add(time.Duration(i))})
				}
				await(t, "lookups are under way", func() bool { return ages.stuck() == min(stuck, 64) })
				// Others go on.
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var others sync.WaitGroup
				defer others.Wait()
				defer cancel()
				others.Go(func() {
					tick := time.NewTicker(time.Second)
					defer tick.Stop()
					for ctx.Err() == nil {
						s.Produce(t, s.topic, s.signups("x", 1, 1)...)
						select {
						case <-tick.C:
						case <-ctx.Done():
						}
					}
				})
				took := m.dies(t)
				if took < 55*time.Second || took > 75*time.Second {
					t.Errorf("the watchdog took %v", took)
				}
				if err := m.Ready(); err != nil {
					t.Error(err)
				}
				cancel()
				others.Wait()
				ages.release()
				await(t, "all settled", func() bool { return m.Status().InProgress == 0 && m.Status().Queued == 0 })
				if err := m.Live(); err != nil {
					t.Errorf("after it goes on: %v", err)
				}
				m.leave(t)
			})
		})
	}
}
