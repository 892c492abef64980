package credentials_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"signup-sheet/credentials"
	"signup-sheet/internal/certificates"
)

// store is a directory with the files of a TLS client.
type store struct {
	files credentials.Files
	dir   string
}

func newStore(t *testing.T, a *certificates.Authority, pair certificates.Pair) *store {
	t.Helper()
	s := &store{dir: t.TempDir()}
	s.files.Authorities = certificates.Write(t, s.dir, "ca.crt", a.PEM)
	s.put(t, pair)
	return s
}

func (s *store) put(t *testing.T, pair certificates.Pair) {
	t.Helper()
	s.files.Certificate = certificates.Write(t, s.dir, "tls.crt", pair.Certificate)
	s.files.Key = certificates.Write(t, s.dir, "tls.key", pair.Key)
}

// greet opens one connection to a server with this certificate that wants one of clients, and returns the name in the
// client's.
func greet(t *testing.T, client *credentials.TLS, server certificates.Pair, clients *certificates.Authority, name string) (string, error) {
	t.Helper()
	config, err := client.Config(t.Context())
	if err != nil {
		return "", err
	}
	config.ServerName = name
	here, there := net.Pipe()
	s := tls.Server(there, &tls.Config{
		MinVersion: tls.VersionTLS12, SessionTicketsDisabled: true, Certificates: []tls.Certificate{server.TLS(t)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients.Pool(),
	})
	c := tls.Client(here, config)
	done := make(chan error, 1)
	go func() {
		defer there.Close()
		done <- s.HandshakeContext(t.Context())
	}()
	err = c.HandshakeContext(t.Context())
	here.Close()
	if served := <-done; err == nil {
		err = served
	}
	if err != nil {
		return "", err
	}
	return s.ConnectionState().PeerCertificates[0].Subject.CommonName, nil
}

func TestACertificateIsReadAnewForEachConnection(t *testing.T) {
	a := certificates.NewAuthority(t)
	server := a.Issue(t, "server")
	s := newStore(t, a, a.Issue(t, "first"))
	client := credentials.NewTLS(s.files, slog.New(slog.DiscardHandler))
	for _, want := range []string{"first", "second"} {
		if got, err := greet(t, client, server, a, "localhost"); got != want || err != nil {
			t.Fatalf("%q, %v, want %q", got, err, want)
		}
		s.put(t, a.Issue(t, "second"))
	}
}

func TestAuthoritiesAreReadAnewForEachConnection(t *testing.T) {
	old, young := certificates.NewAuthority(t), certificates.NewAuthority(t)
	s := newStore(t, old, old.Issue(t, "client"))
	client := credentials.NewTLS(s.files, slog.New(slog.DiscardHandler))
	server := young.Issue(t, "server")
	if _, err := greet(t, client, server, old, "localhost"); !isUnknown(err) {
		t.Fatalf("%v, want an unknown authority", err)
	}
	certificates.Write(t, s.dir, "ca.crt", append(bytes.Clone(old.PEM), young.PEM...))
	if _, err := greet(t, client, server, old, "localhost"); err != nil {
		t.Fatal(err)
	}
}

func isUnknown(err error) bool {
	return err != nil && strings.Contains(err.Error(), x509.UnknownAuthorityError{}.Error())
}

// Trap: with an IP address for a name, a verification of one's own easily leaves the name out.
func TestTheServersNameIsVerified(t *testing.T) {
	a := certificates.NewAuthority(t)
	s := newStore(t, a, a.Issue(t, "client"))
	client := credentials.NewTLS(s.files, slog.New(slog.DiscardHandler))
	for name, fine := range map[string]bool{"localhost": true, "127.0.0.1": true, "kafka.example": false, "127.0.0.2": false} {
		if _, err := greet(t, client, a.Issue(t, "server"), a, name); (err == nil) != fine {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := greet(t, client, a.Issue(t, "server", certificates.Expired), a, "localhost"); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("an expired certificate: %v", err)
	}
}

func TestAHalfDoneRotationIsWaitedForAndThenTheOldPairIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := certificates.NewAuthority(t)
		server, first, second := a.Issue(t, "server"), a.Issue(t, "first"), a.Issue(t, "second")
		var log bytes.Buffer
		s := newStore(t, a, first)
		client := credentials.NewTLS(s.files, slog.New(slog.NewTextHandler(&log, nil)))
		if _, err := client.Config(t.Context()); err != nil {
			t.Fatal(err)
		}
		certificates.Write(t, s.dir, "tls.crt", second.Certificate) // its key is yet to come
		for range 2 {
			if got, err := greet(t, client, server, a, "localhost"); got != "first" || err != nil {
				t.Fatalf("%q, %v, want the first", got, err)
			}
		}
		if n := strings.Count(log.String(), `level=WARN msg="cannot read TLS certificates: using those that were read before"`); n != 1 {
			t.Errorf("%d warnings, want one a minute:\n%s", n, log.String())
		}
		certificates.Write(t, s.dir, "tls.key", second.Key)
		if got, err := greet(t, client, server, a, "localhost"); got != "second" || err != nil {
			t.Fatalf("%q, %v, want the second", got, err)
		}
	})
}

func TestFilesThatCannotBeUsedAreNamedWithoutWhatIsInThem(t *testing.T) {
	a := certificates.NewAuthority(t)
	one, other := a.Issue(t, "one"), a.Issue(t, "other")
	dir := t.TempDir()
	file := func(name string, content []byte) string { return certificates.Write(t, dir, name, content) }
	certificate, key := file("tls.crt", one.Certificate), file("tls.key", one.Key)
	encrypted := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("what nobody can read")})
	for name, c := range map[string]struct {
		certificate, key string
		want             string
	}{
		"of two pairs":   {certificate, file("other.key", other.Key), "private key does not match public key"},
		"switched":       {key, certificate, "PEM inputs may have been switched"},
		"no certificate": {file("empty", nil), key, "empty"},
		"encrypted":      {certificate, file("encrypted.key", encrypted), "the key is encrypted: want one without a passphrase"},
		"missing":        {certificate, dir + "/missing.key", "no such file or directory"},
	} {
		if _, err := credentials.Pair(c.certificate, c.key); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v, want %q and the path", name, err, c.want)
		}
	}
	if _, err := credentials.Authorities(key); err == nil || err.Error() != key+" holds no certificate in PEM form" {
		t.Errorf("authorities: %v", err)
	}
}
