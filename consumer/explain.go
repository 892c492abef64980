package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/fetch"

	"signup-sheet/consumer/signup"
	"signup-sheet/sink"
)

// Record is a record of the topic, to be explained. A nil key or value is Kafka's
// null.
type Record struct {
	Partition int32
	Offset    int64
	Time      time.Time
	Key       []byte
	Value     []byte
	Headers   []signup.Header
}

// Explanation is what would become of a record, step by step. It is full of personal
// data.
type Explanation struct {
	Record Record
	// Tombstone says that it would be skipped, Poison that it would be a dead letter
	// and why. Otherwise it is a Signup, and all that follows is there.
	Tombstone bool
	Poison    *signup.Poison
	Signup    *signup.Signup
	// GivenUp says that the row would be a dead letter without an attempt, and why. Then
	// there is no Request.
	GivenUp *sink.GivenUp
	// Forced says that an operator has given it up: see Config.ForceDeadLetters.
	Forced bool
	// Asked says that somebody was asked for an age, and Age is the guess, as JSON text;
	// nil without one.
	Asked     bool
	Age       []byte
	AgeStatus string // see Ages; empty if nobody was asked
	Row       sink.Row
	Request   sink.Request
}

// ExplainAt fetches one record and explains it. It joins no group and commits nothing.
// An error says why there is no such record, or why it cannot be had. Of the methods that
// work (this, Explain, Probe, Preview and Run) one is called, once.
func (c *Consumer) ExplainAt(ctx context.Context, partition int32, offset int64) (*Explanation, error) {
	defer c.close()
	r, err := c.find(ctx, partition, offset)
	if err != nil {
		return nil, err
	}
	return c.explain(ctx, c.specimen(partition, r), nil)
}

// Explain explains a record that need not be in the topic, so that Config.ForceDeadLetters does not mean it.
func (c *Consumer) Explain(ctx context.Context, r Record) (*Explanation, error) {
	defer c.close()
	x, err := c.explain(ctx, c.specimen(r.Partition, record{
		offset: r.Offset, time: r.Time.UnixMilli(), key: r.Key, value: r.Value, headers: r.Headers,
	}), nil)
	if x != nil {
		x.Forced = false
	}
	return x, err
}

// specimen is a record as it would be in a window.
func (c *Consumer) specimen(partition int32, r record) *entry {
	return &entry{record: r, window: newWindow(partition, 0, false, position{offset: r.offset})}
}

// explain takes a record down its road up to the delivery, with the given age or, if
// there is none, the one that is guessed.
func (c *Consumer) explain(ctx context.Context, e *entry, given []byte) (*Explanation, error) {
	x := &Explanation{Record: Record{
		Partition: e.window.partition, Offset: e.offset, Time: time.UnixMilli(e.time), Key: e.key, Value: e.value, Headers: e.headers,
	}}
	if x.Tombstone = e.value == nil; x.Tombstone {
		return x, nil
	}
	event, err := c.decode(e)
	if err != nil {
		if poison, ok := errors.AsType[*signup.Poison](err); ok {
			x.Poison = poison
			return x, nil
		}
		return nil, err
	}
	a := age{guess: given, status: "hit"}
	if given == nil {
		x.Asked = c.ages != nil
		a = c.age(ctx, event)
	}
	x.Signup, x.Age, x.AgeStatus, x.Row = event, a.guess, a.status, c.rowOf(e, event, a)
	x.Forced = slices.Contains(c.cfg.ForceDeadLetters, Position{e.window.partition, e.offset})
	x.Request, err = c.sink.Request(ctx, x.Row)
	if givenUp, ok := errors.AsType[*sink.GivenUp](err); ok {
		x.GivenUp, err = givenUp, nil
	}
	return x, err
}

// find fetches one record, and tries again what heals by itself until ctx ends.
func (c *Consumer) find(ctx context.Context, partition int32, offset int64) (record, error) {
	var last error
	for {
		r, err := c.fetchOne(ctx, partition, offset)
		code, fromBroker := errors.AsType[kafka.Error](err)
		switch {
		case err == nil:
			return r, nil
		case last != nil && isOver(ctx):
			return record{}, last // says more than that the time is over
		case fromBroker && code.Temporary(), errors.Is(err, errNotYet):
			c.data.refresh()
			last = err
		default:
			return record{}, c.cfg.permission((&trial{cfg: c.cfg}).remedied(err))
		}
		select {
		case <-time.After(250 * time.Millisecond):
		case <-ctx.Done():
			return record{}, last
		}
	}
}

// isOver reports whether ctx has ended, or is about to: connections have its deadline, and
// may tell before it does.
func isOver(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}

// errNotYet is for what brokers do not say at once.
var errNotYet = errors.New("the brokers do not answer with it yet: try again")

// fetchOne asks for the record once.
func (c *Consumer) fetchOne(ctx context.Context, partition int32, offset int64) (record, error) {
	info, err := c.data.topic(ctx, c.cfg.Topic)
	if errors.Is(err, kafka.UnknownTopicOrPartition) {
		return record{}, missing("kafka.topic", c.cfg.Topic)
	}
	if err != nil {
		return record{}, err
	}
	switch leader, ok := info.leaders[partition]; {
	case !ok:
		return record{}, fmt.Errorf("topic %s has no partition %d: its partitions are 0 to %d", c.cfg.Topic, partition, len(info.leaders)-1)
	case leader < 0:
		return record{}, fmt.Errorf("partition %d has no leader: %w", partition, errNotYet)
	}
	res, err := ask[*fetchResponse](ctx, c.data, &fetch.Request{
		ReplicaID: -1, MaxWaitTime: 100, MinBytes: 1, MaxBytes: fetchBytes, IsolationLevel: readCommitted, SessionEpoch: -1,
		Topics: []fetch.RequestTopic{{Topic: c.cfg.Topic, Partitions: []fetch.RequestPartition{{
			Partition: partition, CurrentLeaderEpoch: -1, FetchOffset: offset, LogStartOffset: -1, PartitionMaxBytes: fetchPartitionBytes,
		}}}},
	}, requestTimeout)
	if err != nil {
		return record{}, fmt.Errorf("fetch: %w", err)
	}
	if res.ErrorCode != 0 {
		return record{}, fmt.Errorf("fetch: %w", kafka.Error(res.ErrorCode))
	}
	if len(res.Topics) != 1 || len(res.Topics[0].Partitions) != 1 {
		return record{}, fmt.Errorf("fetch: %w", errNotYet)
	}
	p := &res.Topics[0].Partitions[0]
	switch code := kafka.Error(p.ErrorCode); code {
	case 0:
	case kafka.OffsetOutOfRange:
		return record{}, c.outside(ctx, partition, offset)
	default:
		return record{}, fmt.Errorf("fetch: %w", code)
	}
	if offset >= p.LastStableOffset {
		return record{}, c.outside(ctx, partition, offset)
	}
	records, next, err := parse(p, offset, 1)
	switch {
	case len(records) > 0 && records[0].offset == offset:
		return records[0].clone(), nil
	case err != nil:
		return record{}, fmt.Errorf("fetch: %w", err)
	case next == offset:
		return record{}, fmt.Errorf("fetch: %w", errNotYet)
	}
	after := ""
	if len(records) > 0 {
		after = fmt.Sprintf("; the next record is at %d", records[0].offset)
	}
	return record{}, fmt.Errorf("partition %d has no record at offset %d: compaction removed it, its transaction was aborted, or it is a mark of Kafka's own%s", partition, offset, after)
}

// outside says where the log of a partition begins and ends, for an offset that it does
// not have.
func (c *Consumer) outside(ctx context.Context, partition int32, offset int64) error {
	start, err := c.data.listOffset(ctx, c.cfg.Topic, partition, earliest)
	if err != nil {
		return err
	}
	end, err := c.data.listOffset(ctx, c.cfg.Topic, partition, latest)
	if err != nil {
		return err
	}
	switch {
	case start == end:
		return fmt.Errorf("partition %d has no records: its log begins and ends at offset %d", partition, end)
	case offset < start:
		return fmt.Errorf("partition %d has no offset %d any more, retention removed it: its offsets are %d to %d", partition, offset, start, end-1)
	case offset >= end:
		return fmt.Errorf("partition %d has no offset %d yet: its offsets are %d to %d", partition, offset, start, end-1)
	}
	return fmt.Errorf("offset %d of partition %d waits for a transaction to end: a producer has begun one at or below it, and until it commits or aborts nothing behind its beginning is delivered", offset, partition)
}
