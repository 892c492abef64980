package main

import (
	"errors"
	"hash/maphash"

	"github.com/twmb/franz-go/pkg/kgo"

	"signup-sheet/consumer/signup"
)

// reader says what must become of records that anybody published: it decodes them as the consumer does.
type reader struct {
	decoder *signup.Decoder
	seed    maphash.Seed
	seen    map[uint64]struct{} // event ids, by hash
}

func newReader() *reader {
	return &reader{decoder: signup.NewDecoder(signup.Limits{}), seed: maphash.MakeSeed(), seen: map[uint64]struct{}{}}
}

// expect returns the record with what must become of it. It must not be called twice at once.
func (r *reader) expect(k *kgo.Record) record {
	if k.Value == nil {
		return record{kind: tombstone}
	}
	headers := make([]signup.Header, len(k.Headers))
	for i, h := range k.Headers {
		headers[i] = signup.Header{Key: h.Key, Value: h.Value}
	}
	s, err := r.decoder.Decode(signup.Record{
		Topic: k.Topic, Partition: k.Partition, Offset: k.Offset, Time: k.Timestamp, Headers: headers, Value: k.Value,
	})
	if p, ok := errors.AsType[*signup.Poison](err); ok {
		return record{kind: poison, class: p.Class, flaw: p.Reason}
	}
	id := maphash.String(r.seed, s.EventID)
	if _, known := r.seen[id]; known {
		return record{kind: again, id: s.EventID}
	}
	r.seen[id] = struct{}{}
	return record{kind: fresh, id: s.EventID}
}
