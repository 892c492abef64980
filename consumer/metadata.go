package consumer

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"hash/fnv"
	"strconv"
)

// maxMetadata is the longest commit metadata that a broker takes by default,
// in characters: offset.metadata.max.bytes, "The maximum size for a metadata
// entry associated with an offset commit" (Apache Kafka broker configuration).
const maxMetadata = 4096

const (
	metadataVersion = 1
	replayVersion   = 2         // with the end of the replay, and its dead letters
	metadataHeader  = 1 + 4 + 4 // version, hashes of the place and of the topic's id
	metadataTrailer = 4         // CRC-32C of all before it
)

// completions is what a commit says besides its offset: which records above it
// are settled already. It is bound to one place in one cluster and to the
// record at the committed offset, so that a recreated topic, a mirrored offset
// or another tool's text can never make it skip a record. It also says of which
// topic the offset is, without completions too: a broker may take a commit for a
// topic that was deleted and created again a moment before.
type completions struct {
	topic   uint32 // the short id of the topic; 0 if it is not known
	base    int64  // the committed offset; it is that of a record if there are completions
	time    int64  // that record's timestamp, Unix ms
	ends    bool   // a replay's: it ends at end
	end     int64
	letters int64 // a replay's: the dead letters of the partition so far
	done    spans // settled offsets from base on; base itself only if all that was taken is settled
}

// encode returns the metadata as text, because brokers return binary mangled:
// base64 of version, place, topic, base, time, a replay's end and dead letters, the spans nearest to base first as
// varints (distance from the end of the one before, length), checksum. It holds
// as many spans as fit into limit characters; the others are delivered again
// after a crash. No spans, no topic and no end is no metadata: "".
func (c completions) encode(place uint32, limit int) string {
	room := base64.RawURLEncoding.DecodedLen(min(limit, maxMetadata)) - metadataTrailer
	b := make([]byte, 0, 64)
	if c.ends {
		b = append(b, replayVersion)
	} else {
		b = append(b, metadataVersion)
	}
	b = binary.BigEndian.AppendUint32(b, place)
	b = binary.BigEndian.AppendUint32(b, c.topic)
	b = binary.AppendUvarint(b, uint64(c.base))
	b = binary.AppendVarint(b, c.time)
	if c.ends {
		b = binary.AppendUvarint(b, uint64(c.end))
		b = binary.AppendUvarint(b, uint64(c.letters))
	}
	end, some := c.base, c.topic != 0 || c.ends
	for r := range c.done.above(c.base) {
		mark := len(b)
		b = binary.AppendUvarint(b, uint64(r.from-end))
		b = binary.AppendUvarint(b, uint64(r.to-r.from))
		if len(b) > room {
			b = b[:mark]
			break
		}
		end, some = r.to, true
	}
	if !some || len(b) > room {
		return ""
	}
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli()))
	return base64.RawURLEncoding.EncodeToString(b)
}

// Why metadata is not applied. None of them is an error of the run: the records
// that it spoke of are delivered again.
var (
	errMetadataForeign = errors.New("not written by this program")
	errMetadataCorrupt = errors.New("corrupt")
	errMetadataPlace   = errors.New("of another cluster, topic or partition")
	errMetadataBase    = errors.New("of another offset")
)

// decodeCompletions reads metadata that was committed together with offset.
// Text of another tool, of another place or offset, or with a wrong checksum is
// an error; "" is no completions and no error.
func decodeCompletions(text string, place uint32, offset int64) (completions, error) {
	if text == "" {
		return completions{}, nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) < metadataHeader+metadataTrailer || b[0] != metadataVersion && b[0] != replayVersion {
		return completions{}, errMetadataForeign
	}
	b, sum := b[:len(b)-metadataTrailer], b[len(b)-metadataTrailer:]
	if crc32.Checksum(b, castagnoli()) != binary.BigEndian.Uint32(sum) {
		return completions{}, errMetadataCorrupt
	}
	if binary.BigEndian.Uint32(b[1:]) != place {
		return completions{}, errMetadataPlace
	}
	c := completions{topic: binary.BigEndian.Uint32(b[5:]), ends: b[0] == replayVersion}
	b = b[metadataHeader:]
	base, ok := uvarint(&b)
	if !ok {
		return completions{}, errMetadataCorrupt
	}
	if base != offset {
		return completions{}, errMetadataBase
	}
	c.base = base
	t, n := binary.Varint(b)
	if n <= 0 {
		return completions{}, errMetadataCorrupt
	}
	c.time, b = t, b[n:]
	if c.ends {
		end, ok1 := uvarint(&b)
		letters, ok2 := uvarint(&b)
		if !ok1 || !ok2 {
			return completions{}, errMetadataCorrupt
		}
		c.end, c.letters = end, letters
	}
	for end := base; len(b) > 0; {
		gap, ok1 := uvarint(&b)
		length, ok2 := uvarint(&b)
		from, to := end+gap, end+gap+length
		if !ok1 || !ok2 || gap == 0 && len(c.done) > 0 || length < 1 || from < end || to < from {
			return completions{}, errMetadataCorrupt
		}
		c.done = append(c.done, span{from, to})
		end = to
	}
	return c, nil
}

// place names a partition of a topic of a cluster, short enough to be part of
// every commit.
func place(cluster, topic string, partition int32) uint32 {
	h := fnv.New32a()
	h.Write([]byte(cluster + "\x00" + topic + "\x00" + strconv.Itoa(int(partition))))
	return h.Sum32()
}

// uvarint takes one non-negative number off b.
func uvarint(b *[]byte) (int64, bool) {
	v, n := binary.Uvarint(*b)
	if n <= 0 || v > 1<<62 {
		return 0, false
	}
	*b = (*b)[n:]
	return int64(v), true
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }
