package main

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// scenario is one kind of trouble.
type scenario struct {
	kill   bool // end the consumer with SIGKILL and start it again
	stuck  bool // one row gets 503, always
	status int  // every request gets this status for the time of the outage
	pause  bool // the answers say with Retry-After when it ends
}

func scenarios() map[string]scenario {
	return map[string]scenario{
		"rate":  {},
		"kill":  {kill: true},
		"stuck": {stuck: true},
		"503":   {status: http.StatusServiceUnavailable},
		"401":   {status: http.StatusUnauthorized},
		"429":   {status: http.StatusTooManyRequests, pause: true},
	}
}

func scenarioNames() []string { return slices.Sorted(maps.Keys(scenarios())) }

// retryAfter is the header's value when so much of a pause is left: whole seconds, rounded up.
func retryAfter(left time.Duration) string {
	return strconv.Itoa(int((left + time.Second - 1) / time.Second))
}
