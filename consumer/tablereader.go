package consumer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/fetch"
)

const (
	// tableWait is how long a broker keeps a fetch that finds nothing.
	tableWait = time.Second
	// tableFetch and tablePartition bound an answer, and one partition's part of it;
	// tableInflated is how much of it is inflated at a time. A batch that is larger comes
	// whole.
	tableFetch     = 4 << 20
	tablePartition = 1 << 20
	tableInflated  = 8 << 20
	// tableEmpty is how many answers without anything, one after the other, mean that
	// nothing comes, although the log ends later: what was there was removed.
	tableEmpty    = 3
	tablePauseMax = 15 * time.Second
	// tableCorrupt is how often a batch is asked for that cannot be read, before all
	// up to the log's end is given up.
	tableCorrupt = 5
)

// logStart is the position of a partition whose log has to be asked where it begins.
const logStart = -1

// tableReader reads all partitions of a table's topic, with one request per leader.
type tableReader struct {
	*Table
	began   time.Time
	records int // guarded by mu, as all that follows

	wake     chan struct{} // an answer came
	requests sync.WaitGroup

	mu         sync.Mutex
	partitions map[int32]*tableTail // nil until they are known
	leaders    map[int32]int32
	asked      map[int32]bool      // brokers that have a request of ours
	resting    map[int32]time.Time // brokers that throttle us, until when
	readBack   bool
}

// tableTail is how far one partition was read.
type tableTail struct {
	next      int64 // offset, or logStart
	target    int64 // where the log ended when it was looked at; -1 before
	back      bool  // target was reached
	empty     int   // answers without anything in a row
	faults    int   // in a row
	corrupt   int   // in a row
	asked     bool
	gone      bool // it may be another log by now
	notBefore time.Time
}

// restart makes the log be read from its start, wherever that is and whatever it is.
func (t *tableTail) restart() { t.next, t.target, t.empty, t.gone = logStart, -1, 0, t.asked }

func newTableReader(t *Table) *tableReader {
	return &tableReader{Table: t, began: time.Now(), wake: make(chan struct{}, 1), asked: map[int32]bool{}, resting: map[int32]time.Time{}}
}

// run reads until ctx ends, and returns when no request is under way.
func (r *tableReader) run(ctx context.Context) {
	defer r.requests.Wait()
	var looked time.Time
	for ctx.Err() == nil {
		if time.Since(looked) >= leadersTTL {
			info, err := r.reads.topic(ctx, r.cfg.Topic)
			if ctx.Err() != nil {
				return
			}
			r.learnPartitions(info, err)
			looked = time.Now()
		}
		pause := r.ask(ctx)
		select {
		case <-r.wake:
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// learnPartitions takes note of who leads. A topic that is gone may come again with other
// records: then it is read from its start.
func (r *tableReader) learnPartitions(info topicInfo, err error) {
	if err != nil {
		if errors.Is(err, kafka.UnknownTopicOrPartition) {
			r.mu.Lock()
			r.leaders = nil
			for _, t := range r.partitions {
				t.restart()
			}
			r.mu.Unlock()
		}
		if isDenied(err) {
			r.setReady()
		}
		r.unreadable(r.permission(err))
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leaders = info.leaders
	if r.partitions == nil {
		r.partitions = map[int32]*tableTail{}
	}
	for p := range info.leaders {
		if r.partitions[p] == nil {
			r.partitions[p] = &tableTail{next: logStart, target: -1}
		}
	}
	for p, leader := range info.leaders {
		if leader < 0 {
			r.unreadable(fmt.Errorf("partition %d has no leader", p))
			break
		}
	}
	for p, t := range r.partitions {
		if _, there := info.leaders[p]; !there && !t.asked {
			delete(r.partitions, p)
		}
	}
	r.review()
}

func (r *tableReader) permission(err error) error {
	if errors.Is(err, kafka.TopicAuthorizationFailed) {
		return fmt.Errorf("%w: allow READ on topic %s", err, r.cfg.Topic)
	}
	return err
}

// ask starts the requests that can be made now, and returns how long to wait for a reason
// to make another.
func (r *tableReader) ask(ctx context.Context) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, pause := time.Now(), leadersTTL
	want := map[int32][]fetch.RequestPartition{}
	for p, t := range r.partitions {
		leader, ok := r.leaders[p]
		if !ok || leader < 0 || t.asked || r.asked[leader] {
			continue
		}
		if until := maxTime(t.notBefore, r.resting[leader]); now.Before(until) {
			pause = min(pause, until.Sub(now))
			continue
		}
		want[leader] = append(want[leader], fetch.RequestPartition{
			Partition: p, CurrentLeaderEpoch: -1, FetchOffset: t.next, LogStartOffset: -1, PartitionMaxBytes: tablePartition,
		})
	}
	for leader, partitions := range want {
		r.asked[leader] = true
		for _, p := range partitions {
			r.partitions[p.Partition].asked = true
		}
		r.requests.Go(func() {
			r.request(ctx, leader, partitions)
			select {
			case r.wake <- struct{}{}:
			default:
			}
		})
	}
	return pause
}

// request makes one fetch and deals with its answer.
func (r *tableReader) request(ctx context.Context, leader int32, partitions []fetch.RequestPartition) {
	failed, rest := map[int32]error{}, time.Duration(0)
	known := partitions[:0:0]
	for _, p := range partitions {
		if p.FetchOffset == logStart {
			start, err := r.look(ctx, p.Partition)
			if err != nil {
				failed[p.Partition] = err
				continue
			}
			p.FetchOffset = start
		}
		known = append(known, p)
	}
	var answers map[int32]*fetchPartition
	if len(known) > 0 {
		res, err := r.fetch(ctx, known)
		for _, p := range known {
			failed[p.Partition] = err
		}
		if err == nil {
			rest = time.Duration(res.ThrottleTimeMs) * time.Millisecond
			answers = partsOf(res)
		}
	}
	full := false
	for _, a := range answers {
		full = full || len(a.RecordSet) > 0
	}
	for _, p := range known {
		if a := answers[p.Partition]; a != nil {
			failed[p.Partition] = r.answer(a, p.FetchOffset, full)
		} else if failed[p.Partition] == nil && !full { // what an answer has no room for, some brokers leave out
			failed[p.Partition] = errors.New("fetch: not in the answer")
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked[leader] = false
	if rest > 0 {
		r.resting[leader] = time.Now().Add(rest)
	}
	for _, p := range partitions {
		t := r.partitions[p.Partition]
		if t.asked = false; t.gone {
			t.restart()
		}
		if ctx.Err() == nil {
			r.judge(t, failed[p.Partition])
		}
	}
	if ctx.Err() == nil {
		r.review()
	}
}

// look asks where a partition's log begins, and where it ends, which is how far it is
// read back. Nobody has to wait for a log without records.
func (r *tableReader) look(ctx context.Context, partition int32) (start int64, err error) {
	if start, err = r.reads.listOffset(ctx, r.cfg.Topic, partition, earliest); err != nil {
		return 0, err
	}
	end, err := r.reads.listOffset(ctx, r.cfg.Topic, partition, latest)
	if err != nil {
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.partitions[partition]
	t.next, t.target = start, end
	if start >= end {
		t.back, t.faults = true, 0
		r.review()
	}
	return start, nil
}

// fetch makes one fetch request.
func (r *tableReader) fetch(ctx context.Context, partitions []fetch.RequestPartition) (*fetchResponse, error) {
	res, err := ask[*fetchResponse](ctx, r.reads, &fetch.Request{
		ReplicaID: -1, MaxWaitTime: int32(tableWait / time.Millisecond), MinBytes: 1, MaxBytes: tableFetch,
		IsolationLevel: readCommitted, SessionEpoch: -1,
		Topics: []fetch.RequestTopic{{Topic: r.cfg.Topic, Partitions: partitions}},
	}, tableWait+requestTimeout)
	if err == nil && res.ErrorCode != 0 {
		err = kafka.Error(res.ErrorCode)
	}
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	return res, nil
}

func partsOf(res *fetchResponse) map[int32]*fetchPartition {
	parts := map[int32]*fetchPartition{}
	for i := range res.Topics {
		for k := range res.Topics[i].Partitions {
			p := &res.Topics[i].Partitions[k]
			parts[p.Partition] = p
		}
	}
	return parts
}

// answer takes the records of one partition's part of an answer to a fetch from offset,
// and says where to go on. full says that the answer had something for somebody.
func (r *tableReader) answer(p *fetchPartition, offset int64, full bool) error {
	code := kafka.Error(p.ErrorCode)
	switch code {
	case 0:
	case kafka.OffsetOutOfRange, kafka.UnknownTopicOrPartition:
		// Retention was quicker, the log was cut, or it is another one.
		r.mu.Lock()
		r.partitions[p.Partition].gone = true
		r.mu.Unlock()
		r.reads.refresh()
		return fmt.Errorf("fetch: %w", code)
	default:
		// The leader moved, is gone, or will not talk to us.
		r.reads.refresh()
		return fmt.Errorf("fetch: %w", code)
	}
	records, next, err := parse(p, offset, tableInflated)
	for i := range records {
		r.metrics.read.WithLabelValues(r.take(&records[i])).Inc()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records += len(records)
	t := r.partitions[p.Partition]
	t.next = next
	switch {
	case err != nil:
		if t.corrupt++; t.corrupt < tableCorrupt || p.LastStableOffset <= next {
			return fmt.Errorf("fetch: %w", err)
		}
		r.log.Warn("a part of the shared topic cannot be read, and is passed over up to the log's end", "partition", p.Partition, "offset", next, "log_end", p.LastStableOffset, "err", err)
		t.next = p.LastStableOffset
	case next == offset && !full:
		t.empty++
	case next > offset:
		t.empty = 0
	}
	t.corrupt = 0
	t.back = t.back || t.next >= t.target || t.empty >= tableEmpty
	return nil
}

// take says what became of a record.
func (r *tableReader) take(rec *record) string {
	switch {
	case rec.value == nil:
		return tableTombstone
	case r.cfg.Take(rec.key, rec.value):
		return tableTaken
	}
	return tableForeign
}

// judge makes a partition with a fault wait before it is asked for again, longer each time.
func (r *tableReader) judge(t *tableTail, err error) {
	if err == nil {
		t.faults, t.notBefore = 0, time.Time{}
		return
	}
	t.faults++
	pause := min(fetchPause<<min(t.faults-1, 10), tablePauseMax)
	t.notBefore = time.Now().Add(pause/2 + rand.N(pause/2))
	if isDenied(err) {
		r.setReady()
	}
	r.unreadable(r.permission(err))
}

// review finds out whether all is well, and whether all was read back.
func (r *tableReader) review() {
	if len(r.partitions) == 0 {
		return
	}
	well, back := true, true
	for p, t := range r.partitions {
		leader, ok := r.leaders[p]
		well = well && ok && leader >= 0 && t.faults == 0
		back = back && t.back
	}
	if well {
		r.readable()
	}
	if back && !r.readBack {
		r.readBack = true
		r.metrics.readBack.Set(1)
		r.log.Info("read the shared topic", "records", r.records, "took", time.Since(r.began).Round(time.Millisecond))
		r.setReady()
	}
}
