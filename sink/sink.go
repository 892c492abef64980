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
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"signup-sheet/credentials"
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
	// URLFile, if not empty, is a file that holds the URL, and counts before it. The file
	// may change at any time, as all others: what is in them is used for new attempts a
	// few seconds later. A file that cannot be used then is warned of, and what was read
	// before is used on.
	URLFile credentials.Text
	// AllowHTTP: a URL may be http, though its host is not this machine.
	AllowHTTP bool
	// Auth says how the endpoint knows who calls.
	Auth Auth
	// TLSFiles are the authorities that the endpoint's certificate may be signed by, and
	// our own certificate.
	TLSFiles credentials.Files
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
	// TLS may be nil. It is cloned, and raised to TLS 1.2 at least; TLSFiles count before it.
	TLS *tls.Config
}

// Sink delivers to one endpoint. It is safe for concurrent use.
type Sink struct {
	cfg      Config
	log      *slog.Logger
	metrics  *metrics
	preset   Preset
	table    *table
	gate     *gate
	failures failures
	holds    holdLog
	budget   budgetLog

	webhook    atomic.Pointer[webhook]
	due        atomic.Pointer[time.Time] // when to renew it; no clock that is set changes that
	unreadable atomic.Int64              // sources that cannot be read
	renewing   sync.Mutex
	sources    []source  // with renewing
	readAt     time.Time // with renewing: when they were
	retired    retired
	tokens     *accessTokens // nil unless by OAuth

	conns       sync.Map     // see track
	lastAttempt atomic.Int64 // Unix nanoseconds
}

// Hold says why and for how long no row is attempted.
type Hold struct {
	// Reason is one of refused, unauthorised, not_found, redirected, rejected,
	// rate_limited, failing, unconfirmed, timeout, network, tls, dns, proxy and token.
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
	var known access
	var err error
	sources := sourcesOf(cfg)
	if cfg.URLFile == "" {
		if wrong := known.locate(cfg.URL, cfg); wrong != nil {
			err = fmt.Errorf("sink.url: %w", wrong)
		}
	}
	for _, s := range sources {
		if wrong := s.read(&known); wrong != nil {
			err = errors.Join(err, &SettingError{s.setting, wrong})
		}
	}
	err = errors.Join(err, cfg.Auth.check(cfg.AllowHTTP))
	preset, isPreset := PresetNamed(cfg.Preset)
	if !isPreset {
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
	s := &Sink{
		cfg:     cfg,
		log:     log,
		sources: sources,
		preset:  preset,
		table:   newTable(preset, cfg.Rules),
		gate:    newGate(cfg.Concurrency, rules{cfg.MaxAttempts, cfg.MaxElapsed, cfg.DeadLetterBudget}, newPace(cfg.Rate)),
	}
	s.metrics = newMetrics(reg, s.gate, &s.unreadable)
	if cfg.Auth.Mechanism == AuthOAuth2 {
		s.tokens = newTokens(credentials.NewClient(cfg.Auth.TokenURL, cfg.Auth.ClientID, cfg.Auth.Scopes, cfg.DialContext), known.clientSecret)
		s.tokens.note = s.noteToken
		s.tokens.retire = func(text string) { s.retired.add(time.Now(), []string{text}) }
	}
	e := s.newWebhook(known, 0)
	e.connections = newConnections(cfg, known, time.Now())
	s.webhook.Store(e)
	s.readAt = e.born
	s.plan(e.born)
	return s, nil
}

// SetShare sets the part of Config.Rate that is this member's, from 0 to 1: its partitions
// of all partitions.
func (s *Sink) SetShare(part float64) { s.gate.setShare(part) }

// Hold returns the hold, if there is one.
func (s *Sink) Hold() (Hold, bool) { return s.gate.holding() }

// Paced reports whether rows have to wait now for their turn, by Config.Rate.
func (s *Sink) Paced() bool { return s.gate.paced() }

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
	if s.tokens != nil {
		s.tokens.close()
	}
	s.webhook.Load().retire()
}
