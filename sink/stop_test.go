package sink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Hazard 16: whatever the endpoint accepted of the rows under way when a stop
// comes, Deliver says so, or those rows are sent again. net/http puts a
// connection back into its pool before it hands over an answer without a body:
// a row that takes that connection and is stopped must not close it under the
// answer. It takes many rounds to meet that moment.
func TestAStopCostsNoAnswerOfAnotherRow(t *testing.T) {
	const rounds, slots = 300, 64
	lost := 0
	for round := range rounds {
		var inFlight atomic.Int32
		var accepted, delivered sync.Map
		all, release := make(chan struct{}), make(chan struct{})
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if inFlight.Add(1) == slots {
				close(all)
			}
			<-release
			accepted.Store(r.Header.Get("Idempotency-Key"), true)
		})}
		var running sync.WaitGroup
		running.Go(func() { _ = server.Serve(listener) })
		s := newSink(t, Config{URL: "http://" + listener.Addr().String(), Concurrency: slots, Timeout: 30 * time.Second})

		ctx, stop := context.WithCancelCause(t.Context())
		var workers sync.WaitGroup
		var done atomic.Int32
		for w := range 2 * slots {
			workers.Go(func() { // like a consumer's: one row after the other
				for n := range 3 {
					id := fmt.Sprintf("row-%d-%d", w, n)
					if err := s.Deliver(ctx, row(id)); err != nil {
						return
					}
					delivered.Store(id, true)
					if int(done.Add(1)) == 1+round%150 {
						stop(errors.New("stop"))
					}
				}
			})
		}
		<-all
		close(release)
		workers.Wait()
		stop(nil)
		accepted.Range(func(id, _ any) bool {
			if _, ok := delivered.Load(id); !ok {
				lost++
			}
			return true
		})
		s.Close()
		_ = server.Close()
		running.Wait()
	}
	if lost > 0 {
		t.Errorf("%d rows were accepted, but not said to be", lost)
	}
}

// A connection that dies costs no answer on the others. The transport has those that are idle, and those whose answer it is just
// about to hand over, in one pool.
func TestALostConnectionCostsNoAnswerOfAnotherRow(t *testing.T) {
	const workers, rows = 64, 200
	var mu sync.Mutex
	accepted := map[string]int{}
	var requests atomic.Int32
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if requests.Add(1)%20 == 0 {
			conn, _, _ := http.NewResponseController(w).Hijack()
			_ = conn.Close()
			return
		}
		mu.Lock()
		defer mu.Unlock()
		accepted[r.Header.Get("Idempotency-Key")]++
	})}
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(listener) })
	s := newSink(t, Config{URL: "http://" + listener.Addr().String(), Concurrency: workers, Timeout: 30 * time.Second})
	var busy sync.WaitGroup
	for w := range workers {
		busy.Go(func() {
			for n := range rows {
				if err := s.Deliver(t.Context(), row(fmt.Sprintf("row-%d-%d", w, n))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	busy.Wait()
	s.Close()
	_ = server.Close()
	running.Wait()
	twice := 0
	for _, n := range accepted {
		if n > 1 {
			twice++
		}
	}
	if len(accepted) != workers*rows || twice > 0 {
		t.Errorf("%d rows accepted, %d of them more than once, want %d and none", len(accepted), twice, workers*rows)
	}
}
