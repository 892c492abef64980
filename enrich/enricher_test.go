package enrich_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"signup-sheet/enrich"
	"signup-sheet/internal/allocs"
)

func TestRequestHasExactlyOurParameters(t *testing.T) {
	for _, tc := range []struct {
		name, country, key string
		want               url.Values
	}{
		{"Michael Smith", "", "", url.Values{"name": {"michael"}}},
		{"Michael", "us", "", url.Values{"name": {"michael"}, "country_id": {"US"}}},
		{"Michael", "USA", "", url.Values{"name": {"michael"}}},
		{"Michael", "&a", "", url.Values{"name": {"michael"}}},
		{"Michael", "US", "k&y=#+ %", url.Values{"name": {"michael"}, "country_id": {"US"}, "apikey": {"k&y=#+ %"}}},
		{"x&country_id=DE", "US", "", url.Values{"name": {"x&country_id=de"}, "country_id": {"US"}}},
		{"x&apikey=y", "", "key", url.Values{"name": {"x&apikey=y"}, "apikey": {"key"}}},
		{"x=y", "", "", url.Values{"name": {"x=y"}}},
		{"x#y", "", "", url.Values{"name": {"x#y"}}},
		{"x+y", "", "", url.Values{"name": {"x+y"}}},
		{"x%26y", "", "", url.Values{"name": {"x%26y"}}},
		{"x;name=y", "", "", url.Values{"name": {"x;name=y"}}},
		{"a/../x?y", "", "", url.Values{"name": {"a/../x?y"}}},
		{"x\x00\x7fy", "", "", url.Values{"name": {"x\x00\x7fy"}}},
		{"Zoe\u0308", "", "", url.Values{"name": {"zoë"}}},
		{"王 小明", "CN", "", url.Values{"name": {"王"}, "country_id": {"CN"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, says(michael), func(c *enrich.Config) { c.APIKey = keyOf(tc.key) })
				if age, ok := f.age(t.Context(), tc.name, tc.country); age != 57 || !ok {
					t.Fatalf("got %d, %t", age, ok)
				}
				r := f.lastRequest(t)
				got, err := url.ParseQuery(r.URL.RawQuery)
				if err != nil || got.Encode() != tc.want.Encode() {
					t.Errorf("query: got %q (%v), want %q", r.URL.RawQuery, err, tc.want.Encode())
				}
				if r.Method != http.MethodGet || r.URL.Path != "/" || r.ContentLength != 0 {
					t.Errorf("got %s %s with %d bytes", r.Method, r.URL.Path, r.ContentLength)
				}
				if got := r.Header.Get("User-Agent"); got != "signup-sheet/test" {
					t.Errorf("user agent: got %q", got)
				}
			})
		})
	}
}

func TestNothingToAskAboutIsSkippedWithoutARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, says(michael))
		names := []string{"", "  ", "1234", "michael@example.com", "\xff"}
		for _, name := range names {
			f.wantNoAge(t, name)
		}
		if got := f.asked(); got != 0 {
			t.Errorf("%d requests", got)
		}
		f.wantResults(t, map[string]float64{"skipped": float64(len(names))})
	})
}

// One request for every spelling of a name, one more for another country; a name that agify does not know is remembered as well.
func TestAnswersAreCachedByNameAndCountry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, func(w http.ResponseWriter, r *http.Request) {
			switch q := r.URL.Query(); {
			case q.Get("name") == "xyz":
				_, _ = io.WriteString(w, `{"name":"xyz","age":null,"count":0}`)
			case q.Get("country_id") == "US":
				_, _ = io.WriteString(w, `{"name":"zoë","age":40,"count":9,"country_id":"US"}`)
			default:
				_, _ = io.WriteString(w, `{"name":"zoë","age":30,"count":99}`)
			}
		})
		for _, name := range []string{"Zoë", "zoe\u0308", " ZOË Kravitz"} {
			f.wantAge(t, name, 30)
		}
		for _, country := range []string{"US", "us"} {
			if age, ok := f.age(t.Context(), "Zoë", country); age != 40 || !ok {
				t.Errorf("country %s: got %d, %t, want 40", country, age, ok)
			}
		}
		for range 3 {
			f.wantNoAge(t, "xyz")
		}
		if got := f.asked(); got != 3 {
			t.Errorf("%d requests, want 3", got)
		}
		f.wantResults(t, map[string]float64{"miss": 2, "hit": 3, "unknown": 3})
		if got := f.value(t, "signup_sheet_enrich_cache_entries", ""); got != 3 {
			t.Errorf("%g cache entries, want 3", got)
		}
		if got := f.value(t, "signup_sheet_enrich_request_duration_seconds", ""); got != 3 {
			t.Errorf("%g requests timed, want 3", got)
		}
	})
}

func TestCacheForgetsTheNameNotAskedForLongest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, says(michael), func(c *enrich.Config) { c.CacheSize = 2 })
		for _, name := range []string{"anna", "berta", "anna", "clara", "anna"} { // berta is forgotten for clara
			f.wantAge(t, name, 57)
		}
		if got := f.asked(); got != 3 {
			t.Errorf("%d requests, want 3", got)
		}
		f.wantAge(t, "berta", 57)
		if got := f.asked(); got != 4 {
			t.Errorf("%d requests, want 4", got)
		}
	})
}

func TestFailureIsNotCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fail := true
		f := start(t, func(w http.ResponseWriter, _ *http.Request) {
			if fail {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			_, _ = io.WriteString(w, michael)
		})
		f.wantNoAge(t, "michael")
		if got := f.value(t, "signup_sheet_enrich_cache_entries", ""); got != 0 {
			t.Errorf("%g cache entries", got)
		}
		fail = false
		f.wantAge(t, "michael", 57)
		f.wantResults(t, map[string]float64{"unavailable": 1, "miss": 1})
	})
}

func TestConcurrentLookupsOfANameShareOneRequest(t *testing.T) {
	for _, tc := range []struct {
		name, body string
		want       map[string]float64
	}{
		{"known", michael, map[string]float64{"miss": 1, "coalesced": 63}},
		{"unknown", `{"age":null}`, map[string]float64{"unknown": 64}},
		{"failure", `[]`, map[string]float64{"unavailable": 64}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, saysAfter(time.Second, tc.body))
				var rows sync.WaitGroup
				for range 64 {
					rows.Go(func() { f.age(t.Context(), "Michael", "US") })
				}
				rows.Wait()
				if got := f.asked(); got != 1 {
					t.Errorf("%d requests, want 1", got)
				}
				f.wantResults(t, tc.want)
			})
		})
	}
}

// Rows that come and go while requests begin and end never ask twice: there is no moment between the cache and the request under way.
func TestOneRequestAnswersANameForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, says(michael))
		const names = 200
		var rows sync.WaitGroup
		for range 8 {
			rows.Go(func() {
				for i := range names {
					f.age(t.Context(), strings.Repeat("a", i%50+1)+strings.Repeat("b", i/50), "")
				}
			})
		}
		rows.Wait()
		if got := f.asked(); got != names {
			t.Errorf("%d requests for %d names", got, names)
		}
	})
}

func TestRowWaitsForItsAgeNoLongerThanTheTimeout(t *testing.T) {
	for _, tc := range []struct {
		name    string
		handler http.HandlerFunc
	}{
		{"no answer", never},
		{"no end of the body", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(http.StatusOK)
			_, _ = io.WriteString(w, michael)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}},
		{"an error page that never ends", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}},
		{"a byte a second", func(w http.ResponseWriter, r *http.Request) {
			for range 100 {
				_, _ = io.WriteString(w, " ")
				_ = http.NewResponseController(w).Flush()
				select {
				case <-time.After(time.Second):
				case <-r.Context().Done():
					return
				}
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, tc.handler)
				begin := time.Now()
				f.wantNoAge(t, "michael")
				if got := time.Since(begin); got != timeout {
					t.Errorf("waited %s, want %s", got, timeout)
				}
				f.wantResults(t, map[string]float64{"unavailable": 1})
			})
		})
	}
}

// A server that accepts no connection costs a row no more than the timeout either, and the dial does not outlive it.
func TestDialEndsWithTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan time.Duration, 1)
		begin := time.Now()
		f := start(t, never, func(c *enrich.Config) {
			c.DialContext = blackHole(func() { ended <- time.Since(begin) })
		})
		f.wantNoAge(t, "michael")
		if got := time.Since(begin); got != timeout {
			t.Errorf("waited %s, want %s", got, timeout)
		}
		synctest.Wait()
		select {
		case got := <-ended:
			if got != timeout {
				t.Errorf("the dial took %s, want %s", got, timeout)
			}
		default:
			t.Error("the dial goes on")
		}
		if got := f.value(t, "signup_sheet_enrich_request_failures_total", "timeout"); got != 1 {
			t.Errorf("%g timeouts counted, want 1", got)
		}
	})
}

// Who joins a request that is under way waits for the rest of its time only.
func TestLateCallerDoesNotProlongARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, never)
		begin := time.Now()
		var rows sync.WaitGroup
		rows.Go(func() { f.age(t.Context(), "michael", "") })
		<-time.After(2 * time.Second)
		f.wantNoAge(t, "michael")
		if got := time.Since(begin); got != timeout {
			t.Errorf("the late caller returned after %s, want %s", got, timeout)
		}
		rows.Wait()
	})
}

func TestEndOfOneCallersContextIsNobodyElsesFailure(t *testing.T) {
	for _, leaving := range []string{"first", "second"} {
		t.Run(leaving, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, saysAfter(2*time.Second, michael))
				ctx, cancel := context.WithCancel(t.Context())
				leaver := func() {
					begin := time.Now()
					if _, ok := f.age(ctx, "michael", ""); ok {
						t.Error("an age for the caller that left")
					}
					if got := time.Since(begin); got != time.Second {
						t.Errorf("the caller that left waited %s, want 1s", got)
					}
				}
				stayer := func() { f.wantAge(t, "michael", 57) }

				first, second := leaver, stayer
				if leaving == "second" {
					first, second = stayer, leaver
				}
				var rows sync.WaitGroup
				rows.Go(first)
				synctest.Wait()
				rows.Go(second)
				<-time.After(time.Second)
				cancel()
				rows.Wait()

				if got := f.asked(); got != 1 {
					t.Errorf("%d requests, want 1", got)
				}
				if got := f.value(t, "signup_sheet_enrich_lookups_total", "canceled"); got != 1 {
					t.Errorf("%g lookups canceled, want 1", got)
				}
				if got := f.value(t, "signup_sheet_enrich_lookups_total", "unavailable"); got != 0 {
					t.Errorf("%g lookups unavailable, want 0: agify answered", got)
				}
			})
		})
	}
}

// A request that everybody has left is still worth its quota: its answer goes to the cache. It ends with its own timeout.
func TestRequestWithoutCallersEndsWithinItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("name") == "michael" {
				saysAfter(time.Second, michael)(w, r)
				return
			}
			never(w, r)
		})
		ctx, cancel := context.WithCancel(t.Context())
		var rows sync.WaitGroup
		rows.Go(func() { f.age(ctx, "michael", "") })
		rows.Go(func() { f.age(ctx, "nobody", "") })
		synctest.Wait()
		cancel()
		rows.Wait()

		<-time.After(timeout)
		f.Close()
		synctest.Wait()
		f.wantNoConnection(t)
		f.wantAge(t, "michael", 57)
		f.wantResults(t, map[string]float64{"canceled": 2, "hit": 1})
	})
}

func TestNoRequestForARowGivenUpAlready(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, says(michael))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, ok := f.age(ctx, "michael", ""); ok {
			t.Error("an age")
		}
		synctest.Wait()
		if got := f.asked(); got != 0 {
			t.Errorf("%d requests", got)
		}
		f.wantResults(t, map[string]float64{"canceled": 1})
	})
}

// As many connections are kept as rows are delivered at a time: no new one for the next rows.
func TestConnectionsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const concurrency = 16
		f := start(t, saysAfter(10*time.Millisecond, michael), func(c *enrich.Config) { c.Concurrency = concurrency })
		for round := range 10 {
			var rows sync.WaitGroup
			for i := range concurrency {
				rows.Go(func() { f.wantAge(t, fmt.Sprintf("name%dx%d", round, i), 57) })
			}
			rows.Wait()
		}
		if got := f.connections(); got != concurrency {
			t.Errorf("%d connections for 10 rounds of %d, want %d", got, concurrency, concurrency)
		}
	})
}

// Error answers are read to their end, so that an API that says no does not cost a connection a row.
func TestErrorAnswerKeepsTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, strings.Repeat("x", 32<<10))
		})
		for range 10 {
			f.wantNoAge(t, "michael")
		}
		if got := f.connections(); got != 1 {
			t.Errorf("%d connections, want 1", got)
		}
	})
}

func TestCloseLeavesNoConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, says(michael))
		synctest.Wait()
		f.wantAge(t, "michael", 57)
		f.Close()
		synctest.Wait()
		f.wantNoConnection(t)
	})
}

func TestCachedNameDoesNotKeepItsRecordInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, says(michael))
		before := liveHeap()
		for i := range 40 {
			record := strings.Repeat("a", i+1) + strings.Repeat(" ", 1<<20) + "US"
			if _, ok := f.age(t.Context(), record, record[len(record)-2:]); !ok {
				t.Fatal("no age")
			}
		}
		if grown := liveHeap() - before; grown > 10<<20 {
			t.Errorf("40 cached names hold %d MiB", grown>>20)
		}
		runtime.KeepAlive(f)
	})
}

func liveHeap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestEveryMetricIsThereFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, says(michael))
		for name, want := range map[string]int{
			"signup_sheet_enrich_lookups_total":            8,
			"signup_sheet_enrich_requests_total":           2,
			"signup_sheet_enrich_names_total":              1,
			"signup_sheet_enrich_cache_evictions_total":    1,
			"signup_sheet_enrich_stopped":                  4,
			"signup_sheet_enrich_quota_remaining":          0, // nobody has said
			"signup_sheet_enrich_request_failures_total":   9,
			"signup_sheet_enrich_cache_entries":            1,
			"signup_sheet_enrich_request_duration_seconds": 1,
		} {
			if got, err := testutil.GatherAndCount(f.reg, name); err != nil || got != want {
				t.Errorf("%s: %d series (%v), want %d", name, got, err, want)
			}
		}
		if problems, err := testutil.GatherAndLint(f.reg); err != nil || len(problems) > 0 {
			t.Errorf("metric names: %v, %v", problems, err)
		}
	})
}

// A hit in the spelling that is cached costs no allocation, another spelling costs the key.
func BenchmarkHit(b *testing.B)              { benchmarkHit(b, "michael smith") }
func BenchmarkHitOfAnotherCase(b *testing.B) { benchmarkHit(b, "Michael Smith") }
func BenchmarkHitOfAnAccent(b *testing.B)    { benchmarkHit(b, "zoë") }

func TestAllocationsOfAHit(t *testing.T)              { allocs.AtMost(t, 0, BenchmarkHit) }
func TestAllocationsOfAHitOfAnotherCase(t *testing.T) { allocs.AtMost(t, 1, BenchmarkHitOfAnotherCase) }

func TestAllocationsOfAHitOfAnAccent(t *testing.T) { allocs.AtMost(t, 0, BenchmarkHitOfAnAccent) }

func benchmarkHit(b *testing.B, name string) {
	b.Helper()
	e, err := enrich.New(enrich.Config{
		URL: "http://127.0.0.1", Timeout: time.Second, CacheSize: 1000, CacheTTL: time.Hour, UnknownTTL: time.Hour, BatchSize: 1, Concurrency: 1,
		DialContext: answering(michael),
	}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	if _, status := e.Age(b.Context(), name, "US", alone); status != "miss" {
		b.Fatal("no age")
	}
	b.ReportAllocs()
	for b.Loop() {
		e.Age(b.Context(), name, "US", alone)
	}
}
