package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"signup-sheet/internal/agify"
)

// behaviour is how the webhook answers during a run.
type behaviour struct {
	Expect    int           // rows of the run
	Latency   time.Duration // before each answer
	SlowEvery int           // one request in so many is a straggler; 0: none
	Slow      time.Duration // what a straggler takes instead of Latency
}

// tally is what arrived in a run.
type tally struct {
	Accepted int           // so far
	Counted  int           // rows accepted within Span
	Span     time.Duration // from the first row accepted to the last one counted
}

// rate is in rows a second.
func (t tally) rate() float64 {
	if t.Span <= 0 {
		return 0
	}
	return float64(t.Counted-1) / t.Span.Seconds()
}

// counted is how many of the rows of a run are waited for when its rate is taken: the last hundredth is left out. When so little is
// left the time is decided by who happened to get the last slow answer, not by the program.
func counted(rows int) int { return max(min(rows, 2), rows-rows/100) }

// run is one run, from the webhook's side.
type run struct {
	behaviour
	asked    atomic.Int64 // requests
	began    atomic.Int64 // acceptances, and the index of the next one's time
	ended    atomic.Int64 // acceptances whose time is there
	times    []time.Time
	complete chan struct{} // closed when all rows were accepted
}

func newRun(b behaviour) *run {
	return &run{behaviour: b, times: make([]time.Time, b.Expect), complete: make(chan struct{})}
}

// latency is how long the answer to the next request takes.
func (r *run) latency() time.Duration {
	if n := r.asked.Add(1); r.SlowEvery > 0 && n%int64(r.SlowEvery) == 0 {
		return r.Slow
	}
	return r.Latency
}

func (r *run) accept(at time.Time) {
	if i := r.began.Add(1) - 1; i < int64(len(r.times)) {
		r.times[i] = at
	}
	if r.ended.Add(1) == int64(r.Expect) {
		close(r.complete)
	}
}

// tally may be asked once all rows were accepted.
func (r *run) tally() tally {
	n := counted(len(r.times))
	return tally{Accepted: int(r.began.Load()), Counted: n, Span: r.times[n-1].Sub(r.times[0])}
}

// webhookAddrs is where the webhook process listens.
type webhookAddrs struct{ Webhook, Agify string } // host:port

// webhookRequest is what the webhook process is told, one line of JSON each: to begin a run, or to answer with the tally once all
// rows of the run have come.
type webhookRequest struct {
	Begin *behaviour
	Tally bool
}

// runWebhook is the role of the webhook, and of agify. It writes its addresses, then answers each request with a tally.
func runWebhook(ctx context.Context, in io.Reader, out io.Writer) error {
	w := &webhook{}
	w.run.Store(newRun(behaviour{}))
	hook, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go w.listen(hook) // until the process ends
	ages, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() {
		_ = (&http.Server{Handler: &agify.Server{Latency: agifyLatency}, ReadHeaderTimeout: time.Second}).Serve(ages)
	}() // the same

	answers, requests := json.NewEncoder(out), json.NewDecoder(in)
	if err := answers.Encode(webhookAddrs{hook.Addr().String(), ages.Addr().String()}); err != nil {
		return err
	}
	for {
		var r webhookRequest
		if err := requests.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var t tally
		if r.Begin != nil {
			w.run.Store(newRun(*r.Begin))
		}
		if r.Tally {
			current := w.run.Load()
			select {
			case <-current.complete:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			t = current.tally()
		}
		if err := answers.Encode(t); err != nil {
			return err
		}
	}
}

// webhook speaks just enough HTTP/1.1 for requests with a Content-Length. net/http's server would take more of the machine than the
// client that is measured, and so hide what that costs.
type webhook struct{ run atomic.Pointer[run] }

func (w *webhook) listen(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go w.serve(conn)
	}
}

const accepted = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{\"status\":\"success\"}"

func (w *webhook) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 8<<10)
	timer := time.NewTimer(time.Hour)
	for {
		length, err := readHead(in)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				_, _ = fmt.Fprintf(conn, "HTTP/1.1 400 %v\r\nConnection: close\r\n\r\n", err)
			}
			return
		}
		if _, err := in.Discard(length); err != nil {
			return
		}
		run := w.run.Load()
		if latency := run.latency(); latency > 0 {
			timer.Reset(latency)
			<-timer.C
		}
		run.accept(time.Now())
		if _, err := io.WriteString(conn, accepted); err != nil {
			return
		}
	}
}

var errNoLength = errors.New("no Content-Length")

// readHead reads a request's head and returns how long its body is.
func readHead(in *bufio.Reader) (length int, err error) {
	length = -1
	for first := true; ; first = false {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 && !first {
			break
		}
		const name = "content-length:"
		if len(line) > len(name) && bytes.EqualFold(line[:len(name)], []byte(name)) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(name):]))); err != nil {
				return 0, err
			}
		}
	}
	if length < 0 {
		return 0, errNoLength
	}
	return length, nil
}

// agifyLatency is how long the stand-in for agify takes.
const agifyLatency = 20 * time.Millisecond

// hook is the webhook process, as the one who started it sees it.
type hook struct {
	process *child
	addrs   webhookAddrs
}

func (l *lab) startWebhook(ctx context.Context) (*hook, error) {
	process, err := l.startRole(ctx, "webhook")
	if err != nil {
		return nil, err
	}
	h := &hook{process: process}
	if err := process.answer(&h.addrs); err != nil {
		h.process.kill()
		return nil, err
	}
	return h, nil
}

func (h *hook) url() string { return "http://" + h.addrs.Webhook + "/signups" }

// begin starts a new run: what arrives from now on belongs to it.
func (h *hook) begin(b behaviour) error {
	_, err := h.ask(webhookRequest{Begin: &b})
	return err
}

// tally waits until all rows of the run have arrived, or the process ends.
func (h *hook) tally() (tally, error) { return h.ask(webhookRequest{Tally: true}) }

func (h *hook) ask(r webhookRequest) (t tally, err error) {
	if err := json.NewEncoder(h.process.in).Encode(r); err != nil {
		return t, err
	}
	return t, h.process.answer(&t)
}
