package consumer_test

import (
	"testing"
	"testing/synctest"
	"time"

	"signup-sheet/internal/receiver"
)

func TestARecordBecomesARowAndItsOffsetIsCommitted(t *testing.T) {
	s := set(t, 1)
	records := s.publish(t, "one", 1, 1)
	m := s.join(t)
	s.delivered(t, 1)
	s.committed(t, 1)
	m.leave(t)
	s.judge(t, records, 0)
	want := `{"event_id":"one-0","timestamp":"` + records[0].Timestamp.UTC().Format("2006-01-02T15:04:05.000Z") + `","email":"ann@example.com","name":"Ann Smith","plan":"pro","source":"website","utm_campaign":null,"age_guess":null,"metadata":{"n":9007199254740993}}`
	if got := string(s.sheet.Accepted()[0].Body); got != want {
		t.Errorf("row:\n%s\nwant:\n%s", got, want)
	}
}

func TestARecordBecomesARowInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 3)
		records := s.publish(t, "v", 500, 40)
		m := s.join(t)
		s.delivered(t, 500)
		s.committed(t, 500)
		m.leave(t)
		s.judge(t, records, 0)
	})
}

// After a quiet time, in which few workers were needed, a burst is delivered with as many attempts at a time as are allowed.
func TestABurstAfterAQuietTimeUsesTheWholeConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 1)
		s.sheet.Script(receiver.Always(receiver.Answer{Delay: 20 * time.Millisecond}))
		m := s.join(t)
		m.running(t, 1)
		s.publish(t, "quiet", 2, 2)
		s.delivered(t, 2)
		begin := time.Now()
		s.publish(t, "burst", 2000, 2000)
		s.delivered(t, 2002)
		if took, want := time.Since(begin), time.Duration(2000/64)*20*time.Millisecond; took > 2*want {
			t.Errorf("2,000 rows took %v, want about %v", took, want)
		}
	})
}
