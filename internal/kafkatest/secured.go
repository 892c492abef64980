package kafkatest

import (
	"net"
	"strconv"
	"testing"

	"signup-sheet/internal/certificates"
)

// Secured is a broker of Apache Kafka with access control, for who comes with credentials: PLAIN, SCRAM-SHA-256 and
// SCRAM-SHA-512 for user signup, password signup-secret; OAUTHBEARER with unsigned tokens; and client certificates of its
// authority. None of them may do anything until Allow says so. The cluster's own methods come by another way and may do
// all.
type Secured struct {
	*Apache
	Authority     *certificates.Authority // of the broker's certificate, and of clients'
	SASLPlaintext string                  // host:port, without TLS
	SASLSSL       string
	SSL           string // requires a client certificate
}

// StartSecured gives the test such a broker. See StartApache for the rest.
func StartSecured(t testing.TB, settings ...string) *Secured {
	t.Helper()
	authority, dir := certificates.NewAuthority(t), t.TempDir()
	broker := authority.Issue(t, "broker")
	certificates.Write(t, dir, "broker.pem", append(append(broker.Key, broker.Certificate...), authority.PEM...))
	certificates.Write(t, dir, "ca.crt", authority.PEM)
	s := &Secured{Apache: startApache(t, 1, settings, "-s", dir), Authority: authority}
	host, port, err := net.SplitHostPort(s.Addrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	first, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	for i, address := range []*string{&s.SASLPlaintext, &s.SASLSSL, &s.SSL} {
		*address = net.JoinHostPort(host, strconv.Itoa(first+20*(i+1)))
	}
	return s
}
