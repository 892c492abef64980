package sink

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"signup-sheet/internal/allocs"
)

const inFlight = 64

// BenchmarkDeliver and BenchmarkPlainClient do the same work, 64 rows at a time: the
// difference is what delivery costs on top of HTTP.
func BenchmarkDeliver(b *testing.B) {
	server := acceptAll(b)
	s, err := New(Config{URL: server.URL, Concurrency: inFlight, Timeout: 5 * time.Second, MaxAttempts: 1, UserAgent: "bench"},
		nil, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	benchmark(b, func(r Row) error { return s.Deliver(b.Context(), r) })
}

func BenchmarkPlainClient(b *testing.B) {
	server := acceptAll(b)
	client := &http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{
			MaxIdleConns: inFlight, MaxIdleConnsPerHost: inFlight, DisableCompression: true,
		},
	}
	defer client.CloseIdleConnections()
	benchmark(b, func(r Row) error {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, server.URL, bytes.NewReader(r.Body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("User-Agent", "bench")
		req.Header.Set("Idempotency-Key", r.HeaderID)
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		_, err = io.Copy(io.Discard, res.Body)
		return err
	})
}

func acceptAll(b *testing.B) *httptest.Server {
	b.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, `{"status":"success"}`)
	}))
	b.Cleanup(server.Close)
	return server
}

func benchmark(b *testing.B, deliver func(Row) error) {
	b.Helper()
	b.ReportAllocs()
	rows := make(chan Row)
	var running sync.WaitGroup
	for range inFlight {
		running.Go(func() {
			for r := range rows {
				if err := deliver(r); err != nil {
					b.Error(err)
				}
			}
		})
	}
	r := Row{EventID: "1", HeaderID: "1", Body: bytes.Repeat([]byte("x"), 378)}
	for b.Loop() {
		rows <- r
	}
	close(rows)
	running.Wait()
}

// BenchmarkGate is what an attempt that is accepted costs at the gate.
func BenchmarkGate(b *testing.B) {
	b.ReportAllocs()
	g := newGate(inFlight, rules{12, 15 * time.Minute, 20}, newPace(1e9))
	for b.Loop() {
		var d delivery
		p, err := g.enter(b.Context(), &d)
		if err != nil {
			b.Fatal(err)
		}
		now := time.Now()
		g.leave(p, &d, answer{class: class{accepted, reasonNone}, began: now, at: now})
		g.end(&d)
	}
}

func TestAllocationsOfTheGate(t *testing.T) { allocs.AtMost(t, 0, BenchmarkGate) }
