package consumer_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"signup-sheet/consumer"
	"signup-sheet/internal/receiver"
)

// Hazard 28: a row that fails alone, with nobody to compare it with, stays and holds up
// its key; dead_letter.force is the operator's way out.
func TestAForcedDeadLetterFreesItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 1)
		s.sheet.Script(receiver.Event("bad", receiver.Always(receiver.Answer{Status: http.StatusServiceUnavailable})))
		began := time.Now()
		bad := &kgo.Record{Key: []byte("k"), Value: event("bad"), Timestamp: began.Truncate(time.Millisecond)}
		behind := &kgo.Record{Key: []byte("k"), Value: event("behind")}
		s.Produce(t, s.topic, bad, behind)
		m := s.join(t)
		time.Sleep(6 * time.Hour) //nolint:forbidigo // virtual
		if n := len(s.ReadAll(t, s.dlq())); n != 0 || s.sheet.Attempts("behind") != 0 {
			t.Errorf("%d dead letters, %d attempts of the next row", n, s.sheet.Attempts("behind"))
		}
		m.leave(t)
		attempts := s.sheet.Attempts("bad")

		m = s.join(t, func(c *consumer.Config) {
			c.ForceDeadLetters = []consumer.Position{{Partition: 0, Offset: bad.Offset + 1000}, {Partition: 0, Offset: bad.Offset}}
		})
		s.delivered(t, 1)
		s.committed(t, 2)
		m.leave(t)
		letter := s.letterOf(t, bad)
		expectOriginal(t, letter, bad)
		for name, want := range map[string]string{"class": "exhausted", "attempts": "0", "exception.message": "given up by dead_letter.force", "event_id": "bad"} {
			if got := header(letter, name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if s.sheet.Attempts("bad") != attempts || s.sheet.Count("behind") != 1 {
			t.Error("the row was attempted, or what is behind it was not delivered")
		}
	})
}
