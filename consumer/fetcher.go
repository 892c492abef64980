package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/fetch"
)

const (
	// fetchWait is how long a broker keeps a fetch that finds nothing.
	fetchWait = 500 * time.Millisecond
	// fetchPartitionBytes and fetchBytes bound one partition's part of an answer
	// and all of it. A batch that is larger comes whole.
	fetchPartitionBytes = 256 << 10
	fetchBytes          = 2 << 20
	// idleFetches are the requests to one broker for partitions whose end was
	// reached: another can be asked for while one is being waited for. Those that are
	// known to have more are asked for beside them, or a backlog would wait for what
	// is yet to be written.
	idleFetches      = 2
	fetchesPerBroker = 3
	fetchPause       = 250 * time.Millisecond // after a fault of one partition or broker
	fetchPauseMax    = 2 * time.Second
	leadersTTL       = time.Second
	endTTL           = 10 * time.Second // how old the known end of a log may get while nothing is fetched
	readCommitted    = 1                // isolation level
)

// fetcher keeps the windows of a session filled, with requests per leader.
type fetcher struct {
	cfg     Config
	cluster *cluster
	windows map[int32]*window
	share   int64 // bytes for each window
	deliver func(...*entry)
	end     func(error) // ends the session
	metrics *metrics
	log     *slog.Logger

	wake   chan struct{} // an answer came, or a window has room
	hungry atomic.Bool   // a window had no room when it was last looked at

	mu       sync.Mutex
	tails    map[int32]*tail
	asked    map[int32]int       // requests under way, by broker
	resting  map[int32]time.Time // brokers that throttle us, until when
	denied   time.Time           // when it was last said that the topic may not be read
	requests sync.WaitGroup
}

// tail is what the fetcher knows of one partition.
type tail struct {
	asked     bool // a request for it is under way
	notBefore time.Time
	faults    int
	high      int64     // last stable offset: where the log ends for us
	heard     time.Time // when high was heard, or asked for
	warned    time.Time
}

// run fetches until ctx ends, and returns when no request is under way.
func (f *fetcher) run(ctx context.Context) {
	defer f.requests.Wait()
	var leaders map[int32]int32
	var asked time.Time
	for ctx.Err() == nil {
		if time.Since(asked) >= leadersTTL {
			info, err := f.cluster.topic(ctx, f.cfg.Topic)
			switch {
			case errors.Is(err, kafka.UnknownTopicOrPartition):
				f.end(errTopicGone)
				return
			case err != nil && leaders == nil:
				if ctx.Err() == nil {
					f.log.Log(ctx, severity(err), "cannot look up the topic's leaders", "topic", f.cfg.Topic, "err", f.cfg.permission(err))
				}
			case err == nil:
				leaders = info.leaders
			}
			asked = time.Now()
		}
		pause := f.ask(ctx, leaders)
		select {
		case <-f.wake:
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// poke makes run look again: a window has room.
func (f *fetcher) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// settled tells that a record of w was settled, which may have made room.
func (f *fetcher) settled(w *window) {
	if !f.hungry.Load() {
		return
	}
	if _, room := w.room(f.cfg.Window, f.share); room {
		f.poke()
	}
}

// ask starts the requests that can be made now, and returns how long to wait
// for a reason to make another.
func (f *fetcher) ask(ctx context.Context, leaders map[int32]int32) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, pause := time.Now(), leadersTTL
	// Set before the windows are looked at, so that what makes room meanwhile
	// wakes run once more.
	f.hungry.Store(true)
	full := false
	want := map[int32][]fetch.RequestPartition{}
	for partition, w := range f.windows {
		t := f.tails[partition]
		leader, ok := leaders[partition]
		if t.asked || !ok || leader < 0 || f.asked[leader] >= fetchesPerBroker {
			continue
		}
		if until := maxTime(t.notBefore, f.resting[leader]); now.Before(until) {
			pause = min(pause, until.Sub(now))
			continue
		}
		next, room := w.room(f.cfg.Window, f.share)
		if next >= w.end {
			continue
		}
		if !room {
			full = true
			if now.Sub(t.heard) >= endTTL {
				t.heard = now
				f.requests.Go(func() { f.lookUpEnd(ctx, partition, t) })
			}
			continue
		}
		if next >= t.high && f.asked[leader] >= idleFetches {
			continue
		}
		want[leader] = append(want[leader], fetch.RequestPartition{
			Partition: partition, CurrentLeaderEpoch: -1, FetchOffset: next, LogStartOffset: -1, PartitionMaxBytes: fetchPartitionBytes,
		})
	}
	f.hungry.Store(full)
	for leader, partitions := range want {
		f.asked[leader]++
		for _, p := range partitions {
			f.tails[p.Partition].asked = true
		}
		f.requests.Go(func() {
			f.request(ctx, leader, partitions)
			f.poke()
		})
	}
	return pause
}

// lookUpEnd asks where a log ends that is not being fetched, or its lag would
// stand still during an outage.
func (f *fetcher) lookUpEnd(ctx context.Context, partition int32, t *tail) {
	end, err := f.cluster.listOffset(ctx, f.cfg.Topic, partition, latest)
	if err != nil {
		return // asked again in a while
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	t.high = max(t.high, end)
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// request makes one fetch and deals with its answer.
func (f *fetcher) request(ctx context.Context, leader int32, partitions []fetch.RequestPartition) {
	res, err := ask[*fetchResponse](ctx, f.cluster, &fetch.Request{
		ReplicaID: -1, MaxWaitTime: int32(fetchWait / time.Millisecond), MinBytes: 1, MaxBytes: fetchBytes,
		IsolationLevel: readCommitted, SessionEpoch: -1,
		Topics: []fetch.RequestTopic{{Topic: f.cfg.Topic, Partitions: partitions}},
	}, fetchWait+requestTimeout)
	answered, full := map[int32]bool{}, false
	if err == nil && res.ErrorCode != 0 {
		err = kafka.Error(res.ErrorCode)
	}
	if err == nil {
		for _, t := range res.Topics {
			for i := range t.Partitions {
				p := &t.Partitions[i]
				if offset, ok := asked(partitions, p.Partition); ok {
					answered[p.Partition] = true
					full = full || len(p.RecordSet) > 0
					f.answer(ctx, f.windows[p.Partition], p, offset)
				}
			}
		}
	}
	if ctx.Err() != nil {
		err = nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked[leader]--
	if res != nil && res.ThrottleTimeMs > 0 {
		f.resting[leader] = time.Now().Add(time.Duration(res.ThrottleTimeMs) * time.Millisecond)
	}
	for _, p := range partitions {
		t := f.tails[p.Partition]
		t.asked = false
		// What an answer has no room for, some brokers leave out.
		if !answered[p.Partition] && !full && ctx.Err() == nil {
			f.fault(t, p.Partition, fmt.Errorf("fetch: %w", orMissing(err)))
		}
	}
}

func orMissing(err error) error {
	if err == nil {
		return errors.New("not in the answer")
	}
	return err
}

// asked returns the offset that a partition was asked for from.
func asked(partitions []fetch.RequestPartition, partition int32) (offset int64, ok bool) {
	for _, p := range partitions {
		if p.Partition == partition {
			return p.FetchOffset, true
		}
	}
	return 0, false
}

// answer deals with one partition's part of an answer to a fetch from offset.
func (f *fetcher) answer(ctx context.Context, w *window, p *fetchPartition, offset int64) {
	var err error
	switch code := kafka.Error(p.ErrorCode); code {
	case 0:
		err = f.take(w, p, offset)
	case kafka.OffsetOutOfRange:
		err = f.outOfRange(ctx, w, offset)
	case kafka.UnknownTopicOrPartition:
		f.end(errTopicGone)
		return
	default:
		// The leader moved, is gone, or will not talk to us.
		f.cluster.refresh()
		err = fmt.Errorf("fetch: %w", code)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.tails[p.Partition]
	if err != nil {
		f.fault(t, p.Partition, err)
		return
	}
	t.faults, t.notBefore = 0, time.Time{}
	if p.ErrorCode == 0 {
		t.high, t.heard = p.LastStableOffset, time.Now()
	}
}

// take puts the records of an answer into the window.
func (f *fetcher) take(w *window, p *fetchPartition, offset int64) error {
	records, next, err := parse(p, offset, f.share)
	got := w.take(records, next, f.cfg.Window, f.share)
	f.metrics.consumed.Add(float64(got.records))
	f.metrics.restored.Add(float64(got.restored))
	f.metrics.skipped.WithLabelValues(skippedOutside).Add(float64(got.skipped))
	if got.ignored > 0 {
		f.metrics.metadataIgnored.WithLabelValues("record").Add(float64(got.ignored))
		f.log.Warn("what is known of settled records does not fit this log, and is ignored: they are delivered again", "partition", w.partition, "offset", offset)
	}
	f.deliver(got.ready...)
	if err != nil {
		f.metrics.fetchErrors.WithLabelValues("corrupt").Inc()
	}
	return err
}

// outOfRange finds out on which side of the log the position lies, and moves
// it: to the log's start in both cases. Records that retention removed are
// counted as lost. A log that ended before the position is another log than it
// was (a recreated topic) or was cut (an unclean election): it is read from its
// start, because skipping is the one thing that must not happen. It may have
// grown past the position since the broker refused it.
func (f *fetcher) outOfRange(ctx context.Context, w *window, offset int64) error {
	start, err := f.cluster.listOffset(ctx, f.cfg.Topic, w.partition, earliest)
	if err != nil {
		return err
	}
	end, err := f.cluster.listOffset(ctx, f.cfg.Topic, w.partition, latest)
	if err != nil {
		return err
	}
	if offset < start {
		lost := w.jump(start)
		f.metrics.retentionGaps.Inc()
		f.metrics.retentionLost.Add(float64(lost))
		f.log.Error("retention removed records before they were delivered: raise the topic's retention.ms or retention.bytes, or find out why delivery is behind",
			"topic", f.cfg.Topic, "partition", w.partition, "offset", offset, "log_start", start, "lost", lost)
		return nil
	}
	f.log.Error("the position lies beyond the end of the log: the topic was recreated or cut; reading it from its start",
		"topic", f.cfg.Topic, "partition", w.partition, "offset", offset, "log_start", start, "log_end", end)
	f.metrics.beyondEnd.Inc()
	if !w.restart(start) {
		f.end(errLogReplaced)
	}
	return nil
}

// fault makes a partition wait before it is asked for again, longer each time,
// and says so at most every half a minute.
func (f *fetcher) fault(t *tail, partition int32, err error) {
	t.faults++
	pause := min(fetchPause<<min(t.faults-1, 10), fetchPauseMax)
	t.notBefore = time.Now().Add(pause)
	f.metrics.fetchErrors.WithLabelValues("request").Inc()
	warned := &t.warned
	if isDenied(err) {
		warned = &f.denied // it is for all partitions alike
	}
	if time.Since(*warned) < 30*time.Second {
		return
	}
	*warned = time.Now()
	level := severity(err)
	if t.faults > 8 {
		level = slog.LevelError
	}
	f.log.Log(context.Background(), level, "cannot fetch: trying again", "topic", f.cfg.Topic, "partition", partition, "err", f.cfg.permission(err)) //nolint:forbidigo // the log needs no context
}

// high returns where a partition's log ends, as last heard; -1 before.
func (f *fetcher) high(partition int32) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tails[partition].high
}
