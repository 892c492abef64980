package consumer

import (
	"bytes"
	"compress/gzip"
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
	headerEventID      = "signup_sheet.dlq.event_id"      // the row's id, which a redrive keeps
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
	refused   *sink.Refused // nil if it was never sent
	failed    time.Time
}

// deadLetters writes dead letters, and returns only when all replicas have them.
type deadLetters struct {
	source, group, topic string
	cluster              *cluster
	batched              *kafka.Writer // for those that share a request
	alone                *kafka.Writer // for those above a request's usual size
	holds                *holds
	log                  *slog.Logger
}

func newDeadLetters(cfg Config, c *cluster, h *holds, log *slog.Logger) *deadLetters {
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
		source: cfg.Topic, group: cfg.Group, topic: cfg.DeadLetterTopic, cluster: c, holds: h, log: log,
		batched: writer(500, maxDeadLetter), alone: writer(1, 1<<30),
	}
}

// close ends the writers' goroutines.
func (d *deadLetters) close() error { return errors.Join(d.batched.Close(), d.alone.Close()) }

// write returns nil when the letter is acknowledged by all in-sync replicas. Until
// then it tries again: a passing fault after a moment, a lasting one (no such
// topic, no permission) as a hold with the reason "dead_letter". When ctx ends,
// a request under way is waited for, and nothing new is begun.
func (d *deadLetters) write(ctx context.Context, l *letter) error {
	msg := d.message(l)
	w := d.batched
	if messageSize(msg) > maxDeadLetter-deadLetterRoom {
		w = d.alone
	}
	for pause := time.Second; ; pause = min(2*pause, 30*time.Second) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		err := w.WriteMessages(context.WithoutCancel(ctx), msg)
		if err == nil {
			d.holds.end(holdDeadLetter)
			return nil
		}
		if errs, ok := errors.AsType[kafka.WriteErrors](err); ok && len(errs) == 1 {
			err = errs[0]
		}
		d.cluster.refresh()
		wait := pause/2 + rand.N(pause)
		d.holds.begin(holdDeadLetter, time.Now().Add(wait), func() {
			d.log.Error("cannot write a dead letter: its record waits, and so does what follows it; "+remedy(err), //nolint:sloglint // one of a closed set of remedies
				"dead_letter_topic", d.topic, "partition", l.partition, "offset", l.offset, "err", err)
		})
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// remedy says what to do about a produce error.
func remedy(err error) string {
	switch {
	case errors.Is(err, kafka.UnknownTopicOrPartition):
		return "create the topic, or set dead_letter.topic"
	case errors.Is(err, kafka.TopicAuthorizationFailed):
		return "allow WRITE and DESCRIBE on it"
	case errors.Is(err, kafka.MessageSizeTooLarge), errors.Is(err, kafka.RecordListTooLarge):
		return "raise its max.message.bytes to at least 1000000"
	default:
		return "the brokers are asked again"
	}
}

// message builds the Kafka message of a letter: key, value and headers byte for
// byte, then our headers. Its timestamp is now, because retention would delete
// the dead letter of a 90 days old record within minutes.
func (d *deadLetters) message(l *letter) kafka.Message {
	m := kafka.Message{Key: l.key, Value: l.value, Time: l.failed}
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
	if r := l.refused; r != nil {
		first, attempts = r.FirstFailure, r.Attempts
		add(headerHTTPStatus, strconv.Itoa(r.Status))
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
	// Whole, whatever its length: a redrive has to find the same id again.
	m.Headers = append(m.Headers, kafka.Header{Key: headerEventID, Value: []byte(l.eventID)})
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
	w := gzip.NewWriter(&n)
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
