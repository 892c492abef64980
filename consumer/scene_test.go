package consumer_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"signup-sheet/consumer"
	"signup-sheet/internal/kafkatest"
	"signup-sheet/internal/receiver"
	"signup-sheet/internal/receiver/receivertest"
	"signup-sheet/sink"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scene is what a conformance test plays on: a Kafka cluster with the topic and
// its dead-letter topic, and a sheet behind HTTP. Members of the group join it.
type scene struct {
	*kafkatest.Cluster
	sheet        *receiver.Receiver
	url          string
	topic, group string
	partitions   int32
}

// set prepares a scene on the brokers of the environment, or kfake.
func set(t *testing.T, partitions int32, opts ...kafkatest.Option) *scene {
	t.Helper()
	return setOn(t, kafkatest.Start(t, opts...), partitions)
}

// setVirtual prepares a scene in the bubble that the test runs in.
func setVirtual(t *testing.T, partitions int32, opts ...kafkatest.Option) *scene {
	t.Helper()
	return setOn(t, kafkatest.Start(t, append(opts, kafkatest.VirtualNetwork())...), partitions)
}

func setOn(t *testing.T, c *kafkatest.Cluster, partitions int32) *scene {
	t.Helper()
	s := &scene{Cluster: c, sheet: receiver.New(), topic: kafkatest.UniqueName(t), group: kafkatest.UniqueName(t), partitions: partitions}
	c.CreateTopic(t, s.topic, partitions, nil)
	c.CreateTopic(t, s.dlq(), 2, nil)
	if n := c.Network(); n != nil {
		l, err := n.Listen("tcp", "localhost:18080")
		if err != nil {
			t.Fatal(err)
		}
		s.url = receivertest.ServeOn(t, s.sheet, l)
	} else {
		s.url = receivertest.Serve(t, s.sheet)
	}
	return s
}

func (s *scene) dlq() string { return s.topic + ".dlq" }

// config is a member's, with short times.
func (s *scene) config() consumer.Config {
	return consumer.Config{
		Brokers: s.Addrs(), Topic: s.topic, Group: s.group,
		SessionTimeout: 10 * time.Second, HeartbeatInterval: time.Second, CommitInterval: time.Second, DrainTimeout: 7 * time.Second,
		Window: 4096, WindowBytes: 32 << 20, KeyOrder: true,
		DeadLetterTopic: s.dlq(),
		Columns:         sink.DefaultColumns(),
		Sink:            sink.Config{URL: s.url, Concurrency: 64, Timeout: 5 * time.Second, MaxAttempts: 12, MaxElapsed: 15 * time.Minute, DeadLetterBudget: 20, UserAgent: "signup-sheet/test", DialContext: s.DialContext()},
		DialContext:     s.DialContext(),
	}
}

// member is a consumer that runs in this process.
type member struct {
	*consumer.Consumer
	reg    *prometheus.Registry
	log    *logBook
	cancel context.CancelFunc
	done   chan struct{}
	err    error
	stall  time.Duration // what a limit allows for besides
}

// stall is how long a machine may stand still in real time: it is nobody's fault. Virtual time does not go on meanwhile.
func (s *scene) stall() time.Duration {
	if s.Network() != nil {
		return 0
	}
	return 4 * time.Second
}

// newMember makes a consumer that does not run yet.
func (s *scene) newMember(t *testing.T, tweaks ...func(*consumer.Config)) *member {
	t.Helper()
	cfg := s.config()
	for _, tweak := range tweaks {
		tweak(&cfg)
	}
	m := &member{reg: prometheus.NewRegistry(), log: &logBook{}, done: make(chan struct{}), stall: s.stall()}
	var err error
	if m.Consumer, err = consumer.New(cfg, m.reg, slog.New(slog.NewTextHandler(m.log, &slog.HandlerOptions{Level: slog.LevelDebug}))); err != nil {
		t.Fatal(err)
	}
	return m
}

// join starts a member. It is stopped when the test ends, if not before.
func (s *scene) join(t *testing.T, tweaks ...func(*consumer.Config)) *member {
	t.Helper()
	m := s.newMember(t, tweaks...)
	ctx, cancel := context.WithCancel(t.Context())
	m.cancel = cancel
	go func() {
		defer close(m.done)
		m.err = m.Run(ctx)
	}()
	t.Cleanup(func() {
		m.cancel()
		<-m.done
		if t.Failed() {
			t.Logf("log of a member:\n%s", m.log.tail(60))
		}
	})
	return m
}

// leave stops a member in order and waits for its end.
func (m *member) leave(t *testing.T) {
	t.Helper()
	m.cancel()
	<-m.done
	if m.err != nil {
		t.Fatalf("the member ended with %v", m.err)
	}
}

// await waits until cond holds, by a tick that is virtual in a bubble.
func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	awaitFor(t, time.Minute, what, cond)
}

func awaitFor(t *testing.T, limit time.Duration, what string, cond func() bool) {
	t.Helper()
	tick, end := time.NewTicker(20*time.Millisecond), time.After(limit)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// running waits until the member works on so many partitions.
func (m *member) running(t *testing.T, partitions int) {
	t.Helper()
	await(t, fmt.Sprintf("a session with %d partitions", partitions), func() bool {
		st := m.Status()
		return st.State == "running" && len(st.Partitions) == partitions
	})
}

// metric is the sum of a metric's series, those with a label value if one is
// given.
func (m *member) metric(t *testing.T, name string, label ...string) float64 {
	t.Helper()
	families, err := m.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	for _, f := range families {
		if f.GetName() != "signup_sheet_"+name {
			continue
		}
		for _, s := range f.GetMetric() {
			if len(label) > 0 && (len(s.GetLabel()) == 0 || s.GetLabel()[0].GetValue() != label[0]) {
				continue
			}
			sum += s.GetCounter().GetValue() + s.GetGauge().GetValue() + float64(s.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

// event is the value of a good signup.
func event(id string) []byte {
	return fmt.Appendf(nil, `{"id":%q,"email":"ann@example.com","name":"Ann Smith","plan":"pro","metadata":{"n":9007199254740993}}`, id)
}

// signups makes n records with ids prefix-0…, spread over the partitions, each
// key in one partition.
func (s *scene) signups(prefix string, n, keys int) []*kgo.Record {
	rs := make([]*kgo.Record, n)
	for i := range rs {
		key := i % keys
		rs[i] = &kgo.Record{
			Key: fmt.Appendf(nil, "key-%d", key), Value: event(fmt.Sprintf("%s-%d", prefix, i)), Partition: int32(key) % s.partitions,
		}
	}
	return rs
}

// publish makes and writes n signups.
func (s *scene) publish(t *testing.T, prefix string, n, keys int) []*kgo.Record {
	t.Helper()
	rs := s.signups(prefix, n, keys)
	s.Produce(t, s.topic, rs...)
	return rs
}

// delivered waits until the sheet has so many rows.
func (s *scene) delivered(t *testing.T, rows int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := s.sheet.Wait(ctx, func(st receiver.State) bool { return st.Rows >= rows }); err != nil {
		t.Fatalf("%d of %d rows: %v", s.sheet.State().Rows, rows, err)
	}
}

// committed waits until the committed offsets add up to n.
func (s *scene) committed(t *testing.T, n int64) {
	t.Helper()
	s.WaitCommitted(t, s.group, s.topic, func(got map[int32]kafkatest.Commit) bool {
		var sum int64
		for _, c := range got {
			sum += c.Offset
		}
		return sum == n
	})
}

// idOf reads the id of an event.
func idOf(value []byte) string {
	var e struct{ ID string }
	_ = json.Unmarshal(value, &e) // poison has none
	return e.ID
}

// judge requires that every record was accepted, in order per key, with at most
// so many acceptances too many.
func (s *scene) judge(t *testing.T, records []*kgo.Record, duplicates int) {
	t.Helper()
	place := map[string]int{}
	for i, e := range s.sheet.Accepted() {
		if _, again := place[e.EventID]; !again {
			place[e.EventID] = i
		}
	}
	var lost []string
	last := map[string]*kgo.Record{}
	slices.SortStableFunc(records, func(a, b *kgo.Record) int { return cmp.Compare(a.Offset, b.Offset) })
	for _, r := range records {
		id := idOf(r.Value)
		at, ok := place[id]
		if !ok {
			lost = append(lost, id)
			continue
		}
		if r.Key == nil {
			continue
		}
		key := fmt.Sprint(r.Partition, string(r.Key))
		if before := last[key]; before != nil && place[idOf(before.Value)] > at {
			t.Errorf("key %s: %s was accepted before %s", r.Key, id, idOf(before.Value))
		}
		last[key] = r
	}
	if len(lost) > 0 {
		t.Errorf("%d of %d records are lost: %v", len(lost), len(records), lost[:min(10, len(lost))])
	}
	if got := s.sheet.State().Duplicates(); got > duplicates {
		t.Errorf("%d duplicates, at most %d are explained", got, duplicates)
	}
}

// logBook keeps what a member logs.
type logBook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBook) has(words string) bool { return strings.Contains(l.String(), words) }

func (l *logBook) tail(lines int) string {
	all := strings.Split(l.String(), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
