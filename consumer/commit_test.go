package consumer_test

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"signup-sheet/consumer"
	"signup-sheet/internal/receiver"
)

// ledger holds every commit that is sent against what was done by then.
type ledger struct {
	t       *testing.T
	s       *scene
	cluster string
	records map[spot]*kgo.Record

	mu        sync.Mutex
	buried    map[spot]bool   // their dead letters are acknowledged
	done      map[spot]bool   // those that were found to be settled
	proved    map[int32]int64 // all below it is
	committed map[int32]int64 // acknowledged
	commits   int
	listed    int // offsets found in metadata
	wrong     int
}

// spot is one record's place in the topic.
type spot struct {
	partition int32
	offset    int64
}

func newLedger(t *testing.T, s *scene, records []*kgo.Record) *ledger {
	t.Helper()
	meta, err := kadm.NewClient(s.Client(t)).BrokerMetadata(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l := &ledger{
		t: t, s: s, cluster: meta.Cluster, records: map[spot]*kgo.Record{},
		buried: map[spot]bool{}, done: map[spot]bool{}, proved: map[int32]int64{}, committed: map[int32]int64{},
	}
	for _, r := range records {
		l.records[spot{r.Partition, r.Offset}] = r
	}
	return l
}

// watch makes the ledger see what goes over a member's wire.
func (l *ledger) watch(w *wire) {
	w.request = func(req kmsg.Request) fate {
		if commit, ok := req.(*kmsg.OffsetCommitRequest); ok {
			l.commit(commit)
		}
		return arrives
	}
	w.answer = func(req kmsg.Request, res kmsg.Response) bool {
		switch req := req.(type) {
		case *kmsg.ProduceRequest:
			l.produced(req, res.(*kmsg.ProduceResponse))
		case *kmsg.OffsetCommitRequest:
			l.acknowledged(req, res.(*kmsg.OffsetCommitResponse))
		}
		return false
	}
}

// commit requires that all that a commit says is settled is so now.
func (l *ledger) commit(req *kmsg.OffsetCommitRequest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			l.commits++
			for o := l.proved[p.Partition]; o < p.Offset; o++ {
				l.settled(spot{p.Partition, o}, "lies below the committed offset "+strconv.FormatInt(p.Offset, 10))
			}
			l.proved[p.Partition] = max(l.proved[p.Partition], p.Offset)
			if p.Metadata == nil || *p.Metadata == "" {
				continue
			}
			runs, err := consumer.Completed(*p.Metadata, l.cluster, l.s.topic, p.Partition, p.Offset)
			if err != nil {
				l.t.Errorf("metadata of partition %d at offset %d: %v", p.Partition, p.Offset, err)
			}
			for _, run := range runs {
				for o := run[0]; o < run[1]; o++ {
					l.listed++
					l.settled(spot{p.Partition, o}, "is in the metadata of the commit of offset "+strconv.FormatInt(p.Offset, 10))
				}
			}
		}
	}
}

// settled requires that a record is done with. l.mu is held.
func (l *ledger) settled(at spot, why string) {
	if l.done[at] {
		return
	}
	r := l.records[at]
	if r != nil && (r.Value == nil || l.buried[at] || l.s.sheet.Count(idOf(r.Value)) > 0) {
		l.done[at] = true
		return
	}
	if l.wrong++; l.wrong <= 10 {
		l.t.Errorf("record %+v %s, but is neither accepted nor dead-lettered", at, why)
	}
}

// produced notes the dead letters that are acknowledged.
func (l *ledger) produced(req *kmsg.ProduceRequest, res *kmsg.ProduceResponse) {
	if res.Topics[0].Partitions[0].ErrorCode != 0 {
		return
	}
	if req.Acks != -1 {
		l.t.Errorf("dead letters are written with acks=%d", req.Acks)
	}
	p := kmsg.NewFetchResponseTopicPartition()
	p.RecordBatches = req.Topics[0].Partitions[0].Records
	got, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Topic: l.s.dlq()}, &p, kgo.DefaultDecompressor(), nil)
	if got.Err != nil || len(got.Records) == 0 {
		l.t.Errorf("%d dead letters: %v", len(got.Records), got.Err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range got.Records {
		l.buried[spot{int32(number(r, "__connect.errors.partition")), number(r, "__connect.errors.offset")}] = true
	}
}

// number is the value of a header.
func number(r *kgo.Record, header string) int64 {
	for _, h := range r.Headers {
		if h.Key == header {
			n, err := strconv.ParseInt(string(h.Value), 10, 64)
			if err != nil {
				return -1
			}
			return n
		}
	}
	return -1
}

// acknowledged requires that no accepted commit goes back.
func (l *ledger) acknowledged(req *kmsg.OffsetCommitRequest, res *kmsg.OffsetCommitResponse) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ok := map[int32]bool{}
	for _, p := range res.Topics[0].Partitions {
		ok[p.Partition] = p.ErrorCode == 0
	}
	for _, p := range req.Topics[0].Partitions {
		if !ok[p.Partition] {
			continue
		}
		if before := l.committed[p.Partition]; p.Offset < before {
			l.t.Errorf("the committed offset of partition %d went back from %d to %d", p.Partition, before, p.Offset)
		}
		l.committed[p.Partition] = p.Offset
	}
}

// committedUpTo tells whether all partitions are committed up to an offset.
func (s *scene) committedUpTo(t *testing.T, offset int64) bool {
	t.Helper()
	commits := s.Committed(t, s.group, s.topic)
	for p := range s.partitions {
		if commits[p].Offset < offset {
			return false
		}
	}
	return true
}

// chance is a share of the ids, always the same ones for a salt.
func chance(id, salt string, percent uint32) bool {
	h := fnv.New32a()
	h.Write([]byte(salt + id))
	return h.Sum32()%100 < percent
}

// isRefused tells which rows the endpoint refuses.
func isRefused(id string) bool { return !strings.HasPrefix(id, "late-") && chance(id, "refused", 2) }

// expect makes the ledger know records before they are written, behind all others of their partitions.
func (l *ledger) expect(records []*kgo.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range records {
		var end int64
		for at := range l.records {
			if at.partition == r.Partition {
				end = max(end, at.offset+1)
			}
		}
		l.records[spot{r.Partition, end}] = r
	}
}

// Hazard 1: a commit runs ahead of delivery.
func TestNoCommitRunsAheadOfDelivery(t *testing.T) {
	play(t, 3, func(t *testing.T, s *scene) {
		const n = 3000
		records := s.signups("x", n, 300)
		poison, refused, tombstones := 0, 0, 0
		for i, r := range records {
			switch id := idOf(r.Value); {
			case i%41 == 7:
				r.Value = fmt.Appendf(nil, `{"id":%q}`, id) // no email
				poison++
			case i%67 == 9:
				r.Value = nil
				tombstones++
			case isRefused(id):
				refused++
			}
		}
		s.Produce(t, s.topic, records...)
		s.sheet.Script(func(_ context.Context, a receiver.Attempt) receiver.Answer {
			answer := receiver.Answer{Delay: rand.N(150 * time.Millisecond)}
			switch first := a.N == 1; {
			case isRefused(a.EventID):
				answer.Status = http.StatusUnprocessableEntity
			case first && chance(a.EventID, "busy", 5):
				answer.Status = http.StatusServiceUnavailable
			case first && chance(a.EventID, "lost", 2):
				answer.Drop = true
			case first && chance(a.EventID, "slow", 1):
				answer.Delay = 3 * time.Second
			}
			return answer
		})
		l := newLedger(t, s, records)
		few := func(cfg *consumer.Config) { cfg.Sink.Concurrency = 12 }
		member := func() (*member, *wire) {
			w := newWire(s)
			l.watch(w)
			return s.join(t, quick, few, w.on), w
		}
		more := func(rows int) { s.delivered(t, min(s.sheet.State().Rows+rows, n-poison-refused-tombstones)) }

		a, wa := member()
		more(200)
		s.WaitGroup(t, s.group, 1)
		b, _ := member()
		s.WaitGroup(t, s.group, 2)
		more(200)
		c, _ := member()
		s.WaitGroup(t, s.group, 3)
		more(200)
		b.leave(t)
		s.WaitGroup(t, s.group, 2)
		more(200)
		wa.sever() // the group gives up on a, which is busy
		s.WaitGroup(t, s.group, 1)
		more(200)
		wa.mend()
		s.WaitGroup(t, s.group, 2)
		more(200)
		c.leave(t)
		s.WaitGroup(t, s.group, 1)
		// A refused row is given up when another is accepted after it: those that chance makes the last need some more.
		for i := 0; !s.committedUpTo(t, n/int64(s.partitions)); i++ {
			if i == 60 {
				t.Fatal("the commits do not reach the end")
			}
			more := s.signups(fmt.Sprint("late-", i), int(s.partitions), int(s.partitions))
			for _, r := range more {
				r.Key = []byte(idOf(r.Value)) // behind nobody who waits
			}
			l.expect(more)
			s.Produce(t, s.topic, more...)
			records = append(records, more...)
			<-time.After(time.Second)
		}
		s.committed(t, int64(len(records)))
		a.leave(t)

		if got := len(s.ReadAll(t, s.dlq())); got < poison+refused {
			t.Errorf("%d dead letters of %d records", got, poison+refused)
		}
		var good []*kgo.Record
		for _, r := range records {
			if id := idOf(r.Value); r.Value != nil && strings.Contains(string(r.Value), "email") && !isRefused(id) {
				good = append(good, r)
			}
		}
		s.judge(t, good, len(good))
		l.mu.Lock()
		defer l.mu.Unlock()
		t.Logf("%d commits of a partition, %d offsets in metadata, %d dead letters, %d duplicates", l.commits, l.listed, len(l.buried), s.sheet.State().Duplicates())
		if l.commits < 20 || l.listed < 100 || len(l.buried) != poison+refused || len(l.done) != len(records) {
			t.Errorf("too little was seen: %d commits, %d offsets in metadata, %d dead letters, %d records settled", l.commits, l.listed, len(l.buried), len(l.done))
		}
	})
}

// Hazard 1: a commit that is under way when the member drains must not arrive
// after the last one, or the committed offset goes back.
func TestTheLastCommitOfADrainIsTheLast(t *testing.T) {
	play(t, 2, func(t *testing.T, s *scene) {
		w := newWire(s)
		l := newLedger(t, s, nil)
		l.watch(w)
		var armed, held bool // guarded by w.mu
		w.request = func(req kmsg.Request) (f fate) {
			if req.Key() == kmsg.OffsetCommit.Int16() {
				w.set(func() {
					if armed && !held {
						held, f = true, late
					}
				})
			}
			return f
		}
		a := s.join(t, w.on)
		s.WaitGroup(t, s.group, 1)
		c := s.join(t, patient)
		s.WaitGroup(t, s.group, 2)
		a.running(t, 1)
		c.running(t, 1)
		// The group waits for c, so that the generation of a's commits lasts.
		s.sheet.Script(receiver.Any(
			receiver.Event("slow", receiver.Always(receiver.Answer{Delay: 4 * time.Second})),
			receiver.Always(receiver.Answer{Delay: 20 * time.Millisecond}),
		))
		slow := &kgo.Record{Key: []byte("k"), Value: event("slow"), Partition: c.Status().Partitions[0].Partition}
		records := s.signups("x", 200, 1)
		for _, r := range records {
			r.Partition = a.Status().Partitions[0].Partition
		}
		s.Produce(t, s.topic, records...)
		s.delivered(t, 50)
		w.set(func() { armed = true })
		await(t, "a commit is under way", func() (ok bool) { w.set(func() { ok = held }); return ok })
		s.Produce(t, s.topic, slow)
		records = append(records, slow)
		await(t, "c is busy", func() bool { return s.sheet.Attempts("slow") == 1 })
		began := time.Now()
		b := s.join(t)
		await(t, "a hears of b", func() bool { return len(heard(w, began)) > 0 })
		<-time.After(500 * time.Millisecond)
		w.flow()
		s.WaitGroup(t, s.group, 3)
		if drain := drains(w, began); len(drain) != 1 {
			t.Errorf("drains: %v", drain)
		}
		s.delivered(t, len(records))
		s.committed(t, int64(len(records)))
		for _, m := range []*member{a, b, c} {
			m.leave(t)
		}
		s.judge(t, records, 0)
	})
}
