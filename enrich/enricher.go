// Package enrich guesses ages from first names with the agify API, at best effort: a row never fails and never waits longer than a
// timeout for its age. Answers are cached, and rows that ask for the same name at the same time share one request.
package enrich

import (
	"context"
	"log/slog"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"
)

// An Enricher guesses ages. Its methods may be called from many goroutines.
type Enricher struct {
	client  *client
	timeout time.Duration
	cache   *lru.Cache[key, guess] // filled by the call that asked, before its callers are told
	calls   singleflight.Group     // requests under way, by key
	outage  outage
	metrics *metrics
}

// A key is what an answer depends on.
type key struct {
	name    string // as firstName gives it
	country string // as countryCode gives it
}

// New returns an Enricher, or what [Config.Validate] finds wrong. It connects to nothing yet.
// Its metrics are registered with reg; a nil reg keeps them to itself.
func New(cfg Config, reg prometheus.Registerer, log *slog.Logger) (*Enricher, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cache, err := lru.New[key, guess](cfg.CacheSize)
	if err != nil {
		return nil, err
	}
	return &Enricher{
		client:  newClient(cfg),
		timeout: cfg.Timeout,
		cache:   cache,
		outage:  outage{log: log},
		metrics: newMetrics(reg, cache.Len),
	}, nil
}

// Age guesses the age, in years, of people called name. Of the name only the first word leaves the process, in lower case, and of
// countryID only an ISO 3166-1 alpha-2 code, in either case; anything else is no country.
//
// ok is false if there is no age: agify does not know the name, name is none (empty, without a letter, an email address), the request
// failed or took longer than the configured timeout, or ctx ended first. Why is counted, and failures are logged.
// A failure is not remembered: the next row with that name asks again. That agify does not know a name is.
//
// Callers that ask for the same name and country at the same time share one request, which the end of one caller's ctx does not stop:
// it goes on for the others and for the cache, until the timeout.
func (e *Enricher) Age(ctx context.Context, name, countryID string) (age int, ok bool) {
	g, r := e.lookup(ctx, name, countryID)
	e.metrics.lookups[r].Inc()
	return int(g.age), g.known
}

func (e *Enricher) lookup(ctx context.Context, name, countryID string) (guess, result) {
	first := firstName(name)
	if first == "" {
		return guess{}, skipped
	}
	k := key{name: first, country: countryCode(countryID)}
	if g, cached := e.cache.Get(k); cached {
		return g, g.result(hit)
	}
	if ctx.Err() != nil {
		return guess{}, canceled
	}
	return e.ask(ctx, k.clone())
}

// ask waits for agify's answer about k: to a request of its own, or to the one already under way.
func (e *Enricher) ask(ctx context.Context, k key) (guess, result) {
	led := false // written by the call, read once its result was received
	answer := e.calls.DoChan(k.country+":"+k.name, func() (any, error) {
		// One caller misses the cache; the call of another fills it and is forgotten; then the first one gets here.
		if g, cached := e.cache.Get(k); cached {
			return g, nil
		}
		led = true
		return e.call(ctx, k)
	})
	select {
	case a := <-answer:
		g, isGuess := a.Val.(guess)
		switch {
		case a.Err != nil || !isGuess:
			return guess{}, unavailable
		case led:
			return g, g.result(miss)
		default:
			return g, g.result(coalesced)
		}
	case <-ctx.Done():
		return guess{}, canceled
	}
}

// call makes the request that all callers waiting for k share. It belongs to none of them: it has ctx's values, and a time of its own.
func (e *Enricher) call(ctx context.Context, k key) (guess, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.timeout)
	defer cancel()

	start := time.Now()
	g, err := e.client.guess(ctx, k)
	e.metrics.requestDuration.Observe(time.Since(start).Seconds())
	if err != nil {
		why, status := failureOf(err)
		e.metrics.failures[why].Inc()
		e.outage.failed(why, status, err)
		return guess{}, err
	}
	e.cache.Add(k, g)
	e.outage.succeeded()
	return g, nil
}

// Close closes the connections that are idle. Requests under way end by themselves, within the timeout, and close theirs.
func (e *Enricher) Close() {
	e.client.transport.CloseIdleConnections()
}

// clone returns a copy of k that shares no memory: a name in the cache must not keep the whole record that it was cut from.
func (k key) clone() key {
	return key{name: strings.Clone(k.name), country: strings.Clone(k.country)}
}
