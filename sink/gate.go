package sink

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// The time between two probes.
const (
	minProbeWait = time.Second
	maxProbeWait = 30 * time.Second
)

// errOpen says that the gate is open, and not by the row's own merit.
var errOpen = errors.New("the gate is open")

// gate is where deliveries wait: for one of the slots while it is open, and while it
// is closed (a hold) for the time at which one of them may probe. There is one queue,
// first come, first served. So no delivery can slip from an open gate into a slot
// after the gate was closed, and a row whose probe failed queues behind all others.
type gate struct {
	slots int // attempts in flight at most; constant

	mu       sync.Mutex
	inFlight int
	queue    queue
	epoch    uint64 // counts how often the gate opened; an answer of an older epoch is old news
	closed   bool
	reason   string
	since    time.Time
	next     time.Time // no probe before
	probing  bool
	probes   int         // failed so far in this hold
	timer    *time.Timer // wakes the queue at next; nil until first needed
}

// pass is the right to make one attempt. Whoever has it must leave the gate with it.
type pass struct {
	epoch uint64
	probe bool
}

// change is what an answer did to the gate.
type change struct {
	kind   changeKind
	reason string
	since  time.Time
	next   time.Time
}

type changeKind int

const (
	unchanged changeKind = iota
	closed
	extended
	opened
)

func newGate(slots int) *gate { return &gate{slots: slots} }

// enter waits until one attempt may start. It returns context.Cause(ctx) if that ends
// first. A suspect is a row whose last attempt failed. While the gate is closed it waits
// like all others, and may be the one to probe: if it is the only row, it alone can open
// the gate. While the gate is open, and as soon as another row has opened it, a suspect
// gets errOpen and is to back off before it enters again. Otherwise a row that the endpoint
// answers with, say, 403 while it takes all others would close the gate as often as they
// open it.
func (g *gate) enter(ctx context.Context, suspect bool) (pass, error) {
	if ctx.Err() != nil {
		return pass{}, context.Cause(ctx)
	}
	g.mu.Lock()
	if !g.closed && suspect {
		g.mu.Unlock()
		return pass{}, errOpen
	}
	if !g.closed && g.queue.first == nil && g.inFlight < g.slots {
		g.inFlight++
		p := pass{epoch: g.epoch}
		g.mu.Unlock()
		return p, nil
	}
	w := &waiter{suspect: suspect, admitted: make(chan struct{})}
	g.queue.push(w)
	g.admit()
	g.mu.Unlock()

	select {
	case <-w.admitted:
		return w.pass, w.err
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-w.admitted: // at the same moment: hand the pass on
		if w.err == nil {
			g.inFlight--
			g.probing = g.probing && !w.pass.probe
			g.admit()
		}
	default:
		g.queue.remove(w)
	}
	return pass{}, context.Cause(ctx)
}

// leave ends an attempt. The answer of a probe opens the gate or extends the hold; any
// answer that closes, or that asks for time, closes it.
func (g *gate) leave(p pass, a answer) change {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inFlight--
	g.probing = g.probing && !p.probe
	c := g.judge(p, a, time.Now())
	g.admit()
	return c
}

func (g *gate) judge(p pass, a answer, now time.Time) change {
	switch {
	case a.withheld:
		return change{}
	case a.verdict == accepted || a.verdict == refused:
		// Only the probe opens. Others that were under way when the gate closed may
		// have been answered before whatever it was went wrong.
		if !g.closed || !p.probe {
			return change{}
		}
		c := change{kind: opened, reason: g.reason, since: g.since}
		g.closed = false
		g.probes = 0
		g.epoch++
		return c
	case g.closed && p.probe:
		g.probes++
		g.reason = a.reason
		g.next = now.Add(probeWait(g.probes, a.retryAfter))
		return change{kind: extended, reason: g.reason, since: g.since, next: g.next}
	case g.closed:
		if until := now.Add(a.retryAfter); until.After(g.next) {
			g.next = until
		}
		return change{}
	case a.retryAfter > 0 || a.reason == reasonRateLimited || a.closes && p.epoch == g.epoch:
		g.closed = true
		g.reason = a.reason
		g.since = now
		g.next = now.Add(probeWait(0, a.retryAfter))
		return change{kind: closed, reason: g.reason, since: g.since, next: g.next}
	}
	return change{}
}

// admit hands passes to those who are first in the queue. g.mu is held.
func (g *gate) admit() {
	for w := g.queue.first; w != nil; w = g.queue.first {
		switch {
		case !g.closed && w.suspect:
			w.err = errOpen
		case g.inFlight >= g.slots || g.closed && g.probing:
			return // leave calls again
		case g.closed && time.Now().Before(g.next):
			g.wake(time.Until(g.next))
			return
		default:
			w.pass = pass{epoch: g.epoch, probe: g.closed}
			g.probing = g.closed
			g.inFlight++
		}
		g.queue.remove(w)
		close(w.admitted)
	}
}

func (g *gate) wake(after time.Duration) {
	if g.timer != nil {
		g.timer.Reset(after)
		return
	}
	g.timer = time.AfterFunc(after, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.admit()
	})
}

// holding returns the hold, if the gate is closed.
func (g *gate) holding() (Hold, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		return Hold{}, false
	}
	return Hold{Reason: g.reason, Since: g.since, NextProbe: g.next}, true
}

func (g *gate) underWay() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inFlight
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.timer != nil {
		g.timer.Stop()
	}
}

// probeWait returns how long nobody is attempted, after so many probes that failed. An
// explicit wish of the endpoint counts alone, but never as less than minProbeWait.
// Otherwise the wait doubles from minProbeWait to maxProbeWait, of which up to half
// is left to chance: members that share an endpoint must not probe in step.
func probeWait(probes int, retryAfter time.Duration) time.Duration {
	if retryAfter > 0 {
		return max(retryAfter, minProbeWait)
	}
	wait := doubled(minProbeWait, maxProbeWait, probes)
	return max(minProbeWait, wait/2+rand.N(wait/2+1))
}

// doubled returns from × 2^times, at most limit.
func doubled(from, limit time.Duration, times int) time.Duration {
	for range times {
		if from >= limit {
			return limit
		}
		from *= 2
	}
	return min(from, limit)
}

// waiter is one delivery in the queue. What is written before admitted is closed may be
// read after it.
type waiter struct {
	suspect  bool
	admitted chan struct{}
	pass     pass
	err      error

	previous, next *waiter
}

// queue is a list of waiters that links the waiters themselves.
type queue struct{ first, last *waiter }

func (q *queue) push(w *waiter) {
	w.previous = q.last
	if q.last == nil {
		q.first = w
	} else {
		q.last.next = w
	}
	q.last = w
}

func (q *queue) remove(w *waiter) {
	if w.previous == nil {
		q.first = w.next
	} else {
		w.previous.next = w.next
	}
	if w.next == nil {
		q.last = w.previous
	} else {
		w.next.previous = w.previous
	}
	w.previous, w.next = nil, nil
}
