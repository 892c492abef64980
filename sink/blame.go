package sink

import "time"

// evidenceTime is how long a row that is refused waits for the acceptance of another.
const evidenceTime = time.Minute

// rules say when a row that fails alone is given up.
type rules struct {
	maxAttempts int           // at least so many attempts
	maxElapsed  time.Duration // over so long
	budget      int           // of rows given up among the latest 100
}

// judgement is what becomes of a row whose attempt failed.
type judgement int

const (
	goesOn  judgement = iota // it is attempted again
	givenUp                  // it is the row's own fault
	waits                    // the same, but too many rows were given up: it may be the endpoint's
)

// weigh decides on a row whose attempt, made with p, ended with a, which did c to the gate. Nothing is
// given up in a hold, but for the one that the answer to the row itself has asked for: a
// row that is answered so each time would else never be, and hold up all others.
//
// A row that was refused is given up when it is refused again though another, sent after
// that, was accepted before it was sent again; or when for a minute nothing shows whether
// others are. (What was sent before says little: an endpoint that begins to refuse all has
// accepted others, and answers about them may still be on their way.)
//
// One that fails otherwise is given up when it has failed often and long while nearly
// all attempts of others were accepted.
func (g *gate) weigh(p pass, d *delivery, a answer, c change) judgement {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.mark(a.at)
	if d.failed.at.IsZero() {
		d.failed = now
		d.before = g.evidence.all
		d.before.answers -= d.answers
	}
	blamed := false
	switch {
	case a.verdict == refused && d.refusals == 0:
		d.refusals, d.refused = 1, now
	case a.verdict == refused:
		d.refusals++
		blamed = p.shown.After(d.refused.at) || now.sinceRefusal(d.refused) >= evidenceTime
	default:
		others := g.evidence.all.answers - d.before.answers - d.answers
		accepted := g.evidence.all.accepted - d.before.accepted
		blamed = d.attempts >= g.rules.maxAttempts && now.since(d.failed) >= g.rules.maxElapsed &&
			others >= 20 && accepted*10 >= others*9
	}
	if g.closed && !c.asked || !blamed {
		return goesOn
	}
	return g.spend(d)
}

// condemn decides on a row that is not to be attempted at all.
func (g *gate) condemn(d *delivery) judgement {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.spend(d)
}

// spend gives a row up as far as the budget goes.
func (g *gate) spend(d *delivery) judgement {
	switch {
	case g.evidence.verdicts.has(d.identity): // and its dead letter was not written
		return givenUp
	case g.evidence.verdicts.full(g.rules.budget):
		if !d.withheld {
			d.withheld = true
			g.withheld++
		}
		return waits
	}
	g.evidence.verdicts.add(d.identity)
	return givenUp
}
