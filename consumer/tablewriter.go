package consumer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/segmentio/kafka-go"
)

const (
	// tableQueue is how many records wait to be written at most.
	tableQueue = 16 << 10
	// tableBatch and tableLinger bound how many are written by one request, and how long
	// the first of them waits for the others.
	tableBatch  = 500
	tableLinger = 50 * time.Millisecond
	// tableTries is how often a record is tried to be written.
	tableTries = 5
	// tableRequest bounds one try.
	tableRequest = requestTimeout + 2*time.Second
)

// Put writes a record, soon, and never waits. Key and value must not be changed any
// more. It may be lost: see Table.
func (t *Table) Put(key, value []byte) {
	select {
	case t.queue <- kafka.Message{Key: key, Value: value}:
	default:
		t.metrics.written.WithLabelValues(tableDropped).Inc()
	}
}

// write writes what is put until ctx ends, and then, for a bounded time, what waits.
func (t *Table) write(ctx context.Context) {
	w := &kafka.Writer{
		Addr: t.writes.addr, Transport: t.writes.transport, Topic: t.cfg.Topic,
		Balancer:     kafka.Murmur2Balancer{},
		RequiredAcks: kafka.RequireAll,
		MaxAttempts:  1, // retried here, from fresh metadata
		BatchTimeout: 5 * time.Millisecond,
		BatchSize:    tableBatch, BatchBytes: maxDeadLetter - deadLetterRoom,
		ReadTimeout: requestTimeout, WriteTimeout: requestTimeout,
		Compression: kafka.Gzip,
	}
	// After the connections: a request that nobody waits for any more goes on within
	// kafka-go's Writer.
	defer func() { _ = w.Close() }()
	defer t.dialer.sever()

	alive, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	defer context.AfterFunc(ctx, func() {
		select {
		case <-time.After(tableFlush):
		case <-alive.Done():
		}
		cut()
	})()
	faults := 0
	for {
		batch := t.collect(ctx)
		if len(batch) == 0 {
			return
		}
		faults = t.writeBatch(ctx, alive, w, batch, faults)
	}
}

// collect waits for records to write, and for others to go with them. None means that ctx
// has ended and all are taken.
func (t *Table) collect(ctx context.Context) []kafka.Message {
	var batch []kafka.Message
	select {
	case m := <-t.queue:
		batch = append(batch, m)
	case <-ctx.Done():
	}
	var full <-chan time.Time
	if ctx.Err() == nil {
		full = time.After(tableLinger)
	}
	for len(batch) < tableBatch {
		select {
		case m := <-t.queue:
			batch = append(batch, m)
			continue
		default:
		}
		if ctx.Err() != nil {
			return batch
		}
		select {
		case m := <-t.queue:
			batch = append(batch, m)
		case <-full:
			return batch
		case <-ctx.Done():
		}
	}
	return batch
}

// writeBatch tries to write records a few times, until alive ends. Faults are how many
// tries have failed in a row, before and after.
func (t *Table) writeBatch(ctx, alive context.Context, w *kafka.Writer, batch []kafka.Message, faults int) int {
	for try := 1; alive.Err() == nil; try++ {
		left, err := t.try(alive, w, batch)
		t.metrics.written.WithLabelValues(tableWritten).Add(float64(len(batch) - len(left)))
		if batch = left; err == nil {
			t.writing.end(func(lasted time.Duration) {
				t.log.Info("the shared topic is written again", "lasted", lasted.Round(time.Second))
			})
			return 0
		}
		if alive.Err() != nil {
			break
		}
		faults++
		t.writes.refresh()
		t.unwritable(err)
		if try >= tableTries || isDenied(err) || isTooLarge(err) {
			t.metrics.written.WithLabelValues(tableFailed).Add(float64(len(batch)))
			batch = nil
		}
		pause := time.Second << min(faults-1, 4)
		select {
		case <-time.After(pause/2 + rand.N(pause/2)):
		case <-ctx.Done():
			select { // little time is left
			case <-time.After(tableFlush / 5):
			case <-alive.Done():
			}
		}
		if len(batch) == 0 {
			return faults
		}
	}
	t.metrics.written.WithLabelValues(tableDropped).Add(float64(len(batch)))
	return faults
}

// unwritable says that the topic cannot be written, if that lasts.
func (t *Table) unwritable(err error) {
	if errors.Is(err, kafka.TopicAuthorizationFailed) {
		err = fmt.Errorf("%w: allow WRITE on topic %s", err, t.cfg.Topic)
	}
	t.writing.begin(isDenied(err), func(since time.Time) {
		t.log.Log(context.Background(), severity(err), "cannot write the shared topic: what is not written after several tries is only known here", "since", since.UTC(), "err", err) //nolint:forbidigo // the log needs no context
	})
}

// try makes one request for each partition, and returns the records that are not written.
func (t *Table) try(ctx context.Context, w *kafka.Writer, batch []kafka.Message) ([]kafka.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, tableRequest)
	defer cancel()
	// See deadLetters.try.
	if _, err := t.writes.topic(ctx, t.cfg.Topic); err != nil {
		return batch, err
	}
	err := w.WriteMessages(ctx, batch...)
	errs, ok := errors.AsType[kafka.WriteErrors](err)
	if !ok || len(errs) != len(batch) {
		if err != nil {
			return batch, err
		}
		return nil, nil
	}
	var left []kafka.Message
	for i, e := range errs {
		if e != nil {
			left, err = append(left, batch[i]), e
		}
	}
	return left, err
}
