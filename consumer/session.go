package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"signup-sheet/consumer/signup"
	"signup-sheet/sink"
)

// session is what a member does between two rebalances: it takes the records of
// its partitions, delivers them and commits. Three kinds of goroutines belong to
// it, and run waits for all of them: the fetcher, the committer, and the pool's
// workers.
type session struct {
	c          *Consumer
	generation int32
	member     string
	windows    map[int32]*window
	fetcher    *fetcher
	committer  *committer
	pool       *pool
	log        *slog.Logger

	stopOnce sync.Once
	stopped  chan struct{} // closed by stop
	reason   error         // why; set before stopped is closed
}

// Why a session is stopped from outside.
var (
	errRebalance = errors.New("rebalance")
	errShutdown  = errors.New("shutdown")
)

// newSession prepares the work on windows in one generation of the group.
func (c *Consumer) newSession(generation int32, member string, windows map[int32]*window) *session {
	s := &session{
		c: c, generation: generation, member: member, windows: windows,
		log:     c.log.With("generation", generation),
		stopped: make(chan struct{}),
	}
	s.pool = newPool(c.cfg.Sink.Concurrency)
	s.fetcher = &fetcher{
		cfg: c.cfg, cluster: c.data, windows: windows,
		share:   c.cfg.WindowBytes / int64(max(1, len(windows))),
		deliver: s.pool.submit, end: s.stop, metrics: c.metrics, log: s.log,
		wake:  make(chan struct{}, 1),
		tails: map[int32]*tail{}, asked: map[int32]int{}, resting: map[int32]time.Time{},
	}
	for p := range windows {
		s.fetcher.tails[p] = &tail{high: -1}
	}
	s.committer = &committer{
		cfg: c.cfg, cluster: c.control, generation: generation, member: member, topic: c.topic, windows: windows,
		lease: c.lease, end: s.stop, metrics: c.metrics, log: s.log,
		acked: map[int32]position{}, plain: map[int32]bool{},
	}
	return s
}

// stop ends the session for a reason; the first one counts.
func (s *session) stop(reason error) {
	s.stopOnce.Do(func() {
		s.reason = reason
		close(s.stopped)
	})
}

// lastCommit is what the last commit has of its own, should the deliveries use
// up the whole drain timeout.
const lastCommit = 500 * time.Millisecond

// run works until the session is stopped, then drains: nothing new is fetched
// or begun, what is queued is dropped, attempts under way are finished, and what
// they settled is committed, all within the drain timeout. Commits go on
// meanwhile: they keep the member in the group.
func (s *session) run(ctx context.Context) error {
	deliveries, stopDeliveries := context.WithCancelCause(ctx)
	fetching, stopFetching := context.WithCancel(ctx)
	committing, stopCommitting := context.WithCancel(ctx)
	defer stopDeliveries(nil)
	defer stopFetching()
	defer stopCommitting()
	s.pool.work = func(e *entry) { s.process(deliveries, e) } // before anything is submitted

	if len(s.windows) == 0 {
		s.c.lease.forget()
	}
	var fetched, committed sync.WaitGroup
	drained := make(chan struct{})
	committed.Go(func() { s.committer.run(committing, drained) })
	if len(s.windows) > 0 {
		fetched.Go(func() { s.fetcher.run(fetching) })
	}
	if s.c.cfg.Range != nil {
		fetched.Go(func() { s.awaitEnd(fetching) })
	}

	<-s.stopped
	began := time.Now()
	drain, cancel := context.WithTimeout(ctx, s.c.cfg.DrainTimeout)
	defer cancel()
	defer context.AfterFunc(drain, stopCommitting)()
	s.pool.stop()
	stopDeliveries(s.reason)
	stopFetching()
	workers := make(chan struct{})
	go func() { s.pool.done.Wait(); close(workers) }()
	select {
	case <-workers:
	case <-drain.Done():
		s.log.Error("deliveries did not end within consumer.drain_timeout: they are left behind, and may be delivered again", "deliveries", s.pool.state().busy)
	}
	fetched.Wait()
	close(drained)
	committed.Wait()
	var err error
	if !isLost(s.reason) {
		last, cancel := context.WithDeadline(ctx, began.Add(s.c.cfg.DrainTimeout+lastCommit))
		defer cancel()
		err = s.committer.last(last)
	}
	s.c.lease.end()
	for partition, w := range s.windows {
		acked, acknowledged := s.committer.acked[partition]
		s.c.remember(w, acknowledged)
		if acknowledged {
			s.c.reach(partition, acked.offset)
		}
	}
	s.log.Info("session ended", "reason", s.reason, "drain", time.Since(began).Round(time.Millisecond), "err", err)
	if errors.Is(s.reason, errShutdown) && err != nil && !isLost(err) {
		return fmt.Errorf("last commit: %w", err)
	}
	return nil
}

// isLost reports whether err says that committing is of no use, or would do harm.
func isLost(err error) bool {
	return errors.Is(err, errFenced) || errors.Is(err, errTopicGone) || errors.Is(err, errLogReplaced)
}

// process takes one record down its road, and settles it if it came to an end.
func (s *session) process(ctx context.Context, e *entry) {
	err := s.c.road(ctx, e)
	if err != nil {
		return // stopped: the next session begins with it
	}
	s.c.metrics.latency.Observe(time.Since(time.UnixMilli(e.time)).Seconds())
	if follower := e.window.settle(e); follower != nil {
		s.pool.submit(follower)
	}
	s.fetcher.settled(e.window)
}

// road is a record's: decode, enrich, map, deliver; or a dead letter, if it can
// never be a row. nil means that it is done and can be settled. An error means
// that ctx ended first.
func (c *Consumer) road(ctx context.Context, e *entry) error {
	if e.value == nil {
		c.metrics.skipped.WithLabelValues(skippedTombstone).Inc()
		return nil
	}
	event, err := c.decode(e)
	if err != nil {
		e.prepared.Store(true)
		return c.bury(ctx, e, c.poison(e, err))
	}
	row, err := c.row(ctx, e, event)
	e.prepared.Store(true)
	if err != nil {
		return err
	}
	if slices.Contains(c.cfg.ForceDeadLetters, Position{e.window.partition, e.offset}) {
		return c.bury(ctx, e, c.forced(e, row))
	}
	err = c.sink.Deliver(ctx, row)
	if why, ok := errors.AsType[*sink.GivenUp](err); ok {
		return c.bury(ctx, e, c.givenUp(e, row, why))
	}
	if err != nil {
		return err
	}
	c.metrics.delivered.Inc()
	return nil
}

func (c *Consumer) decode(e *entry) (*signup.Signup, error) {
	s, err := c.decoder.Decode(signup.Record{
		Topic: c.cfg.Topic, Partition: e.window.partition, Offset: e.offset, Time: time.UnixMilli(e.time), Headers: e.headers, Value: e.value,
	})
	if err != nil {
		return nil, err
	}
	if s.EmailTrimmed {
		c.metrics.trimmed.Inc()
	}
	return s, nil
}

// row enriches a signup and maps it.
func (c *Consumer) row(ctx context.Context, e *entry, s *signup.Signup) (sink.Row, error) {
	age, err := c.requiredAge(ctx, s)
	if err != nil {
		return sink.Row{}, err
	}
	return c.rowOf(e, s, age), nil
}

// rowOf maps a record, its signup and an age to the columns.
func (c *Consumer) rowOf(e *entry, s *signup.Signup, age age) sink.Row {
	row := c.columns.row(e.window.partition, &e.record, s, age)
	row.Place = [2]int64{int64(e.window.partition), e.offset}
	if parent := e.header("traceparent"); parent != nil {
		row.TraceParent, row.TraceState = string(parent), string(e.header("tracestate"))
	}
	return row
}

// poison is the dead letter of a record that cannot be decoded or validated.
func (c *Consumer) poison(e *entry, err error) *letter {
	l := &letter{record: e.record, partition: e.window.partition, stage: "decode", class: "decode", reason: err.Error(), failed: time.Now()}
	if p, ok := errors.AsType[*signup.Poison](err); ok {
		l.class, l.eventID = string(p.Class), p.EventID
	}
	return l
}

// givenUp is the dead letter of a row that the endpoint does not take.
func (c *Consumer) givenUp(e *entry, row sink.Row, why *sink.GivenUp) *letter {
	return &letter{record: e.record, partition: e.window.partition, stage: "deliver", class: why.Class, reason: why.Error(), eventID: row.EventID, givenUp: why, failed: time.Now()}
}

// forced is the dead letter of a row that an operator gives up.
func (c *Consumer) forced(e *entry, row sink.Row) *letter {
	return &letter{record: e.record, partition: e.window.partition, stage: "deliver", class: sink.ClassExhausted, reason: "given up by dead_letter.force", eventID: row.EventID, failed: time.Now()}
}

// bury writes a dead letter.
func (c *Consumer) bury(ctx context.Context, e *entry, l *letter) error {
	if err := c.dead.write(ctx, l); err != nil {
		return err
	}
	e.window.bury()
	c.metrics.deadLetters.WithLabelValues(l.class).Inc()
	c.log.Warn("dead letter", "class", l.class, "reason", l.reason, "partition", l.partition, "offset", l.offset, "event_id", signup.HeaderID(l.eventID))
	return nil
}
