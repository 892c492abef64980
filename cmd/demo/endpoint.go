package main

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"signup-sheet/internal/receiver"
)

// endpoint is how the sheet misbehaves, as long as somebody wants it to.
type endpoint struct {
	mu     sync.Mutex
	active []misbehaviour // the last one decides
}

type misbehaviour struct {
	name   string
	answer receiver.Behaviour
}

// behave does what the misbehaviour that was begun last says.
func (e *endpoint) behave(ctx context.Context, a receiver.Attempt) receiver.Answer {
	e.mu.Lock()
	answer := receiver.Always(receiver.Answer{})
	if n := len(e.active); n > 0 {
		answer = e.active[n-1].answer
	}
	e.mu.Unlock()
	return answer(ctx, a)
}

// switched begins and ends a misbehaviour.
func (e *endpoint) switched(name string, answer receiver.Behaviour, on bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.active = slices.DeleteFunc(e.active, func(m misbehaviour) bool { return m.name == name })
	if on {
		e.active = append(e.active, misbehaviour{name, answer})
	}
}

func (e *endpoint) has(name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.ContainsFunc(e.active, func(m misbehaviour) bool { return m.name == name })
}

// calm ends every misbehaviour.
func (e *endpoint) calm() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.active = nil
}

// limit accepts so many rows in each period, and answers the others 429 with the time until the next period.
func limit(rows int, period time.Duration) receiver.Behaviour {
	var mu sync.Mutex
	var ends time.Time
	var accepted int
	return func(_ context.Context, a receiver.Attempt) receiver.Answer {
		mu.Lock()
		defer mu.Unlock()
		if !a.Time.Before(ends) {
			ends, accepted = a.Time.Add(period), 0
		}
		if accepted < rows {
			accepted++
			return receiver.Answer{}
		}
		// Whole seconds, rounded up: that is what the header can say.
		wait := int((ends.Sub(a.Time) + time.Second - 1) / time.Second)
		return receiver.Answer{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {strconv.Itoa(wait)}}}
	}
}
