package enrich

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	failuresToStop = 3                // failed requests in a row that stop lookups
	minPause       = time.Second      // of lookups after failures; doubles with each probe that fails
	maxPause       = 30 * time.Second // likewise
	longPause      = 5 * time.Minute  // after a 401 or 402, and after a quota that is used up until nobody knows when
	reservePause   = 24 * time.Hour   // when only the reserve is left until nobody knows when: each probe costs one of its names
	keyInterval    = 10 * time.Second // between two looks at the key while lookups are stopped
	maxReset       = 32 * 24 * time.Hour
	logInterval    = time.Minute // the least time between two lines that say the same
)

// A quota is what an answer says of it: in names, not in requests.
type quota struct {
	known            bool // there is a number of names that remain
	account          int  // whose it is: which API key was used, by number
	limit, remaining int
	reset            time.Time // when it begins anew; zero if that is not said
}

// quotaOf reads the headers that every answer of agify has. The reset is a number of seconds; as a third party has it, a Unix time.
// What is no number is not said.
func quotaOf(h http.Header, now time.Time) quota {
	number := func(names ...string) (int, bool) {
		for _, name := range names {
			if n, err := strconv.Atoi(h.Get(name)); err == nil && n >= 0 {
				return n, true
			}
		}
		return 0, false
	}
	var q quota
	q.remaining, q.known = number("X-Rate-Limit-Remaining")
	q.limit, _ = number("X-Rate-Limit-Limit")
	if reset, ok := number("X-Rate-Limit-Reset", "X-Rate-Reset"); ok && reset > 0 && q.known {
		if reset > 1_000_000_000 {
			q.reset = time.Unix(int64(reset), 0)
		} else {
			q.reset = now.Add(time.Duration(reset) * time.Second)
		}
		switch latest := now.Add(maxReset); {
		case q.reset.After(latest):
			q.reset = latest
		case !q.reset.After(now):
			q.reset = time.Time{}
		}
	}
	return q
}

// A stop is why nobody is asked.
type stop int

const (
	running          stop = iota
	stopFailing           // requests fail: probed every 1 to 30 s
	stopUnauthorized      // the key or the subscription is not valid: probed every 5 min
	stopQuota             // no names remain: until the reset
	stopReserve           // what remains is kept for others: until the reset
	stops                 // how many there are
)

func (s stop) String() string {
	return [...]string{"", "failing", "unauthorized", "quota", "reserve"}[s]
}

// An admission is the answer to whether agify may be asked.
type admission int

const (
	refused  admission = iota
	admitted           // and the row may wait for it
	probe              // by one request that no row waits for
)

// A supply knows whether agify may be asked: a breaker for its failures, and an account of its quota.
type supply struct {
	reserve int // names that are left to others
	metrics *metrics
	log     *slog.Logger

	mu       sync.Mutex
	why      stop
	until    time.Time     // when a probe may be made
	probing  bool          // one is under way
	pause    time.Duration // the last one after failures
	failures int           // requests in a row
	newest   int           // API key that was used, by number
	quota    quota
	flying   int       // names in requests under way
	looked   time.Time // when the key was last looked at

	alone chan struct{} // has room for the one request that is made before agify has answered
	heard chan struct{} // closed when it has
	knows bool          // heard is closed

	trouble bool      // the last line in the log was about some
	said    stop      // about which
	spoken  time.Time // when
	silent  int       // failed requests since
}

func newSupply(reserve int, m *metrics, log *slog.Logger) *supply {
	return &supply{reserve: reserve, metrics: m, log: log, alone: make(chan struct{}, 1), heard: make(chan struct{})}
}

// awaitQuota lets one request go at a time until agify has answered one, if something is to be left to others: before that nobody
// knows how much there is. Whoever is alone calls next after it has settled.
func (s *supply) awaitQuota(ctx context.Context) (alone bool) {
	if s.reserve == 0 {
		return false
	}
	select {
	case <-s.heard:
	case s.alone <- struct{}{}:
		return true
	case <-ctx.Done():
	}
	return false
}

// next lets the next request go.
func (s *supply) next() { <-s.alone }

// admit reports whether agify may be asked about one more name. Whoever gets probe asks whether it is due.
func (s *supply) admit() admission {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why == running {
		return admitted
	}
	now := time.Now()
	if s.probing || now.Before(s.until) && now.Sub(s.looked) < keyInterval {
		return refused
	}
	s.probing, s.looked = true, now
	return probe
}

// due reports whether a probe is to be made: its time has come, or account, the number of the API key that there is now, is
// another one than was used. If not, there is none.
func (s *supply) due(account int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if account != s.newest {
		s.newest, s.quota, s.until = account, quota{}, now
	}
	s.probing = !now.Before(s.until)
	return s.probing
}

// take allows a request about some of the wanted names: as many as remain, less the reserve. settle gives them back, unless
// it is none.
func (s *supply) take(want int, isProbe bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.allowed(want, isProbe)
	if n == 0 && isProbe {
		s.probing = false
	}
	s.flying += n
	return n
}

func (s *supply) allowed(want int, isProbe bool) int {
	if s.why != running && !isProbe {
		return 0
	}
	now := time.Now()
	if !s.quota.reset.IsZero() && !now.Before(s.quota.reset) {
		s.quota.known = false // it has begun anew: the next answer says how many there are
	}
	if !s.quota.known || isProbe && (s.why == stopQuota || s.why == stopReserve) {
		return want
	}
	left := s.quota.remaining - s.reserve - s.flying
	if left <= 0 && s.flying == 0 { // else those in flight may turn out to cost nothing
		if s.quota.remaining > 0 {
			s.stop(stopReserve, s.ofReset(now, reservePause))
		} else {
			s.stop(stopQuota, s.ofReset(now, longPause))
		}
		s.speak(nil)
	}
	return min(want, max(0, left))
}

// ofReset is when the quota begins anew, or after a pause if nobody knows.
func (s *supply) ofReset(now time.Time, pause time.Duration) time.Time {
	if s.quota.reset.After(now) {
		return s.quota.reset
	}
	return now.Add(pause)
}

// settle gives back n names of a request, and draws the conclusions from how it went.
func (s *supply) settle(n int, q quota, err *failure, isProbe bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flying -= n
	if isProbe {
		s.probing = false
	}
	if !s.knows && (err == nil || q.known) {
		s.knows = true
		close(s.heard)
	}
	if q.account < s.newest {
		return // the key was replaced meanwhile
	}
	if q.account != s.newest {
		s.newest, s.quota = q.account, quota{}
	}
	now := time.Now()
	s.observe(q, now)
	late := s.why != running && !isProbe // it was under way when lookups were stopped
	switch {
	case err == nil || err.splits(n) || err.reason == reasonName:
		if s.failures = 0; !late {
			s.resume()
		}
		return
	case err.limits(n):
		s.stop(stopQuota, s.ofReset(now, longPause))
	case err.reason == reasonUnauthorized:
		s.stop(stopUnauthorized, now.Add(longPause))
	case late:
		return
	default:
		if s.failures++; isProbe || s.failures >= failuresToStop {
			s.pause = min(max(2*s.pause, minPause), maxPause)
			s.stop(stopFailing, now.Add(s.pause/2+rand.N(s.pause)))
		}
	}
	s.speak(err)
}

// observe takes note of what an answer says of the quota. Answers may overtake each other: within one period the lowest
// number counts, unless there is another limit.
func (s *supply) observe(q quota, now time.Time) {
	if !q.known {
		return
	}
	old := s.quota
	if old.known && old.limit == q.limit && now.Before(old.reset) && q.reset.Sub(old.reset) < time.Minute {
		q.remaining = min(q.remaining, old.remaining)
	}
	s.quota = q
	s.metrics.account(q)
}

// stop keeps everybody from asking until a time.
func (s *supply) stop(why stop, until time.Time) {
	s.why, s.until = why, until
	s.metrics.stop(why)
}

// resume lets everybody ask.
func (s *supply) resume() {
	if s.why != running {
		s.why, s.pause = running, 0
		s.metrics.stop(running)
	}
	if s.trouble {
		s.trouble = false
		s.log.Info("age lookups succeed again")
	}
}

// speak says what is the matter: at once if it is something new, else once a minute. Failures are nothing new when there are
// so many that they stop lookups.
func (s *supply) speak(err *failure) {
	s.silent++
	now, about := time.Now(), s.why
	if about == stopFailing {
		about = running
	}
	if !s.spoken.IsZero() && s.said == about && now.Sub(s.spoken) < logInterval {
		return
	}
	attrs := []any{"failures", s.silent}
	if err != nil {
		attrs = append(attrs, "reason", err.reason.String(), "status", err.status, "err", err)
	}
	if s.why != running {
		attrs = append(attrs, "next_probe", s.until.UTC().Format(time.RFC3339))
	}
	switch s.why {
	case stopUnauthorized:
		s.log.Error("agify does not take the API key or the subscription, and rows go on without an age: see agify.api_key_file", attrs...)
	case stopQuota:
		s.log.Warn("agify's quota is used up, rows go on without an age until it begins anew", attrs...)
	case stopReserve:
		s.log.Warn("of agify's quota only agify.min_remaining is left, rows of this replay go on without an age until it begins anew", attrs...)
	default:
		s.log.Warn("age lookups fail, rows go on without an age", attrs...)
	}
	s.trouble, s.said, s.spoken, s.silent = true, about, now, 0
}
