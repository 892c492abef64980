package sink

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"time"
)

// envelope is a request that is sent again and again, each time with another row. A
// request, a context, a timer, a header and a trace of its own for each attempt would be
// a fifth of what an attempt allocates.
type envelope struct {
	request *http.Request
	cancel  context.CancelFunc // ends the request's context, which is of no use after that
	timer   *time.Timer        // calls cancel
	body    bytes.Reader
	key     []string // the one value of the header that differs
	track   track
}

// envelope returns one for an attempt of row that begins now. The attempt is not to be
// sent once delivery has ended.
func (s *Sink) envelope(delivery context.Context, row Row) *envelope {
	e, ok := s.envelopes.Get().(*envelope)
	if ok {
		e.timer.Reset(s.cfg.Timeout)
	} else {
		e = s.newEnvelope()
	}
	body := s.body(row)
	e.body.Reset(body)
	e.request.ContentLength = int64(len(body))
	e.key[0] = row.HeaderID
	e.track.begin(delivery)
	return e
}

// body returns the body of a row's request.
func (s *Sink) body(row Row) []byte {
	if s.preset.shape == nil {
		return row.Body
	}
	return s.preset.shape(row)
}

func (s *Sink) newEnvelope() *envelope {
	e := &envelope{key: make([]string, 1)}
	ctx, cancel := context.WithCancel(context.Background()) //nolint:forbidigo // an attempt outlives the end of its delivery
	e.cancel = cancel
	e.timer = time.AfterFunc(s.cfg.Timeout, cancel)
	e.track.sink = s
	e.track.cancel = cancel
	e.request = s.request.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:              e.track.gotConn,
		WroteHeaders:         e.track.wroteHeaders,
		WroteRequest:         e.track.wroteRequest,
		GotFirstResponseByte: e.track.gotFirstResponseByte,
	}))
	e.request.Header = maps.Clone(s.header)
	// Raw: the expired draft has a quoted string here, but what receivers look up is
	// the text as it is.
	e.request.Header["Idempotency-Key"] = e.key
	// The transport knows this reader, and so writes head and body at once.
	e.request.Body = io.NopCloser(&e.body)
	return e
}

// done takes an envelope back, for another attempt if it is as new: an answer came, the
// transport has let go of the request, and its time was not over.
func (s *Sink) done(e *envelope, answered bool) {
	if e.timer.Stop() && answered && e.track.sent.Load() && e.track.written.Load() {
		e.body.Reset(nil)
		e.track.delivery = nil //nolint:fatcontext // not to keep what has ended
		s.envelopes.Put(e)
		return
	}
	e.cancel()
}
