package sink

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxWait caps what an endpoint may ask for: a longer wait is more often a mistake
// than a wish, and one attempt in a quarter of an hour harms nobody.
const maxWait = 15 * time.Minute

// asked returns how long an endpoint that failed wants to be left alone: Retry-After, and
// if there is none, a rate limit at zero. It is 0 if it says nothing of the kind.
func asked(header http.Header, now time.Time) time.Duration {
	wait := time.Duration(0)
	for _, value := range header.Values("Retry-After") {
		wait = max(wait, retryAfter(value, now))
	}
	if wait > 0 {
		return wait
	}
	return exhausted(header, now)
}

// retryAfter understands both forms of Retry-After (RFC 9110, section 10.2.3), and what
// servers send instead: several values, of which the longest counts, fractions, seconds
// with a unit, a moment in Unix seconds. Past moments, and what is not understood, are 0.
func retryAfter(value string, now time.Time) time.Duration {
	if date, err := http.ParseTime(strings.TrimSpace(value)); err == nil {
		return min(max(date.Sub(now), 0), maxWait)
	}
	wait := time.Duration(0)
	for part := range strings.SplitSeq(value, ",") {
		wait = max(wait, delay(part, now))
	}
	return wait
}

// delay reads a number of seconds, a Go duration or a moment in Unix seconds.
func delay(text string, now time.Time) time.Duration {
	text = strings.ToLower(strings.Trim(strings.TrimSpace(text), `"`))
	if d, err := time.ParseDuration(text); err == nil {
		return min(max(d, 0), maxWait)
	}
	for _, unit := range []string{"seconds", "second", "secs", "sec"} {
		text = strings.TrimSpace(strings.TrimSuffix(text, unit))
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) || math.IsNaN(seconds) {
		return 0
	}
	switch {
	case seconds <= 0:
		return 0
	case seconds >= unixMilliseconds:
		return delayUntil(time.UnixMilli(int64(min(seconds, 1e15))), now)
	case seconds >= unixSeconds:
		return delayUntil(time.Unix(int64(seconds), 0), now)
	case seconds >= maxWait.Seconds():
		return maxWait
	}
	return time.Duration(seconds * float64(time.Second))
}

// From here on a number is no time to wait but a moment: the one is 31 years, the other
// the year 2001.
const (
	unixSeconds      = 1e9
	unixMilliseconds = 1e12
)

func delayUntil(moment, now time.Time) time.Duration { return min(max(moment.Sub(now), 0), maxWait) }

// exhausted returns when a rate limit that is used up begins anew, from the headers that
// say so: RateLimit (draft-ietf-httpapi-ratelimit-headers), its older forms
// RateLimit-Remaining and -Reset, and those with an X. It is 0 unless nothing remains.
func exhausted(header http.Header, now time.Time) time.Duration {
	wait := time.Duration(0)
	for _, prefix := range []string{"Ratelimit", "X-Ratelimit", "X-Rate-Limit"} {
		if remaining, ok := header[prefix+"-Remaining"]; ok && isZero(remaining[0]) {
			wait = max(wait, delay(header.Get(prefix+"-Reset"), now))
		}
	}
	for _, value := range header["Ratelimit"] {
		for policy := range strings.SplitSeq(value, ",") {
			wait = max(wait, usedUp(policy, now))
		}
		wait = max(wait, usedUp(value, now)) // an older draft: limit=10, remaining=0, reset=5
	}
	return wait
}

// usedUp reads one policy of a RateLimit header: "name";r=0;t=30.
func usedUp(policy string, now time.Time) time.Duration {
	zero, reset := false, time.Duration(0)
	for field := range strings.FieldsFuncSeq(policy, func(r rune) bool { return r == ';' || r == ',' }) {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		switch strings.TrimSpace(name) {
		case "r", "remaining":
			zero = isZero(value)
		case "t", "reset":
			reset = delay(value, now)
		}
	}
	if !zero {
		return 0
	}
	return reset
}

func isZero(text string) bool {
	n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	return err == nil && n <= 0
}
