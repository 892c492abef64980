package main

import (
	"fmt"
	"strings"
	"time"
)

// figures is what one run has shown.
type figures struct {
	scenario  scenario
	missing   int     // rows that never came
	again     int     // rows accepted more than once
	disorder  int     // rows first accepted after a later one of their key
	dead      int     // dead letters
	rate      float64 // rows a second
	cpu       time.Duration
	ended     bool          // the process ended by itself
	during    int           // requests while the trouble lasted
	late      int           // those of them that came when every client could know of it
	opened    int           // connections to the endpoint
	recovered time.Duration // from the end of the trouble to the next row; negative: there was none
	silence   time.Duration // the longest time without a new row
}

// figures counts when all is over.
func (e *endpoint) figures() figures {
	e.mu.Lock()
	defer e.mu.Unlock()
	f := figures{
		scenario: e.scenario, missing: e.records - e.rows, again: e.again, disorder: e.disorder, during: e.during, late: e.late, opened: e.opened,
		recovered: -1,
	}
	if !e.recovered.IsZero() {
		f.recovered = e.recovered.Sub(e.began.Add(e.outage))
	}
	times := arrivals(e.firsts)
	for i := 1; i < len(times); i++ {
		f.silence = max(f.silence, times[i].Sub(times[i-1]))
	}
	if n := len(times) * 99 / 100; n > 1 { // the last hundredth is decided by who gets the last answer
		f.rate = float64(n-1) / times[n-1].Sub(times[0]).Seconds()
	}
	return f
}

func (f figures) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "missing %d, twice %d, out of order %d, dead letters %d", f.missing, f.again, f.disorder, f.dead)
	switch {
	case f.scenario.status != 0:
		fmt.Fprintf(&b, ", requests in the trouble %d (late %d)", f.during, f.late)
		if f.recovered >= 0 {
			fmt.Fprintf(&b, ", next row %.1f s after it", f.recovered.Seconds())
		}
	case f.scenario.kill:
		fmt.Fprintf(&b, ", silence %.1f s", f.silence.Seconds())
	default:
		fmt.Fprintf(&b, ", %.0f rows/s, cpu %.2f s, %d connections", f.rate, f.cpu.Seconds(), f.opened)
	}
	if f.ended {
		b.WriteString(", ended by itself")
	}
	return b.String()
}
