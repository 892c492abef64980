package sink

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// The bounds of a row's own backoff, before it is left to chance.
const (
	minBackoff = 500 * time.Millisecond
	maxBackoff = time.Minute
)

// GivenUp says that a row is not to be sent any more: the endpoint takes others, but not
// this one. None of its fields holds a value of the row or a part of the URL.
type GivenUp struct { //nolint:errname // our word for what became of the row
	// Class is refused (the endpoint rejects this row), exhausted (it failed otherwise,
	// often and long) or too_large (no request was sent: the body is above
	// Config.MaxBodyBytes).
	Class string
	// Reason is a word for the last failure, such as timeout: see Hold.
	Reason string
	// Status is the endpoint's HTTP status; 0 if there was no answer.
	Status int
	// Response is at most 1 KiB of what the endpoint said, with the row's values and
	// the URL's secrets masked, in valid UTF-8.
	Response string
	// Attempts is how often the row was sent, this time included.
	Attempts int
	// FirstFailure is when the first of them failed.
	FirstFailure time.Time
	// RequestIDs are what the endpoint calls the request, if it says so.
	RequestIDs []string

	words string
}

// The classes of rows that are given up.
const (
	ClassRefused   = "refused"
	ClassExhausted = "exhausted"
	ClassTooLarge  = "too_large"
)

func (e *GivenUp) Error() string {
	switch e.Class {
	case ClassRefused:
		return "endpoint refused the row: " + e.words
	case ClassTooLarge:
		return e.words
	}
	return fmt.Sprintf("%d attempts failed while others were accepted: %s", e.Attempts, e.words)
}

// delivery is what is known of a row on its way. All but row, which identifies it at
// the gate, belongs to Deliver, which lends it to the gate.
type delivery struct {
	identity identity
	row      uint64 // 0: not at the gate
	attempts int    // requests sent
	backoffs int
	suspect  bool   // the last attempt failed
	withheld bool   // it would be given up, were there not so many
	streak   uint64 // in which it was counted
	answers  uint64
	refusals int
	failed   mark // the first failure
	refused  mark // the first refusal
	before   tally
}

// Deliver posts the row until the endpoint has taken it. It returns
//
//   - nil: the endpoint accepted the row;
//   - *GivenUp: it takes others, but not this row; or the row is too large for it;
//   - context.Cause(ctx): ctx ended before. Whether the endpoint has seen the row is not
//     known. (An error of Config.Permit is wrapped.)
//
// It waits as long as it takes: while the endpoint is down or takes nothing from anyone,
// while ctx goes on. The end of ctx means stop: every wait ends at once and no attempt
// starts. An attempt already under way is finished, which takes at most Config.Timeout,
// and its answer counts, even after the end of ctx.
//
// Rows may reach the endpoint more than once: Idempotency-Key tells them apart.
func (s *Sink) Deliver(ctx context.Context, row Row) error {
	d := delivery{identity: identity{row.HeaderID, row.Place}}
	defer s.gate.end(&d)
	if tooLarge := s.tooLarge(row); tooLarge != nil {
		for s.gate.condemn(&d) == waits {
			s.budget.note(ctx, s.log, s.cfg.DeadLetterBudget)
			if err := s.backOff(ctx, &d); err != nil {
				return err
			}
		}
		return tooLarge
	}
	for {
		if s.cfg.Permit != nil {
			if err := s.cfg.Permit.Wait(ctx); err != nil {
				return stopped(ctx, err)
			}
		}
		p, err := s.enter(ctx, &d)
		if err == errOpen { //nolint:errorlint // never wrapped
			d.suspect = false
			d.backoffs++
			if err := s.backOff(ctx, &d); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		a, sent := s.send(ctx, row, p)
		d.attempts += sent
		c := s.gate.leave(p, &d, a)
		if c.kind == closed {
			s.metrics.holds.WithLabelValues(c.reason).Inc()
		}
		s.holds.note(ctx, s.log, c, a)

		if a.withheld {
			continue
		}
		if a.verdict == accepted {
			return nil
		}
		if a.unsent {
			// The gate is closed for all rows, and none of them failed.
			s.failures.note(ctx, s.log, a, true)
			continue
		}
		_, held := s.gate.holding()
		s.failures.note(ctx, s.log, a, held)
		s.log.LogAttrs(ctx, slog.LevelDebug, "attempt failed",
			slog.String("event_id", row.HeaderID), slog.Int("attempt", d.attempts),
			slog.String("reason", a.reason), slog.String("err", a.words()))
		switch s.gate.weigh(p, &d, a, c) {
		case givenUp:
			return s.giveUp(row, &d, a)
		case waits:
			s.budget.note(ctx, s.log, s.cfg.DeadLetterBudget)
		case goesOn:
		}
		s.metrics.retries.Inc()
		d.suspect = true
	}
}

// enter waits at the gate. A row that has failed lets another begin meanwhile: it says
// more of the endpoint than this one, again.
func (s *Sink) enter(ctx context.Context, d *delivery) (pass, error) {
	if d.attempts > 0 && s.cfg.Waiting != nil {
		s.cfg.Waiting(1)
		defer s.cfg.Waiting(-1)
	}
	return s.gate.enter(ctx, d)
}

// tooLarge gives a row up whose request would have a body above the limit; nil if it has not.
func (s *Sink) tooLarge(row Row) *GivenUp {
	limit := s.cfg.MaxBodyBytes
	if limit == 0 {
		return nil
	}
	size := len(s.body(row))
	if size <= limit {
		return nil
	}
	return &GivenUp{
		Class: ClassTooLarge, FirstFailure: time.Now(),
		words: fmt.Sprintf("the request would have %d bytes, and sink.max_body_bytes allows %d", size, limit),
	}
}

// giveUp says why row is given up, after a.
func (s *Sink) giveUp(row Row, d *delivery, a answer) *GivenUp {
	private := slices.Concat(valuesOf(row.Body), s.secrets())
	e := &GivenUp{
		Class: ClassExhausted, Reason: a.reason, Status: a.status,
		Response: excerpt(a.body, private), Attempts: d.attempts, FirstFailure: d.failed.at,
		RequestIDs: requestIDs(a.header, a.body, private), words: a.words(),
	}
	if a.verdict == refused {
		e.Class = ClassRefused
	}
	return e
}

// send makes one attempt, and as soon as the pace allows another if the first was lost with
// its connection or was made with what is known to be old: each once. It returns how many
// requests were sent.
func (s *Sink) send(ctx context.Context, row Row, p pass) (a answer, sent int) {
	var reconnected, renewed bool
	for {
		a = s.attempt(ctx, row, a.dead)
		if a.withheld || a.unsent {
			return a, sent
		}
		sent++
		again := false
		switch {
		case a.lost && !reconnected:
			// An endpoint that restarted has closed all other connections as well, so the next attempt has one of its own if
			// this one was dead. (To close those that are idle would cost answers that are about to be handed over: they
			// are back in the pool by then.)
			again = s.gate.repeat(ctx, p)
			reconnected = again
		case a.verdict == atFault && !renewed && s.outdated(ctx, a) && a.wait == 0:
			done := func(bool) {}
			if again = true; s.tokens != nil && a.status == http.StatusUnauthorized {
				done, again = s.tokens.try(ctx)
			}
			defer func() { done(a.withheld) }()
			if again = again && s.gate.repeat(ctx, p); again {
				renewed = true
				s.metrics.renewals.Inc()
			}
		}
		if !again {
			if reconnected {
				s.metrics.repeats.Inc()
			}
			return a, sent
		}
	}
}

// outdated reports whether the endpoint may not have taken a for the sole reason that
// something newer is known by now.
func (s *Sink) outdated(ctx context.Context, a answer) bool {
	changed := s.reconsider(ctx, a.at, a.webhook)
	if s.tokens != nil && a.status == http.StatusUnauthorized {
		token, err := s.tokens.replace(ctx, a.token)
		return err == nil && token != a.token
	}
	return changed
}

// backOff waits before the next attempt of a row, while others go on.
func (s *Sink) backOff(ctx context.Context, d *delivery) error {
	if s.cfg.Waiting != nil {
		s.cfg.Waiting(1)
		defer s.cfg.Waiting(-1)
	}
	wait := backoff(d.backoffs)
	if left := time.Until(d.refused.at.Add(evidenceTime)); left > 0 && d.refusals > 0 {
		wait = min(wait, left)
	}
	if d.withheld {
		wait = maxBackoff/2 + rand.N(maxBackoff/2)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// backoff returns a random wait from 0 to a bound that doubles from minBackoff, the
// first time, to maxBackoff: full jitter, since rows that failed together must not come
// back together.
func backoff(times int) time.Duration {
	return rand.N(doubled(minBackoff, maxBackoff, times-1) + 1)
}

// stopped returns why ctx ended, or err if it did not.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("wait for the permit: %w", err)
}

// statusText is "404 Not Found": the standard's words, not the endpoint's.
func statusText(status int) string {
	if text := http.StatusText(status); text != "" {
		return strconv.Itoa(status) + " " + text
	}
	return strconv.Itoa(status)
}
