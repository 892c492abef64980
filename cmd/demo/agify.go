package main

import (
	"strings"
	"time"

	"signup-sheet/internal/agify"
)

// agifyLatency is how long the fake agify thinks.
const agifyLatency = 3 * time.Millisecond

// newAgify is a fake agify that knows the ages of most of the people.
func newAgify() *agify.Server {
	known := ages(people())
	return &agify.Server{Latency: agifyLatency, Quota: 25_000, Age: func(name, _ string) (int, bool) {
		age, ok := known[strings.ToLower(name)]
		return age, ok
	}}
}
