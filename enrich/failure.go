package enrich

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
)

// A reason is why a request brought no answer.
type reason int

const (
	reasonTimeout      reason = iota // no answer in time
	reasonNetwork                    // no connection, or one that broke
	reasonUnauthorized               // 401, 402 of agify: the key or the subscription is not valid
	reasonLimited                    // 429 of agify: the quota is used up, or too low for so many names
	reasonName                       // 400, 422 of agify: it does not take this name, or so many
	reasonSize                       // 413, 414: too many names
	reasonStatus                     // any other status but 200, or one of these that is not agify's
	reasonAnswer                     // 200 with a body that is no answer
	reasonCount                      // 200 with more or fewer answers than names
	reasons                          // how many there are
)

func (r reason) String() string {
	return [...]string{"timeout", "network", "unauthorized", "limited", "name", "size", "status", "answer", "count"}[r]
}

// A failure is a request without an answer. Its text is made of our own words, and of what the operating system, DNS and TLS say about the
// connection: never of the request or of what was received, which may quote it.
type failure struct {
	reason reason
	status int  // of the response, 0 without one
	tooLow bool // reasonLimited: there may be quota left for fewer names
	err    error
}

func (f *failure) Error() string {
	switch f.reason {
	case reasonTimeout, reasonNetwork:
		return fmt.Sprintf("ask agify: %v", f.err)
	case reasonAnswer, reasonCount:
		return fmt.Sprintf("decode agify's answer: %v", f.err)
	default:
		return fmt.Sprintf("agify answered with status %d", f.status)
	}
}

// splits reports whether f, of a request about n names, may be because they are so many.
func (f *failure) splits(n int) bool {
	if n == 1 {
		return false
	}
	switch f.reason {
	case reasonName, reasonSize, reasonCount:
		return true
	case reasonLimited:
		return f.tooLow
	default:
		return false
	}
}

func (f *failure) Unwrap() error { return f.err }

// limits reports whether f, of a request about n names, says that there is no quota for any.
func (f *failure) limits(n int) bool { return f.reason == reasonLimited && (n == 1 || !f.tooLow) }

// statusFailure is the verdict on a response with another status than 200. What a proxy or a CDN before agify says in its place is
// told from agify's own word, which is a JSON object with an error, or has the headers of the quota.
func statusFailure(code int, body []byte, quotaKnown bool) *failure {
	f := &failure{reason: reasonStatus, status: code}
	text, ownWord := errorText(body)
	own := ownWord || quotaKnown
	switch code {
	case http.StatusUnauthorized, http.StatusPaymentRequired:
		if own {
			f.reason = reasonUnauthorized
		}
	case http.StatusTooManyRequests:
		if own {
			f.reason, f.tooLow = reasonLimited, strings.Contains(text, "too low")
		}
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		if strings.Contains(text, "name") {
			f.reason = reasonName
		}
	case http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong:
		f.reason = reasonSize
	}
	return f
}

// errorText returns the text of agify's own errors, {"error":"Request limit reached"}. It is compared, never shown.
func errorText(body []byte) (text string, ok bool) {
	var said struct {
		Error *string `json:"error"`
	}
	if json.Unmarshal(body, &said) != nil || said.Error == nil {
		return "", false
	}
	return *said.Error, true
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
