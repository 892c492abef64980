package enrich

import (
	"context"
	"slices"
	"sync"
	"time"
)

// A call is one name that agify is asked about, and those who wait for the answer.
type call struct {
	key    key
	guess  guess
	failed bool          // no guess; written, like guess, before done is closed
	done   chan struct{} // closed once
}

// A batch is calls for one country that share a request. Its time is that of its first call.
type batch struct {
	country  country
	calls    []*call
	deadline time.Time
	linger   *time.Timer
}

// documentedBatch is the most names that a request may have by agify's documentation.
const documentedBatch = 10

// sizeInterval is the time after which agify is asked about agify.batch_size names again although it took fewer only: that may
// have been a proxy's mood. If it still takes fewer, one request was too large.
const sizeInterval = time.Hour

// maxQueryNames bounds the names of a request, in bytes: servers take URLs of 8 KiB, and a byte may become three.
const maxQueryNames = 2000

// join returns the call about k, and whether it is new; nil if nobody may ask now. Whoever misses the cache a moment too early
// to see the answer of a call that has ended gets that answer.
func (e *Enricher) join(ctx context.Context, k key) (c *call, led bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.calls[k]; c != nil {
		return c, false
	}
	if g, ok := e.cache.Peek(k); ok && e.fresh(g) {
		c := &call{guess: g, done: make(chan struct{})}
		close(c.done)
		return c, false
	}
	admitted := e.supply.admit()
	if admitted == refused {
		return nil, false
	}
	c = &call{key: k.clone(), done: make(chan struct{})}
	if admitted == probe {
		go e.probe(context.WithoutCancel(ctx), c) // nobody waits for it
		return nil, false
	}
	e.calls[c.key] = c
	e.enter(ctx, c)
	return c, true
}

// enter puts a call into the open batch of its country, and sends that when it is full. e.mu is held.
func (e *Enricher) enter(ctx context.Context, c *call) {
	ctx = context.WithoutCancel(ctx)
	b := e.open[c.key.country]
	if b != nil && b.nameBytes()+len(c.key.name) > maxQueryNames {
		e.dispatch(ctx, b)
		b = nil
	}
	if b == nil {
		if e.most < e.cfg.BatchSize && time.Since(e.tried) >= sizeInterval {
			e.most = e.cfg.BatchSize
		}
		b = &batch{country: c.key.country, deadline: time.Now().Add(e.cfg.Timeout)}
		e.open[b.country] = b
		if e.most > 1 && e.cfg.Linger > 0 {
			b.linger = time.AfterFunc(e.cfg.Linger, func() {
				e.mu.Lock()
				defer e.mu.Unlock()
				e.dispatch(ctx, b)
			})
		}
	}
	b.calls = append(b.calls, c)
	if len(b.calls) >= e.most || b.linger == nil {
		e.dispatch(ctx, b)
	}
}

func (b *batch) nameBytes() int {
	n := 0
	for _, c := range b.calls {
		n += len(c.key.name)
	}
	return n
}

// dispatch sends a batch that is still open, with the values of ctx. e.mu is held.
func (e *Enricher) dispatch(ctx context.Context, b *batch) {
	if e.open[b.country] != b {
		return
	}
	delete(e.open, b.country)
	if b.linger != nil {
		b.linger.Stop()
	}
	go func() {
		ctx, cancel := context.WithDeadline(ctx, b.deadline)
		defer cancel()
		e.send(ctx, b.calls, false)
	}()
}

// probe asks about one name while rows go on without an age, to see whether agify can be asked again; before it is time for that only
// if there is another key.
func (e *Enricher) probe(ctx context.Context, c *call) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Timeout)
	defer cancel()
	if _, account, _ := e.client.key(ctx); e.supply.due(account) { // without a key the probe fails
		e.send(ctx, []*call{c}, true)
	}
}

// send asks about calls of one country, in one request or more, and ends them all. It reports whether agify took all the names.
func (e *Enricher) send(ctx context.Context, calls []*call, probe bool) bool {
	alone := e.supply.awaitQuota(ctx)
	n := e.supply.take(len(calls), probe)
	whole := n == len(calls)
	e.fail(calls[n:])
	calls = calls[:n]
	if n == 0 {
		if alone {
			e.supply.next()
		}
		return false
	}
	answers, q, err := e.request(ctx, calls)
	settle := func() {
		e.supply.settle(n, q, err, probe)
		if alone {
			e.supply.next()
		}
	}
	if probe {
		defer settle() // its name is known before others may ask
	} else {
		settle()
	}
	switch {
	case err == nil:
		e.settle(calls, answers)
		return whole
	case err.splits(n):
		return e.split(ctx, calls) && whole
	case err.reason == reasonName:
		// Not in the store: it is no answer.
		e.end(calls[0], guess{at: now()})
		return false
	}
	e.fail(calls)
	return false
}

// split asks about fewer names at a time. If agify takes those, it is because they are fewer: for a while no request has more.
func (e *Enricher) split(ctx context.Context, calls []*call) bool {
	size := len(calls) / 2
	if len(calls) > documentedBatch {
		size = documentedBatch
	}
	var parts sync.WaitGroup
	var mu sync.Mutex
	all := true
	for part := range slices.Chunk(calls, size) {
		parts.Go(func() {
			taken := e.send(ctx, part, false)
			mu.Lock()
			defer mu.Unlock()
			all = all && taken
		})
	}
	parts.Wait()
	if all {
		e.takesNoMore(size)
	}
	return all
}

// takesNoMore lowers the number of names in a request, for a while.
func (e *Enricher) takesNoMore(size int) {
	e.mu.Lock()
	news := size < e.least
	e.most, e.least, e.tried = min(e.most, size), min(e.least, size), time.Now()
	e.mu.Unlock()
	if news {
		e.log.Info("agify takes fewer names in a request than agify.batch_size: it gets no more than it took, and is tried with more once an hour", "names", size)
	}
}

// request makes one request.
func (e *Enricher) request(ctx context.Context, calls []*call) ([]answer, quota, *failure) {
	names := make([]string, len(calls))
	for i, c := range calls {
		names[i] = c.key.name
	}
	form := e.metrics.single
	if len(names) > 1 {
		form = e.metrics.batched
	}
	form.Inc()
	e.metrics.names.Add(float64(len(names)))
	start := time.Now()
	answers, q, err := e.client.ask(ctx, calls[0].key.country, names)
	e.metrics.requestDuration.Observe(time.Since(start).Seconds())
	if err != nil {
		e.metrics.failures[err.reason].Inc()
	}
	return answers, q, err
}

// settle ends calls with the answers about them, position by position.
func (e *Enricher) settle(calls []*call, answers []answer) {
	at := now()
	for i, c := range calls {
		if answers[i].err != nil {
			e.metrics.failures[reasonAnswer].Inc()
			e.fail(calls[i : i+1])
			continue
		}
		g := answers[i].guess
		g.at = at
		if e.cfg.Store != nil {
			e.cfg.Store.Keep(c.key.answer(g))
		}
		e.end(c, g)
	}
}

// end ends a call with a guess, which is in the cache before anybody is told.
func (e *Enricher) end(c *call, g guess) {
	e.remember(c.key, g)
	c.guess = g
	e.over(c)
}

// fail ends calls without a guess.
func (e *Enricher) fail(calls []*call) {
	for _, c := range calls {
		c.failed = true
		e.over(c)
	}
}

func (e *Enricher) over(c *call) {
	e.mu.Lock()
	if e.calls[c.key] == c {
		delete(e.calls, c.key)
	}
	e.mu.Unlock()
	close(c.done)
}

// answer is the answer about k that g is.
func (k key) answer(g guess) Answer {
	return Answer{Name: k.name, Country: k.country.String(), Age: int(g.age), Known: g.known, Time: time.Unix(int64(g.at), 0).UTC()}
}

// now is the time as guesses have it.
func now() uint32 { return uint32(time.Now().Unix()) } // until 2106
