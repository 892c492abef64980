package chaos_test

import (
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	agifytest "signup-sheet/internal/agify"
	"signup-sheet/internal/receiver"
)

// webhook is the endpoint. Each member posts to a path of its own, by which the oracle knows it.
type webhook struct {
	oracle *oracle

	mu      sync.Mutex
	rng     *rand.Rand
	weather weather
	refuse  map[string]bool // refs of records that are refused
	usual   time.Duration   // the longest that it usually takes
}

// weather is how the endpoint behaves for a while.
type weather struct {
	name   string
	share  float64                        // of the requests that it meets
	answer int                            // status; 0: the row is accepted
	header map[string]string              // of that answer
	delay  func(*rand.Rand) time.Duration // before it
	first  bool                           // the row is accepted before all that
	drop   bool                           // the connection is reset instead of an answer
}

// calm is a good endpoint's weather, and also how one behaves to the requests that a worse one does not meet.
func calm() weather { return weather{name: "calm"} }

// weathers are the bad ones. No delay ends near the time at which the program gives up: its row would be accepted and
// not be, depending on the scheduler.
func weathers(timeout time.Duration) []weather {
	wait := func(from, to time.Duration) func(*rand.Rand) time.Duration {
		return func(r *rand.Rand) time.Duration { return from + time.Duration(r.Int64N(int64(to-from))) }
	}
	retry := map[string]string{"Retry-After": "3"}
	return []weather{
		{name: "all 500", share: 1, answer: 500},
		{name: "some 503", share: 0.4, answer: 503},
		{name: "some 503 with Retry-After", share: 0.1, answer: 503, header: retry},
		{name: "some resets after the work was done", share: 0.3, first: true, drop: true},
		{name: "some 500 after the work was done", share: 0.3, first: true, answer: 500},
		{name: "resets", share: 0.5, drop: true},
		{name: "slow", share: 0.8, delay: wait(timeout/20, timeout/3)},
		{name: "stragglers", share: 0.05, delay: wait(timeout/3, timeout/2)},
		{name: "some hang", share: 0.3, delay: wait(3*timeout, 4*timeout)},
		{name: "some hang after the work was done", share: 0.2, first: true, delay: wait(3*timeout, 4*timeout)},
		{name: "rate limited", share: 1, answer: 429, header: retry},
		{name: "some are rate limited", share: 0.2, answer: 429, header: map[string]string{"Retry-After": "1"}},
		{name: "rate limited for some tokens", share: 0.3, header: map[string]string{"RateLimit": `"a";r=0;t=1`}},
		{name: "refuses everything", share: 1, answer: 400},
		{name: "refuses a part", share: 0.3, answer: 422},
		{name: "a firewall", share: 0.2, answer: 403},
		{name: "half of all fails", share: 0.5, answer: 502},
		{name: "nearly all fails", share: 0.95, answer: 500},
		{name: "unauthorised", share: 1, answer: 401},
		{name: "deleted", share: 1, answer: 404},
		{name: "redirects", share: 1, answer: 302, header: map[string]string{"Location": "/elsewhere"}},
	}
}

func (h *webhook) change(w weather) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.weather = w
}

// meets decides what one request meets.
func (h *webhook) meets(ref string) (w weather, delay time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w = calm()
	if h.rng.Float64() < h.weather.share {
		w = h.weather
	}
	switch {
	case w.delay != nil:
		delay = w.delay(h.rng)
	case h.usual > 0:
		delay = time.Duration(h.rng.Int64N(int64(h.usual)))
	}
	if h.refuse[ref] {
		if w.first = false; w.answer == 0 {
			w.answer = http.StatusUnprocessableEntity
		}
	}
	return w, delay
}

func (h *webhook) ServeHTTP(res http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the sender has gone
	}
	row, err := receiver.ParseRow(body)
	if err != nil {
		http.Error(res, err.Error(), http.StatusBadRequest)
		return
	}
	ref := refOf(row)
	s := h.oracle.came(strings.TrimPrefix(req.URL.Path, "/"), ref, row.Text("event_id"))
	w, delay := h.meets(ref)
	if w.first {
		h.oracle.accepted(s)
		h.oracle.misled(s)
	}
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-req.Context().Done():
			return
		}
	}
	switch {
	case w.drop:
		reset(res)
		return
	case w.answer == 0 && !w.first:
		h.oracle.accepted(s)
		if time.Since(s.at) > sinkTimeout*3/4 {
			h.oracle.misled(s) // on a busy machine the answer may come too late
		}
	}
	for name, value := range w.header {
		res.Header().Set(name, value)
	}
	if w.answer == http.StatusBadRequest || w.answer == http.StatusUnprocessableEntity {
		h.oracle.refuses(s)
	}
	if w.answer != 0 {
		res.WriteHeader(w.answer)
	}
}

// reset closes a connection without an answer.
func reset(res http.ResponseWriter) {
	conn, _, err := http.NewResponseController(res).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// agify answers with an age, or in the ways in which it fails.
type agify struct {
	mu    sync.Mutex
	rng   *rand.Rand
	share float64 // of the requests that fail
	well  agifytest.Server
}

func (a *agify) change(share float64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.share = share
}

func (a *agify) ServeHTTP(res http.ResponseWriter, req *http.Request) {
	a.mu.Lock()
	fails, how := a.rng.Float64() < a.share, a.rng.IntN(4)
	a.mu.Unlock()
	if fails {
		switch how {
		case 0:
			<-req.Context().Done()
		case 1:
			res.WriteHeader(http.StatusTooManyRequests)
		case 2:
			res.WriteHeader(http.StatusInternalServerError)
		case 3:
			reset(res)
		}
		return
	}
	a.well.ServeHTTP(res, req)
}
