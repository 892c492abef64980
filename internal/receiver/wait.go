package receiver

import (
	"context"
	"fmt"
)

// Wait returns nil as soon as done says so of the state, which it is asked now and after each change, or else the cause of
// ctx's end together with the state then. Changes that follow each other closely may be seen as one. done may call the
// receiver.
func (r *Receiver) Wait(ctx context.Context, done func(State) bool) error {
	for {
		state, changed := r.watch()
		if done(state) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for the receiver, which has %+v: %w", state, context.Cause(ctx))
		}
	}
}

// watch returns the state and a channel that is closed when it is no longer true.
func (r *Receiver) watch() (State, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return r.state, r.changed
}

// Rows returns a condition for [Receiver.Wait]: at least n rows were accepted, duplicates not counted.
func Rows(n int) func(State) bool { return func(s State) bool { return s.Rows >= n } }

// Attempts returns a condition for [Receiver.Wait]: at least n attempts were made.
func Attempts(n int) func(State) bool { return func(s State) bool { return s.Attempts >= n } }

// Idle is a condition for [Receiver.Wait]: no request is in flight.
func Idle(s State) bool { return s.InFlight == 0 }
