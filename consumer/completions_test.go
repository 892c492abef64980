package consumer_test

import (
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"signup-sheet/internal/kafkatest"
	"signup-sheet/internal/receiver"
)

// commitAs commits an offset with metadata for the group, which has no members,
// as an operator's tool does.
func (s *scene) commitAs(t *testing.T, partition int32, offset int64, metadata string) {
	t.Helper()
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: s.topic, Partition: partition, At: offset, LeaderEpoch: -1, Metadata: metadata})
	if err := kadm.NewClient(s.Client(t)).CommitAllOffsets(t.Context(), s.group, offsets); err != nil {
		t.Fatalf("commit: %v", err)
	}
}

// stuckAt lets a member deliver all n records of the scene's only partition but
// the one at offset hole, and returns what it left behind: the commit of that
// offset, and in its metadata that all others above are settled.
func (s *scene) stuckAt(t *testing.T, prefix string, n, hole int) kafkatest.Commit {
	t.Helper()
	records := s.signups(prefix, n, n)
	id := idOf(records[hole].Value)
	s.sheet.Script(receiver.Event(id, receiver.Always(receiver.Answer{Status: 503})))
	before := s.sheet.State().Rows
	s.Produce(t, s.topic, records...)
	m := s.join(t)
	s.delivered(t, before+n-1)
	m.leave(t)
	s.sheet.Script(nil)
	c := s.Committed(t, s.group, s.topic)[0]
	if c.Offset != int64(hole) || c.Metadata == "" {
		t.Fatalf("committed %+v, want offset %d and metadata", c, hole)
	}
	return c
}

// Hazard 29: the metadata of our own commit is applied: what it lists is not
// delivered again, and the watermark passes it.
func TestMetadataOfTheCommitSparesWhatWasSettledAboveIt(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		s.stuckAt(t, "a", 10, 3)
		m := s.join(t)
		s.delivered(t, 10)
		s.committed(t, 10)
		m.leave(t)
		if got := m.metric(t, "records_restored_total"); got != 6 {
			t.Errorf("%v records restored, want 6", got)
		}
		if got := m.metric(t, "commit_metadata_ignored_total"); got != 0 {
			t.Errorf("metadata ignored %v times", got)
		}
		s.judge(t, s.ReadAll(t, s.topic), 0)
	})
}

// Hazard 29: metadata that is not of this very log and offset is ignored and
// counted, and no record is skipped for it.
func TestForeignOrStaleMetadataNeverSkipsARecord(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		// commit leaves a commit of offset 3 or less, and returns it.
		commit func(t *testing.T, s *scene, genuine kafkatest.Commit) kafkatest.Commit
	}{
		"of another tool": {"foreign", func(_ *testing.T, _ *scene, c kafkatest.Commit) kafkatest.Commit {
			c.Metadata = `{"consumer":"other","host":"10.0.0.1"}`
			return c
		}},
		"of another tool that writes base64": {"foreign", func(_ *testing.T, _ *scene, c kafkatest.Commit) kafkatest.Commit {
			c.Metadata = "bm90IG91cnMgYXQgYWxs"
			return c
		}},
		"corrupt": {"corrupt", func(_ *testing.T, _ *scene, c kafkatest.Commit) kafkatest.Commit {
			b := []byte(c.Metadata)
			if middle := &b[len(b)/2]; *middle == 'A' { // both are base64
				*middle = 'B'
			} else {
				*middle = 'A'
			}
			c.Metadata = string(b)
			return c
		}},
		"cut off": {"corrupt", func(_ *testing.T, _ *scene, c kafkatest.Commit) kafkatest.Commit {
			c.Metadata = c.Metadata[:len(c.Metadata)/4*4-4] // still base64
			return c
		}},
		"of another offset": {"base", func(_ *testing.T, _ *scene, c kafkatest.Commit) kafkatest.Commit {
			c.Offset = 1 // an operator went back, with a tool that keeps the metadata
			return c
		}},
		"of another topic": {"place", func(t *testing.T, s *scene, _ kafkatest.Commit) kafkatest.Commit {
			t.Helper()
			other := &scene{Cluster: s.Cluster, sheet: s.sheet, url: s.url, topic: s.topic + "-other", group: s.group + "-other", partitions: 1}
			s.CreateTopic(t, other.topic, 1, nil)
			s.CreateTopic(t, other.dlq(), 1, nil)
			return other.stuckAt(t, "other", 10, 3)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, 1, func(t *testing.T, s *scene) {
				genuine := s.stuckAt(t, "first", 10, 3)
				c := tc.commit(t, s, genuine)
				s.commitAs(t, 0, c.Offset, c.Metadata)
				before := s.sheet.State().Accepted
				m := s.join(t)
				s.committed(t, 10)
				m.leave(t)
				if got := s.sheet.State().Accepted - before; got != 10-int(c.Offset) {
					t.Errorf("%d deliveries after the restart, want all %d", got, 10-c.Offset)
				}
				if got := m.metric(t, "records_restored_total"); got != 0 {
					t.Errorf("%v records restored", got)
				}
				if got := m.metric(t, "commit_metadata_ignored_total", tc.reason); got != 1 {
					t.Errorf("metadata ignored %v times because of %s, want once", got, tc.reason)
				}
				if got := m.metric(t, "commit_metadata_ignored_total"); got != 1 {
					t.Errorf("metadata ignored %v times, want once", got)
				}
			})
		})
	}
}

// Hazard 29: metadata whose record is no longer at the committed offset (it was
// compacted away) proves nothing, and is ignored.
func TestMetadataWithoutItsRecordIsIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 1)
		s.stuckAt(t, "first", 10, 3)
		s.compacted(t)
		records := s.signups("second", 4, 4) // the last one is of key-3
		s.Produce(t, s.topic, records...)
		s.Produce(t, s.topic, &kgo.Record{Key: []byte("another"), Value: event("last")})
		s.Fake().Compact()
		left := s.ReadAll(t, s.topic)
		if len(left) != 11 || left[0].Offset != 4 {
			t.Fatalf("%d records left from offset %d on, want 11 from 4", len(left), left[0].Offset)
		}
		before := s.sheet.State().Accepted
		m := s.join(t)
		s.committed(t, 15)
		m.leave(t)
		if got := s.sheet.State().Accepted - before; got != 11 {
			t.Errorf("%d deliveries, want all 11 that are left", got)
		}
		if got := m.metric(t, "commit_metadata_ignored_total", "record"); got != 1 {
			t.Errorf("metadata ignored %v times, want once", got)
		}
	})
}
