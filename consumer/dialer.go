package consumer

import (
	"context"
	"net"
	"sync"
)

// dialFunc opens a connection; net.Dialer's DialContext is one.
type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// dialer opens connections and knows those that are open, so that they can be
// severed: kafka-go's ConsumerGroup.Close cannot interrupt a JoinGroup, which
// takes up to the rebalance timeout.
type dialer struct {
	dial dialFunc

	mu      sync.Mutex
	open    map[*trackedConn]struct{}
	severed bool
}

func newDialer(dial dialFunc) *dialer {
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	return &dialer{dial: dial, open: map[*trackedConn]struct{}{}}
}

// DialContext opens a connection, or fails once the dialer was severed.
func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &trackedConn{Conn: conn, dialer: d}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.severed {
		conn.Close()
		return nil, net.ErrClosed
	}
	d.open[c] = struct{}{}
	return c, nil
}

// sever closes every open connection and opens no more.
func (d *dialer) sever() {
	d.mu.Lock()
	d.severed = true
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
