package consumer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/createtopics"
	"github.com/segmentio/kafka-go/sasl"
)

const (
	// tablePatience is how long [Table.Ready] may take.
	tablePatience = 30 * time.Second
	// tableFlush is the time for what is still to be written when a table ends.
	tableFlush = time.Second
	// tableCompact and tableDelete are what a topic's cleanup.policy should be.
	tableCompact = "compact"
	tableDelete  = "delete"
)

// TableConfig is what a [Table] is told. All fields without a note are required.
type TableConfig struct {
	Brokers []string // host:port of some brokers of the cluster
	Topic   string
	Setting string // that names the topic, for logs and findings
	// Retention is how long records are kept in a topic that the table creates.
	Retention time.Duration
	// Take gets each record that has a value, those that this process wrote included, and
	// says whether it can use it. Those of one key come in their order. It is called by
	// several goroutines, and key and value are valid only while it runs.
	Take func(key, value []byte) bool

	// DialContext opens connections to brokers. nil: net.Dialer's.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// TLS and SASL are as in Config.
	TLS  func(ctx context.Context) (*tls.Config, error)
	SASL sasl.Mechanism
}

func (c TableConfig) dialer() *dialer {
	return newDialer(Config{DialContext: c.DialContext, TLS: c.TLS, SASL: c.SASL})
}

// Table is a compacted topic that processes share: what one of them puts there, all
// others get, and those that start later too. It keeps no records itself, has no group
// and commits nothing.
//
// It is for what is only worth having: nothing waits for it but those that wait for
// Ready, which is bounded, and it never fails. What cannot be written is dropped and
// counted, what cannot be read is missing.
type Table struct {
	cfg     TableConfig
	log     *slog.Logger
	metrics *tableMetrics
	dialer  *dialer
	reads   *cluster
	writes  *cluster // of their own: a fetch must not hold up what is written

	queue   chan kafka.Message
	once    sync.Once
	ready   chan struct{}
	reading trouble
	writing trouble
}

// NewTable prepares a table; Run does the work. Its metrics are registered with reg.
func NewTable(cfg TableConfig, reg prometheus.Registerer, log *slog.Logger) *Table {
	d := cfg.dialer()
	return &Table{
		cfg: cfg, log: log.With("setting", cfg.Setting, "topic", cfg.Topic), metrics: newTableMetrics(reg), dialer: d,
		reads:  newCluster(cfg.Brokers, clientID, d, cfg.Topic),
		writes: newCluster(cfg.Brokers, clientID, d, cfg.Topic),
		queue:  make(chan kafka.Message, tableQueue),
		ready:  make(chan struct{}),
	}
}

// Ready is closed when all that was in the topic when Run began has been read, or when
// that is not to be waited for: after 30 s, or as soon as it is certain that the topic
// cannot be had.
func (t *Table) Ready() <-chan struct{} { return t.ready }

func (t *Table) setReady() { t.once.Do(func() { close(t.ready) }) }

// Run creates the topic if it is missing, reads it from its start, goes on reading what
// comes, and writes what is put, until ctx ends. Then it takes at most a second more to
// write what waits.
func (t *Table) Run(ctx context.Context) {
	defer t.close()
	patience := time.AfterFunc(tablePatience, func() {
		select {
		case <-t.ready:
		default:
			t.log.Warn("the shared topic was not read in time: nothing waits for it any more, it is read meanwhile", "waited", tablePatience)
			t.setReady()
		}
	})
	defer patience.Stop()
	var parts sync.WaitGroup
	parts.Go(func() { t.write(ctx) })
	parts.Go(func() {
		if t.prepare(ctx) {
			parts.Go(func() { t.checkPolicy(ctx) })
			newTableReader(t).run(ctx)
		}
	})
	parts.Wait()
}

// close releases connections, and those that wait for Ready.
func (t *Table) close() {
	t.setReady()
	t.dialer.sever()
	t.reads.close()
	t.writes.close()
}

// prepare waits until the topic is there, and creates it if it is not; false when ctx
// ends first.
func (t *Table) prepare(ctx context.Context) bool {
	began, mayCreate := time.Now(), true
	for pause := 250 * time.Millisecond; ctx.Err() == nil; pause = min(2*pause, 10*time.Second) {
		_, err := t.reads.topic(ctx, t.cfg.Topic)
		if err == nil {
			t.readable()
			return true
		}
		missing := errors.Is(err, kafka.UnknownTopicOrPartition)
		if missing && mayCreate {
			var created bool
			created, err = t.reads.createTopic(ctx, t.cfg.topic())
			switch _, hopeless := errors.AsType[*SetupError](err); {
			case err == nil:
				if created {
					t.log.Info("created the shared topic", "partitions", 1, "cleanup_policy", tableCompact+","+tableDelete, "retention_ms", t.cfg.retention())
				}
				mayCreate = false // brokers may not know it at once
				t.reads.refresh()
				pause = min(pause, 500*time.Millisecond)
			case hopeless, isDenied(err):
				mayCreate = false
				if ctx.Err() == nil {
					t.log.Warn("cannot create the shared topic: until it is there, each process keeps to itself; create it with 1 partition, cleanup.policy=compact,delete and this retention.ms",
						"retention_ms", t.cfg.retention(), "err", err)
				}
			}
		}
		switch {
		case ctx.Err() != nil || err == nil:
		case isDenied(err) && !missing:
			t.setReady() // somebody has to act, which takes long
			t.unreadable(fmt.Errorf("%w: allow READ and WRITE on topic %s", err, t.cfg.Topic))
		case !missing:
			began = time.Now() // not heard yet, so not missing
			t.unreadable(err)
		case mayCreate:
			t.unreadable(err)
		case time.Since(began) >= topicPatience:
			t.setReady()
			t.unreadable(err)
		default:
			pause = min(pause, time.Second)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
	return false
}

// topic is what the table creates. One partition is enough for what is read as a whole.
func (c TableConfig) topic() newTopic {
	return newTopic{setting: c.Setting, name: c.Topic, partitions: 1, configs: []createtopics.RequestConfig{
		{Name: "cleanup.policy", Value: tableCompact + "," + tableDelete},
		{Name: "retention.ms", Value: c.retention()},
	}}
}

func (c TableConfig) retention() string { return strconv.FormatInt(c.Retention.Milliseconds(), 10) }

// checkPolicy says so if the topic grows with every record.
func (t *Table) checkPolicy(ctx context.Context) {
	policy, err := t.reads.topicConfig(ctx, t.cfg.Topic, "cleanup.policy")
	switch {
	case ctx.Err() != nil:
	case err != nil:
		t.log.Debug("cannot look up the shared topic's cleanup.policy, which should be compact,delete", "err", err)
	case !strings.Contains(policy, tableCompact):
		t.log.Warn("the shared topic is not compacted, so every start reads all that was ever written to it, and retention may remove what is still good: set its cleanup.policy to compact,delete, and its retention.ms to the one given here",
			"cleanup_policy", policy, "retention_ms", t.cfg.retention())
	}
}

// unreadable says that the topic cannot be read, if that lasts.
func (t *Table) unreadable(err error) {
	t.reading.begin(isDenied(err), func(since time.Time) {
		t.log.Log(context.Background(), severity(err), "cannot read the shared topic: trying again, nothing else waits for it", "since", since.UTC(), "err", err) //nolint:forbidigo // the log needs no context
	})
}

func (t *Table) readable() {
	t.reading.end(func(lasted time.Duration) {
		t.log.Info("the shared topic is read again", "lasted", lasted.Round(time.Second))
	})
}

// trouble keeps the log quiet about what heals by itself.
type trouble struct {
	mu          sync.Mutex
	since, said time.Time
}

// troubleAfter is how long it may last without a word.
const troubleAfter = 5 * time.Second

// begin calls say when the trouble has lasted for a moment, at once if it is urgent, and
// then once a minute.
func (t *trouble) begin(urgent bool, say func(since time.Time)) {
	t.mu.Lock()
	now := time.Now()
	if t.since.IsZero() {
		t.since = now
	}
	since := t.since
	loud := (urgent || now.Sub(since) >= troubleAfter) && now.Sub(t.said) >= time.Minute
	if loud {
		t.said = now
	}
	t.mu.Unlock()
	if loud {
		say(since)
	}
}

// end calls say if begin has.
func (t *trouble) end(say func(lasted time.Duration)) {
	t.mu.Lock()
	since, said := t.since, t.said
	t.since, t.said = time.Time{}, time.Time{}
	t.mu.Unlock()
	if !said.IsZero() {
		say(time.Since(since))
	}
}

// tableMetrics are a table's own.
type tableMetrics struct {
	read     *prometheus.CounterVec // result
	written  *prometheus.CounterVec // result
	readBack prometheus.Gauge
}

// What becomes of records of a table.
const (
	tableTaken     = "taken"
	tableForeign   = "foreign"
	tableTombstone = "tombstone"
	tableWritten   = "written"
	tableFailed    = "failed"
	tableDropped   = "dropped"
)

func newTableMetrics(reg prometheus.Registerer) *tableMetrics {
	m := &tableMetrics{
		read: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "signup_sheet_cache_topic_read_records_total",
			Help: "Records read from the cache topic, own ones included, by what they were: taken (an answer), foreign (not one of ours), tombstone.",
		}, []string{"result"}),
		written: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "signup_sheet_cache_topic_written_records_total",
			Help: "Records for the cache topic by what became of them: written (by all in-sync replicas), failed (given up after several tries), dropped (the queue was full, or the process ended).",
		}, []string{"result"}),
		readBack: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "signup_sheet_cache_topic_read_back",
			Help: "1 when all has been read that was in the cache topic at the start.",
		}),
	}
	for _, result := range []string{tableTaken, tableForeign, tableTombstone} {
		m.read.WithLabelValues(result)
	}
	for _, result := range []string{tableWritten, tableFailed, tableDropped} {
		m.written.WithLabelValues(result)
	}
	reg.MustRegister(m.read, m.written, m.readBack)
	return m
}
