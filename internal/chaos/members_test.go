package chaos_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"signup-sheet/consumer"
	"signup-sheet/enrich"
	"signup-sheet/sink"
)

// The members' times in virtual runs: the defaults, but for the sink's timeout.
const (
	sessionTimeout = 10 * time.Second
	drainTimeout   = 7 * time.Second
)

// member is a consumer in this process.
type member struct {
	*consumer.Consumer
	name   string
	link   *link
	log    *journal
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

// virtual is a run in virtual time, with kfake and members in this process.
type virtual struct {
	*world
	t          *testing.T
	watchAgain func()
	members    []*member
	joined     int
	calmAt     time.Time // until then no other membership event begins
	later      sync.WaitGroup
}

// playVirtual plays a seed in the bubble that the test runs in.
func playVirtual(t *testing.T, c *world) {
	v := &virtual{world: c, t: t, watchAgain: c.watch()}
	t.Cleanup(v.later.Wait)
	v.join()
	v.publish(t, 50)
	for range 150 + v.rng.IntN(150) {
		v.step()
		pause(time.Duration(v.rng.Int64N(int64(3 * time.Second))))
	}
	v.webhook.change(calm())
	v.agify.change(0)
	v.oracle.tell("calm")
	v.later.Wait()
	if !v.allDone(t, 5*time.Minute) {
		v.oracle.stall()
	}
	for _, m := range v.members {
		m.cancel()
		<-m.done
		if m.err != nil {
			v.oracle.tell("%s ended with %v", m.name, m.err)
		}
	}
	v.letters(t)
}

// step makes one thing happen, or none where it would only find a bug of kfake.
func (v *virtual) step() {
	steps := []struct {
		weight int
		do     func()
	}{
		{30, func() { v.publish(v.t, 1+v.rng.IntN(80)) }},
		{14, v.turnWeather},
		{4, func() { v.agify.change(v.rng.Float64()) }},
		{10, v.membership},
		{12, v.failBroker},
		{4, v.dropRequests},
		{6, func() { v.oracle.tell("leaders move"); v.Fake().ShufflePartitionLeaders() }},
		{3, v.moveCoordinator},
		{2, v.retention},
	}
	total := 0
	for _, s := range steps {
		total += s.weight
	}
	n := v.rng.IntN(total)
	for _, s := range steps {
		if n -= s.weight; n < 0 {
			s.do()
			return
		}
	}
}

func (v *virtual) turnWeather() {
	bad := weathers(sinkTimeout)
	w := calm()
	if n := v.rng.IntN(len(bad) + 3); n < len(bad) {
		w = bad[n]
	}
	v.oracle.tell("the endpoint: %s", w.name)
	v.webhook.change(w)
}

// membership makes a member join or leave, or takes its connections away, when nothing of that kind is going on.
func (v *virtual) membership() {
	g := v.Fake().GroupInfo(v.group)
	if time.Now().Before(v.calmAt) || g == nil || g.State != "Stable" || len(g.Members) != len(v.members) {
		return
	}
	for _, m := range v.members {
		if m.Status().State != "running" {
			return
		}
	}
	switch n := v.rng.IntN(10); {
	case n < 4 && len(v.members) < 4:
		v.join()
	case n < 7 && len(v.members) > 1:
		v.leave()
	default:
		v.unplug()
	}
}

func (v *virtual) join() {
	v.joined++
	m := &member{name: fmt.Sprintf("m%d", v.joined), link: &link{dial: v.DialContext(), conns: map[net.Conn]bool{}}, done: make(chan struct{})}
	m.log = &journal{oracle: v.oracle, member: m.name}
	reg := prometheus.NewRegistry()
	log := slog.New(slog.NewJSONHandler(m.log, nil))
	ages, err := enrich.New(enrich.Config{
		URL: v.agifyURL, Timeout: time.Second, CacheSize: 20, CacheTTL: time.Hour, UnknownTTL: time.Minute,
		BatchSize: 10, Linger: 5 * time.Millisecond, Concurrency: 16, DialContext: v.DialContext(),
	}, reg, log)
	if err != nil {
		v.t.Fatal(err)
	}
	window := 1 << (4 + v.rng.IntN(9))
	m.Consumer, err = consumer.New(consumer.Config{
		Brokers: v.Addrs(), Topic: v.topic, Group: v.group,
		SessionTimeout: sessionTimeout, HeartbeatInterval: time.Second, CommitInterval: time.Second, DrainTimeout: drainTimeout,
		Window: window, WindowBytes: 32 << 20, KeyOrder: true,
		DeadLetterTopic: v.dlq(),
		Columns:         sink.DefaultColumns(),
		Sink:            sink.Config{URL: v.hookURL + m.name, Concurrency: 1 << v.rng.IntN(7), Timeout: sinkTimeout, MaxAttempts: 12, MaxElapsed: 15 * time.Minute, DeadLetterBudget: 20, UserAgent: "chaos", DialContext: v.DialContext()},
		Ages:            ages,
		DialContext:     m.link.connect,
	}, reg, log)
	if err != nil {
		v.t.Fatal(err)
	}
	v.oracle.tell("%s joins, window %d", m.name, window)
	ctx, cancel := context.WithCancel(context.WithoutCancel(v.t.Context()))
	m.cancel = cancel
	go func() {
		defer close(m.done)
		m.err = m.Run(ctx)
		ages.Close()
	}()
	v.t.Cleanup(func() { cancel(); <-m.done })
	v.members = append(v.members, m)
}

func (v *virtual) leave() {
	n := v.rng.IntN(len(v.members))
	m := v.members[n]
	v.members = append(v.members[:n:n], v.members[n+1:]...)
	v.oracle.tell("%s leaves", m.name)
	m.cancel()
	v.later.Go(func() {
		<-m.done
		v.oracle.tell("%s has left: %v", m.name, m.err)
	})
}

// unplug takes a member's connections to the brokers away for a while.
func (v *virtual) unplug() {
	m := v.members[v.rng.IntN(len(v.members))]
	d := time.Duration(v.rng.Int64N(int64(18 * time.Second)))
	v.oracle.tell("%s is cut off for %v", m.name, d)
	ended := v.oracle.fault(m.name, "cut off")
	m.link.cut()
	v.calmAt = time.Now().Add(d + sessionTimeout + 2*time.Second)
	v.later.Go(func() {
		pause(d)
		m.link.mend()
		ended()
		v.oracle.tell("%s is connected again", m.name)
	})
}

// failBroker makes brokers answer a kind of request with an error that they do answer it with.
func (v *virtual) failBroker() {
	source := kfake.Fault{Topic: v.topic}
	letters := kfake.Fault{Topic: v.dlq()} // not what is published
	group := kfake.Fault{Group: v.group}
	offsets := kfake.Fault{Group: v.group, Topic: v.topic}
	ways := []struct {
		key  kmsg.Key
		of   kfake.Fault
		errs []*kerr.Error
	}{
		{kmsg.Fetch, source, []*kerr.Error{kerr.NotLeaderForPartition, kerr.UnknownServerError, kerr.KafkaStorageError, kerr.FencedLeaderEpoch}},
		{kmsg.ListOffsets, source, []*kerr.Error{kerr.NotLeaderForPartition, kerr.LeaderNotAvailable}},
		{kmsg.Metadata, source, []*kerr.Error{kerr.LeaderNotAvailable}}, // others are final for who publishes
		{kmsg.OffsetCommit, offsets, []*kerr.Error{kerr.CoordinatorLoadInProgress, kerr.NotCoordinator, kerr.RequestTimedOut, kerr.UnknownServerError}},
		{kmsg.OffsetFetch, offsets, []*kerr.Error{kerr.CoordinatorLoadInProgress, kerr.NotCoordinator, kerr.UnstableOffsetCommit}},
		{kmsg.FindCoordinator, group, []*kerr.Error{kerr.CoordinatorNotAvailable}},
		{kmsg.JoinGroup, group, []*kerr.Error{kerr.CoordinatorLoadInProgress, kerr.NotCoordinator}},
		{kmsg.SyncGroup, group, []*kerr.Error{kerr.CoordinatorLoadInProgress, kerr.NotCoordinator}},
		{kmsg.Heartbeat, group, []*kerr.Error{kerr.CoordinatorLoadInProgress, kerr.NotCoordinator}},
		{kmsg.LeaveGroup, group, []*kerr.Error{kerr.CoordinatorNotAvailable}},
		{kmsg.Produce, letters, []*kerr.Error{kerr.NotLeaderForPartition, kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend, kerr.RequestTimedOut}},
	}
	w := ways[v.rng.IntN(len(ways))]
	f := w.of
	f.Keys, f.Err, f.Count = []kmsg.Key{w.key}, w.errs[v.rng.IntN(len(w.errs))], -1
	d := time.Duration(v.rng.Int64N(int64(8 * time.Second)))
	v.oracle.tell("%v is answered with %v for %v", w.key.Name(), f.Err.Message, d)
	ended := v.oracle.fault("", w.key.Name())
	h := v.Fake().Fault(f)
	v.watchAgain()
	v.later.Go(func() {
		pause(d)
		h.Remove()
		ended()
	})
}

// dropRequests makes brokers close connections instead of answering: some before they do what they are asked.
func (v *virtual) dropRequests() {
	keys := []kmsg.Key{kmsg.Fetch, kmsg.OffsetCommit, kmsg.OffsetFetch, kmsg.JoinGroup, kmsg.SyncGroup, kmsg.Heartbeat, kmsg.FindCoordinator, kmsg.Metadata, kmsg.Produce}
	key, left := keys[v.rng.IntN(len(keys))], 1+v.rng.IntN(6)
	v.oracle.tell("%d requests %s are dropped", left, key.Name())
	v.Fake().ControlKey(int16(key), func(req kmsg.Request) (kmsg.Response, error, bool) {
		if p, ok := req.(*kmsg.ProduceRequest); ok && !v.isLetter(p) {
			return nil, nil, false
		}
		v.oracle.fault("", "dropped "+key.Name())()
		if left--; left == 0 {
			v.Fake().DropControl()
		} else {
			v.Fake().KeepControl()
		}
		return nil, errors.New("dropped"), true
	})
}

func (v *virtual) isLetter(p *kmsg.ProduceRequest) bool {
	for _, topic := range p.Topics {
		if topic.Topic == v.dlq() {
			return true
		}
	}
	return false
}

func (v *virtual) moveCoordinator() {
	v.oracle.tell("coordinators move")
	defer v.oracle.fault("", "coordinators move")()
	v.Fake().RehashCoordinators()
}

// retention removes what lies before some offset of a partition.
func (v *virtual) retention() {
	p := v.rng.Int32N(v.partitions)
	info := v.Fake().PartitionInfo(v.topic, p)
	if info == nil || info.HighWatermark <= info.LogStartOffset {
		return
	}
	before := info.LogStartOffset + 1 + v.rng.Int64N(info.HighWatermark-info.LogStartOffset)
	v.oracle.tell("retention removes what lies before %d of partition %d", before, p)
	v.oracle.removed(p, before)
	v.DeleteRecords(v.t, v.topic, p, before)
}

// link is a member's connection to the brokers. When it is cut, connections are reset and refused. (A network that swallows
// everything cannot be played in virtual time: kafka-go waits for answers with a mutex locked, which stops the clock.)
type link struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu    sync.Mutex
	conns map[net.Conn]bool
	down  bool
}

func (l *link) cut() {
	l.mu.Lock()
	l.down = true
	conns := slices.Collect(maps.Keys(l.conns))
	l.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
}

func (l *link) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}

func (l *link) connect(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := l.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		_ = conn.Close()
		return nil, errors.New("connection refused")
	}
	c := &linked{Conn: conn, link: l}
	l.conns[c] = true
	return c, nil
}

// linked is one connection.
type linked struct {
	net.Conn
	link *link
}

func (c *linked) Close() error {
	c.link.mu.Lock()
	delete(c.link.conns, c)
	c.link.mu.Unlock()
	return c.Conn.Close()
}

// journal reads what a member logs, one JSON object a line: it tells the oracle the member's id in the group, and what
// the member complains of.
type journal struct {
	oracle *oracle
	member string

	mu   sync.Mutex
	rest []byte
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.rest = append(j.rest, b...)
	for {
		line, rest, ok := bytes.Cut(j.rest, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		j.rest = rest
		j.line(line)
	}
}

func (j *journal) line(text []byte) {
	var l struct {
		Level, Msg, Member, Err, Reason string
		Generation                      int
		Partition                       any
	}
	if json.Unmarshal(text, &l, json.MatchCaseInsensitiveNames(true)) != nil {
		j.oracle.tell("%s: %s", j.member, text)
		return
	}
	if l.Msg == "session begins" {
		j.oracle.sessionBegins(l.Member, j.member)
	}
	if l.Level != "DEBUG" && l.Msg != "dead letter" {
		j.oracle.tell("%s: %s (generation %d) %s %s", j.member, l.Msg, l.Generation, l.Reason, l.Err)
	}
}
