package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// post sends event n to the endpoint, in a shape that is the consumer's own.
func post(t *testing.T, e *endpoint, n int) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	body := strings.NewReader(fmt.Sprintf(`{"event_id":"event-%d","plan":"pro"}`, n))
	e.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/rows", body))
	return w
}

func TestTheEndpointCountsWhatIsMissingDoubleAndOutOfOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(options{records: 2 * keys, scenario: scenarios()["rate"]})
		for _, n := range []int{0, 1, keys, keys, keys + 2, 2, 1} { // 2 comes after its key's next; keys and 1 come twice
			if res := post(t, e, n); res.Code != http.StatusOK {
				t.Fatalf("event %d: %d", n, res.Code)
			}
		}
		f := e.figures()
		if f.missing != 2*keys-5 || f.again != 2 || f.disorder != 1 {
			t.Errorf("%+v, want %d missing, 2 twice, 1 out of order", f, 2*keys-5)
		}
	})
}

func TestTheEndpointRefusesForTheTimeOfThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(options{records: 100, scenario: scenarios()["429"], outage: 10 * time.Second})
		for n := range 10 {
			post(t, e, n)
		}
		<-e.trouble
		<-time.After(100 * time.Millisecond)
		if res := post(t, e, 10); res.Code != http.StatusTooManyRequests || res.Header().Get("Retry-After") != "10" {
			t.Errorf("%d with Retry-After %q, want 429 with 10", res.Code, res.Header().Get("Retry-After"))
		}
		<-time.After(5 * time.Second)
		post(t, e, 10)
		<-time.After(5 * time.Second)
		if res := post(t, e, 10); res.Code != http.StatusOK {
			t.Errorf("%d when the pause has ended", res.Code)
		}
		f := e.figures()
		if f.during != 2 || f.late != 1 || f.recovered != 100*time.Millisecond {
			t.Errorf("%+v, want 2 requests in the pause, 1 of them late, recovered after 100 ms", f)
		}
	})
}
