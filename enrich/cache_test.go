package enrich_test

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"signup-sheet/enrich"
	"signup-sheet/internal/agify"
)

// Ages count for their time to live, that a name is unknown for another; then agify is asked again, once.
func TestAnswersAreAskedForAgainAfterTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &agify.Server{Age: func(name, _ string) (int, bool) { return 42, name != "xyz" }}
		f := start(t, api.ServeHTTP)
		for _, step := range []struct {
			after          time.Duration
			known, strange int // requests since the beginning
		}{
			{0, 1, 1},
			{7*day - time.Second, 1, 1},
			{time.Second, 1, 2},
			{83 * day, 2, 3},
			{0, 2, 3},
		} {
			<-time.After(step.after)
			f.wantAge(t, "anna", 42)
			f.wantNoAge(t, "xyz")
			if got, want := f.asked(), step.known+step.strange; got != want {
				t.Errorf("after %s: %d requests, want %d", step.after, got, want)
			}
		}
	})
}

// An answer that is too old is better than none while agify fails, and no row waits for the failure more than once.
func TestOldAnswersCountWhileAgifyFails(t *testing.T) {
	for name, trouble := range troubles() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := new(moody)
				api.well.Age = func(name, _ string) (int, bool) { return 42, name != "xyz" }
				f := start(t, api.ServeHTTP)
				f.look(t, "anna", "xyz")
				<-time.After(100 * day)
				api.is(trouble.answer)
				for range 10 {
					if age, status := f.Age(t.Context(), "anna", "", alone); age != 42 || status != "hit" {
						t.Fatalf("got %d, %s, want 42, hit", age, status)
					}
					if _, status := f.Age(t.Context(), "xyz", "", alone); status != "unknown" {
						t.Fatalf("got %s, want unknown", status)
					}
				}
				f.wantStop(t, trouble.stop)
				if got := f.value(t, "signup_sheet_enrich_lookups_total", "stale"); got != 10 {
					t.Errorf("%g stale hits, want 10", got)
				}
			})
		})
	}
}

func TestCacheCountsWhatItForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, new(agify.Server).ServeHTTP, func(c *enrich.Config) { c.CacheSize = 2 })
		f.look(t, "anna", "berta", "clara")
		if got := f.value(t, "signup_sheet_enrich_cache_evictions_total", ""); got != 1 {
			t.Errorf("%g evictions, want 1", got)
		}
	})
}

// kept is a store that keeps what it is told.
type kept struct {
	mu      sync.Mutex
	answers []enrich.Answer
}

func (k *kept) Keep(a enrich.Answer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.answers = append(k.answers, a)
}

// What one process was told, another one learns: it asks about none of it. What nobody said is not kept.
func TestAnswersOfAStoreCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(kept)
		api := &agify.Server{Age: func(name, country string) (int, bool) { return len(name + country), name != "xyz" }}
		f := start(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("name") == "evil" {
				saying(422, nil, `{"error":"Invalid 'name' parameter"}`)(w, r)
				return
			}
			api.ServeHTTP(w, r)
		}, func(c *enrich.Config) { c.Store = store })
		f.look(t, "Anna", "xyz", "evil", "anna")
		f.age(t.Context(), "Anna", "de")
		if got := fmt.Sprint(store.answers); got != fmt.Sprint([]enrich.Answer{
			{Name: "anna", Age: 4, Known: true, Time: time.Now().UTC()}, {Name: "xyz", Time: time.Now().UTC()}, {Name: "anna", Country: "DE", Age: 6, Known: true, Time: time.Now().UTC()},
		}) {
			t.Errorf("kept %s", got)
		}

		before := f.asked()
		other := start2(t, f)
		for _, a := range store.answers {
			key, value, err := a.Record()
			if err != nil {
				t.Fatal(err)
			}
			back, err := enrich.ParseAnswer(key, value)
			if err != nil {
				t.Fatal(err)
			}
			other.Learn(back)
		}
		for _, want := range []struct {
			name, country string
			age           int
			status        string
		}{{"anna", "", 4, "hit"}, {"anna", "DE", 6, "hit"}, {"xyz", "", 0, "unknown"}} {
			if age, status := other.Age(t.Context(), want.name, want.country, alone); age != want.age || status != want.status {
				t.Errorf("%+v: %d, %s", want, age, status)
			}
		}
		if f.asked() != before {
			t.Error("agify was asked again")
		}
	})
}

// Of two answers the newer one counts, in whichever order they come; one from the future is of now, so that it does not stay for
// ever; and the time to live counts from when agify answered, not from when it was learnt.
func TestNewerAnswerCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := new(agify.Server)
		f := start(t, api.ServeHTTP)
		at := func(age int, ago time.Duration) enrich.Answer {
			return enrich.Answer{Name: "anna", Age: age, Known: true, Time: time.Now().Add(-ago)}
		}
		<-time.After(365 * day)
		f.Learn(at(30, 10*day))
		f.wantAge(t, "anna", 30)
		f.Learn(at(31, 11*day))
		f.wantAge(t, "anna", 30)
		f.Learn(at(32, 9*day))
		f.wantAge(t, "anna", 32)
		f.Learn(at(33, -1000*day))
		f.wantAge(t, "anna", 33)
		<-time.After(time.Second)
		f.Learn(at(34, 0))
		f.wantAge(t, "anna", 34)
		f.Learn(enrich.Answer{Name: "berta", Age: 50, Known: true, Time: time.Now().Add(-90 * day)})
		f.wantAge(t, "berta", 42)
		if got := f.asked(); got != 1 {
			t.Errorf("%d requests, want one, for what was too old", got)
		}
	})
}

// The first rows wait until what others know is known here; a row that is given up does not.
func TestRowsWaitForTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ready := make(chan struct{})
		api := new(agify.Server)
		f := start(t, api.ServeHTTP, func(c *enrich.Config) { c.Ready = ready })
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, ok := f.age(ctx, "anna", ""); ok {
			t.Error("an age before the store is read")
		}
		f.wantNoAge(t, "1234") // there is nothing to wait for
		begin := time.Now()
		var rows sync.WaitGroup
		rows.Go(func() { f.wantAge(t, "anna", 30) })
		<-time.After(20 * time.Second)
		f.Learn(enrich.Answer{Name: "anna", Age: 30, Known: true, Time: time.Now()})
		close(ready)
		rows.Wait()
		if took := time.Since(begin); took != 20*time.Second {
			t.Errorf("waited %s", took)
		}
		if got := f.asked(); got != 0 {
			t.Errorf("%d requests", got)
		}
	})
}

// 100,000 names with their countries take less than 20 MiB.
func TestMemoryOfTheCache(t *testing.T) {
	const names = 100_000
	synctest.Test(t, func(t *testing.T) {
		f := start(t, never, func(c *enrich.Config) { c.CacheSize = names })
		before := liveHeap()
		for i := range names {
			key := fmt.Appendf(nil, "US:maria-magdalena%06d", i)
			a, err := enrich.ParseAnswer(key, []byte(`{"age":42,"time":"1999-12-31T00:00:00Z"}`))
			if err != nil {
				t.Fatal(err)
			}
			f.Learn(a)
		}
		grown := liveHeap() - before
		t.Logf("%d names take %.1f MiB", names, float64(grown)/(1<<20))
		if got := f.value(t, "signup_sheet_enrich_cache_entries", ""); got != names {
			t.Errorf("%g names are there", got)
		}
		if grown > 20<<20 {
			t.Errorf("they take %d MiB, want less than 20", grown>>20)
		}
		runtime.KeepAlive(f)
	})
}
