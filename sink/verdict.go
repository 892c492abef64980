package sink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"strings"
	"syscall"
)

// verdict is what one attempt says about its row.
type verdict string

const (
	accepted  verdict = "accepted"  // the endpoint took the row, or has it already
	refused   verdict = "refused"   // the endpoint rejects this row
	transient verdict = "transient" // it may go better later
	atFault   verdict = "endpoint"  // somebody has to mend the endpoint, or what is known of it
)

// verdictNames returns the verdicts that an answer can have.
func verdictNames() []string {
	return []string{string(accepted), string(refused), string(transient), string(atFault)}
}

// The reasons for which attempts fail and holds exist: a closed set, used in logs,
// metrics and the status.
const (
	reasonNone         = ""             // no failure
	reasonRefused      = "refused"      // the endpoint rejects the row: 400, 413, 414, 415, 422
	reasonUnauthorised = "unauthorised" // 401, 402, 403
	reasonNotFound     = "not_found"    // 404, 410
	reasonRedirected   = "redirected"   // 3xx
	reasonRejected     = "rejected"     // every other 4xx, 501, 505, and what is no final HTTP status
	reasonRateLimited  = "rate_limited" // 429
	reasonFailing      = "failing"      // 5xx, 408, 409, 425
	reasonUnconfirmed  = "unconfirmed"  // the status of success, but not what the endpoint says of a row that it took
	reasonTimeout      = "timeout"      // no answer within the timeout
	reasonNetwork      = "network"      // refused, reset or broken connections, answers that are not HTTP
	reasonTLS          = "tls"          // handshake or certificate
	reasonDNS          = "dns"          // the host's name does not resolve
	reasonProxy        = "proxy"        // 407, or a proxy that is not there or opens no tunnel
	reasonToken        = "token"        // the authorization server gives no access token
)

// holdReasons returns the reasons that a hold can have.
func holdReasons() []string {
	return []string{
		reasonRefused, reasonUnauthorised, reasonNotFound, reasonRedirected, reasonRejected, reasonRateLimited,
		reasonFailing, reasonUnconfirmed, reasonTimeout, reasonNetwork, reasonTLS, reasonDNS, reasonProxy, reasonToken,
	}
}

// class is how one answer, or one way to get none, is judged.
type class struct {
	verdict verdict
	reason  string
}

// classOfError judges an attempt without an answer.
func classOfError(err error) class {
	if _, ok := errors.AsType[*tokenError](err); ok {
		return class{atFault, reasonToken}
	}
	if _, ok := errors.AsType[*proxyError](err); ok || onTheWayToProxy(err) != nil {
		return class{atFault, reasonProxy}
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return class{atFault, reasonDNS}
	}
	if isTimeout(err) {
		return class{transient, reasonTimeout}
	}
	if isTLS(err) {
		return class{atFault, reasonTLS}
	}
	return class{transient, reasonNetwork}
}

// isTimeout reports whether the time was over: an attempt is cancelled for no other reason,
// unless it is withheld, which is no answer.
func isTimeout(err error) bool {
	if errors.Is(err, context.Canceled) {
		return true
	}
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// isTLS reports whether err comes from a TLS handshake that will not go better the
// next time. crypto/tls has no common error type, only a common prefix.
func isTLS(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return true
	}
	text := err.Error()
	return strings.HasPrefix(text, "tls: ") || strings.HasPrefix(text, "remote error: tls: ")
}

// proxyError says that a proxy did not open a tunnel to the endpoint.
type proxyError struct{ status int }

func (e *proxyError) Error() string { return "proxy: " + statusText(e.status) }

// onTheWayToProxy returns why there is no connection with the proxy; nil if that is not it.
func onTheWayToProxy(err error) error {
	if operation, ok := errors.AsType[*net.OpError](err); ok && operation.Op == "proxyconnect" { // net/http's word
		return operation.Err
	}
	return nil
}

// describe says in words what went wrong. Texts of others are quoted only where it is
// known what can be in them: an error of net/http may hold bytes of the answer, and
// one about a proxy its password.
func describe(err error) string {
	if token, ok := errors.AsType[*tokenError](err); ok {
		return token.Error()
	}
	if proxy, ok := errors.AsType[*proxyError](err); ok {
		return proxy.Error()
	}
	if reason := onTheWayToProxy(err); reason != nil {
		return "proxy: " + describe(reason)
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return "look up the host: " + dns.Err
	}
	if isTimeout(err) {
		return "no answer in time"
	}
	if cert, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "tls: " + describeCertificate(cert.Err)
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "tls: the answer is not TLS: is the scheme http?"
	}
	if isTLS(err) {
		return err.Error()
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	return "connection failed or broke"
}

// describeCertificate leaves out the names in the certificate, which can be of any length.
func describeCertificate(err error) string {
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "the certificate is for another host"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "the certificate is signed by an unknown authority"
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return "the certificate has expired or is not yet valid"
	}
	return "the certificate is not valid"
}

// remedy says who has to act on a hold, and how. Warn heals by itself.
func remedy(reason string) (slog.Level, string) {
	switch reason {
	case reasonRefused:
		return slog.LevelError, "check what the endpoint expects of a row: it refuses all of them"
	case reasonUnconfirmed:
		return slog.LevelError, "check sink.url: something answers there, but not as the endpoint does when it takes a row"
	case reasonUnauthorised:
		return slog.LevelError, "check sink.url and sink.auth: who may call the endpoint, and with what"
	case reasonNotFound:
		return slog.LevelError, "check sink.url: nothing answers there; was the endpoint deleted or switched off?"
	case reasonRedirected:
		return slog.LevelError, "check sink.url: redirects are never followed, so it must be the final address"
	case reasonRejected:
		return slog.LevelError, "check sink.url and the endpoint: it does not take POST requests from us"
	case reasonTLS:
		return slog.LevelError, "check the endpoint's certificate and the scheme of sink.url"
	case reasonDNS:
		return slog.LevelError, "check the host in sink.url and the name server"
	case reasonProxy:
		return slog.LevelError, "check HTTPS_PROXY, HTTP_PROXY and NO_PROXY"
	case reasonToken:
		return slog.LevelError, "check sink.auth.token_url, its client and its secret, and the authorization server"
	case reasonRateLimited:
		return slog.LevelWarn, "none needed; lower sink.concurrency if it stays"
	default:
		return slog.LevelWarn, "none needed if it passes; else check the endpoint and the way to it"
	}
}
