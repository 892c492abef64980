package consumer_test

import (
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"signup-sheet/internal/kafkatest"
	"signup-sheet/internal/receiver"
	"signup-sheet/internal/receiver/receivertest"
)

// anHour is the retention of the dead letters in these tests, in milliseconds.
const anHour = "3600000"

// oldPoison publishes poison that is 90 days old and waits until its offset is
// committed.
func (s *scene) oldPoison(t *testing.T) *kgo.Record {
	t.Helper()
	s.retopic(t, map[string]string{"retention.ms": "-1"}, map[string]string{"retention.ms": anHour})
	old := poisonRecord("old", 0)
	old.Timestamp = time.Now().Add(-90 * 24 * time.Hour).Truncate(time.Millisecond)
	s.Produce(t, s.topic, old)
	m := s.join(t)
	s.committed(t, 1)
	m.leave(t)
	return old
}

// expectKept requires that the dead letter of an old record is there, and tells
// the record's time.
func (s *scene) expectKept(t *testing.T, old *kgo.Record) {
	t.Helper()
	letter := s.letterOf(t, old)
	expectOriginal(t, letter, old)
	if got := header(letter, "timestamp"); got != strconv.FormatInt(old.Timestamp.UnixMilli(), 10) {
		t.Errorf("the record's time is %q in the dead letter, want %d", got, old.Timestamp.UnixMilli())
	}
}

// Hazard 5: retention does not remove the dead letter of a record that is 90
// days old.
func TestTheDeadLetterOfAnOldRecordIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 1)
		old := s.oldPoison(t)
		time.Sleep(time.Minute) //nolint:forbidigo // virtual
		s.Fake().ApplyRetention()
		s.expectKept(t, old)
		time.Sleep(time.Hour) //nolint:forbidigo // virtual
		s.Fake().ApplyRetention()
		if n := len(s.ReadAll(t, s.dlq())); n != 0 {
			t.Errorf("%d dead letters after their retention: the test sees nothing removed", n)
		}
	})
}

// Hazard 5: the same by Apache Kafka's own retention. That it has looked at the
// dead letter is known from records that are as old as the dead letter's, in a
// topic like its, which it removes: when the second of them is gone, it has gone
// through all topics between the two.
func TestApacheKafkaKeepsTheDeadLetterOfAnOldRecord(t *testing.T) {
	c := kafkatest.StartApache(t, 1, "log.retention.check.interval.ms=1000", "log.initial.task.delay.ms=1000")
	s := &scene{Cluster: c.Cluster, sheet: receiver.New(), group: kafkatest.UniqueName(t), partitions: 1}
	s.url = receivertest.Serve(t, s.sheet)
	old := s.oldPoison(t)
	canaries := kafkatest.UniqueName(t)
	s.CreateTopic(t, canaries, 1, map[string]string{"retention.ms": anHour})
	for i := range int64(2) {
		s.Produce(t, canaries, &kgo.Record{Value: []byte("canary"), Timestamp: old.Timestamp})
		await(t, "the removal of a record that is as old", func() bool { return s.StartOffsets(t, canaries)[0] == i+1 })
	}
	s.expectKept(t, old)
}

// Hazard 5: the dead letter of a record from the future is acknowledged, though
// the topic takes no timestamps above an hour from now.
func TestTheDeadLetterOfARecordFromTheFutureIsTaken(t *testing.T) {
	s := set(t, 1)
	s.retopic(t, map[string]string{"message.timestamp.after.max.ms": "9223372036854775807"}, nil)
	future := poisonRecord("future", 0)
	future.Timestamp = time.Now().Add(1000 * 24 * time.Hour).Truncate(time.Millisecond)
	s.Produce(t, s.topic, future)
	m := s.join(t)
	s.committed(t, 1)
	m.leave(t)
	s.expectKept(t, future)
	if at := s.letterOf(t, future).Timestamp; time.Since(at).Abs() > time.Minute {
		t.Errorf("the dead letter's timestamp is %v", at)
	}
}

// Hazard 5: a dead letter that had to wait is stamped when it is written, not
// when its record was given up: retention would count the wait.
func TestADeadLetterThatWaitedIsStampedWhenItIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 1)
		mended := time.Now().Add(5 * time.Minute)
		s.produces(func(*kmsg.ProduceRequest) (kmsg.Response, error, bool) {
			if time.Now().After(mended) {
				return nil, nil, false
			}
			return nil, errors.New("down"), true // closes the connection
		})
		r := poisonRecord("k", 0)
		s.Produce(t, s.topic, r)
		m := s.join(t)
		awaitFor(t, 7*time.Minute, "the dead letter", func() bool { return m.metric(t, "dead_letters_total") == 1 })
		s.committed(t, 1)
		m.leave(t)
		if got := s.letterOf(t, r).Timestamp; got.Before(mended) {
			t.Errorf("the dead letter written after %v is of %v", mended, got)
		}
	})
}
