package sink

import (
	"net/http"
	"testing"
	"time"
)

func TestRetryAfterIsUnderstoodAsServersSendIt(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"":                                  0,
		"0":                                 0,
		"8":                                 8 * time.Second,
		" 8 ":                               8 * time.Second,
		`"8"`:                               8 * time.Second,
		"-5":                                0,
		"-":                                 0,
		"900":                               15 * time.Minute,
		"901":                               15 * time.Minute,
		"99999999999999999999999":           15 * time.Minute,
		"1e999":                             15 * time.Minute,
		"-99999999999999999999999":          0,
		"+5":                                5 * time.Second,
		"1.5":                               1500 * time.Millisecond,
		"0.2":                               200 * time.Millisecond,
		"5s":                                5 * time.Second,
		"500ms":                             500 * time.Millisecond,
		"2m":                                2 * time.Minute,
		"30 seconds":                        30 * time.Second,
		"1 second":                          time.Second,
		"2, 10, 4":                          10 * time.Second,
		"soon":                              0,
		"NaN":                               0,
		"1795608030":                        30 * time.Second, // the same as Unix seconds
		"1795608030000":                     30 * time.Second, // and as milliseconds
		"1795600000":                        0,                // past
		"Wed, 25 Nov 2026 12:00:30 GMT":     30 * time.Second,
		"Wednesday, 25-Nov-26 12:00:30 GMT": 30 * time.Second,
		"Wed Nov 25 12:00:30 2026":          30 * time.Second,
		"Wed, 25 Nov 2026 11:00:00 GMT":     0,
		"Wed, 25 Nov 2026 14:00:00 GMT":     15 * time.Minute,
		"Fri, 31 Dec 9999 23:59:59 GMT":     15 * time.Minute,
		"2026-11-25T12:00:30Z":              0,
	} {
		if got := retryAfter(header, now); got != want {
			t.Errorf("%q: %v, want %v", header, got, want)
		}
	}
}

func TestOfSeveralRetryAftersTheLongestCounts(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	header := http.Header{"Retry-After": {"3", "Wed, 25 Nov 2026 12:00:07 GMT", "soon"}}
	if got := asked(header, now); got != 7*time.Second {
		t.Error(got)
	}
}

// The draft on RateLimit, what it said before, and what many send instead.
func TestARateLimitAtZeroAsksForTheTimeUntilItsReset(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		fields [][2]string
		want   time.Duration
	}{
		{[][2]string{{"RateLimit", `"default";r=0;t=30`}}, 30 * time.Second},
		{[][2]string{{"RateLimit", `"default";r=50;t=30`}}, 0},
		{[][2]string{{"RateLimit", `"burst";r=3;t=1, "day";r=0;t=40`}}, 40 * time.Second},
		{[][2]string{{"RateLimit", `"burst";r=0;t=1`}, {"RateLimit", `"day";r=0;t=40`}}, 40 * time.Second},
		{[][2]string{{"RateLimit", "limit=10, remaining=0, reset=5"}}, 5 * time.Second},
		{[][2]string{{"RateLimit", "limit=10, remaining=1, reset=5"}}, 0},
		{[][2]string{{"RateLimit-Remaining", "0"}, {"RateLimit-Reset", "6"}}, 6 * time.Second},
		{[][2]string{{"X-RateLimit-Remaining", "0"}, {"X-RateLimit-Reset", "1795608030"}}, 30 * time.Second},
		{[][2]string{{"X-Rate-Limit-Remaining", "0"}, {"X-Rate-Limit-Reset", "6"}}, 6 * time.Second},
		{[][2]string{{"X-RateLimit-Remaining", "4"}, {"X-RateLimit-Reset", "6"}}, 0},
		{[][2]string{{"X-RateLimit-Remaining", "0"}}, 0},
		{[][2]string{{"X-RateLimit-Reset", "6"}}, 0},
		{[][2]string{{"RateLimit", `;;=,`}, {"RateLimit-Remaining", "none"}}, 0},
		{[][2]string{{"RateLimit-Remaining", "0"}, {"RateLimit-Reset", "7200"}}, 15 * time.Minute},
		// Retry-After takes precedence.
		{[][2]string{{"Retry-After", "2"}, {"RateLimit", `"default";r=0;t=30`}}, 2 * time.Second},
	} {
		header := http.Header{}
		for _, f := range c.fields {
			header.Add(f[0], f[1])
		}
		if got := asked(header, now); got != c.want {
			t.Errorf("%v: %v, want %v", c.fields, got, c.want)
		}
	}
}
