package main

import "slices"

// series is a quantity in several runs.
type series []float64

// median is the value in the middle, or the mean of the two in the middle; 0 of none.
func (s series) median() float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// ratios is, pair by pair, what was measured over its yardstick.
func ratios(measured, yardstick series) series {
	r := make(series, min(len(measured), len(yardstick)))
	for i := range r {
		if yardstick[i] != 0 {
			r[i] = measured[i] / yardstick[i]
		}
	}
	return r
}
