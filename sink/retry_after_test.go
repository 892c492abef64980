package sink

import (
	"testing"
	"time"
)

func TestRetryAfterIsUnderstoodInBothForms(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"":                                  0,
		"0":                                 0,
		"8":                                 8 * time.Second,
		" 8 ":                               8 * time.Second,
		"-5":                                0,
		"-":                                 0,
		"900":                               15 * time.Minute,
		"901":                               15 * time.Minute,
		"99999999999999999999999":           15 * time.Minute,
		"-99999999999999999999999":          0,
		"+5":                                0,
		"1.5":                               0,
		"5s":                                0,
		"soon":                              0,
		"0x10":                              0,
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
