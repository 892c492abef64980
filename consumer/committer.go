package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/offsetcommit"
)

// maxCommitMetadata bounds the metadata of one commit request, in bytes: a
// broker refuses the whole request if it does not fit one append.
const maxCommitMetadata = 256 << 10

// committer commits the windows' watermarks, alone and over connections of its
// own. Each acknowledged commit renews the member's lease, and keeps it in the
// group while heartbeats have stopped for a rebalance, so there is one on every
// tick, even if nothing moved.
type committer struct {
	cfg        Config
	cluster    *cluster
	generation int32
	member     string
	topic      topicID // whose log the windows are of
	windows    map[int32]*window
	lease      *lease
	end        func(error) // ends the session
	metrics    *metrics
	log        *slog.Logger

	acked    map[int32]position
	plain    map[int32]bool // partitions whose metadata the broker finds too large
	failing  int
	lastSaid time.Time
}

// Why a session ended that did not end by a rebalance or a stop.
var (
	errFenced      = errors.New("the group has gone on without this member")
	errTopicGone   = errors.New("the topic does not exist any more")
	errLogReplaced = errors.New("the log is another one than it was")
)

// run commits at once and then on every tick until drained is closed or ctx
// ends. It retries soon after a failure. A commit under way when drained is
// closed is waited for: abandoned, it could still reach the broker, over another
// connection than the last commit and after it, and move the offset back.
func (c *committer) run(ctx context.Context, drained <-chan struct{}) {
	if len(c.windows) == 0 {
		return
	}
	for {
		wait := c.cfg.CommitInterval
		if err := c.commit(ctx); err != nil {
			if ctx.Err() != nil || c.fatal(err) {
				return
			}
			wait = min(wait, 250*time.Millisecond<<min(c.failing, 3))
		}
		select {
		case <-time.After(wait):
		case <-drained:
			return
		case <-ctx.Done():
			return
		}
	}
}

// last commits once more when all deliveries have ended, and tries until ctx
// ends.
func (c *committer) last(ctx context.Context) error {
	if len(c.windows) == 0 {
		return nil
	}
	for {
		err := c.commit(ctx)
		if err == nil || c.fatal(err) {
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// fatal reports whether there is no use in trying again, and ends the session
// then.
func (c *committer) fatal(err error) bool {
	if !isLost(err) {
		return false
	}
	c.end(err)
	return true
}

// commit sends one commit of what moved, or of one partition if nothing did.
func (c *committer) commit(ctx context.Context) error {
	timeout := c.cfg.SessionTimeout / 3
	if err := c.probe(ctx, timeout); err != nil {
		return c.failed(err)
	}
	limit := min(maxMetadata, maxCommitMetadata/len(c.windows))
	sent := make(map[int32]position, len(c.windows))
	var idle int32
	for partition, w := range c.windows {
		pos := w.position(limit)
		if c.plain[partition] {
			pos.metadata = ""
		}
		if old, ok := c.acked[partition]; !ok || old != pos {
			sent[partition] = pos
		} else {
			idle = partition
			w.acknowledged() // the broker has it already
		}
	}
	if len(sent) == 0 {
		sent[idle] = c.acked[idle]
	}
	req := &offsetcommit.Request{
		GroupID: c.cfg.Group, GenerationID: c.generation, MemberID: c.member, RetentionTimeMs: -1,
		Topics: []offsetcommit.RequestTopic{{Name: c.cfg.Topic}},
	}
	for partition, pos := range sent {
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, offsetcommit.RequestPartition{
			PartitionIndex: partition, CommittedOffset: pos.offset, CommittedLeaderEpoch: -1, CommittedMetadata: pos.metadata,
		})
	}
	slices.SortFunc(req.Topics[0].Partitions, func(a, b offsetcommit.RequestPartition) int { return int(a.PartitionIndex - b.PartitionIndex) })
	at := time.Now()
	res, err := ask[*offsetcommit.Response](ctx, c.cluster, req, timeout)
	if err != nil {
		return c.failed(fmt.Errorf("commit: %w", err))
	}
	return c.answer(res, sent, at)
}

// answer deals with the answer to a commit that was sent at a time.
func (c *committer) answer(res *offsetcommit.Response, sent map[int32]position, at time.Time) error {
	var failure error
	acknowledged := false
	for _, t := range res.Topics {
		for _, p := range t.Partitions {
			pos, ok := sent[p.PartitionIndex]
			if !ok {
				continue
			}
			switch code := kafka.Error(p.ErrorCode); code {
			case 0:
				acknowledged = true
				c.acked[p.PartitionIndex] = pos
				c.windows[p.PartitionIndex].acknowledged()
			case kafka.IllegalGeneration, kafka.UnknownMemberId:
				return c.failed(fmt.Errorf("commit: %w: %w", errFenced, code))
			case kafka.UnknownTopicOrPartition:
				return c.failed(fmt.Errorf("commit: %w: %w", errTopicGone, code))
			case kafka.OffsetMetadataTooLarge:
				if !c.plain[p.PartitionIndex] {
					c.plain[p.PartitionIndex] = true
					c.metrics.metadataRefused.Inc()
					c.log.Warn("the broker refuses the commit's metadata as too large: a crash will deliver again what was finished out of order; raise offset.metadata.max.bytes to 4096", "partition", p.PartitionIndex)
				}
				failure = fmt.Errorf("commit of partition %d: %w", p.PartitionIndex, code)
			default:
				failure = fmt.Errorf("commit of partition %d: %w", p.PartitionIndex, code)
			}
		}
	}
	if acknowledged {
		c.lease.renew(at.Add(c.cfg.SessionTimeout))
	}
	if failure != nil {
		c.cluster.refresh()
		return c.failed(failure)
	}
	if !acknowledged {
		return c.failed(errors.New("commit: nothing in the answer"))
	}
	c.metrics.commits.WithLabelValues("ok").Inc()
	if c.failing > 0 {
		c.log.Info("commits succeed again", "failed", c.failing)
		c.failing = 0
	}
	return nil
}

// probe asks whether the topic is still the one that the windows are of. A topic
// of the same name that has grown past our position would be skipped up to it:
// that must end the session. It may happen between the question and the commit
// as well; such a commit says of which topic it is, and the next session does not
// begin with it. Brokers without topic ids are asked for our commits, because
// deleting a topic deletes them.
func (c *committer) probe(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	id, err := c.cluster.topicID(ctx, c.cfg.Group, c.cfg.Topic)
	switch {
	case errors.Is(err, kafka.UnknownTopicOrPartition):
		return fmt.Errorf("%w: %w", errTopicGone, err)
	case err != nil:
		return err
	case id.differs(c.topic):
		return fmt.Errorf("%w: the topic was deleted and created again", errLogReplaced)
	case id != (topicID{}) || len(c.acked) == 0:
		return nil
	}
	got, err := c.cluster.committed(ctx, c.cfg.Group, c.cfg.Topic, slices.Sorted(maps.Keys(c.acked)))
	if err != nil {
		return err
	}
	for p, pos := range got {
		if pos.offset == noOffset {
			return fmt.Errorf("%w: the committed offset of partition %d is gone", errLogReplaced, p)
		}
	}
	return nil
}

// failed counts a failure and says so when it begins and once a minute. A topic
// that is gone is no failure of the commit.
func (c *committer) failed(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, errTopicGone) || errors.Is(err, errLogReplaced) {
		return err
	}
	c.failing++
	result := "error"
	if errors.Is(err, errFenced) {
		result = "fenced"
	}
	c.metrics.commits.WithLabelValues(result).Inc()
	if c.failing == 1 || time.Since(c.lastSaid) >= time.Minute {
		c.lastSaid = time.Now()
		c.log.Log(context.Background(), severity(err), "cannot commit: trying again; deliveries stop when the lease ends", "err", c.cfg.permission(err)) //nolint:forbidigo // the log needs no context
	}
	return err
}
