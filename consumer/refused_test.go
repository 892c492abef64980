package consumer_test

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"signup-sheet/consumer"
	"signup-sheet/internal/receiver"
)

// Hazards 5, 19 and 22: a row that the endpoint refuses is dead-lettered as it
// was published, with what the endpoint said, but none of what must not be there:
// the row's values and the webhook's secrets are masked in its response.
func TestARefusedRowIsDeadLetteredWithWhatTheEndpointSaid(t *testing.T) {
	const secret, token = "hook-5ecr3t-path", "t0ken-in-query"
	value := []byte(`{"id":"evt-42","email":"maria.gonzalez@example.com","name":"María González","plan":"team-plan",` +
		`"utm_campaign":"spring & summer","metadata":{"referrer":"https://blog.example.com/post","tags":["newsletter"],"n":9007199254740993}}`)
	private := []string{
		"maria.gonzalez", "gonzález", "mar\u00eda", `mar\u00eda`, "team-plan", "spring & summer", "spring &amp; summer", "spring%20",
		"blog.example.com", "newsletter", "9007199254740993", "evt-42", secret, token,
	}
	echo := `{"error":"row not taken: ` + strings.ReplaceAll(string(value), `"`, `\"`) + `",` +
		`"name":"Mar\u00eda Gonz\u00e1lez","url":"https://hooks.example.com/` + secret + `/rows?token=` + token + `",` +
		`"escaped":"spring%20%26%20summer spring &amp; summer MARIA.GONZALEZ@EXAMPLE.COM","hint":"column plan is gone",` +
		`"more":"` + strings.Repeat("and so on ", 300) + `"}`
	for _, status := range []int{
		http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong,
		http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity,
	} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := setVirtual(t, 1)
				var failed []time.Time
				s.sheet.Script(func(_ context.Context, a receiver.Attempt) receiver.Answer {
					if a.EventID != "evt-42" {
						return receiver.Answer{Delay: 100 * time.Millisecond}
					}
					failed = append(failed, a.Time)
					if a.N < 3 {
						return receiver.Answer{Status: http.StatusServiceUnavailable}
					}
					return receiver.Answer{Status: status, Body: echo, Header: http.Header{"X-Request-Id": {"req-7"}, "Cf-Ray": {"ray-8"}}}
				})
				began := time.Now()
				bad := &kgo.Record{
					Key: []byte("k"), Value: value, Timestamp: time.Now().Add(-time.Hour).Truncate(time.Millisecond),
					Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte("\x00\xff")}},
				}
				behind := &kgo.Record{Key: []byte("k"), Value: event("behind")}
				s.Produce(t, s.topic, bad, behind)
				const others = 1200 // which show for two seconds that the endpoint takes rows
				s.publish(t, "other", others, others)
				m := s.join(t, func(c *consumer.Config) { c.Sink.URL += "/" + secret + "?token=" + token })
				s.delivered(t, others+1)
				s.committed(t, others+2)
				m.leave(t)

				// It is refused at least twice: until another was accepted in between.
				attempts := s.sheet.Attempts("evt-42")
				if attempts < 4 || attempts > 8 || attempts != len(failed) || s.sheet.Count("evt-42") != 0 || s.sheet.Count("behind") != 1 {
					t.Fatalf("%d attempts: the refused row was sent on, or what followed it was not", attempts)
				}
				letter := s.letterOf(t, bad)
				s.expectHeaders(t, bad, expectOriginal(t, letter, bad), refusedHeaders(), began)
				for name, want := range map[string]string{
					"stage": "deliver", "class": "refused", "event_id": "evt-42", "attempts": strconv.Itoa(attempts), "redrives": "0",
					"http_status": strconv.Itoa(status), "request_ids": "req-7,ray-8",
					"exception.message": fmt.Sprintf("endpoint refused the row: %d %s", status, http.StatusText(status)),
					"first_failure":     failed[0].UTC().Format(time.RFC3339Nano),
					"failed":            failed[attempts-1].UTC().Format(time.RFC3339Nano),
				} {
					if got := header(letter, name); got != want {
						t.Errorf("%s is %q, want %q", name, got, want)
					}
				}
				response := header(letter, "response")
				if len(response) > 1024 || !strings.Contains(response, "[masked]") || !strings.Contains(response, "row not taken") {
					t.Errorf("the response is %d bytes: %s", len(response), response)
				}
				for _, h := range letter.Headers {
					if h.Key == "signup_sheet.dlq.event_id" {
						continue
					}
					for _, p := range private {
						if strings.Contains(strings.ToLower(string(h.Value)), strings.ToLower(p)) {
							t.Errorf("%s has %q in it: %s", h.Key, p, h.Value)
						}
					}
				}
				for _, p := range private[:len(private)-3] {
					if m.log.has(p) {
						t.Errorf("the log has %q in it", p)
					}
				}
				if m.log.has(secret) || m.log.has(token) {
					t.Error("the log has the webhook's secret in it")
				}
				if n := m.metric(t, "dead_letters_total", "refused"); n != 1 {
					t.Errorf("metric: %v refused", n)
				}
			})
		})
	}
}

// Hazard 19: an event id that is as long as a value is not carried twice: it is
// in the value, which is whole.
func TestALongEventIDDoesNotCostTheValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 1)
		id := fmt.Sprintf("%x", noise(300_000))
		s.sheet.Script(receiver.Event(id, receiver.Always(receiver.Answer{Status: http.StatusRequestEntityTooLarge})))
		bad := &kgo.Record{Value: event(id)}
		s.Produce(t, s.topic, bad)
		m := s.join(t)
		await(t, "an attempt", func() bool { return s.sheet.Attempts(id) > 0 })
		s.publish(t, "other", 1, 1) // is accepted
		s.committed(t, 2)
		m.leave(t)
		letter := s.letterOf(t, bad)
		expectOriginal(t, letter, bad)
		if got := header(letter, "event_id"); got != "" {
			t.Errorf("an event id of %d bytes is in a header", len(got))
		}
	})
}
