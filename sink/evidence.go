package sink

import (
	"math"
	"slices"
	"time"
)

const (
	// minEvidence is how many answers in a row, and of how many rows, say something
	// about the endpoint.
	minEvidence = 3
	// minRefused is how many rows have to be refused in a row to be taken for all rows:
	// fewer can as well be bad ones that happen to be the last of a backlog, and then
	// nobody comes who could show it.
	minRefused = 10
	// maxEvidence keeps the start of an outage from being taken for more of what the
	// endpoint has done before.
	maxEvidence = 32
	// chance is how improbable a streak has to be, for an endpoint that fails as often
	// as before, to be more than that.
	chance = 1e-5
	// memory is how many answers the part of failures is of, about.
	memory = 50
)

// evidence is what the answers say about the endpoint and about single rows. An
// acceptance is what shows that the endpoint works; what is none, of whatever kind,
// says that either the endpoint or the row does not.
type evidence struct {
	present  int // deliveries under way
	all      tally
	shown    time.Time // when the latest attempt began that was accepted: the endpoint took rows then
	streak   streak
	failing  float64 // the part of the latest answers that were failures while the gate was open
	learnt   float64 // how many answers that is of, at most memory
	verdicts verdicts
}

// tally counts answers.
type tally struct{ answers, accepted uint64 }

// streak is a run of answers without an acceptance. It is numbered for rows to know
// whether they are in it.
type streak struct {
	number  uint64
	length  int
	refused int            // of them, of the kind that says "this row"
	rows    int            // distinct ones, without those that were given up
	reasons map[string]int // how often
}

// accept notes an acceptance.
func (e *evidence) accept() {
	for range e.streak.length {
		e.learn(1)
	}
	if e.streak.length > 0 {
		e.endStreak()
	}
	e.learn(0)
}

// learn notes an answer that was a failure (1) or not (0).
func (e *evidence) learn(failure float64) {
	e.learnt = min(e.learnt+1, memory)
	e.failing += (failure - e.failing) / e.learnt
}

// endStreak forgets the streak. What made a hold says nothing on how often single
// attempts fail.
func (e *evidence) endStreak() {
	e.streak.number++
	e.streak.length, e.streak.refused, e.streak.rows = 0, 0, 0
	clear(e.streak.reasons)
}

// fail notes an answer to d that was none.
func (e *evidence) fail(d *delivery, a answer) {
	if e.streak.reasons == nil {
		e.streak.reasons = make(map[string]int)
	}
	e.streak.length++
	e.streak.reasons[a.reason]++
	if a.verdict == refused {
		e.streak.refused++
	}
	if d.streak != e.streak.number+1 {
		d.streak = e.streak.number + 1 // zero is none
		e.streak.rows++
	}
}

// accuses reports whether the endpoint takes nothing from anyone: as many answers as
// are in flight, and more than chance explains, were no acceptances, from several rows
// or from all there are.
func (e *evidence) accuses(inFlight int) bool {
	s := &e.streak
	if s.length < max(minEvidence, inFlight, e.luck()) {
		return false
	}
	return s.rows >= minRefused || s.rows >= min(minEvidence, e.present) && s.length-s.refused >= minEvidence
}

// luck returns how long streaks are by chance: an endpoint that fails half of all
// requests at random has one of three failures all the time.
func (e *evidence) luck() int {
	if e.failing <= 0 {
		return 0
	}
	return int(min(math.Ceil(math.Log(chance)/math.Log(min(e.failing, 0.99))), maxEvidence))
}

// mostly returns what most of the streak said.
func (e *evidence) mostly() string {
	most := reasonNone
	for _, reason := range holdReasons() {
		if e.streak.reasons[reason] > e.streak.reasons[most] {
			most = reason
		}
	}
	return most
}

// end forgets a delivery.
func (e *evidence) end(d *delivery) {
	e.present--
	if d.streak == e.streak.number+1 {
		e.streak.rows--
	}
}

// identity tells rows apart, also those of events with one id.
type identity struct {
	event string // the row's HeaderID
	place [2]int64
}

// verdicts are the latest ones on rows: which row it was for each that was given up, and
// nothing for one that was accepted.
type verdicts struct {
	latest  [100]identity
	next    int
	givenUp int
}

func (v *verdicts) add(row identity) {
	if v.latest[v.next] != (identity{}) {
		v.givenUp--
	}
	if row != (identity{}) {
		v.givenUp++
	}
	v.latest[v.next] = row
	v.next = (v.next + 1) % len(v.latest)
}

// full reports whether one more that is given up would be more than budget of the latest.
func (v *verdicts) full(budget int) bool {
	if v.latest[v.next] != (identity{}) {
		return v.givenUp > budget // it takes the place of another
	}
	return v.givenUp >= budget
}

// has reports whether the row was given up. It comes again if the session ended
// before its dead letter was written.
func (v *verdicts) has(row identity) bool {
	return v.givenUp > 0 && slices.Contains(v.latest[:], row)
}
