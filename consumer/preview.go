package consumer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"signup-sheet/consumer/signup"
)

// Preview is what a replay would do, by what can be known without sending.
type Preview struct {
	Partitions []PartitionPreview // ascending
	// Rows are the first rows that would be sent, in the order in which they were
	// read: at most three, without ages. They are personal data.
	Rows [][]byte
}

// PartitionPreview counts what would become of the records of one partition.
type PartitionPreview struct {
	Partition    int32
	Rows         int64                  // would be sent; what the endpoint refuses of them is not known
	DeadLetters  map[signup.Class]int64 // poison
	Tombstones   int64
	OutsideRange int64
	Lost         int64 // offsets that retention removed while they were read
	Cut          bool  // see Progress.Cut
}

// previewRows is how many rows a preview shows.
const previewRows = 3

// Preview reads the whole range, whatever was replayed of it already, and sends
// nothing. It neither joins the group nor asks for ages. It returns nil and a cause
// when ctx ends first. Either Preview or Run is called, once.
func (c *Consumer) Preview(ctx context.Context) (*Preview, error) {
	defer c.close()
	// The dead-letter topic is not needed, and not created.
	if _, err := c.exists(ctx, c.data, wanted{"kafka.topic", c.cfg.Topic, "READ", nil}); err != nil {
		return nil, err
	}
	c.insist(ctx, func() error { return c.measure(ctx) })
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	windows := map[int32]*window{}
	for p, e := range c.extents {
		w := newWindow(p, 0, false, position{offset: e.first})
		w.end, w.only = e.end, c.cfg.Range
		windows[p] = w
	}
	return c.look(ctx, windows)
}

// look takes all records of the windows, as a session does, but only looks at them.
func (c *Consumer) look(ctx context.Context, windows map[int32]*window) (*Preview, error) {
	s := c.newSession(0, "", windows)
	p := &Preview{}
	found := map[int32]*PartitionPreview{}
	for partition := range windows {
		found[partition] = &PartitionPreview{Partition: partition, DeadLetters: map[signup.Class]int64{}, Cut: c.extents[partition].cut}
	}
	s.pool.limit = 1 // so that rows come in order, and counts need no lock
	s.pool.work = func(e *entry) {
		c.judge(p, found[e.window.partition], e)
		e.window.settle(e)
		s.fetcher.settled(e.window)
	}
	c.setSession(s)
	c.setState("reading", false)
	fetching, stop := context.WithCancel(ctx)
	var fetched sync.WaitGroup
	fetched.Go(func() { s.fetcher.run(fetching) })
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var err error
	for err == nil && !s.atEnd() {
		select {
		case <-tick.C:
		case <-s.stopped:
			err = s.reason
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	stop()
	s.pool.stop()
	fetched.Wait()
	s.pool.done.Wait()
	if err != nil {
		return nil, err
	}
	for partition, w := range windows {
		f := found[partition]
		f.OutsideRange, f.Lost = w.skipped, w.lost
		p.Partitions = append(p.Partitions, *f)
	}
	slices.SortFunc(p.Partitions, func(a, b PartitionPreview) int { return int(a.Partition - b.Partition) })
	return p, nil
}

// judge counts what would become of one record.
func (c *Consumer) judge(p *Preview, found *PartitionPreview, e *entry) {
	if e.value == nil {
		found.Tombstones++
		return
	}
	event, err := c.decode(e)
	if err != nil {
		class := signup.Undecodable
		if poison, ok := errors.AsType[*signup.Poison](err); ok {
			class = poison.Class
		}
		found.DeadLetters[class]++
		return
	}
	found.Rows++
	if len(p.Rows) < previewRows {
		p.Rows = append(p.Rows, c.rowOf(e, event, age{}).Body)
	}
}
