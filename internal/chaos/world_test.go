package chaos_test

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"signup-sheet/internal/kafkatest"
	"signup-sheet/internal/receiver"
)

// sinkTimeout is the members' sink.timeout.
const sinkTimeout = 2 * time.Second

// world is what a run is played on: a Kafka cluster, the webhook, agify, and who watches them.
type world struct {
	*kafkatest.Cluster
	rng          *rand.Rand
	oracle       *oracle
	webhook      *webhook
	agify        *agify
	topic, group string
	partitions   int32
	hookURL      string // a member's name follows
	agifyURL     string
	refs         int
}

func newWorld(t *testing.T, c *kafkatest.Cluster, seed uint64, lease time.Duration) *world {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	w := &world{
		Cluster: c, rng: rng, oracle: newOracle(lease, !c.Real()), agify: &agify{rng: rand.New(rand.NewPCG(seed, 2))},
		topic: kafkatest.UniqueName(t), group: kafkatest.UniqueName(t), partitions: 2 + rng.Int32N(4),
	}
	w.webhook = &webhook{oracle: w.oracle, rng: rand.New(rand.NewPCG(seed, 3)), weather: calm(), refuse: map[string]bool{}}
	if rng.IntN(2) == 0 {
		w.webhook.usual = 60 * time.Millisecond
	}
	c.CreateTopic(t, w.topic, w.partitions, nil)
	// Stamped by the broker, which so tells when it had a dead letter.
	c.CreateTopic(t, w.dlq(), 2, map[string]string{"message.timestamp.type": "LogAppendTime"})
	w.hookURL = "http://" + w.serve(t, w.webhook, 18080) + "/"
	w.agifyURL = "http://" + w.serve(t, w.agify, 18081)
	return w
}

func (w *world) dlq() string { return w.topic + ".dlq" }

// serve serves HTTP until the test ends, at a port of the virtual network or at any.
func (w *world) serve(t *testing.T, h http.Handler, port int) (address string) {
	t.Helper()
	listen := net.Listen
	address = "127.0.0.1:0"
	if n := w.Network(); n != nil {
		listen, address = n.Listen, "localhost:"+strconv.Itoa(port)
	}
	l, err := listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	var busy sync.WaitGroup
	server := &http.Server{Handler: http.HandlerFunc(func(res http.ResponseWriter, req *http.Request) {
		busy.Add(1)
		defer busy.Done()
		h.ServeHTTP(res, req)
	})}
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		_ = server.Close()
		served.Wait()
		busy.Wait()
	})
	return l.Addr().String()
}

// publish writes n records of all kinds. Some of their keys are used often, so that chains get long.
func (w *world) publish(t *testing.T, n int) {
	t.Helper()
	records, kgos := make([]record, n), make([]*kgo.Record, n)
	for i := range records {
		w.refs++
		r := record{ref: "r" + strconv.Itoa(w.refs), kind: good, spot: spot{partition: w.rng.Int32N(w.partitions)}}
		if w.rng.IntN(10) > 0 {
			key := w.rng.IntN(4)
			if w.rng.IntN(2) == 0 {
				key = w.rng.IntN(200)
			}
			r.key = fmt.Appendf(nil, "key-%d", key)
		}
		if w.rng.IntN(2) == 0 {
			r.id = "id of " + r.ref // not safe in a header
		}
		value := w.value(&r)
		records[i], kgos[i] = r, &kgo.Record{Key: r.key, Value: value, Partition: r.partition}
	}
	w.write(t, records, kgos)
}

// trickle writes a good record to each partition.
func (w *world) trickle(t *testing.T) {
	t.Helper()
	records, kgos := make([]record, w.partitions), make([]*kgo.Record, w.partitions)
	for i := range records {
		w.refs++
		records[i] = record{ref: "r" + strconv.Itoa(w.refs), kind: good, spot: spot{partition: int32(i)}}
		kgos[i] = &kgo.Record{Value: goodValue(&records[i]), Partition: int32(i)}
	}
	w.write(t, records, kgos)
}

func (w *world) write(t *testing.T, records []record, kgos []*kgo.Record) {
	t.Helper()
	w.Produce(t, w.topic, kgos...)
	for i := range records {
		records[i].offset = kgos[i].Offset
	}
	w.oracle.published(records...)
}

// value makes the record's value, and decides of which kind it is.
func (w *world) value(r *record) []byte {
	switch w.rng.IntN(60) {
	case 0:
		r.kind, r.id = poison, ""
		return fmt.Appendf(nil, `{"email":"ann@example.com","name":"An`)
	case 1:
		r.kind = tombstone
		return nil
	case 2:
		r.kind = refused
		w.webhook.mu.Lock()
		w.webhook.refuse[r.ref] = true
		w.webhook.mu.Unlock()
	}
	return goodValue(r)
}

func goodValue(r *record) []byte {
	id := ""
	if r.id != "" {
		id = fmt.Sprintf(`"id":%q,`, r.id)
	}
	return fmt.Appendf(nil, `{%s"email":"ann@example.com","name":"Name%d Smith","metadata":{"ref":%q}}`, id, len(r.ref)*7+int(r.ref[len(r.ref)-1]), r.ref)
}

// refOf reads what value wrote.
func refOf(row receiver.Row) string {
	var m struct {
		Ref string `json:"ref"`
	}
	_ = json.Unmarshal(row.Get("metadata"), &m) // then it is nobody's
	return m.Ref
}

// letters reads the dead-letter topic.
func (w *world) letters(t *testing.T) {
	t.Helper()
	for _, r := range w.ReadAll(t, w.dlq()) {
		var at spot
		for _, h := range r.Headers {
			switch h.Key {
			case "__connect.errors.partition":
				n, _ := strconv.ParseInt(string(h.Value), 10, 32)
				at.partition = int32(n)
			case "__connect.errors.offset":
				at.offset, _ = strconv.ParseInt(string(h.Value), 10, 64)
			}
		}
		w.oracle.lettered(at, r.Timestamp)
	}
}

// allDone waits until everything that was published is committed; not to get there is a stall. Signups go on to come
// meanwhile, one a second to each partition: they show whether the endpoint takes rows.
func (w *world) allDone(t *testing.T, limit time.Duration) bool {
	t.Helper()
	ends := w.EndOffsets(t, w.topic)
	var got map[int32]kafkatest.Commit
	done := func() bool {
		got = w.Committed(t, w.group, w.topic)
		for partition, end := range ends {
			if end > 0 && got[partition].Offset < end {
				return false
			}
		}
		return true
	}
	var next time.Time
	if within(limit, func() bool {
		if done() {
			return true
		}
		if time.Now().After(next) {
			next = time.Now().Add(time.Second)
			w.trickle(t)
		}
		return false
	}) {
		ends = w.EndOffsets(t, w.topic)
		if within(limit, done) {
			return true
		}
	}
	for partition, end := range ends {
		w.oracle.tell("stalled: partition %d is committed to %d of %d", partition, got[partition].Offset, end)
	}
	return false
}

// within waits until something holds, and tells whether it did in time.
func within(limit time.Duration, holds func() bool) bool {
	tick, end := time.NewTicker(100*time.Millisecond), time.NewTimer(limit)
	defer tick.Stop()
	defer end.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-end.C:
			return false
		}
	}
	return true
}

// pause lets time pass.
func pause(d time.Duration) { <-time.After(d) }

// commitsIn reads a commit request.
func (w *world) commitsIn(req *kmsg.OffsetCommitRequest, landed bool, only ...int32) (commits []commit) {
	for _, topic := range req.Topics {
		for _, p := range topic.Partitions {
			if topic.Topic != w.topic || len(only) > 0 && only[0] != p.Partition {
				continue
			}
			c := commit{memberID: req.MemberID, partition: p.Partition, offset: p.Offset, landed: landed}
			if p.Metadata != nil {
				c.done = completions(*p.Metadata)
			}
			commits = append(commits, c)
		}
	}
	return commits
}

// completions reads a commit's metadata by its wire format: base64 of version, place, topic, base offset, time, runs as
// distance from the end of the one before and length, checksum.
func completions(metadata string) (runs []run) {
	b, err := base64.RawURLEncoding.DecodeString(metadata)
	if err != nil || len(b) < 13 || b[0] != 1 {
		return nil
	}
	b = b[9 : len(b)-4]
	number := func() int64 {
		v, n := binary.Uvarint(b)
		b = b[max(n, 0):]
		return int64(v)
	}
	end := number() // base
	number()        // time
	for len(b) > 0 {
		from := end + number()
		end = from + number()
		runs = append(runs, run{from, end})
	}
	return runs
}

// watch notes what comes to kfake as commits, and which of them land. Faults of commits that are injected later must be
// followed by a call of what it returns, or commits that they refuse count as landed.
func (w *world) watch() (again func()) {
	w.Fake().ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.oracle.committed(w.commitsIn(req.(*kmsg.OffsetCommitRequest), false)...)
		return nil, nil, false
	})
	faults := make([]kfake.Fault, w.partitions)
	for p := range w.partitions {
		// Asked when the coordinator has found nothing wrong with the member and its generation.
		faults[p] = kfake.Fault{
			Keys: []kmsg.Key{kmsg.OffsetCommit}, Group: w.group, Topic: w.topic, Partitions: []int32{p}, Observe: true, Count: -1,
			When: func(req kmsg.Request) bool {
				w.oracle.committed(w.commitsIn(req.(*kmsg.OffsetCommitRequest), true, p)...)
				return false
			},
		}
	}
	handle := w.Fake().Fault(faults...)
	return func() {
		handle.Remove()
		handle = w.Fake().Fault(faults...)
	}
}
