package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// startTestAdmin starts the server on a free port and returns its base URL.
func startTestAdmin(t *testing.T, h health, metrics prometheus.Gatherer) (*admin, string) {
	t.Helper()
	a, err := startAdmin(t.Context(), "127.0.0.1:0", h, metrics, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.stop)
	return a, "http://" + a.address.String()
}

// ask sends one request and returns status, content type and body.
func ask(t *testing.T, method, url string) (int, http.Header, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(body)
}

func TestAdminServerAnswers(t *testing.T) {
	registry := prometheus.NewRegistry()
	rows := prometheus.NewCounter(prometheus.CounterOpts{Name: "signup_sheet_test_total", Help: "Of this test."})
	registry.MustRegister(rows)
	rows.Add(3)
	var live, ready atomic.Pointer[string]
	_, url := startTestAdmin(t, health{
		live:   func() error { return failing(live.Load()) },
		ready:  func() error { return failing(ready.Load()) },
		status: func() any { return map[string]any{"partitions": []int{1, 2}} },
	}, registry)

	for _, c := range []struct {
		method, path, live, ready string
		code                      int
		body                      string
	}{
		{"GET", "/livez", "", "x", 200, "ok\n"},
		{"GET", "/livez", "a row was not attempted for 61s", "", 503, "a row was not attempted for 61s\n"},
		{"GET", "/readyz", "x", "", 200, "ok\n"},
		{"GET", "/readyz", "", "no assignment yet", 503, "no assignment yet\n"},
		{"HEAD", "/livez", "", "", 200, ""},
		{"HEAD", "/readyz", "", "no assignment yet", 503, ""},
		{"GET", "/status", "", "", 200, "{\n  \"partitions\": [\n    1,\n    2\n  ]\n}\n"},
		{"GET", "/metrics", "", "", 200, "# HELP signup_sheet_test_total Of this test.\n# TYPE signup_sheet_test_total counter\nsignup_sheet_test_total 3\n"},
		{"GET", "/", "", "", 200, adminIndex},
		{"GET", "/nothing", "", "", 404, "404 page not found\n"},
		{"POST", "/livez", "", "", 405, "Method Not Allowed\n"},
		{"DELETE", "/status", "", "", 405, "Method Not Allowed\n"},
		{"POST", "/metrics", "", "", 405, "Method Not Allowed\n"},
		{"PUT", "/", "", "", 405, "Method Not Allowed\n"},
	} {
		live.Store(&c.live)
		ready.Store(&c.ready)
		code, header, body := ask(t, c.method, url+c.path)
		if code != c.code || body != c.body {
			t.Errorf("%s %s: %d %q, want %d %q", c.method, c.path, code, body, c.code, c.body)
		}
		if c.path == "/status" && code == 200 && header.Get("Content-Type") != "application/json" {
			t.Errorf("status is %s", header.Get("Content-Type"))
		}
	}
}

func failing(reason *string) error {
	if *reason == "" {
		return nil
	}
	return errors.New(*reason)
}

func TestAdminServerAnswersWhileTheProgramStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	h := health{live: func() error { return nil }, ready: func() error { return errors.New("draining") }, status: func() any { return nil }}
	a, err := startAdmin(ctx, "127.0.0.1:0", h, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if code, _, body := ask(t, "GET", "http://"+a.address.String()+"/readyz"); code != 503 || body != "draining\n" {
		t.Errorf("%d %q", code, body)
	}
	a.stop()
	if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", a.address.String()); err == nil {
		_ = conn.Close()
		t.Error("somebody listens after stop")
	}
}

func TestAdminServerStopsAlthoughARequestHangs(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	a, url := startTestAdmin(t, health{status: func() any {
		close(entered)
		<-release
		return nil
	}}, prometheus.NewRegistry())
	defer close(release)

	answered := make(chan struct{})
	go func() {
		defer close(answered)
		request, _ := http.NewRequestWithContext(t.Context(), "GET", url+"/status", nil)
		if response, err := http.DefaultClient.Do(request); err == nil {
			_ = response.Body.Close()
		}
	}()
	<-entered
	began := time.Now()
	a.stop()
	// The request would last for ever; how late a busy machine notices the end of adminStop is not the point.
	if took := time.Since(began); took < adminStop || took > adminStop+time.Minute {
		t.Errorf("stop took %s, want %s", took, adminStop)
	}
	select {
	case <-answered:
	case <-time.After(time.Minute):
		t.Error("the connection of the request is still open")
	}
}

func TestAdminServerErrorNamesTheSetting(t *testing.T) {
	a, _ := startTestAdmin(t, health{}, prometheus.NewRegistry())
	_, err := startAdmin(t.Context(), a.address.String(), health{}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err == nil || !strings.HasPrefix(err.Error(), "admin.listen: ") {
		t.Errorf("got %v", err)
	}
}

func TestAdminServerIsOffWithoutAnAddress(t *testing.T) {
	var out bytes.Buffer
	a, err := startAdmin(t.Context(), "", health{}, prometheus.NewRegistry(), slog.New(slog.NewTextHandler(&out, nil)))
	if err != nil || a.address != nil || out.Len() > 0 {
		t.Errorf("address %v, error %v, log %q", a.address, err, out.String())
	}
	a.stop()
}

func TestAdminServerSurvivesAStatusThatCannotBeEncoded(t *testing.T) {
	_, url := startTestAdmin(t, health{status: func() any { return func() {} }}, prometheus.NewRegistry())
	if code, _, body := ask(t, "GET", url+"/status"); code != 500 || body != "the status cannot be encoded\n" {
		t.Errorf("%d %q", code, body)
	}
}
