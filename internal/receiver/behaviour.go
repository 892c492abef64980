package receiver

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// Behaviour decides what becomes of an attempt. It is called before the row is accepted, for several attempts at once,
// and may block until ctx, the request's context, ends.
type Behaviour func(ctx context.Context, a Attempt) Answer

// Attempt is a request with a row in it.
type Attempt struct {
	EventID string
	Row     Row
	Header  http.Header // as in [Entry]
	N       int         // how many attempts there were with this event id, this one included
	Total   int         // how many attempts there were at all, this one included
	Time    time.Time   // when it had come
}

// Answer is what the receiver does about an attempt. The zero value accepts the row and answers 200 at once. The row is
// accepted if the status is 2xx and the connection is not dropped, just before the answer; with After it is accepted
// whatever the answer, before all else.
//
// A client that goes away while the answer waits is not answered, and its row is not accepted unless After says so.
type Answer struct {
	Status int         // 0 is 200
	Header http.Header // added to the answer's
	Body   string
	Delay  time.Duration   // wait so long
	Hang   <-chan struct{} // then wait until the channel is closed or gives something
	Drop   bool            // then close the connection without an answer; TCP resets it
	After  bool            // the row was accepted before all that: the work is done, only the answer is lost or wrong
}

func (a *Answer) status() int {
	if a.Status == 0 {
		return http.StatusOK
	}
	return a.Status
}

// accepts tells whether the answer means that the row is in the sheet.
func (a *Answer) accepts() bool { return !a.Drop && a.status()/100 == 2 }

// isPlain tells whether this is the zero value.
func (a *Answer) isPlain() bool {
	return a.Status == 0 && a.Header == nil && a.Body == "" && a.Delay == 0 && a.Hang == nil && !a.Drop && !a.After
}

// wait returns true when the answer is due, and false if ctx ended before.
func (a *Answer) wait(ctx context.Context) bool {
	if a.Delay > 0 {
		timer := time.NewTimer(a.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return false
		}
	}
	if a.Hang != nil {
		select {
		case <-a.Hang:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

func (a *Answer) write(w http.ResponseWriter, to Attempt) {
	for name, values := range a.Header {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	if w.Header().Get("X-Request-Id") == "" {
		w.Header().Set("X-Request-Id", strconv.Itoa(to.Total))
	}
	w.WriteHeader(a.status())
	_, _ = io.WriteString(w, a.Body) // the client has gone
}

// Always answers every attempt with a.
func Always(a Answer) Behaviour {
	return func(context.Context, Attempt) Answer { return a }
}

// First answers the first n attempts that it is asked about with a, and has nothing against the others.
func First(n int, a Answer) Behaviour {
	var asked atomic.Int64
	return func(context.Context, Attempt) Answer {
		if asked.Add(1) > int64(n) {
			return Answer{}
		}
		return a
	}
}

// Event asks b about the attempts of one event id, and has nothing against the others.
func Event(eventID string, b Behaviour) Behaviour {
	return func(ctx context.Context, a Attempt) Answer {
		if a.EventID != eventID {
			return Answer{}
		}
		return b(ctx, a)
	}
}

// Any asks one behaviour after the other until one has something other than the zero [Answer] to say.
func Any(behaviours ...Behaviour) Behaviour {
	return func(ctx context.Context, a Attempt) Answer {
		for _, b := range behaviours {
			if answer := b(ctx, a); !answer.isPlain() {
				return answer
			}
		}
		return Answer{}
	}
}
