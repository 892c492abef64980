package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	member "signup-sheet/consumer"
	"signup-sheet/internal/receiver"
)

func TestTheNewestLinesAreKeptAndNumberedThroughout(t *testing.T) {
	var n newest
	for i := range 3*maxKeptLines + 7 {
		n.add([]string{fmt.Sprint(i + 1)})
	}
	last := 3*maxKeptLines + 7
	for after, want := range map[int]int{0: maxKeptLines, last - maxKeptLines: maxKeptLines, last - 2: 2, last: 0, last + 5: 0} {
		got := n.after(after)
		if len(got.Cells) != want {
			t.Errorf("after %d: %d lines, want %d", after, len(got.Cells), want)
		}
		for i, cells := range got.Cells {
			if cells[0] != fmt.Sprint(got.First+i) {
				t.Fatalf("after %d: line %d is numbered %d", after, got.First+i, i)
			}
		}
		if end := got.First + len(got.Cells) - 1; end != last {
			t.Errorf("after %d: ends at %d, want %d", after, end, last)
		}
	}
	if cap(n.kept) > 4*maxKeptLines {
		t.Errorf("room for %d lines is kept", cap(n.kept))
	}
}

func TestRatesAreThoseOfTheLastSeconds(t *testing.T) {
	var f flow
	rates := f.note(noon(), road{Published: 100})
	if rates != (road{}) {
		t.Errorf("at first %+v", rates)
	}
	for i := 1; i <= 100; i++ { // 20 a second for 10 s, and nothing else
		rates = f.note(noon().Add(time.Duration(i)*100*time.Millisecond), road{Published: 100 + 2*float64(i)})
	}
	if rates.Published < 19.9 || rates.Published > 20.1 || rates.Delivered != 0 {
		t.Errorf("%+v", rates)
	}
	for i := 101; i <= 131; i++ {
		rates = f.note(noon().Add(time.Duration(i)*100*time.Millisecond), road{Published: 300})
	}
	if rates.Published != 0 || len(f.seen) > 40 {
		t.Errorf("%+v after a pause, %d moments are kept", rates, len(f.seen))
	}
}

func TestTheRateLimitTakesSomeRowsAPeriodAndSaysWhenTheNextBegins(t *testing.T) {
	behave := limit(2, 6*time.Second)
	for i, test := range []struct {
		at         time.Duration
		retryAfter string // empty: accepted
	}{
		{0, ""},
		{time.Second, ""},
		{1500 * time.Millisecond, "5"}, // 4.5 s are left
		{5900 * time.Millisecond, "1"},
		{6 * time.Second, ""},
		{6 * time.Second, ""},
		{6 * time.Second, "6"},
		{20 * time.Second, ""},
	} {
		answer := behave(t.Context(), receiver.Attempt{Time: noon().Add(test.at)})
		if answer.Header.Get("Retry-After") != test.retryAfter || (answer.Status == http.StatusTooManyRequests) != (test.retryAfter != "") {
			t.Errorf("%d: %+v, want %q", i, answer, test.retryAfter)
		}
	}
}

func TestOneOfSeveralTroublesDecidesUntilItEnds(t *testing.T) {
	var e endpoint
	status := func() int { return e.behave(t.Context(), receiver.Attempt{}).Status }
	want := func(statuses ...int) {
		t.Helper()
		if got := status(); !slices.Contains(statuses, got) {
			t.Errorf("status %d, want one of %v", got, statuses)
		}
	}
	want(0)
	e.switched("down", receiver.Always(receiver.Answer{Status: 503}), true)
	want(503)
	e.switched("token", receiver.Always(receiver.Answer{Status: 401}), true)
	want(401)
	e.switched("token", nil, false)
	want(503)
	if !e.has("down") || e.has("token") {
		t.Error("another one is on")
	}
	e.calm()
	want(0)
}

func TestThePageSaysWhyDeliveriesWait(t *testing.T) {
	running := func(change func(*member.Status)) report {
		s := member.Status{State: "running", Partitions: make([]member.PartitionStatus, 6)}
		change(&s)
		return report{seat: seat{name: firstConsumer}, status: &s}
	}
	nothing := func(*member.Status) {}
	soon, later := noon().Add(4*time.Second), noon().Add(9*time.Second)
	for _, test := range []struct {
		name    string
		reports []report
		account account
		paused  bool
		kind    string
		text    string // in part
		hold    string
		nextMS  int64
	}{
		{"all is well", []report{running(nothing)}, account{}, false, "well", "Delivering.", "", 0},
		{"a hold", []report{running(func(s *member.Status) {
			s.Holds = []member.Hold{{Reason: "rate_limited", NextProbe: soon}}
		})}, account{open: 9}, false, "waiting", "Held: the sheet asks for time (429, Retry-After).", "rate limited", 4000},
		{"the hold that ends first", []report{running(func(s *member.Status) {
			s.Holds = []member.Hold{{Reason: "unauthorised", NextProbe: later}, {Reason: "rate_limited", NextProbe: soon}}
		})}, account{}, false, "waiting", "429", "rate limited", 4000},
		{"a hold that the demo does not know", []report{running(func(s *member.Status) {
			s.Holds = []member.Hold{{Reason: "some_day", NextProbe: soon}}
		})}, account{}, false, "waiting", "Held: some day.", "some day", 4000},
		{"rows that are tried again", []report{running(func(s *member.Status) {
			s.Retrying, s.LastFailure = 12, &member.Failure{What: "failing"}
		})}, account{open: 12}, false, "waiting", "Rows wait for their next attempt: the sheet fails (5xx).", "failing", 0},
		{"an expired token", []report{running(func(s *member.Status) {
			s.Holds = []member.Hold{{Reason: "unauthorised", NextProbe: soon}}
		})}, account{open: 9}, false, "waiting", "Held: the sheet wants another token (401, 403).", "unauthorised", 4000},
		{"everything is refused", []report{running(func(s *member.Status) {
			s.Holds = []member.Hold{{Reason: "refused", NextProbe: soon}}
		})}, account{open: 9}, false, "waiting", "Held: the sheet refuses rows (400, 422).", "refused", 4000},
		{"a slow sheet", []report{running(func(s *member.Status) { s.Attempts = 60 })}, account{open: 60}, false, "well", "Delivering.", "", 0},
		{"an old failure", []report{running(func(s *member.Status) { s.LastFailure = &member.Failure{What: "failing"} })}, account{}, false, "well", "Delivering.", "", 0},
		{"no consumer yet", []report{{seat: seat{name: firstConsumer}}}, account{}, false, "waiting", "starting", "no member", 0},
		{"a killed consumer", []report{{seat: seat{name: firstConsumer, killed: noon().Add(-7 * time.Second)}}}, account{}, false, "waiting", "killed", "no member", 3000},
		{"one was killed, another goes on", []report{{seat: seat{name: firstConsumer, killed: noon()}}, running(nothing)}, account{}, false, "well", "Delivering.", "", 0},
		{"paused", []report{running(nothing)}, account{}, true, "well", "Everything has arrived", "", 0},
		{"paused and waiting", []report{running(nothing)}, account{open: 3}, true, "well", "What is in flight arrives", "", 0},
		{"a record is lost", []report{running(nothing)}, account{open: 1, lost: 1}, false, "bad", "Records are missing", "", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := moodOf(noon(), test.reports, test.account, test.paused)
			if m.Kind != test.kind || !strings.Contains(m.Text, test.text) || m.Hold != test.hold || m.NextMS != test.nextMS {
				t.Errorf("%+v", m)
			}
			if strings.ContainsAny(strings.NewReplacer("429", "", "5xx", "", "400, 422", "", "401, 403", "").Replace(m.Text), "0123456789") {
				t.Errorf("%q has a number that changes: a screen reader would not come to an end", m.Text)
			}
		})
	}
}

func TestWhatAddsUpIsSaidAndWhatDoesNot(t *testing.T) {
	a := account{tally: tally{published: 20, signups: 12, repeated: 1, tombstones: 2, deadLetters: 2}, open: 3}
	if c := countsOf(a, 5); !c.AddsUp || c.Rows != 12 || c.DeadLetters != 2 || c.Skipped != 3 || c.InFlight != 3 || c.Duplicates != 5 {
		t.Errorf("%+v", c)
	}
	a.lost = 1
	if c := countsOf(a, 5); c.AddsUp || c.Lost != 1 || c.InFlight != 2 {
		t.Errorf("%+v", c)
	}
	a = account{tally: tally{published: 20, signups: 19}}
	if c := countsOf(a, 0); c.AddsUp {
		t.Errorf("%+v", c)
	}
}

func TestADeadLetterIsShownAsItCameButNotWithoutBounds(t *testing.T) {
	got := letterCells(deadLetter{
		origin: position{3, 17}, class: "decode", reason: "decode: invalid UTF-8", time: noon(),
		value: append([]byte("caf\xe9 <script>"), make([]byte, 10_000)...),
	})
	want := []string{"decode", "invalid UTF-8", "3", "17", "2026-03-01T12:00:00Z"}
	if !slices.Equal(got[:5], want) || !strings.HasPrefix(got[5], "caf\uFFFD <script>") || len(got[5]) > 2*maxShown {
		t.Errorf("%q", got)
	}
}

func TestAnybodysRecordIsExpectedToBecomeWhatTheConsumerMakesOfIt(t *testing.T) {
	r := newReader()
	for i, test := range []struct {
		value string
		kind  kind
		id    string
	}{
		{`{"id":"a","email":"a@mail.example"}`, fresh, "a"},
		{`{"id":"a","email":"a@mail.example"}`, again, "a"},
		{`{"email":7}`, poison, ""},
		{`nothing`, poison, ""},
	} {
		got := r.expect(&kgo.Record{Topic: topic, Offset: int64(i), Timestamp: noon(), Value: []byte(test.value)})
		if got.kind != test.kind || got.id != test.id || (got.class != "") != (test.kind == poison) {
			t.Errorf("%s: %+v, want %s", test.value, got, test.kind)
		}
	}
	if got := r.expect(&kgo.Record{Topic: topic, Offset: 9}); got.kind != tombstone {
		t.Errorf("null: %+v", got)
	}
}

func TestPartitionsAreNamedBriefly(t *testing.T) {
	of := func(numbers ...int32) []member.PartitionStatus {
		var all []member.PartitionStatus
		for _, n := range numbers {
			all = append(all, member.PartitionStatus{Partition: n})
		}
		return all
	}
	for want, numbers := range map[string][]int32{
		"no partitions": {}, "partitions 4": {4}, "partitions 0–2": {0, 1, 2}, "partitions 0, 2–3, 5": {0, 2, 3, 5},
	} {
		if got := partitionsText(of(numbers...)); got != want {
			t.Errorf("%v: %q, want %q", numbers, got, want)
		}
	}
}

// The group seems to be at rest until whoever takes the place of a consumer that was killed joins it.
func TestMembersComeAndGoWhenAllHaveJoined(t *testing.T) {
	of := func(pid int, change func(*seat)) seat {
		s := seat{consumer: &consumer{process: &exec.Cmd{Process: &os.Process{Pid: pid}}}}
		change(&s)
		return s
	}
	nothing := func(*seat) {}
	for _, test := range []struct {
		name  string
		seats []seat
		want  bool
	}{
		{"both run", []seat{of(1, nothing), of(2, nothing)}, true},
		{"one was killed", []seat{of(1, func(s *seat) { s.dying = true })}, false},
		{"another is in its place", []seat{of(3, nothing)}, false},
		{"one is to leave", []seat{of(1, nothing), of(2, func(s *seat) { s.leaving = true })}, false},
	} {
		if got := allJoined(test.seats, map[int]bool{1: true, 2: true}); got != test.want {
			t.Errorf("%s: %t, want %t", test.name, got, test.want)
		}
	}
}
