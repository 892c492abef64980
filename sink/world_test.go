package sink

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// phase is a time in which an endpoint behaves in one way.
type phase struct {
	trouble string
	to      time.Duration // since the beginning
}

// world is an endpoint with its troubles, and who delivers to it.
type world struct {
	phases            []phase
	keys, concurrency int
	think             time.Duration
	rate              float64
}

func newWorld(r *rand.Rand) world {
	w := world{
		keys: pick(r, 1, 2, 3, 10, 64, 200), concurrency: pick(r, 1, 2, 8, 64),
		think: pick(r, 0, 20*time.Millisecond, 3*time.Second), rate: pick(r, 0, 0, 0.5, 30),
	}
	var at time.Duration
	for range 1 + r.IntN(6) {
		at += time.Duration(r.IntN(1200)) * time.Second
		w.phases = append(w.phases, phase{
			pick(r, "none", "503", "401", "400", "429", "hang", "half fails", "most fails", "403 for a kind", "400 for a kind"), at,
		})
	}
	return w
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func (w world) recovers() time.Duration { return w.phases[len(w.phases)-1].to }

// has reports whether there is a phase of such a trouble.
func (w world) has(trouble string) bool {
	for _, p := range w.phases {
		if strings.HasPrefix(p.trouble, trouble) {
			return true
		}
	}
	return false
}

// at returns the trouble of a moment.
func (w world) at(since time.Duration) string {
	for _, p := range w.phases {
		if since < p.to {
			return p.trouble
		}
	}
	return "none"
}

func (w world) answer(since time.Duration, res http.ResponseWriter, r *http.Request) {
	pause(w.think)
	isOfKind := strings.HasSuffix(r.Header.Get("Idempotency-Key"), "3")
	switch trouble := w.at(since); trouble {
	case "none":
	case "hang":
		<-r.Context().Done()
	case "half fails", "most fails":
		if percent := map[string]int{"half fails": 50, "most fails": 95}[trouble]; rand.N(100) < percent {
			res.WriteHeader(http.StatusBadGateway)
		}
	case "429":
		res.Header().Set("Retry-After", fmt.Sprint(rand.N(20)))
		res.WriteHeader(http.StatusTooManyRequests)
	default:
		if !strings.HasSuffix(trouble, "for a kind") || isOfKind {
			var status int
			_, _ = fmt.Sscan(trouble, &status)
			res.WriteHeader(status)
		}
	}
}

// Hazard 28: no mix of troubles stops deliveries for longer than it lasts, or costs a row
// that the endpoint has not refused, whoever delivers how many rows how fast.
func TestNoMixOfTroublesIsADeadEnd(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(rand.New(rand.NewPCG(seed, 0)))
				began := time.Now()
				e := newEndpoint(t, func(_ int, res http.ResponseWriter, r *http.Request) { w.answer(time.Since(began), res, r) })
				s := e.sink(t, func(c *Config) { c.Concurrency, c.Rate = w.concurrency, w.rate })
				const rows = 40
				c := s.keys(t.Context(), w.keys, rows)
				ended := make(chan struct{})
				go func() { c.running.Wait(); close(ended) }()
				select {
				case <-ended:
				case <-time.After(w.recovers() + 24*time.Hour):
					t.Fatalf("%+v: no end", w)
				}
				if late := s.lastAfter(e, w.recovers()); late > 10*time.Second+maxBackoff+w.think { // the end of a hang, and a backoff
					t.Errorf("%+v: goes on %v after the recovery", w, late)
				}
				for id, why := range c.givenUp {
					if why.Class == ClassRefused && !w.has("400") || why.Class == ClassExhausted && !w.has("403") {
						t.Errorf("%+v: %s is given up: %v", w, id, why)
					}
				}
				if n := len(c.givenUp); n > 20*(1+w.keys*rows/100) {
					t.Errorf("%+v: %d given up of %d", w, n, w.keys*rows)
				}
				seen := e.requests()
				for i := range seen {
					if most := int(10 * w.rate); most > 0 && i >= most && seen[i].at.Sub(seen[i-most].at) < 10*time.Second {
						t.Fatalf("%+v: more than %d requests in ten seconds", w, most)
					}
				}
				g := s.gate
				if g.inFlight != 0 || g.probing || g.queue.first != nil || g.withheld != 0 || g.evidence.present != 0 || g.evidence.streak.rows != 0 {
					t.Errorf("%+v: left in the gate: %+v", w, g)
				}
			})
		})
	}
}

// A probe goes on though its row is nobody's any more, and ends in time: then another probes.
func TestAProbeThatIsRevokedIsFollowedByAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, func(n int, w http.ResponseWriter, r *http.Request) {
			switch n {
			case 1:
				w.WriteHeader(http.StatusTooManyRequests)
			case 2:
				<-r.Context().Done()
			}
		})
		s := e.sink(t)
		began := time.Now()
		revoked := errors.New("revoked")
		session, revoke := context.WithCancelCause(t.Context())
		done := make(chan error)
		go func() { done <- s.Deliver(session, row("old")) }()
		pause(1100 * time.Millisecond)
		revoke(revoked)
		if err := s.Deliver(t.Context(), row("new")); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, revoked) {
			t.Error(err)
		}
		seen := e.requests()
		if len(seen) != 3 || seen[2].id != "new" || seen[2].at.Sub(began) > 8*time.Second {
			t.Errorf("%+v", seen)
		}
	})
}
