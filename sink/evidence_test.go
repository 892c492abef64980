package sink

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// crowd is what became of many rows.
type crowd struct {
	mu       sync.Mutex
	accepted map[string]time.Time
	givenUp  map[string]*GivenUp
	running  sync.WaitGroup
}

// keys delivers rows of so many keys at the same time, and those of a key one after the
// other, as the consumer does. Rows are named key-number.
func (p *probed) keys(ctx context.Context, keys, rows int) *crowd {
	c := &crowd{accepted: map[string]time.Time{}, givenUp: map[string]*GivenUp{}}
	for key := range keys {
		c.running.Go(func() {
			for n := range rows {
				id := fmt.Sprintf("%d-%d", key, n)
				err := p.Deliver(ctx, row(id))
				c.mu.Lock()
				if why, ok := errors.AsType[*GivenUp](err); ok {
					c.givenUp[id] = why
				} else if err == nil {
					c.accepted[id] = time.Now()
				}
				c.mu.Unlock()
				if ctx.Err() != nil {
					return
				}
			}
		})
	}
	return c
}

func (c *crowd) counts() (accepted, givenUp int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.accepted), len(c.givenUp)
}

// An endpoint that begins to refuse everything, at any concurrency: what was refused
// waits, and is delivered when it takes rows again.
func TestAnEndpointThatRefusesEverythingCostsFewRows(t *testing.T) {
	for _, keys := range []int{1, 3, minRefused, 64, 200} {
		t.Run(fmt.Sprint(keys, " keys"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				from, to := 10*time.Second, 2*time.Hour
				e := newEndpoint(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
					pause(100 * time.Millisecond)
					if at := time.Since(began); at >= from && at < to {
						w.WriteHeader(http.StatusBadRequest)
					}
				})
				s := e.sink(t)
				c := s.keys(t.Context(), keys, 300)
				pause(from + 10*time.Second)
				synctest.Wait()
				if _, held := s.Hold(); held != (keys >= minRefused) {
					t.Errorf("held: %v", held)
				}
				_, before := c.counts()
				pause(to - 20*time.Second - time.Second)
				_, after := c.counts()
				if keys >= minRefused && before != 0 {
					t.Errorf("%d rows given up at once", before)
				}
				c.running.Wait()
				accepted, givenUp := c.counts()
				if givenUp > 20 || accepted+givenUp != keys*300 {
					t.Errorf("%d accepted, %d given up", accepted, givenUp)
				}
				if after == 20 && keys < minRefused && !strings.Contains(s.logs.String(), "too many dead letters") {
					t.Error("nothing is said of the budget")
				}
				if s.metric(t, "signup_sheet_dead_letters_withheld") != 0 {
					t.Error("rows are still said to be withheld")
				}
				if d := s.lastAfter(e, to); d > 31*time.Second+evidenceTime {
					t.Errorf("goes on %v after the recovery", d)
				}
			})
		})
	}
}

// lastAfter returns how long after a moment the first request came.
func (p *probed) lastAfter(e *endpoint, moment time.Duration) time.Duration {
	seen := e.requests()
	for _, r := range seen {
		if d := r.at.Sub(seen[0].at) - moment; d >= 0 {
			return d
		}
	}
	return 0
}

// A row that is refused while others are accepted is sent twice: given up on the first refusal that comes after the
// acceptance of another that was sent after the one before.
func TestARefusedRowIsGivenUpOnTheSecondRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const took = 20 * time.Millisecond
		e := newEndpoint(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			pause(took)
			if r.Header.Get("Idempotency-Key") == "3-7" {
				w.Header().Set("X-Request-Id", "req-1")
				w.WriteHeader(http.StatusUnprocessableEntity)
			}
		})
		s := e.sink(t)
		c := s.keys(t.Context(), 5, 100)
		c.running.Wait()
		why := c.givenUp["3-7"]
		var attempts, others []time.Time
		for _, r := range e.requests() {
			if r.id == "3-7" {
				attempts = append(attempts, r.at)
			} else {
				others = append(others, r.at)
			}
		}
		if len(c.givenUp) != 1 || why == nil || why.Class != ClassRefused || why.Attempts != len(attempts) || why.Status != 422 || len(why.RequestIDs) != 1 {
			t.Fatalf("%+v", c.givenUp)
		}
		// It is sent again after a time that is left to chance, and that can be too short for an acceptance.
		shown := func(before time.Time) bool {
			return slices.ContainsFunc(others, func(at time.Time) bool {
				return at.After(attempts[0].Add(took)) && at.Add(took).Before(before)
			})
		}
		last := len(attempts) - 1
		if last < 1 || !shown(attempts[last].Add(1)) || last > 1 && shown(attempts[last-1]) {
			t.Errorf("sent at %v", attempts)
		}
		if n := s.metric(t, "signup_sheet_holds_total"); n != 0 {
			t.Errorf("%v holds", n)
		}
	})
}

// One or two rows that are refused on a quiet topic have nobody to compare with: they
// wait a minute for evidence, and no longer.
func TestALonelyRefusedRowIsGivenUpAfterAMinute(t *testing.T) {
	for _, keys := range []int{1, 5, 9} {
		synctest.Test(t, func(t *testing.T) {
			e := newEndpoint(t, always(http.StatusBadRequest))
			s := e.sink(t)
			began := time.Now()
			c := s.keys(t.Context(), keys, 1)
			c.running.Wait()
			if took := time.Since(began); len(c.givenUp) != keys || took < evidenceTime || took > evidenceTime+2*time.Second {
				t.Errorf("%d of %d given up after %v", len(c.givenUp), keys, took)
			}
			if n := len(e.requests()); n > 20*keys {
				t.Errorf("%d requests", n)
			}
			if n := s.metric(t, "signup_sheet_holds_total"); n != 0 {
				t.Errorf("%v holds", n)
			}
		})
	}
}

// A third of the rows are refused, for good: some become dead letters, the rest waits
// while others go on.
func TestRowsAboveTheBudgetWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			pause(20 * time.Millisecond)
			if strings.HasPrefix(r.Header.Get("Idempotency-Key"), "bad") {
				w.WriteHeader(http.StatusBadRequest)
			}
		})
		s := e.sink(t)
		began := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var bad sync.WaitGroup
		var mu sync.Mutex
		givenUp := 0
		for i := range 60 {
			bad.Go(func() {
				if _, ok := errors.AsType[*GivenUp](s.Deliver(ctx, row(fmt.Sprint("bad-", i)))); ok {
					mu.Lock()
					defer mu.Unlock()
					givenUp++
				}
			})
		}
		good := s.keys(ctx, 2, 30)
		good.running.Wait()
		pause(5 * time.Minute)
		mu.Lock()
		if givenUp != 20 {
			t.Errorf("%d given up beside 60 that were accepted", givenUp)
		}
		mu.Unlock()
		if got := s.metric(t, "signup_sheet_dead_letters_withheld"); got != 40 {
			t.Errorf("%v rows are said to be withheld", got)
		}
		if n := strings.Count(s.logs.String(), "too many dead letters"); n < 1 || n > 1+int(time.Since(began)/time.Minute) {
			t.Errorf("%d lines in %v", n, time.Since(began))
		}
		// Acceptances end it.
		more := s.keys(ctx, 2, 20_000)
		bad.Wait()
		if givenUp != 60 {
			t.Errorf("%d given up", givenUp)
		}
		cancel()
		more.running.Wait()
	})
}

// A limit that all rows are above is more often wrong than they are.
func TestRowsThatAreTooLargeUseTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, always(http.StatusOK))
		s := e.sink(t, func(c *Config) { c.MaxBodyBytes = len(row("12-1234").Body) })
		ctx, cancel := context.WithCancel(t.Context())
		large := &crowd{}
		given := make(chan *GivenUp, 60)
		for i := range cap(given) {
			large.running.Go(func() {
				if why, ok := errors.AsType[*GivenUp](s.Deliver(ctx, row(fmt.Sprint("much too large ", i)))); ok {
					given <- why
				}
			})
		}
		pause(time.Hour)
		if n := s.metric(t, "signup_sheet_dead_letters_withheld"); len(given) != 20 || n != 40 {
			t.Errorf("%d given up, %v withheld", len(given), n)
		}
		if !strings.Contains(s.logs.String(), "too many dead letters") {
			t.Error("nothing is said of the budget")
		}
		s.keys(ctx, 64, 100).running.Wait() // acceptances make room
		pause(time.Minute)
		if n := s.metric(t, "signup_sheet_dead_letters_withheld"); len(given) != 40 || n != 20 {
			t.Errorf("%d given up, %v withheld", len(given), n)
		}
		cancel()
		large.running.Wait()
		if n := s.metric(t, "signup_sheet_dead_letters_withheld"); n != 0 {
			t.Errorf("%v are said to be withheld after the end", n)
		}
	})
}

// Nothing is given up in a hold, whatever was known before it.
func TestNothingIsGivenUpInAHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		e := newEndpoint(t, func(n int, w http.ResponseWriter, r *http.Request) {
			switch id := r.Header.Get("Idempotency-Key"); {
			case id == "bad" && n > 1:
				pause(2 * time.Second)
				fallthrough
			case id == "bad":
				w.WriteHeader(http.StatusBadRequest)
			case time.Since(began) >= time.Second && time.Since(began) < 2*time.Second:
				w.Header().Set("Retry-After", "60")
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		})
		s := e.sink(t)
		done := make(chan error)
		go func() { done <- s.Deliver(t.Context(), row("bad")) }()
		pause(time.Millisecond)
		s.deliver(t.Context(), 1) // is accepted
		pause(time.Second)
		go s.deliver(t.Context(), 1) // closes the gate, while the bad row is under way again
		_, ok := errors.AsType[*GivenUp](<-done)
		if at := time.Since(began); !ok || at < 61*time.Second {
			t.Errorf("given up: %v, after %v", ok, at)
		}
	})
}

// Hazard 28: a row that always gets 503 while others succeed is given up when it has
// failed often and long, and holds up nobody.
func TestARowThatAloneFailsIsExhausted(t *testing.T) {
	for _, status := range []int{503, 403, 302} {
		synctest.Test(t, func(t *testing.T) {
			e := newEndpoint(t, func(_ int, w http.ResponseWriter, r *http.Request) {
				pause(200 * time.Millisecond)
				if r.Header.Get("Idempotency-Key") == "bad" {
					w.WriteHeader(status)
					fmt.Fprint(w, "no")
				}
			})
			s := e.sink(t)
			ctx, cancel := context.WithCancel(t.Context())
			others := s.keys(ctx, 3, 1<<20)
			began := time.Now()
			err := s.Deliver(ctx, row("bad"))
			took := time.Since(began)
			why, ok := errors.AsType[*GivenUp](err)
			if !ok || why.Class != ClassExhausted || why.Attempts < 12 || why.Status != status || why.Response != "no" {
				t.Errorf("%+v", err)
			}
			if took < 15*time.Minute || took > 17*time.Minute {
				t.Errorf("after %v", took)
			}
			cancel()
			others.running.Wait()
			if n, full := len(others.accepted), int(took/(200*time.Millisecond))*3; n < full*98/100 {
				t.Errorf("%d others were accepted meanwhile, of %d at full speed", n, full)
			}
			if n := s.metric(t, "signup_sheet_holds_total"); n != 0 {
				t.Errorf("%v holds", n)
			}
		})
	}
}

// Both have to be reached: so many attempts, and so long.
func TestARowIsExhaustedByAttemptsAndTime(t *testing.T) {
	for _, c := range []struct {
		attempts int
		elapsed  time.Duration
	}{{60, time.Second}, {1, time.Hour}} {
		synctest.Test(t, func(t *testing.T) {
			e := newEndpoint(t, func(_ int, w http.ResponseWriter, r *http.Request) {
				pause(time.Second)
				if r.Header.Get("Idempotency-Key") == "bad" {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
			})
			s := e.sink(t, func(cfg *Config) { cfg.MaxAttempts, cfg.MaxElapsed = c.attempts, c.elapsed })
			ctx, cancel := context.WithCancel(t.Context())
			others := s.keys(ctx, 3, 1<<20)
			began := time.Now()
			why, ok := errors.AsType[*GivenUp](s.Deliver(ctx, row("bad")))
			if took := time.Since(began); !ok || why.Attempts < c.attempts || took < c.elapsed || c.attempts > 1 && why.Attempts != c.attempts {
				t.Errorf("%+v: %+v after %v", c, why, took)
			}
			cancel()
			others.running.Wait()
		})
	}
}

// Nobody is exhausted on the evidence of fewer than twenty others.
func TestFewOthersAreNoEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Idempotency-Key") == "bad" {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		})
		s := e.sink(t, func(c *Config) { c.MaxAttempts, c.MaxElapsed = 1, time.Second })
		done := make(chan error, 1)
		go func() { done <- s.Deliver(t.Context(), row("bad")) }()
		for range 19 {
			pause(time.Minute)
			s.deliver(t.Context(), 1)
		}
		pause(time.Hour)
		select {
		case err := <-done:
			t.Fatalf("given up beside 19 others: %v", err)
		default:
		}
		for range 10 {
			pause(time.Minute)
			s.deliver(t.Context(), 1)
		}
		if _, ok := errors.AsType[*GivenUp](<-done); !ok {
			t.Error("not given up beside 29 others")
		}
	})
}

// Hazard 28: the same without others, or with others that fail too: nobody knows whose
// fault it is, and the row stays.
func TestNoRowIsExhaustedWithoutEvidence(t *testing.T) {
	t.Run("alone", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			e := newEndpoint(t, always(http.StatusServiceUnavailable))
			s := e.sink(t)
			ctx, cancel := context.WithTimeout(t.Context(), 6*time.Hour)
			defer cancel()
			if err := s.Deliver(ctx, row("1")); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			if n := len(e.requests()); n > 6*60*60/15+40 {
				t.Errorf("%d requests", n)
			}
			if _, held := s.Hold(); !held {
				t.Error("no hold")
			}
		})
	})
	t.Run("a quarter of all fails", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			e := newEndpoint(t, func(_ int, w http.ResponseWriter, r *http.Request) {
				pause(400 * time.Millisecond)
				if r.Header.Get("Idempotency-Key") == "bad" || rand.N(4) == 0 {
					w.WriteHeader(http.StatusBadGateway)
				}
			})
			s := e.sink(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			others := s.keys(ctx, 8, 1<<20)
			if err := s.Deliver(ctx, row("bad")); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			others.running.Wait()
			if len(others.givenUp) != 0 {
				t.Errorf("%d others were given up", len(others.givenUp))
			}
		})
	})
}

// The time of an outage is nobody's: a row that failed before it is not exhausted by it.
func TestAnOutageIsNotChargedToARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		e := newEndpoint(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			pause(500 * time.Millisecond)
			at := time.Since(began)
			if at > 10*time.Second && at < 10*time.Hour || r.Header.Get("Idempotency-Key") == "bad" && at < 10*time.Hour+10*time.Minute {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		})
		s := e.sink(t)
		ctx, cancel := context.WithCancel(t.Context())
		others := s.keys(ctx, 15, 1<<20)
		if err := s.Deliver(ctx, row("bad")); err != nil {
			t.Errorf("%+v", err)
		}
		cancel()
		others.running.Wait()
		if len(others.givenUp) != 0 {
			t.Errorf("%d given up", len(others.givenUp))
		}
	})
}

// An endpoint that fails a part of all requests at random is no endpoint that is down.
func TestFailuresAtRandomAreNoOutage(t *testing.T) {
	for _, c := range []struct {
		keys, rows, percent int
		within              time.Duration
		holds               float64
	}{
		{keys: 1, rows: 500, percent: 50, within: time.Hour, holds: 20},
		{keys: 3, rows: 500, percent: 50, within: time.Hour, holds: 20},
		{keys: 64, rows: 50, percent: 50, within: 30 * time.Minute, holds: 20},
		{keys: 64, rows: 200, percent: 10, within: 5 * time.Minute, holds: 5},
		{keys: 1, rows: 10, percent: 95, within: 24 * time.Hour, holds: 1000},
		{keys: 64, rows: 5, percent: 95, within: 24 * time.Hour, holds: 1000},
	} {
		t.Run(fmt.Sprint(c.percent, " percent of ", c.keys, " keys"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEndpoint(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
					pause(20 * time.Millisecond)
					if rand.N(100) < c.percent {
						w.WriteHeader(http.StatusInternalServerError)
					}
				})
				s := e.sink(t)
				began := time.Now()
				rows := s.keys(t.Context(), c.keys, c.rows)
				rows.running.Wait()
				took, holds := time.Since(began), s.metric(t, "signup_sheet_holds_total")
				t.Logf("%v, %v holds, %d requests", took, holds, len(e.requests()))
				if len(rows.accepted) != c.keys*c.rows {
					t.Errorf("%d accepted, %d given up", len(rows.accepted), len(rows.givenUp))
				}
				if took > c.within || holds > c.holds {
					t.Errorf("%v and %v holds", took, holds)
				}
			})
		})
	}
}

// A topic with one signup an hour, and rows that the endpoint fails on.
func TestAQuietTopicGoesOnBesideBadRows(t *testing.T) {
	for _, c := range []struct{ bad, status int }{{1, 503}, {1, 403}, {3, 403}, {12, 400}} {
		synctest.Test(t, func(t *testing.T) {
			e := newEndpoint(t, func(_ int, w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.Header.Get("Idempotency-Key"), "bad") {
					w.WriteHeader(c.status)
				}
			})
			s := e.sink(t)
			ctx, cancel := context.WithCancel(t.Context())
			var bad sync.WaitGroup
			for i := range c.bad {
				bad.Go(func() { _ = s.Deliver(ctx, row(fmt.Sprint("bad", i))) })
			}
			pause(30 * time.Second)
			for i := range 24 {
				began := time.Now()
				if err := s.Deliver(ctx, row(fmt.Sprint(i))); err != nil {
					t.Fatal(err)
				}
				if d := time.Since(began); d > 31*time.Second {
					t.Errorf("%+v: row %d waited %v", c, i, d)
				}
				pause(time.Hour)
			}
			cancel()
			bad.Wait()
		})
	}
}

// The reason of a hold is what most of the answers said.
func TestAHoldsReasonIsWhatMostAnswersSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			// Until all are under way, and then one after the other: the hold begins with half of the answers, and at one
			// moment, in any order, most of that half could by chance be another.
			pause(20*time.Millisecond + time.Duration(n)*time.Microsecond)
			w.WriteHeader([]int{401, 503, 401, 400, 401}[n%5])
		})
		s := e.sink(t)
		ctx, cancel := context.WithCancel(t.Context())
		rows := s.keys(ctx, 64, 1)
		pause(30 * time.Millisecond)
		if h, held := s.Hold(); !held || h.Reason != reasonUnauthorised {
			t.Errorf("%+v %v", h, held)
		}
		cancel()
		rows.running.Wait()
	})
}

// After a hold rows go out one, two, four, … at a time.
func TestTheGateOpensByDegrees(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		e := newEndpoint(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
			pause(20 * time.Millisecond)
			if time.Since(began) < time.Minute {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		})
		s := e.sink(t)
		c := s.keys(t.Context(), 300, 20)
		c.running.Wait()
		var opened time.Time
		perTrip := map[int]int{}
		for _, r := range e.requests() {
			if r.at.Sub(began) >= time.Minute-20*time.Millisecond {
				if opened.IsZero() {
					opened = r.at
				}
				perTrip[int(r.at.Sub(opened)/(20*time.Millisecond))]++
			}
		}
		for trip, most := range []int{1, 2, 4, 8, 16, 32, 64, 64} {
			if n := perTrip[trip]; n > most || n < most/2 {
				t.Errorf("%d requests in round trip %d, want %d", n, trip, most)
			}
		}
	})
}

// While all fail nothing is sent that is not needed to know it: not even by an endpoint
// that takes long to fail.
func TestAnOutageIsSeenWithoutMoreRequests(t *testing.T) {
	for _, think := range []time.Duration{0, 20 * time.Millisecond, 4 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			e := newEndpoint(t, func(n int, w http.ResponseWriter, _ *http.Request) {
				pause(think + time.Duration(n)*time.Millisecond)
				w.WriteHeader(http.StatusServiceUnavailable)
			})
			s := e.sink(t)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			c := s.keys(ctx, 1000, 1)
			c.running.Wait()
			if n := len(e.requests()); n > 64+40 {
				t.Errorf("%d requests in ten minutes", n)
			}
		})
	}
}

// A rate limit at zero is heeded though the row was accepted.
func TestTheLastRequestOfARateLimitIsTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("RateLimit", fmt.Sprintf(`"minute";r=%d;t=30`, (1000-n)%10))
		})
		s := e.sink(t, func(c *Config) { c.Concurrency = 1 })
		began := time.Now()
		if err := errors.Join(s.deliver(t.Context(), 25)...); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != time.Minute {
			t.Errorf("25 rows in %v, want two pauses of 30s", took)
		}
		if s.metric(t, "signup_sheet_holds_total", "reason", reasonRateLimited) != 2 {
			t.Error("no holds")
		}
	})
}

// That the row which probes is accepted does not open the gate if nothing is left of the limit.
func TestALimitOfOneRowIsOneRowEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("RateLimit", `"half a minute";r=0;t=30`)
		})
		s := e.sink(t, func(c *Config) { c.Concurrency = 1 })
		began := time.Now()
		if err := errors.Join(s.deliver(t.Context(), 5)...); err != nil {
			t.Fatal(err)
		}
		for i, r := range e.requests() {
			if at := r.at.Sub(began); at != time.Duration(i)*30*time.Second {
				t.Errorf("request %d after %v", i, at)
			}
		}
	})
}

// The pace is kept over any ten seconds, by two and three members together as well,
// and it is nearly reached.
func TestThePaceIsKept(t *testing.T) {
	const perSecond = 30
	for members := 1; members <= 3; members++ {
		synctest.Test(t, func(t *testing.T) {
			e := newEndpoint(t, func(_ int, _ http.ResponseWriter, _ *http.Request) { pause(20 * time.Millisecond) })
			var running sync.WaitGroup
			for member := range members {
				s := e.sink(t, func(c *Config) { c.Rate = perSecond })
				s.SetShare(1 / float64(members))
				running.Go(func() {
					pause(time.Duration(member) * 5 * time.Millisecond)
					s.keys(t.Context(), 64, 10).running.Wait()
					pause(time.Minute) // what was not used is not made up for
					s.keys(t.Context(), 64, 10).running.Wait()
				})
			}
			running.Wait()
			seen := e.requests()
			for from := range seen {
				to := from
				for to < len(seen) && seen[to].at.Sub(seen[from].at) < 10*time.Second {
					to++
				}
				if n := to - from; n > 10*perSecond || to < len(seen)/2 && n < 270 {
					t.Fatalf("%d members: %d requests in ten seconds", members, n)
				}
			}
		})
	}
}

// What is sent again at once keeps to the pace as well: here all that is under way when a
// token is revoked.
func TestRepeatsKeepThePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const perSecond = 30
		a := &authorizationServer{secret: "s1", expires: 3600}
		e := newEndpoint(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			pause(2 * time.Second)
			if !a.takes(r) {
				w.WriteHeader(http.StatusUnauthorized)
			}
		})
		a.serve(t, e)
		s := e.sink(t, func(c *Config) { c.Auth, c.Rate, c.Concurrency = oauth(t, "s1"), perSecond, 200 })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c := s.keys(ctx, 200, 1000)
		pause(30 * time.Second)
		a.revoke()
		c.running.Wait()
		if n := s.metric(t, "signup_sheet_credential_repeats_total"); n < 50 {
			t.Errorf("%v repeats", n)
		}
		seen := e.requests()
		for from := range seen {
			to := from
			for to < len(seen) && seen[to].at.Sub(seen[from].at) < 10*time.Second {
				to++
			}
			if n := to - from; n > 10*perSecond {
				t.Fatalf("%d requests in ten seconds", n)
			}
		}
	})
}

// Fewer failures in a row than are in flight say nothing: they were sent together.
func TestAStreakShorterThanTheFlightIsNoHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			if n <= 20 {
				pause(20 * time.Millisecond)
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			pause(25 * time.Millisecond)
		})
		s := e.sink(t)
		if err := errors.Join(s.deliver(t.Context(), 64)...); err != nil {
			t.Fatal(err)
		}
		if n := s.metric(t, "signup_sheet_holds_total"); n != 0 {
			t.Errorf("%v holds", n)
		}
	})
}

// An endpoint that refuses everything for a moment, too short for a hold, costs nothing:
// that rows were accepted before is no evidence.
func TestAMomentOfRefusalsCostsNoRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		e := newEndpoint(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
			pause(20 * time.Millisecond)
			if at := time.Since(began); at > 5*time.Second && at < 8*time.Second {
				w.WriteHeader(http.StatusBadRequest)
			}
		})
		s := e.sink(t)
		c := s.keys(t.Context(), 5, 400)
		c.running.Wait()
		if len(c.accepted) != 2000 {
			t.Errorf("%d rows were given up", len(c.givenUp))
		}
	})
}

// A row whose dead letter was not written, and which comes again and again, uses up the
// budget once.
func TestARowThatComesAgainUsesTheBudgetOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, always(http.StatusBadRequest))
		s := e.sink(t, func(c *Config) { c.DeadLetterBudget = 2 })
		for i := range 40 {
			if _, ok := errors.AsType[*GivenUp](s.Deliver(t.Context(), row("1"))); !ok {
				t.Fatalf("not given up the %dth time", i)
			}
		}
		if _, ok := errors.AsType[*GivenUp](s.Deliver(t.Context(), row("2"))); !ok {
			t.Error("the budget is used up")
		}
	})
}

// The row that probed last is not the next to do so if another has come meanwhile.
func TestNoRowProbesTwiceRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(3, rules{}, pace{})
		limited := func() answer {
			return answer{class: class{transient, reasonRateLimited}, began: time.Now(), at: time.Now()}
		}
		a, b := delivery{attempts: 1}, delivery{attempts: 1}
		for _, d := range []*delivery{&a, &b} {
			p, err := g.enter(t.Context(), d)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { g.leave(p, d, limited()) }()
		}
		p, _ := g.enter(t.Context(), &a)
		g.leave(p, &a, limited()) // held
		a.suspect, b.suspect = true, true
		var probed []uint64
		var running sync.WaitGroup
		probe := func(d *delivery) {
			for range 3 {
				p, err := g.enter(t.Context(), d)
				if err != nil || !p.probe {
					t.Errorf("%+v %v", p, err)
				}
				probed = append(probed, d.row)
				g.leave(p, d, limited())
			}
		}
		running.Go(func() { probe(&a) })
		pause(1100 * time.Millisecond) // a has probed, and waits again
		running.Go(func() { probe(&b) })
		running.Wait()
		if want := []uint64{1, 2, 1, 2, 1, 2}; !slices.Equal(probed, want) {
			t.Errorf("probed in the order %v, want %v", probed, want)
		}
	})
}

// Whatever the endpoint refuses is given up with a budget of 100 in 100: that is none.
func TestABudgetOfAllHoldsNothingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, always(http.StatusBadRequest))
		s := e.sink(t, func(c *Config) { c.DeadLetterBudget = 100 })
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		c := s.keys(ctx, 1, 150)
		c.running.Wait()
		if _, n := c.counts(); n != 150 {
			t.Errorf("%d of 150 given up", n)
		}
		if n := s.metric(t, "signup_sheet_holds_total"); n != 0 {
			t.Errorf("%v holds: rows that were given up say nothing more", n)
		}
	})
}

// Hazard 28: one row that is answered with a time to wait, each time, is given up like any other.
func TestARowThatAlwaysPausesAllIsGivenUp(t *testing.T) {
	for _, status := range []int{422, 503, 429} {
		synctest.Test(t, func(t *testing.T) {
			e := newEndpoint(t, func(_ int, w http.ResponseWriter, r *http.Request) {
				pause(200 * time.Millisecond)
				if r.Header.Get("Idempotency-Key") == "bad" {
					w.Header().Set("Retry-After", "30")
					w.WriteHeader(status)
				}
			})
			s := e.sink(t)
			ctx, cancel := context.WithCancel(t.Context())
			others := s.keys(ctx, 3, 1<<20)
			began := time.Now()
			limited, end := context.WithTimeout(ctx, 6*time.Hour)
			defer end()
			if err := s.Deliver(limited, row("bad")); errors.Is(err, context.DeadlineExceeded) || time.Since(began) > time.Hour {
				t.Errorf("%d: %v after %v", status, err, time.Since(began))
			}
			cancel()
			others.running.Wait()
		})
	}
}

// An endpoint begins to refuse everything while answers about rows that it has accepted are still on their way: they are no
// evidence against a row that it refuses, however often. One that was sent after the refusal and accepted is, for what is sent then.
func TestOnlyWhatWasSentAfterARefusalIsEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		e := newEndpoint(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			switch id := r.Header.Get("Idempotency-Key"); {
			case strings.HasPrefix(id, "slow"):
				pause(4 * time.Second) // was accepted at once
			case id == "bad" || time.Since(begin) < 20*time.Second:
				w.WriteHeader(http.StatusBadRequest)
			}
		})
		s := e.sink(t)
		var running sync.WaitGroup
		for i := range 5 {
			running.Go(func() {
				pause(time.Duration(i) * 100 * time.Millisecond)
				if err := s.Deliver(t.Context(), row(fmt.Sprint("slow", i))); err != nil {
					t.Error(err)
				}
			})
		}
		for i := range 3 { // too few refusals for a hold
			running.Go(func() {
				pause(700 * time.Millisecond)
				if err := s.Deliver(t.Context(), row(fmt.Sprint("good", i))); err != nil {
					t.Errorf("after %v: %v", time.Since(begin), err)
				}
			})
		}
		running.Go(func() {
			pause(700 * time.Millisecond)
			_, ok := errors.AsType[*GivenUp](s.Deliver(t.Context(), row("bad")))
			if took := time.Since(begin); !ok || took < 20*time.Second || took > 61*time.Second {
				t.Errorf("the bad row: %t, after %v", ok, took)
			}
		})
		running.Go(func() {
			pause(21 * time.Second)
			for i := range 60 {
				if err := s.Deliver(t.Context(), row(fmt.Sprint("later", i))); err != nil {
					t.Error(err)
				}
				pause(time.Second)
			}
		})
		running.Wait()
	})
}

// The endpoint takes rows again while a row that it refused is on its way a second time, and its second refusal is weighed after
// another row was accepted: that row has been sent before the endpoint took any. Only inside the gate can these be put in that order.
func TestARowIsNotBlamedByWhatWasAcceptedWhileItWasUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(2, rules{budget: 20}, pace{})
		var one, other delivery
		enter := func(d *delivery) (pass, time.Time) {
			p, err := g.enter(t.Context(), d)
			if err != nil {
				t.Fatal(err)
			}
			d.attempts++
			pause(time.Millisecond)
			return p, time.Now()
		}
		refusedAt := func(p pass, began time.Time) judgement {
			a := answer{class: class{refused, reasonRefused}, began: began, at: time.Now()}
			return g.weigh(p, &one, a, g.leave(p, &one, a))
		}
		if got := refusedAt(enter(&one)); got != goesOn {
			t.Errorf("after one refusal: %v", got)
		}
		again, began := enter(&one)
		p, sent := enter(&other)
		g.leave(p, &other, answer{class: class{verdict: accepted}, began: sent, at: time.Now()})
		if got := refusedAt(again, began); got != goesOn {
			t.Errorf("after another was accepted meanwhile: %v", got)
		}
		if got := refusedAt(enter(&one)); got != givenUp {
			t.Errorf("after another was accepted before it was sent: %v", got)
		}
	})
}
