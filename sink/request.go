package sink

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"
)

// secretText stands for what would let others use the endpoint.
const secretText = "[secret]"

// Request is an HTTP request as it would be on the wire of HTTP/1.1, without secrets.
type Request struct {
	Method string
	URL    string // scheme and host; the rest is a secret
	Header []Field
	Body   []byte
}

// Field is one line of a request's head.
type Field struct{ Name, Value string }

// Request returns what an attempt to deliver row would send now; a *GivenUp, if there
// would be none. It sends nothing.
func (s *Sink) Request(ctx context.Context, row Row) (Request, error) {
	if tooLarge := s.tooLarge(row); tooLarge != nil {
		return Request{}, tooLarge
	}
	// Nobody is asked for an access token: it would not be shown.
	e := s.envelope(ctx, row, s.webhook.Load(), "", time.Now())
	defer s.done(e, false)
	// Without the trace, by which an attempt would take it for sent.
	outgoing := e.request.WithContext(ctx)
	var wire bytes.Buffer
	if err := outgoing.Write(&wire); err != nil {
		return Request{}, err
	}
	head, body, _ := bytes.Cut(wire.Bytes(), []byte("\r\n\r\n"))
	lines := strings.Split(string(head), "\r\n")
	r := Request{Method: outgoing.Method, URL: outgoing.URL.Scheme + "://" + outgoing.URL.Host + "/", Body: body}
	if outgoing.URL.RequestURI() != "/" {
		r.URL += secretText
	}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		if !slices.Contains(shownFields(), name) {
			value = secretText
		}
		r.Header = append(r.Header, Field{name, value})
	}
	return r, nil
}

// shownFields are those of a request that hold no secret. Any other may: a signature, a
// token, a key under a name of the operator's.
func shownFields() []string {
	return []string{
		"Host", "User-Agent", "Content-Length", "Content-Type", "Idempotency-Key",
		"Webhook-Id", "Webhook-Timestamp", "Traceparent", "Tracestate",
	}
}
