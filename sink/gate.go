package sink

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// The time between the starts of two probes.
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
//
// It closes on a word of the endpoint (429, Retry-After, a rate limit at zero), or on
// evidence that the endpoint takes nothing from anyone, and it is the place that
// knows the evidence.
type gate struct {
	slots int   // attempts in flight at most; constant
	rules rules // when rows are given up; constant

	mu       sync.Mutex
	inFlight int
	limit    int // of attempts in flight while the gate is open: grows to slots after a hold
	pace     pace
	queue    queue
	rows     uint64 // deliveries so far
	epoch    uint64 // counts how often the gate opened; an answer of an older epoch is old news
	evidence evidence
	withheld int // rows that would be given up, were there not so many already

	closed        bool
	refusing      bool // closed because rows are refused
	reason        string
	since         time.Time
	next          time.Time // no probe before
	probing       bool
	prober        uint64        // the row that probed last
	probed        time.Time     // when it was admitted
	probes        int           // failed so far in this hold
	held          time.Duration // of all holds before this one
	heldForOthers time.Duration // the same of those that were not for refusals
	timer         *time.Timer   // wakes the queue at next; nil until first needed
}

// pass is the right to make one attempt. Whoever has it must leave the gate with it.
type pass struct {
	epoch uint64
	probe bool
	shown time.Time // the evidence's, of when it was given
}

// change is what an answer did to the gate.
type change struct {
	kind   changeKind
	asked  bool // closed by a word of the endpoint
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

func newGate(slots int, r rules, p pace) *gate {
	return &gate{slots: slots, limit: slots, rules: r, pace: p}
}

// enter waits until one attempt of d may start. It returns context.Cause(ctx) if that
// ends first. A suspect is a row whose last attempt failed. While the gate is closed it
// waits like all others, and may be the one to probe: if it is the only row, it alone
// can open the gate. While the gate is open, and as soon as another row has opened it,
// a suspect gets errOpen and is to back off before it enters again.
func (g *gate) enter(ctx context.Context, d *delivery) (pass, error) {
	if ctx.Err() != nil {
		return pass{}, context.Cause(ctx)
	}
	g.mu.Lock()
	if d.row == 0 {
		g.rows++
		d.row = g.rows
		g.evidence.present++
	}
	if !g.closed && d.suspect {
		g.mu.Unlock()
		return pass{}, errOpen
	}
	if !g.closed && g.queue.first == nil && g.inFlight < g.allowed() && g.pace.wait() == 0 {
		p := g.admitted(d.row)
		g.mu.Unlock()
		return p, nil
	}
	w := &waiter{row: d.row, suspect: d.suspect, fresh: d.attempts == 0, admitted: make(chan struct{})}
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

// repeat waits until the pace allows whoever has a pass another request, or until ctx ends,
// and reports whether it may be sent: not if the gate was closed meanwhile.
func (g *gate) repeat(ctx context.Context, p pass) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if wait := g.pace.book(); wait > 0 {
		g.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		g.mu.Lock()
	}
	return p.probe || !g.closed
}

// allowed returns how many attempts may be in flight while the gate is open. Each
// failure in a row takes one slot, until an acceptance gives them all back: whether the
// endpoint is down is seen without sending it more.
func (g *gate) allowed() int {
	return max(min(minEvidence, g.limit), g.limit-g.evidence.streak.length)
}

// leave ends an attempt of d.
func (g *gate) leave(p pass, d *delivery, a answer) change {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.judge(p, d, a)
	g.inFlight--
	g.probing = g.probing && !p.probe
	g.admit()
	return c
}

func (g *gate) judge(p pass, d *delivery, a answer) change {
	if a.withheld {
		return change{}
	}
	e := &g.evidence
	if !a.unsent {
		e.all.answers++
		d.answers++
	}
	if a.verdict == accepted {
		e.all.accepted++
		if a.began.After(e.shown) {
			e.shown = a.began
		}
		e.verdicts.add(identity{})
		g.forget(d)
	}
	switch {
	case g.closed && p.probe:
		return g.judgeProbe(d, a)
	case g.closed:
		// It was under way when the gate closed. That it was accepted may have been
		// decided before whatever it is went wrong: only the probe opens.
		if until := a.at.Add(a.wait); until.After(g.next) {
			g.next = until
		}
	case a.verdict == accepted && a.wait > 0: // the last one for now
		return g.shut(reasonRateLimited, a)
	case a.wait > 0 || a.reason == reasonRateLimited || a.unsent:
		c := g.shut(a.reason, a)
		c.asked = true
		return c
	case p.epoch != g.epoch:
	case a.verdict == accepted:
		e.accept()
		g.limit = min(g.limit+1, g.slots)
	default:
		if e.fail(d, a); e.accuses(g.inFlight) {
			c := g.shut(e.mostly(), a)
			g.refusing = c.reason == reasonRefused
			return c
		}
	}
	return change{}
}

// judgeProbe opens the gate if the endpoint takes rows, or knows which it does not
// want. That it goes on to refuse them is no news in a hold for that, unless all rows
// that there are have been refused, or one that was not would probe: nobody is left who
// could show more, so they are bad rows, as far as the budget goes.
func (g *gate) judgeProbe(d *delivery, a answer) change {
	worked := a.verdict == accepted || a.verdict == refused && (!g.refusing ||
		d.refusals > 0 && g.mark(a.at).sinceRefusal(d.refused) >= evidenceTime &&
			!g.evidence.verdicts.full(g.rules.budget))
	if worked && a.wait == 0 {
		c := change{kind: opened, reason: g.reason, since: g.since}
		now := g.mark(a.at)
		g.held, g.heldForOthers = now.held, now.heldForOthers
		g.closed, g.refusing = false, false
		g.epoch++
		g.limit = 1 // and one more with each acceptance
		g.evidence.endStreak()
		return c
	}
	g.probes++
	g.reason = a.reason
	if worked {
		g.probes, g.reason = 0, reasonRateLimited
	}
	// From start to start, the wait for an access token included, which the next one may have as well.
	g.next = g.probeAt(g.probed, a)
	return change{kind: extended, reason: g.reason, since: g.since, next: g.next}
}

// shut begins a hold.
func (g *gate) shut(reason string, a answer) change {
	g.closed = true
	g.reason = reason
	g.since = a.at
	g.probes = 0
	g.next = g.probeAt(a.began, a)
	return change{kind: closed, reason: reason, since: g.since, next: g.next}
}

// probeAt returns when to probe after a failed. What the endpoint asks for counts from
// its answer; else the time between attempts is from start to start, for an attempt
// may take long to fail.
func (g *gate) probeAt(began time.Time, a answer) time.Time {
	if a.wait > 0 {
		return a.at.Add(max(a.wait, minProbeWait))
	}
	at := began.Add(probeWait(g.probes))
	if soonest := a.at.Add(minProbeWait); at.Before(soonest) {
		return soonest
	}
	return at
}

// mark is a moment from which time is to be counted, without that of holds.
type mark struct {
	at            time.Time
	held          time.Duration // until then
	heldForOthers time.Duration // the same without holds for refusals
}

// mark returns now as a mark. g.mu is held.
func (g *gate) mark(now time.Time) mark {
	m := mark{now, g.held, g.heldForOthers}
	if g.closed {
		m.held += now.Sub(g.since)
		if !g.refusing {
			m.heldForOthers += now.Sub(g.since)
		}
	}
	return m
}

func (m mark) since(before mark) time.Duration {
	return m.at.Sub(before.at) - (m.held - before.held)
}

// sinceRefusal is since for a row that waits for evidence: a hold for refusals is a part
// of that.
func (m mark) sinceRefusal(before mark) time.Duration {
	return m.at.Sub(before.at) - (m.heldForOthers - before.heldForOthers)
}

// end forgets d, which is over.
func (g *gate) end(d *delivery) {
	if d.row == 0 && !d.withheld {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forget(d)
}

func (g *gate) forget(d *delivery) {
	if d.withheld {
		d.withheld = false
		g.withheld--
	}
	if d.row != 0 {
		d.row = 0
		g.evidence.end(d)
	}
}

// admit hands passes to those whose turn it is. g.mu is held.
func (g *gate) admit() {
	for w := g.turn(); w != nil; w = g.turn() {
		switch {
		case !g.closed && w.suspect:
			w.err = errOpen
		case g.closed && g.probing, !g.closed && g.inFlight >= g.allowed():
			return // leave calls again
		default:
			if wait := g.wait(); wait > 0 {
				g.wake(wait)
				return
			}
			w.pass = g.admitted(w.row)
		}
		g.queue.remove(w)
		close(w.admitted)
	}
}

// turn returns whose turn it is: the first. To probe, it is the first of those that have
// not failed, which say more of the endpoint; and never who was it last while another
// waits.
func (g *gate) turn() *waiter {
	w := g.queue.first
	if !g.closed || w == nil {
		return w
	}
	for other := w; other != nil; other = other.next {
		if other.fresh {
			return other
		}
	}
	if w.row == g.prober && w.next != nil {
		return w.next
	}
	return w
}

// wait returns how long the next attempt has to wait though there is a slot.
func (g *gate) wait() time.Duration {
	if g.closed {
		if wait := time.Until(g.next); wait > 0 {
			return wait
		}
	}
	return g.pace.wait()
}

// admitted counts an attempt.
func (g *gate) admitted(row uint64) pass {
	g.inFlight++
	g.probing = g.closed
	if g.closed {
		g.prober, g.probed = row, time.Now()
	}
	return pass{epoch: g.epoch, probe: g.closed, shown: g.evidence.shown}
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

// setShare sets the part of the rate that this gate lets pass.
func (g *gate) setShare(part float64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pace.setShare(part)
	g.admit()
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

func (g *gate) paced() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.pace.slows()
}

func (g *gate) underWay() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inFlight
}

// overBudget returns how many rows wait though they would be given up.
func (g *gate) overBudget() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.withheld
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.timer != nil {
		g.timer.Stop()
	}
}

// probeWait returns how long nobody is attempted, after so many probes that failed. It
// doubles from minProbeWait to maxProbeWait, of which up to half is left to chance:
// members that share an endpoint must not probe in step.
func probeWait(probes int) time.Duration {
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
	row      uint64
	suspect  bool
	fresh    bool // it has not failed yet
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
