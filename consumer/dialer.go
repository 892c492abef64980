package consumer

import (
	"context"
	"net"
	"sync"
)

// dialFunc opens a connection; net.Dialer's DialContext is one.
type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// dialer opens connections, secured and logged in, and knows those that are
// open, so that they can be severed: kafka-go's ConsumerGroup.Close cannot
// interrupt a JoinGroup, which takes up to the rebalance timeout.
type dialer struct {
	dial     dialFunc
	security security

	mu      sync.Mutex
	dialing map[*context.CancelFunc]struct{}
	open    map[*trackedConn]struct{}
	severed bool
}

func newDialer(cfg Config) *dialer {
	dial := cfg.DialContext
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	return &dialer{
		dial: dial, security: security{tls: cfg.TLS, sasl: cfg.SASL},
		dialing: map[*context.CancelFunc]struct{}{}, open: map[*trackedConn]struct{}{},
	}
}

// DialContext opens a connection, or fails once the dialer was severed.
func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !d.begin(&cancel) {
		return nil, net.ErrClosed
	}
	conn, err := d.dial(ctx, network, address)
	if err == nil {
		conn, err = d.security.secure(ctx, conn, address)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.dialing, &cancel)
	if err != nil {
		return nil, err
	}
	c := &trackedConn{Conn: conn, dialer: d}
	if d.severed {
		conn.Close()
		return nil, net.ErrClosed
	}
	d.open[c] = struct{}{}
	return c, nil
}

// begin makes a call of dial known; false once the dialer was severed.
func (d *dialer) begin(cancel *context.CancelFunc) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.severed {
		return false
	}
	d.dialing[cancel] = struct{}{}
	return true
}

// sever closes every open connection, gives up on those that are being opened,
// and opens no more.
func (d *dialer) sever() {
	d.mu.Lock()
	d.severed = true
	for cancel := range d.dialing {
		(*cancel)()
	}
	open := d.open
	d.open = map[*trackedConn]struct{}{}
	d.mu.Unlock()
	for c := range open {
		c.Conn.Close()
	}
}

// trackedConn tells its dialer when it is closed.
type trackedConn struct {
	net.Conn
	dialer *dialer
}

// Close implements net.Conn.
func (c *trackedConn) Close() error {
	c.dialer.mu.Lock()
	delete(c.dialer.open, c)
	c.dialer.mu.Unlock()
	return c.Conn.Close()
}
