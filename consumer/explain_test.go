package consumer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"signup-sheet/consumer"
	"signup-sheet/consumer/signup"
)

// explainAt explains one record, as a command of its own.
func (s *scene) explainAt(t *testing.T, partition int32, offset int64, tweaks ...func(*consumer.Config)) (*consumer.Explanation, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return s.newMember(t, tweaks...).ExplainAt(ctx, partition, offset)
}

// What is explained is what is sent, byte for byte, and explaining it sends nothing, joins no
// group and commits nothing.
func TestExplainedRequestIsTheOneThatIsSent(t *testing.T) {
	play(t, 2, func(t *testing.T, s *scene) {
		records := s.publish(t, "r", 20, 20)
		for _, r := range records {
			x, err := s.explainAt(t, r.Partition, r.Offset)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(x.Record.Key, r.Key) || !bytes.Equal(x.Record.Value, r.Value) || x.Signup.EventID != idOf(r.Value) {
				t.Fatalf("partition %d, offset %d: explained %s, %s", r.Partition, r.Offset, x.Record.Key, x.Record.Value)
			}
		}
		if n := s.sheet.State().Requests; n > 0 {
			t.Errorf("%d requests were sent", n)
		}
		if groups, err := kadm.NewClient(s.Client(t)).ListGroups(t.Context()); err != nil || groups[s.group].Group != "" {
			t.Errorf("there is a group: %v, %v", groups, err)
		}
		s.join(t)
		s.delivered(t, len(records))
		for _, r := range records {
			x, err := s.explainAt(t, r.Partition, r.Offset)
			if err != nil {
				t.Fatal(err)
			}
			sent := false
			for _, row := range s.sheet.Rows() {
				sent = sent || row.EventID == x.Row.EventID && bytes.Equal(row.Body, x.Request.Body)
			}
			if !sent {
				t.Errorf("explained, but not sent: %s", x.Request.Body)
			}
		}
	})
}

// Every way in which an offset can be no record has its words.
func TestExplainSaysWhichOffsetsThereAre(t *testing.T) {
	play(t, 2, func(t *testing.T, s *scene) {
		first := s.transactional(t)
		s.transact(t, first, "a", 6, kgo.TryCommit) // 0 to 2, and a mark at 3
		s.transact(t, first, "b", 6, kgo.TryAbort)  // 4 to 6, and a mark at 7
		s.transact(t, first, "c", 6, kgo.TryCommit) // 8 to 10, and a mark at 11
		s.DeleteRecords(t, s.topic, 0, 2)
		for _, c := range []struct {
			partition int32
			offset    int64
			want      string // empty: a record
		}{
			{0, 0, "partition 0 has no offset 0 any more, retention removed it: its offsets are 2 to 11"},
			{0, 1, "its offsets are 2 to 11"},
			{0, 2, ""},
			{0, 3, "partition 0 has no record at offset 3: "},
			{0, 4, "partition 0 has no record at offset 4: "},
			{0, 8, ""},
			{0, 11, "partition 0 has no record at offset 11: "},
			{0, 12, "partition 0 has no offset 12 yet: its offsets are 2 to 11"},
			{0, 1 << 60, "has no offset 1152921504606846976 yet: its offsets are 2 to 11"},
			{1, 0, ""},
			{2, 0, "has no partition 2: its partitions are 0 to 1"},
		} {
			x, err := s.explainAt(t, c.partition, c.offset)
			if c.want == "" {
				if err != nil || x.Record.Offset != c.offset || x.Record.Partition != c.partition {
					t.Errorf("partition %d, offset %d: %v", c.partition, c.offset, err)
				}
				continue
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("partition %d, offset %d: %v, want %q", c.partition, c.offset, err, c.want)
			}
		}
		if err := first.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := first.ProduceSync(t.Context(), &kgo.Record{Topic: s.topic, Value: event("open")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.explainAt(t, 0, 12); err == nil || !strings.Contains(err.Error(), "waits for a transaction to end") {
			t.Errorf("an open transaction: %v", err)
		}
		if err := first.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
			t.Fatal(err)
		}
	})
}

// Every offset of a compacted log is a record, or is said to be none at once and with the next one that is, up to its end. Batches at its
// end may be without records.
func TestExplainOfACompactedLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 1)
		s.compacted(t)
		s.Produce(t, s.topic, &kgo.Record{Key: []byte("stays"), Value: event("stays")})
		for i := range 11 {
			s.publish(t, fmt.Sprintf("c%d", i), 9, 1+i%9)
		}
		s.Fake().Compact()
		left := s.ReadAll(t, s.topic)
		if len(left) == 0 || len(left) > 50 {
			t.Fatalf("%d records left of 100", len(left))
		}
		for offset := range int64(100) {
			began := time.Now()
			x, err := s.explainAt(t, 0, offset)
			next := slices.IndexFunc(left, func(r *kgo.Record) bool { return r.Offset >= offset })
			switch {
			case next >= 0 && left[next].Offset == offset:
				if err != nil || x.Record.Offset != offset {
					t.Errorf("offset %d: %v", offset, err)
				}
			case next >= 0:
				if want := fmt.Sprintf("partition 0 has no record at offset %d: compaction removed it, its transaction was aborted, or it is a mark of Kafka's own; the next record is at %d", offset, left[next].Offset); err == nil || err.Error() != want {
					t.Errorf("offset %d: %v, want %s", offset, err, want)
				}
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("offset %d: %v and %v", offset, err, took)
			}
		}
		s.publish(t, "tail", 5, 5)
		s.forge(105, func(int64) []byte { return emptied(100, 104) })
		if _, err := s.explainAt(t, 0, 102); err == nil || !strings.HasPrefix(err.Error(), "partition 0 has no record at offset 102: compaction removed it") || strings.Contains(err.Error(), "next") {
			t.Errorf("in an empty batch: %v", err)
		}
	})
}

func TestExplainOfAnEmptyPartitionAndOfAMissingTopic(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		if _, err := s.explainAt(t, 0, 0); err == nil || err.Error() != "partition 0 has no records: its log begins and ends at offset 0" {
			t.Errorf("an empty partition: %v", err)
		}
		_, err := s.explainAt(t, 0, 0, func(c *consumer.Config) { c.Topic = "gone" })
		if setup, ok := errors.AsType[*consumer.SetupError](err); !ok || setup.Setting != "kafka.topic" {
			t.Errorf("a missing topic: %v", err)
		}
	})
}

func TestExplainTellsPoisonAndTombstones(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		values := [][]byte{nil, {}, []byte(`{"email":1}`), []byte(`{"email":"a@b.example","email":"x"}`), event("good")}
		for _, v := range values {
			s.Produce(t, s.topic, &kgo.Record{Value: v})
		}
		classes := []signup.Class{"", signup.Undecodable, signup.Invalid, signup.Undecodable, ""}
		for i, class := range classes {
			x, err := s.explainAt(t, 0, int64(i))
			if err != nil {
				t.Fatal(err)
			}
			if x.Tombstone != (i == 0) || (x.Poison != nil) != (class != "") || x.Poison != nil && x.Poison.Class != class || (x.Signup != nil) != (i == 4) {
				t.Errorf("record %d: %+v", i, x)
			}
		}
		// What was explained to be poison is what becomes a dead letter.
		s.join(t)
		s.committed(t, int64(len(values)))
		if n := len(s.ReadAll(t, s.dlq())); n != 3 {
			t.Errorf("%d dead letters, want 3", n)
		}
	})
}

// Who explains asks for no age unless told to, and then with the name of the event.
func TestExplainAsksForTheAgeWhereThereIsSomebodyToAsk(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		s.publish(t, "r", 1, 1)
		x, err := s.explainAt(t, 0, 0)
		if err != nil || x.Age != nil || !bytes.Contains(x.Request.Body, []byte(`"age_guess":null`)) {
			t.Errorf("%v: %s", err, x.Request.Body)
		}
		x, err = s.explainAt(t, 0, 0, func(c *consumer.Config) { c.Ages = fixedAge(37) })
		if err != nil || string(x.Age) != "37" || !bytes.Contains(x.Request.Body, []byte(`"age_guess":37`)) {
			t.Errorf("%v: %s", err, x.Request.Body)
		}
	})
}

type fixedAge int

func (a fixedAge) Age(context.Context, string, string, func(int)) (int, string) {
	return int(a), "miss"
}

// A leader that is just elsewhere is asked again; what stays wrong is said.
func TestExplainWaitsForALeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 1)
		s.publish(t, "r", 1, 1)
		s.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.NotLeaderForPartition, Count: 3})
		if x, err := s.explainAt(t, 0, 0); err != nil || x.Signup == nil {
			t.Errorf("%v", err)
		}
		s.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.NotLeaderForPartition, Count: -1})
		began := time.Now()
		if _, err := s.explainAt(t, 0, 0); err == nil || !strings.Contains(err.Error(), "Not Leader For Partition") || time.Since(began) > 21*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

func TestExplainNamesWhatIsDenied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 1)
		s.publish(t, "r", 1, 1)
		s.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.TopicAuthorizationFailed, Count: -1})
		began := time.Now()
		if _, err := s.explainAt(t, 0, 0); err == nil || !strings.Contains(err.Error(), "allow READ on topic "+s.topic) || time.Since(began) > time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}
