package consumer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// loginConn is a connection that is logged in, and logs in again when its login
// is about to expire (KIP-368): brokers close the connection of who does not, and
// for a member of a group that means a rebalance, every hour at some providers.
//
// It does so when a request is about to be written and no answer is waited for:
// then nobody reads, and the connection can be used as long as it takes.
type loginConn struct {
	net.Conn
	address   string
	mechanism sasl.Mechanism
	version   int16              // of SaslAuthenticate
	open      context.Context    //nolint:containedctx // net.Conn has none, and a login takes one
	end       context.CancelFunc // of open

	mu        sync.Mutex
	sent, got frames
	renew     time.Time // zero: never
	ends      time.Time // of the login, if renew is not zero
	readBy    time.Time // the deadlines that were set
	writeBy   time.Time
}

// renewAfter is the part of a login's time after which another one is made. If
// there is no secret for it just then (its file is being written, the
// authorization server is away), the login counts for the rest of its time.
const renewAfter = 0.8

// loginInterval is the least time between two logins of a connection: Apache Kafka
// answers one that comes sooner with ILLEGAL_SASL_STATE
// (KafkaChannel.maybeBeginServerReauthentication).
const loginInterval = time.Second

// logIn logs in on conn, which was opened to address, a broker that takes these
// requests.
func logIn(ctx context.Context, conn net.Conn, m sasl.Mechanism, address string, versions map[protocol.ApiKey]int16) (*loginConn, error) {
	version, known := versions[protocol.SaslAuthenticate]
	if !known || versions[protocol.SaslHandshake] < 1 {
		return nil, errors.New("the broker is older than Kafka 1.0: too old for a login by SASL")
	}
	c := &loginConn{Conn: conn, address: address, mechanism: m, version: min(version, 1)}
	c.open, c.end = context.WithCancel(context.Background()) //nolint:forbidigo // the life of a connection
	return c, c.logIn(ctx)
}

// Close implements net.Conn. Whoever waits for another login gives up.
func (c *loginConn) Close() error {
	c.end()
	return c.Conn.Close()
}

// Write implements net.Conn.
func (c *loginConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isDue(time.Now()) && c.sent.between() && c.got.between() && c.sent.n == c.got.n {
		select {
		case <-time.After(time.Until(c.renew)): // at most loginInterval
		case <-c.open.Done():
			return 0, net.ErrClosed
		}
		if err := c.logInAgain(); err != nil {
			return 0, fmt.Errorf("connection to %s: %w", c.address, err)
		}
	}
	c.sent.add(b)
	return c.Conn.Write(b)
}

// isDue reports whether a request that is written now needs another login first.
// A login can have ended before another one may be made: then that is waited for.
func (c *loginConn) isDue(now time.Time) bool {
	return !c.renew.IsZero() && (now.After(c.renew) || now.After(c.ends))
}

// Read implements net.Conn.
func (c *loginConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got.add(b[:n])
	return n, err
}

// SetDeadline implements net.Conn.
func (c *loginConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readBy, c.writeBy = t, t
	return c.Conn.SetDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *loginConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readBy = t
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn.
func (c *loginConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeBy = t
	return c.Conn.SetWriteDeadline(t)
}

// logInAgain logs in on a connection that is in use, in a time of its own.
func (c *loginConn) logInAgain() error {
	ctx, cancel := context.WithTimeout(c.open, dialTimeout)
	defer cancel()
	if err := c.Conn.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return err
	}
	switch err := c.logIn(ctx); {
	case isType[secretError](err) && time.Until(c.ends) > 2*dialTimeout:
		c.renew = time.Now().Add(time.Until(c.ends) / 2)
	case errors.Is(err, kafka.IllegalSASLState):
		// The broker takes no second login: the connection is used as long as it lasts.
		c.renew = time.Time{}
	case err != nil:
		return err
	}
	if err := c.Conn.SetReadDeadline(c.readBy); err != nil {
		return err
	}
	return c.Conn.SetWriteDeadline(c.writeBy)
}

func (c *loginConn) logIn(ctx context.Context) error {
	lifetime, err := c.authenticate(ctx)
	if err != nil {
		return fmt.Errorf("SASL %s: %w", c.mechanism.Name(), err)
	}
	c.renew = time.Time{}
	if lifetime > 0 {
		now := time.Now()
		c.ends = now.Add(lifetime)
		c.renew = now.Add(max(time.Duration(float64(lifetime)*renewAfter), loginInterval))
	}
	return nil
}

// frames counts the messages that went in one direction: each is preceded by its
// size, in four bytes.
type frames struct {
	n    int // whole ones
	head [4]byte
	have int // bytes of head
	left int // bytes of the body that are missing
}

// between reports whether no message is under way.
func (f *frames) between() bool { return f.have == 0 }

func (f *frames) add(b []byte) {
	for len(b) > 0 {
		if f.have < len(f.head) {
			k := copy(f.head[f.have:], b)
			b = b[k:]
			if f.have += k; f.have < len(f.head) {
				return
			}
			f.left = int(binary.BigEndian.Uint32(f.head[:]))
		}
		k := min(f.left, len(b))
		b = b[k:]
		if f.left -= k; f.left == 0 {
			f.n++
			f.have = 0
		}
	}
}

// authenticate has the dialogue of a login, and returns how long it counts; 0 is
// for ever.
func (c *loginConn) authenticate(ctx context.Context) (time.Duration, error) {
	// Before the broker is asked anything: a login that was begun has to be ended.
	state, message, err := c.mechanism.Start(ctx)
	if err != nil {
		return 0, secretError{err}
	}
	hello, offer := kmsg.NewPtrSASLHandshakeRequest(), kmsg.NewPtrSASLHandshakeResponse()
	hello.Mechanism = c.mechanism.Name()
	if err := exchange(c.Conn, hello, offer, 1); err != nil {
		return 0, err
	}
	switch code := kafka.Error(offer.ErrorCode); code {
	case 0:
	case kafka.UnsupportedSASLMechanism:
		return 0, fmt.Errorf("the broker offers %s: correct kafka.sasl.mechanism", strings.Join(offer.SupportedMechanisms, ", "))
	case kafka.IllegalSASLState:
		return 0, fmt.Errorf("%w: there is no SASL at this port: name another in kafka.brokers, or set kafka.sasl.mechanism to none", code)
	default:
		return 0, code
	}
	for {
		req, res := kmsg.NewPtrSASLAuthenticateRequest(), kmsg.NewPtrSASLAuthenticateResponse()
		req.SASLAuthBytes = message
		switch err := exchange(c.Conn, req, res, c.version); {
		case isClosed(err):
			return 0, fmt.Errorf("%w: the broker refuses the login: %s", err, c.remedy())
		case err != nil:
			return 0, err
		case res.ErrorCode != 0:
			return 0, fmt.Errorf("the broker refuses the login: %w%s: %s", kafka.Error(res.ErrorCode), words(res.ErrorMessage), c.remedy())
		}
		done, next, err := state.Next(ctx, res.SASLAuthBytes)
		if err != nil {
			return 0, fmt.Errorf("%w: %s", err, c.remedy())
		}
		if done {
			return time.Duration(res.SessionLifetimeMillis) * time.Millisecond, nil
		}
		message = next
	}
}

// secretError is why there is nothing to log in with.
type secretError struct{ error }

// Unwrap returns the cause.
func (e secretError) Unwrap() error { return e.error }

// remedy says what to look at. Secrets are read anew at each login.
func (c *loginConn) remedy() string {
	if c.mechanism.Name() == "OAUTHBEARER" {
		return "check the token: kafka.sasl.token_file, or kafka.sasl.client_id and kafka.sasl.client_secret_file"
	}
	return "check kafka.sasl.username and kafka.sasl.password_file"
}

// words are what a broker says of an error, cut to a line.
func words(message *string) string {
	if message == nil || *message == "" {
		return ""
	}
	return fmt.Sprintf(" (%.200q)", *message)
}
