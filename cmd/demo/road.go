package main

import "time"

// road is a figure for each stage that records pass: totals, or records a second.
type road struct {
	Published   float64 `json:"published"`
	Fetched     float64 `json:"fetched"`
	Enriched    float64 `json:"enriched"`
	Delivered   float64 `json:"delivered"`
	Committed   float64 `json:"committed"`
	DeadLetters float64 `json:"dead_letters"`
}

// each combines two figures of each stage.
func (r road) each(other road, combine func(a, b float64) float64) road {
	return road{
		Published:   combine(r.Published, other.Published),
		Fetched:     combine(r.Fetched, other.Fetched),
		Enriched:    combine(r.Enriched, other.Enriched),
		Delivered:   combine(r.Delivered, other.Delivered),
		Committed:   combine(r.Committed, other.Committed),
		DeadLetters: combine(r.DeadLetters, other.DeadLetters),
	}
}

// flowWindow is the time over which rates are averaged: a few commits, which come once a second.
const flowWindow = 3 * time.Second

// flow makes rates of totals.
type flow struct{ seen []moment }

type moment struct {
	at     time.Time
	totals road
}

// note adds the totals of a moment and returns the rates until then.
func (f *flow) note(at time.Time, totals road) road {
	f.seen = append(f.seen, moment{at, totals})
	for len(f.seen) > 2 && at.Sub(f.seen[1].at) >= flowWindow {
		f.seen = f.seen[1:]
	}
	first := f.seen[0]
	seconds := at.Sub(first.at).Seconds()
	if seconds <= 0 {
		return road{}
	}
	return totals.each(first.totals, func(now, then float64) float64 { return max(0, now-then) / seconds })
}
