package sink

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// endpoint is an HTTP server on an in-memory network, for use in a bubble.
type endpoint struct {
	kfake.VirtualNetwork
	handler func(n int, w http.ResponseWriter, r *http.Request) // of further addresses
	secure  *tls.Config                                         // nil: plain HTTP

	mu       sync.Mutex
	conns    int
	inFlight int
	most     int // in flight at once
	seen     []request
}

// request is one that reached the endpoint.
type request struct {
	at   time.Time
	id   string // Idempotency-Key
	body string
}

// newEndpoint starts a server that answers with handler, which gets the number of the
// request, from 1.
func newEndpoint(t *testing.T, handler func(n int, w http.ResponseWriter, r *http.Request)) *endpoint {
	t.Helper()
	e := &endpoint{}
	e.serve(t, handler)
	return e
}

func (e *endpoint) serve(t *testing.T, handler func(n int, w http.ResponseWriter, r *http.Request)) (stop func()) {
	t.Helper()
	return e.serveAt(t, "127.0.0.1:80", handler)
}

func (e *endpoint) serveAt(t *testing.T, address string, handler func(n int, w http.ResponseWriter, r *http.Request)) (stop func()) {
	t.Helper()
	if handler == nil {
		handler = e.handler
	}
	listener, err := e.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if e.secure != nil && len(e.secure.NextProtos) == 0 {
		listener = tls.NewListener(listener, e.secure)
	}
	server := &http.Server{
		TLSConfig: e.secure.Clone(), // the server adds to it
		ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, 0),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				e.mu.Lock()
				e.conns++
				e.mu.Unlock()
			}
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			e.mu.Lock()
			e.seen = append(e.seen, request{time.Now(), r.Header.Get("Idempotency-Key"), string(body)})
			n := len(e.seen)
			e.inFlight++
			e.most = max(e.most, e.inFlight)
			e.mu.Unlock()
			defer func() {
				e.mu.Lock()
				e.inFlight--
				e.mu.Unlock()
			}()
			handler(n, w, r)
		}),
	}
	var running sync.WaitGroup
	running.Go(func() {
		if e.secure == nil || len(e.secure.NextProtos) == 0 {
			_ = server.Serve(listener)
			return
		}
		_ = server.ServeTLS(listener, "", "")
	})
	stop = sync.OnceFunc(func() {
		server.Close()
		listener.Close()
		running.Wait()
	})
	t.Cleanup(stop)
	return stop
}

func (e *endpoint) requests() []request {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]request(nil), e.seen...)
}

// body returns that of a request, from 1.
func (e *endpoint) body(n int) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.seen[n-1].body
}

// always answers every request with a status.
func always(status int) func(int, http.ResponseWriter, *http.Request) {
	return func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
}

// probed is a sink under test with what it tells.
type probed struct {
	*Sink
	registry *prometheus.Registry
	logs     *logs
}

type logs struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.String()
}

// sink returns a sink that delivers to e.
func (e *endpoint) sink(t *testing.T, change ...func(*Config)) *probed {
	t.Helper()
	cfg := Config{
		URL: "http://127.0.0.1/hook", Concurrency: 64, Timeout: 5 * time.Second,
		UserAgent: "signup-sheet/test", DialContext: e.DialContext,
	}
	for _, c := range change {
		c(&cfg)
	}
	return newSink(t, cfg)
}

func newSink(t *testing.T, cfg Config) *probed {
	t.Helper()
	cfg.MaxAttempts = cmp.Or(cfg.MaxAttempts, 12)
	cfg.MaxElapsed = cmp.Or(cfg.MaxElapsed, 15*time.Minute)
	cfg.DeadLetterBudget = cmp.Or(cfg.DeadLetterBudget, 20)
	p := &probed{registry: prometheus.NewRegistry(), logs: &logs{}}
	s, err := New(cfg, p.registry, slog.New(slog.NewTextHandler(p.logs, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	p.Sink = s
	return p
}

// metric returns the sum of a metric over the labels given as name, value, ….
func (p *probed) metric(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	families, err := p.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum, found := 0.0, false
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			have := map[string]string{}
			for _, l := range m.GetLabel() {
				have[l.GetName()] = l.GetValue()
			}
			match := true
			for i := 0; i < len(labels); i += 2 {
				match = match && have[labels[i]] == labels[i+1]
			}
			if match {
				found = true
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	if !found {
		t.Fatalf("no metric %s %v", name, labels)
	}
	return sum
}

func row(id string) Row {
	return Row{EventID: id, HeaderID: id, Body: []byte(`{"event_id":"` + id + `"}`)}
}

// deliver delivers n rows at once, named from 0, and returns when all have ended.
func (p *probed) deliver(ctx context.Context, n int) []error {
	errs := make([]error, n)
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() { errs[i] = p.Deliver(ctx, row(fmt.Sprint(i))) })
	}
	running.Wait()
	return errs
}

func TestEachAttemptIsOneCompleteRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got *http.Request
		var writes atomic.Int32
		e := newEndpoint(t, func(_ int, _ http.ResponseWriter, r *http.Request) { got = r })
		s := e.sink(t, func(c *Config) {
			c.URL = "http://me:pass@127.0.0.1/hook/abc?key=1#here"
			c.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := e.DialContext(ctx, network, addr)
				return &countingConn{conn, &writes}, err
			}
		})
		body := `{"event_id":"7","name":"Żofia & Ann <3"}`
		if err := s.Deliver(t.Context(), Row{EventID: "7", HeaderID: "7", Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
		seen := e.requests()
		if len(seen) != 1 || seen[0].body != body {
			t.Fatalf("endpoint got %+v", seen)
		}
		if writes.Load() != 1 {
			t.Errorf("head and body took %d writes", writes.Load())
		}
		want := map[string]string{
			"Content-Type": "application/json", "User-Agent": "signup-sheet/test", "Idempotency-Key": "7",
			"Authorization": "Basic bWU6cGFzcw==", "Content-Length": fmt.Sprint(len(body)),
		}
		for name, value := range want {
			if got.Header.Get(name) != value {
				t.Errorf("%s: %q, want %q", name, got.Header.Get(name), value)
			}
		}
		if got.Method != http.MethodPost || got.URL.String() != "/hook/abc?key=1" || len(got.Header) != len(want) {
			t.Errorf("%s %s %v", got.Method, got.URL, got.Header)
		}
		if s.metric(t, "signup_sheet_attempts_total") != 1 || s.metric(t, "signup_sheet_attempt_duration_seconds") != 1 {
			t.Error("the attempt is not counted once")
		}
		if !s.LastAttempt().Equal(time.Now()) {
			t.Errorf("last attempt %v", s.LastAttempt())
		}
	})
}

func TestConnectionsAreReusedForTheWholeConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			pause(20 * time.Millisecond)
			status := http.StatusOK
			if n%2 == 0 {
				status = http.StatusUnprocessableEntity
			}
			w.WriteHeader(status)
			fmt.Fprint(w, strings.Repeat("x", 10_000))
		})
		s := e.sink(t, func(c *Config) { c.Concurrency = 8 })
		for range 5 {
			s.deliver(t.Context(), 8)
		}
		if e.conns != 8 {
			t.Errorf("%d connections for 40 rows, 8 at once", e.conns)
		}
	})
}

func TestConcurrencyIsNeverExceededAndRowsStartInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, func(_ int, _ http.ResponseWriter, _ *http.Request) { pause(time.Millisecond) })
		s := e.sink(t, func(c *Config) { c.Concurrency = 3 })
		s.deliver(t.Context(), 50)
		if e.most != 3 {
			t.Errorf("%d requests at once, want 3", e.most)
		}
		e.seen = nil
		one := e.sink(t, func(c *Config) { c.Concurrency = 1 })
		var running sync.WaitGroup
		for i := range 20 {
			running.Go(func() { _ = one.Deliver(t.Context(), row(fmt.Sprint(i))) })
			synctest.Wait() // until it waits for its turn
		}
		running.Wait()
		for i, r := range e.requests() {
			if r.id != fmt.Sprint(i) {
				t.Fatalf("request %d is of row %s", i, r.id)
			}
		}
	})
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		synctest.Test(t, func(t *testing.T) {
			e := newEndpoint(t, func(n int, w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/hook" || r.Method != http.MethodPost {
					t.Errorf("%s %s was requested", r.Method, r.URL.Path)
				}
				if n == 1 {
					w.Header().Set("Location", "/elsewhere")
					w.WriteHeader(status)
				}
			})
			s := e.sink(t)
			if err := s.Deliver(t.Context(), row("1")); err != nil {
				t.Fatal(err)
			}
			if f, ok := s.LastFailure(); !ok || f.Kind != reasonRedirected {
				t.Errorf("%+v", f)
			}
		})
	}
}

func TestTimeoutBoundsAnAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, func(n int, _ http.ResponseWriter, r *http.Request) {
			if n == 1 {
				<-r.Context().Done()
			}
		})
		s := e.sink(t)
		begin := time.Now()
		if err := s.Deliver(t.Context(), row("1")); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took < 5*time.Second || took > 5500*time.Millisecond {
			t.Errorf("took %v, want the timeout of 5s and a first backoff", took)
		}
		if s.metric(t, "signup_sheet_attempts_total", "result", "timeout") != 1 {
			t.Error("timeout is not counted")
		}
		if f, ok := s.LastFailure(); !ok || f.Kind != reasonTimeout || f.Status != 0 || f.Time.Sub(begin) != 5*time.Second {
			t.Errorf("last failure %+v %v", f, ok)
		}
	})
}

func TestEachAttemptHasItsWholeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, func(n int, w http.ResponseWriter, r *http.Request) {
			if n == 4 {
				<-r.Context().Done()
				return
			}
			pause(4 * time.Second)
			w.WriteHeader(http.StatusOK)
		})
		s := e.sink(t)
		for n := 1; n <= 6; n++ {
			begin := time.Now()
			want := answer{class: class{accepted, reasonNone}, status: http.StatusOK}
			took := 4 * time.Second
			if n == 4 {
				want, took = answer{class: class{transient, reasonTimeout}}, 5*time.Second
			}
			a := s.attempt(t.Context(), row("1"), false)
			if a.class != want.class || a.status != want.status || time.Since(begin) != took {
				t.Errorf("attempt %d: %+v after %v, want %+v after %v", n, a, time.Since(begin), want, took)
			}
			pause(2 * time.Second) // the time of an attempt that has ended goes on for nobody
		}
	})
}

func TestAnEndlessAnswerCostsNoMoreThanItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var written atomic.Int64
		e := newEndpoint(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			if n == 1 {
				w.WriteHeader(http.StatusBadRequest)
			}
			for {
				k, err := w.Write(make([]byte, 1024))
				if err != nil {
					return
				}
				written.Add(int64(k))
			}
		})
		s := e.sink(t)
		begin := time.Now()
		if err := s.Deliver(t.Context(), row("1")); err != nil { // refused, and then accepted
			t.Error(err)
		}
		synctest.Wait()
		if time.Since(begin) > minBackoff || written.Load() > 4*maxResponse || len(e.requests()) != 2 {
			t.Errorf("read %d bytes in %v", written.Load(), time.Since(begin))
		}
	})
}

func TestConfigurationErrorsNameTheSettingAndNeverTheURL(t *testing.T) {
	for name, url := range map[string]string{
		"missing": "", "relative": "/s3cret", "no host": "https:///s3cret", "opaque": "https:s3cret",
		"scheme": "ftp://host/s3cret", "port": "https://host:s3cret/", "control": "https://host/\ns3cret",
		"escape": "https://host/%zzs3cret", "long": "https://host/s3cret" + strings.Repeat("x", maxURL),
		"port only": "http://:80/s3cret",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(Config{URL: url, Concurrency: 1, Timeout: 1}, nil, slog.New(slog.DiscardHandler))
			if err == nil || !strings.Contains(err.Error(), "sink.url") || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("error %v", err)
			}
		})
	}
	_, err := New(Config{}, nil, slog.New(slog.DiscardHandler))
	for _, setting := range []string{"sink.url", "sink.concurrency", "sink.timeout"} {
		if err == nil || !strings.Contains(err.Error(), setting) {
			t.Errorf("%v does not name %s", err, setting)
		}
	}
}

type countingConn struct {
	net.Conn
	writes *atomic.Int32
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// pause is how long an endpoint takes, in the bubble's time.
func pause(d time.Duration) { <-time.After(d) }
