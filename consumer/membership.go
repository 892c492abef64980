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
	leaveTimeout   = 3 * time.Second // for leaving the group; then connections are severed
)

// member takes part in the group until ctx ends, one session a generation. It
// leaves with errTopicGone if the topic was deleted.
func (c *Consumer) member(ctx context.Context) error {
	d := newDialer(c.cfg.DialContext)
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
	leave := func(release chan struct{}) { c.leave(ctx, group, d, release) }

	c.setState("joining", false)
	faults := 0
	for ctx.Err() == nil {
		gen, err := group.Next(ctx)
		if err != nil {
			// The group tries again by itself. Being asked to join anew is no fault.
			if ctx.Err() == nil && !errors.Is(err, kafka.RebalanceInProgress) {
				if faults++; faults == 1 || faults%30 == 0 {
					c.log.Warn("cannot join the group: trying again", "group", c.cfg.Group, "err", explain(err))
				}
				c.setState("joining", false)
			}
			continue
		}
		faults = 0
		release, reason, err := c.generation(ctx, gen)
		switch {
		case ctx.Err() != nil:
			leave(release)
			return err
		case errors.Is(reason, errTopicGone):
			leave(release)
			return errTopicGone
		}
		c.setState("rebalancing", true)
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

// leave leaves the group, so that its partitions go to others at once. A
// generation that is still held is let go only when the group knows that it is
// closing, or it would join once more.
func (c *Consumer) leave(ctx context.Context, group *kafka.ConsumerGroup, d *dialer, release chan struct{}) {
	ctx = context.WithoutCancel(ctx)
	closed := make(chan struct{})
	go func() {
		_ = group.Close() // always nil
		close(closed)
	}()
	if release != nil {
		for {
			if _, err := group.Next(ctx); errors.Is(err, kafka.ErrGroupClosed) {
				break
			}
		}
		close(release)
	}
	select {
	case <-closed:
	case <-time.After(leaveTimeout):
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
		c.log.Warn("cannot find out where to begin: trying again", "generation", gen.ID, "err", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (c *Consumer) positions(ctx context.Context, assigned []int32) (map[int32]*window, error) {
	info, err := c.control.topic(ctx, c.cfg.Topic)
	if errors.Is(err, kafka.UnknownTopicOrPartition) {
		return nil, fmt.Errorf("%w: %w", errTopicGone, err)
	}
	if err != nil {
		return nil, err
	}
	for _, p := range assigned {
		if _, ok := info.leaders[p]; !ok {
			c.control.refresh()
			return nil, fmt.Errorf("partition %d is assigned but not in the metadata yet", p)
		}
	}
	if c.partitions == 0 {
		c.partitions = len(info.leaders)
	}
	committed, err := c.control.committed(ctx, c.cfg.Group, c.cfg.Topic, assigned)
	if err != nil {
		return nil, err
	}
	windows := make(map[int32]*window, len(assigned))
	for _, p := range assigned {
		id := place(info.clusterID, c.cfg.Topic, p)
		start := committed[p]
		if start.offset == noOffset {
			start = position{}
			if start.offset, err = c.data.listOffset(ctx, c.cfg.Topic, p, c.beginning(p)); err != nil {
				return nil, err
			}
		}
		windows[p] = newWindow(p, id, c.cfg.KeyOrder, start, c.known(p, id, start)...)
	}
	for p := range windows {
		c.seen[p] = true
	}
	return windows, nil
}

// beginning is where to start in a partition without a committed offset. The
// end of the log is right only for a partition that has nothing to do with us
// yet: one that was added while we run, or whose commits went with a topic that
// was recreated, holds records that nobody has seen.
func (c *Consumer) beginning(partition int32) int64 {
	if c.cfg.StartLatest && !c.seen[partition] && int(partition) < c.partitions {
		return latest
	}
	return earliest
}

// known returns what is believed to be settled above a committed position: by
// its metadata, and by what this process saw itself.
func (c *Consumer) known(partition int32, id uint32, start position) []completions {
	var known []completions
	switch meta, err := decodeCompletions(start.metadata, id, start.offset); {
	case err != nil:
		c.metrics.metadataIgnored.WithLabelValues(ignoredBecause(err)).Inc()
		c.log.Warn("the commit's metadata is ignored: what it lists is delivered again", "partition", partition, "offset", start.offset, "err", err)
	case len(meta.done) > 0:
		known = append(known, meta)
	}
	if m := c.memories[partition]; m != nil {
		if own, ok := m.at(start.offset); ok && len(own.done) > 0 {
			known = append(known, own)
		}
	}
	return known
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
