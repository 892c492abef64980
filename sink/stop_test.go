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
