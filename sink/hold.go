package sink

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// logInterval is the least time between two lines on the same trouble.
const logInterval = time.Minute

// Failure is an attempt that failed. It holds no data of the row.
type Failure struct {
	Time time.Time
	// Kind is a reason of a hold, or refused.
	Kind string
	// Status is the HTTP status, 0 if there was no answer.
	Status int
}

// failures remembers the latest failure, and says now and then that rows keep failing
// while there is no hold that would say so.
type failures struct {
	mu     sync.Mutex
	last   Failure
	logged time.Time
	silent int // failures since then
}

func (f *failures) note(ctx context.Context, log *slog.Logger, a answer, held bool) {
	f.mu.Lock()
	f.last = Failure{Time: a.at, Kind: a.reason, Status: a.status}
	if held {
		f.mu.Unlock()
		return
	}
	f.silent++
	if !f.logged.IsZero() && a.at.Sub(f.logged) < logInterval {
		f.mu.Unlock()
		return
	}
	count := f.silent
	f.logged, f.silent = a.at, 0
	f.mu.Unlock()

	_, text := remedy(a.reason)
	log.LogAttrs(ctx, slog.LevelWarn, "attempts fail and are repeated",
		slog.String("reason", a.reason), slog.String("err", a.words()), slog.Int("failures", count),
		slog.String("remedy", text))
}

func (f *failures) latest() (Failure, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last, !f.last.Time.IsZero()
}

// holdLog says when a hold begins and ends, and once a minute that it lasts. Of holds that
// come and go faster than that, which the metrics count, it tells one a minute.
type holdLog struct {
	mu     sync.Mutex
	logged map[string]time.Time // by reason
	told   bool                 // of the hold that lasts
}

func (h *holdLog) note(ctx context.Context, log *slog.Logger, c change, a answer) {
	if c.kind == unchanged {
		return
	}
	now := time.Now()
	switch {
	case !h.isDue(c, now):
	case c.kind == opened:
		log.LogAttrs(ctx, slog.LevelInfo, "hold ended: rows are delivered again",
			slog.String("reason", c.reason), slog.Duration("lasted", now.Sub(c.since)))
	default:
		level, text := remedy(c.reason)
		log.LogAttrs(ctx, level, "hold: the endpoint takes no rows",
			slog.String("reason", c.reason), slog.String("err", a.words()), slog.Duration("lasted", now.Sub(c.since)),
			slog.Time("next_probe", c.next), slog.String("remedy", text))
	}
}

func (h *holdLog) isDue(c change, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	told := h.told
	h.told = told && c.kind == extended
	if c.kind == opened {
		return told
	}
	if now.Sub(h.logged[c.reason]) < logInterval {
		return false
	}
	if h.logged == nil {
		h.logged = map[string]time.Time{}
	}
	h.logged[c.reason], h.told = now, true
	return true
}

// budgetLog says once a minute that rows wait which would be given up.
type budgetLog struct {
	mu     sync.Mutex
	logged time.Time
}

func (b *budgetLog) note(ctx context.Context, log *slog.Logger, budget int) {
	now := time.Now()
	b.mu.Lock()
	due := b.logged.IsZero() || now.Sub(b.logged) >= logInterval
	if due {
		b.logged = now
	}
	b.mu.Unlock()
	if due {
		log.LogAttrs(ctx, slog.LevelError, "too many dead letters: rows wait that would be more of them",
			slog.Int("budget", budget), slog.Int("of_the_latest", len(verdicts{}.latest)),
			slog.String("remedy", "look at the dead letters: if they are right, raise dead_letter.budget; else mend the endpoint, and the rows go on by themselves"))
	}
}
