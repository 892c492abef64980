package consumer_test

import (
	"testing"
	"testing/synctest"
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
