package enrich_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"signup-sheet/enrich"
	"signup-sheet/internal/agify"
)

// A moody agify answers well, or as it is told to.
type moody struct {
	well agify.Server
	mood atomic.Pointer[http.HandlerFunc] // nil: well
}

func (m *moody) is(h http.HandlerFunc) { m.mood.Store(&h) }

func (m *moody) recovers() { m.mood.Store(nil) }

func (m *moody) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := m.mood.Load(); h != nil {
		(*h)(w, r)
		return
	}
	m.well.ServeHTTP(w, r)
}

// troubles are the ways in which agify fails that last, and how long lookups are stopped at most after one probe.
func troubles() map[string]struct {
	answer http.HandlerFunc
	stop   string
	pause  time.Duration
} {
	type trouble = struct {
		answer http.HandlerFunc
		stop   string
		pause  time.Duration
	}
	return map[string]trouble{
		"answers in 10 s": {saysAfter(10*time.Second, michael), "failing", time.Minute},
		"never answers":   {never, "failing", time.Minute},
		"garbage":         {says("\x00\x01garbage"), "failing", time.Minute},
		"HTML":            {saying(200, http.Header{"Content-Type": {"text/html"}}, "<html>"), "failing", time.Minute},
		"500":             {saying(500, nil, ""), "failing", time.Minute},
		"a CDN's 429":     {saying(429, http.Header{"Content-Type": {"text/html"}}, "<html>"), "failing", time.Minute},
		"a CDN's 403":     {saying(403, http.Header{"Content-Type": {"text/html"}}, "<html>"), "failing", time.Minute},
		"another 422":     {saying(422, nil, `{"error":"Invalid 'country_id' parameter"}`), "failing", time.Minute},
		"413":             {saying(413, nil, ""), "failing", time.Minute},
		"414":             {saying(414, nil, ""), "failing", time.Minute},
		"401":             {saying(401, nil, `{"error":"Invalid API key"}`), "unauthorized", 5 * time.Minute},
		"402":             {saying(402, nil, `{"error":"Subscription is not active"}`), "unauthorized", 5 * time.Minute},
		"429 for an hour": {saying(429, nil, `{"error":"Request limit reached"}`), "quota", time.Hour}, // which the last answer before has said
	}
}

// Whatever agify does for an hour: once that is known no row waits, agify is probed now and then, and when it is back so are the ages,
// by themselves.
func TestNoRowWaitsWhileAgifyFails(t *testing.T) {
	for name, trouble := range troubles() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := new(moody)
				f := start(t, api.ServeHTTP, batches)
				f.look(t, "known")
				api.is(trouble.answer)

				rows, waited, slowest := 0, 0, time.Duration(0)
				for begin := time.Now(); time.Since(begin) < time.Hour; rows++ {
					asked := time.Now()
					f.wantNoAge(t, fmt.Sprintf("name%c%c%c", 'a'+rows%26, 'a'+rows/26%26, 'a'+rows/676))
					if took := time.Since(asked); took > 0 {
						waited, slowest = waited+1, max(slowest, took)
					}
					f.wantAge(t, "known", 42)
					<-time.After(time.Second)
				}
				if waited > 3 || slowest > timeout {
					t.Errorf("%d of %d rows waited, up to %s; want 3 at most, and no longer than the timeout", waited, rows, slowest)
				}
				f.wantStop(t, trouble.stop)
				least := int(time.Hour/trouble.pause) - 1
				if asked := f.asked(); asked < least || asked > 200 {
					t.Errorf("%d requests in an hour, want %d to 200", asked, least)
				}
				if strings.Contains(f.log.String(), `"level":"ERROR"`) != (trouble.stop == "unauthorized") {
					t.Errorf("logged %s", f.log)
				}

				api.recovers()
				for begin := time.Now(); ; {
					if _, ok := f.age(t.Context(), "late", ""); ok {
						break
					}
					if time.Since(begin) > trouble.pause+2*time.Second {
						t.Fatalf("no age %s after agify is back", time.Since(begin))
					}
					<-time.After(time.Second)
				}
				f.wantStop(t, "")
				if !strings.HasSuffix(f.log.String(), `"msg":"age lookups succeed again"}`+"\n") {
					t.Errorf("logged %s", f.log)
				}
			})
		})
	}
}

// An agify that fails now and then, and is never away, is asked about every name.
func TestFailuresNowAndThenStopNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		f := start(t, func(w http.ResponseWriter, _ *http.Request) {
			if n++; n%3 != 0 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			_, _ = io.WriteString(w, michael)
		})
		for i := range 60 {
			f.age(t.Context(), spelled(i), "")
		}
		if got := f.asked(); got != 60 {
			t.Errorf("%d requests for 60 names", got)
		}
		f.wantStop(t, "")
	})
}

// Requests that were under way when lookups were stopped say nothing new, and do not make the pause longer.
func TestFailuresOfTheSameMomentCountOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := new(moody)
		f := start(t, api.ServeHTTP)
		api.is(saysAfter(time.Second, "garbage"))
		f.look(t, firstNames(50)...)
		f.wantStop(t, "failing")
		api.recovers()
		<-time.After(2 * time.Second) // the first pause is 1.5 s at most
		f.age(t.Context(), "probe", "")
		synctest.Wait()
		f.wantAge(t, "anna", 42)
	})
}

// The quota is a month's: nobody asks before it begins anew, and no row waits; then ages are back by themselves.
func TestQuotaIsWaitedForUntilItBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &agify.Server{Quota: 2, Reset: time.Now().Add(20 * day)}
		f := start(t, api.ServeHTTP)
		f.wantAge(t, "anna", 42)
		f.wantAge(t, "berta", 42)
		begin := time.Now()
		for range 19 {
			f.wantNoAge(t, "clara")
			f.wantAge(t, "anna", 42)
			<-time.After(day)
		}
		if got := f.asked(); got != 2 {
			t.Errorf("%d requests, want none since the quota is used up", got)
		}
		f.wantStop(t, "quota")
		if got, want := f.value(t, "signup_sheet_enrich_quota_reset_timestamp_seconds", ""), begin.Add(20*day).Unix(); got != float64(want) {
			t.Errorf("reset at %g, want %d", got, want)
		}
		<-time.After(day + time.Second)
		f.wantNoAge(t, "clara") // the probe
		synctest.Wait()
		f.wantAge(t, "clara", 42)
		f.wantStop(t, "")
	})
}

// A replay leaves names to the consumer, however many of its rows look up at the same moment.
func TestReserveIsLeftToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &agify.Server{Quota: 1000, Latency: 50 * time.Millisecond}
		f := start(t, api.ServeHTTP, batches, func(c *enrich.Config) { c.MinRemaining = 250 })
		live := start2(t, f, func(c *enrich.Config) { c.MinRemaining = 0 })
		names := func(from, n int) []string {
			var s []string
			for i := range n {
				s = append(s, fmt.Sprintf("n%c%c%c", 'a'+(from+i)%26, 'a'+(from+i)/26%26, 'a'+(from+i)/676))
			}
			return s
		}
		for round := range 20 {
			f.look(t, names(100*round, 100)...)
		}
		if got := api.Counts().Names; got != 750 {
			t.Errorf("the replay used %d names of 1000, want 750", got)
		}
		f.wantStop(t, "reserve")
		if age, status := live.Age(t.Context(), "live", "", alone); age != 42 || status != "miss" {
			t.Errorf("the consumer gets %d, %s", age, status)
		}
		if strings.Count(f.log.String(), "agify.min_remaining") != 1 {
			t.Errorf("logged %s", f.log)
		}
	})
}

// Answers overtake each other: an older one with a higher number gives nothing back.
func TestQuotaOfAnOlderAnswerIsNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slow atomic.Bool
		slow.Store(true)
		f := start(t, func(w http.ResponseWriter, r *http.Request) {
			remaining := "1"
			if slow.Swap(false) {
				remaining = "900"
				select {
				case <-time.After(time.Second):
				case <-r.Context().Done():
				}
			}
			saying(200, quotaHeaders("1000", remaining, "3600"), michael)(w, r)
		}, func(c *enrich.Config) { c.MinRemaining = 1 })
		f.look(t, "anna", "berta")
		if got := f.value(t, "signup_sheet_enrich_quota_remaining", ""); got != 1 {
			t.Errorf("%g remain, want 1", got)
		}
		f.wantNoAge(t, "clara")
		f.wantStop(t, "reserve")
	})
}

// A new key is used at once, and whatever the old one was stopped for is over within seconds. A file that is just being replaced
// changes nothing.
func TestNewKeyEndsWhatTheOldOneWasStoppedFor(t *testing.T) {
	for _, trouble := range []string{"unauthorized", "quota"} {
		t.Run(trouble, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := &agify.Server{Key: "new"}
				key, broken := "old", false
				f := start(t, func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Query().Get("apikey") == "old" && trouble == "quota" {
						saying(429, quotaHeaders("100", "0", "1000000"), `{"error":"Request limit reached"}`)(w, r)
						return
					}
					api.ServeHTTP(w, r)
				}, func(c *enrich.Config) {
					c.APIKey = func() (string, error) {
						if broken {
							return "", io.ErrUnexpectedEOF
						}
						return key, nil
					}
				})
				f.wantNoAge(t, "anna")
				f.wantStop(t, trouble)
				broken = true
				<-time.After(30 * time.Second)
				f.wantNoAge(t, "anna")
				synctest.Wait()
				if got := f.asked(); got != 1 {
					t.Errorf("%d requests with the old key", got)
				}
				key, broken = "new", false
				<-time.After(10 * time.Second)
				f.wantNoAge(t, "anna") // the probe
				synctest.Wait()
				f.wantAge(t, "anna", 42)
				f.wantAge(t, "berta", 42)
				f.wantStop(t, "")

				key = "newer"
				f.wantNoAge(t, "clara")
				if got := f.lastRequest(t).URL.Query().Get("apikey"); got != "newer" {
					t.Errorf("asked with the key %q", got)
				}
			})
		})
	}
}

// What remains is not known before the first answer: rows of a replay wait for it, and do not take what is left to others meanwhile.
func TestReserveIsLeftFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &agify.Server{Quota: 260, Latency: 50 * time.Millisecond}
		f := start(t, api.ServeHTTP, batches, func(c *enrich.Config) { c.MinRemaining = 250 })
		f.look(t, firstNames(100)...)
		if got := api.Counts().Names; got != 10 {
			t.Errorf("%d names of the 10 above the reserve were asked for", got)
		}
		f.wantStop(t, "reserve")
	})
}

// An answer for the old key that comes when the new one is in use says nothing of the new one: neither its 401 nor its quota.
func TestLateAnswerForTheOldKeyIsNotTheNewOnes(t *testing.T) {
	for name, late := range map[string]http.HandlerFunc{
		"401":           saying(401, nil, `{"error":"Invalid API key"}`),
		"quota used up": saying(200, quotaHeaders("100", "0", "1000000"), michael),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := &agify.Server{Key: "new"}
				key := "old"
				f := start(t, func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Query().Get("apikey") == "old" {
						<-time.After(2 * time.Second)
						late(w, r)
						return
					}
					api.ServeHTTP(w, r)
				}, func(c *enrich.Config) { c.APIKey = func() (string, error) { return key, nil } })
				var rows sync.WaitGroup
				rows.Go(func() { f.age(t.Context(), "anna", "") })
				synctest.Wait()
				key = "new"
				f.wantAge(t, "berta", 42)
				rows.Wait()
				f.wantAge(t, "clara", 42)
				f.wantStop(t, "")
			})
		})
	}
}

// The first failure with a key is no sign of a new key.
func TestFirstStopLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, saying(401, nil, `{"error":"Invalid API key"}`), func(c *enrich.Config) { c.APIKey = keyOf("key") })
		for range 4 * 60 {
			f.wantNoAge(t, "anna")
			<-time.After(time.Second)
		}
		if got := f.asked(); got != 1 {
			t.Errorf("%d requests in four minutes, want one", got)
		}
	})
}

// Each outage begins with a short pause, however long the last one was.
func TestPausesBeginAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := new(moody)
		f := start(t, api.ServeHTTP)
		fail := func(rows int) {
			api.is(saying(500, nil, ""))
			for i := range rows {
				f.age(t.Context(), spelled(i), "")
				<-time.After(time.Second)
			}
		}
		fail(300)
		api.recovers()
		<-time.After(time.Minute)
		f.wantNoAge(t, "probe")
		synctest.Wait()
		f.wantAge(t, "well", 42)
		fail(3)
		api.recovers()
		<-time.After(2 * time.Second)
		f.wantNoAge(t, "another")
		synctest.Wait()
		f.wantAge(t, "again", 42)
	})
}

// A quota that has begun anew is not the old one's rest.
func TestQuotaThatBeganAnewIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &agify.Server{Quota: 10}
		f := start(t, api.ServeHTTP, batches)
		f.look(t, "a", "b", "c", "d", "e", "f", "g", "h", "i")
		<-time.After(time.Hour + time.Second)
		f.look(t, "p", "q", "r", "s", "t")
		if got := api.Counts(); got.Names != 5 || got.Requests != 2 {
			t.Errorf("%+v, want five names in the second request", got)
		}
	})
}

// Whoever waits for agify says so, so that others go on meanwhile; whoever does not wait does not.
func TestWaitingIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &agify.Server{Latency: time.Second}
		f := start(t, api.ServeHTTP)
		var waiting, most atomic.Int64
		wait := func(delta int) { most.Store(max(most.Load(), waiting.Add(int64(delta)))) }
		var rows sync.WaitGroup
		for _, name := range []string{"anna", "anna", "berta", "1234"} {
			rows.Go(func() { f.Age(t.Context(), name, "", wait) })
			synctest.Wait()
		}
		if got := waiting.Load(); got != 3 {
			t.Errorf("%d wait, want 3", got)
		}
		rows.Wait()
		f.Age(t.Context(), "anna", "", wait)
		if waiting.Load() != 0 || most.Load() != 3 {
			t.Errorf("%d wait, %d at most", waiting.Load(), most.Load())
		}
	})
}

// The new key has a quota of its own, also if it is as large and begins anew at the same time.
func TestQuotaOfANewKeyIsItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, remaining := "old", "11"
		f := start(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("apikey") == "new" {
				remaining = "900"
			}
			saying(200, quotaHeaders("1000", remaining, "3600"), michael)(w, r)
		}, func(c *enrich.Config) {
			c.MinRemaining, c.APIKey = 10, func() (string, error) { return key, nil }
		})
		f.wantAge(t, "anna", 57)
		key = "new"
		for _, name := range []string{"berta", "clara", "dora"} {
			f.wantAge(t, name, 57)
		}
		if got := f.value(t, "signup_sheet_enrich_quota_remaining", ""); got != 900 {
			t.Errorf("%g remain, want 900", got)
		}
	})
}

// The file of the key may be on a file system that does not answer: then a row waits no longer than the timeout, soon none waits any
// more, one reader at most is stuck, and all is well by itself when the file system is back.
func TestKeyThatIsNotReadHoldsNobodyUp(t *testing.T) {
	for _, stopped := range []string{"", "unauthorized"} {
		t.Run(stopped, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var stuck atomic.Bool
				var readers atomic.Int64
				back := make(chan struct{})
				api := new(moody)
				f := start(t, api.ServeHTTP, func(c *enrich.Config) {
					c.APIKey = func() (string, error) {
						if readers.Add(1) > 1 && stuck.Load() {
							t.Error("two readers are stuck")
						}
						defer readers.Add(-1)
						if stuck.Load() {
							<-back
						}
						return "key", nil
					}
				})
				f.wantAge(t, "known", 42)
				if stopped != "" {
					api.is(saying(401, nil, `{"error":"Invalid API key"}`))
					f.wantNoAge(t, "refused")
					f.wantStop(t, stopped)
					<-time.After(time.Minute)
				}
				stuck.Store(true)
				api.recovers()
				waited := 0
				for i := range 600 {
					asked := time.Now()
					ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
					f.age(ctx, spelled(i), "")
					cancel()
					if took := time.Since(asked); took > timeout {
						t.Fatalf("row %d waited %v", i, took)
					} else if took > 0 {
						waited++
					}
					f.wantAge(t, "known", 42)
					<-time.After(time.Second)
				}
				if waited > 3 {
					t.Errorf("%d rows waited", waited)
				}
				stuck.Store(false)
				close(back)
				for begin := time.Now(); ; <-time.After(time.Second) {
					if _, ok := f.age(t.Context(), "late", ""); ok {
						break
					}
					if time.Since(begin) > 6*time.Minute {
						t.Fatal("no age after the file is back")
					}
				}
				f.wantStop(t, "")
			})
		})
	}
}

// A key that could not be read yet is not left out: agify would count somebody else's quota.
func TestNoRequestWithoutTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := true
		f := start(t, says(michael), func(c *enrich.Config) {
			c.APIKey = func() (string, error) {
				if broken {
					return "", io.ErrUnexpectedEOF
				}
				return "key", nil
			}
		})
		f.wantNoAge(t, "anna")
		if got := f.asked(); got != 0 {
			t.Errorf("%d requests without the key", got)
		}
		broken = false
		f.wantAge(t, "anna", 57)
	})
}

// What a probe was told is known before others may ask again.
func TestNameOfAProbeIsAskedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := new(moody)
		var f *fixture
		store := keeping(func(a enrich.Answer) {
			if a.Name == "probe" {
				f.age(t.Context(), a.Name, "")
			}
		})
		f = start(t, api.ServeHTTP, func(c *enrich.Config) { c.Store = store })
		api.is(saying(500, nil, ""))
		for range 3 {
			f.wantNoAge(t, "anna")
		}
		f.wantStop(t, "failing")
		api.recovers()
		<-time.After(2 * time.Second)
		f.wantNoAge(t, "probe")
		synctest.Wait()
		if got := f.asked(); got != 4 {
			t.Errorf("%d requests, want 3 that failed and the probe", got)
		}
		f.wantAge(t, "probe", 42)
	})
}

// keeping is a store that calls a function.
type keeping func(enrich.Answer)

func (k keeping) Keep(a enrich.Answer) { k(a) }

// A reserve is not eaten by probes when agify does not say when its quota begins anew.
func TestReserveWithoutAResetIsNotProbedAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		remaining := 251
		f := start(t, func(w http.ResponseWriter, r *http.Request) {
			remaining--
			h := http.Header{"X-Rate-Limit-Limit": {"2500"}, "X-Rate-Limit-Remaining": {fmt.Sprint(remaining)}}
			saying(200, h, michael)(w, r)
		}, func(c *enrich.Config) { c.MinRemaining = 250 })
		f.wantAge(t, "anna", 57)
		for i := range 7 * 24 * 60 {
			f.wantNoAge(t, spelled(i))
			<-time.After(time.Minute)
		}
		if remaining < 250-7 {
			t.Errorf("%d of 250 are left after a week", remaining)
		}
		f.wantStop(t, "reserve")
	})
}

// What remained with the old key is nothing to the new one, also if nobody says what remains with that.
func TestQuotaOfAnOldKeyIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := "old"
		f := start(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("apikey") == "old" {
				saying(200, quotaHeaders("1000", "10", "3600"), michael)(w, r)
				return
			}
			saying(200, nil, michael)(w, r)
		}, func(c *enrich.Config) {
			c.MinRemaining, c.APIKey = 10, func() (string, error) { return key, nil }
		})
		f.wantAge(t, "anna", 57)
		f.wantNoAge(t, "berta")
		f.wantStop(t, "reserve")
		key = "new"
		<-time.After(10 * time.Second)
		f.wantNoAge(t, "clara") // the probe
		synctest.Wait()
		for _, name := range []string{"clara", "dora", "emma"} {
			f.wantAge(t, name, 57)
		}
	})
}

// A period that began before the last one was to end has a quota of its own.
func TestQuotaThatBeganEarlyIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		remaining, reset := "11", "3600"
		f := start(t, func(w http.ResponseWriter, r *http.Request) {
			saying(200, quotaHeaders("1000", remaining, reset), michael)(w, r)
		}, func(c *enrich.Config) { c.MinRemaining = 10 })
		f.wantAge(t, "anna", 57)
		remaining, reset = "900", "7200"
		for _, name := range []string{"berta", "clara", "dora"} {
			f.wantAge(t, name, 57)
		}
		if got := f.value(t, "signup_sheet_enrich_quota_remaining", ""); got != 900 {
			t.Errorf("%g remain, want 900", got)
		}
	})
}

// Requests that waited for the first answer, and were stopped by failures instead, are in no probe's way.
func TestProbeWaitsForNoRequestThatWasStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &agify.Server{Latency: 10 * time.Millisecond}
		var requests atomic.Int32
		f := start(t, func(w http.ResponseWriter, r *http.Request) {
			if requests.Add(1) <= 3 {
				<-time.After(10 * time.Millisecond) // all the others wait by then
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			api.ServeHTTP(w, r)
		}, batches, func(c *enrich.Config) { c.MinRemaining = 250 })
		f.look(t, firstNames(100)...)
		f.wantStop(t, "failing")
		<-time.After(1600 * time.Millisecond) // a probe's time has come
		f.look(t, "zoe")
		<-time.After(100 * time.Millisecond)
		f.wantStop(t, "")
	})
}

// A request that failed says nothing of the quota: the next one goes alone, too.
func TestReserveIsLeftAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &agify.Server{Quota: 260, Latency: 50 * time.Millisecond}
		var failed atomic.Bool
		f := start(t, func(w http.ResponseWriter, r *http.Request) {
			if !failed.Swap(true) {
				<-time.After(time.Second)
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			api.ServeHTTP(w, r)
		}, batches, func(c *enrich.Config) { c.MinRemaining = 250 })
		f.look(t, firstNames(100)...)
		if got := api.Counts().Names; got != 10 {
			t.Errorf("%d names were asked for, want the 10 above the reserve", got)
		}
		f.wantStop(t, "reserve")
	})
}
