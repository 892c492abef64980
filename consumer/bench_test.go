package consumer

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"signup-sheet/internal/allocs"
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
