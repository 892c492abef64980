package signup

import "time"

// Header is one header of a Kafka record. Keys may repeat.
type Header struct {
	Key   string
	Value []byte
}

// Record is what decoding needs to know of a Kafka record.
//
// Time is the record's timestamp as the topic defines it (the append time on a topic with LogAppendTime). The zero
// Time and Kafka's -1 (no timestamp) both mean that there is none.
//
// Value must not change as long as a [Signup] decoded from it is in use.
type Record struct {
	Topic     string
	Partition int32
	Offset    int64
	Time      time.Time
	Headers   []Header
	Value     []byte
}

// Timestamp returns a record's time in UTC as a JSON string of RFC 3339 with milliseconds, which is what Kafka keeps. It
// is nil where RFC 3339 has no word for it: no timestamp, or a year that does not have four digits (microseconds taken
// for milliseconds are a common way to get there).
func Timestamp(t time.Time) []byte {
	t = t.UTC()
	if t.IsZero() || t.UnixMilli() == -1 || t.Year() < 0 || t.Year() > 9999 {
		return nil
	}
	return t.AppendFormat(make([]byte, 0, 32), `"2006-01-02T15:04:05.000Z"`)
}
