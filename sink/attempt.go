package sink

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"
)

// maxResponse is how much of an answer is read. More than that costs the connection.
const maxResponse = 64 << 10

// errWithheld is what a request's body returns when the request must not be sent.
var errWithheld = errors.New("the attempt may not start")

// answer is how one attempt ended.
type answer struct {
	class
	at         time.Time
	status     int           // 0 if there was none
	retryAfter time.Duration // 0 if the endpoint asks for no time
	header     http.Header   // of a refusal
	body       []byte        // of a refusal, at most maxResponse
	err        error         // why there is no status

	// withheld: no request was sent, since the permit or the context ended before.
	withheld bool
	// lost: a kept-alive connection turned out to be dead, or an HTTP/2 endpoint
	// that goes away did not process the request. It says nothing about the endpoint.
	lost bool
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
// so the transport is used directly.
func (s *Sink) attempt(ctx context.Context, row Row) answer {
	var t track
	attemptCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Timeout)
	defer cancel()
	req := s.request.WithContext(httptrace.WithClientTrace(attemptCtx, &httptrace.ClientTrace{
		GotConn:              t.gotConn,
		GotFirstResponseByte: t.gotFirstResponseByte,
	}))
	req.Header = make(http.Header, len(s.header)+1)
	for name, values := range s.header {
		req.Header[name] = values
	}
	// Raw: the expired draft has a quoted string here, but what receivers look up is
	// the text as it is.
	req.Header["Idempotency-Key"] = []string{row.HeaderID}
	body := &payload{ctx: ctx, permit: s.cfg.Permit, rest: row.Body}
	req.Body = body
	req.ContentLength = int64(len(row.Body))

	started := time.Now()
	s.lastAttempt.Store(started.UnixNano())
	res, err := s.transport.RoundTrip(req)
	a := answer{}
	if err != nil {
		a.err = err
		a.class = classOfError(err)
		a.lost = isUnprocessed(err) || a.reason == reasonNetwork && t.reused.Load() && !t.answered.Load()
	} else {
		a.status = res.StatusCode
		a.class = classOfStatus(res.StatusCode)
		if a.verdict != accepted {
			a.retryAfter = retryAfter(res.Header.Get("Retry-After"), time.Now())
		}
		a.readBody(res)
	}
	a.at = time.Now()
	if body.withheld.Load() {
		// An answer to half a request is none, whatever it says.
		return answer{withheld: true}
	}
	s.metrics.attempt(a, a.at.Sub(started))
	return a
}

// readBody reads the answer to its end, which leaves the connection for the next
// attempt. The status has decided already, so that errors do not matter.
func (a *answer) readBody(res *http.Response) {
	defer res.Body.Close()
	limited := io.LimitReader(res.Body, maxResponse)
	if a.verdict == refused {
		a.header = res.Header
		a.body, _ = io.ReadAll(limited)
		return
	}
	_, _ = io.Copy(io.Discard, limited)
}

// isUnprocessed reports whether an HTTP/2 endpoint said GOAWAY or REFUSED_STREAM: it has
// not processed the request. The transport would send it again if it had a GetBody, and
// else has only words for it.
func isUnprocessed(err error) bool {
	return strings.HasPrefix(err.Error(), "http2: Transport: cannot retry err ")
}

// track remembers what the transport did. The transport calls from its own goroutines.
type track struct {
	reused   atomic.Bool // the connection had been used before
	answered atomic.Bool // a byte of an answer came
}

func (t *track) gotConn(info httptrace.GotConnInfo) { t.reused.Store(info.Reused) }
func (t *track) gotFirstResponseByte()              { t.answered.Store(true) }

// payload is a request's body. Its first read is the last moment at which nothing of an
// HTTP/1 request is on the wire: the head is still in the transport's buffer. (Over
// HTTP/2 the head may be out; without its body no endpoint can take it for a row.) It
// may have taken long to get there, name look-up and handshake included.
type payload struct {
	ctx      context.Context //nolint:containedctx // lives for one request
	permit   Permit
	rest     []byte
	begun    bool
	withheld atomic.Bool
}

func (p *payload) Read(to []byte) (int, error) {
	if !p.begun {
		if p.ctx.Err() != nil || p.permit != nil && !p.permit.Valid() {
			p.withheld.Store(true)
			return 0, errWithheld
		}
		p.begun = true
	}
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(to, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func (p *payload) Close() error { return nil }
