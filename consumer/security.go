package consumer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/segmentio/kafka-go/sasl"
)

// security makes a new connection ready for requests: TLS, then a login by SASL.
//
// kafka-go could do both, in two ways that differ: one waits for the answers to a
// login for ever, the other drops what the broker says of it, and both keep from
// us how long a login counts (login.go).
type security struct {
	tls  func(ctx context.Context) (*tls.Config, error) // nil: no TLS
	sasl sasl.Mechanism                                 // nil: no login
}

// secure returns the connection to use instead of conn, which was opened to
// address (host:port). It closes conn if that does not succeed before ctx ends.
func (s security) secure(ctx context.Context, conn net.Conn, address string) (net.Conn, error) {
	unblock := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	secured, err := s.shake(ctx, conn, address)
	if !unblock() {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	return secured, nil
}

func (s security) shake(ctx context.Context, conn net.Conn, address string) (net.Conn, error) {
	if s.tls == nil && s.sasl == nil {
		return &clearConn{Conn: conn}, nil
	}
	problem := func(err error) error { return err }
	if s.tls == nil {
		conn = &clearConn{Conn: conn}
	} else {
		config, err := s.config(ctx, address)
		if err != nil {
			return nil, err
		}
		problem = func(err error) error { return tlsProblem(err, config) }
		secured := tls.Client(conn, config)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, problem(err)
		}
		conn = secured
	}
	// In TLS 1.3 the broker judges our certificate after the handshake: its verdict
	// comes with the first answer.
	versions, err := brokerVersions(conn)
	if err != nil {
		return nil, problem(err)
	}
	if s.sasl == nil {
		return conn, nil
	}
	return logIn(ctx, conn, s.sasl, address, versions)
}

// config is for a connection to address.
func (s security) config(ctx context.Context, address string) (*tls.Config, error) {
	config, err := s.tls(ctx)
	if err != nil {
		return nil, fmt.Errorf("kafka.tls: %w", err)
	}
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName, _, err = net.SplitHostPort(address)
	}
	return config, err
}

// tlsProblem adds to an error of TLS what it probably means and what to do.
func tlsProblem(err error, config *tls.Config) error {
	remedy := "is it the right port in kafka.brokers?"
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case isType[x509.UnknownAuthorityError](err), isType[x509.SystemRootsError](err):
		remedy = "name the file with the authority of the broker's certificate in kafka.tls.ca_file"
	case isType[x509.HostnameError](err):
		remedy = "kafka.brokers and the brokers' advertised.listeners must have names that are in the broker's certificate"
	case isInvalid && invalid.Reason == x509.Expired:
		remedy = "renew the broker's certificate, or set the clock of this machine"
	case isInvalid:
		remedy = "the broker needs another certificate"
	case isType[tls.RecordHeaderError](err):
		remedy = "the port does not speak TLS: name another in kafka.brokers, or set kafka.tls.enabled to false"
	case isAlert(err, "certificate", "handshake failure"), isClosed(err):
		remedy = "the broker may want a certificate of ours: set kafka.tls.certificate_file and kafka.tls.key_file, or does the port not speak TLS?"
		if config.GetClientCertificate != nil {
			remedy = "the broker may not take our certificate: check kafka.tls.certificate_file, or does the port not speak TLS?"
		}
	}
	return fmt.Errorf("TLS: %w: %s", err, remedy)
}

func isType[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

// isAlert reports whether err is the other side's refusal of TLS with one of
// these words in its name.
func isAlert(err error, words ...string) bool {
	alert, ok := errors.AsType[*net.OpError](err)
	if !ok || alert.Op != "remote error" {
		return false
	}
	for _, w := range words {
		if strings.Contains(alert.Err.Error(), w) {
			return true
		}
	}
	return false
}

// isClosed reports whether the other side closed the connection.
func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// What a port turns out to be when it is not one of a broker without TLS.
var (
	errSpeaksTLS = errors.New("the port speaks TLS: set kafka.tls.enabled to true, or name another port in kafka.brokers")
	errNoBroker  = errors.New("what answers at the port is no Kafka broker: name another in kafka.brokers")
)

// clearConn is a connection without TLS. It looks at the beginning of the first
// answer: what a TLS or HTTP server says would be the length of a very long one,
// for which kafka-go takes all the memory there is.
type clearConn struct {
	net.Conn
	head [4]byte // of the first answer: its length
	have int     // bytes of head that were read
	gave int     // bytes of head that were returned
}

// Read implements net.Conn. Only one reads at a time.
func (c *clearConn) Read(b []byte) (int, error) {
	for c.have < len(c.head) {
		n, err := c.Conn.Read(c.head[c.have:])
		if c.have += n; c.have < len(c.head) && err != nil {
			return 0, err
		}
	}
	switch {
	case c.gave == len(c.head):
		return c.Conn.Read(b)
	case c.head[0] == 21 && c.head[1] == 3: // a TLS record: alert, version 3.x (RFC 8446, section 5.1)
		return 0, errSpeaksTLS
	case binary.BigEndian.Uint32(c.head[:]) > maxAnswer:
		return 0, errNoBroker
	}
	n := copy(b, c.head[c.gave:])
	c.gave += n
	return n, nil
}
