package sink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"signup-sheet/credentials"
	"signup-sheet/internal/certificates"
)

// TestHoldProbesWithOneRowAtATime: 64 rows, an endpoint that says 401 for ten minutes.
func TestHoldProbesWithOneRowAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		const outage = 10 * time.Minute
		e := newEndpoint(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
			pause(20 * time.Millisecond)
			if time.Since(begin) < outage {
				w.WriteHeader(http.StatusUnauthorized)
			}
		})
		s := e.sink(t)
		done := make(chan []error)
		go func() { done <- s.deliver(t.Context(), 64) }()
		pause(outage / 2)
		if h, ok := s.Hold(); !ok || h.Reason != reasonUnauthorised || h.Since.Sub(begin) != 20*time.Millisecond ||
			time.Until(h.NextProbe) > maxProbeWait {
			t.Errorf("hold %+v %v", h, ok)
		}
		if s.InFlight() != 0 {
			t.Errorf("%d rows wait in a slot", s.InFlight())
		}
		if s.metric(t, "signup_sheet_hold", "reason", reasonUnauthorised) != 1 || s.metric(t, "signup_sheet_hold") != 1 {
			t.Error("the gauge does not show the hold")
		}
		if err := errors.Join(<-done...); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took > outage+31*time.Second {
			t.Errorf("recovered after %v", took-outage)
		}
		if _, ok := s.Hold(); ok || s.metric(t, "signup_sheet_hold") != 0 {
			t.Error("the hold did not end")
		}

		seen := e.requests()
		probes := seen[64 : slices.IndexFunc(seen, func(r request) bool { return r.at.Sub(begin) >= outage })+1]
		if len(probes) < 20 || len(probes) > 45 {
			t.Errorf("%d probes", len(probes))
		}
		for i, last := range probes[:len(probes)-1] {
			next := probes[i+1]
			if gap := next.at.Sub(last.at) - 20*time.Millisecond; gap < time.Second || gap > maxProbeWait {
				t.Errorf("probe %d came %v after the last", i+1, gap)
			}
			if next.id == last.id {
				t.Errorf("row %s probed twice running", next.id)
			}
		}
		if n := strings.Count(s.logs.String(), "level=ERROR"); n < 2 || n > 12 {
			t.Errorf("%d error lines in ten minutes", n)
		}
		if n := strings.Count(s.logs.String(), "hold ended"); n != 1 {
			t.Errorf("%d lines say that the hold ended", n)
		}
	})
}

// Hazard 15: 8 s of 429 with Retry-After: 8, and 64 rows at a time.
func TestRateLimitPausesEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		e := newEndpoint(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
			pause(20 * time.Millisecond)
			if time.Since(begin) < 8*time.Second {
				w.Header().Set("Retry-After", "8")
				w.WriteHeader(http.StatusTooManyRequests)
			}
		})
		s := e.sink(t)
		if err := errors.Join(s.deliver(t.Context(), 640)...); err != nil {
			t.Fatal(err)
		}
		var inside, within int
		for _, r := range e.requests()[64:] {
			switch at := r.at.Sub(begin); {
			case at < 8*time.Second:
				inside++
			case at < 9*time.Second:
				within++
			}
		}
		if inside != 0 || within < 576 {
			t.Errorf("%d attempts inside the pause, %d within a second of its end", inside, within)
		}
		if s.metric(t, "signup_sheet_holds_total") != 1 {
			t.Error("more than one pause")
		}
	})
}

func TestRetryAfterOnAnyFailureIsAMinimumForAll(t *testing.T) {
	for _, status := range []int{301, 401, 404, 408, 425, 429, 500, 503} {
		for _, form := range []func(time.Time) string{
			func(time.Time) string { return "40" },
			func(now time.Time) string { return now.Add(40 * time.Second).UTC().Format(http.TimeFormat) },
		} {
			synctest.Test(t, func(t *testing.T) {
				e := newEndpoint(t, func(n int, w http.ResponseWriter, _ *http.Request) {
					if n == 1 {
						w.Header().Set("Retry-After", form(time.Now()))
						w.WriteHeader(status)
					}
				})
				s := e.sink(t, func(c *Config) { c.Concurrency = 1 })
				begin := time.Now()
				s.deliver(t.Context(), 5)
				for i, r := range e.requests()[1:] {
					if after := r.at.Sub(begin); after < 40*time.Second || after > 41*time.Second {
						t.Errorf("%d: attempt %d after %v", status, i+2, after)
					}
				}
			})
		}
	}
}

func TestAPauseIsASecondAtLeast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			if n < 5 {
				w.Header().Set("Retry-After", "0.01")
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		})
		s := e.sink(t)
		began := time.Now()
		if err := errors.Join(s.deliver(t.Context(), 1)...); err != nil || time.Since(began) < 4*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestAnAnswerUnderWayCanOnlyLengthenAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			switch n {
			case 1:
				w.Header().Set("Retry-After", "4")
				pause(100 * time.Millisecond)
				w.WriteHeader(http.StatusTooManyRequests)
			case 2:
				pause(200 * time.Millisecond) // accepted
			case 3:
				w.Header().Set("Retry-After", "9")
				pause(300 * time.Millisecond)
				w.WriteHeader(http.StatusServiceUnavailable)
			case 4:
				w.Header().Set("Retry-After", "1")
				pause(400 * time.Millisecond)
				w.WriteHeader(http.StatusTooManyRequests)
			}
		})
		s := e.sink(t)
		begin := time.Now()
		s.deliver(t.Context(), 4)
		if at := e.requests()[4].at.Sub(begin); at != 9300*time.Millisecond {
			t.Errorf("next attempt after %v", at)
		}
	})
}

func TestAnAnswerOlderThanTheOpeningIsNoEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			if n == 1 {
				pause(4 * time.Second)
			}
			if n <= 4 {
				w.WriteHeader(http.StatusForbidden)
			}
		})
		s := e.sink(t)
		if err := errors.Join(s.deliver(t.Context(), 4)...); err != nil {
			t.Fatal(err)
		}
		if got := s.metric(t, "signup_sheet_holds_total"); got != 1 || s.gate.evidence.failing != 0 {
			t.Errorf("%v holds, and %v of the answers since then were failures", got, s.gate.evidence.failing)
		}
	})
}

// TestARefusedProbeOpensTheGate: the endpoint works, and knows what it does not want.
func TestARefusedProbeOpensTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			if n == 1 {
				w.WriteHeader(http.StatusTooManyRequests)
			} else {
				w.WriteHeader(http.StatusUnprocessableEntity)
			}
		})
		s := e.sink(t)
		begin := time.Now()
		var running sync.WaitGroup
		running.Go(func() {
			r, ok := errors.AsType[*GivenUp](s.Deliver(t.Context(), row("1")))
			if !ok || r.FirstFailure != begin || r.Attempts < 3 || time.Since(begin) < time.Second+evidenceTime {
				t.Errorf("%+v after %v", r, time.Since(begin))
			}
		})
		pause(time.Second)
		synctest.Wait()
		if _, ok := s.Hold(); ok || len(e.requests()) != 2 {
			t.Errorf("%d requests, held: %v", len(e.requests()), ok)
		}
		running.Wait()
	})
}

// TestTheProbeIsHandedOn: the row that would probe, and the row that does, go away.
func TestTheProbeIsHandedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			if n == 1 {
				w.WriteHeader(http.StatusTooManyRequests)
			}
		})
		s := e.sink(t)
		begin := time.Now()
		var running sync.WaitGroup
		first, leave := context.WithCancel(t.Context())
		running.Go(func() { _ = s.Deliver(first, row("first")) })
		synctest.Wait() // held
		running.Go(func() {
			if err := s.Deliver(t.Context(), row("second")); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		leave()
		running.Wait()
		seen := e.requests()
		if len(seen) != 2 || seen[1].id != "second" || seen[1].at.Sub(begin) != time.Second {
			t.Errorf("%+v", seen)
		}
	})
}

// TestAProbeThatEndsAsItIsAdmittedIsHandedOn: the context ends, and before the delivery
// can say so, its turn comes. Only inside the gate can the two be put in that order.
func TestAProbeThatEndsAsItIsAdmittedIsHandedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1, rules{}, pace{})
		var first, second delivery
		p, err := g.enter(t.Context(), &first)
		if err != nil {
			t.Fatal(err)
		}
		g.leave(p, &first, answer{class: class{transient, reasonRateLimited}, at: time.Now()})
		stop := errors.New("stop")
		ending, end := context.WithCancelCause(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if _, err := g.enter(ending, &first); !errors.Is(err, stop) {
				t.Error(err)
			}
		})
		synctest.Wait()
		running.Go(func() {
			if p, err := g.enter(t.Context(), &second); err != nil || !p.probe {
				t.Errorf("second row: %+v %v", p, err)
			}
		})
		synctest.Wait()
		begin := time.Now()
		g.mu.Lock()
		end(stop)
		g.next = time.Now()
		g.admit()
		if !g.probing || g.inFlight != 1 {
			t.Error("the first row was not admitted")
		}
		g.mu.Unlock()
		running.Wait()
		if g.inFlight != 1 || time.Since(begin) != 0 {
			t.Errorf("%d in flight after %v", g.inFlight, time.Since(begin))
		}
	})
}

func TestOnlyTheProbeOpensTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			pause(time.Duration(n) * 50 * time.Millisecond)
			if n == 1 {
				w.WriteHeader(http.StatusTooManyRequests)
			}
		})
		s := e.sink(t)
		begin := time.Now()
		s.deliver(t.Context(), 2) // the second was under way when the gate closed
		if at := e.requests()[2].at.Sub(begin); at != 1050*time.Millisecond {
			t.Errorf("next attempt after %v", at)
		}
	})
}

// TestOneRowProbesThoughAnotherEnds: one that had been under way since before the hold.
func TestOneRowProbesThoughAnotherEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			switch n {
			case 1:
				pause(10 * time.Millisecond)
				w.WriteHeader(http.StatusTooManyRequests)
			case 2:
				pause(3 * time.Second)
			case 3: // probes
				pause(4 * time.Second)
			}
		})
		s := e.sink(t, func(c *Config) { c.Concurrency = 2 })
		began := time.Now()
		if err := errors.Join(s.deliver(t.Context(), 5)...); err != nil {
			t.Fatal(err)
		}
		if at := e.requests()[3].at.Sub(began); at != 5010*time.Millisecond {
			t.Errorf("the next attempt after %v, while a row probed", at)
		}
	})
}

// TestNoWakeUpIsLost: rows come and go at random while the gate opens and closes.
func TestNoWakeUpIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			pause(time.Duration(n%7) * 100 * time.Millisecond)
			w.WriteHeader([]int{200, 404, 503, 200, 429, 200, 422, 200, 200}[n%9])
		})
		s := e.sink(t, func(c *Config) { c.Concurrency = 3; c.Waiting = func(int) {} })
		var running sync.WaitGroup
		for i := range 200 {
			running.Go(func() {
				ctx := t.Context()
				if i%3 == 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, time.Duration(i)*37*time.Millisecond)
					defer cancel()
				}
				err := s.Deliver(ctx, row(fmt.Sprint(i)))
				if _, ok := errors.AsType[*GivenUp](err); err != nil && !ok && i%3 != 0 {
					t.Error(err)
				}
			})
		}
		running.Wait()
		if s.InFlight() != 0 || e.most > 3 {
			t.Errorf("%d slots are not free, %d requests at once", s.InFlight(), e.most)
		}
	})
}

// TestOneRejectedRowDoesNotStopTheOthers: a firewall that answers 403 to one row.
func TestOneRejectedRowDoesNotStopTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			pause(20 * time.Millisecond)
			if r.Header.Get("Idempotency-Key") == "bad" {
				w.WriteHeader(http.StatusForbidden)
			}
		})
		s := e.sink(t, func(c *Config) { c.Concurrency = 4 })
		ctx, cancel := context.WithCancel(t.Context())
		var bad, others sync.WaitGroup
		bad.Go(func() { _ = s.Deliver(ctx, row("bad")) })
		begin := time.Now()
		for range 3 {
			others.Go(func() {
				for i := range 3000 { // 60 s at full speed
					_ = s.Deliver(t.Context(), row(fmt.Sprint(i)))
				}
			})
		}
		others.Wait()
		if took := time.Since(begin); took > 2*time.Minute {
			t.Errorf("took %v", took)
		}
		cancel()
		bad.Wait()
	})
}

// TestAnOutageIsWaitedOut: ten minutes each, then everything is delivered.
func TestAnOutageIsWaitedOut(t *testing.T) {
	const outage = 10 * time.Minute
	for _, name := range []string{"503", "401", "404", "301", "hang", "refused", "no such host", "certificate"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				down := func() bool { return time.Since(begin) < outage }
				var status int
				_, _ = fmt.Sscan(name, &status)
				e := &endpoint{}
				files := &shelf{dir: t.TempDir()}
				if name == "certificate" {
					trusted, other := certificates.NewAuthority(t), certificates.NewAuthority(t)
					files.put(t, map[string]string{"ca.crt": string(trusted.PEM)})
					good, bad := trusted.Issue(t, "server").TLS(t), other.Issue(t, "server").TLS(t)
					e.secure = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
						if down() {
							return &bad, nil
						}
						return &good, nil
					}}
				}
				e.serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
					switch {
					case !down():
					case status != 0:
						w.WriteHeader(status)
					case name == "hang":
						<-r.Context().Done()
					}
				})
				waiting := 0
				var mu sync.Mutex
				var dials []time.Time
				tried := func() []time.Time {
					mu.Lock()
					defer mu.Unlock()
					all := slices.Clone(dials)
					for _, r := range e.requests() {
						all = append(all, r.at)
					}
					return all
				}
				s := e.sink(t, func(c *Config) {
					if e.secure != nil {
						c.URL, c.TLSFiles = "https://127.0.0.1:80/hook", credentials.Files{Authorities: files.path("ca.crt")}
					}
					c.Waiting = func(delta int) {
						mu.Lock()
						defer mu.Unlock()
						waiting += delta
					}
					c.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
						if down() && (name == "refused" || name == "no such host" || name == "certificate") {
							mu.Lock()
							dials = append(dials, time.Now())
							mu.Unlock()
						}
						if down() && name == "refused" {
							return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
						}
						if down() && name == "no such host" {
							return nil, &net.DNSError{Err: "no such host", Name: "s3cret", IsNotFound: true}
						}
						return e.DialContext(ctx, network, addr)
					}
				})
				c := s.keys(t.Context(), 200, 20)
				c.running.Wait()
				if len(c.accepted) != 200*20 {
					t.Fatalf("%d rows accepted, %d given up", len(c.accepted), len(c.givenUp))
				}
				first := time.Now()
				for _, at := range c.accepted {
					if at.Before(first) {
						first = at
					}
				}
				if late := first.Sub(begin) - outage; late < 0 || late > maxProbeWait {
					t.Errorf("delivered again %v after the outage", late)
				}
				if d := time.Since(first); d > 10*time.Second {
					t.Errorf("the rows of the outage took %v", d)
				}
				sent := 0
				for _, at := range tried() {
					if at.Sub(begin) < outage {
						sent++
					}
				}
				if sent > 64+40 {
					t.Errorf("%d attempts in the outage", sent)
				}
				all := tried()
				slices.SortFunc(all, time.Time.Compare)
				for i, at := range all[1:sent] {
					if gap := at.Sub(all[i]); gap > maxProbeWait {
						t.Errorf("%v between two probes", gap)
					}
				}
				if waiting != 0 {
					t.Errorf("%d rows are still said to wait", waiting)
				}
				if !strings.Contains(s.logs.String(), "remedy=") {
					t.Error("no log line says what to do")
				}
			})
		})
	}
}

func TestProbeWaitsStayInTheirBounds(t *testing.T) {
	for probes := range 40 {
		low, high := time.Second, maxProbeWait
		if probes < 5 {
			high = time.Second << probes
		}
		low = max(low, high/2)
		least, most := high, low
		for range 200 {
			d := probeWait(probes)
			least, most = min(least, d), max(most, d)
		}
		if least < low || most > high || most-least < (high-low)*4/5 {
			t.Fatalf("after %d probes %v to %v, want %v to %v", probes, least, most, low, high)
		}
	}
}

// A hold is told by its own line.
func TestTheLogOfAHoldIsOneLineAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, always(http.StatusServiceUnavailable))
		s := e.sink(t)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		c := s.keys(ctx, 100, 1)
		c.running.Wait()
		if n := strings.Count(s.logs.String(), "attempts fail and are repeated"); n != 1 {
			t.Errorf("%d lines say that attempts fail", n)
		}
	})
}

// Holds that come and go by the second are told once a minute.
func TestHoldsThatComeAndGoAreToldOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			pause(20 * time.Millisecond)
			w.Header().Set("X-RateLimit-Remaining", fmt.Sprint(9-n%10))
			w.Header().Set("X-RateLimit-Reset", "1")
		})
		s := e.sink(t)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		c := s.keys(ctx, 5, 1<<20)
		c.running.Wait()
		all := s.logs.String()
		begun, ended := strings.Count(all, "hold: the endpoint"), strings.Count(all, "hold ended")
		if begun > 11 || begun < 9 || ended > begun {
			t.Errorf("%d lines say that a hold begins, %d that one ended, of %v", begun, ended, s.metric(t, "signup_sheet_holds_total"))
		}
	})
}
