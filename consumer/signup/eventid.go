package signup

import (
	"bytes"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// EventIDHeader is the header in which a dead letter carries the event id. A record that has it, because it is a
// dead letter on its way back, keeps that id.
const EventIDHeader = "signup_sheet.dlq.event_id"

// maxHeaderID is the longest id that is sent in a header as it is, in bytes.
const maxHeaderID = 255

// namespace is the UUID namespace of every id made here. It is part of the wire contract: with another one, every
// event without an id of its own would get a new id, and receivers would take a replay for new rows.
func namespace() uuid.UUID {
	// 210548f5-5b5b-49d7-917a-5dcc4698d239
	return uuid.UUID{0x21, 0x05, 0x48, 0xf5, 0x5b, 0x5b, 0x49, 0xd7, 0x91, 0x7a, 0x5d, 0xcc, 0x46, 0x98, 0xd2, 0x39}
}

// EventID returns the id of an event that has none: a UUIDv5 (RFC 9562 §5.5) of topic, partition, offset and the
// record's timestamp in Unix milliseconds, as decimal text with a zero byte between. The timestamp is there because a
// topic that is deleted and created again uses its offsets again.
func EventID(topic string, partition int32, offset int64, t time.Time) string {
	b := make([]byte, 0, 128)
	b = append(append(b, topic...), 0)
	b = append(strconv.AppendInt(b, int64(partition), 10), 0)
	b = append(strconv.AppendInt(b, offset, 10), 0)
	b = strconv.AppendInt(b, t.UnixMilli(), 10)
	return uuid.NewSHA1(namespace(), b).String()
}

// HeaderID returns the event id in a form that every HTTP header takes, for Idempotency-Key and webhook-id: the id
// itself if it is 1 to 255 bytes of printable ASCII without blank and dot (Standard Webhooks forbids the dot), else
// its UUIDv5. Both the same for the same id, always.
func HeaderID(id string) string {
	if isHeaderSafe(id) {
		return id
	}
	return uuid.NewSHA1(namespace(), []byte(id)).String()
}

func isHeaderSafe(id string) bool {
	if id == "" || len(id) > maxHeaderID {
		return false
	}
	for i := range len(id) {
		if c := id[i]; c <= ' ' || c > '~' || c == '.' {
			return false
		}
	}
	return true
}

// eventID returns the id that holds for the record, whatever becomes of it: the one it carries in a header, else the
// event's own, else one made of its coordinates.
func (r *Record) eventID(own []byte) string {
	if id := r.carriedID(); id != "" {
		return id
	}
	if len(own) > 0 {
		return string(own)
	}
	return EventID(r.Topic, r.Partition, r.Offset, r.Time)
}

// carriedID returns the event id in the record's headers, or an empty string. Of several the last one holds that is
// neither blank nor broken UTF-8: headers are appended.
func (r *Record) carriedID() string {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		h := &r.Headers[i]
		if h.Key == EventIDHeader && utf8.Valid(h.Value) && len(bytes.TrimSpace(h.Value)) > 0 {
			return string(h.Value)
		}
	}
	return ""
}
