package sink

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxRetryAfter caps what an endpoint may ask for: a longer wait is more often a
// mistake than a wish, and one attempt in a quarter of an hour harms nobody.
const maxRetryAfter = 15 * time.Minute

// retryAfter returns the wait that a Retry-After header asks for, from 0 to
// maxRetryAfter. Both forms are understood, seconds and the three date forms of HTTP
// (RFC 9110, sections 10.2.3 and 5.6.7). Negative seconds and past dates are 0;
// anything else is no wish at all, and so 0 as well.
func retryAfter(header string, now time.Time) time.Duration {
	header = strings.TrimSpace(header)
	if header == "" {
		return 0
	}
	if digits := strings.TrimPrefix(header, "-"); strings.Trim(digits, "0123456789") == "" && digits != "" {
		if digits != header {
			return 0
		}
		seconds, err := strconv.Atoi(digits)
		if err != nil || seconds > int(maxRetryAfter/time.Second) { // out of range: very long
			return maxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	date, err := http.ParseTime(header)
	if err != nil {
		return 0
	}
	return min(max(date.Sub(now), 0), maxRetryAfter)
}
