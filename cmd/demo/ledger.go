package main

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"signup-sheet/consumer/signup"
)

// ledger knows what was published and what became of it. A record is open until it is accounted for: a signup when the sheet has
// accepted its row, poison when its dead letter is there, a tombstone when the group's progress is past it.
type ledger struct {
	mu       sync.Mutex
	open     map[position]expected
	letters  map[position]deadLetter // not yet matched with a record
	settled  map[position]struct{}   // poison whose dead letter was found: a second one is a mistake
	read     int64                   // how many dead letters were read
	tally    tally
	mistakes []string
	crashes  bool // consumers are killed, and so may write a dead letter twice
	refusals bool // the sheet refuses rows that nothing is wrong with, and so they may be dead-lettered
}

// expected is what must become of a record.
type expected struct {
	kind  kind
	id    string       // of the row
	class signup.Class // of the dead letter
	flaw  string
}

// tally counts what is accounted for.
type tally struct {
	published, signups, repeated, tombstones, deadLetters int
	deadLettersAgain                                      int // second ones, of consumers that were killed
	reasons                                               map[reason]int
}

// reason is why a record was dead-lettered, without the place in the value, which is another in each.
type reason struct{ class, text string }

func newLedger() *ledger {
	return &ledger{
		open:    map[position]expected{},
		letters: map[position]deadLetter{},
		settled: map[position]struct{}{},
		tally:   tally{reasons: map[reason]int{}},
	}
}

// publish adds a record that Kafka has.
func (l *ledger) publish(r record, k *kgo.Record) {
	e := expected{kind: r.kind, id: r.id, class: r.class, flaw: r.flaw}
	if e.id == "" && e.kind == fresh {
		e.id = signup.EventID(k.Topic, k.Partition, k.Offset, k.Timestamp)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tally.published++
	l.open[position{k.Partition, k.Offset}] = e
}

// mistake notes what must not happen.
func (l *ledger) mistake(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong(format, args...)
}

func (l *ledger) wrong(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(l.mistakes, text) {
		l.mistakes = append(l.mistakes, text)
	}
}

// deadLetter adds what was found in the dead-letter topic.
func (l *ledger) deadLetter(d deadLetter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.read++
	_, settled := l.settled[d.origin]
	_, found := l.letters[d.origin]
	switch {
	case !settled && !found:
		l.letters[d.origin] = d
	case l.crashes:
		l.tally.deadLettersAgain++
	default:
		l.wrong("%s was dead-lettered twice", d.origin)
	}
}

// account is where everything is at one moment.
type account struct {
	tally
	open int // not accounted for yet
	lost int // of those, the ones below the committed offset: it must be 0
}

// inFlight is how many records are on their way.
func (a account) inFlight() int { return a.open - a.lost }

// settle closes what is accounted for. The caller asks first what is committed, then where the dead-letter topic ends; what was
// accepted is asked here. So a record below the committed offset is lost if it is not accounted for by now, unless dead letters
// are still to be read.
func (l *ledger) settle(committed, deadLetterEnds offsets, accepted func(eventID string) int) account {
	l.mu.Lock()
	defer l.mu.Unlock()
	allRead := l.read >= deadLetterEnds.sum()
	lost := 0
	for at, e := range l.open {
		d, dead := l.letters[at]
		switch below := at.offset < committed[at.partition]; {
		case dead:
			l.settleDeadLetter(at, e, d)
		case l.arrived(e, below, accepted):
			delete(l.open, at)
		case below && allRead:
			lost++
		}
	}
	return account{tally: l.copyTally(), open: len(l.open), lost: lost}
}

// arrived tells whether what must become of a record that is not dead-lettered has become of it, and counts it.
func (l *ledger) arrived(e expected, committed bool, accepted func(eventID string) int) bool {
	switch {
	case e.kind == fresh && accepted(e.id) >= 1:
		l.tally.signups++
	case e.kind == again && accepted(e.id) >= 2:
		l.tally.repeated++
	case e.kind == tombstone && committed:
		l.tally.tombstones++
	default:
		return false
	}
	return true
}

// classRefused is what the consumer says of a row that the sheet does not want.
const classRefused = "refused"

func isRow(k kind) bool { return k == fresh || k == again }

var byteOffset = regexp.MustCompile(`byte \d+`)

func (l *ledger) settleDeadLetter(at position, e expected, d deadLetter) {
	switch {
	case l.refusals && isRow(e.kind) && d.class == classRefused:
	case e.kind != poison:
		l.wrong("%s (%s) was dead-lettered: %s: %s", at, e.kind, d.class, d.reason)
	case d.class != string(e.class):
		l.wrong("%s (%s) was dead-lettered as %q, want %q", at, e.flaw, d.class, e.class)
	}
	l.tally.deadLetters++
	text := byteOffset.ReplaceAllString(strings.TrimPrefix(d.reason, d.class+": "), "byte n")
	l.tally.reasons[reason{d.class, text}]++
	delete(l.open, at)
	delete(l.letters, at)
	l.settled[at] = struct{}{}
}

// compare notes where the group's progress is not at the end of the topic, and whether the dead-letter topic has more records or
// fewer than were accounted for. Nothing must be open.
func (l *ledger) compare(committed, ends, deadLetterEnds offsets) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, partition := range slices.Sorted(maps.Keys(ends)) {
		if end := ends[partition]; end != committed[partition] {
			l.wrong("the group's progress in %s/%d is %d, but the end is %d", topic, partition, committed[partition], end)
		}
	}
	want := l.tally.deadLetters + l.tally.deadLettersAgain
	if l.refusals && l.crashes {
		for _, d := range l.letters { // the sheet had the row, its consumer was killed, and then the sheet refused it
			if d.class == classRefused {
				want++
			}
		}
	}
	if letters := deadLetterEnds.sum(); letters != int64(want) {
		l.wrong("%s has %d records, but %d were dead-lettered", deadLetterTopic, letters, want)
	}
}

// counts returns the tally.
func (l *ledger) counts() tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.copyTally()
}

func (l *ledger) copyTally() tally {
	t := l.tally
	t.reasons = maps.Clone(t.reasons)
	return t
}

// maxListed is how many missing records are named.
const maxListed = 10

// wrongs returns a line for each mistake.
func (l *ledger) wrongs() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.mistakes)
}

// problems returns a line for each thing that is wrong: what is still open, what was never published, mistakes.
func (l *ledger) problems() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := slices.Clone(l.mistakes)
	if n := len(l.open); n > 0 {
		found = append(found, fmt.Sprintf("%d of %d records are missing:", n, l.tally.published))
	}
	for i, at := range slices.SortedFunc(maps.Keys(l.open), comparePositions) {
		if i == maxListed {
			found = append(found, fmt.Sprintf("  and %d more", len(l.open)-maxListed))
			break
		}
		found = append(found, fmt.Sprintf("  %s: %s", at, l.open[at].missing()))
	}
	for _, at := range slices.SortedFunc(maps.Keys(l.letters), comparePositions) {
		found = append(found, fmt.Sprintf("%s was dead-lettered, but never published", at))
	}
	return found
}

// missing says what should have happened.
func (e expected) missing() string {
	switch e.kind {
	case fresh:
		return "a signup without a row, event id " + e.id
	case again:
		return "a signup published twice and accepted once, event id " + e.id
	case poison:
		return "poison (" + e.flaw + ") without a dead letter"
	default:
		return "a " + string(e.kind) + " that the group is not past"
	}
}

func comparePositions(a, b position) int {
	return cmp.Or(cmp.Compare(a.partition, b.partition), cmp.Compare(a.offset, b.offset))
}
