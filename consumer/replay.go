package consumer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"
)

// Range makes a consumer a replay: it delivers the records of a time range and
// ends. A record's time is the producer's, or the broker's where the topic has
// LogAppendTime, in whole milliseconds.
//
// Each partition is read from the first record that is not older than From (Kafka's
// ListOffsets) to where its log ended when the replay began, and not to the first
// record of To: producers' clocks differ, so that records of the range may follow
// younger ones. What lies between and is not of the range is skipped and counted.
//
// Where a partition ends is part of its group's commits, so that all processes of a
// replay, and those that continue it, end at the same place.
type Range struct {
	From time.Time // inclusive
	To   time.Time // exclusive
}

// has reports whether a record of this time (Unix ms) is of the range.
func (r *Range) has(at int64) bool { return r.From.UnixMilli() <= at && at < r.To.UnixMilli() }

// Group returns the group of a replay of this range, beside the group that
// consumes the topic: "<group>.replay.<name>.<hash>", or without a name
// "<group>.replay.<hash>". The hash is of topic, From and To, so that a replay of
// another range never goes on from the position of this one, whatever its name.
func (r *Range) Group(group, topic, name string) string {
	sum := sha256.Sum256([]byte(topic + "\x00" + strconv.FormatInt(r.From.UnixMilli(), 10) + "\x00" + strconv.FormatInt(r.To.UnixMilli(), 10)))
	if name != "" {
		name += "."
	}
	return group + ".replay." + name + hex.EncodeToString(sum[:6])
}

// noEnd is the end of a partition that is read for ever.
const noEnd = int64(1<<63 - 1)

// extent is the part of a partition's log that a replay reads.
type extent struct {
	first, end int64
	// cut: the log begins with a record of the range or a younger one, so that
	// retention may have removed earlier ones of it.
	cut bool
}

// errFinished ends the session when there is nothing left to replay.
var errFinished = errors.New("the replay is finished")

// Progress is how far a replay has come. Done and Total count the offsets of all
// partitions between their starts and ends, whatever is at them, and also what
// other processes of the replay did. The rest is this process' own doing.
type Progress struct {
	Done, Total  int64
	Sent         int64
	DeadLettered int64
	// AllDeadLetters is how many there were in the whole replay, by what it has committed:
	// those of other processes, and of earlier ones, too. A few may count twice.
	AllDeadLetters int64
	Tombstones     int64
	OutsideRange   int64 // skipped because of the record's time
	Restored       int64 // not sent again, because they were known to be settled
	Lost           int64 // offsets that retention removed before they were read
	// Cut are the partitions whose log begins within the range or after it: what
	// retention removed before is not part of the replay.
	Cut []int32
	// Finished: all partitions are committed to their end. Before: they were already
	// when Run began, which did nothing.
	Finished, Before bool
}

// Progress returns the present state of a replay. It may be called at any time.
func (c *Consumer) Progress() Progress {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := Progress{
		Sent: value(c.metrics.delivered), Tombstones: value(c.metrics.skipped.WithLabelValues(skippedTombstone)),
		OutsideRange: value(c.metrics.skipped.WithLabelValues(skippedOutside)), Restored: value(c.metrics.restored),
		Lost: value(c.metrics.retentionLost), Finished: c.finished, Before: c.finishedBefore,
	}
	for _, class := range deadLetterClasses() {
		p.DeadLettered += value(c.metrics.deadLetters.WithLabelValues(class))
	}
	for _, partition := range slices.Sorted(maps.Keys(c.extents)) {
		e, at := c.extents[partition], c.reachedAt[partition]
		if c.session != nil && c.session.windows[partition] != nil {
			at = max(at, c.session.windows[partition].watermark())
		}
		p.Total += e.end - e.first
		p.Done += min(max(at, e.first), e.end) - e.first
		if e.cut {
			p.Cut = append(p.Cut, partition)
		}
	}
	for _, n := range c.buried {
		p.AllDeadLetters += n
	}
	p.AllDeadLetters = max(p.AllDeadLetters, p.DeadLettered) // a broker may refuse what commits say
	return p
}

// survey finds out what there is to replay, and reports whether it is finished
// already. It tries until it knows, or ctx ends.
func (c *Consumer) survey(ctx context.Context) (finished bool) {
	c.insist(ctx, func() error {
		id, err := c.control.topicID(ctx, c.cfg.Group, c.cfg.Topic)
		if err != nil {
			return err
		}
		// What is found out is of this topic: a session of another one begins anew.
		if id.differs(c.topic) {
			c.forget()
		}
		c.topic = id
		if finished, err = c.reached(ctx, id); err != nil || finished {
			return err
		}
		return c.measure(ctx)
	})
	return finished && ctx.Err() == nil
}

// insist asks until there is an answer, or ctx ends.
func (c *Consumer) insist(ctx context.Context, ask func() error) {
	var said time.Time
	for pause := 100 * time.Millisecond; ctx.Err() == nil; pause = min(2*pause, 2*time.Second) {
		err := ask()
		if err == nil {
			return
		}
		if ctx.Err() == nil && time.Since(said) >= 10*time.Second {
			said = time.Now()
			c.log.Log(ctx, severity(err), "cannot find out what there is to replay: trying again", "group", c.cfg.Group, "err", c.cfg.permission(err))
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// measure finds the extents of all partitions.
func (c *Consumer) measure(ctx context.Context) error {
	info, err := c.control.topic(ctx, c.cfg.Topic)
	if err != nil {
		return err
	}
	for _, p := range slices.Sorted(maps.Keys(info.leaders)) {
		if _, err := c.extent(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// extent returns what is to be read of a partition, found out when it is first
// asked. The end comes first: a record that is appended after that is beyond it.
func (c *Consumer) extent(ctx context.Context, partition int32) (extent, error) {
	c.mu.Lock()
	e, ok := c.extents[partition]
	c.mu.Unlock()
	if ok {
		return e, nil
	}
	at := make(map[int64]int64, 3)
	for _, t := range []int64{latest, earliest, c.cfg.Range.From.UnixMilli()} {
		offset, err := c.control.listOffset(ctx, c.cfg.Topic, partition, t)
		if err != nil {
			return extent{}, err
		}
		at[t] = offset
	}
	start := at[earliest]
	e = extent{first: at[c.cfg.Range.From.UnixMilli()], end: at[latest]}
	if e.first < 0 || e.first > e.end { // no record is young enough
		e.first = e.end
	}
	if e.cut = start > 0 && e.first <= start; e.cut {
		c.log.Warn("the log begins within the range or after it: what retention removed before is not part of the replay",
			"topic", c.cfg.Topic, "partition", partition, "log_start", start)
	}
	c.setExtent(partition, e)
	return e, nil
}

func (c *Consumer) setExtent(partition int32, e extent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.extents[partition] = e
}

// frozen returns where the replay of a partition begins and ends: where its
// commit says, or else where its extent does, and how many dead letters it has had.
// Without a replay it ends nowhere.
func (c *Consumer) frozen(ctx context.Context, partition int32, place uint32, committed position) (start position, end, letters int64, err error) {
	if c.cfg.Range == nil {
		return committed, noEnd, 0, nil
	}
	meta, err := decodeCompletions(committed.metadata, place, committed.offset)
	stated := err == nil && meta.ends
	e, err := c.extent(ctx, partition)
	if err == nil && !stated && committed.offset > e.end {
		// Of a process that began later, or of a longer log.
		c.dropExtent(partition)
		e, err = c.extent(ctx, partition)
	}
	switch {
	case err != nil:
		return position{}, 0, 0, err
	case stated:
		e.end, e.first = meta.end, min(e.first, meta.end)
		c.setExtent(partition, e)
	case committed.offset > e.end:
		c.metrics.beyondEnd.Inc()
		c.log.Error("the committed offset lies beyond the end of the log: the topic was recreated or cut; replaying the partition from the range's start",
			"topic", c.cfg.Topic, "partition", partition, "offset", committed.offset, "log_end", e.end)
		committed = position{offset: noOffset}
	}
	return committed, e.end, meta.letters, nil
}

func (c *Consumer) dropExtent(partition int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.extents, partition)
}

// reached asks how far the group has come in every partition of the topic, and
// reports whether that is all of it.
func (c *Consumer) reached(ctx context.Context, id topicID) (finished bool, err error) {
	info, err := c.control.topic(ctx, c.cfg.Topic)
	if err != nil {
		return false, err
	}
	committed, err := c.control.committed(ctx, c.cfg.Group, c.cfg.Topic, slices.Sorted(maps.Keys(info.leaders)))
	if errors.Is(err, kafka.GroupIdNotFound) {
		return false, nil // nobody has begun
	}
	if err != nil {
		return false, err
	}
	finished, later := c.compare(info, id, committed)
	for p, offset := range later {
		if !finished {
			break
		}
		end, err := c.control.listOffset(ctx, c.cfg.Topic, p, latest)
		if err != nil {
			return false, err
		}
		finished = finished && offset <= end // or else it is of another log
	}
	return finished, nil
}

// compare notes how far the commits are, and reports whether that is all of it. Later
// are the commits beyond the end that this process knows: those of a member with a
// later one, if they do not say where they end.
func (c *Consumer) compare(info topicInfo, id topicID, committed map[int32]position) (finished bool, later map[int32]int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	finished, later = true, map[int32]int64{}
	for p, pos := range committed {
		meta, err := decodeCompletions(pos.metadata, place(info.clusterID, c.cfg.Topic, p), pos.offset)
		earlier := err == nil && meta.topic != 0 && id.short() != 0 && meta.topic != id.short()
		if pos.offset == noOffset || earlier {
			finished = false
			continue
		}
		c.reachedAt[p] = pos.offset
		e, known := c.extents[p]
		if err != nil || !meta.ends {
			// A broker that refuses metadata.
			finished = finished && known && pos.offset >= e.end
			if known && pos.offset > e.end {
				later[p] = pos.offset
			}
			continue
		}
		c.buried[p] = meta.letters
		if known {
			e.end, e.first = meta.end, min(e.first, meta.end)
			c.extents[p] = e
		}
		finished = finished && pos.offset >= meta.end
	}
	return finished, later
}

// reach notes how far the group has come in a partition.
func (c *Consumer) reach(partition int32, offset int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reachedAt[partition] = offset
}

// awaitEnd ends the session when every partition of the topic is committed up to
// its end, those of other members too: one of them may still leave its partitions
// to us.
func (s *session) awaitEnd(ctx context.Context) {
	said, failed := false, 0
	for {
		select {
		case <-time.After(min(s.c.cfg.CommitInterval, time.Second)):
		case <-ctx.Done():
			return
		}
		finished, err := s.c.reached(ctx, s.committer.topic)
		switch {
		case ctx.Err() != nil:
			return
		case finished:
			s.stop(errFinished)
			return
		case err != nil:
			if failed++; failed == 1 || failed%60 == 0 {
				s.log.Log(ctx, severity(err), "cannot ask how far the replay is: trying again", "err", s.c.cfg.permission(err))
			}
		case !said && len(s.windows) > 0 && s.atEnd():
			said = true
			s.log.Info("nothing is left to do for this process: waiting until all partitions are committed to their end")
		}
	}
}

// atEnd reports whether all windows of the session are settled to their end.
func (s *session) atEnd() bool {
	for _, w := range s.windows {
		if w.watermark() < w.end {
			return false
		}
	}
	return true
}

// finish notes that a replay has come to its end.
func (c *Consumer) finish(before bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.finished, c.finishedBefore = true, before
	for p, e := range c.extents {
		c.reachedAt[p] = e.end
	}
}

// topicLost is the end of a replay whose topic was deleted.
func (c *Consumer) topicLost() error {
	return fmt.Errorf("replay of topic %s: %w", c.cfg.Topic, errTopicGone)
}
