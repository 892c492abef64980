// Package allocs makes benchmarks into tests: of the number of their allocations, which is the same on every machine. Times are
// reported and never tested.
package allocs

import "testing"

// AtMost runs a benchmark and fails the test if an operation of it allocates more often than limit on average, rounded down. Under
// the race detector, which changes what is allocated, it skips the test: "make allocs" runs them all without it.
func AtMost(t *testing.T, limit int64, benchmark func(*testing.B)) {
	t.Helper()
	if race {
		t.Skip("the race detector changes what is allocated")
	}
	r := testing.Benchmark(benchmark)
	if r.N == 0 {
		t.Fatal("the benchmark failed")
	}
	t.Logf("%s%s, limit %d", r, r.MemString(), limit)
	if got := r.AllocsPerOp(); got > limit {
		t.Errorf("%d allocations an operation, want at most %d: see go test -bench . -benchmem -memprofile", got, limit)
	}
}
