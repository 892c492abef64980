package consumer_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"signup-sheet/consumer"
	"signup-sheet/enrich"
	"signup-sheet/internal/agify"
	"signup-sheet/internal/kafkatest"
	"signup-sheet/internal/receiver"
)

// moodyAgify answers well, or as it is told to.
type moodyAgify struct {
	well agify.Server
	mood atomic.Pointer[http.HandlerFunc] // nil: well
}

func (m *moodyAgify) is(h http.HandlerFunc) { m.mood.Store(&h) }

func (m *moodyAgify) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := m.mood.Load(); h != nil {
		(*h)(w, r)
		return
	}
	m.well.ServeHTTP(w, r)
}

// guessing gives a member ages from a server in the scene.
func (s *scene) guessing(t *testing.T, api http.Handler) func(*consumer.Config) {
	t.Helper()
	l, err := s.Network().Listen("tcp", "localhost:18081")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: api, ReadHeaderTimeout: time.Second}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-served
	})
	e, err := enrich.New(enrich.Config{
		URL: "http://localhost:18081", Timeout: 3 * time.Second, CacheSize: 100_000, CacheTTL: 90 * 24 * time.Hour, UnknownTTL: 7 * 24 * time.Hour,
		BatchSize: 10, Linger: 5 * time.Millisecond, Concurrency: 64, DialContext: s.DialContext(),
	}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return func(c *consumer.Config) {
		c.Ages = e
		c.Columns = []string{"event_id", "age", "age_status"}
	}
}

// strangers are signups of people whose names are all different.
func (s *scene) strangers(t *testing.T, prefix string, n int) []*kgo.Record {
	t.Helper()
	rs := s.signups(prefix, n, n)
	for i, r := range rs {
		r.Value = fmt.Appendf(nil, `{"id":"%s-%d","email":"a@example.com","name":"%s%c%c%c"}`, prefix, i, prefix, 'a'+i%26, 'a'+i/26%26, 'a'+i/676)
	}
	s.Produce(t, s.topic, rs...)
	return rs
}

// nobody is a signup of somebody whose name agify does not know.
func (s *scene) nobody(t *testing.T, id string) {
	t.Helper()
	s.Produce(t, s.topic, &kgo.Record{Key: []byte(id), Value: fmt.Appendf(nil, `{"id":"%s","email":"a@example.com","name":"nobody"}`, id)})
}

// aged is a row with its age.
type aged struct {
	Age    *int
	Status string `json:"age_status"`
}

// rows returns the accepted rows by event id.
func (s *scene) rows(t *testing.T) map[string]aged {
	t.Helper()
	rows := map[string]aged{}
	for _, a := range s.sheet.Accepted() {
		var row aged
		if err := json.Unmarshal(a.Body, &row); err != nil {
			t.Fatal(err)
		}
		rows[a.EventID] = row
	}
	return rows
}

// ageTroubles are the ways in which agify fails for long.
func ageTroubles() map[string]http.HandlerFunc {
	says := func(status int, contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	after := func(d time.Duration) http.HandlerFunc {
		return func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(d):
			case <-r.Context().Done():
			}
		}
	}
	return map[string]http.HandlerFunc{
		"answers in 10 s": after(10 * time.Second),
		"never answers":   after(24 * time.Hour),
		"garbage":         says(200, "application/json", "\x00\x01"),
		"429 for an hour": says(429, "application/json", `{"error":"Request limit reached"}`),
		"401":             says(401, "application/json", `{"error":"Invalid API key"}`),
		"HTML":            says(200, "text/html", "<html>"),
	}
}

// However agify fails: once that is known, rows are delivered as fast as if nobody asked for ages; all of them, without one. When it is
// back, the ages are, by themselves.
func TestFailingAgesCostNoThroughput(t *testing.T) {
	kafkatest.OnKfake(t)
	const rows = 3000
	// burst publishes rows and returns how long their delivery took.
	burst := func(t *testing.T, s *scene, prefix string) time.Duration {
		t.Helper()
		before, begin := s.sheet.State().Rows, time.Now()
		s.strangers(t, prefix, rows)
		s.delivered(t, before+rows)
		return time.Since(begin)
	}
	slow := receiver.Always(receiver.Answer{Status: 200, Delay: 20 * time.Millisecond})
	var without time.Duration
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 6)
		s.sheet.Script(slow)
		m := s.join(t)
		m.running(t, 6)
		without = burst(t, s, "burst")
	})
	for name, trouble := range ageTroubles() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := setVirtual(t, 6)
				s.sheet.Script(slow)
				api := new(moodyAgify)
				m := s.join(t, s.guessing(t, api))
				m.running(t, 6)
				s.strangers(t, "well", 10)
				s.delivered(t, 10)
				api.is(trouble)
				s.strangers(t, "first", 100) // some of these wait
				s.delivered(t, 110)
				took := burst(t, s, "burst")
				t.Logf("%v without ages, %v while agify fails", without, took)
				if took > without+without/20 {
					t.Errorf("%d rows took %v, and %v without ages", rows, took, without)
				}
				got := s.rows(t)
				for id, want := range map[string]aged{"first-99": {Status: "unavailable"}, "burst-2999": {Status: "unavailable"}} {
					if row := got[id]; row != want {
						t.Errorf("%s: %+v", id, row)
					}
				}
				if row := got["well-9"]; row.Age == nil || row.Status != "miss" {
					t.Errorf("before the trouble: %+v", row)
				}

				api.mood.Store(nil)
				await := 5*time.Minute + 40*time.Second // after a 401 it is tried every 5 minutes
				if name == "429 for an hour" {
					await = time.Hour + time.Minute
				}
				recovered := false
				for i, begin := 0, time.Now(); time.Since(begin) < await && !recovered; i++ {
					id := fmt.Sprintf("late%d", i)
					before := s.sheet.State().Rows
					s.strangers(t, id, 1)
					s.delivered(t, before+1)
					recovered = s.rows(t)[id+"-0"].Age != nil
					<-time.After(20 * time.Second)
				}
				if !recovered {
					t.Errorf("no ages %v after agify is back", await)
				}
			})
		})
	}
}

// held reports whether the member waits for a reason.
func (m *member) held(reason string) bool {
	return slices.ContainsFunc(m.Status().Holds, func(h consumer.Hold) bool { return h.Reason == reason })
}

// Who would rather wait than send a row without an age waits: as a hold with a reason of its own. Rows whose ages are known go on, the
// member stays alive and ready, and when agify is back so are the rows, with their ages.
func TestRequiredAgesAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 3)
		api := new(moodyAgify)
		m := s.join(t, s.guessing(t, api), func(c *consumer.Config) { c.RequireAges, c.AgesMaxWait = true, time.Hour })
		m.running(t, 3)
		s.publish(t, "known", 1, 1)
		s.delivered(t, 1)
		api.is(ageTroubles()["never answers"])
		s.strangers(t, "waits", 200)
		for range 10 {
			<-time.After(time.Minute)
			if err := errors.Join(m.Live(), m.Ready()); err != nil {
				t.Fatal(err)
			}
		}
		others := s.signups("go", 20, 20)
		for i, r := range others {
			r.Key = fmt.Appendf(nil, "go-%d", i) // behind nobody who waits
		}
		s.Produce(t, s.topic, others...)
		s.delivered(t, 21)
		if !m.held("age") || m.metric(t, "consumer_hold", "age") != 1 {
			t.Errorf("holds: %+v", m.Status().Holds)
		}
		if n := s.sheet.State().Rows; n != 21 {
			t.Errorf("%d rows, want those whose ages are known", n)
		}
		if lines := strings.Count(m.log.String(), "ages are required"); lines < 9 || lines > 12 {
			t.Errorf("the log says so %d times in 10 minutes", lines)
		}
		api.mood.Store(nil)
		s.delivered(t, 221)
		for id, row := range s.rows(t) {
			if row.Age == nil {
				t.Errorf("%s has no age", id)
			}
		}
		if m.held("age") || m.metric(t, "consumer_hold") != 0 {
			t.Errorf("holds: %+v", m.Status().Holds)
		}
		m.leave(t)
	})
}

// The longest wait is for everybody together: when there has been no answer for so long, rows go without, at once, until there is one.
func TestRequiredAgesAreGivenUpAfterTheLongestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 3)
		api := &moodyAgify{well: agify.Server{Age: func(name, _ string) (int, bool) { return 42, name != "nobody" }}}
		m := s.join(t, s.guessing(t, api), func(c *consumer.Config) { c.RequireAges, c.AgesMaxWait = true, 5*time.Minute })
		m.running(t, 3)
		s.nobody(t, "before")
		s.delivered(t, 1)
		api.is(ageTroubles()["HTML"])
		begin := time.Now()
		s.strangers(t, "first", 500)
		awaitFor(t, 10*time.Minute, "the first rows go without", func() bool { return s.sheet.State().Rows == 501 })
		if took := time.Since(begin); took < 5*time.Minute || took > 5*time.Minute+10*time.Second {
			t.Errorf("they waited for %v", took)
		}
		s.nobody(t, "unknown") // what is known of it says nothing of agify
		s.delivered(t, 502)
		begin = time.Now()
		s.strangers(t, "later", 500)
		s.delivered(t, 1002)
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("later ones waited for %v", took)
		}
		api.mood.Store(nil)
		<-time.After(time.Minute)
		s.strangers(t, "probe", 1) // which finds out, and goes without
		s.delivered(t, 1003)
		<-time.After(time.Second)
		s.strangers(t, "well", 1)
		s.delivered(t, 1004)
		if s.rows(t)["well-0"].Age == nil {
			t.Error("no age after agify is back")
		}
		api.is(ageTroubles()["HTML"])
		s.strangers(t, "again", 1) // a new trouble has its own time
		<-time.After(4 * time.Minute)
		if n := s.sheet.State().Rows; n != 1004 {
			t.Errorf("%d rows", n)
		}
		m.leave(t)
	})
}

// A row that waits for its age is not sent without one because the member stops: the next member begins with it.
func TestRowsThatWaitForAgesOutliveTheirMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 3)
		api := new(moodyAgify)
		api.is(ageTroubles()["401"])
		required := func(c *consumer.Config) { c.RequireAges, c.AgesMaxWait = true, time.Hour }
		guessing := s.guessing(t, api)
		m := s.join(t, guessing, required)
		m.running(t, 3)
		records := s.strangers(t, "waits", 300)
		await(t, "the hold", func() bool { return m.held("age") })
		begin := time.Now()
		m.leave(t)
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("leaving took %v", took)
		}
		if n := s.sheet.State().Rows; n != 0 {
			t.Errorf("%d rows went without an age", n)
		}
		api.mood.Store(nil)
		s.join(t, guessing, required)
		awaitFor(t, 10*time.Minute, "all rows", func() bool { return s.sheet.State().Rows == 300 })
		s.judge(t, records, 0)
		for id, row := range s.rows(t) {
			if row.Age == nil {
				t.Errorf("%s has no age", id)
			}
		}
	})
}

// An outage ends with the first answer, also if a probe brought it that nobody waited for: the next one has its own longest wait.
func TestEachOutageHasItsOwnLongestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 3)
		api := new(moodyAgify)
		m := s.join(t, s.guessing(t, api), func(c *consumer.Config) { c.RequireAges, c.AgesMaxWait = true, 5*time.Minute })
		m.running(t, 3)
		for i, id := range []string{"first", "second", "third"} {
			api.is(ageTroubles()["HTML"])
			s.strangers(t, id, 1)
			<-time.After(30 * time.Second)
			api.mood.Store(nil)
			s.delivered(t, i+1)
			if s.rows(t)[id+"-0"].Age == nil {
				t.Errorf("the %s row went without an age", id)
			}
			<-time.After(4 * time.Minute)
		}
		m.leave(t)
	})
}
