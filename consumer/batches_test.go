package consumer_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Hazard 9: what was compressed by any codec is delivered. (In real time, because kafka-go keeps its decoders of zstd for whoever needs one
// next: one that was made in a bubble must not be used outside of it, by another test.)
func TestRecordsOfEveryCodecAreDelivered(t *testing.T) {
	s := set(t, 1)
	var records []*kgo.Record
	for name, codec := range map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	} {
		c := s.Client(t, kgo.ProducerBatchCompression(codec), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(10*time.Millisecond))
		batch := s.signups(name, 100, 10)
		for _, r := range batch {
			r.Topic = s.topic
		}
		if err := c.ProduceSync(t.Context(), batch...).FirstErr(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := s.codecAt(t, batch[0].Offset); got != name {
			t.Fatalf("the batch of %s is stored as %s", name, got)
		}
		records = append(records, batch...)
	}
	m := s.join(t)
	s.delivered(t, 500)
	s.committed(t, 500)
	m.leave(t)
	s.judge(t, records, 0)
}

// Hazard 9: the same of the Java producer, which is another implementation of
// the codecs and of their framing.
func TestRecordsOfTheJavaProducerAreDelivered(t *testing.T) {
	s := set(t, 1)
	if !s.Real() {
		t.Skip("needs Apache Kafka: make test-kafka")
	}
	const produce = `. ../test/kafka/paths; [ -d "$lib" ] || exit 77; exec "${jvm[@]}" -cp "$lib/*" org.apache.kafka.tools.ConsoleProducer --bootstrap-server "$1" --topic "$2" --compression-codec "$3"`
	var records []*kgo.Record
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		var lines bytes.Buffer
		for i := range 200 {
			r := &kgo.Record{Value: event(fmt.Sprintf("%s-%d", codec, i))}
			records = append(records, r)
			fmt.Fprintf(&lines, "%s\n", r.Value)
		}
		at := s.EndOffsets(t, s.topic)[0]
		cmd := exec.CommandContext(t.Context(), "bash", "-c", produce, "produce", strings.Join(s.Addrs(), ","), s.topic, codec)
		cmd.Stdin = &lines
		if out, err := cmd.CombinedOutput(); err != nil {
			if cmd.ProcessState.ExitCode() == 77 {
				t.Skip("needs the Java producer: make test-kafka")
			}
			t.Fatalf("%v: %s", err, out)
		}
		if got := s.codecAt(t, at); got != codec {
			t.Fatalf("the batch of %s is stored as %s", codec, got)
		}
	}
	m := s.join(t)
	s.delivered(t, len(records))
	s.committed(t, int64(len(records)))
	m.leave(t)
	s.judge(t, records, 0)
}

// codecAt tells how the batch at an offset of partition 0 is compressed in the log.
func (s *scene) codecAt(t *testing.T, offset int64) string {
	t.Helper()
	var b kmsg.RecordBatch
	if err := b.ReadFrom(s.batchAt(t, offset)); err != nil {
		t.Fatal(err)
	}
	return []string{"none", "gzip", "snappy", "lz4", "zstd"}[b.Attributes&7]
}

// batchAt returns the bytes of the record batch that has the offset, in
// partition 0, as the broker answers with them.
func (s *scene) batchAt(t *testing.T, offset int64) []byte {
	t.Helper()
	c := s.Client(t)
	topics, err := kadm.NewClient(c).ListTopics(t.Context(), s.topic)
	if err != nil {
		t.Fatal(err)
	}
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 500, 1, 1<<20
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic, rt.TopicID = s.topic, topics[s.topic].ID
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.FetchOffset, rp.PartitionMaxBytes = offset, 1<<20
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	res, err := c.Broker(int(topics[s.topic].Partitions[0].Leader)).Request(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	raw := res.(*kmsg.FetchResponse).Topics[0].Partitions[0].RecordBatches
	return raw[:12+binary.BigEndian.Uint32(raw[8:])]
}

// forge answers fetches of partition 0 from below offset until with the batches
// that next returns, as long as it returns some, and counts all fetches.
func (s *scene) forge(until int64, next func(offset int64) []byte) *atomic.Int64 {
	var fetches atomic.Int64
	s.Fake().ControlKey(int16(kmsg.Fetch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		s.Fake().KeepControl()
		fetches.Add(1)
		req := kreq.(*kmsg.FetchRequest)
		offset := req.Topics[0].Partitions[0].FetchOffset
		if offset >= until {
			return nil, nil, false
		}
		batches := next(offset)
		if batches == nil {
			return nil, nil, false
		}
		res := req.ResponseKind().(*kmsg.FetchResponse)
		rt := kmsg.NewFetchResponseTopic()
		rt.Topic, rt.TopicID = req.Topics[0].Topic, req.Topics[0].TopicID
		rp := kmsg.NewFetchResponseTopicPartition()
		rp.HighWatermark, rp.LastStableOffset, rp.RecordBatches = until, until, batches
		rt.Partitions = append(rt.Partitions, rp)
		res.Topics = append(res.Topics, rt)
		return res, nil, true
	})
	return &fetches
}

// Hazard 9: a batch whose checksum is wrong is an error and a metric, never a
// delivery. The records before it are delivered, and so are its own as soon as
// a fetch brings them whole.
func TestACorruptBatchIsAnErrorAndHealsByItself(t *testing.T) {
	for name, at := range map[string]int{"in a value": -20, "in the checksum": 17, "in the attributes": 22, "in the count": 60} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := setVirtual(t, 1)
				records := s.publish(t, "good", 5, 5)
				records = append(records, s.publish(t, "bad", 5, 5)...)
				good := s.batchAt(t, 0)
				bad := s.batchAt(t, 5)
				bad[(len(bad)+at)%len(bad)] ^= 1
				var healed atomic.Bool
				var refetched atomic.Int64
				fetches := s.forge(10, func(offset int64) []byte {
					switch {
					case healed.Load():
						return nil
					case offset == 0:
						return slices.Concat(good, bad)
					default:
						refetched.Add(1)
						return bad
					}
				})
				m := s.join(t)
				s.delivered(t, 5)
				time.Sleep(30 * time.Second) //nolint:forbidigo // virtual: how long the corruption lasts
				if got := m.metric(t, "fetch_errors_total", "corrupt"); got < 2 || got > 20 {
					t.Errorf("%v errors in 30 s, want some, further and further apart (%d fetches)", got, fetches.Load())
				}
				if !m.log.has("cannot fetch: trying again") {
					t.Error("nothing in the log")
				}
				if got := s.sheet.State().Attempts; got != 5 {
					t.Errorf("%d attempts, want those of the good batch", got)
				}
				if got := s.Committed(t, s.group, s.topic)[0].Offset; got != 5 {
					t.Errorf("committed %d, want 5", got)
				}
				healed.Store(true)
				s.delivered(t, 10)
				s.committed(t, 10)
				m.leave(t)
				s.judge(t, records, 0)
			})
		})
	}
}

// emptied returns a batch as compaction leaves it of the last one of a
// producer: without records, and with the offsets that they had.
func emptied(first, last int64) []byte {
	b := (&kmsg.RecordBatch{FirstOffset: first, Length: 49, Magic: 2, LastOffsetDelta: int32(last - first), ProducerID: 7}).AppendTo(nil)
	seal(b)
	return b
}

// seal puts the right checksum into a batch.
func seal(b []byte) {
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
}

// Hazard 9: batches without records move the position: neither a hot loop nor a
// stall, in the middle of the log and at its end.
func TestEmptyBatchesAreSteppedOverAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 1)
		s.publish(t, "head", 10, 10)
		records := s.publish(t, "middle", 5, 5)
		s.publish(t, "tail", 5, 5)
		head := slices.Concat(emptied(0, 3), emptied(4, 4), emptied(5, 5), emptied(6, 9))
		middle, tail := s.batchAt(t, 10), emptied(15, 19)
		fetches := s.forge(20, func(offset int64) []byte {
			switch {
			case offset < 10:
				return head
			case offset < 15:
				return middle
			default:
				return tail
			}
		})
		m := s.join(t)
		s.delivered(t, 5)
		s.committed(t, 20)
		before, began := fetches.Load(), time.Now()
		time.Sleep(time.Minute) //nolint:forbidigo // virtual: fetches that find nothing
		if before > 10 {
			t.Errorf("%d fetches up to the end of the log", before)
		}
		if got := float64(fetches.Load()-before) / time.Since(began).Seconds(); got > 3 {
			t.Errorf("%.1f fetches a second at the end of the log", got)
		}
		m.leave(t)
		s.judge(t, records, 0)
	})
}

// Hazard 9: in a compacted log most offsets are missing; the watermark passes
// them, and the last of them too.
func TestACompactedLogIsDeliveredToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 1)
		s.compacted(t)
		for i := range 50 {
			s.publish(t, fmt.Sprintf("c%d", i), 10, 1+i%10)
		}
		s.Fake().Compact()
		left := s.ReadAll(t, s.topic)
		if len(left) < 10 || len(left) > 60 {
			t.Fatalf("%d records left of 500", len(left))
		}
		var fetches atomic.Int64
		s.Fake().ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
			fetches.Add(1)
			return nil, nil, false
		})
		m := s.join(t)
		s.delivered(t, len(left))
		s.committed(t, 500)
		if n := fetches.Load(); n > 20 {
			t.Errorf("%d fetches", n)
		}
		m.leave(t)
		s.judge(t, left, 0)
	})
}

// compacted makes the scene's topic a compacted one.
func (s *scene) compacted(t *testing.T) {
	t.Helper()
	policy := "compact"
	_, err := kadm.NewClient(s.Client(t)).AlterTopicConfigs(context.WithoutCancel(t.Context()), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "cleanup.policy", Value: &policy}}, s.topic)
	if err != nil {
		t.Fatal(err)
	}
}
