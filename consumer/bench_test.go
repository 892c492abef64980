package consumer

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"signup-sheet/consumer/signup"
	"signup-sheet/internal/allocs"
	"signup-sheet/sink"
)

// BenchmarkChain takes one record and settles the oldest one, with 16 records of each of 64 keys in the window: every one that is
// settled makes another ready.
func BenchmarkChain(b *testing.B) {
	const keys, perKey = 64, 16
	w := newWindow(3, 0, true, position{})
	names := make([][]byte, keys)
	for i := range names {
		names[i] = fmt.Appendf(nil, "user-%06d", i)
	}
	now := time.Now()
	push := func(offset int) *entry {
		return w.push(record{offset: int64(offset), key: names[offset%keys]}, now)
	}
	entries := make([]*entry, keys*perKey)
	for i := range entries {
		entries[i] = push(i)
	}
	offset := len(entries)
	b.ReportAllocs()
	for b.Loop() {
		oldest := &entries[offset%len(entries)]
		if follower := w.settle(*oldest); follower == nil {
			b.Fatal("no record became ready")
		}
		*oldest = push(offset)
		offset++
	}
}

// The entry.
func TestAllocationsOfAChain(t *testing.T) { allocs.AtMost(t, 1, BenchmarkChain) }

// fetched is the number of records that BenchmarkWindow takes at once.
const fetched = 64

// BenchmarkWindow takes a fetch of 64 records with keys, settles every other one of them, commits, and settles the rest.
func BenchmarkWindow(b *testing.B) {
	w := newWindow(3, 1, true, position{})
	w.topic = 2
	records := make([]record, fetched)
	for i := range records {
		records[i] = record{
			offset: int64(i), time: 1700000000000, key: fmt.Appendf(nil, "user-%06d", i), value: bytes.Repeat([]byte("x"), 330),
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		got := w.take(records, records[fetched-1].offset+1, 4096, 32<<20)
		for i := 1; i < fetched; i += 2 {
			w.settle(got.ready[i])
		}
		if p := w.position(maxMetadata); p.offset != records[0].offset || p.metadata == "" {
			b.Fatalf("position %+v", p)
		}
		w.acknowledged()
		for i := 0; i < fetched; i += 2 {
			w.settle(got.ready[i])
		}
		for i := range records {
			records[i].offset += fetched
		}
	}
}

// Of each record its bytes and its entry; of the fetch the list of what is ready; of the commit the completions and their text, and
// both grow as they are filled.
func TestAllocationsOfAWindow(t *testing.T) { allocs.AtMost(t, 2*fetched+17, BenchmarkWindow) }

// manyCompletions is what a commit says when every other of 200 records is settled.
func manyCompletions() completions {
	c := completions{topic: 1, base: 1_000_000, time: 1700000000000}
	for i := range int64(100) {
		c.done = append(c.done, span{c.base + 1 + 2*i, c.base + 2 + 2*i})
	}
	return c
}

func BenchmarkMetadataEncode(b *testing.B) {
	c := manyCompletions()
	b.ReportAllocs()
	for b.Loop() {
		if c.encode(1, maxMetadata) == "" {
			b.Fatal("no metadata")
		}
	}
}

// The bytes, which grow, and the text.
func TestAllocationsOfEncodingMetadata(t *testing.T) { allocs.AtMost(t, 5, BenchmarkMetadataEncode) }

func BenchmarkMetadataDecode(b *testing.B) {
	text := manyCompletions().encode(1, maxMetadata)
	b.ReportAllocs()
	for b.Loop() {
		if c, err := decodeCompletions(text, 1, 1_000_000); err != nil || len(c.done) != 100 {
			b.Fatal(len(c.done), err)
		}
	}
}

// The bytes, and the spans, which grow.
func TestAllocationsOfDecodingMetadata(t *testing.T) { allocs.AtMost(t, 9, BenchmarkMetadataDecode) }

// BenchmarkColumns makes rows of a decoded signup: what the sink's own benchmark does, and finding the values.
func BenchmarkColumns(b *testing.B) { benchmarkColumns(b, sink.DefaultColumns()...) }

// The body.
func TestAllocationsOfColumns(t *testing.T) { allocs.AtMost(t, 1, BenchmarkColumns) }

// BenchmarkColumnsOfAllKinds is the same with members that are no columns, and with what is known of the record.
func BenchmarkColumnsOfAllKinds(b *testing.B) {
	benchmarkColumns(b, "event_id", "age", "m=signup.utm.medium", "cta=signup.metadata.ab.cta", "record.topic", "record.partition", "record.offset", "record.timestamp", "record.key", "record.headers.x")
}

// The body, and the texts of what is known of the record.
func TestAllocationsOfColumnsOfAllKinds(t *testing.T) {
	allocs.AtMost(t, 7, BenchmarkColumnsOfAllKinds)
}

func benchmarkColumns(b *testing.B, texts ...string) {
	b.Helper()
	c, err := newColumns(Config{Topic: "user.signup", Columns: texts}, nil)
	if err != nil {
		b.Fatal(err)
	}
	r := record{
		offset: 1 << 40, time: 1700000000000, key: []byte("user-000001"), headers: []signup.Header{{Key: "x", Value: []byte("y")}},
		value: []byte(`{"id":"6d2f1c1e-6a6e-4a55-9a0b-0f5f2d1d7c3a","email":"maria@example.com","name":"María","metadata":{"ab":{"cta":2}},"utm":{"medium":"cpc"}}`),
	}
	s, err := signup.NewDecoder(signup.Limits{}).Decode(signup.Record{Topic: "user.signup", Offset: r.offset, Time: time.UnixMilli(r.time), Value: r.value})
	if err != nil {
		b.Fatal(err)
	}
	age := age{guess: []byte("34"), status: "hit"}
	b.ReportAllocs()
	for b.Loop() {
		if row := c.row(3, &r, s, age); len(row.Body) == 0 {
			b.Fatal("no row")
		}
	}
}
