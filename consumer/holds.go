package consumer

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// The reasons of holds that are the consumer's own. The sink has more.
const (
	holdLease      = "lease"       // no commit was acknowledged for a session timeout
	holdDeadLetter = "dead_letter" // the dead-letter topic does not take a record
)

// Hold is a wait that is not the record's fault.
type Hold struct {
	Reason    string    `json:"reason"`
	Since     time.Time `json:"since"`
	NextProbe time.Time `json:"next_probe,omitzero"` // zero if nothing is tried by time
}

// holds knows which of the consumer's own holds are on.
type holds struct {
	mu      sync.Mutex
	active  map[string]Hold
	waiting map[string]int // how many wait for it
	logged  map[string]time.Time
}

func newHolds() *holds {
	return &holds{active: map[string]Hold{}, waiting: map[string]int{}, logged: map[string]time.Time{}}
}

// begin starts a hold, or extends it to next. It lasts until all that wait for
// it have called end; another says that this is one more. say is called at its
// start and once a minute.
func (h *holds) begin(reason string, another bool, next time.Time, say func()) {
	h.mu.Lock()
	if another {
		h.waiting[reason]++
	}
	now := time.Now()
	held, on := h.active[reason]
	if !on {
		held = Hold{Reason: reason, Since: now}
	}
	held.NextProbe = next
	h.active[reason] = held
	loud := !on || now.Sub(h.logged[reason]) >= time.Minute
	if loud {
		h.logged[reason] = now
	}
	h.mu.Unlock()
	if loud {
		say()
	}
}

// end says that one less waits.
func (h *holds) end(reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting[reason]--; h.waiting[reason] == 0 {
		delete(h.active, reason)
	}
}

// list returns the holds that are on, by reason.
func (h *holds) list() []Hold {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.SortedFunc(maps.Values(h.active), func(a, b Hold) int {
		if a.Reason < b.Reason {
			return -1
		}
		return 1
	})
}
