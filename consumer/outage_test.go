package consumer_test

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"signup-sheet/consumer"
	"signup-sheet/internal/kafkatest"
	"signup-sheet/internal/receiver"
)

// Hazards 13 and 14: an outage of ten minutes is waited out. Nothing is
// dead-lettered, the group membership stays, the member stays ready and alive,
// and delivery resumes by itself.
func TestAnOutageOfTenMinutesIsWaitedOut(t *testing.T) {
	status := func(code int) func(*scene) { // what goes wrong
		return func(s *scene) { s.sheet.Script(receiver.Always(receiver.Answer{Status: code})) }
	}
	mend := func(s *scene) { s.sheet.Script(nil) }
	for name, tc := range map[string]struct {
		breaks, mends func(*scene)
		dial          func(*scene) func(context.Context, string, string) (net.Conn, error)
		reason        string // of the hold
	}{
		"503":               {breaks: status(503), mends: mend, reason: "failing"},
		"500":               {breaks: status(500), mends: mend, reason: "failing"},
		"429":               {breaks: status(429), mends: mend, reason: "rate_limited"},
		"401":               {breaks: status(401), mends: mend, reason: "unauthorised"},
		"404":               {breaks: status(404), mends: mend, reason: "not_found"},
		"302":               {breaks: status(302), mends: mend, reason: "redirected"},
		"connections reset": {breaks: func(s *scene) { s.sheet.Script(receiver.Always(receiver.Answer{Drop: true})) }, mends: mend, reason: "network"},
		"connections refused": {reason: "network", dial: func(s *scene) func(context.Context, string, string) (net.Conn, error) {
			down := time.Now().Add(10*time.Minute + 5*time.Second)
			return func(ctx context.Context, network, addr string) (net.Conn, error) {
				if time.Now().Before(down) {
					return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("connection refused")}
				}
				return s.DialContext()(ctx, network, addr)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := setVirtual(t, 3)
				if tc.breaks != nil {
					tc.breaks(s)
				}
				records := s.publish(t, "o", 2000, 300)
				m := s.join(t, func(c *consumer.Config) {
					if tc.dial != nil {
						c.Sink.DialContext = tc.dial(s)
					}
				})
				m.running(t, 3)
				before := m.Status()
				for range 60 { // probes call these all the time
					time.Sleep(10 * time.Second) //nolint:forbidigo // virtual: this is the outage
					if err := m.Live(); err != nil {
						t.Fatalf("not alive: %v", err)
					}
					if err := m.Ready(); err != nil {
						t.Fatalf("not ready: %v", err)
					}
				}
				during := m.Status()
				if during.Generation != before.Generation || during.Member != before.Member {
					t.Errorf("the membership did not stay: generation %d became %d", before.Generation, during.Generation)
				}
				if during.LastFailure == nil {
					t.Error("the status knows of no failure")
				}
				if len(during.Holds) != 1 || during.Holds[0].Reason != tc.reason {
					t.Errorf("holds %+v, want reason %s", during.Holds, tc.reason)
				}
				if rows := s.sheet.State().Rows; rows != 0 {
					t.Errorf("%d rows were accepted in the outage", rows)
				}
				if tc.mends != nil {
					tc.mends(s)
				}
				mended := time.Now()
				s.delivered(t, len(records))
				if d := time.Since(mended); d > 40*time.Second { // the longest time between probes, and what the rows need
					t.Errorf("took %v to resume", d)
				}
				s.committed(t, int64(len(records)))
				if n := len(s.ReadAll(t, s.dlq())); n != 0 {
					t.Errorf("%d dead letters", n)
				}
				m.leave(t)
				s.judge(t, records, 0)
			})
		})
	}
}

// Hazard 14: an endpoint that refuses everything for two hours, as one does whose sheet
// lost a column: what was refused is delivered when it takes rows again.
func TestAnEndpointThatRefusesEverythingIsWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 3)
		records := s.publish(t, "before", 500, 200)
		m := s.join(t)
		s.delivered(t, len(records))
		s.sheet.Script(receiver.Always(receiver.Answer{Status: 400, Delay: 20 * time.Millisecond}))
		records = append(records, s.publish(t, "during", 3000, 1000)...)
		for range 120 {
			time.Sleep(time.Minute) //nolint:forbidigo // virtual
			records = append(records, s.publish(t, fmt.Sprint("late-", len(records)), 3, 3)...)
		}
		if holds := m.Status().Holds; len(holds) != 1 || holds[0].Reason != "refused" {
			t.Errorf("holds %+v", holds)
		}
		s.sheet.Script(nil)
		s.delivered(t, len(records))
		s.committed(t, int64(len(records)))
		if n := len(s.ReadAll(t, s.dlq())); n != 0 {
			t.Errorf("%d dead letters", n)
		}
		m.leave(t)
		s.judge(t, records, 0)
	})
}

// Hazard 28: the window is full of rows that the endpoint refuses, and of what waits behind
// them: nobody can show that others are accepted.
func TestAWindowFullOfBadRowsIsNoDeadEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 1)
		s.sheet.Script(func(_ context.Context, a receiver.Attempt) receiver.Answer {
			if strings.HasPrefix(a.EventID, "bad-") {
				return receiver.Answer{Status: 422}
			}
			return receiver.Answer{}
		})
		s.publish(t, "bad", 15, 15)
		good := s.publish(t, "good", 600, 15)
		m := s.join(t, func(c *consumer.Config) { c.Window = 100 })
		awaitFor(t, 10*time.Minute, "the rows behind them", func() bool { return s.sheet.State().Rows == 600 })
		s.committed(t, 615)
		if n := len(s.ReadAll(t, s.dlq())); n != 15 {
			t.Errorf("%d dead letters", n)
		}
		m.leave(t)
		s.judge(t, good, 0)
	})
}

// Hazard 12: one row that never succeeds stops its key and nothing else, and the
// window behind it is no wall: it is bounded in unsettled records, not in span.
func TestAStuckRowStopsNothingButItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 1)
		var stuck atomic.Bool
		stuck.Store(true)
		s.sheet.Script(func(_ context.Context, a receiver.Attempt) receiver.Answer {
			if a.EventID == "s-7" && stuck.Load() {
				return receiver.Answer{Status: 503}
			}
			return receiver.Answer{Delay: 5 * time.Millisecond}
		})
		records := s.publish(t, "s", 5000, 500) // keys repeat: s-7, s-507, s-1007, …
		m := s.join(t, func(c *consumer.Config) { c.Window = 100 })
		began := time.Now()
		s.delivered(t, 4990)
		if d := time.Since(began); d > 15*time.Second {
			t.Errorf("the others took %v", d)
		}
		if s.sheet.Attempts("s-507") > 0 {
			t.Error("the next record of the key did not wait")
		}
		await(t, "the ten records of the key, and no other, are unsettled", func() bool {
			st := m.Status().Partitions[0]
			return st.Watermark == 7 && st.Unsettled == 10
		})
		stuck.Store(false)
		s.delivered(t, 5000)
		s.committed(t, 5000)
		m.leave(t)
		s.judge(t, records, 0)
	})
}

// Hazard 12: with 0.25 % of the rows taking 600 ms, steady throughput stays
// within 20 % of the run without.
func TestStragglersDoNotSlowOthersDown(t *testing.T) {
	kafkatest.OnKfake(t)
	run := func(t *testing.T, stragglers bool) (d time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			s := setVirtual(t, 2)
			s.sheet.Script(func(_ context.Context, a receiver.Attempt) receiver.Answer {
				n, err := strconv.Atoi(strings.TrimPrefix(a.EventID, "s-"))
				if stragglers && err == nil && n%400 == 0 {
					return receiver.Answer{Delay: 600 * time.Millisecond}
				}
				return receiver.Answer{Delay: 20 * time.Millisecond}
			})
			const rows = 12_000
			s.publish(t, "s", rows, 9973)
			m := s.join(t, func(c *consumer.Config) { c.Sink.Concurrency = 256 })
			m.running(t, 2)
			began := time.Now()
			s.delivered(t, rows*9/10) // the last straggler's own time is not the others'
			d = time.Since(began)
			m.leave(t)
		})
		return d
	}
	clean, slow := run(t, false), run(t, true)
	t.Logf("without stragglers %v, with %v", clean, slow)
	if slow > clean*12/10 {
		t.Errorf("stragglers slow down from %v to %v", clean, slow)
	}
}

// The lag keeps counting while nothing is fetched, because the window is full:
// it is what people are paged by.
func TestLagGrowsDuringAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 1)
		s.sheet.Script(receiver.Always(receiver.Answer{Status: 404}))
		s.publish(t, "a", 100, 10)
		m := s.join(t, func(c *consumer.Config) { c.Window = 50 })
		await(t, "a full window", func() bool { return m.metric(t, "window_records") == 50 })
		s.publish(t, "b", 900, 10)
		await(t, "a lag of all that was published", func() bool { return m.metric(t, "lag_records") == 1000 })
		s.sheet.Script(nil)
		s.delivered(t, 1000)
		s.committed(t, 1000)
		await(t, "no lag", func() bool { return m.metric(t, "lag_records") == 0 })
		m.leave(t)
	})
}
