package enrich_test

import (
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"signup-sheet/enrich"
	"signup-sheet/internal/agify"
)

// The reasons of failed requests, as the metric has them.
const failureReasons = "timeout network unauthorized limited name size status answer count"

// saying answers every request with a status, headers and a body.
func saying(status int, header http.Header, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		maps.Copy(w.Header(), header)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// quotaHeaders are what agify says of its quota on every answer, errors included.
func quotaHeaders(limit, remaining, reset string) http.Header {
	return http.Header{
		"Content-Type":           {"application/json; charset=utf-8"},
		"X-Rate-Limit-Limit":     {limit},
		"X-Rate-Limit-Remaining": {remaining},
		"X-Rate-Limit-Reset":     {reset},
	}
}

// Every answer and error that agify documents, and those that others have seen, about one name: what the row is told, how the failure
// counts, and whether agify is asked about the next name.
func TestDocumentedAnswers(t *testing.T) {
	own, cdn := quotaHeaders("25000", "24987", "1314000"), http.Header{"Content-Type": {"text/html"}}
	usedUp := quotaHeaders("25000", "0", "1314000")
	for _, tc := range []struct {
		name   string
		status int
		header http.Header
		body   string
		age    int // -1 for none
		result string
		reason string // of the failure, "" for none
		stop   string // why nobody is asked any more; "" while somebody is
	}{
		{"known", 200, own, michael, 57, "miss", "", ""},
		{"with country", 200, own, `{"count":5,"name":"michael","age":65,"country_id":"US"}`, 65, "miss", "", ""},
		{"age as a string", 200, own, `{"name":"michael","age":"60","count":5}`, 60, "miss", "", ""},
		{"unknown", 200, own, `{"name":"xyz","age":null,"count":0}`, -1, "unknown", "", ""},
		{"without the headers", 200, nil, michael, 57, "miss", "", ""},
		{"the last name of the quota", 200, usedUp, michael, 57, "miss", "", "quota"},
		{"list for one name", 200, own, `[{"name":"michael","age":65,"count":298219}]`, -1, "unavailable", "answer", ""},
		{"invalid key", 401, own, `{"error":"Invalid API key"}`, -1, "unavailable", "unauthorized", "unauthorized"},
		{"invalid key without headers", 401, nil, `{"error":"Invalid API key"}`, -1, "unavailable", "unauthorized", "unauthorized"},
		{"no subscription", 402, own, `{"error":"Subscription is not active"}`, -1, "unavailable", "unauthorized", "unauthorized"},
		{"missing name", 422, own, `{"error":"Missing 'name' parameter"}`, -1, "unknown", "name", ""},
		{"invalid name", 422, own, `{"error":"Invalid 'name' parameter"}`, -1, "unknown", "name", ""},
		{"invalid name as seen", 400, own, `{"error":"Invalid 'name' parameter"}`, -1, "unknown", "name", ""},
		{"quota", 429, usedUp, `{"error":"Request limit reached"}`, -1, "unavailable", "limited", "quota"},
		{"quota without headers", 429, nil, `{"error":"Request limit reached"}`, -1, "unavailable", "limited", "quota"},
		{"quota too low for one", 429, own, `{"error":"Request limit too low to process request"}`, -1, "unavailable", "limited", "quota"},
		{"server error", 500, own, `{"error":"x"}`, -1, "unavailable", "status", ""},
		{"bad gateway", 502, cdn, `<html>`, -1, "unavailable", "status", ""},
		{"unavailable", 503, nil, ``, -1, "unavailable", "status", ""},

		// Not agify's own word.
		{"forbidden by a CDN", 403, cdn, `<html>`, -1, "unavailable", "status", ""},
		{"limited by a CDN", 429, cdn, `<html>Error 1015: you are being rate limited</html>`, -1, "unavailable", "status", ""},
		{"limited without a word", 429, nil, ``, -1, "unavailable", "status", ""},
		{"unauthorized by a proxy", 401, cdn, `<html>`, -1, "unavailable", "status", ""},
		{"bad request by a CDN", 400, cdn, `<html>the name of your header</html>`, -1, "unavailable", "status", ""},
		{"bad request for another reason", 422, own, `{"error":"Invalid 'country_id' parameter"}`, -1, "unavailable", "status", ""},
		{"not found", 404, own, `{"age":57}`, -1, "unavailable", "status", ""},
		{"an error that says an age", 500, own, michael, -1, "unavailable", "status", ""},
		{"created", 201, own, michael, -1, "unavailable", "status", ""},
		{"no content", 204, own, ``, -1, "unavailable", "status", ""},
		{"HTML with 200", 200, cdn, `<html>`, -1, "unavailable", "answer", ""},
		{"nothing with 200", 200, own, ``, -1, "unavailable", "answer", ""},
		{"an error with 200", 200, own, `{"error":"x"}`, -1, "unavailable", "answer", ""},
		{"an absurd age", 200, own, `{"age":151}`, -1, "unavailable", "answer", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, saying(tc.status, tc.header, tc.body))
				if tc.age < 0 {
					f.wantNoAge(t, "michael")
				} else {
					f.wantAge(t, "michael", tc.age)
				}
				f.wantResults(t, map[string]float64{tc.result: 1})
				for reason := range strings.FieldsSeq(failureReasons) {
					want := 0.0
					if reason == tc.reason {
						want = 1
					}
					if got := f.value(t, "signup_sheet_enrich_request_failures_total", reason); got != want {
						t.Errorf("failures for reason %s: got %g, want %g", reason, got, want)
					}
				}
				loud := tc.reason != "" && tc.reason != "name"
				if logged := f.log.String() != ""; logged != loud {
					t.Errorf("logged %q", f.log)
				}

				f.age(t.Context(), "anna", "")
				if asked := f.asked() == 2; asked != (tc.stop == "") {
					t.Errorf("asked about the next name: %t", asked)
				}
				f.wantStop(t, tc.stop)
			})
		})
	}
}

// wantStop checks why nobody is asked; "" for somebody is.
func (f *fixture) wantStop(t *testing.T, want string) {
	t.Helper()
	for _, reason := range []string{"failing", "unauthorized", "quota", "reserve"} {
		if got := f.value(t, "signup_sheet_enrich_stopped", reason) == 1; got != (reason == want) {
			t.Errorf("stopped because of %s: %t, want it because of %q", reason, got, want)
		}
	}
}

// Names and answers go by position, whatever agify makes of the names: it echoes them as sent, in its own case, or parsed.
func TestBatchIsAnsweredByPosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, says(`[{"name":"Same","age":10,"count":1},{"name":"Same","age":"20","count":1},{"name":"","age":null,"count":0},{"name":"x","age":40.4,"count":1}]`), batches)
		f.look(t, "anna", "berta", "clara", "dora")
		for name, want := range map[string]int{"anna": 10, "berta": 20, "dora": 40} {
			f.wantAge(t, name, want)
		}
		f.wantNoAge(t, "clara")
		if got := f.lastRequest(t).URL.Query()["name[]"]; strings.Join(got, " ") != "anna berta clara dora" {
			t.Errorf("asked about %q", got)
		}
		f.wantResults(t, map[string]float64{"miss": 3, "unknown": 2, "hit": 3})
		if got := f.asked(); got != 1 {
			t.Errorf("%d requests, want 1", got)
		}
	})
}

// One answer of a batch that makes no sense is nobody else's.
func TestBadAnswerInABatchIsItsOwn(t *testing.T) {
	for _, bad := range []string{`{"error":"x"}`, `{"age":1,"age":2}`, "{\"age\":\"\xff\"}", `null`, `[]`} {
		t.Run(bad, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, says(`[{"age":10},`+bad+`,{"age":30}]`), batches)
				f.look(t, "anna", "berta", "clara")
				f.wantAge(t, "anna", 10)
				f.wantAge(t, "clara", 30)
				f.wantResults(t, map[string]float64{"miss": 2, "unavailable": 1, "hit": 2})
				if got := f.value(t, "signup_sheet_enrich_cache_entries", ""); got != 2 {
					t.Errorf("%g cache entries, want 2", got)
				}
				f.wantStop(t, "")
			})
		})
	}
}

// What agify says of its quota is in the metrics, in each form that it was seen in.
func TestQuotaIsShown(t *testing.T) {
	for _, tc := range []struct {
		name   string
		header http.Header
		reset  time.Duration // from now; 0 for none
	}{
		{"seconds", quotaHeaders("25000", "24987", "1314000"), 1314000 * time.Second},
		{"Unix time", quotaHeaders("25000", "24987", "946692000"), 946692000 * time.Second}, // before 2001-09-09 it cannot be told
		{"Unix time of today", quotaHeaders("25000", "24987", "1795867200"), 32 * day},      // capped: the bubble's clock says 2000
		{"another header", http.Header{"X-Rate-Limit-Limit": {"25000"}, "X-Rate-Limit-Remaining": {"24987"}, "X-Rate-Reset": {"60"}}, time.Minute},
		{"no number", quotaHeaders("25000", "24987", "soon"), 0},
		{"negative", quotaHeaders("25000", "24987", "-5"), 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, saying(200, tc.header, michael))
				begin := time.Now()
				f.wantAge(t, "michael", 57)
				if got := f.value(t, "signup_sheet_enrich_quota_limit", ""); got != 25000 {
					t.Errorf("limit: %g", got)
				}
				if got := f.value(t, "signup_sheet_enrich_quota_remaining", ""); got != 24987 {
					t.Errorf("remaining: %g", got)
				}
				if tc.reset == 0 {
					return
				}
				want := begin.Add(min(tc.reset, 32*day)).Unix()
				if got := f.value(t, "signup_sheet_enrich_quota_reset_timestamp_seconds", ""); got != float64(want) {
					t.Errorf("reset: %s, want %s", time.Unix(int64(got), 0), time.Unix(want, 0))
				}
			})
		})
	}
}

// The stand-in that other tests use is what the client was written for.
func TestStandInIsUnderstood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &agify.Server{Key: "key", Age: func(name, _ string) (int, bool) { return len(name), name != "xyz" }}
		f := start(t, api.ServeHTTP, batches, func(c *enrich.Config) { c.APIKey = keyOf("key") })
		f.look(t, "anna", "berta", "xyz")
		f.wantAge(t, "anna", 4)
		f.wantAge(t, "berta", 5)
		f.wantNoAge(t, "xyz")
		if got, want := api.Counts(), (agify.Counts{Requests: 1, Names: 3, Distinct: 3, Largest: 3}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	})
}
