package consumer_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"signup-sheet/consumer"
)

// virtually runs a test on kfake in virtual time, whatever brokers there are.
func virtually(t *testing.T, partitions int32, test func(t *testing.T, s *scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, setVirtual(t, partitions)) })
}

// wire is what lies between a member and the brokers. It sees every request
// just before it is sent and every answer just before it is read, and it can
// fail as networks do.
type wire struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu    sync.Mutex
	seen  []*exchange
	conns map[*wireConn]struct{}
	cut   bool // nothing is connected, and no connection can be made
	dark  bool // nothing arrives, and connecting takes for ever
	hold  bool // what is sent arrives only when the hold ends, closed connection or not

	// Set before the member starts.
	request func(kmsg.Request) fate                // called before a request goes out
	answer  func(kmsg.Request, kmsg.Response) bool // may change the answer: true
}

// fate is what becomes of a request, and of all that follows on its connection.
type fate int

const (
	arrives fate = iota
	late         // it arrives when flow is called
	lost         // it never arrives
)

// exchange is a request on the wire, and its answer if one came.
type exchange struct {
	conn     *wireConn
	request  kmsg.Request
	response kmsg.Response // nil before
	sent     time.Time
	answered time.Time
}

func newWire(s *scene) *wire {
	w := &wire{dial: s.DialContext(), conns: map[*wireConn]struct{}{}}
	if w.dial == nil {
		w.dial = new(net.Dialer).DialContext
	}
	return w
}

// on is the tweak that puts the wire before a member's brokers.
func (w *wire) on(cfg *consumer.Config) { cfg.DialContext = w.connect }

func (w *wire) connect(ctx context.Context, network, address string) (net.Conn, error) {
	cut, dark := w.state()
	if dark {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if cut {
		return nil, errors.New("connection refused: the wire is cut")
	}
	conn, err := w.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &wireConn{Conn: conn, wire: w, asked: map[int32]*exchange{}}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns[c] = struct{}{}
	return c, nil
}

func (w *wire) state() (cut, dark bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cut, w.dark
}

// sever closes all connections and refuses new ones until mend.
func (w *wire) sever() {
	w.mu.Lock()
	w.cut = true
	conns := w.conns
	w.conns = map[*wireConn]struct{}{}
	w.mu.Unlock()
	for c := range conns {
		_ = c.Conn.Close()
	}
}

func (w *wire) mend() { w.set(func() { w.cut = false }) }

// darken makes everything that is sent vanish, for good.
func (w *wire) darken() { w.set(func() { w.dark = true }) }

// stall makes everything that is sent wait until flow.
func (w *wire) stall() { w.set(func() { w.hold = true }) }

// flow lets what was sent meanwhile arrive, on closed connections too.
func (w *wire) flow() {
	var conns []*wireConn
	w.set(func() { w.hold, conns = false, slices.Collect(maps.Keys(w.conns)) })
	for _, c := range conns {
		c.flush()
	}
}

func (w *wire) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// exchanges returns what was asked of a kind since a time, in order of sending.
func (w *wire) exchanges(key kmsg.Key, since time.Time) []exchange {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []exchange
	for _, e := range w.seen {
		if e.request.Key() == key.Int16() && !e.sent.Before(since) {
			found = append(found, *e)
		}
	}
	return found
}

// wireConn is one connection.
type wireConn struct {
	net.Conn
	wire *wire

	mu      sync.Mutex
	sending []byte // the head of a request
	late    []byte // held by a stall
	closed  bool
	fate    fate
	asked   map[int32]*exchange

	reading  sync.Mutex
	received []byte // the head of an answer
	ready    []byte // answers to be read
}

// Write passes requests on, or not.
func (c *wireConn) Write(b []byte) (int, error) {
	if c.keeps(b) {
		return len(b), nil
	}
	return c.Conn.Write(b) // with no lock held: it may take as long as the broker likes
}

// keeps notes what is sent, and tells whether it stays here.
func (c *wireConn) keeps(b []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sending = append(c.sending, b...)
	for {
		frame, rest, ok := frame(c.sending)
		if !ok {
			break
		}
		c.sending = slices.Clone(rest)
		c.fate = max(c.fate, c.sent(frame))
	}
	var dark, hold bool
	c.wire.set(func() { dark, hold = c.wire.dark, c.wire.hold })
	switch {
	case c.fate == lost || dark:
		return true
	case c.fate == late || hold:
		c.late = append(c.late, b...)
		return true
	default:
		return false
	}
}

// sent notes a request.
func (c *wireConn) sent(frame []byte) (f fate) {
	key, version := int16(binary.BigEndian.Uint16(frame)), int16(binary.BigEndian.Uint16(frame[2:]))
	req := kmsg.RequestForKey(key)
	req.SetVersion(version)
	body := frame[8:]
	if n := int16(binary.BigEndian.Uint16(body)); n > 0 {
		body = body[n:]
	}
	body = body[2:]
	if req.IsFlexible() {
		body = body[1:] // no tags
	}
	if interesting(key) {
		if err := req.ReadFrom(body); err != nil {
			panic(err)
		}
		if c.wire.request != nil {
			f = c.wire.request(req)
		}
		e := &exchange{conn: c, request: req, sent: time.Now()}
		c.asked[int32(binary.BigEndian.Uint32(frame[4:]))] = e
		c.wire.set(func() { c.wire.seen = append(c.wire.seen, e) })
	}
	return f
}

// interesting keeps large requests from being read twice.
func interesting(key int16) bool {
	switch kmsg.Key(key) {
	case kmsg.Produce, kmsg.OffsetCommit, kmsg.OffsetFetch, kmsg.JoinGroup, kmsg.SyncGroup, kmsg.Heartbeat, kmsg.LeaveGroup,
		kmsg.SASLHandshake:
		return true
	default:
		return false
	}
}

// Read returns answers, whole ones only.
func (c *wireConn) Read(b []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	for len(c.ready) == 0 {
		chunk := make([]byte, 32<<10)
		n, err := c.Conn.Read(chunk)
		c.received = append(c.received, chunk[:n]...)
		for {
			frame, rest, ok := frame(c.received)
			if !ok {
				break
			}
			frame = c.answered(frame)
			c.ready = binary.BigEndian.AppendUint32(c.ready, uint32(len(frame)))
			c.ready = append(c.ready, frame...)
			c.received = slices.Clone(rest)
		}
		if err != nil && len(c.ready) == 0 {
			return 0, err
		}
	}
	n := copy(b, c.ready)
	c.ready = c.ready[n:]
	return n, nil
}

// answered notes an answer, and returns it as it is to be read.
func (c *wireConn) answered(frame []byte) []byte {
	c.mu.Lock()
	id := int32(binary.BigEndian.Uint32(frame))
	e := c.asked[id]
	delete(c.asked, id)
	c.mu.Unlock()
	if e == nil {
		return frame
	}
	head := frame[:4:4]
	res := e.request.ResponseKind()
	res.SetVersion(e.request.GetVersion())
	if res.IsFlexible() {
		head = frame[:5:5]
	}
	if err := res.ReadFrom(frame[len(head):]); err != nil {
		panic(err)
	}
	if c.wire.answer != nil && c.wire.answer(e.request, res) {
		frame = res.AppendTo(head)
	}
	c.wire.set(func() { e.response, e.answered = res, time.Now() })
	return frame
}

// Close closes the connection, once what is late was sent.
func (c *wireConn) Close() error {
	c.mu.Lock()
	c.closed = true
	waits := len(c.late) > 0
	c.mu.Unlock()
	if waits {
		return c.SetReadDeadline(time.Unix(1, 0)) // whoever reads is to end
	}
	c.wire.set(func() { delete(c.wire.conns, c) })
	return c.Conn.Close()
}

// flush sends what is late.
func (c *wireConn) flush() {
	c.mu.Lock()
	late, closed := c.late, c.closed
	c.late, c.fate = nil, arrives
	c.mu.Unlock()
	if len(late) > 0 {
		_ = c.SetWriteDeadline(time.Now().Add(5 * time.Second))
		_, _ = c.Conn.Write(late) // whoever waits for the answer will see
	}
	if closed {
		_ = c.Conn.Close()
	}
}

// frame splits the first message off a stream.
func frame(b []byte) (frame, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	size := int(binary.BigEndian.Uint32(b))
	if len(b) < 4+size {
		return nil, nil, false
	}
	return bytes.Clone(b[4 : 4+size]), b[4+size:], true
}
