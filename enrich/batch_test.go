package enrich_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"signup-sheet/enrich"
	"signup-sheet/internal/agify"
)

// Names of 5 ms share a request, up to ten; each country has its own; a name alone goes alone.
func TestNamesOfTheSameMomentShareARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var asked [][]string
		api := new(agify.Server)
		f := start(t, func(w http.ResponseWriter, r *http.Request) {
			q := r.URL.Query()
			mu.Lock()
			asked = append(asked, append([]string{q.Get("country_id")}, slices.Concat(q["name"], q["name[]"])...))
			mu.Unlock()
			api.ServeHTTP(w, r)
		}, batches)
		begin := time.Now()
		var rows sync.WaitGroup
		row := func(name, country string) {
			rows.Go(func() { f.Age(t.Context(), name, country, alone) })
			synctest.Wait()
		}
		row("anna", "")
		row("berta", "")
		row("anna", "DE")
		<-time.After(4 * time.Millisecond)
		row("clara", "")
		row("anna", "") // again
		rows.Wait()
		if took := time.Since(begin); took != 5*time.Millisecond {
			t.Errorf("it took %s, want the linger of the first one", took)
		}
		row("dora", "")
		rows.Wait()

		var many []string
		for i := range 12 {
			many = append(many, fmt.Sprintf("emma%c", 'a'+i))
			row(many[i], "")
		}
		if full := f.asked(); full != 4 {
			t.Errorf("%d requests before the linger, want 4: a full one goes at once", full)
		}
		rows.Wait()
		mu.Lock()
		defer mu.Unlock()
		slices.SortFunc(asked[:2], slices.Compare)
		want := [][]string{{"", "anna", "berta", "clara"}, {"DE", "anna"}, {"", "dora"}, append([]string{""}, many[:10]...), append([]string{""}, many[10:]...)}
		if !slices.EqualFunc(asked, want, slices.Equal) {
			t.Errorf("asked\n%q, want\n%q", asked, want)
		}
		if single, batch := f.value(t, "signup_sheet_enrich_requests_total", "single"), f.value(t, "signup_sheet_enrich_requests_total", "batch"); single != 2 || batch != 3 {
			t.Errorf("%g single requests, %g batches", single, batch)
		}
		if names := f.value(t, "signup_sheet_enrich_names_total", ""); names != 17 {
			t.Errorf("%g names, want 17", names)
		}
	})
}

// A server may take fewer names than we think. It is learnt once, whatever the server says of it, and no name is lost or blamed.
func TestServerThatTakesFewerNamesIsLearnt(t *testing.T) {
	for _, says := range []struct {
		name   string
		answer func(w http.ResponseWriter, r *http.Request, api *agify.Server)
	}{
		{"422", func(w http.ResponseWriter, r *http.Request, api *agify.Server) { api.ServeHTTP(w, r) }},
		{"400", func(w http.ResponseWriter, _ *http.Request, _ *agify.Server) {
			saying(400, nil, `{"error":"Invalid 'name' parameter"}`)(w, nil)
		}},
		{"413", func(w http.ResponseWriter, _ *http.Request, _ *agify.Server) {
			saying(413, nil, `<html>`)(w, nil)
		}},
		{"414", func(w http.ResponseWriter, _ *http.Request, _ *agify.Server) {
			saying(414, nil, ``)(w, nil)
		}},
		{"only the first ones answered", func(w http.ResponseWriter, _ *http.Request, api *agify.Server) {
			_, _ = io.WriteString(w, "["+strings.TrimPrefix(strings.Repeat(`,{"age":99}`, api.MaxBatch), ",")+"]")
		}},
	} {
		for _, tc := range []struct{ configured, enforced, learnt int }{{100, 10, 10}, {10, 7, 5}, {10, 1, 1}, {100, 3, 2}} {
			t.Run(fmt.Sprintf("%s: %d, not %d", says.name, tc.enforced, tc.configured), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					api := &agify.Server{MaxBatch: tc.enforced, Age: func(name, _ string) (int, bool) { return len(name), true }}
					f := start(t, func(w http.ResponseWriter, r *http.Request) {
						if len(r.URL.Query()["name[]"]) > tc.enforced {
							says.answer(w, r, api)
							return
						}
						api.ServeHTTP(w, r)
					}, batches, func(c *enrich.Config) { c.BatchSize = tc.configured })
					name := func(round, i int) string { return strings.Repeat("a", round+1) + strings.Repeat("b", i) }
					for round := range 2 {
						before := f.asked()
						var rows sync.WaitGroup
						for i := range tc.configured / 2 {
							rows.Go(func() { f.wantAge(t, name(round, i), round+1+i) })
						}
						for i := range tc.configured / 2 {
							rows.Go(func() { f.wantAge(t, name(round+2, i), round+3+i) })
						}
						rows.Wait()
						synctest.Wait() // what was learnt is learnt after rows have their ages
						if requests := f.asked() - before; round == 1 && requests < tc.configured/2/tc.learnt {
							t.Errorf("%d requests", requests)
						}
					}
					for _, r := range f.requests[len(f.requests)-3:] {
						if n := len(r.URL.Query()["name[]"]); n > tc.learnt {
							t.Errorf("it is asked about %d names again", n)
						}
					}
					f.wantStop(t, "")
					if !strings.Contains(f.log.String(), fmt.Sprintf(`"names":%d}`, tc.learnt)) {
						t.Errorf("logged %s", f.log)
					}
				})
			})
		}
	}
}

// agify refuses a batch for one of its names. Its neighbours get their ages, it alone is remembered as unknown, and nothing is
// concluded about how many names agify takes.
func TestNoNameIsBlamedForItsNeighbours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := new(agify.Server)
		f := start(t, func(w http.ResponseWriter, r *http.Request) {
			q := r.URL.Query()
			if slices.Contains(slices.Concat(q["name"], q["name[]"]), "evil") {
				saying(422, nil, `{"error":"Invalid 'name' parameter"}`)(w, r)
				return
			}
			api.ServeHTTP(w, r)
		}, batches)
		names := []string{"a", "b", "c", "d", "evil", "f", "g", "h", "i", "j"}
		f.look(t, names...)
		for _, name := range names {
			if name == "evil" {
				f.wantNoAge(t, name)
			} else {
				f.wantAge(t, name, 42)
			}
		}
		f.wantResults(t, map[string]float64{"miss": 9, "hit": 9, "unknown": 2})
		f.look(t, "k", "l", "m", "n", "o", "p", "q", "r", "s", "t")
		if got := api.Counts().Largest; got != 10 {
			t.Errorf("later requests have %d names, want 10", got)
		}
		if strings.Contains(f.log.String(), "evil") {
			t.Error("the name is logged")
		}
	})
}

// The rest of a quota is used by as many names as it has: the others go without, and nobody is asked until it begins anew.
func TestRestOfTheQuotaIsUsed(t *testing.T) {
	for _, known := range []bool{true, false} {
		t.Run(fmt.Sprintf("headers: %t", known), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := &agify.Server{Quota: 13}
				f := start(t, func(w http.ResponseWriter, r *http.Request) {
					if known {
						api.ServeHTTP(w, r)
						return
					}
					api.ServeHTTP(withoutQuota{w}, r)
				}, batches)
				f.look(t, "a", "b", "c", "d", "e", "f", "g", "h", "i", "j")
				f.look(t, "k", "l", "m", "n", "o", "p", "q", "r", "s", "t")
				if got := api.Counts().Names; got != 13 {
					t.Errorf("%d names answered, want 13", got)
				}
				before := f.asked()
				f.look(t, "u", "v")
				if f.asked() != before {
					t.Error("it is asked on")
				}
				f.wantStop(t, "quota")
				<-time.After(time.Hour)
				f.look(t, "u")
				f.wantAge(t, "u", 42)
				f.wantAge(t, "v", 42)
			})
		})
	}
}

// withoutQuota leaves out the headers of the quota.
type withoutQuota struct{ http.ResponseWriter }

func (w withoutQuota) WriteHeader(status int) {
	for _, name := range []string{"X-Rate-Limit-Limit", "X-Rate-Limit-Remaining", "X-Rate-Limit-Reset"} {
		w.Header().Del(name)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w withoutQuota) Write(b []byte) (int, error) {
	for _, name := range []string{"X-Rate-Limit-Limit", "X-Rate-Limit-Remaining", "X-Rate-Limit-Reset"} {
		w.Header().Del(name)
	}
	return w.ResponseWriter.Write(b)
}

// URLs stay within the 8 KiB that servers take, however long the names.
func TestRequestsOfLongNamesAreShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		longest := 0
		api := &agify.Server{MaxBatch: 100}
		f := start(t, func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			longest = max(longest, len(r.URL.RequestURI()))
			mu.Unlock()
			api.ServeHTTP(w, r)
		}, batches, func(c *enrich.Config) { c.BatchSize = 100 })
		var names []string
		for i := range 100 {
			names = append(names, strings.Repeat("\U00010400", 62)+fmt.Sprintf("%02d", i)) // four bytes a letter
		}
		f.look(t, names...)
		if longest > 8000 || longest < 4000 {
			t.Errorf("the longest URL has %d bytes", longest)
		}
		if got := api.Counts().Distinct; got != 100 {
			t.Errorf("%d names answered", got)
		}
	})
}

// What a proxy cut for a moment is not what agify takes for ever: after an hour it is tried again, which is said in the log once.
func TestSizeOfBatchesComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := new(moody)
		f := start(t, api.ServeHTTP, batches)
		round := 0
		largest := func() int {
			from := f.asked()
			var names []string
			for i := range 10 {
				names = append(names, fmt.Sprintf("n%c%c", 'a'+i, 'a'+round))
			}
			round++
			f.look(t, names...)
			synctest.Wait()
			n := 0
			for _, r := range f.requests[from:] {
				n = max(n, len(r.URL.Query()["name[]"]))
			}
			return n
		}
		api.is(func(w http.ResponseWriter, r *http.Request) {
			if len(r.URL.Query()["name[]"]) > 5 {
				saying(413, nil, "<html>")(w, r)
				return
			}
			api.well.ServeHTTP(w, r)
		})
		for range 5 {
			largest()
			if got := largest(); got != 5 {
				t.Errorf("%d names in a request, want 5", got)
			}
			<-time.After(time.Hour)
		}
		if lines := strings.Count(f.log.String(), "fewer names"); lines != 1 {
			t.Errorf("logged %s", f.log)
		}
		api.recovers()
		if got := largest(); got != 10 {
			t.Errorf("%d names in a request an hour later, want 10", got)
		}
	})
}
