package consumer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
)

const (
	partitionWatch = 5 * time.Second // how soon added partitions are found
	joinBackoff    = 500 * time.Millisecond
	// shortGeneration is how long one lasts at least that is not taken for a part
	// of a row of failures.
	shortGeneration = time.Second
	leaveTimeout    = time.Second // for leaving the group; then connections are severed
)

// member takes part in the group until ctx ends, one session a generation. It
// leaves with errTopicGone if the topic was deleted, and with errFinished when a
// replay is.
func (c *Consumer) member(ctx context.Context) error {
	d := newDialer(c.cfg)
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: c.cfg.Group, Brokers: c.cfg.Brokers, Topics: []string{c.cfg.Topic},
		Dialer:         &kafka.Dialer{ClientID: clientID, DialFunc: d.DialContext, Timeout: dialTimeout},
		SessionTimeout: c.cfg.SessionTimeout, HeartbeatInterval: c.cfg.HeartbeatInterval,
		// Others wait for our drain in a rebalance.
		RebalanceTimeout: c.cfg.DrainTimeout + 10*time.Second,
		JoinGroupBackoff: joinBackoff + rand.N(joinBackoff),
		GroupBalancers:   []kafka.GroupBalancer{kafka.RangeGroupBalancer{}, kafka.RoundRobinGroupBalancer{}},
		// Ends the generation when partitions are added.
		WatchPartitionChanges: true, PartitionWatchInterval: partitionWatch,
	})
	if err != nil {
		return fmt.Errorf("join group %s: %w", c.cfg.Group, err)
	}
	var id string // ours in the group, once it is known
	leave := func(release chan struct{}) { c.leave(ctx, group, d, id, release) }

	c.setState("joining", false)
	faults, short := 0, 0
	for ctx.Err() == nil {
		gen, err := group.Next(ctx)
		if err != nil {
			// The group tries again by itself. Being asked to join anew is no fault.
			if ctx.Err() == nil && !errors.Is(err, kafka.RebalanceInProgress) {
				if faults++; faults == 1 || faults%30 == 0 {
					c.log.Log(ctx, severity(err), "cannot join the group: trying again", "group", c.cfg.Group, "err", c.cfg.permission(explain(err)))
				}
				c.setState("joining", false)
			}
			continue
		}
		faults, id = 0, gen.MemberID
		began := time.Now()
		release, reason, err := c.generation(ctx, gen)
		if gone := errors.Is(reason, errTopicGone) || errors.Is(reason, errLogReplaced); gone && c.topic == (topicID{}) {
			c.forget() // with an id the next session sees whether it is another topic
		}
		switch {
		case ctx.Err() != nil:
			leave(release)
			return err
		case errors.Is(reason, errTopicGone), errors.Is(reason, errFinished):
			leave(release)
			return reason
		}
		c.setState("rebalancing", true)
		// kafka-go joins again at once, also when its watcher cannot look at the
		// topic: as long as that lasts, one generation after the other ends as soon
		// as it begins.
		if short++; time.Since(began) >= shortGeneration {
			short = 0
		} else if short > 2 {
			select {
			case <-time.After(joinBackoff << min(short-3, 2)):
			case <-ctx.Done():
				leave(release)
				return nil
			}
		}
		close(release) // ends the generation; the group joins the next one
	}
	leave(nil)
	return nil
}

// generation runs the session of one generation until the group rebalances, the
// session ends by itself or ctx ends. It returns the reason, and what to close
// to let the generation go: until then the group's heartbeats go on, or, in a
// rebalance, the group waits.
func (c *Consumer) generation(ctx context.Context, gen *kafka.Generation) (release chan struct{}, reason, err error) {
	release = make(chan struct{})
	alive, end := context.WithCancelCause(ctx)
	defer end(nil)
	// kafka-go ends the generation as soon as any function that it runs returns,
	// and joins the next one when all have: so there is one, which only waits.
	gen.Start(func(g context.Context) {
		select {
		case <-g.Done():
		case <-release:
			return
		}
		end(errRebalance)
		select {
		case <-release:
		case <-time.After(c.cfg.DrainTimeout + 10*time.Second):
			c.log.Error("the session did not end in time for the rebalance: the group goes on without it")
		}
	})
	// Without its topic the group would go from one generation to the next, each
	// of them ended at once by kafka-go's watcher. So this is asked whether or not
	// the generation is still alive, and before resolve, which is only while it is.
	if _, err := c.control.topicID(ctx, c.cfg.Group, c.cfg.Topic); errors.Is(err, kafka.UnknownTopicOrPartition) {
		return release, errTopicGone, nil
	}
	windows, err := c.resolve(alive, gen)
	if err != nil {
		return release, err, nil
	}
	c.metrics.rebalances.Inc()
	partitions := make([]int32, 0, len(windows))
	for p := range windows {
		partitions = append(partitions, p)
	}
	slices.Sort(partitions)
	c.log.Info("session begins", "group", gen.GroupID, "generation", gen.ID, "member", gen.MemberID, "partitions", partitions)

	c.sink.SetShare(float64(len(windows)) / float64(max(1, c.ofAll)))
	s := c.newSession(gen.ID, gen.MemberID, windows)
	c.setSession(s)
	c.setState("running", true)
	defer context.AfterFunc(alive, func() {
		if ctx.Err() != nil {
			c.setState("draining", true)
			s.stop(errShutdown)
			return
		}
		s.stop(context.Cause(alive))
	})()
	err = s.run(context.WithoutCancel(ctx))
	c.setSession(nil)
	return release, s.reason, err
}

// leave leaves the group, so that its partitions go to others at once.
//
// kafka-go leaves too, but only when it is not about to join: it waits for the
// answer to a JoinGroup, which comes when all others have drained, and if a
// rebalance was on when the session ended, it would even join once more first.
// So we leave for it, by the member's id: a JoinGroup under way or to come then
// fails at once, as that of a stranger. A generation that is still held is let
// go only when the group knows that it is closing, or it would join as a new
// member.
func (c *Consumer) leave(ctx context.Context, group *kafka.ConsumerGroup, d *dialer, member string, release chan struct{}) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	closed := make(chan struct{})
	go func() {
		_ = group.Close() // always nil
		close(closed)
	}()
	for {
		if _, err := group.Next(ctx); errors.Is(err, kafka.ErrGroupClosed) {
			break
		}
	}
	if member != "" {
		if err := c.control.leave(ctx, c.cfg.Group, member); err != nil {
			c.log.Debug("leaving the group by hand did not succeed", "err", err)
		}
	}
	if release != nil {
		close(release)
	}
	select {
	case <-closed:
	case <-ctx.Done():
		c.log.Warn("leaving the group takes too long: cutting the connections; the group notices after kafka.session_timeout")
	}
	d.sever()
	<-closed
}

// resolve finds where to begin in each assigned partition and what is known to
// be settled beyond. It asks until it has an answer for all of them, and never
// takes an error for "nothing committed".
func (c *Consumer) resolve(ctx context.Context, gen *kafka.Generation) (map[int32]*window, error) {
	var assigned []int32
	for _, a := range gen.Assignments[c.cfg.Topic] {
		assigned = append(assigned, int32(a.ID))
	}
	if len(assigned) == 0 {
		return nil, nil
	}
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		windows, err := c.positions(ctx, assigned)
		if err == nil || errors.Is(err, errTopicGone) {
			return windows, err
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		c.log.Log(ctx, severity(err), "cannot find out where to begin: trying again", "generation", gen.ID, "err", c.cfg.permission(err))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (c *Consumer) positions(ctx context.Context, assigned []int32) (map[int32]*window, error) {
	// Asked first: what is asked later is of this topic, or of a younger one, and
	// then the first commit's probe ends the session.
	id, err := c.control.topicID(ctx, c.cfg.Group, c.cfg.Topic)
	if errors.Is(err, kafka.UnknownTopicOrPartition) {
		return nil, fmt.Errorf("%w: %w", errTopicGone, err)
	}
	if err != nil {
		return nil, err
	}
	if id.differs(c.topic) {
		c.forget()
	}
	c.topic = id
	info, err := c.control.topic(ctx, c.cfg.Topic)
	if err != nil {
		return nil, err
	}
	for _, p := range assigned {
		if _, ok := info.leaders[p]; !ok {
			c.control.refresh()
			return nil, fmt.Errorf("partition %d is assigned but not in the metadata yet", p)
		}
	}
	c.ofAll = len(info.leaders)
	if c.partitions == 0 {
		c.partitions = len(info.leaders)
	}
	committed, err := c.control.committed(ctx, c.cfg.Group, c.cfg.Topic, assigned)
	if err != nil {
		return nil, err
	}
	known := map[int32][]completions{}
	for _, p := range assigned {
		if c.distrusted[p] {
			committed[p] = position{offset: noOffset}
			continue
		}
		committed[p], known[p] = c.known(p, place(info.clusterID, c.cfg.Topic, p), committed[p])
	}
	windows := make(map[int32]*window, len(assigned))
	for _, p := range assigned {
		at := place(info.clusterID, c.cfg.Topic, p)
		start, end, letters, err := c.frozen(ctx, p, at, committed[p])
		if err != nil {
			return nil, err
		}
		if start.offset == noOffset {
			if start.offset, err = c.beginning(ctx, p); err != nil {
				return nil, err
			}
			known[p] = c.remembered(p, start.offset)
		}
		w := newWindow(p, at, c.cfg.KeyOrder, start, known[p]...)
		w.topic, w.end, w.letters, w.only = id.short(), end, letters, c.cfg.Range
		if start.metadata == "" {
			w.committed.metadata = w.completions(start.offset).encode(at, maxMetadata)
		}
		windows[p] = w
	}
	return windows, nil
}

// beginning is where to start in a partition without a committed offset. The
// end of the log is right only for a partition that has nothing to do with us
// yet: one that was added while we run, or whose commits went with a topic that
// was recreated, holds records that nobody has seen. It is looked up once: a
// session that ended before its first commit leaves its start to the next one.
func (c *Consumer) beginning(ctx context.Context, partition int32) (int64, error) {
	if c.cfg.Range != nil {
		e, err := c.extent(ctx, partition)
		return e.first, err
	}
	if start, ok := c.starts[partition]; ok {
		return start, nil
	}
	end := int64(earliest)
	if c.cfg.StartLatest && !c.recreated && !c.distrusted[partition] && int(partition) < c.partitions {
		end = latest
	}
	start, err := c.data.listOffset(ctx, c.cfg.Topic, partition, end)
	if err == nil {
		c.starts[partition] = start
	}
	return start, err
}

// known returns the committed position to start from and what is believed to be
// settled above it: by its metadata, and by what this process saw itself. A
// commit that speaks of an earlier topic of the same name is none: noOffset.
// Metadata that is not believed is left out of the position.
func (c *Consumer) known(partition int32, place uint32, committed position) (start position, known []completions) {
	if committed.offset == noOffset {
		return position{offset: noOffset}, nil
	}
	meta, err := decodeCompletions(committed.metadata, place, committed.offset)
	switch id := c.topic.short(); {
	case err != nil:
		committed.metadata = ""
		c.metrics.metadataIgnored.WithLabelValues(ignoredBecause(err)).Inc()
		c.log.Warn("the commit's metadata is ignored: what it lists is delivered again", "partition", partition, "offset", committed.offset, "err", err)
	case id != 0 && meta.topic != 0 && meta.topic != id:
		c.metrics.metadataIgnored.WithLabelValues("recreated").Inc()
		c.log.Error("the committed offset is of an earlier topic of this name: reading the partition from its start", "topic", c.cfg.Topic, "partition", partition, "offset", committed.offset)
		c.recreated = true
		return position{offset: noOffset}, nil
	case len(meta.done) > 0:
		known = append(known, meta)
	}
	return committed, append(known, c.remembered(partition, committed.offset)...)
}

// remembered returns what this process saw settled itself above a position.
func (c *Consumer) remembered(partition int32, offset int64) []completions {
	if m := c.memories[partition]; m != nil {
		if own, ok := m.at(offset); ok && len(own.done) > 0 {
			return []completions{own}
		}
	}
	return nil
}

// ignoredBecause is the metric's word for why metadata is ignored.
func ignoredBecause(err error) string {
	switch {
	case errors.Is(err, errMetadataCorrupt):
		return "corrupt"
	case errors.Is(err, errMetadataPlace):
		return "place"
	case errors.Is(err, errMetadataBase):
		return "base"
	default:
		return "foreign"
	}
}
