// Package enrich guesses ages from first names with the agify API, at best effort: a row never fails and never waits longer than a
// timeout for its age.
//
//	normalise ─▶ cache ─▶ join the call for that name ─▶ batch ─▶ may agify be asked? ─▶ request ─▶ cache, store
//
// Answers are cached for months, rows that ask for the same name at the same time share a call, and calls that come within a
// few milliseconds share a request. When agify fails or its quota is used up, rows go on without an age, at once.
package enrich

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// An Enricher guesses ages. Its methods may be called from many goroutines.
type Enricher struct {
	cfg     Config
	client  *client
	cache   *lru.Cache[key, guess] // what is too old stays, for when agify cannot be asked
	supply  *supply
	metrics *metrics
	log     *slog.Logger

	mu    sync.Mutex
	calls map[key]*call      // asked for now, or about to be
	open  map[country]*batch // wait for company
	most  int                // names in a request: agify.batch_size, or less if agify takes less
	least int                // the fewest that most has been
	tried time.Time          // when a request had more than agify took
}

// A key is what an answer depends on.
type key struct {
	name    string // as firstName gives it
	country country
}

// New returns an Enricher, or what [Config.Validate] finds wrong. It connects to nothing yet.
// Its metrics are registered with reg; a nil reg keeps them to itself.
func New(cfg Config, reg prometheus.Registerer, log *slog.Logger) (*Enricher, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	e := &Enricher{
		cfg: cfg, client: newClient(cfg), log: log,
		calls: map[key]*call{}, open: map[country]*batch{}, most: cfg.BatchSize, least: cfg.BatchSize,
	}
	cache, err := lru.NewWithEvict(cfg.CacheSize, func(key, guess) { e.metrics.evictions.Inc() })
	if err != nil {
		return nil, err
	}
	e.cache = cache
	e.metrics = newMetrics(reg, cache.Len)
	e.supply = newSupply(cfg.MinRemaining, e.metrics, log)
	return e, nil
}

// Age guesses the age, in years, of people called name. Of the name only the first word leaves the process (the first behind
// titles, if a name follows it), in lower case, and of countryID only an ISO 3166-1 alpha-2 code, in either case; anything else
// is no country.
//
// status says where the age comes from, or why there is none:
//
//   - "hit": it was known here. While agify fails, also if it is older than its time to live.
//   - "miss": agify was asked, for this row or for another at the same moment.
//   - "unknown": agify does not know the name.
//   - "skipped": name is none: empty, without a letter, an email address, a title.
//   - "unavailable": agify failed, took longer than the timeout, is not asked for now, or ctx ended.
//
// Without an age it is 0. Failures are not remembered: the next row with that name asks again, unless nobody does for a
// while, because agify fails, its quota is used up or it takes no key. Then no row waits for anything.
//
// The end of one caller's ctx stops no request: it goes on for the others and for the cache, until the timeout.
// The first calls wait for [Config.Ready], beyond the timeout.
//
// waiting is called with 1 before it waits for agify, and with -1 after, so that the caller can do something else meanwhile.
func (e *Enricher) Age(ctx context.Context, name, countryID string, waiting func(delta int)) (age int, status string) {
	g, r := e.lookup(ctx, name, countryID, waiting)
	e.metrics.lookups[r].Inc()
	return int(g.age), r.status()
}

func (e *Enricher) lookup(ctx context.Context, name, countryID string, waiting func(delta int)) (guess, result) {
	first := firstName(name)
	if first == "" {
		return guess{}, skipped
	}
	if !e.awaitReady(ctx) {
		return guess{}, canceled
	}
	k := key{name: first, country: countryCode(countryID)}
	old, cached := e.cache.Get(k)
	if cached && e.fresh(old) {
		return old, old.result(hit)
	}
	if ctx.Err() != nil {
		return guess{}, canceled
	}
	g, r := e.ask(ctx, k, waiting)
	if r == unavailable && cached {
		return old, old.result(stale)
	}
	return g, r
}

// awaitReady waits until the answers of the store are here, and reports whether ctx let it.
func (e *Enricher) awaitReady(ctx context.Context) bool {
	if e.cfg.Ready == nil {
		return true
	}
	select {
	case <-e.cfg.Ready:
		return true
	default:
	}
	select {
	case <-e.cfg.Ready:
		return true
	case <-ctx.Done():
		return false
	}
}

// ask waits for agify's answer about k: to a call of its own, or to the one already under way.
func (e *Enricher) ask(ctx context.Context, k key, waiting func(delta int)) (guess, result) {
	c, led := e.join(ctx, k)
	if c == nil {
		return guess{}, unavailable
	}
	waiting(1)
	defer waiting(-1)
	select {
	case <-c.done:
		switch {
		case c.failed:
			return guess{}, unavailable
		case led:
			return c.guess, c.guess.result(miss)
		default:
			return c.guess, c.guess.result(coalesced)
		}
	case <-ctx.Done():
		return guess{}, canceled
	}
}

// fresh reports whether g is within its time to live.
func (e *Enricher) fresh(g guess) bool {
	ttl := e.cfg.CacheTTL
	if !g.known {
		ttl = e.cfg.UnknownTTL
	}
	return time.Since(time.Unix(int64(g.at), 0)) < ttl
}

// Learn takes an answer that came from a store. Of two answers about a name the newer one counts, and one from the future
// is of now.
func (e *Enricher) Learn(a Answer) {
	g := guess{at: uint32(min(a.Time.Unix(), time.Now().Unix()))} // until 2106
	if a.Known {
		g.age, g.known = uint8(a.Age), true // at most 150
	}
	var c country
	copy(c[:], a.Country)
	e.remember(key{a.Name, c}, g)
}

// remember puts an answer in the cache unless a newer one is there.
func (e *Enricher) remember(k key, g guess) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if old, ok := e.cache.Peek(k); ok && old.at >= g.at {
		return
	}
	e.cache.Add(k, g)
}

// Close closes the connections that are idle. Requests under way end by themselves, within the timeout, and close theirs.
func (e *Enricher) Close() {
	e.client.transport.CloseIdleConnections()
}

// clone returns a copy of k that shares no memory: a name in the cache must not keep the whole record that it was cut from.
func (k key) clone() key {
	return key{name: strings.Clone(k.name), country: k.country}
}
