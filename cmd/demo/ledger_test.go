package main

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"signup-sheet/consumer/signup"
)

// book has one record of each kind, at the offsets 0 to 3 of partition 1.
func book() *ledger {
	l := newLedger()
	for offset, r := range []record{
		{kind: fresh, id: "a"},
		{kind: again, id: "a"},
		{kind: poison, class: signup.Invalid, flaw: "no email"},
		{kind: tombstone},
	} {
		l.publish(r, &kgo.Record{Topic: topic, Partition: 1, Offset: int64(offset)})
	}
	return l
}

func letter(offset int64, class string) deadLetter {
	return deadLetter{origin: position{1, offset}, class: class, reason: class + ": /email: bad, at byte 7"}
}

func TestARecordIsOpenUntilItIsAccountedFor(t *testing.T) {
	for _, test := range []struct {
		name      string
		accepted  int // of a
		letters   []deadLetter
		committed int64
		open      int
		problems  []string // in part
	}{
		{"all", 2, []deadLetter{letter(2, "validate")}, 4, 0, nil},
		{"nothing", 0, nil, 0, 4, []string{"4 of 4 records are missing", "1@0: a signup without a row, event id a", "1@1: a signup published twice", "1@2: poison (no email)", "1@3: a tombstone"}},
		{"accepted once", 1, []deadLetter{letter(2, "validate")}, 4, 1, []string{"1 of 4", "1@1"}},
		{"no dead letter", 2, nil, 4, 1, []string{"1 of 4", "1@2"}},
		{"tombstone not passed", 2, []deadLetter{letter(2, "validate")}, 3, 1, []string{"1 of 4", "1@3"}},
		{"another class", 2, []deadLetter{letter(2, "decode")}, 4, 0, []string{`1@2 (no email) was dead-lettered as "decode", want "validate"`}},
		{"dead-lettered twice", 2, []deadLetter{letter(2, "validate"), letter(2, "validate")}, 4, 0, []string{"1@2 was dead-lettered twice"}},
		{"a signup dead-lettered", 2, []deadLetter{letter(0, "refused"), letter(2, "validate")}, 4, 0, []string{"1@0 (signup) was dead-lettered: refused"}},
		{"a tombstone dead-lettered", 2, []deadLetter{letter(3, "decode"), letter(2, "validate")}, 4, 0, []string{"1@3 (tombstone) was dead-lettered: decode"}},
		{"never published", 2, []deadLetter{letter(9, "decode"), letter(2, "validate")}, 4, 0, []string{"1@9 was dead-lettered, but never published"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := book()
			for _, d := range test.letters {
				l.deadLetter(d)
			}
			accepted := func(id string) int {
				if id != "a" {
					t.Errorf("asked about %q", id)
				}
				return test.accepted
			}
			if got := l.settle(offsets{1: test.committed}, nil, accepted); got.open != test.open {
				t.Errorf("%d open, want %d", got.open, test.open)
			}
			problems := l.problems()
			if !slices.EqualFunc(problems, test.problems, strings.Contains) {
				t.Errorf("problems %q, want %q", problems, test.problems)
			}
		})
	}
}

func TestARowMayBeDeadLetteredIfTheSheetRefusesRowsOnPurpose(t *testing.T) {
	for class, wrong := range map[string]int{"refused": 0, "validate": 1} {
		l := book()
		l.refusals = true
		l.deadLetter(letter(0, class))
		a := l.settle(offsets{1: 1}, offsets{0: 1}, func(string) int { return 0 })
		if a.open != 3 || a.lost != 0 || a.deadLetters != 1 || len(l.wrongs()) != wrong {
			t.Errorf("%s: %+v, %q", class, a, l.wrongs())
		}
	}
	l := book()
	l.refusals = true
	l.deadLetter(letter(3, "refused"))
	l.settle(offsets{1: 4}, offsets{0: 1}, func(string) int { return 2 })
	if len(l.wrongs()) != 1 {
		t.Errorf("a tombstone was refused: %q", l.wrongs())
	}
}

func TestARowOfAKilledConsumerMayBeInTheSheetAndRefused(t *testing.T) {
	for class, wrong := range map[string]int{"refused": 0, "validate": 1} {
		l := newLedger()
		l.crashes, l.refusals = true, true
		l.publish(record{kind: fresh, id: "a"}, &kgo.Record{Topic: topic, Partition: 1})
		l.settle(nil, nil, func(string) int { return 1 })
		l.deadLetter(letter(0, class))
		l.compare(offsets{1: 1}, offsets{1: 1}, offsets{0: 1})
		if len(l.wrongs()) != wrong {
			t.Errorf("%s: %q", class, l.wrongs())
		}
	}
}

func TestASecondDeadLetterIsNoticedAfterTheFirstIsSettled(t *testing.T) {
	l := book()
	accepted := func(string) int { return 2 }
	l.deadLetter(letter(2, "validate"))
	l.settle(offsets{1: 4}, nil, accepted)
	l.deadLetter(letter(2, "validate"))
	if problems := l.problems(); len(problems) != 1 || !strings.Contains(problems[0], "twice") {
		t.Errorf("problems %q", problems)
	}
	counts := l.counts()
	if counts.published != 4 || counts.signups != 1 || counts.repeated != 1 || counts.tombstones != 1 || counts.deadLetters != 1 ||
		counts.reasons[reason{"validate", "/email: bad, at byte n"}] != 1 {
		t.Errorf("counts %+v", counts)
	}
}

func TestProgressMustBeAtTheEndAndDeadLettersNoMoreThanExpected(t *testing.T) {
	for _, test := range []struct {
		name               string
		committed, letters offsets
		problems           []string // in part
	}{
		{"right", offsets{0: 0, 1: 4}, offsets{0: 1, 1: 0}, nil},
		{"behind", offsets{0: 0, 1: 3}, offsets{0: 1, 1: 0}, []string{"/1 is 3, but the end is 4"}},
		{"ahead", offsets{0: 1, 1: 4}, offsets{0: 1, 1: 0}, []string{"/0 is 1, but the end is 0"}},
		{"nothing", nil, offsets{0: 1}, []string{"/1 is 0, but the end is 4"}},
		{"a dead letter more", offsets{1: 4}, offsets{0: 1, 1: 1}, []string{"has 2 records, but 1 were dead-lettered"}},
		{"a dead letter less", offsets{1: 4}, offsets{}, []string{"has 0 records, but 1 were dead-lettered"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := book()
			l.deadLetter(letter(2, "validate"))
			l.settle(offsets{1: 4}, nil, func(string) int { return 2 })
			l.compare(test.committed, offsets{0: 0, 1: 4}, test.letters)
			if problems := l.problems(); !slices.EqualFunc(problems, test.problems, strings.Contains) {
				t.Errorf("problems %q, want %q", problems, test.problems)
			}
		})
	}
}

func TestASignupWithoutAnIDIsFoundByItsPlace(t *testing.T) {
	l := newLedger()
	k := &kgo.Record{Topic: topic, Partition: 2, Offset: 5, Timestamp: noon()}
	l.publish(record{kind: fresh}, k)
	var asked string
	l.settle(nil, nil, func(id string) int { asked = id; return 1 })
	if want := signup.EventID(topic, 2, 5, noon()); asked != want {
		t.Errorf("asked about %q, want %q", asked, want)
	}
}

func TestADeadLetterMustSayWhereItComesFrom(t *testing.T) {
	headers := []kgo.RecordHeader{
		{Key: "__connect.errors.topic", Value: []byte(topic)},
		{Key: "__connect.errors.partition", Value: []byte("4")},
		{Key: "__connect.errors.offset", Value: []byte("17")},
		{Key: "__connect.errors.exception.message", Value: []byte("empty value")},
		{Key: "signup_sheet.dlq.class", Value: []byte("decode")},
	}
	got, err := parseDeadLetter(&kgo.Record{Headers: headers})
	if want := (deadLetter{origin: position{4, 17}, class: "decode", reason: "empty value"}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	for i := range 3 {
		if _, err := parseDeadLetter(&kgo.Record{Headers: slices.Delete(slices.Clone(headers), i, i+1)}); err == nil {
			t.Errorf("no error without %s", headers[i].Key)
		}
	}
}

// A record that was committed and has no row is what this program must never have: the page says so as soon as it is certain.
func TestARecordIsLostIfItIsCommittedAndNowhere(t *testing.T) {
	for _, test := range []struct {
		name           string
		committed      int64
		letters        int64 // in the topic
		accepted       int
		inFlight, lost int
	}{
		{"nothing is committed", 0, 0, 0, 4, 0},
		{"a signup without a row", 1, 0, 0, 3, 1},
		{"all but a repetition", 2, 0, 1, 2, 1},
		{"a dead letter is still to be read", 4, 1, 2, 1, 0},
		{"poison without a dead letter", 4, 0, 2, 0, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := book().settle(offsets{1: test.committed}, offsets{0: test.letters}, func(string) int { return test.accepted })
			if got.inFlight() != test.inFlight || got.lost != test.lost {
				t.Errorf("%d in flight and %d lost, want %d and %d", got.inFlight(), got.lost, test.inFlight, test.lost)
			}
			if sum := got.signups + got.repeated + got.tombstones + got.deadLetters + got.inFlight() + got.lost; sum != got.published {
				t.Errorf("%d of %d records", sum, got.published)
			}
		})
	}
}

func TestAKilledConsumerMayWriteADeadLetterTwice(t *testing.T) {
	l := book()
	l.crashes = true
	l.deadLetter(letter(2, "validate"))
	l.deadLetter(letter(2, "validate"))
	l.settle(offsets{1: 4}, nil, func(string) int { return 2 })
	l.compare(offsets{1: 4}, offsets{1: 4}, offsets{0: 2})
	if problems := l.problems(); len(problems) != 0 {
		t.Errorf("problems %q", problems)
	}
	if counts := l.counts(); counts.deadLetters != 1 || counts.deadLettersAgain != 1 {
		t.Errorf("counts %+v", counts)
	}
}
