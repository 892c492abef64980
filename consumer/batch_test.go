package consumer

import (
	"bytes"
	"hash/crc32"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/protocol/fetch"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// forged is a batch as a broker would send it, or as none ever should.
type forged struct {
	first    int64
	offsets  []int32 // deltas; nil: 0, 1, 2
	empty    bool    // all records were compacted away
	last     int32   // last offset delta; 0: that of the last record
	codec    compress.Compression
	flags    int16
	producer int64
	value    []byte
	breaks   func([]byte) // damages the finished batch
	magic    int8
}

func (f forged) bytes(t testing.TB) []byte {
	t.Helper()
	deltas := f.offsets
	if deltas == nil && !f.empty {
		deltas = []int32{0, 1, 2}
	}
	var raw []byte
	for _, d := range deltas {
		r := kmsg.Record{TimestampDelta64: int64(d) * 10, OffsetDelta: d, Key: []byte("k"), Value: f.value, Headers: []kmsg.Header{{Key: "h", Value: []byte("x")}, {Key: "h", Value: nil}}}
		body := r.AppendTo(nil)[1:] // a length of 0 is one byte
		r.Length = int32(len(body))
		raw = r.AppendTo(raw)
	}
	if f.codec != compress.None {
		var b bytes.Buffer
		w := f.codec.Codec().NewWriter(&b)
		if _, err := w.Write(raw); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		raw = b.Bytes()
	}
	last := f.last
	if last == 0 && len(deltas) > 0 {
		last = deltas[len(deltas)-1]
	}
	batch := kmsg.RecordBatch{
		FirstOffset: f.first, PartitionLeaderEpoch: 1, Magic: 2, Attributes: f.flags | int16(f.codec), LastOffsetDelta: last,
		FirstTimestamp: 1000, MaxTimestamp: 7777, ProducerID: f.producer, NumRecords: int32(len(deltas)), Records: raw,
	}
	if f.magic != 0 {
		batch.Magic = f.magic
	}
	batch.Length = int32(batchHeader - lengthEnd + len(raw))
	b := batch.AppendTo(nil)
	batch.CRC = int32(crc32.Checksum(b[crcEnd:], castagnoli()))
	b = batch.AppendTo(nil)
	if f.breaks != nil {
		f.breaks(b)
	}
	return b
}

func offsetsOf(records []record) []int64 {
	var o []int64
	for _, r := range records {
		o = append(o, r.offset)
	}
	return o
}

func TestFetchedBatchesAreReadAsBrokersMeanThem(t *testing.T) {
	const (
		appendTime = 0x8
		tx         = 0x10
		control    = 0x20
	)
	set := func(batches ...forged) (b []byte) {
		for _, f := range batches {
			b = append(b, f.bytes(t)...)
		}
		return b
	}
	for name, tc := range map[string]struct {
		set     []byte
		aborted []fetch.ResponseTransaction
		next    int64
		want    []int64
		then    int64
		err     string
	}{
		"plain":                        {set: set(forged{first: 5}, forged{first: 8}), next: 5, want: []int64{5, 6, 7, 8, 9, 10}, then: 11},
		"position inside a batch":      {set: set(forged{first: 5}), next: 7, want: []int64{7}, then: 8},
		"gzip":                         {set: set(forged{first: 5, codec: compress.Gzip}), next: 5, want: []int64{5, 6, 7}, then: 8},
		"snappy":                       {set: set(forged{first: 5, codec: compress.Snappy}), next: 5, want: []int64{5, 6, 7}, then: 8},
		"lz4":                          {set: set(forged{first: 5, codec: compress.Lz4}), next: 5, want: []int64{5, 6, 7}, then: 8},
		"zstd":                         {set: set(forged{first: 5, codec: compress.Zstd}), next: 5, want: []int64{5, 6, 7}, then: 8},
		"gaps":                         {set: set(forged{first: 5, offsets: []int32{0, 4, 9}}), next: 5, want: []int64{5, 9, 14}, then: 15},
		"compacted tail":               {set: set(forged{first: 5, offsets: []int32{0}, last: 99}), next: 5, want: []int64{5}, then: 105},
		"position in a compacted tail": {set: set(forged{first: 5, offsets: []int32{0}, last: 99}), next: 50, then: 105},
		"empty batches":                {set: set(forged{first: 5, empty: true, last: 4}, forged{first: 10, empty: true, last: 4}, forged{first: 15}), next: 5, want: []int64{15, 16, 17}, then: 18},
		"nothing":                      {next: 5, then: 5},
		"cut off":                      {set: append(set(forged{first: 5}), set(forged{first: 8})[:70]...), next: 5, want: []int64{5, 6, 7}, then: 8},
		"control record":               {set: set(forged{first: 5}, forged{first: 8, offsets: []int32{0}, flags: tx | control, producer: 9}), next: 5, want: []int64{5, 6, 7}, then: 9},
		"aborted": {
			set:     set(forged{first: 5, flags: tx, producer: 9}, forged{first: 8, flags: tx, producer: 4}, forged{first: 11, offsets: []int32{0}, flags: tx | control, producer: 9}, forged{first: 12, flags: tx, producer: 9}),
			aborted: []fetch.ResponseTransaction{{ProducerID: 9, FirstOffset: 5}}, next: 5,
			want: []int64{8, 9, 10, 12, 13, 14}, then: 15,
		},
		"aborted from before the position": {
			set: set(forged{first: 5, flags: tx, producer: 9}), aborted: []fetch.ResponseTransaction{{ProducerID: 9, FirstOffset: 1}}, next: 6, then: 8,
		},
		"a transaction that committed": {set: set(forged{first: 5, flags: tx, producer: 9}), aborted: []fetch.ResponseTransaction{{ProducerID: 9, FirstOffset: 8}}, next: 5, want: []int64{5, 6, 7}, then: 8},
		"bad checksum":                 {set: set(forged{first: 5}, forged{first: 8, breaks: func(b []byte) { b[len(b)-3] ^= 4 }}), next: 5, want: []int64{5, 6, 7}, then: 8, err: "batch at offset 8: checksum"},
		"bad checksum of a compressed": {set: set(forged{first: 5, codec: compress.Zstd, breaks: func(b []byte) { b[batchHeader] ^= 4 }}), next: 5, then: 5, err: "checksum"},
		"format from before 2017":      {set: set(forged{first: 5, magic: 1}), next: 5, then: 5, err: "v1"},
		"length below the header":      {set: set(forged{first: 5, breaks: func(b []byte) { copy(b[8:], []byte{0, 0, 0, 1}) }}), next: 5, then: 5, err: "length"},
		"unknown compression":          {set: set(forged{first: 5, flags: 7}), next: 5, then: 5, err: "compression 7"},
		"records out of order":         {set: set(forged{first: 5, offsets: []int32{1, 0}, last: 1}), next: 5, then: 5, err: "out of order"},
		"a record beyond its batch":    {set: set(forged{first: 5, last: 1}), next: 5, then: 5, err: "out of order"},
		"inflates without end":         {set: set(forged{first: 5, codec: compress.Gzip, offsets: []int32{0}, value: make([]byte, maxInflated+1)}), next: 5, then: 5, err: "inflates"},
	} {
		t.Run(name, func(t *testing.T) {
			records, then, err := parse(&fetchPartition{RecordSet: tc.set, AbortedTransactions: tc.aborted}, tc.next, math.MaxInt64)
			if got := offsetsOf(records); !slices.Equal(got, tc.want) || then != tc.then {
				t.Errorf("records %v then %d, want %v then %d", got, then, tc.want, tc.then)
			}
			if (err != nil) != (tc.err != "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Errorf("error %v, want %q", err, tc.err)
			}
		})
	}
	t.Run("time", func(t *testing.T) {
		for flags, want := range map[int16][]int64{0: {1000, 1010, 1020}, appendTime: {7777, 7777, 7777}} {
			records, _, err := parse(&fetchPartition{RecordSet: forged{flags: flags}.bytes(t)}, 0, math.MaxInt64)
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range records {
				if r.time != want[i] {
					t.Errorf("flags %d: record %d is of %d, want %d", flags, i, r.time, want[i])
				}
			}
		}
	})
	t.Run("null and empty", func(t *testing.T) {
		null, _, _ := parse(&fetchPartition{RecordSet: forged{}.bytes(t)}, 0, math.MaxInt64)
		empty, _, _ := parse(&fetchPartition{RecordSet: forged{value: []byte{}}.bytes(t)}, 0, math.MaxInt64)
		for _, c := range []record{null[0], null[0].clone()} {
			if c.value != nil || string(c.key) != "k" || len(c.headers) != 2 || c.headers[1].Value != nil || string(c.headers[0].Value) != "x" {
				t.Errorf("null became %+v", c)
			}
		}
		for _, c := range []record{empty[0], empty[0].clone()} {
			if c.value == nil || len(c.value) != 0 {
				t.Errorf("empty became %+v", c)
			}
		}
	})
}

// Hazard 24: what compresses well does not fill the memory: a small answer of many batches is taken in parts.
func TestManyBatchesThatInflateAreTakenInParts(t *testing.T) {
	const batches, size, limit = 20, 1 << 20, 3 << 20
	var set []byte
	for i := range int64(batches) {
		set = append(set, forged{first: i, offsets: []int32{0}, codec: compress.Zstd, value: make([]byte, size)}.bytes(t)...)
	}
	var offsets []int64
	for next, parts := int64(0), 0; next < batches; parts++ {
		records, then, err := parse(&fetchPartition{RecordSet: set}, next, limit)
		if err != nil || then <= next {
			t.Fatalf("from offset %d on to %d: %v", next, then, err)
		}
		inflated := 0
		for _, r := range records {
			inflated += len(r.value)
			offsets = append(offsets, r.offset)
		}
		if inflated > limit+size {
			t.Errorf("%d bytes at once from an answer of %d, want at most %d and one batch", inflated, len(set), limit)
		}
		next = then
	}
	if len(offsets) != batches || !slices.IsSorted(offsets) {
		t.Errorf("offsets %v, want each once", offsets)
	}
}

// FuzzBatch feeds what a broken broker or network could send: no panic, and
// never a record below the position or out of order within a batch's claim.
func FuzzBatch(f *testing.F) {
	for _, c := range []compress.Compression{0, 1, 2, 3, 4} {
		f.Add(forged{first: 5, codec: c, value: []byte("value")}.bytes(f), int64(5), true)
	}
	f.Fuzz(func(t *testing.T, set []byte, next int64, mend bool) {
		if mend && len(set) > batchHeader { // a checksum that is right lets the fuzzer past it
			batch := kmsg.RecordBatch{}
			if batch.ReadFrom(set) == nil && batch.Length > batchHeader-lengthEnd && int(batch.Length)+lengthEnd <= len(set) {
				sum := crc32.Checksum(set[crcEnd:int(batch.Length)+lengthEnd], castagnoli())
				set[17], set[18], set[19], set[20] = byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum)
			}
		}
		records, then, _ := parse(&fetchPartition{RecordSet: set}, next, math.MaxInt64)
		if then < next {
			t.Fatalf("the position went back from %d to %d", next, then)
		}
		for _, r := range records {
			if r.offset < next || r.offset >= then {
				t.Fatalf("record %d outside of [%d, %d)", r.offset, next, then)
			}
		}
	})
}
