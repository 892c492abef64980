// Package sink delivers rows to one webhook, reliably. It maps values to the columns of
// a row, posts rows, tries again what may go better later, and holds all deliveries while
// the endpoint takes nothing. It knows nothing of where rows come from.
package sink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// maxURL keeps a request's head below headBuffer, whatever is in the URL.
const (
	maxURL     = 4 << 10
	headBuffer = 8 << 10
)

// Permit is asked before each attempt whether it may start.
type Permit interface {
	// Wait returns nil as soon as attempts may start, or an error once ctx has ended.
	Wait(ctx context.Context) error
	// Valid reports whether attempts may start now. It is asked at the start of each,
	// and again when the first byte of the request is about to be written, from another
	// goroutine.
	Valid() bool
}

// Config is what a Sink needs to know.
type Config struct {
	// URL is the endpoint's, absolute, http or https. Its path, query and user
	// information are taken for secrets. User information is sent as basic
	// authentication.
	URL string
	// Preset is the name of a Preset, by which the shape of requests and the meaning of
	// answers go; empty for the generic one. Its defaults are the caller's to apply.
	Preset string
	// MaxBodyBytes bounds the body of a request; 0 is any size.
	MaxBodyBytes int
	// Concurrency is the number of attempts in flight at most.
	Concurrency int
	// Timeout bounds one attempt, connecting included.
	Timeout time.Duration
	// Rate is how many attempts a second all members of the group make together; 0 is
	// any number. See SetShare.
	Rate float64
	// MaxAttempts and MaxElapsed are how often and how long a row has to fail, while
	// others are accepted, before it is given up. The time of holds does not count.
	MaxAttempts int
	MaxElapsed  time.Duration
	// DeadLetterBudget is how many of the latest 100 rows may be given up. Those above
	// it wait.
	DeadLetterBudget int
	// Rules override what answers mean, the last of them before all others.
	Rules []Rule
	// UserAgent is sent with each request.
	UserAgent string
	// Permit may be nil: attempts may start at any time.
	Permit Permit
	// Waiting may be nil. It is called with 1 when a delivery that has failed begins to
	// wait for its next attempt, and with -1 when that is over: others may begin
	// meanwhile. It is not called for one that has not failed, which waits at the gate.
	Waiting func(delta int)
	// DialContext opens connections; nil is TCP.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
	// TLS may be nil. It is cloned, and raised to TLS 1.2 at least.
	TLS *tls.Config
}

// Sink delivers to one endpoint. It is safe for concurrent use.
type Sink struct {
	cfg       Config
	log       *slog.Logger
	metrics   *metrics
	transport *http.Transport
	request   *http.Request // the template of all requests: without header, body and context
	header    http.Header   // the fields that all requests share
	secrets   []string      // the parts of the URL that must not appear anywhere
	preset    Preset
	table     *table
	gate      *gate
	failures  failures
	holds     holdLog
	budget    budgetLog

	envelopes   sync.Pool    // of *envelope
	conns       sync.Map     // see track
	lastAttempt atomic.Int64 // Unix nanoseconds
}

// Hold says why and for how long no row is attempted.
type Hold struct {
	// Reason is one of refused, unauthorised, not_found, redirected, rejected,
	// rate_limited, failing, unconfirmed, timeout, network, tls, dns and proxy.
	Reason string
	// Since is when the hold began.
	Since time.Time
	// NextProbe is when one row is to be attempted. It is in the past while that is
	// under way, or while there is no row.
	NextProbe time.Time
}

// New returns a sink for the endpoint of cfg. Errors name the setting and never contain
// the URL. Metrics are registered at reg, which may be nil.
func New(cfg Config, reg prometheus.Registerer, log *slog.Logger) (*Sink, error) {
	target, err := parseURL(cfg.URL)
	preset, known := PresetNamed(cfg.Preset)
	if !known {
		err = errors.Join(err, fmt.Errorf("sink.preset: there is no %q: want one of %s", cfg.Preset, strings.Join(PresetNames(), ", ")))
	}
	if cfg.Concurrency < 1 {
		err = errors.Join(err, errors.New("sink.concurrency: must be at least 1"))
	}
	if cfg.MaxAttempts < 1 {
		err = errors.Join(err, errors.New("sink.max_attempts: must be at least 1"))
	}
	if cfg.Timeout <= 0 {
		err = errors.Join(err, errors.New("sink.timeout: must be above 0"))
	}
	if err != nil {
		return nil, err
	}
	secrets := secretsOf(target)
	header := http.Header{
		"Content-Type": {"application/json"},
		"User-Agent":   {cfg.UserAgent},
	}
	if user := target.User; user != nil {
		header["Authorization"] = []string{"Basic " + credentials(user)}
		target.User = nil
	}
	s := &Sink{
		cfg:       cfg,
		log:       log,
		transport: newTransport(cfg),
		request: &http.Request{
			Method: http.MethodPost, URL: target, Host: target.Host,
			Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		},
		header:  header,
		secrets: secrets,
		preset:  preset,
		table:   newTable(preset, cfg.Rules),
		gate:    newGate(cfg.Concurrency, rules{cfg.MaxAttempts, cfg.MaxElapsed, cfg.DeadLetterBudget}, newPace(cfg.Rate)),
	}
	s.metrics = newMetrics(reg, s.gate)
	return s, nil
}

// parseURL returns no error of net/url: those print the URL.
func parseURL(raw string) (*url.URL, error) {
	if raw == "" {
		return nil, errors.New("sink.url: is not set")
	}
	if len(raw) > maxURL {
		return nil, errors.New("sink.url: is longer than " + strconv.Itoa(maxURL) + " bytes")
	}
	target, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, errors.New("sink.url: is not a URL") // its own words print the URL
	case target.Scheme != "http" && target.Scheme != "https":
		return nil, errors.New("sink.url: must begin with https:// or http://")
	case target.Hostname() == "":
		return nil, errors.New("sink.url: has no host")
	}
	target.Fragment, target.RawFragment = "", ""
	return target, nil
}

func newTransport(cfg Config) *http.Transport {
	dial := cfg.DialContext
	if dial == nil {
		dial = (&net.Dialer{Timeout: min(cfg.Timeout, 5*time.Second)}).DialContext
	}
	security := cfg.TLS.Clone()
	if security == nil {
		security = &tls.Config{}
	}
	security.MinVersion = max(security.MinVersion, tls.VersionTLS12)
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dial,
		TLSClientConfig:     security,
		TLSHandshakeTimeout: 10 * time.Second,
		// The default of two idle connections a host would close all others after
		// each request.
		MaxIdleConns:           cfg.Concurrency,
		MaxIdleConnsPerHost:    cfg.Concurrency,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 256 << 10,
		DisableCompression:     true,
		// The whole head of a request stays in this buffer until the permit has been
		// asked for the last time: see track.
		WriteBufferSize:   headBuffer,
		ForceAttemptHTTP2: true,
		HTTP2:             &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, res *http.Response) error {
			if res.StatusCode != http.StatusOK {
				return &proxyError{res.StatusCode}
			}
			return nil
		},
	}
}

// SetShare sets the part of Config.Rate that is this member's, from 0 to 1: its partitions
// of all partitions.
func (s *Sink) SetShare(part float64) { s.gate.setShare(part) }

// Hold returns the hold, if there is one.
func (s *Sink) Hold() (Hold, bool) { return s.gate.holding() }

// InFlight returns the number of attempts under way.
func (s *Sink) InFlight() int { return s.gate.underWay() }

// LastAttempt returns when the latest attempt started; zero if there was none.
func (s *Sink) LastAttempt() time.Time {
	if nanos := s.lastAttempt.Load(); nanos != 0 {
		return time.Unix(0, nanos)
	}
	return time.Time{}
}

// LastFailure returns the latest attempt that failed, if any did.
func (s *Sink) LastFailure() (Failure, bool) { return s.failures.latest() }

// Close closes idle connections. It is to be called after all deliveries have ended.
func (s *Sink) Close() {
	s.gate.close()
	s.transport.CloseIdleConnections()
}
