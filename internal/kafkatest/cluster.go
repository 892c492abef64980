// Package kafkatest gives tests a Kafka cluster to talk to over the wire: kfake in this process, on loopback or on a
// virtual network inside a testing/synctest bubble, or Apache Kafka. The same test runs on all of them. It reads and
// writes with franz-go, so that what the product does with its own client is judged by another one.
//
// Functions that take a testing.TB end the test when something goes wrong; as with FailNow, call them from the
// goroutine that runs the test.
package kafkatest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// firstVirtualPort is the port of the first broker on a virtual network; the others follow.
const firstVirtualPort = 19092

// Cluster is a Kafka cluster for one test. Its methods are safe for concurrent use.
type Cluster struct {
	addrs    []string
	fake     *kfake.Cluster        // nil on Apache Kafka
	network  *kfake.VirtualNetwork // nil on real networks
	clients  []kgo.Opt             // for every client
	client   *kgo.Client           // carries the requests of admin
	admin    *kadm.Client
	producer atomic.Pointer[kgo.Client]
	brokers  int
	tidy     bool // topics are deleted at the end, since the cluster outlives the test
}

// Option is a choice for Start.
type Option func(*options)

type options struct {
	brokers int
	network *kfake.VirtualNetwork
	fake    bool
	opts    []kfake.Opt
	clients []kgo.Opt
}

// Brokers sets how many brokers kfake has, 1 by default. The brokers in KAFKA_BROKERS are as many as they are.
func Brokers(n int) Option { return func(o *options) { o.brokers = n } }

// VirtualNetwork makes the cluster a kfake one on an in-memory network of its own, whatever KAFKA_BROKERS says. It is
// for tests in a testing/synctest bubble; Cluster.Network is where HTTP servers of the test can listen too. See OnKfake.
func VirtualNetwork() Option {
	return func(o *options) { o.fake, o.network = true, new(kfake.VirtualNetwork) }
}

// Fake makes the cluster a kfake one with these options, whatever KAFKA_BROKERS says. It is for tests that inject
// faults or need settings of the broker; without options they get what Apache Kafka gets from test/kafka: session
// timeouts from 1 s, 6 partitions by default, no topic created by itself. See OnKfake.
func Fake(opts ...kfake.Opt) Option {
	return func(o *options) { o.fake, o.opts = true, append(o.opts, opts...) }
}

// Clients are options for the cluster's own clients, for a kfake that wants TLS or a login.
func Clients(opts ...kgo.Opt) Option {
	return func(o *options) { o.clients = append(o.clients, opts...) }
}

// Start gives the test a cluster: the brokers in KAFKA_BROKERS (host:port, comma separated) if that is set, else kfake
// on loopback. It ends with the test; topics made by CreateTopic are deleted from a cluster that outlives the test.
func Start(t testing.TB, opts ...Option) *Cluster {
	t.Helper()
	o := options{brokers: 1}
	for _, opt := range opts {
		opt(&o)
	}
	if o.fake {
		OnKfake(t)
	}
	if env := os.Getenv("KAFKA_BROKERS"); env != "" && !o.fake {
		return connect(t, &Cluster{addrs: strings.Split(env, ","), tidy: true}, 1)
	}
	fakeOpts := []kfake.Opt{
		kfake.NumBrokers(o.brokers),
		kfake.DefaultNumPartitions(6),
		kfake.GroupMinSessionTimeout(time.Second),
	}
	if o.network != nil {
		ports := make([]int, o.brokers)
		for i := range ports {
			ports[i] = firstVirtualPort + i
		}
		fakeOpts = append(fakeOpts, kfake.Ports(ports...), kfake.ListenFn(o.network.Listen))
	}
	fake, err := kfake.NewCluster(append(fakeOpts, o.opts...)...)
	if err != nil {
		t.Fatalf("start kfake: %v", err)
	}
	t.Cleanup(fake.Close)
	return connect(t, &Cluster{addrs: fake.ListenAddrs(), fake: fake, network: o.network, clients: o.clients}, o.brokers)
}

// connect opens the cluster's own client and waits until at least so many brokers are registered.
func connect(t testing.TB, c *Cluster, brokers int) *Cluster {
	t.Helper()
	c.client = c.Client(t, kgo.MetadataMinAge(100*time.Millisecond))
	c.admin = kadm.NewClient(c.client)
	c.renewProducer(t)
	c.brokers = c.waitBrokers(t, brokers)
	return c
}

// waitBrokers returns the number of brokers when so many, or more, and a controller are registered.
func (c *Cluster) waitBrokers(t testing.TB, n int) (registered int) {
	t.Helper()
	poll(t, fmt.Sprintf("%d brokers at %s", n, strings.Join(c.addrs, ",")), func(ctx context.Context) error {
		m, err := c.admin.BrokerMetadata(ctx)
		if err != nil {
			return err
		}
		if len(m.Brokers) < n || m.Controller < 0 {
			return fmt.Errorf("%d brokers, controller %d", len(m.Brokers), m.Controller)
		}
		registered = len(m.Brokers)
		return nil
	})
	return registered
}

// Addrs returns the bootstrap addresses, each host:port.
func (c *Cluster) Addrs() []string { return c.addrs }

// Fake returns the kfake cluster, for faults and for a look inside; nil on Apache Kafka.
func (c *Cluster) Fake() *kfake.Cluster { return c.fake }

// Real tells whether this is Apache Kafka.
func (c *Cluster) Real() bool { return c.fake == nil }

// Network returns the virtual network that the brokers listen on; nil on a real network.
func (c *Cluster) Network() *kfake.VirtualNetwork { return c.network }

// DialContext returns the function that opens connections to the brokers (and to all that listens on the virtual
// network, as "localhost:port" or "127.0.0.1:port"); nil on a real network, where any dialer will do.
func (c *Cluster) DialContext() func(ctx context.Context, network, addr string) (net.Conn, error) {
	if c.network == nil {
		return nil
	}
	return c.network.DialContext
}

// Client returns a franz-go client of the cluster for what this package has no method for: transactions, codecs,
// requests of one's own. It is closed when the test ends.
func (c *Cluster) Client(t testing.TB, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	base := []kgo.Opt{kgo.SeedBrokers(c.addrs...)}
	if c.network != nil {
		base = append(base, kgo.Dialer(c.network.DialContext))
	}
	client, err := kgo.NewClient(slices.Concat(base, c.clients, opts)...)
	if err != nil {
		t.Fatalf("new franz-go client: %v", err)
	}
	t.Cleanup(client.Close)
	return client
}

// UniqueName returns a name for a topic or group that says which test it belongs to and is used by no other test, nor
// by another run of this one.
func UniqueName(t testing.TB) string {
	name := []byte(t.Name())
	for i, b := range name {
		if (b < '0' || '9' < b) && (b < 'A' || 'Z' < b) && (b < 'a' || 'z' < b) {
			name[i] = '-'
		}
	}
	return string(name[:min(len(name), 200)]) + "-" + strings.ToLower(rand.Text()[:10])
}

const (
	pollEvery = 50 * time.Millisecond
	pollLimit = time.Minute
)

// poll calls try until it returns nil, and ends the test if that does not happen within pollLimit, with the last error.
// In a bubble both are virtual time.
func poll(t testing.TB, what string, try func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), pollLimit)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var last error
	for {
		err := try(ctx)
		if err == nil {
			return
		}
		if last == nil || !errors.Is(err, context.DeadlineExceeded) {
			last = err // rather than the deadline, which says nothing
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %v: %v", what, pollLimit, last)
		case <-tick.C:
		}
	}
}
