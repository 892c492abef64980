package main

import (
	"testing"
)

func TestMedianIsTheMiddle(t *testing.T) {
	for _, c := range []struct {
		of   series
		want float64
	}{
		{nil, 0}, {series{3}, 3}, {series{9, 1, 5}, 5}, {series{4, 1, 2, 100}, 3},
	} {
		if got := c.of.median(); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.of, got, c.want)
		}
	}
}

func TestRatiosAreTakenPairByPair(t *testing.T) {
	// The medians' ratio would be 1.
	got := ratios(series{10, 20, 30}, series{20, 10, 60})
	if len(got) != 3 || got[0] != 0.5 || got[1] != 2 || got[2] != 0.5 || got.median() != 0.5 {
		t.Errorf("%v", got)
	}
	if got := ratios(series{1}, series{0}); got[0] != 0 {
		t.Errorf("%v", got)
	}
}
