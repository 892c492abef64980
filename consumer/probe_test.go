package consumer_test

import (
	"bytes"
	"testing"
	"testing/synctest"

	"signup-sheet/internal/kafkatest"
	"signup-sheet/internal/receiver"
)

// A probe is one request with a row of nobody, through the mapping, whatever the answer.
func TestProbeSendsOneMarkedRow(t *testing.T) {
	kafkatest.OnKfake(t)
	for _, status := range []int{200, 400, 503, 429} {
		synctest.Test(t, func(t *testing.T) {
			s := setVirtual(t, 1)
			s.sheet.Script(receiver.Always(receiver.Answer{Status: status}))
			x, answer, err := s.newMember(t).Probe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if answer.Status != status || answer.Accepted != (status == 200) {
				t.Errorf("%+v", answer)
			}
			if n := s.sheet.State().Requests; n != 1 {
				t.Errorf("%d requests, want 1", n)
			}
			for _, want := range []string{
				`{"event_id":"signup-sheet-probe-`, `"timestamp":"20`, `"email":"test@example.com"`, `"name":"signup-sheet test row"`, `"age_guess":42`,
			} {
				if !bytes.Contains(x.Request.Body, []byte(want)) {
					t.Errorf("want %s in %s", want, x.Request.Body)
				}
			}
			if status == 200 && !bytes.Equal(s.sheet.Rows()[0].Body, x.Request.Body) {
				t.Errorf("%s was sent, not %s", s.sheet.Rows()[0].Body, x.Request.Body)
			}
			if bytes.Contains(x.Request.Body, []byte("null")) {
				t.Errorf("a column is empty: %s", x.Request.Body)
			}
		})
	}
}
