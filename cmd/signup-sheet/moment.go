package main

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// moment is a time: RFC 3339, a date or a time without its zone (UTC), how long ago it was, or now. Kafka's timestamps have milliseconds.
func moment(to *time.Time) value {
	return value{unit: "time", set: func(text string) error {
		at, ok := parseMoment(text, time.Now())
		if !ok {
			return errors.New("want a time since 1970: 2026-11-01T00:00:00Z, 2026-11-01T01:00+01:00, 2026-11-01 (UTC), 24h (ago) or now")
		}
		*to = at
		return nil
	}}
}

func parseMoment(text string, now time.Time) (time.Time, bool) {
	now = now.Truncate(time.Second) // so that what is shown of it is all of it
	if text == "now" {
		return now.UTC(), true
	}
	if ago, err := time.ParseDuration(text); err == nil {
		at := now.Add(-ago)
		return at.UTC(), ago >= 0 && at.Unix() >= 0
	}
	// Before 1970, times in milliseconds are negative, and words of their own to Kafka.
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.Truncate(time.Millisecond).UTC(), at.Unix() >= 0
		}
	}
	return time.Time{}, false
}

// formatMoment writes what parseMoment reads.
func formatMoment(at time.Time) string { return at.Format(time.RFC3339Nano) }

// requestRate is a number of requests a second, which may be less than one.
func requestRate(to *float64) value {
	const least, most = 0.001, 100_000
	return value{unit: "requests/s", set: func(text string) error {
		n, err := strconv.ParseFloat(strings.TrimSuffix(text, "/s"), 64)
		if err != nil || !(n >= least && n <= most) {
			return errors.New("want requests a second, such as 50/s or 0.5/s: from 0.001 to 100000")
		}
		*to = n
		return nil
	}}
}

// rowRate is a number of rows a second.
func rowRate(to *int) value {
	const most = 100_000
	return value{unit: "rows/s", set: func(text string) error {
		n, err := strconv.Atoi(strings.TrimSuffix(text, "/s"))
		if err != nil || n < 1 || n > most {
			return errors.New("want rows a second, such as 50/s: a whole number from 1 to 100000")
		}
		*to = n
		return nil
	}}
}
