package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// health is what the admin server asks. It may ask several at once, from before the consumer starts until it has ended.
type health struct {
	live   func() error // nil, or why the process should be restarted
	ready  func() error // nil, or why it is not part of the group yet
	status func() any   // encoded as JSON; no personal data, no secrets
}

// adminStop is how long requests under way may take once the server stops.
const adminStop = 2 * time.Second

// admin is the HTTP server for operators, probes and Prometheus. It starts before the consumer and stops after it, so that readiness can be
// seen while rows drain.
type admin struct {
	server  *http.Server
	address net.Addr      // nil without a server
	served  chan struct{} // closed when the server has ended
}

// startAdmin listens on the address of admin.listen; an empty one gives an admin that does nothing.
func startAdmin(ctx context.Context, listen string, h health, metrics prometheus.Gatherer, log *slog.Logger) (*admin, error) {
	a := &admin{served: make(chan struct{})}
	if listen == "" {
		close(a.served)
		return a, nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("admin.listen: %w (set it to a free address, or to nothing for no admin server)", err)
	}
	a.address = listener.Addr()
	a.server = &http.Server{
		Handler:           adminHandler(h, metrics, log),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 * kibibyte,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	go func() {
		defer close(a.served)
		if err := a.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("admin server ended: probes will fail and the process will be restarted", "err", err)
		}
	}()
	log.Info("admin server listens", "address", a.address.String())
	return a, nil
}

// stop ends the server. Requests under way get adminStop to finish.
func (a *admin) stop() {
	if a.server == nil {
		return
	}
	// It must be able to finish requests although the context of the program has ended.
	ctx, cancel := context.WithTimeout(context.Background(), adminStop)
	defer cancel()
	if err := a.server.Shutdown(ctx); err != nil {
		_ = a.server.Close() // they had their time
	}
	<-a.served
}

const adminIndex = `signup-sheet

/livez    is the process well
/readyz   is it part of the group
/metrics  for Prometheus
/status   what it is doing, as JSON
`

func adminHandler(h health, metrics prometheus.Gatherer, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	// A pattern with GET matches HEAD too, and other methods are answered with 405.
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, adminIndex) })
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { probe(w, h.live()) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { probe(w, h.ready()) })
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		body, err := json.MarshalIndent(h.status(), "", "  ")
		if err != nil {
			log.Error("encode the status: report this as a bug", "err", err)
			plain(w, http.StatusInternalServerError, "the status cannot be encoded\n")
			return
		}
		respond(w, http.StatusOK, "application/json", string(body)+"\n")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError),
	}))
	return mux
}

// probe answers 200, or 503 with the reason in one line.
func probe(w http.ResponseWriter, reason error) {
	if reason != nil {
		plain(w, http.StatusServiceUnavailable, reason.Error()+"\n")
		return
	}
	plain(w, http.StatusOK, "ok\n")
}

func plain(w http.ResponseWriter, status int, body string) {
	respond(w, status, "text/plain; charset=utf-8", body)
}

func respond(w http.ResponseWriter, status int, contentType, body string) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body) // the client has gone
}
