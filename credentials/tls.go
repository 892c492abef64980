package credentials

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

const (
	// A rotation that replaces one file after the other is over within moments.
	rotationTries = 5
	rotationPause = 50 * time.Millisecond
	// warnEvery is how often it is said that old credentials are still used.
	warnEvery = time.Minute
)

// Files are the PEM files of a TLS client. Empty paths: the system's authorities, no certificate.
type Files struct {
	Authorities      string // those that may have signed the server's certificate
	Certificate, Key string // the client's own certificate, with what leads to its authority, and its key: both or none
}

// TLS is a TLS client by files that may change at any time. It is safe for concurrent use.
type TLS struct {
	files Files
	log   *slog.Logger

	mu     sync.Mutex
	pool   *x509.CertPool   // as last read without a fault
	pair   *tls.Certificate // likewise
	warned time.Time
}

// NewTLS reads nothing yet.
func NewTLS(files Files, log *slog.Logger) *TLS { return &TLS{files: files, log: log} }

// Config returns the configuration for one connection, by the files as they are now. Files that cannot be used, such as
// a certificate and a key that do not belong together, are read again for a moment; then those that were read before
// are used on, with a warning, and if there are none, that is an error.
func (t *TLS) Config(ctx context.Context) (*tls.Config, error) {
	var err error
	for try := 1; ; try++ {
		var pool *x509.CertPool
		var pair *tls.Certificate
		if pool, pair, err = t.files.Load(); err == nil {
			t.keep(pool, pair)
			return config(pool, pair), nil
		}
		if try == rotationTries {
			break
		}
		select {
		case <-time.After(rotationPause):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	pool, pair, read := t.kept(err)
	if !read {
		return nil, err
	}
	return config(pool, pair), nil
}

func config(pool *x509.CertPool, pair *tls.Certificate) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	Apply(c, pool, pair)
	return c
}

// Apply makes a client trust the authorities of pool and show the certificate of pair. Either may be nil.
func Apply(c *tls.Config, pool *x509.CertPool, pair *tls.Certificate) {
	if pool != nil {
		c.RootCAs = pool
	}
	if pair != nil {
		// Not Certificates: of those, one that the server seems not to ask for is left out without a word, and the server
		// then misses what it would have taken.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
	}
}

func (t *TLS) keep(pool *x509.CertPool, pair *tls.Certificate) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pool, t.pair, t.warned = pool, pair, time.Time{}
}

// kept returns what was read last, false if nothing was, and warns of why it is used.
func (t *TLS) kept(because error) (*x509.CertPool, *tls.Certificate, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pool == nil && t.pair == nil {
		return nil, nil, false
	}
	if time.Since(t.warned) >= warnEvery {
		t.warned = time.Now()
		t.log.Warn("cannot read TLS certificates: using those that were read before", "err", because)
	}
	return t.pool, t.pair, true
}

// Load reads the files as they are now. What has no file is nil.
func (f Files) Load() (pool *x509.CertPool, pair *tls.Certificate, err error) {
	if f.Authorities != "" {
		if pool, err = Authorities(f.Authorities); err != nil {
			return nil, nil, err
		}
	}
	if f.Certificate != "" {
		if pair, err = Pair(f.Certificate, f.Key); err != nil {
			return nil, nil, err
		}
	}
	return pool, pair, nil
}

// Authorities reads the certificates of authorities from a PEM file.
func Authorities(file string) (*x509.CertPool, error) {
	content, err := read(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", shown(file))
	}
	return pool, nil
}

// Pair reads a certificate, with the rest of its chain, and its key from PEM files.
func Pair(certificateFile, keyFile string) (*tls.Certificate, error) {
	certificate, err := read(certificateFile)
	if err != nil {
		return nil, err
	}
	key, err := read(keyFile)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		if strings.Contains(string(key), "ENCRYPTED") {
			err = errors.New("the key is encrypted: want one without a passphrase")
		}
		return nil, fmt.Errorf("certificate %s with key %s: %w", shown(certificateFile), shown(keyFile), err)
	}
	return &pair, nil
}
