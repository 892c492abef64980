package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"signup-sheet/consumer"
	"signup-sheet/internal/kafkatest"
)

// cables are the connections between a member and its brokers, which are numbered from 0 as kfake does it. A broker whose cables are cut is down, as far
// as the member can tell, and hears no more of the member. One that is silent takes what it is sent, and what it answers comes when it is up
// again, as with a broker that is paused or behind a network that loses packets.
type cables struct {
	*kafkatest.Cluster

	mu     sync.Mutex
	cut    map[int]bool
	silent map[int]chan struct{} // closed when they are not any more
	conns  map[*cable]bool       // open ones
}

func newCables(c *kafkatest.Cluster) *cables {
	return &cables{Cluster: c, cut: map[int]bool{}, silent: map[int]chan struct{}{}, conns: map[*cable]bool{}}
}

// through makes a member use the cables.
func (c *cables) through(cfg *consumer.Config) { cfg.DialContext = c.dial }

func (c *cables) dial(ctx context.Context, network, address string) (net.Conn, error) {
	dial := c.DialContext()
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for node, a := range c.Addrs() {
		if _, p, _ := net.SplitHostPort(a); p != port {
			continue
		}
		if c.cut[node] {
			conn.Close()
			return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("connection refused")}
		}
		cable := &cable{Conn: conn, cables: c, node: node, closed: make(chan struct{})}
		c.conns[cable] = true
		return cable, nil
	}
	return nil, fmt.Errorf("no broker has the address %s", address)
}

func (c *cables) nodes() []int {
	var nodes []int
	for node := range c.Addrs() {
		nodes = append(nodes, node)
	}
	return nodes
}

func (c *cables) coordinator(_ *testing.T, group string) int {
	return int(c.Fake().CoordinatorFor(group))
}

// down cuts the cables of brokers.
func (c *cables) down(_ *testing.T, nodes ...int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, node := range nodes {
		c.cut[node] = true
	}
	for conn := range c.conns {
		if c.cut[conn.node] {
			conn.Conn.Close()
		}
	}
}

// silence lets nothing come from brokers.
func (c *cables) silence(_ *testing.T, nodes ...int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, node := range nodes {
		c.silent[node] = make(chan struct{})
	}
}

// up ends whatever was wrong with brokers.
func (c *cables) up(_ *testing.T, nodes ...int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, node := range nodes {
		delete(c.cut, node)
		if c.silent[node] != nil {
			close(c.silent[node])
			delete(c.silent, node)
		}
	}
}

// cable is one connection.
type cable struct {
	net.Conn
	cables *cables
	node   int
	once   sync.Once
	closed chan struct{}

	mu       sync.Mutex
	deadline time.Time // for reading
}

func (c *cable) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.cables.mu.Lock()
	silent := c.cables.silent[c.node]
	c.cables.mu.Unlock()
	if silent == nil {
		return n, err
	}
	c.mu.Lock()
	deadline := c.deadline
	c.mu.Unlock()
	late := make(<-chan time.Time)
	if !deadline.IsZero() {
		timer := time.NewTimer(time.Until(deadline))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-silent:
		return n, err
	case <-c.closed:
		return 0, net.ErrClosed
	case <-late: // what was read is lost, and with it the connection
		return 0, os.ErrDeadlineExceeded
	}
}

func (c *cable) SetReadDeadline(at time.Time) error {
	c.mu.Lock()
	c.deadline = at
	c.mu.Unlock()
	return c.Conn.SetReadDeadline(at)
}

func (c *cable) SetDeadline(at time.Time) error {
	if err := c.SetReadDeadline(at); err != nil {
		return err
	}
	return c.SetWriteDeadline(at)
}

func (c *cable) Close() error {
	c.once.Do(func() { close(c.closed) })
	c.cables.mu.Lock()
	delete(c.cables.conns, c)
	c.cables.mu.Unlock()
	return c.Conn.Close()
}

// machines are the brokers of Apache Kafka, numbered from 1, which are killed.
type machines struct {
	*kafkatest.Apache
	client *kgo.Client
	n      int
}

func startMachines(t *testing.T, n int) machines {
	t.Helper()
	a := kafkatest.StartApache(t, n)
	return machines{a, a.Client(t), n}
}

func (a machines) nodes() []int {
	var nodes []int
	for i := range a.n {
		nodes = append(nodes, i+1)
	}
	return nodes
}

func (a machines) coordinator(t *testing.T, group string) int {
	t.Helper()
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorKey, req.CoordinatorKeys = group, []string{group}
	res, err := req.RequestWith(t.Context(), a.client)
	if err != nil {
		t.Fatalf("find the coordinator of %s: %v", group, err)
	}
	if len(res.Coordinators) == 1 {
		return int(res.Coordinators[0].NodeID)
	}
	return int(res.NodeID)
}

func (a machines) down(t *testing.T, nodes ...int) {
	t.Helper()
	for _, node := range nodes {
		a.Kill(t, node)
	}
}

func (a machines) up(t *testing.T, nodes ...int) {
	t.Helper()
	// Each waits for the others, since a controller alone has no quorum. But not at the same moment: they share a list of processes.
	var started sync.WaitGroup
	for _, node := range nodes {
		started.Go(func() { a.StartNode(t, node) })
		<-time.After(2 * time.Second)
	}
	started.Wait()
}

// inSync waits until the next broker can go.
func (a machines) inSync(t *testing.T) {
	t.Helper()
	await(t, "all replicas in sync", func() bool { return a.InSync(t.Context()) })
}
