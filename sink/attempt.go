package sink

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxResponse is how much of an answer is read. More than that costs the connection.
const maxResponse = 64 << 10

// answer is how one attempt ended.
type answer struct {
	class
	began  time.Time
	at     time.Time
	status int           // 0 if there was none
	wait   time.Duration // how long the endpoint wants nothing; 0 if it asks for no time
	header http.Header   // of a failure
	body   []byte        // of a failure, at most maxResponse
	err    error         // why there is no status

	webhook *webhook // that was asked
	token   string   // with this access token, if there is such a thing

	// withheld: no request was sent, since the permit or the context ended before.
	withheld bool
	// unsent: there was nothing to send a request with, for any row.
	unsent bool
	// lost: a kept-alive connection turned out to be dead, or an HTTP/2 endpoint
	// that goes away did not process the request. It says nothing about the endpoint.
	lost bool
	// dead: lost because the connection was dead.
	dead bool
}

// words says what the endpoint answered, or why it did not. It holds no word of the
// endpoint's.
func (a answer) words() string {
	if a.err != nil {
		return describe(a.err)
	}
	return statusText(a.status)
}

// attempt makes one HTTP request. It is bounded by Config.Timeout and not by ctx, of
// which only the end before the first byte is heeded.
//
// Every request on the wire is one attempt: net/http repeats requests by itself when a
// kept-alive connection dies, those with an Idempotency-Key above all, but not if they
// have a body without GetBody, like these. Redirects and cookies belong to http.Client,
// so the transport is used directly. (See hop for the second request that some presets'
// attempts have.) If fresh, it has a connection of its own.
func (s *Sink) attempt(ctx context.Context, row Row, fresh bool) answer {
	return s.look(ctx, row, false, fresh)
}

// look is attempt, with an answer that is kept although it is an acceptance, if somebody
// wants to see it.
func (s *Sink) look(ctx context.Context, row Row, kept, fresh bool) answer {
	if !s.mayStart(ctx) {
		return answer{withheld: true}
	}
	started := time.Now()
	to := s.current(ctx, started)
	var token string
	if s.tokens != nil {
		var err error
		if token, err = s.tokens.get(ctx); err != nil {
			if ctx.Err() != nil {
				return answer{withheld: true}
			}
			return answer{began: started, at: time.Now(), err: err, class: classOfError(err), unsent: true}
		}
		started = time.Now() // it may have taken its time
	}
	e := s.envelope(ctx, row, to, token, started)
	t := &e.track
	s.lastAttempt.Store(started.UnixNano())
	to.begin()
	defer to.end()
	transport := to.transport
	if fresh {
		transport = to.fresh
	}
	res, err := transport.RoundTrip(e.request)
	a := answer{began: started, webhook: to, token: token}
	var further *url.URL
	if err != nil {
		a.err = err
		a.class = classOfError(err)
		a.dead = a.reason == reasonNetwork && t.reused.Load() && !t.answered.Load()
		a.lost = a.dead || isUnprocessed(err)
	} else {
		s.read(&a, res, kept)
		if s.tokens != nil {
			s.tokens.heard(token, a.status)
		}
		further = s.lead(&a, res)
	}
	withheld := t.withheld.Load()
	t.end()
	s.done(e, err == nil)
	if withheld {
		return answer{withheld: true}
	}
	if further != nil {
		s.hop(&a, further, kept)
	}
	a.at = time.Now()
	s.metrics.attempt(a, a.at.Sub(started))
	return a
}

// read judges an answer. It reads it to its end, which leaves the connection for the
// next attempt, but keeps it only where somebody will look at it.
func (s *Sink) read(a *answer, res *http.Response, kept bool) {
	defer res.Body.Close()
	a.status = res.StatusCode
	a.class = s.table.ofStatus(res.StatusCode)
	limited := io.LimitReader(res.Body, maxResponse)
	if res.StatusCode == http.StatusSwitchingProtocols {
		limited = http.NoBody // the other is the connection itself, which has no end in time
	}
	if a.verdict == accepted && !kept && !s.table.looksInto(res.StatusCode) {
		_, _ = io.Copy(io.Discard, limited)
		a.wait = exhausted(res.Header, time.Now())
		return
	}
	a.header = res.Header
	a.body, _ = io.ReadAll(limited) // the half of an answer is judged like a whole one
	a.class = s.table.of(res.StatusCode, res.Header, a.body)
	if a.verdict == accepted {
		a.wait = exhausted(res.Header, time.Now())
		return
	}
	a.wait = asked(res.Header, time.Now())
}

// isUnprocessed reports whether an HTTP/2 endpoint said GOAWAY or REFUSED_STREAM: it has
// not processed the request. The transport would send it again if it had a GetBody, and
// else has only words for it.
func isUnprocessed(err error) bool {
	return strings.HasPrefix(err.Error(), "http2: Transport: cannot retry err ")
}

// mayStart reports whether nothing speaks against sending a request now.
func (s *Sink) mayStart(ctx context.Context) bool {
	return ctx.Err() == nil && (s.cfg.Permit == nil || s.cfg.Permit.Valid())
}

// track follows one request through the transport, which calls from its own goroutines.
// It stops the request at the last moment before its first byte: name look-up, connecting
// and handshake may have taken longer than the permit.
type track struct {
	sink     *Sink
	cancel   context.CancelFunc
	delivery context.Context //nolint:containedctx // of this attempt: begin and end are its bounds

	// sink.conns has the latest attempt on each HTTP/1 connection, as long as it lasts.
	// net/http puts a connection back into its pool before it hands over an answer
	// without a body, so that the next attempt may have it a moment too early: to
	// close it then would cost the answer.
	ended  *sync.WaitGroup // for the end of this attempt
	before *sync.WaitGroup // for that of the attempt before it on the connection; nil if it has none under way

	conn     net.Conn    // set by gotConn, read by wroteHeaders, which comes after
	reused   atomic.Bool // the connection had been used before
	sent     atomic.Bool // the transport has taken the head, and stops for nothing
	written  atomic.Bool // the transport has taken the body too, and needs neither any more
	answered atomic.Bool // a byte of an answer came
	withheld atomic.Bool // stopped
}

// begin makes t as new, for an attempt that is not to be sent once delivery has ended.
func (t *track) begin(delivery context.Context) {
	t.delivery = delivery
	t.ended = new(sync.WaitGroup)
	t.ended.Add(1)
	t.before, t.conn = nil, nil
	t.reused.Store(false)
	t.sent.Store(false)
	t.written.Store(false)
	t.answered.Store(false)
	t.withheld.Store(false)
}

func (t *track) mayStart() bool { return t.sink.mayStart(t.delivery) }

// gotConn is called before anything is written. HTTP/2 looks at the context once more
// before it writes the head.
func (t *track) gotConn(info httptrace.GotConnInfo) {
	t.release() // one that died before a byte was written, which net/http replaces by itself
	t.sent.Store(false)
	t.written.Store(false)
	t.conn = info.Conn
	t.reused.Store(info.Reused)
	if !isHTTP2(t.conn) {
		before, _ := t.sink.conns.Swap(t.conn, t.ended)
		t.before, _ = before.(*sync.WaitGroup)
	}
	if !t.mayStart() {
		t.withhold()
	}
}

// withhold stops the request, but not before the answer of the attempt before it
// was handed over, which has arrived and takes but a moment.
func (t *track) withhold() {
	t.withheld.Store(true)
	if t.before != nil {
		t.before.Wait()
	}
	t.cancel()
}

// end tells whoever has the connection now that the answer was handed over.
func (t *track) end() {
	t.ended.Done()
	t.release()
}

// release forgets the connection, unless the next attempt has it already.
func (t *track) release() {
	if t.conn != nil {
		t.sink.conns.CompareAndDelete(t.conn, t.ended)
	}
}

func isHTTP2(conn net.Conn) bool {
	secure, ok := conn.(*tls.Conn)
	return ok && secure.ConnectionState().NegotiatedProtocol == "h2"
}

// wroteHeaders is called by HTTP/1 when the whole head is in its buffer, which is longer,
// and before that is flushed. No hook can stop it from here, but a connection that is
// closed takes no byte. HTTP/2 calls when it has written the head; what is cancelled then
// has no body, and its connection has requests of others.
func (t *track) wroteHeaders() {
	if !t.withheld.Load() && t.mayStart() {
		t.sent.Store(true)
		return
	}
	t.withhold()
	if !isHTTP2(t.conn) {
		t.conn.Close()
	}
}

// wroteRequest is called once head and body are in the buffer or on the wire. An endpoint that answers before it has
// read everything may be heard before.
func (t *track) wroteRequest(info httptrace.WroteRequestInfo) { t.written.Store(info.Err == nil) }

func (t *track) gotFirstResponseByte() { t.answered.Store(true) }
