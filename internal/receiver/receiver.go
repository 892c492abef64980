// Package receiver is the other side of the webhook: it does what a good writer of a sheet does with the rows it is
// sent, and misbehaves when a script says so. The demo and the tests deliver to it.
//
// It talks HTTP and knows one column, event_id. It neither starts goroutines nor sleeps on the wall's clock, so it works
// inside a testing/synctest bubble as it does outside.
package receiver

import (
	"context"
	"errors"
	"hash/maphash"
	"io"
	"mime"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxBody bounds the body of a request, in bytes.
const maxBody = 4 << 20

// Receiver accepts rows. It is an [http.Handler]; all its methods can be called at any time from any goroutine.
//
// It answers 405 to anything but a POST, 415 to a body that is not called JSON, 413 to one above 4 MiB and 400 to one
// that is not one strict JSON object with an event_id. For the rest the [Behaviour] decides, and without one every
// row is accepted with 200. A row whose event_id was accepted before is accepted again, but is no new row.
type Receiver struct {
	seed  maphash.Seed
	keep  bool
	write func(Entry) error

	mu       sync.Mutex
	script   Behaviour        // set by Script, read by each request
	state    State            // written by each request
	tallies  map[uint64]tally // by the hash of the event id
	accepted []Entry          // empty unless keep
	changed  chan struct{}    // closed at the next change of state, nil if nobody waits
}

// tally is what happened to one event id.
type tally struct{ attempts, accepted uint32 }

// State is what the receiver has counted.
type State struct {
	Requests    int // all that came, whatever they were
	Attempts    int // requests with a row in them
	Accepted    int // rows accepted, duplicates included
	Rows        int // rows accepted for the first time
	InFlight    int // requests that have come and are not answered
	MaxInFlight int // the most that there ever were
}

// Duplicates is how many accepted rows were no new rows.
func (s State) Duplicates() int { return s.Accepted - s.Rows }

// Entry is one acceptance.
type Entry struct {
	EventID   string
	Row       Row
	Body      []byte      // as it came
	Header    http.Header // Content-Type, User-Agent, Idempotency-Key, Webhook-Id, Traceparent and Tracestate, those that came
	Time      time.Time   // of the acceptance
	Attempt   int         // the attempt that was accepted, from 1, of those with this event id
	Duplicate bool        // the event id was accepted before
}

// Option changes a new [Receiver].
type Option func(*Receiver)

// KeepEntries says whether the acceptances are kept for [Receiver.Accepted] and [Receiver.Rows]. The default is true.
// Without them a million rows take some 40 MB: event ids are remembered by a hash of 64 bits.
func KeepEntries(keep bool) Option { return func(r *Receiver) { r.keep = keep } }

// WriteRows calls write for each new row, one at a time and in the order of acceptance. If it fails, the row is not
// accepted and the answer is 500. It must not call the receiver.
func WriteRows(write func(Entry) error) Option { return func(r *Receiver) { r.write = write } }

// New returns a receiver that has seen nothing.
func New(options ...Option) *Receiver {
	r := &Receiver{
		seed:    maphash.MakeSeed(),
		keep:    true,
		write:   func(Entry) error { return nil },
		tallies: map[uint64]tally{},
	}
	for _, option := range options {
		option(r)
	}
	return r
}

// Script puts the behaviour in charge of the requests that come from now on; nil accepts everything.
func (r *Receiver) Script(b Behaviour) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.script = b
}

// ServeHTTP takes one request.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.update(func() {
		r.state.Requests++
		r.state.InFlight++
		r.state.MaxInFlight = max(r.state.MaxInFlight, r.state.InFlight)
	})
	defer r.update(func() { r.state.InFlight-- })

	entry, problem := read(w, req)
	if problem != 0 {
		if problem == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", http.MethodPost)
		}
		http.Error(w, http.StatusText(problem), problem)
		return
	}
	attempt, answer := r.decide(req.Context(), &entry)
	if err := r.serve(req.Context(), entry, &answer); err != nil {
		answer = Answer{Status: http.StatusInternalServerError}
	}
	if answer.Drop || context.Cause(req.Context()) != nil {
		drop(w)
		return
	}
	answer.write(w, attempt)
}

// read returns what was sent, or the status to answer.
func read(w http.ResponseWriter, req *http.Request) (Entry, int) {
	if req.Method != http.MethodPost {
		return Entry{}, http.StatusMethodNotAllowed
	}
	if kind, _, err := mime.ParseMediaType(req.Header.Get("Content-Type")); err != nil || !isJSON(kind) {
		return Entry{}, http.StatusUnsupportedMediaType
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return Entry{}, http.StatusRequestEntityTooLarge
	}
	if err != nil {
		return Entry{}, http.StatusBadRequest
	}
	row, err := ParseRow(body)
	id := row.Text("event_id")
	if err != nil || id == "" {
		return Entry{}, http.StatusBadRequest
	}
	return Entry{EventID: id, Row: row, Body: body, Header: interesting(req.Header)}, 0
}

func isJSON(mediaType string) bool {
	return mediaType == "application/json" || strings.HasSuffix(mediaType, "+json")
}

func interesting(all http.Header) http.Header {
	some := make(http.Header, 4)
	for _, name := range []string{"Content-Type", "User-Agent", "Idempotency-Key", "Webhook-Id", "Traceparent", "Tracestate"} {
		if values, ok := all[name]; ok {
			some[name] = values
		}
	}
	return some
}

// decide counts the attempt and asks the behaviour what becomes of it.
func (r *Receiver) decide(ctx context.Context, e *Entry) (Attempt, Answer) {
	attempt := Attempt{EventID: e.EventID, Row: e.Row, Header: e.Header, Time: time.Now()}
	var script Behaviour
	r.update(func() {
		id := r.hash(e.EventID)
		t := r.tallies[id]
		t.attempts++
		r.tallies[id] = t
		r.state.Attempts++
		attempt.N, attempt.Total = int(t.attempts), r.state.Attempts
		script = r.script
	})
	e.Attempt = attempt.N
	if script == nil {
		return attempt, Answer{}
	}
	return attempt, script(ctx, attempt)
}

// serve waits as the answer says, and accepts the row before or after that, or not at all.
func (r *Receiver) serve(ctx context.Context, e Entry, a *Answer) error {
	if a.After {
		if err := r.accept(e); err != nil {
			return err
		}
	}
	if !a.wait(ctx) {
		a.Drop = true // the client has gone
		return nil
	}
	if !a.After && a.accepts() {
		return r.accept(e)
	}
	return nil
}

// accept takes the row into the sheet.
func (r *Receiver) accept(e Entry) error {
	var err error
	r.update(func() {
		id := r.hash(e.EventID)
		t := r.tallies[id]
		e.Time, e.Duplicate = time.Now(), t.accepted > 0
		if !e.Duplicate {
			if err = r.write(e); err != nil {
				return
			}
			r.state.Rows++
		}
		t.accepted++
		r.tallies[id] = t
		r.state.Accepted++
		if r.keep {
			r.accepted = append(r.accepted, e)
		}
	})
	return err
}

// drop closes the connection without an answer; a TCP one is reset.
func drop(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2 has no connection to give away; this resets the stream
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

func (r *Receiver) hash(eventID string) uint64 { return maphash.String(r.seed, eventID) }

// update runs change under the lock and tells those who wait.
func (r *Receiver) update(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// Accepted returns every acceptance in order, duplicates included; nothing without [KeepEntries].
func (r *Receiver) Accepted() []Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.accepted)
}

// Rows returns the sheet: the first acceptance of each event id, in order; nothing without [KeepEntries].
func (r *Receiver) Rows() []Entry {
	return slices.DeleteFunc(r.Accepted(), func(e Entry) bool { return e.Duplicate })
}

// Count returns how often a row with the event id was accepted.
func (r *Receiver) Count(eventID string) int { return int(r.tally(eventID).accepted) }

// Attempts returns how often a row with the event id was sent, whatever became of it.
func (r *Receiver) Attempts(eventID string) int { return int(r.tally(eventID).attempts) }

func (r *Receiver) tally(eventID string) tally {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tallies[r.hash(eventID)]
}

// State returns what was counted until now.
func (r *Receiver) State() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

// InFlight returns how many requests are not answered now.
func (r *Receiver) InFlight() int { return r.State().InFlight }

// MaxInFlight returns the most requests that were ever in flight at once.
func (r *Receiver) MaxInFlight() int { return r.State().MaxInFlight }
