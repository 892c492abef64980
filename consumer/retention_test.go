package consumer_test

import (
	"os"
	"testing"
	"testing/synctest"

	"signup-sheet/consumer"
	"signup-sheet/internal/receiver"
)

// play runs a test on the brokers of the environment, or in virtual time on kfake.
func play(t *testing.T, partitions int32, test func(t *testing.T, s *scene)) {
	t.Helper()
	if os.Getenv("KAFKA_BROKERS") != "" {
		test(t, set(t, partitions))
		return
	}
	synctest.Test(t, func(t *testing.T) { test(t, setVirtual(t, partitions)) })
}

// overtaken requires that the member reported so many lost offsets, as a metric
// and as an error in the log.
func (m *member) overtaken(t *testing.T, gaps, lost float64) {
	t.Helper()
	if got := m.metric(t, "retention_gaps_total"); got != gaps {
		t.Errorf("%v retention gaps, want %v", got, gaps)
	}
	if got := m.metric(t, "retention_lost_offsets_total"); got != lost {
		t.Errorf("%v offsets lost by retention, want %v", got, lost)
	}
	if said := m.log.has("level=ERROR msg=\"retention removed records before they were delivered"); said != (gaps > 0) {
		t.Errorf("an error in the log: %v", said)
	}
}

// Hazard 6: records that retention removes before they were fetched are counted
// and logged, and delivery goes on with the first one that is left. What had been
// fetched is delivered though it is no longer in the log.
func TestRetentionThatOvertakesARunningConsumerIsCountedAndDeliveryGoesOn(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		release := make(chan struct{})
		s.sheet.Script(receiver.Always(receiver.Answer{Hang: release}))
		records := s.publish(t, "r", 100, 100)
		m := s.join(t, func(c *consumer.Config) { c.Window = 10 })
		await(t, "a full window", func() bool { return s.sheet.InFlight() == 10 })
		s.DeleteRecords(t, s.topic, 0, 60)
		close(release)
		s.sheet.Script(nil)
		s.delivered(t, 50)
		s.committed(t, 100)
		m.overtaken(t, 1, 50)
		m.leave(t)
		s.judge(t, append(records[:10:10], records[60:]...), 0)
	})
}

// Hazard 6: the same while nothing runs.
func TestRetentionThatOvertakesAStoppedConsumerIsCountedAndDeliveryGoesOn(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		records := s.publish(t, "before", 20, 7)
		m := s.join(t)
		s.delivered(t, 20)
		s.committed(t, 20)
		m.leave(t)
		m.overtaken(t, 0, 0)
		records = append(records, s.publish(t, "after", 80, 7)...)
		s.DeleteRecords(t, s.topic, 0, 70)
		m = s.join(t)
		s.delivered(t, 50)
		s.committed(t, 100)
		m.overtaken(t, 1, 50)
		m.leave(t)
		s.judge(t, append(records[:20:20], records[70:]...), 0)
	})
}

// Hazard 6: retention that removes what was delivered, under a fetch that waits
// for more, is none of our business.
func TestRetentionOfWhatWasDeliveredIsNoLoss(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		records := s.publish(t, "before", 20, 7)
		m := s.join(t)
		s.delivered(t, 20)
		s.DeleteRecords(t, s.topic, 0, 20)
		records = append(records, s.publish(t, "after", 20, 7)...)
		s.delivered(t, 40)
		s.committed(t, 40)
		m.leave(t)
		m.overtaken(t, 0, 0)
		s.judge(t, records, 0)
	})
}

// Hazard 6: a whole log that retention emptied.
func TestRetentionThatEmptiesTheLogIsCountedAndDeliveryGoesOn(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		s.publish(t, "before", 20, 7)
		s.DeleteRecords(t, s.topic, 0, 20)
		s.commitAs(t, 0, 5, "")
		m := s.join(t)
		s.committed(t, 20)
		records := s.publish(t, "after", 20, 7)
		s.delivered(t, 20)
		s.committed(t, 40)
		m.leave(t)
		m.overtaken(t, 1, 15)
		s.judge(t, records, 0)
	})
}
