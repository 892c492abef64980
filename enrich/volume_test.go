package enrich_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"signup-sheet/enrich"
	"signup-sheet/internal/agify"
)

// spelled is the n-th name of a world in which no two are the same.
func spelled(n int) string {
	letters := make([]byte, 0, 8)
	for i := n; ; i = i/26 - 1 {
		letters = append(letters, byte('a'+i%26))
		if i < 26 {
			break
		}
	}
	return "name" + string(letters)
}

// firstNames are n of those names.
func firstNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = spelled(i)
	}
	return names
}

// nameOf is spelled in one of its spellings.
func nameOf(n int, rng *rand.Rand) string {
	name := spelled(n)
	if rng.IntN(2) == 0 {
		return "N" + name[1:] + " Smith"
	}
	return name
}

// lookUp is rows that look up names, so many at a time, each taking as long as a delivery besides.
func lookUp(t *testing.T, e *enrich.Enricher, names []string, inFlight int, delivery time.Duration) (took time.Duration) {
	t.Helper()
	begin := time.Now()
	var next atomic.Int64
	var rows sync.WaitGroup
	for range inFlight {
		rows.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(names) {
					return
				}
				if _, status := e.Age(t.Context(), names[i], "", alone); status != "hit" && status != "miss" {
					t.Errorf("name %d: %s", i, status)
					return
				}
				if delivery > 0 {
					<-time.After(delivery)
				}
			}
		})
	}
	rows.Wait()
	return time.Since(begin)
}

// 100,000 signups whose names are as unevenly spread as people's cost as many lookups as there are names: whatever is asked at the same
// moment, and in whichever spelling.
func TestEveryNameIsAskedForOnce(t *testing.T) {
	for _, inFlight := range []int{64, 256} {
		t.Run(fmt.Sprint(inFlight, " in flight"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := &agify.Server{Latency: 50 * time.Millisecond}
				f := start(t, api.ServeHTTP, batches, func(c *enrich.Config) { c.CacheSize = 100_000 })
				rng := rand.New(rand.NewPCG(7, 7))
				zipf := rand.NewZipf(rng, 1.1, 2, 50_000)
				distinct := map[int]bool{}
				names := make([]string, 100_000)
				for i := range names {
					n := int(zipf.Uint64())
					distinct[n] = true
					names[i] = nameOf(n, rng)
				}
				lookUp(t, f.Enricher, names, inFlight, 20*time.Millisecond)
				counts := api.Counts()
				t.Logf("%d signups, %d names: %+v", len(names), len(distinct), counts)
				if len(distinct) < 5_000 || counts.Names != len(distinct) || counts.Distinct != len(distinct) {
					t.Errorf("agify was asked about %d names, %d of them different; want each of %d once", counts.Names, counts.Distinct, len(distinct))
				}
			})
		})
	}
}

// 20,000 names that are all new, at 4,000 rows a second and more, with an agify that takes 50 ms: a request for seven names or more, on
// average.
func TestNewNamesShareRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &agify.Server{Latency: 50 * time.Millisecond}
		f := start(t, api.ServeHTTP, batches, func(c *enrich.Config) { c.CacheSize, c.Concurrency = 100_000, 256 })
		rng := rand.New(rand.NewPCG(7, 7))
		names := make([]string, 20_000)
		for i := range names {
			names[i] = nameOf(i, rng)
		}
		// Twice as many as are attempted at a time, as the consumer does it.
		took := lookUp(t, f.Enricher, names, 512, 0)
		counts, rate := api.Counts(), float64(len(names))/took.Seconds()
		t.Logf("%.0f rows a second, %+v: %.1f %% of the names", rate, counts, 100*float64(counts.Requests)/float64(len(names)))
		if rate < 4_000 {
			t.Errorf("%.0f rows a second, want 4,000", rate)
		}
		if counts.Names != len(names) || float64(counts.Requests) > 0.15*float64(len(names)) {
			t.Errorf("%d requests for %d names, want at most 15 %%", counts.Requests, counts.Names)
		}
	})
}
