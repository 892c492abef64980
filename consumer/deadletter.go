package consumer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/segmentio/kafka-go"

	"signup-sheet/consumer/signup"
	"signup-sheet/sink"
)

// The headers of a dead letter, all UTF-8 text. Kafka Connect's names where
// Connect has them (KIP-298), ours for the rest. They follow the source
// record's own headers, which stay as they were.
const (
	headerTopic     = "__connect.errors.topic"
	headerPartition = "__connect.errors.partition"
	headerOffset    = "__connect.errors.offset"
	headerStage     = "__connect.errors.stage"
	headerMessage   = "__connect.errors.exception.message"

	headerVersion      = "signup_sheet.dlq.version"       // "1"
	headerGroup        = "signup_sheet.dlq.group"         // the consumer group
	headerTimestamp    = "signup_sheet.dlq.timestamp"     // the source record's, Unix ms
	headerClass        = "signup_sheet.dlq.class"         // decode, validate, map, too_large, refused, exhausted
	headerHTTPStatus   = "signup_sheet.dlq.http_status"   // of the last answer
	headerResponse     = "signup_sheet.dlq.response"      // at most 1 KiB of it, values and secrets masked
	headerAttempts     = "signup_sheet.dlq.attempts"      // HTTP requests made for the row
	headerFirstFailure = "signup_sheet.dlq.first_failure" // RFC 3339
	headerFailed       = "signup_sheet.dlq.failed"        // RFC 3339: when it was given up
	headerEventID      = signup.EventIDHeader             // the row's id, which a redrive keeps; see message for long ones
	headerRequestIDs   = "signup_sheet.dlq.request_ids"   // the receiver's own, separated by commas
	headerRedrives     = "signup_sheet.dlq.redrives"      // how often it was redriven before
	headerTruncated    = "signup_sheet.dlq.truncated"     // "size=<bytes> sha256=<hex>" of the whole value
)

const (
	// maxDeadLetter is what a dead letter may take, in bytes, compressed: some
	// managed brokers close the connection above 1,000,000.
	maxDeadLetter = 1_000_000
	// deadLetterRoom is what is kept free of it for the framing of a batch.
	deadLetterRoom = 4 << 10
	// maxHeaderText bounds each text of ours, in bytes.
	maxHeaderText = 1 << 10
)

// letter is a record that can never become a row, and why.
type letter struct {
	record
	partition int32
	stage     string // decode, map, deliver
	class     string
	reason    string
	eventID   string
	givenUp   *sink.GivenUp // nil if it was never sent
	failed    time.Time
}

// deadLetters writes dead letters, and returns only when all replicas have them.
type deadLetters struct {
	source, group, topic string
	cluster              *cluster
	batched              *kafka.Writer // for those that share a request
	alone                *kafka.Writer // for those above a request's usual size
	lease                *lease
	holds                *holds
	waiting              func(delta int) // counts those that wait to try again
	log                  *slog.Logger
}

func newDeadLetters(cfg Config, c *cluster, l *lease, h *holds, waiting func(delta int), log *slog.Logger) *deadLetters {
	writer := func(batchSize int, batchBytes int64) *kafka.Writer {
		return &kafka.Writer{
			Addr: c.addr, Transport: c.transport, Topic: cfg.DeadLetterTopic,
			Balancer:     kafka.Murmur2Balancer{},
			RequiredAcks: kafka.RequireAll,
			MaxAttempts:  1, // retried here, from fresh metadata
			BatchTimeout: 5 * time.Millisecond,
			BatchSize:    batchSize, BatchBytes: batchBytes,
			ReadTimeout: requestTimeout, WriteTimeout: requestTimeout,
			Compression: kafka.Gzip,
		}
	}
	return &deadLetters{
		source: cfg.Topic, group: cfg.Group, topic: cfg.DeadLetterTopic, cluster: c, lease: l, holds: h, waiting: waiting, log: log,
		batched: writer(500, maxDeadLetter-deadLetterRoom), alone: writer(1, 1<<30),
	}
}

// close ends the writers' goroutines.
func (d *deadLetters) close() error { return errors.Join(d.batched.Close(), d.alone.Close()) }

// write returns nil when the letter is acknowledged by all in-sync replicas. Until
// then it tries again, as a hold with the reason "dead_letter", which lasts until
// no letter waits any more. Like attempts, tries need the lease. When ctx ends, a
// request under way is waited for, and nothing new is begun.
func (d *deadLetters) write(ctx context.Context, l *letter) error {
	msg := d.message(l)
	w := d.batched
	if messageSize(msg) > maxDeadLetter-deadLetterRoom {
		w = d.alone
	}
	held := false
	defer func() {
		if held {
			d.holds.end(holdDeadLetter)
		}
	}()
	for pause := time.Second; ; pause = min(2*pause, 30*time.Second) {
		if err := d.lease.Wait(ctx); err != nil {
			return err
		}
		msg.Time = time.Now() // of this try: retention must not count the wait
		err := d.try(ctx, w, msg)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if isTooLarge(err) {
			w = d.alone // it may have been the company
		}
		d.cluster.refresh()
		wait := pause/2 + rand.N(pause)
		d.holds.begin(holdDeadLetter, !held, time.Now().Add(wait), func() {
			level, what := remedy(err)
			if errors.Is(err, kafka.TopicAuthorizationFailed) {
				err = fmt.Errorf("%w: allow WRITE on topic %s", err, d.topic)
			}
			d.log.Log(ctx, level, "cannot write a dead letter: its record waits, and so does what follows it; "+what, //nolint:sloglint // one of a closed set of remedies
				"dead_letter_topic", d.topic, "partition", l.partition, "offset", l.offset, "bytes", messageSize(msg), "err", err)
		})
		held = true
		pauseBeside(ctx, d.waiting, wait)
	}
}

// try makes one request, and waits for its answer whether or not ctx ends.
func (d *deadLetters) try(ctx context.Context, w *kafka.Writer, msg kafka.Message) error {
	// The writer asks for the topic too, but not for a bounded time. This makes
	// the answer known, and can be given up.
	if _, err := d.cluster.topic(ctx, d.topic); err != nil {
		return err
	}
	err := w.WriteMessages(context.WithoutCancel(ctx), msg)
	if errs, ok := errors.AsType[kafka.WriteErrors](err); ok && len(errs) == 1 {
		return errs[0]
	}
	return err
}

func isTooLarge(err error) bool {
	return errors.Is(err, kafka.MessageSizeTooLarge) || errors.Is(err, kafka.RecordListTooLarge)
}

// remedy says what to do about a produce error, and how loud: what passes by
// itself is a warning.
func remedy(err error) (slog.Level, string) {
	code, answered := errors.AsType[kafka.Error](err)
	switch {
	case errors.Is(err, kafka.UnknownTopicOrPartition):
		return slog.LevelError, "create the topic, or set dead_letter.topic"
	case errors.Is(err, kafka.TopicAuthorizationFailed), errors.Is(err, kafka.ClusterAuthorizationFailed):
		return slog.LevelError, "the brokers deny access"
	case errors.Is(err, kafka.SASLAuthenticationFailed):
		return slog.LevelError, "the brokers refuse the login"
	case isTooLarge(err):
		return slog.LevelError, "raise its max.message.bytes to 1000000, or above the size given here if it is more"
	case answered && !code.Temporary():
		return slog.LevelError, "check the topic's settings"
	default:
		return slog.LevelWarn, "the brokers are asked again"
	}
}

// message builds the Kafka message of a letter: key, value and headers byte for
// byte, then our headers. Its timestamp is not the record's but that of its
// writing: retention would delete the dead letter of a 90 days old record within
// minutes.
func (d *deadLetters) message(l *letter) kafka.Message {
	m := kafka.Message{Key: l.key, Value: l.value}
	for _, h := range l.headers {
		m.Headers = append(m.Headers, kafka.Header{Key: h.Key, Value: h.Value})
	}
	add := func(key, value string) {
		m.Headers = append(m.Headers, kafka.Header{Key: key, Value: []byte(text(value))})
	}
	add(headerTopic, d.source)
	add(headerPartition, strconv.Itoa(int(l.partition)))
	add(headerOffset, strconv.FormatInt(l.offset, 10))
	add(headerStage, l.stage)
	add(headerMessage, l.reason)
	add(headerVersion, "1")
	add(headerGroup, d.group)
	add(headerTimestamp, strconv.FormatInt(l.time, 10))
	add(headerClass, l.class)
	first, attempts := l.failed, 0
	if r := l.givenUp; r != nil {
		first, attempts = r.FirstFailure, r.Attempts
		if r.Status != 0 {
			add(headerHTTPStatus, strconv.Itoa(r.Status))
		}
		if r.Response != "" {
			add(headerResponse, r.Response)
		}
		if len(r.RequestIDs) > 0 {
			add(headerRequestIDs, strings.Join(r.RequestIDs, ","))
		}
	}
	add(headerAttempts, strconv.Itoa(attempts))
	add(headerFirstFailure, first.UTC().Format(time.RFC3339Nano))
	add(headerFailed, l.failed.UTC().Format(time.RFC3339Nano))
	// Never cut, because a redrive has to find the same id again. A long one is in
	// the value or in a header of the record, and not worth cutting the value for.
	if len(l.eventID) <= maxHeaderText {
		add(headerEventID, l.eventID)
	}
	add(headerRedrives, strconv.Itoa(redrives(l.headers)))
	if cut := fit(&m); cut >= 0 {
		sum := sha256.Sum256(l.value)
		m.Value = l.value[:cut]
		add(headerTruncated, fmt.Sprintf("size=%d sha256=%s", len(l.value), hex.EncodeToString(sum[:])))
	}
	return m
}

// fit returns how much of the value can be kept, or -1 if all of it can.
func fit(m *kafka.Message) int {
	over := messageSize(*m) - (maxDeadLetter - deadLetterRoom)
	if over <= 0 {
		return -1
	}
	if deflated(m.Value)+messageSize(*m)-len(m.Value) <= maxDeadLetter-deadLetterRoom {
		return -1
	}
	return max(0, len(m.Value)-over)
}

// deflated is the size of b compressed as the writer does it, in bytes.
func deflated(b []byte) int {
	var n bytes.Buffer
	w := kafka.Gzip.Codec().NewWriter(&n)
	_, _ = w.Write(b) // a bytes.Buffer does not fail
	_ = w.Close()
	return n.Len()
}

// messageSize is what a message takes uncompressed, in bytes, rounded up.
func messageSize(m kafka.Message) int {
	n := 32 + len(m.Key) + len(m.Value)
	for _, h := range m.Headers {
		n += 10 + len(h.Key) + len(h.Value)
	}
	return n
}

// text makes a header value of s: valid UTF-8, of bounded length.
func text(s string) string {
	if len(s) > maxHeaderText {
		s = s[:maxHeaderText]
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "")
	}
	return s
}

// redrives reads how often a record was redriven, from its own headers.
func redrives(headers []signup.Header) int {
	for _, h := range headers {
		if h.Key == headerRedrives {
			if n, err := strconv.Atoi(string(h.Value)); err == nil && n >= 0 {
				return n
			}
		}
	}
	return 0
}
