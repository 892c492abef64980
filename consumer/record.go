package consumer

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"signup-sheet/consumer/signup"
)

// record is one record of the source topic, free of the buffer that it was
// fetched in. A nil key or value is Kafka's null; an empty one is empty.
type record struct {
	offset  int64
	time    int64 // Unix ms: the producer's, or the broker's where the topic has LogAppendTime
	key     []byte
	value   []byte
	headers []signup.Header
}

// recordOverhead is what a record costs in memory beyond its bytes, roughly.
const recordOverhead = 192

// size is the memory that the record holds, in bytes.
func (r *record) size() int64 {
	n := recordOverhead + len(r.key) + len(r.value)
	for _, h := range r.headers {
		n += len(h.Key) + len(h.Value) + 40
	}
	return int64(n)
}

// header returns the value of the last header with a name, since headers are
// appended; nil for none.
func (r *record) header(name string) []byte {
	for _, h := range slices.Backward(r.headers) {
		if h.Key == name {
			return h.Value
		}
	}
	return nil
}

// clone returns the record with a copy of its bytes, so that one record that
// takes long does not keep the whole fetch in memory.
func (r record) clone() record {
	n := len(r.key) + len(r.value)
	for _, h := range r.headers {
		n += len(h.Value)
	}
	b := make([]byte, 0, n)
	keep := func(src []byte) []byte {
		if src == nil {
			return nil
		}
		from := len(b)
		b = append(b, src...)
		return b[from:len(b):len(b)]
	}
	r.key, r.value = keep(r.key), keep(r.value)
	r.headers = slices.Clone(r.headers)
	for i := range r.headers {
		r.headers[i] = signup.Header{Key: strings.Clone(r.headers[i].Key), Value: keep(r.headers[i].Value)}
	}
	return r
}

// Position is the place of a record in a topic.
type Position struct {
	Partition int32
	Offset    int64
}

// ParsePosition reads partition:offset, such as 3:1042.
func ParsePosition(text string) (Position, error) {
	partition, offset, _ := strings.Cut(text, ":")
	p, err := strconv.ParseUint(partition, 10, 31)
	o, other := strconv.ParseUint(offset, 10, 63)
	if err := errors.Join(err, other); err != nil {
		return Position{}, fmt.Errorf("position: %w", err)
	}
	return Position{int32(p), int64(o)}, nil
}
