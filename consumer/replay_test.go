package consumer_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"signup-sheet/consumer"
	"signup-sheet/consumer/signup"
	"signup-sheet/internal/receiver"
)

// day is the range that the tests replay: recent enough for every retention.
func day() consumer.Range {
	from := time.Now().Add(-3 * time.Hour).Truncate(time.Second)
	return consumer.Range{From: from, To: from.Add(time.Hour)}
}

// replay starts a process of a replay.
func (s *scene) replay(t *testing.T, r consumer.Range, tweaks ...func(*consumer.Config)) *member {
	t.Helper()
	return s.join(t, append([]func(*consumer.Config){func(c *consumer.Config) {
		c.Range, c.Group = &r, r.Group(c.Group, c.Topic, "")
	}}, tweaks...)...)
}

// groupOf is that of a replay on the scene.
func (s *scene) groupOf(r consumer.Range) string { return r.Group(s.group, s.topic, "") }

// finishes waits until a replay has come to its end by itself.
func (m *member) finishes(t *testing.T) consumer.Progress {
	t.Helper()
	select {
	case <-m.done:
	case <-time.After(2 * time.Minute):
		t.Fatalf("the replay does not end: %+v", m.Progress())
	}
	p := m.Progress()
	if m.err != nil || !p.Finished || p.Done != p.Total {
		t.Fatalf("the replay ended with %v: %+v", m.err, p)
	}
	return p
}

// publishAt writes signups prefix-0… with these timestamps, in turn to the
// partitions.
func (s *scene) publishAt(t *testing.T, prefix string, times ...time.Time) []*kgo.Record {
	t.Helper()
	rs := s.signups(prefix, len(times), len(times))
	for i, r := range rs {
		r.Timestamp = times[i]
	}
	s.Produce(t, s.topic, rs...)
	return rs
}

// every returns n times from a moment on.
func every(from time.Time, step time.Duration, n int) []time.Time {
	times := make([]time.Time, n)
	for i := range times {
		times[i] = from.Add(time.Duration(i) * step)
	}
	return times
}

// within are the records of a range.
func within(r consumer.Range, records []*kgo.Record) []*kgo.Record {
	var in []*kgo.Record
	for _, rec := range records {
		if !rec.Timestamp.Before(r.From) && rec.Timestamp.Before(r.To) {
			in = append(in, rec)
		}
	}
	return in
}

// holds requires that exactly these records are rows, each accepted so often.
func (s *scene) holds(t *testing.T, times int, records []*kgo.Record) {
	t.Helper()
	want := map[string]bool{}
	for _, r := range records {
		id := idOf(r.Value)
		want[id] = true
		if n := s.sheet.Count(id); n != times {
			t.Errorf("%s was accepted %d times, want %d", id, n, times)
		}
	}
	for _, row := range s.sheet.Rows() {
		if !want[row.EventID] {
			t.Errorf("%s is in the sheet, but not of the range", row.EventID)
		}
	}
}

// A replay sends the records of its range and no other, ends by itself, and
// leaves the group of the consumer beside it alone. The name of its group tells
// topic and range.
func TestReplaySendsItsRangeBesideTheConsumer(t *testing.T) {
	play(t, 3, func(t *testing.T, s *scene) {
		r := day()
		records := s.publishAt(t, "r", every(r.From.Add(-time.Hour), time.Minute, 180)...)
		live := s.join(t)
		s.delivered(t, 180)
		s.committed(t, 180)
		before, generation := s.Committed(t, s.group, s.topic), live.Status().Generation

		m := s.replay(t, r)
		p := m.finishes(t)
		in := within(r, records)
		if len(in) != 60 || p.Sent != 60 {
			t.Errorf("%d records sent, want the %d of the range", p.Sent, len(in))
		}
		for _, rec := range records {
			want := 1
			if slices.Contains(in, rec) {
				want = 2
			}
			if n := s.sheet.Count(idOf(rec.Value)); n != want {
				t.Errorf("%s at %s was accepted %d times, want %d", idOf(rec.Value), rec.Timestamp, n, want)
			}
		}
		if after := s.Committed(t, s.group, s.topic); len(after) != len(before) || after[0].Offset != before[0].Offset || after[1].Offset != before[1].Offset {
			t.Errorf("the consumer's commits were %v and are %v", before, after)
		}
		if g := live.Status().Generation; g != generation {
			t.Errorf("the consumer's generation was %d and is %d", generation, g)
		}
		for p, end := range s.EndOffsets(t, s.topic) {
			if c := s.Committed(t, s.groupOf(r), s.topic)[p]; c.Offset != end {
				t.Errorf("partition %d: the replay's commit is %d, want the end, %d", p, c.Offset, end)
			}
		}
	})
}

// Timestamps that producers set need not be in order: older records that follow
// younger ones are of the range, and younger ones among them are not.
func TestReplayGoesByTheTimeOfEachRecord(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		r := day()
		records := s.publishAt(t, "r",
			r.From.Add(-time.Minute),                  // skipped by the start offset
			r.From,                                    // inclusive
			r.From.Add(-time.Millisecond),             // behind it, but too old
			r.To,                                      // exclusive
			r.To.Add(time.Hour),                       // younger
			r.From.Add(time.Minute),                   // late
			r.To.Add(-time.Millisecond), r.To, r.From) // the last late one at the end
		m := s.replay(t, r)
		p := m.finishes(t)
		s.holds(t, 1, within(r, records))
		if p.Sent != 4 || p.OutsideRange != 4 || p.Total != 8 {
			t.Errorf("%+v, want 4 rows and 4 records outside, of 8", p)
		}
		if got := m.metric(t, "records_skipped_total"); got != 4 {
			t.Errorf("the metric of skipped records is %v, want 4", got)
		}
	})
}

// Nothing to replay is no reason to wait: no record at all, none that is young
// enough, none of the range between older and younger ones.
func TestReplayOfAnEmptyRangeEnds(t *testing.T) {
	play(t, 4, func(t *testing.T, s *scene) {
		r := day()
		old, older, young, younger := r.From.Add(-time.Minute), r.From.Add(-2*time.Minute), r.To, r.To.Add(time.Minute)
		records := s.signups("r", 5, 5)
		for i, at := range []time.Time{older, old, young, old, younger} {
			records[i].Timestamp, records[i].Partition = at, []int32{0, 0, 1, 2, 2}[i] // the last partition stays empty
		}
		s.Produce(t, s.topic, records...)
		if p := s.replay(t, r).finishes(t); p.Sent != 0 || len(p.Cut) > 0 {
			t.Errorf("%+v, want nothing", p)
		}
		if n := s.sheet.State().Requests; n > 0 {
			t.Errorf("%d requests", n)
		}
	})
}

// Hazard 6: what retention removed of the range before the replay began is said,
// by partition, also when all of it is gone; an untouched log is no such case.
func TestReplaySaysWhereRetentionCutTheRange(t *testing.T) {
	play(t, 3, func(t *testing.T, s *scene) {
		r := day()
		var records []*kgo.Record
		for p := range int32(3) {
			rs := s.signups(fmt.Sprintf("p%d", p), 20, 20)
			for i, rec := range rs {
				rec.Partition, rec.Timestamp = p, r.From.Add(time.Duration(i-5)*time.Minute)
			}
			s.Produce(t, s.topic, rs...)
			records = append(records, rs...)
		}
		s.DeleteRecords(t, s.topic, 0, 3)  // before the range
		s.DeleteRecords(t, s.topic, 1, 10) // within it
		s.DeleteRecords(t, s.topic, 2, 20) // all
		want := slices.Concat(within(r, records[:20]), records[30:40])
		m := s.replay(t, r)
		p := m.finishes(t)
		s.holds(t, 1, want)
		if !slices.Equal(p.Cut, []int32{1, 2}) {
			t.Errorf("cut in partitions %v, want 1 and 2", p.Cut)
		}
		if n := strings.Count(m.log.String(), "the log begins within the range or after it"); n != 2 {
			t.Errorf("said %d times, want 2", n)
		}
	})
}

// Hazards 6 and 8: a replay ends where transactions do, with a marker and nothing
// behind it, and where retention has removed all up to the end meanwhile.
func TestReplayReachesAnEndWithoutRecords(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		r := consumer.Range{From: time.Now().Add(-time.Hour).Truncate(time.Second), To: time.Now().Add(time.Hour)}
		c := s.transactional(t)
		records := s.transact(t, c, "a", 5, kgo.TryCommit)
		aborted := s.transact(t, c, "b", 5, kgo.TryAbort)
		p := s.replay(t, r).finishes(t)
		s.holds(t, 1, records)
		if p.Sent != 5 || p.Total != 12 {
			t.Errorf("%+v, want 5 of 12 offsets", p)
		}
		for _, rec := range aborted {
			if s.sheet.Attempts(idOf(rec.Value)) > 0 {
				t.Errorf("%s was aborted and sent", idOf(rec.Value))
			}
		}

		hang := make(chan struct{})
		s.sheet.Script(receiver.Always(receiver.Answer{Hang: hang, Status: 503}))
		again := func(c *consumer.Config) {
			c.Group += ".again"
			c.Window, c.Sink.Timeout, c.DrainTimeout = 1, time.Minute, 2*time.Minute
		}
		m := s.replay(t, r, again)
		await(t, "an attempt", func() bool { return s.sheet.InFlight() == 1 })
		s.DeleteRecords(t, s.topic, 0, 12)
		s.sheet.Script(nil)
		close(hang)
		if p := m.finishes(t); p.Sent != 1 || p.Lost != 11 {
			t.Errorf("%+v, want one row, and the other 11 offsets lost to retention", p)
		}
	})
}

// Hazard 9: the last offsets before the end, and others, belong to records that
// compaction removed.
func TestReplayOfACompactedLogEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 1)
		s.compacted(t)
		r := day()
		for i := range 50 {
			rs := s.signups(fmt.Sprintf("c%d", i), 10, 1+i%10)
			for _, rec := range rs {
				rec.Timestamp = r.From.Add(time.Duration(i) * 2 * time.Minute)
			}
			s.Produce(t, s.topic, rs...)
		}
		s.Fake().Compact()
		left := s.ReadAll(t, s.topic)
		if len(left) < 10 || len(left) > 60 {
			t.Fatalf("%d records left of 500", len(left))
		}
		s.replay(t, consumer.Range{From: r.From, To: r.To.Add(time.Hour)}).finishes(t)
		s.holds(t, 1, left)
	})
}

// An interrupted replay goes on where it stopped and ends where it would have
// ended: neither again what was sent, nor what was published since. One that is
// finished does nothing any more.
func TestReplayGoesOnToTheSameEndAndOnlyOnce(t *testing.T) {
	play(t, 2, func(t *testing.T, s *scene) {
		r := day()
		records := s.publishAt(t, "r", every(r.From, time.Second, 400)...)
		s.sheet.Script(receiver.Always(receiver.Answer{Delay: 50 * time.Millisecond}))
		few := func(c *consumer.Config) { c.Sink.Concurrency = 8 }
		m := s.replay(t, r, few)
		s.delivered(t, 100)
		m.leave(t)
		if p := m.Progress(); p.Finished || p.Sent < 100 || p.Sent >= 400 || p.Done < 1 || p.Done >= p.Total || p.Total != 400 {
			t.Errorf("interrupted: %+v", p)
		}
		s.publishAt(t, "late", every(r.From, time.Second, 10)...) // of the range, but behind the end
		s.sheet.Script(nil)
		s.WaitGroup(t, s.groupOf(r), 0)

		next := s.replay(t, r, few)
		if p := next.finishes(t); p.Before || p.Total != 400 || m.Progress().Sent+p.Sent != 400 {
			t.Errorf("%d rows, then %+v", m.Progress().Sent, p)
		}
		s.holds(t, 1, records)

		if p := s.replay(t, r).finishes(t); !p.Before || p.Sent > 0 {
			t.Errorf("a finished replay again: %+v", p)
		}
		s.holds(t, 1, records)
	})
}

// The dead letters of a replay are known to all of its processes, also to one that goes on after an interruption or
// finds it finished: exit codes depend on it.
func TestReplayKnowsTheDeadLettersOfEarlierProcesses(t *testing.T) {
	play(t, 2, func(t *testing.T, s *scene) {
		r := day()
		for p := range int32(2) { // one partition may come to its turn after the interruption
			s.Produce(t, s.topic, &kgo.Record{Value: []byte("{"), Timestamp: r.From, Partition: p})
		}
		s.publishAt(t, "r", every(r.From, time.Second, 400)...)
		s.sheet.Script(receiver.Always(receiver.Answer{Delay: 50 * time.Millisecond}))
		few := func(c *consumer.Config) { c.Sink.Concurrency = 8 }
		m := s.replay(t, r, few)
		s.delivered(t, 100)
		m.leave(t)
		first := m.Progress()
		if first.Finished || first.DeadLettered < 1 {
			t.Fatalf("interrupted: %+v", first)
		}
		s.sheet.Script(nil)
		s.WaitGroup(t, s.groupOf(r), 0)
		if p := s.replay(t, r, few).finishes(t); p.DeadLettered+first.DeadLettered != 2 || p.AllDeadLetters != 2 {
			t.Errorf("the rest of it: %+v", p)
		}
		if p := s.replay(t, r).finishes(t); !p.Before || p.AllDeadLetters != 2 {
			t.Errorf("a finished replay again: %+v", p)
		}
	})
}

// Another range has another group, and begins at its own start.
func TestReplayOfAnotherRangeBeginsAnew(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		r := day()
		records := s.publishAt(t, "r", every(r.From, 6*time.Minute, 10)...)
		s.replay(t, r).finishes(t)
		s.holds(t, 1, records)
		half := consumer.Range{From: r.From, To: r.From.Add(30 * time.Minute)}
		if p := s.replay(t, half).finishes(t); p.Sent != 5 {
			t.Errorf("half of the range: %+v", p)
		}
		named := func(c *consumer.Config) { c.Group = r.Group(s.group, s.topic, "again") }
		if p := s.replay(t, r, named).finishes(t); p.Sent != 10 || p.Before {
			t.Errorf("the same range by another name: %+v", p)
		}
	})
}

func TestReplayGroupsTellTopicRangeAndName(t *testing.T) {
	at := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	r := consumer.Range{From: at, To: at.Add(24 * time.Hour)}
	group := r.Group("g", "t", "")
	// Part of the contract: with another name, a replay that was interrupted before an update would begin anew.
	if want := "g.replay.05d81d4cf04f"; group != want {
		t.Errorf("%s, want %s", group, want)
	}
	shifted := consumer.Range{From: at.In(time.FixedZone("", 3600)), To: r.To}
	if got := shifted.Group("g", "t", ""); got != group {
		t.Errorf("%s for the same moment in another zone", got)
	}
	seen := map[string]bool{group: true}
	for _, other := range []string{
		r.Group("g", "u", ""), r.Group("h", "t", ""), r.Group("g", "t", "n"), r.Group("g", "t", "m"),
		(&consumer.Range{From: at.Add(time.Millisecond), To: r.To}).Group("g", "t", ""),
		(&consumer.Range{From: at.Add(time.Millisecond), To: r.To}).Group("g", "t", "n"),
		(&consumer.Range{From: at, To: r.To.Add(time.Millisecond)}).Group("g", "t", ""),
	} {
		if seen[other] {
			t.Errorf("%s is the group of two", other)
		}
		seen[other] = true
	}
}

// Two processes share the partitions of a replay, and both end, when all of it is
// done.
func TestReplayIsSharedByProcesses(t *testing.T) {
	play(t, 4, func(t *testing.T, s *scene) {
		r := day()
		n := s.enough(800)
		records := s.publishAt(t, "r", every(r.From, time.Second, n)...)
		s.sheet.Script(receiver.Always(receiver.Answer{Delay: 50 * time.Millisecond}))
		few := func(c *consumer.Config) { c.Sink.Concurrency = 8 }
		a := s.replay(t, r, few)
		s.delivered(t, 50)
		s.WaitGroup(t, s.groupOf(r), 1)
		b := s.replay(t, r, few)
		b.running(t, 2)
		pa, pb := a.finishes(t), b.finishes(t)
		if pa.Sent == 0 || pb.Sent == 0 || pa.Sent+pb.Sent != int64(n) {
			t.Errorf("%d and %d rows, want %d shared", pa.Sent, pb.Sent, n)
		}
		s.holds(t, 1, records)
	})
}

// Rows are sent at the rate, no faster, also after a hold.
func TestReplayKeepsItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 2)
		r := day()
		records := s.publishAt(t, "r", every(r.From, time.Second, 300)...)
		s.sheet.Script(func(_ context.Context, a receiver.Attempt) receiver.Answer {
			if a.Total == 101 {
				return receiver.Answer{Status: 503, Header: map[string][]string{"Retry-After": {"20"}}}
			}
			return receiver.Answer{Delay: 30 * time.Millisecond}
		})
		began := time.Now()
		m := s.replay(t, r, func(c *consumer.Config) { c.Sink.Rate = 10 })
		m.finishes(t)
		s.holds(t, 1, records)
		if took := time.Since(began); took < 46*time.Second || took > 62*time.Second {
			t.Errorf("%v for 300 rows at 10 a second and a hold of 20 s", took)
		}
		rows := s.sheet.Rows()
		for i := range rows {
			n := 0
			for _, later := range rows[i:] {
				if later.Time.Sub(rows[i].Time) < time.Second {
					n++
				}
			}
			if n > 12 {
				t.Fatalf("%d rows within a second at %v, want 10", n, rows[i].Time.Sub(began))
			}
		}
	})
}

// A replay of a topic that is deleted ends with an error, and does not wait for
// another topic of that name.
func TestReplayEndsWhenItsTopicIsDeleted(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		r := day()
		s.publishAt(t, "r", every(r.From, time.Second, 10)...)
		s.sheet.Script(receiver.Always(receiver.Answer{Status: 503}))
		m := s.replay(t, r)
		m.running(t, 1)
		s.DeleteTopic(t, s.topic)
		select {
		case <-m.done:
		case <-time.After(time.Minute):
			t.Fatal("it does not end")
		}
		if m.err == nil || !strings.Contains(m.err.Error(), "does not exist any more") || m.Progress().Finished {
			t.Errorf("ended with %v: %+v", m.err, m.Progress())
		}
	})
}

// Hazard 7: a commit beyond the end of the log says nothing: the range is replayed.
func TestReplayDoesNotBelieveACommitBeyondTheLog(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		r := day()
		records := s.publishAt(t, "r", every(r.From, time.Second, 10)...)
		live := s.group
		s.group = s.groupOf(r)
		s.commitAs(t, 0, 1000, "")
		s.group = live
		m := s.replay(t, r)
		if p := m.finishes(t); p.Sent != 10 {
			t.Errorf("%+v, want 10 rows", p)
		}
		s.holds(t, 1, records)
	})
}

// What a dry run counts is what a replay then does; and the dry run sends nothing
// and joins no group.
func TestDryRunCountsWhatTheReplayDoes(t *testing.T) {
	play(t, 2, func(t *testing.T, s *scene) {
		r := day()
		records := s.publishAt(t, "r", every(r.From.Add(-10*time.Minute), time.Minute, 90)...)
		bad := s.signups("bad", 9, 9)
		for i, rec := range bad {
			rec.Timestamp = r.From.Add(time.Duration(i) * time.Minute)
			switch i % 3 {
			case 0:
				rec.Value = []byte("{")
			case 1:
				rec.Value = []byte(`{"name":"Ann"}`)
			case 2:
				rec.Value = nil
			}
		}
		s.Produce(t, s.topic, bad...)

		dry := s.preview(t, r)
		var rows, dead, stones, outside int64
		for _, p := range dry.Partitions {
			rows += p.Rows
			dead += p.DeadLetters[signup.Undecodable] + p.DeadLetters[signup.Invalid]
			stones += p.Tombstones
			outside += p.OutsideRange
			if p.DeadLetters[signup.Undecodable] == 0 || p.DeadLetters[signup.Invalid] == 0 {
				t.Errorf("partition %d: %v", p.Partition, p.DeadLetters)
			}
		}
		if len(dry.Partitions) != 2 || rows != 60 || dead != 6 || stones != 3 || outside != 20 {
			t.Errorf("%+v", dry)
		}
		if s.sheet.State().Requests > 0 || len(s.ReadAll(t, s.dlq())) > 0 || len(s.Committed(t, s.groupOf(r), s.topic)) > 0 {
			t.Error("the dry run has left traces")
		}
		in := within(r, records)
		p := s.replay(t, r).finishes(t)
		if p.Sent != rows || p.DeadLettered != dead || p.Tombstones != stones || p.OutsideRange != outside {
			t.Errorf("the dry run said %d, %d, %d and %d, and the replay %+v", rows, dead, stones, outside, p)
		}
		s.holds(t, 1, in)
		if n := len(s.ReadAll(t, s.dlq())); n != 6 {
			t.Errorf("%d dead letters, want 6", n)
		}
		if len(dry.Rows) != 3 {
			t.Fatalf("%d rows are shown, want 3", len(dry.Rows))
		}
		for _, shown := range dry.Rows {
			if !slices.ContainsFunc(s.sheet.Rows(), func(e receiver.Entry) bool { return bytes.Equal(e.Body, shown) }) {
				t.Errorf("shown, but not sent: %s", shown)
			}
		}
	})
}

// preview makes a dry run.
func (s *scene) preview(t *testing.T, r consumer.Range) *consumer.Preview {
	t.Helper()
	p, err := s.newMember(t, func(c *consumer.Config) { c.Range, c.Group = &r, s.groupOf(r) }).Preview(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Hazard 7: ends that were looked up are of that topic. One that is created again while
// the process joins its group is not read up to the old end only.
func TestReplayOfATopicThatIsRecreatedBeforeItsFirstSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 1)
		r := day()
		s.publishAt(t, "old", every(r.From, time.Second, 10)...)
		var once sync.Once
		s.Fake().ControlKey(int16(kmsg.JoinGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
			s.Fake().KeepControl()
			once.Do(func() {
				s.Fake().DropControl()
				if err := s.Fake().DeleteTopic(s.topic); err != nil {
					t.Error(err)
				}
				if err := s.Fake().CreateTopic(s.topic, s.partitions, nil); err != nil {
					t.Error(err)
				}
				rs := s.signups("new", 30, 30)
				for i, rec := range rs {
					rec.Timestamp = r.From.Add(time.Duration(i) * time.Second)
				}
				s.Fake().SleepControl(func() { s.producedAnew(t, rs) })
			})
			return nil, nil, false
		})
		m := s.replay(t, r)
		p := m.finishes(t)
		for i := range 30 {
			if s.sheet.Count(fmt.Sprintf("new-%d", i)) == 0 {
				t.Fatalf("finished, but new-%d was not sent: %+v", i, p)
			}
		}
	})
}

// The group of a replay has another name than the consumer's, so that a permission for
// that one is often missing. The error names it, now and then.
func TestReplayWhoseGroupIsDeniedSaysSoAndWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 1)
		r := day()
		s.publishAt(t, "r", every(r.From, time.Second, 10)...)
		denied := s.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetFetch}, Err: kerr.GroupAuthorizationFailed, Count: -1})
		m := s.replay(t, r)
		time.Sleep(time.Minute) //nolint:forbidigo // virtual: how long it is denied
		text := m.log.String()
		if n := strings.Count(text, "level=ERROR"); n < 1 || n > 7 || strings.Count(text, "allow READ on group "+s.groupOf(r)) != n {
			t.Errorf("%d errors in a minute: %s", n, m.log.tail(3))
		}
		denied.Remove()
		m.finishes(t)
	})
}

// A dry run writes nothing, so it does without a dead-letter topic and leaves its
// creation to the replay.
func TestDryRunDoesNotCreateTheDeadLetterTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 1)
		r := day()
		s.publishAt(t, "r", every(r.From, time.Second, 10)...)
		s.DeleteTopic(t, s.dlq())
		m := s.newMember(t, func(c *consumer.Config) { c.Range, c.Group, c.CreateDeadLetter = &r, s.groupOf(r), true })
		if p, err := m.Preview(t.Context()); err != nil || p.Partitions[0].Rows != 10 {
			t.Errorf("%+v, %v", p, err)
		}
		if s.Fake().TopicInfo(s.dlq()) != nil {
			t.Error("it created the dead-letter topic")
		}
	})
}

// Where brokers refuse the metadata of commits, processes have ends of their own, and
// still do not wait for each other for ever.
func TestReplayIsSharedWithoutMetadata(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 2)
		r := day()
		s.Fake().ControlKey(int16(kmsg.OffsetCommit), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
			s.Fake().KeepControl()
			req := kreq.(*kmsg.OffsetCommitRequest)
			res := req.ResponseKind().(*kmsg.OffsetCommitResponse)
			large := false
			for _, tp := range req.Topics {
				rt := kmsg.NewOffsetCommitResponseTopic()
				rt.Topic = tp.Topic
				for _, p := range tp.Partitions {
					rp := kmsg.NewOffsetCommitResponseTopicPartition()
					rp.Partition = p.Partition
					if p.Metadata != nil && *p.Metadata != "" {
						large = true
					}
					rp.ErrorCode = kerr.OffsetMetadataTooLarge.Code
					rt.Partitions = append(rt.Partitions, rp)
				}
				res.Topics = append(res.Topics, rt)
			}
			return res, nil, large
		})
		s.publishAt(t, "r", every(r.From, time.Second, 200)...)
		s.sheet.Script(receiver.Always(receiver.Answer{Delay: 50 * time.Millisecond}))
		few := func(c *consumer.Config) { c.Sink.Concurrency = 1 }
		a := s.replay(t, r, few)
		s.delivered(t, 5)
		s.publishAt(t, "late", every(r.From, time.Second, 20)...)
		b := s.replay(t, r, few)
		b.running(t, 1)
		a.finishes(t)
		b.finishes(t)
	})
}
