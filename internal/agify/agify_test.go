package agify_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"signup-sheet/internal/agify"
)

// ask makes a request and returns status, body and what remains of the quota.
func ask(t *testing.T, s *agify.Server, query string) (status int, body, remaining string) {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/?"+query, nil))
	return w.Code, strings.TrimSpace(w.Body.String()), w.Header().Get("X-Rate-Limit-Remaining")
}

func TestAnswersAreThoseOfTheRealOne(t *testing.T) {
	s := &agify.Server{Key: "k", Age: func(name, country string) (int, bool) { return len(name) + len(country), name != "xyz" }}
	for query, want := range map[string]string{
		"name=Michael":                      `{"count":7000,"name":"Michael","age":7}`,
		"name=michael&country_id=us":        `{"count":9000,"name":"michael","age":9,"country_id":"US"}`,
		"name=xyz":                          `{"count":0,"name":"xyz","age":null}`,
		"name[]=xyz":                        `[{"count":0,"name":"xyz","age":null}]`,
		"name[]=a&name[]=bc":                `[{"count":1000,"name":"a","age":1},{"count":2000,"name":"bc","age":2}]`,
		"":                                  `{"error":"Missing 'name' parameter"}`,
		"name=a&name=b":                     `{"error":"Invalid 'name' parameter"}`,
		strings.Repeat("&name[]=a", 11)[1:]: `{"error":"Invalid 'name' parameter"}`,
	} {
		status, body, remaining := ask(t, s, query+"&apikey=k")
		if body != want || remaining == "" {
			t.Errorf("%s: %s, quota %q, want %s", query, body, remaining, want)
		}
		if failed := strings.Contains(want, "error"); failed != (status == http.StatusUnprocessableEntity) {
			t.Errorf("%s: status %d", query, status)
		}
	}
	if status, body, _ := ask(t, s, "name=a&apikey=x"); status != http.StatusUnauthorized || body != `{"error":"Invalid API key"}` {
		t.Errorf("another key: %d %s", status, body)
	}
}

func TestQuotaCountsNamesUntilItBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &agify.Server{Quota: 3}
		for _, step := range []struct {
			query, remaining, problem string
			status                    int
		}{
			{"name[]=a&name[]=b", "1", "", 200},
			{"name[]=a&name[]=b", "1", "Request limit too low to process request", 429},
			{"name=a", "0", "", 200},
			{"name=a", "0", "Request limit reached", 429},
		} {
			status, body, remaining := ask(t, s, step.query)
			if status != step.status || remaining != step.remaining || !strings.Contains(body, step.problem) {
				t.Errorf("%s: %d %s, %s left, want %+v", step.query, status, body, remaining, step)
			}
		}
		<-time.After(time.Hour)
		if status, _, remaining := ask(t, s, "name=a"); status != 200 || remaining != "2" {
			t.Errorf("after the reset: %d, %s left", status, remaining)
		}
		if got, want := s.Counts(), (agify.Counts{Requests: 5, Names: 1, Distinct: 2, Largest: 2}); got != want {
			t.Errorf("counted %+v, want %+v", got, want)
		}
	})
}
