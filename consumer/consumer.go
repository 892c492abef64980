// Package consumer delivers the records of a Kafka topic as rows, and commits
// an offset only when every record below it was accepted, dead-lettered or
// skipped by a counted rule.
//
// The road of a record:
//
//	fetch ─▶ decode ─▶ enrich ─▶ map ─▶ deliver ─▶ settle ─▶ commit
//	            │                          │
//	            └── poison ─▶ dead letter ◀┘ refused
//
// fetcher.go takes records into a window (window.go); pool.go and session.go
// bring each down its road; committer.go commits the windows' watermarks; and
// membership.go gives a member its partitions, one session after the other.
package consumer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/segmentio/kafka-go/sasl"

	"signup-sheet/consumer/signup"
	"signup-sheet/sink"
)

// Config is what a consumer is told. All fields without a note are required.
type Config struct {
	Brokers []string // host:port of some brokers of the cluster
	Topic   string
	Group   string

	SessionTimeout    time.Duration // of the group membership
	HeartbeatInterval time.Duration
	CommitInterval    time.Duration // at most a third of SessionTimeout
	DrainTimeout      time.Duration // at least the sink's timeout

	Window      int   // unsettled records a partition
	WindowBytes int64 // for all assigned partitions
	KeyOrder    bool  // records of one key in offset order; false: in any order
	StartLatest bool  // where nothing was ever committed: at the log's end; false: at its start

	// Range makes it a replay; nil for all records, for ever. Group is then the
	// replay's own, and StartLatest does not count.
	Range            *Range
	DeadLetterTopic  string
	CreateDeadLetter bool // create DeadLetterTopic at the start if it does not exist
	// ForceDeadLetters are records that become dead letters without an attempt.
	ForceDeadLetters []Position
	Event            signup.Limits

	// Columns of the row, in order, as ParseColumns takes them.
	Columns []string
	// RawCells sends strings that a sheet would take for a formula as they are. Else
	// they are neutralised.
	RawCells bool
	// HashKey is the key of the columns' function hash. nil: no column has it.
	HashKey []byte
	// Sink is the webhook. Its Permit and Waiting are the consumer's to set.
	Sink sink.Config
	// Ages guesses ages; nil for rows without. It is not asked if no column has them.
	Ages Ages
	// RequireAges makes rows wait while ages are "unavailable". When that has been so
	// for AgesMaxWait, rows go without one until it ends.
	RequireAges bool
	AgesMaxWait time.Duration

	// DialContext opens connections to brokers. nil: net.Dialer's.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// TLS returns how to secure one connection to a broker, so that certificates
	// may change at any time. nil: no TLS.
	TLS func(ctx context.Context) (*tls.Config, error)
	// SASL logs in to brokers. nil: no login.
	SASL sasl.Mechanism
}

// Ages guesses the age that goes with a name. It takes a bounded time and never
// fails. status says where the age comes from ("hit", "miss") or why there is none
// ("unknown", "skipped", "unavailable": another time there may be one). waiting is
// called with 1 before it waits for an answer, and with -1 after.
type Ages interface {
	Age(ctx context.Context, name, countryID string, waiting func(delta int)) (age int, status string)
}

// Consumer is one member of the consumer group.
type Consumer struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics

	decoder  *signup.Decoder
	ages     Ages
	columns  *columns
	sink     *sink.Sink
	dead     *deadLetters
	lease    *lease
	holds    *holds
	outage   ageOutage
	makeRoom func(delta int) // waiting, as one value for all rows

	// Three sets of connections, because none may wait behind another's requests.
	dialer  *dialer
	data    *cluster // fetches
	control *cluster // commits and offsets
	letters *cluster // dead letters

	// What outlives a session; only Run's goroutine uses it.
	topic      topicID // that the rest speaks of
	memories   map[int32]*memory
	starts     map[int32]int64 // where sessions began that found no commit
	partitions int             // of the topic, when it was first looked at
	ofAll      int             // of the topic, when a session began
	recreated  bool            // the topic is not the one that was first looked at
	distrusted map[int32]bool  // partitions whose committed offset is of a log that was cut since

	mu      sync.Mutex
	session *session // nil between two
	joined  bool
	state   string
	stuck   stuck

	// Of a replay: what it reads, how far its group has come, and whether that is
	// all of it.
	extents                  map[int32]extent
	reachedAt                map[int32]int64
	buried                   map[int32]int64 // dead letters of a replay, as its commits say
	finished, finishedBefore bool
}

// New prepares a consumer; Run does the work. An error says what is wrong with
// the configuration.
func New(cfg Config, reg prometheus.Registerer, log *slog.Logger) (*Consumer, error) {
	c := &Consumer{
		cfg: cfg, log: log, ages: cfg.Ages, state: "starting",
		decoder: signup.NewDecoder(cfg.Event),
		lease:   newLease(), holds: newHolds(),
		memories: map[int32]*memory{}, starts: map[int32]int64{}, distrusted: map[int32]bool{},
		extents: map[int32]extent{}, reachedAt: map[int32]int64{}, buried: map[int32]int64{},
	}
	var err error
	if c.columns, err = newColumns(cfg, reg); err != nil {
		return nil, fmt.Errorf("sink.columns: %w", err)
	}
	if !c.columns.needAge() {
		c.ages = nil
	}
	c.makeRoom = c.waiting
	cfg.Sink.Permit, cfg.Sink.Waiting = c.lease, c.makeRoom
	if c.sink, err = sink.New(cfg.Sink, reg, log); err != nil {
		return nil, err
	}
	c.metrics = newMetrics(reg)
	c.dialer = newDialer(cfg)
	c.data = newCluster(cfg.Brokers, clientID, c.dialer, cfg.Topic)
	c.control = newCluster(cfg.Brokers, clientID, c.dialer, cfg.Topic)
	c.letters = newCluster(cfg.Brokers, clientID, c.dialer, cfg.DeadLetterTopic)
	c.dead = newDeadLetters(cfg, c.letters, c.lease, c.holds, c.makeRoom, log)
	reg.MustRegister(newGauges(c.Status))
	return c, nil
}

// clientID is what brokers know us by, in their logs and quotas.
const clientID = "signup-sheet"

// Run consumes until ctx ends, then drains and leaves the group: it returns nil
// within DrainTimeout and a moment. Before, it returns only with a *SetupError,
// for a configuration that cannot work. Faults of brokers and of the endpoint
// are waited out.
//
// A replay also ends when it is finished (see Progress), and with an error if its
// topic is deleted.
func (c *Consumer) Run(ctx context.Context) error {
	defer c.close()
	if err := c.check(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	if c.cfg.Range != nil && c.survey(ctx) {
		c.finish(true)
		return nil
	}
	for ctx.Err() == nil {
		err := c.member(ctx)
		switch {
		case errors.Is(err, errFinished):
			c.finish(false)
			return nil
		case !errors.Is(err, errTopicGone):
			return err
		case c.cfg.Range != nil:
			return c.topicLost()
		}
		c.log.Error("the topic does not exist any more: waiting until it is created again", "topic", c.cfg.Topic)
		c.setState("no topic", false)
		c.lease.forget()
		if !c.awaitTopic(ctx) {
			return nil
		}
	}
	return nil
}

// close releases connections.
func (c *Consumer) close() {
	c.setState("stopped", false)
	c.lease.forget()
	// First, so that nothing waits for a broker: whatever was waited for has been
	// answered, and what a drain left behind has had its time.
	c.dialer.sever()
	_ = c.dead.close()
	c.sink.Close()
	for _, k := range []*cluster{c.data, c.control, c.letters} {
		k.close()
	}
}

// waiting passes the word on a delivery's or a dead letter's own retry to the
// session's pool.
func (c *Consumer) waiting(delta int) {
	if s := c.current(); s != nil {
		s.pool.wait(delta)
	}
}

// forget drops what is known of the topic, because another one has its name now.
func (c *Consumer) forget() {
	c.log.Error("the topic was deleted and created again: reading it from its start", "topic", c.cfg.Topic)
	clear(c.memories)
	clear(c.starts)
	clear(c.distrusted)
	c.recreated = true
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.extents)
	clear(c.reachedAt)
	clear(c.buried)
}

// remember ends a session's window and keeps what the session learnt of the
// partition, unless it learnt nothing: also that its committed offset is not to be
// believed, until a commit was acknowledged.
func (c *Consumer) remember(w *window, acknowledged bool) {
	p, m := w.partition, w.close()
	if m != nil {
		c.memories[p] = m
	}
	switch {
	case w.stale:
		c.distrusted[p] = true
		delete(c.starts, p)
		c.dropExtent(p)
	case acknowledged:
		delete(c.distrusted, p)
	}
}

func (c *Consumer) current() *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

func (c *Consumer) setSession(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = s
}

func (c *Consumer) setState(state string, joined bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state, c.joined = state, joined
}
