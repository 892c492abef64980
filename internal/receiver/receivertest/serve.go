// Package receivertest serves a receiver to tests over HTTP.
package receivertest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"

	"signup-sheet/internal/receiver"
)

// Serve serves r on a free port of the loopback interface until the test ends, and returns its URL.
func Serve(t testing.TB, r *receiver.Receiver) (url string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen for the receiver: %v", err)
	}
	return ServeOn(t, r, listener)
}

// ServeOn serves r on the listener until the test ends, and returns its URL. In a testing/synctest bubble the listener
// must be of an in-memory network. When the test ends, connections are closed, whatever waits on them is woken, and nothing
// that was started here is left.
func ServeOn(t testing.TB, r *receiver.Receiver, listener net.Listener) (url string) {
	t.Helper()
	var served, conns sync.WaitGroup
	server := &http.Server{Handler: r, ConnState: func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			conns.Add(1)
		case http.StateClosed, http.StateHijacked:
			conns.Done()
		default:
		}
	}}
	served.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve the receiver: %v", err)
		}
	})
	t.Cleanup(func() {
		_ = server.Close() // of no interest: the listener or a connection was closed before
		served.Wait()
		conns.Wait() // one whose body was too large is kept for half a second, so that its client reads the answer
		// The test's own context has ended.
		_ = r.Wait(context.WithoutCancel(t.Context()), receiver.Idle) // ends with the handlers, which lost their connections
	})
	return "http://" + listener.Addr().String() + "/rows"
}
