package sink

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// TestADeadConnectionIsRepeatedOnceByUs: the second request on a connection finds it
// dying. net/http must not repeat it unseen.
func TestADeadConnectionIsRepeatedOnceByUs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network kfake.VirtualNetwork
		var requests atomic.Int32
		serveRaw(t, &network, func(conn net.Conn) {
			defer conn.Close()
			in := bufio.NewReader(conn)
			for range 2 {
				r, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, r.Body)
				// The first request on each connection is answered, the second is not.
				if n := requests.Add(1); n == 2 {
					return
				}
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			}
		})
		s := newSink(t, Config{URL: "http://127.0.0.1/", Concurrency: 1, Timeout: time.Second, DialContext: network.DialContext})
		begin := time.Now()
		for range 2 {
			if err := s.Deliver(t.Context(), row("1")); err != nil {
				t.Fatal(err)
			}
		}
		if time.Since(begin) != 0 {
			t.Errorf("repeated after %v, want at once", time.Since(begin))
		}
		if n := requests.Load(); n != 3 {
			t.Errorf("the endpoint saw %d requests, want 3", n)
		}
		if all := s.metric(t, "signup_sheet_attempts_total"); all != 3 {
			t.Errorf("%v attempts are counted, want 3", all)
		}
		if s.metric(t, "signup_sheet_connection_repeats_total") != 1 || s.metric(t, "signup_sheet_retries_total") != 0 ||
			s.metric(t, "signup_sheet_attempts_total", "result", "connection_lost") != 1 {
			t.Error("the repeat is not counted as one")
		}
		if f, ok := s.LastFailure(); ok {
			t.Errorf("counts as a failure: %+v", f)
		}
	})
}

// TestAFreshConnectionThatDiesIsATransientFailure: nothing is repeated at once.
func TestAFreshConnectionThatDiesIsATransientFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network kfake.VirtualNetwork
		var requests atomic.Int32
		serveRaw(t, &network, func(conn net.Conn) {
			defer conn.Close()
			r, err := http.ReadRequest(bufio.NewReader(conn))
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			if requests.Add(1) > 1 {
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			}
		})
		s := newSink(t, Config{URL: "http://127.0.0.1/", Concurrency: 1, Timeout: time.Second, DialContext: network.DialContext})
		if err := s.Deliver(t.Context(), row("1")); err != nil {
			t.Fatal(err)
		}
		if s.metric(t, "signup_sheet_connection_repeats_total") != 0 || s.metric(t, "signup_sheet_retries_total") != 1 ||
			s.metric(t, "signup_sheet_attempts_total", "result", "network") != 1 || requests.Load() != 2 {
			t.Errorf("%d requests", requests.Load())
		}
	})
}

// TestARestartOfTheEndpointIsNoFailure: all kept connections are dead, and no row meets
// two of them.
func TestARestartOfTheEndpointIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network kfake.VirtualNetwork
		var restarted atomic.Bool
		serveRaw(t, &network, func(conn net.Conn) {
			defer conn.Close()
			old := !restarted.Load()
			in := bufio.NewReader(conn)
			for {
				r, err := http.ReadRequest(in)
				if err != nil || old && restarted.Load() {
					return
				}
				_, _ = io.Copy(io.Discard, r.Body)
				pause(time.Millisecond)
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
		})
		s := newSink(t, Config{URL: "http://127.0.0.1/", Concurrency: 16, Timeout: time.Second, DialContext: network.DialContext})
		s.deliver(t.Context(), 16)
		restarted.Store(true)
		s.deliver(t.Context(), 8) // while eight connections stay idle, as dead as the others
		if n := s.metric(t, "signup_sheet_connection_repeats_total"); n < 1 || n > 8 {
			t.Errorf("%v repeats, want 1 to 8", n)
		}
		if n := s.metric(t, "signup_sheet_retries_total"); n != 0 {
			t.Errorf("%v failures", n)
		}
	})
}

// TestAHangOnAReusedConnectionIsNotRepeatedAtOnce: the endpoint may be working on it.
func TestAHangOnAReusedConnectionIsNotRepeatedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, func(n int, _ http.ResponseWriter, r *http.Request) {
			if n == 2 {
				<-r.Context().Done()
			}
		})
		s := e.sink(t)
		for range 2 {
			if err := s.Deliver(t.Context(), row("1")); err != nil {
				t.Fatal(err)
			}
		}
		if s.metric(t, "signup_sheet_connection_repeats_total") != 0 ||
			s.metric(t, "signup_sheet_attempts_total", "result", "timeout") != 1 {
			t.Error("not a timeout")
		}
	})
}

func TestNothingIsRepeatedAfterTheEndOfTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := errors.New("stop")
		ctx, cancel := context.WithCancelCause(t.Context())
		e := newEndpoint(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			if n == 2 {
				cancel(stop)
				conn, _, _ := w.(http.Hijacker).Hijack()
				conn.Close()
			}
		})
		s := e.sink(t)
		if err := s.Deliver(ctx, row("1")); err != nil {
			t.Fatal(err)
		}
		if err := s.Deliver(ctx, row("2")); !errors.Is(err, stop) || len(e.requests()) != 2 {
			t.Errorf("%v after %d requests", err, len(e.requests()))
		}
		if s.metric(t, "signup_sheet_connection_repeats_total") != 0 {
			t.Error("a repeat is counted")
		}
	})
}

// permit is the right to attempt, given and taken by a test.
type permit struct {
	checks func() // called by Valid before it looks

	mu      sync.Mutex
	valid   bool
	changed chan struct{} // closed at the next change
}

func newPermit(valid bool) *permit { return &permit{valid: valid, changed: make(chan struct{})} }

func (p *permit) set(valid bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.valid = valid
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *permit) now() (bool, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.valid, p.changed
}

func (p *permit) Wait(ctx context.Context) error {
	for {
		valid, changed := p.now()
		if valid {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *permit) Valid() bool {
	if p.checks != nil {
		p.checks()
	}
	valid, _ := p.now()
	return valid
}

func TestNoAttemptStartsWithoutAPermitAndThatIsNoHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, always(http.StatusOK))
		p := newPermit(false)
		s := e.sink(t, func(c *Config) { c.Permit = p })
		done := make(chan []error)
		go func() { done <- s.deliver(t.Context(), 100) }()
		pause(time.Minute)
		if _, held := s.Hold(); len(e.requests()) != 0 || held || s.InFlight() != 0 || e.conns != 0 {
			t.Errorf("%d requests, hold %v, %d in flight", len(e.requests()), held, s.InFlight())
		}
		p.set(true)
		if err := errors.Join(<-done...); err != nil || len(e.requests()) != 100 {
			t.Errorf("%v after %d requests", err, len(e.requests()))
		}
	})
}

// TestNothingReachesTheWireOnceThePermitRanOut: it runs out before the attempt, while the
// connection is made, or at the last moment before the first byte.
func TestNothingReachesTheWireOnceThePermitRanOut(t *testing.T) {
	for _, reused := range []bool{false, true} {
		for turn := int32(1); turn <= 3; turn++ {
			synctest.Test(t, func(t *testing.T) {
				var network kfake.VirtualNetwork
				var received, requests atomic.Int64
				serveRaw(t, &network, func(conn net.Conn) {
					defer conn.Close()
					in := bufio.NewReader(&countingReader{conn, &received})
					for {
						r, err := http.ReadRequest(in)
						if err != nil {
							return
						}
						_, _ = io.Copy(io.Discard, r.Body)
						requests.Add(1)
						_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
					}
				})
				p := newPermit(true)
				s := newSink(t, Config{
					URL: "http://127.0.0.1/", Concurrency: 1, Timeout: time.Second, Permit: p, DialContext: network.DialContext,
				})
				if reused {
					if err := s.Deliver(t.Context(), row("0")); err != nil {
						t.Fatal(err)
					}
				}
				before, sent := received.Load(), requests.Load()
				var checks atomic.Int32
				p.checks = func() {
					if checks.Add(1) == turn { // 1: the start; 2: the connection is there; 3: the head is in the buffer
						p.set(false)
					}
				}
				done := make(chan error, 1)
				go func() { done <- s.Deliver(t.Context(), row("1")) }()
				pause(time.Minute)
				if checks.Load() < turn || received.Load() != before {
					t.Errorf("%d bytes on the wire after %d checks", received.Load()-before, checks.Load())
				}
				if s.InFlight() != 0 || s.metric(t, "signup_sheet_attempts_total") != float64(sent) {
					t.Error("counts as an attempt")
				}
				if _, failed := s.LastFailure(); failed || s.metric(t, "signup_sheet_retries_total") != 0 || s.logs.String() != "" {
					t.Errorf("counts as a failure: %s", s.logs)
				}
				p.set(true)
				if err := <-done; err != nil || requests.Load() != sent+1 {
					t.Errorf("%v after %d requests", err, requests.Load()-sent)
				}
			})
		}
	}
}

// TestNothingReachesTheWireAfterTheEndOfTheContext: it ends while a connection is made.
func TestNothingReachesTheWireAfterTheEndOfTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := errors.New("stop")
		ctx, cancel := context.WithCancelCause(t.Context())
		e := newEndpoint(t, always(http.StatusOK))
		s := e.sink(t, func(c *Config) {
			c.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				cancel(stop)
				return e.DialContext(ctx, network, addr)
			}
		})
		if err := s.Deliver(ctx, row("1")); !errors.Is(err, stop) || len(e.requests()) != 0 {
			t.Errorf("%v after %d requests", err, len(e.requests()))
		}
	})
}

type countingReader struct {
	io.Reader
	n *atomic.Int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// serveRaw accepts connections and hands them to handle.
func serveRaw(t *testing.T, network *kfake.VirtualNetwork, handle func(net.Conn)) {
	t.Helper()
	listener, err := network.Listen("tcp", "127.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { handle(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		running.Wait()
	})
}

// TestAnAnswerBeforeTheBodyWasReadSpoilsNoRow: requests are used again, but not while the
// transport still writes the body of the row before.
func TestAnAnswerBeforeTheBodyWasReadSpoilsNoRow(t *testing.T) {
	const rows, size = 12, 6 << 20 // more than the buffers of a connection hold
	server, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				for in := bufio.NewReader(conn); ; {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
					body, err := io.ReadAll(r.Body)
					// What was answered may be cut off, but never becomes another row's.
					want := r.Header.Get("Idempotency-Key")[:1]
					if n := strings.Count(string(body), want); n != len(body) || err == nil && n != size {
						t.Errorf("of the %d bytes of row %s, %d are its own (%v)", len(body), want, n, err)
					}
				}
			})
		}
	})
	s := newSink(t, Config{URL: "http://" + server.Addr().String(), Concurrency: 2, Timeout: 10 * time.Second})
	for i := range rows {
		id := string(rune('a' + i%26))
		if err := s.Deliver(t.Context(), Row{HeaderID: id, Body: []byte(strings.Repeat(id, size))}); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	server.Close()
	conns.Wait()
}

// What is repeated at once is an attempt like any other: nothing is sent inside a pause.
func TestNothingIsRepeatedInsideAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			switch n {
			case 1, 2: // which leaves two connections
				pause(time.Second)
			case 3:
				pause(time.Second)
				w.Header().Set("Retry-After", "8")
				w.WriteHeader(http.StatusTooManyRequests)
			case 4:
				pause(2 * time.Second)
				panic(http.ErrAbortHandler) // the connection breaks before any byte of an answer
			}
		})
		s := e.sink(t)
		s.deliver(t.Context(), 2)
		began := time.Now()
		if err := errors.Join(s.deliver(t.Context(), 2)...); err != nil {
			t.Fatal(err)
		}
		if seen := e.requests(); len(seen) != 6 || seen[4].at.Sub(began) < 9*time.Second {
			t.Errorf("%d requests, the first after %v", len(seen), seen[4].at.Sub(began))
		}
	})
}

// TestASwitchOfProtocolsEndsTheAttempt: net/http hands over the connection itself with a
// 101, which no context ends.
func TestASwitchOfProtocolsEndsTheAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := &kfake.VirtualNetwork{}
		left := make(chan struct{})
		serveRaw(t, network, func(conn net.Conn) {
			defer conn.Close()
			buffer := make([]byte, 4096)
			_, _ = conn.Read(buffer)
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			_, _ = io.Copy(io.Discard, conn) // until it is closed
			left <- struct{}{}
		})
		s := newSink(t, Config{URL: "http://127.0.0.1/", Concurrency: 1, Timeout: time.Second, DialContext: network.DialContext})
		ended := make(chan answer, 1)
		go func() { ended <- s.attempt(t.Context(), row("1"), false) }()
		select {
		case a := <-ended:
			if a.status != 101 || a.verdict != atFault {
				t.Errorf("%+v", a.class)
			}
		case <-time.After(time.Minute):
			t.Error("no end")
			return
		}
		select {
		case <-left:
		case <-time.After(time.Minute):
			t.Error("the connection stays open")
		}
	})
}

// TestWhateverIsAnsweredEndsTheAttempt: within its time, and without keeping what was sent. None of it stops the next.
func TestWhateverIsAnsweredEndsTheAttempt(t *testing.T) {
	write := func(conn net.Conn, text string) bool { _, err := io.WriteString(conn, text); return err == nil }
	forever := func(head, text string, every time.Duration) func(net.Conn) {
		return func(conn net.Conn) {
			write(conn, head)
			for write(conn, text) {
				if every > 0 {
					pause(every)
				}
			}
		}
	}
	long := strings.Repeat("x", 3000)
	for name, c := range map[string]struct {
		answer func(net.Conn)
		want   class
	}{
		"a body without an end":         {forever("HTTP/1.1 200 OK\r\n\r\n", long, 0), class{accepted, reasonNone}},
		"a body that drips":             {forever("HTTP/1.1 200 OK\r\n\r\n", "x", time.Second/10), class{accepted, reasonNone}},
		"a failure without an end":      {forever("HTTP/1.1 503 No\r\n\r\n", long, 0), class{transient, reasonFailing}},
		"a failure that drips":          {forever("HTTP/1.1 503 No\r\n\r\n", "x", time.Second/10), class{transient, reasonFailing}},
		"a chunk's head without an end": {forever("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", long, 0), class{accepted, reasonNone}},
		"trailers without an end":       {forever("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "A: "+long+"\r\n", 0), class{accepted, reasonNone}},
		"a head without an end":         {forever("HTTP/1.1 200 OK\r\n", "A: "+long+"\r\n", 0), class{transient, reasonNetwork}},
		"a first line without an end":   {forever("HTTP/1.1 200 ", long, 0), class{transient, reasonNetwork}},
		"hints without an end":          {forever("", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", 0), class{transient, reasonNetwork}},
		"hints that drip":               {forever("", "HTTP/1.1 102 Processing\r\n\r\n", time.Second), class{transient, reasonTimeout}},
	} {
		synctest.Test(t, func(t *testing.T) {
			network := &kfake.VirtualNetwork{}
			var sent atomic.Int64
			serveRaw(t, network, func(conn net.Conn) {
				defer conn.Close()
				_, _ = conn.Read(make([]byte, 4096))
				c.answer(&countedConn{conn, &sent})
			})
			s := newSink(t, Config{URL: "http://127.0.0.1/", Concurrency: 1, Timeout: 2 * time.Second, DialContext: network.DialContext})
			for range 2 {
				began := time.Now()
				a := s.attempt(t.Context(), row("1"), false)
				if a.class != c.want || time.Since(began) > 2*time.Second || len(a.body) > maxResponse {
					t.Errorf("%s: %+v and %d bytes after %v", name, a.class, len(a.body), time.Since(began))
				}
			}
			if n := sent.Load(); n > 2<<20 {
				t.Errorf("%s: %d bytes were read", name, n)
			}
		})
	}
}

// countedConn counts what is written to it.
type countedConn struct {
	net.Conn
	bytes *atomic.Int64
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.bytes.Add(int64(n))
	return n, err
}
