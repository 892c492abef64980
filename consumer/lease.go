package consumer

import (
	"context"
	"sync"
	"time"
)

// lease is the right to start attempts. Each acknowledged commit renews it, for
// a session timeout from when that commit was sent: as long as it lasts, the
// group's coordinator cannot have given our partitions to another member. A
// process that was paused, or cut off from its coordinator, finds it expired
// and waits; that wait is a hold with the reason "lease".
type lease struct {
	mu      sync.Mutex
	until   time.Time
	renewed chan struct{} // closed and replaced at each renewal
	waiting int
	since   time.Time // when the first of those waiting began to
	due     time.Time // when it runs out unless it is renewed; stays after end
}

func newLease() *lease { return &lease{renewed: make(chan struct{})} }

// renew extends the lease to until; an earlier time than it has is ignored.
func (l *lease) renew(until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !until.After(l.until) {
		return
	}
	l.until, l.due = until, until
	close(l.renewed)
	l.renewed = make(chan struct{})
}

// end takes the lease away: the session is over.
func (l *lease) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = time.Time{}
}

// forget makes as if there had been no lease yet: the member has nothing that
// it would need one for.
func (l *lease) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until, l.due = time.Time{}, time.Time{}
}

// Valid reports whether an attempt may start now.
func (l *lease) Valid() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Before(l.until)
}

// Wait returns when an attempt may start, or with ctx's cause.
func (l *lease) Wait(ctx context.Context) error {
	l.mu.Lock()
	for !time.Now().Before(l.until) {
		renewed := l.renewed
		if l.waiting++; l.waiting == 1 {
			l.since = time.Now()
		}
		l.mu.Unlock()
		select {
		case <-renewed:
		case <-ctx.Done():
		}
		l.mu.Lock()
		l.waiting--
		if ctx.Err() != nil {
			break
		}
	}
	l.mu.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// held reports since when deliveries have been waiting for the lease, or would
// have to, because there is none: its time has run out, whether a session that
// cannot commit still lasts or the group cannot be joined again. A rebalance
// that takes no longer than the lease would have lasted is no hold.
func (l *lease) held() (since time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting > 0 {
		return l.since, true
	}
	return l.due, !l.due.IsZero() && !time.Now().Before(l.due)
}
