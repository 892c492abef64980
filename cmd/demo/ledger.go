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
	tally    tally
	mistakes []string
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
	_, settled := l.settled[d.origin]
	_, found := l.letters[d.origin]
	if settled || found {
		l.wrong("%s was dead-lettered twice", d.origin)
		return
	}
	l.letters[d.origin] = d
}

// settle closes what is accounted for and returns how many records are still open.
func (l *ledger) settle(accepted func(eventID string) int, committed offsets) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	for at, e := range l.open {
		if d, ok := l.letters[at]; ok {
			l.settleDeadLetter(at, e, d)
			continue
		}
		switch e.kind {
		case fresh:
			if accepted(e.id) < 1 {
				continue
			}
			l.tally.signups++
		case again:
			if accepted(e.id) < 2 {
				continue
			}
			l.tally.repeated++
		case tombstone:
			if committed[at.partition] <= at.offset {
				continue
			}
			l.tally.tombstones++
		case poison:
			continue
		}
		delete(l.open, at)
	}
	return len(l.open)
}

var byteOffset = regexp.MustCompile(`byte \d+`)

func (l *ledger) settleDeadLetter(at position, e expected, d deadLetter) {
	switch {
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
	if letters := deadLetterEnds.sum(); letters != int64(l.tally.deadLetters) {
		l.wrong("%s has %d records, but %d were dead-lettered", deadLetterTopic, letters, l.tally.deadLetters)
	}
}

// counts returns the tally.
func (l *ledger) counts() tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.tally
	t.reasons = maps.Clone(t.reasons)
	return t
}

// maxListed is how many missing records are named.
const maxListed = 10

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
