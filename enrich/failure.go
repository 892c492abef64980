package enrich

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
)

// A reason is why a request brought no answer.
type reason int

const (
	reasonTimeout      reason = iota // no answer in time
	reasonNetwork                    // no connection, or one that broke
	reasonUnauthorized               // 401, 402: the key or the subscription is not valid
	reasonLimited                    // 429: the quota is used up
	reasonRefused                    // 400, 422: agify does not take this name
	reasonStatus                     // any other status but 200
	reasonAnswer                     // 200 with a body that is no answer
	reasons                          // how many there are
)

func (r reason) String() string {
	return [...]string{"timeout", "network", "unauthorized", "limited", "refused", "status", "answer"}[r]
}

// A failure is a request without an answer. Its text is made of our own words, and of what the operating system, DNS and TLS say about the
// connection: never of the request or of what was received, which may quote it.
type failure struct {
	reason reason
	status int // of the response, 0 without one
	err    error
}

func (f *failure) Error() string {
	switch f.reason {
	case reasonTimeout, reasonNetwork:
		return fmt.Sprintf("ask agify: %v", f.err)
	case reasonAnswer:
		return fmt.Sprintf("decode agify's answer: %v", f.err)
	default:
		return fmt.Sprintf("agify answered with status %d", f.status)
	}
}

func (f *failure) Unwrap() error { return f.err }

// failureOf returns the reason of err, and the status of the response if there was one.
func failureOf(err error) (reason, int) {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.reason, f.status
	}
	return reasonNetwork, 0
}

// statusFailure is the verdict on a response with another status than 200.
func statusFailure(code int) *failure {
	f := &failure{reason: reasonStatus, status: code}
	switch code {
	case http.StatusUnauthorized, http.StatusPaymentRequired:
		f.reason = reasonUnauthorized
	case http.StatusTooManyRequests:
		f.reason = reasonLimited
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		f.reason = reasonRefused
	}
	return f
}

// connectionFailure is the verdict on a request or a body that did not come through.
func connectionFailure(err error) *failure {
	if timedOut(err) {
		return &failure{reason: reasonTimeout, err: context.DeadlineExceeded}
	}
	return &failure{reason: reasonNetwork, err: harmless(err)}
}

func timedOut(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

// harmless returns the part of err that quotes neither the request, nor the response, nor the proxy's password: net/http's own errors
// quote malformed responses and proxy URLs.
func harmless(err error) error {
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return e
	}
	if e, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return fmt.Errorf("%w (does the server speak TLS?)", e)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return io.ErrUnexpectedEOF
	}
	return errors.New("the connection broke, or no HTTP came back")
}
