package sink

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestBackoffIsFullJitterBelowADoublingBound(t *testing.T) {
	for times := 1; times < 40; times++ {
		bound := time.Minute
		if times <= 7 {
			bound = min(bound, 500*time.Millisecond<<(times-1))
		}
		least, most := bound, time.Duration(0)
		for range 500 {
			d := backoff(times)
			least, most = min(least, d), max(most, d)
		}
		if least < 0 || most > bound || least > bound/5 || most < bound*4/5 {
			t.Errorf("backoff %d is from %v to %v, want 0 to %v", times, least, most, bound)
		}
	}
}

func TestATransientFailureDelaysItsOwnRowOnly(t *testing.T) {
	for _, status := range []int{408, 425, 500, 502, 503, 504} {
		synctest.Test(t, func(t *testing.T) {
			e := newEndpoint(t, func(n int, w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Idempotency-Key") == "bad" && n < 400 {
					w.WriteHeader(status)
				}
			})
			var mu sync.Mutex
			var waiting, waits int
			s := e.sink(t, func(c *Config) {
				c.Concurrency = 1
				c.Waiting = func(delta int) {
					mu.Lock()
					defer mu.Unlock()
					waiting += delta
					waits += max(delta, 0)
				}
			})
			var running sync.WaitGroup
			running.Go(func() {
				if err := s.Deliver(t.Context(), row("bad")); err != nil {
					t.Error(err)
				}
			})
			begin := time.Now()
			synctest.Wait()
			mu.Lock()
			if waiting != 1 {
				t.Errorf("%d: %d rows are said to wait, want 1", status, waiting)
			}
			mu.Unlock()
			s.deliver(t.Context(), 399)
			if time.Since(begin) != 0 {
				t.Errorf("%d: the others took %v", status, time.Since(begin))
			}
			running.Wait()
			if waiting != 0 || waits != 2 || s.metric(t, "signup_sheet_retries_total") != 1 ||
				s.metric(t, "signup_sheet_holds_total") != 0 {
				t.Errorf("%d: %d waiting after %d waits", status, waiting, waits)
			}
		})
	}
}

// TestAnAttemptUnderWayIsFinished: the context ends while the endpoint thinks.
func TestAnAttemptUnderWayIsFinished(t *testing.T) {
	stop := errors.New("stop")
	for status, want := range map[int]func(error) bool{
		200: func(err error) bool { return err == nil },
		422: func(err error) bool { return errors.Is(err, stop) },
		503: func(err error) bool { return errors.Is(err, stop) },
		404: func(err error) bool { return errors.Is(err, stop) },
		429: func(err error) bool { return errors.Is(err, stop) },
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			e := newEndpoint(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
				pause(time.Second)
				cancel(stop)
				pause(time.Second)
				w.WriteHeader(status)
			})
			s := e.sink(t)
			begin := time.Now()
			if err := s.Deliver(ctx, row("1")); !want(err) {
				t.Errorf("%d: %v", status, err)
			}
			if time.Since(begin) != 2*time.Second || len(e.requests()) != 1 {
				t.Errorf("%d: %d requests in %v", status, len(e.requests()), time.Since(begin))
			}
		})
	}
}

// TestEveryWaitEndsWithTheContext: at the gate, for a slot, in backoff, for a permit.
func TestEveryWaitEndsWithTheContext(t *testing.T) {
	stop := errors.New("stop")
	for name, c := range map[string]struct {
		status int
		think  time.Duration
	}{
		"gate":    {status: 429},
		"backoff": {status: 503},
		"slot":    {status: 200, think: 3 * time.Second},
		"permit":  {status: 200},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var may Permit
				if name == "permit" {
					may = newPermit(false)
				}
				e := newEndpoint(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
					pause(c.think)
					w.WriteHeader(c.status)
				})
				s := e.sink(t, func(cfg *Config) { cfg.Concurrency, cfg.Permit = 1, may })
				other, end := context.WithCancel(t.Context())
				var running sync.WaitGroup
				if name != "backoff" {
					running.Go(func() { _ = s.Deliver(other, row("other")) })
				}
				synctest.Wait()
				ctx, cancel := context.WithCancelCause(t.Context())
				done := make(chan error, 1)
				go func() { done <- s.Deliver(ctx, row("1")) }()
				synctest.Wait()
				begin, sent := time.Now(), len(e.requests())
				cancel(stop)
				if err := <-done; !errors.Is(err, stop) {
					t.Errorf("%v", err)
				}
				if time.Since(begin) != 0 {
					t.Errorf("ended after %v", time.Since(begin))
				}
				if err := s.Deliver(ctx, row("2")); !errors.Is(err, stop) {
					t.Errorf("after the end: %v", err)
				}
				end()
				running.Wait()
				pause(time.Minute)
				if len(e.requests()) != sent {
					t.Error("something was sent after the end")
				}
			})
		})
	}
}
