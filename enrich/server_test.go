package enrich_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"

	"signup-sheet/enrich"
)

const (
	michael = `{"count":311558,"name":"michael","age":57}`
	timeout = 3 * time.Second
	day     = 24 * time.Hour
)

// A fixture is an Enricher that asks a server in the same bubble, over a network in memory.
type fixture struct {
	*enrich.Enricher
	cfg enrich.Config
	reg *prometheus.Registry
	log *syncBuffer

	mu       sync.Mutex
	requests []*http.Request
	conns    int // opened
	open     int // of those
	listener net.Listener
}

// start serves handler and returns an Enricher that asks it. The test must run in a bubble: at its end it fails if a goroutine is left.
func start(t *testing.T, handler http.HandlerFunc, changes ...func(*enrich.Config)) *fixture {
	t.Helper()
	f := &fixture{reg: prometheus.NewRegistry(), log: new(syncBuffer)}

	network := new(kfake.VirtualNetwork)
	l, err := network.Listen("tcp", "127.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	f.listener = l
	server := &http.Server{
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		ConnState: func(_ net.Conn, s http.ConnState) {
			f.mu.Lock()
			defer f.mu.Unlock()
			switch s {
			case http.StateNew:
				f.conns++
				f.open++
			case http.StateClosed:
				f.open--
			default:
			}
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			f.mu.Lock()
			f.requests = append(f.requests, r)
			f.mu.Unlock()
			handler(w, r)
		}),
	}
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(l) })

	cfg := enrich.Config{
		URL: "http://127.0.0.1", Timeout: timeout, CacheSize: 1000, CacheTTL: 90 * day, UnknownTTL: 7 * day, BatchSize: 1, Concurrency: 64, UserAgent: "signup-sheet/test",
		DialContext: network.DialContext,
	}
	for _, change := range changes {
		change(&cfg)
	}
	f.cfg = cfg
	f.Enricher, err = enrich.New(cfg, f.reg, jsonLog(f.log))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.Close()
		_ = server.Close()
		served.Wait()
	})
	return f
}

// age looks up an age as rows do; ok says whether there is one.
func (f *fixture) age(ctx context.Context, name, countryID string) (age int, ok bool) {
	age, status := f.Age(ctx, name, countryID, alone)
	return age, status == "hit" || status == "miss"
}

// keyOf is how an Enricher gets a key.
func keyOf(key string) func() (string, error) { return func() (string, error) { return key, nil } }

func (f *fixture) asked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.requests)
}

func (f *fixture) lastRequest(t *testing.T) *http.Request {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.requests) == 0 {
		t.Fatal("no request was made")
	}
	return f.requests[len(f.requests)-1]
}

func (f *fixture) connections() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.conns
}

// wantNoConnection checks that no connection is open, and so no request under way.
func (f *fixture) wantNoConnection(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open != 0 || f.conns == 0 {
		t.Errorf("%d connections of %d are open", f.open, f.conns)
	}
}

// value is the value of a counter or gauge, or the count of a histogram, with that label value (the only one it has) if there is one.
func (f *fixture) value(t *testing.T, name, label string) float64 {
	t.Helper()
	families, err := f.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			if label == "" && len(m.GetLabel()) == 0 || len(m.GetLabel()) == 1 && m.GetLabel()[0].GetValue() == label {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	t.Fatalf("no metric %s{%s}", name, label)
	return 0
}

func (f *fixture) wantAge(t *testing.T, name string, want int) {
	t.Helper()
	if age, ok := f.age(t.Context(), name, ""); !ok || age != want {
		t.Errorf("age of %q: got %d, %t, want %d", name, age, ok, want)
	}
}

func (f *fixture) wantNoAge(t *testing.T, name string) {
	t.Helper()
	if age, ok := f.age(t.Context(), name, ""); ok || age != 0 {
		t.Errorf("age of %q: got %d, %t, want none", name, age, ok)
	}
}

// wantResults checks the lookups by result; results not named are to be zero.
func (f *fixture) wantResults(t *testing.T, want map[string]float64) {
	t.Helper()
	for _, result := range []string{"hit", "stale", "miss", "coalesced", "unknown", "skipped", "unavailable", "canceled"} {
		if got := f.value(t, "signup_sheet_enrich_lookups_total", result); got != want[result] {
			t.Errorf("lookups with result %s: got %g, want %g", result, got, want[result])
		}
	}
}

// says answers every request with a body.
func says(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
}

// saysAfter answers every request with a body, after a time.
func saysAfter(d time.Duration, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(d):
			_, _ = io.WriteString(w, body)
		case <-r.Context().Done():
		}
	}
}

// never answers no request.
func never(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func jsonLog(w io.Writer) *slog.Logger { return slog.New(slog.NewJSONHandler(w, nil)) }

// batches lets names share requests, as they do by default.
func batches(c *enrich.Config) { c.BatchSize, c.Linger = 10, 5*time.Millisecond }

// look looks names up at the same moment, in the order given, and waits for all.
func (f *fixture) look(t *testing.T, names ...string) {
	t.Helper()
	var rows sync.WaitGroup
	for _, name := range names {
		rows.Go(func() { f.Age(t.Context(), name, "", alone) })
		synctest.Wait()
	}
	rows.Wait()
}

// start2 returns another Enricher that asks the same server, as another process does.
func start2(t *testing.T, f *fixture, changes ...func(*enrich.Config)) *enrich.Enricher {
	t.Helper()
	cfg := f.cfg
	for _, change := range changes {
		change(&cfg)
	}
	e, err := enrich.New(cfg, nil, jsonLog(f.log))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// alone is for rows that make no room for others while they wait.
func alone(int) {}
