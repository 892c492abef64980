package consumer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"
	"github.com/twmb/franz-go/pkg/kmsg"

	"signup-sheet/consumer/signup"
)

// fetchResponse is kafka-go's fetch.Response with the record sets left raw. Its
// own decoder drops a batch's last offset and maximum timestamp and reads
// compressed data without bound: gaps in a compacted log, the append time of a
// topic with LogAppendTime, and memory depend on them.
type fetchResponse struct {
	ThrottleTimeMs int32                `kafka:"min=v1,max=v11"`
	ErrorCode      int16                `kafka:"min=v7,max=v11"`
	SessionID      int32                `kafka:"min=v7,max=v11"`
	Topics         []fetchResponseTopic `kafka:"min=v0,max=v11"`
}

type fetchResponseTopic struct {
	Topic      string           `kafka:"min=v0,max=v11"`
	Partitions []fetchPartition `kafka:"min=v0,max=v11"`
}

type fetchPartition struct {
	Partition            int32                       `kafka:"min=v0,max=v11"`
	ErrorCode            int16                       `kafka:"min=v0,max=v11"`
	HighWatermark        int64                       `kafka:"min=v0,max=v11"`
	LastStableOffset     int64                       `kafka:"min=v4,max=v11"`
	LogStartOffset       int64                       `kafka:"min=v5,max=v11"`
	AbortedTransactions  []fetch.ResponseTransaction `kafka:"min=v4,max=v11"`
	PreferredReadReplica int32                       `kafka:"min=v11,max=v11"`
	RecordSet            []byte                      `kafka:"min=v0,max=v11"`
}

// ApiKey implements protocol.Message.
//
//nolint:revive,staticcheck // the interface's name
func (*fetchResponse) ApiKey() protocol.ApiKey { return protocol.Fetch }

// kafka-go keeps its table of message types in a global that every connection
// reads without a lock, so it is written before any goroutine runs. The price:
// kafka.Client.Fetch cannot be used in this process; nothing here does.
//
//nolint:gochecknoinits // see above
func init() { protocol.Register(&fetch.Request{}, &fetchResponse{}) }

// maxInflated bounds what one compressed batch may grow to, in bytes. A batch
// is at most max.message.bytes (1 MiB by default) compressed.
const maxInflated = 64 << 20

// batchHeader is what precedes a batch's records, in bytes, and lengthEnd what
// precedes the part that its length counts.
const (
	batchHeader = 61
	lengthEnd   = 12
	crcEnd      = 21
	magicAt     = 16
)

// parse reads the record set of one partition from offset next on, by the
// format of record batches, version 2 (Apache Kafka documentation, "Message
// format"). It returns the records at or above next that are neither control
// records nor of aborted transactions, and the offset to fetch next. A set that
// ends within a batch is normal. On an error the records before it are
// returned, with the offset of the batch that is at fault. The records' bytes
// are those of the set where it is not compressed.
//
// It stops when the records so far hold limit bytes, inflated: a small answer can
// hold many batches that inflate to a thousand times their size.
func parse(p *fetchPartition, next, limit int64) ([]record, int64, error) {
	var records []record
	var inflated int64
	aborted := map[int64]bool{}
	ahead := p.AbortedTransactions // ascending by first offset
	for b := p.RecordSet; len(b) >= batchHeader && (inflated < limit || inflated == 0); {
		size := int64(int32(binary.BigEndian.Uint32(b[8:]))) + lengthEnd
		if magic := b[magicAt]; magic != 2 {
			return records, next, fmt.Errorf("batch at offset %d: message format v%d is from before Kafka 0.11 (2017) and is not supported", int64(binary.BigEndian.Uint64(b)), magic)
		}
		if size < batchHeader {
			return records, next, fmt.Errorf("batch at offset %d: length %d is below that of its header", int64(binary.BigEndian.Uint64(b)), size)
		}
		if size > int64(len(b)) {
			break // cut off by the fetch's limit: the rest comes with the next one
		}
		var batch kmsg.RecordBatch
		if err := batch.UnsafeReadFrom(b[:size]); err != nil {
			return records, next, fmt.Errorf("batch at offset %d: %w", int64(binary.BigEndian.Uint64(b)), err)
		}
		if sum := crc32.Checksum(b[crcEnd:size], castagnoli()); sum != uint32(batch.CRC) {
			return records, next, fmt.Errorf("batch at offset %d: checksum is %08x, not %08x: corrupt on disk or on the way", batch.FirstOffset, sum, uint32(batch.CRC))
		}
		b = b[size:]
		end := batch.FirstOffset + int64(batch.LastOffsetDelta) + 1
		if end <= next {
			continue
		}
		for ; len(ahead) > 0 && ahead[0].FirstOffset < end; ahead = ahead[1:] {
			aborted[ahead[0].ProducerID] = true
		}
		kind := attributes(batch.Attributes)
		switch {
		case kind.control():
			// Whether it commits or aborts, the transaction is over.
			delete(aborted, batch.ProducerID)
		case kind.transactional() && aborted[batch.ProducerID]:
		default:
			got, size, err := unpack(&batch, kind, next)
			if err != nil {
				return records, next, fmt.Errorf("batch at offset %d: %w", batch.FirstOffset, err)
			}
			records = append(records, got...)
			inflated += size
		}
		// The last offset may belong to a record that compaction removed; a batch
		// without any record still moves the position.
		next = end
	}
	return records, next, nil
}

// attributes are a batch's flags.
type attributes int16

func (a attributes) codec() compress.Compression { return compress.Compression(a & 0x7) }
func (a attributes) appendTime() bool            { return a&0x8 != 0 }
func (a attributes) transactional() bool         { return a&0x10 != 0 }
func (a attributes) control() bool               { return a&0x20 != 0 }

// unpack reads the records of one batch from offset next on, and returns how many
// bytes the batch holds, inflated.
func unpack(batch *kmsg.RecordBatch, kind attributes, next int64) ([]record, int64, error) {
	raw := batch.Records
	if codec := kind.codec(); codec != compress.None {
		var err error
		if raw, err = inflate(codec, raw); err != nil {
			return nil, 0, err
		}
	}
	size := int64(len(raw))
	if batch.NumRecords < 0 || int(batch.NumRecords) > len(raw) {
		return nil, 0, fmt.Errorf("%d records in %d bytes", batch.NumRecords, len(raw))
	}
	records := make([]record, 0, min(batch.NumRecords, 1<<12)) // more come as they prove to be there
	last := batch.FirstOffset - 1
	for range batch.NumRecords {
		length, n := binary.Varint(raw)
		if n <= 0 || length < 0 || length > int64(len(raw)-n) {
			return nil, 0, errors.New("a record is longer than its batch")
		}
		var r kmsg.Record
		if err := r.UnsafeReadFrom(raw[:n+int(length)]); err != nil {
			return nil, 0, fmt.Errorf("record: %w", err)
		}
		raw = raw[n+int(length):]
		got := record{offset: batch.FirstOffset + int64(r.OffsetDelta), time: batch.FirstTimestamp + r.TimestampDelta64, key: r.Key, value: r.Value}
		if got.offset <= last || got.offset > batch.FirstOffset+int64(batch.LastOffsetDelta) {
			return nil, 0, fmt.Errorf("record at offset %d is out of order", got.offset)
		}
		last = got.offset
		if got.offset < next {
			continue
		}
		if kind.appendTime() {
			got.time = batch.MaxTimestamp
		}
		if len(r.Headers) > 0 {
			got.headers = make([]signup.Header, len(r.Headers))
			for i, h := range r.Headers {
				got.headers[i] = signup.Header{Key: h.Key, Value: h.Value}
			}
		}
		records = append(records, got)
	}
	return records, size, nil
}

// inflate decompresses a batch's records.
func inflate(codec compress.Compression, b []byte) ([]byte, error) {
	if codec.Codec() == nil {
		return nil, fmt.Errorf("compression %d is not known", codec)
	}
	r := codec.Codec().NewReader(bytes.NewReader(b))
	defer r.Close()
	var out bytes.Buffer
	out.Grow(4 * len(b))
	n, err := io.Copy(&out, io.LimitReader(r, maxInflated+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", codec, err)
	}
	if n > maxInflated {
		return nil, fmt.Errorf("%s: inflates to more than %d MiB", codec, maxInflated>>20)
	}
	return out.Bytes(), nil
}
