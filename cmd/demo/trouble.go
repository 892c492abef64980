package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"signup-sheet/internal/receiver"
)

// The trouble that the sheet makes in a run of --once.
const (
	busyRequests = 40              // answered 503 at the start,
	busyTime     = 2 * time.Second // but no longer than this
	slowAnswer   = 2 * time.Second
)

// trouble is a sheet on a bad day: busy at first, later too many requests once, and once slow.
type trouble struct {
	limitAt, slowAt int // counted from the end of the burst

	mu     sync.Mutex
	begun  time.Time
	after  int // requests since the burst
	served troubleState
}

// troubleState is how much trouble was made.
type troubleState struct{ busy, limited, slow int }

func newTrouble(records int) *trouble {
	limitAt := max(1, records/4)
	return &trouble{limitAt: limitAt, slowAt: max(limitAt+1, records/2)}
}

func (t *trouble) behave(_ context.Context, a receiver.Attempt) receiver.Answer {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.begun.IsZero() {
		t.begun = a.Time
	}
	if t.served.busy < busyRequests && a.Time.Sub(t.begun) < busyTime {
		t.served.busy++
		return receiver.Answer{Status: http.StatusServiceUnavailable}
	}
	t.after++
	switch t.after {
	case t.limitAt:
		t.served.limited++
		return receiver.Answer{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1"}}}
	case t.slowAt:
		t.served.slow++
		return receiver.Answer{Delay: slowAnswer}
	}
	return receiver.Answer{}
}

func (t *trouble) state() troubleState {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.served
}

// String says how much trouble was made.
func (t *trouble) String() string {
	made := t.state()
	return fmt.Sprintf("%d answered 503, %d answered 429, %d answered after %s", made.busy, made.limited, made.slow, slowAnswer)
}
