package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// endpoint takes rows and counts. It is an [http.Handler].
type endpoint struct {
	options
	trouble chan struct{} // closed when it begins

	mu        sync.Mutex
	firsts    []time.Time // when the row of this number was first accepted
	newest    []int       // by key: one more than the highest number accepted
	rows      int         // accepted for the first time
	again     int         // accepted once more
	disorder  int         // rows first accepted after a later one of their key
	last      time.Time   // the last row's time
	began     time.Time   // of the trouble
	during    int         // requests while it lasted
	late      int         // those of them that came when every client could know of it
	recovered time.Time   // first acceptance after the trouble
	opened    int         // connections
}

// grace is how long requests still count as sent before their sender knew that there is trouble.
const grace = 250 * time.Millisecond

func newEndpoint(o options) *endpoint {
	return &endpoint{options: o, trouble: make(chan struct{}), firsts: make([]time.Time, o.records), newest: make([]int, keys)}
}

// connState counts connections; it is for [http.Server].
func (e *endpoint) connState(_ net.Conn, state http.ConnState) {
	if state != http.StateNew {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.opened++
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	number, ok := numberIn(body)
	if err != nil || !ok || number >= e.records {
		http.Error(w, "no event", http.StatusBadRequest)
		return
	}
	status, left := e.come(number, time.Now())
	<-time.After(e.latency) // also when the client has gone, as real ones do
	if left > 0 && e.scenario.pause {
		w.Header().Set("Retry-After", retryAfter(left))
	}
	if status == http.StatusOK {
		e.accept(number, time.Now())
	}
	w.WriteHeader(status)
}

// come counts a request and tells how to answer it, and how much is left of the trouble.
func (e *endpoint) come(number int, at time.Time) (status int, left time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.scenario.stuck && number == e.records/10 {
		return http.StatusServiceUnavailable, 0
	}
	if e.scenario.status == 0 || e.began.IsZero() {
		return http.StatusOK, 0
	}
	since := at.Sub(e.began)
	if since >= e.outage {
		return http.StatusOK, 0
	}
	e.during++
	if since > grace+e.latency {
		e.late++
	}
	return e.scenario.status, e.outage - since
}

func (e *endpoint) accept(number int, at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.firsts[number].IsZero() {
		e.again++
		return
	}
	e.firsts[number] = at
	e.rows++
	e.last = at
	if newest := &e.newest[number%keys]; number < *newest {
		e.disorder++
	} else {
		*newest = number + 1
	}
	if e.began.IsZero() && e.rows == e.before() {
		e.began = at
		close(e.trouble)
	}
	if e.scenario.status != 0 && e.recovered.IsZero() && !e.began.IsZero() && at.Sub(e.began) > e.outage {
		e.recovered = at
	}
}

// before is how many rows are accepted before the trouble begins: a tenth, or a half, so that commits have landed before a kill.
func (e *endpoint) before() int {
	if e.scenario.kill {
		return e.records / 2
	}
	return e.records / 10
}

// done tells whether nothing more is waited for.
func (e *endpoint) done(since, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	want := e.records
	if e.scenario.stuck {
		want--
	}
	if e.last.After(since) {
		since = e.last
	}
	if e.scenario.status != 0 && !e.began.IsZero() {
		since = later(since, e.began.Add(e.outage))
	}
	return e.rows >= want || now.Sub(since) > e.patience
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// numberIn finds the number of an event in a row, whatever its columns are.
func numberIn(body []byte) (int, bool) {
	_, rest, found := bytes.Cut(body, []byte(`"event-`))
	if !found {
		return 0, false
	}
	digits, _, _ := bytes.Cut(rest, []byte(`"`))
	number, err := strconv.Atoi(string(digits))
	return number, err == nil && number >= 0
}

// arrivals are the times at which rows first came, in order.
func arrivals(firsts []time.Time) []time.Time {
	times := slices.DeleteFunc(slices.Clone(firsts), time.Time.IsZero)
	slices.SortFunc(times, time.Time.Compare)
	return times
}
