package sink

import (
	"context"
	"maps"
	"net/http"
	"time"
)

// envelope is what requests are sent in, one after the other. A context, a timer and a
// header of its own for each would be a sixth of what an attempt allocates.
type envelope struct {
	ctx    context.Context //nolint:containedctx // ends when the time is over or the request is stopped, and is of no use after that
	cancel context.CancelFunc
	timer  *time.Timer
	header http.Header
	key    []string // the one value of header that differs
}

// envelope returns one for a request that begins now.
func (s *Sink) envelope(headerID string) *envelope {
	e, ok := s.envelopes.Get().(*envelope)
	if ok {
		e.timer.Reset(s.cfg.Timeout)
	} else {
		e = &envelope{header: maps.Clone(s.header), key: make([]string, 1)}
		e.ctx, e.cancel = context.WithCancel(context.Background()) //nolint:forbidigo // an attempt outlives the end of its delivery
		e.timer = time.AfterFunc(s.cfg.Timeout, e.cancel)
		// Raw: the expired draft has a quoted string here, but what receivers look up is
		// the text as it is.
		e.header["Idempotency-Key"] = e.key
	}
	e.key[0] = headerID
	return e
}

// done takes an envelope back, for another request if it is as new: the transport has
// let go of it, and its time was not over.
func (s *Sink) done(e *envelope, asNew bool) {
	if e.timer.Stop() && asNew {
		s.envelopes.Put(e)
		return
	}
	e.cancel()
}
