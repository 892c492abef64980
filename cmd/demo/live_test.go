package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// stage is a live demo under test.
type stage struct {
	t   *testing.T
	url string
	csv string
	end func() (output string, err error) // as Ctrl-C does
}

// open starts a live demo that ends with the test at the latest.
func open(t *testing.T) *stage {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	s := &stage{t: t, csv: filepath.Join(t.TempDir(), "sheet.csv")}
	ctx, cancel := context.WithCancelCause(t.Context())
	sheetAddress := regexp.MustCompile(`Open this +(http://\S+)\n`)
	addresses, done := make(chan string, 1), make(chan error, 1)
	out := &trigger{when: sheetAddress}
	out.pull = func() { addresses <- sheetAddress.FindStringSubmatch(out.last)[1] }
	// The test's own context ends before its cleanup, which is to see the demo end well.
	hurry, abort := context.WithCancelCause(context.WithoutCancel(t.Context()))
	go func() { done <- run(ctx, hurry, options{seed: 1, pace: pace, csv: s.csv}, newProgress(out, false)) }()
	ended := false
	s.end = func() (string, error) {
		if ended {
			return "", nil
		}
		ended = true
		cancel(errors.New("received interrupt"))
		err := <-done
		abort(nil)
		return out.String(), err
	}
	t.Cleanup(func() {
		if output, err := s.end(); err != nil {
			t.Errorf("%v\n%s", err, output)
		}
	})
	select {
	case s.url = <-addresses:
	case err := <-done:
		ended = true
		t.Fatalf("%v\n%s", err, out.String())
	}
	return s
}

// state asks for the view with all rows and dead letters.
func (s *stage) state() view {
	s.t.Helper()
	body := send(s.t, http.MethodGet, s.url+"/state?rows=0&letters=0").body
	var v view
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		s.t.Fatalf("%v: %s", err, body)
	}
	return v
}

// until returns the view as soon as it is as wanted. Whatever it shows, nothing is ever lost.
func (s *stage) until(what string, wanted func(view) bool) view {
	s.t.Helper()
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	for {
		v := s.state()
		if v.Counts.Lost > 0 {
			s.t.Fatalf("%s: %d records are lost: %+v", what, v.Counts.Lost, v.Counts)
		}
		if v.Counts.Published > 0 && !v.Counts.AddsUp {
			s.t.Fatalf("%s: it does not add up: %+v", what, v.Counts)
		}
		if wanted(v) {
			return v
		}
		select {
		case <-ticker.C:
		case <-deadline.C:
			v.Rows, v.Letters = nil, nil
			s.t.Fatalf("%s: not within a minute: %+v", what, v)
		}
	}
}

// press presses a button as the page does.
func (s *stage) press(button string) {
	s.t.Helper()
	if got := send(s.t, http.MethodPost, s.url+"/press/"+button, "Origin: "+s.url, "Sec-Fetch-Site: same-origin"); got.status != http.StatusNoContent {
		s.t.Fatalf("press %s: %d %s", button, got.status, got.body)
	}
}

func (s *stage) moreRows(than int) view {
	s.t.Helper()
	return s.until("more rows", func(v view) bool { return v.Counts.Rows > than })
}

func settled(v view) bool { return v.Counts.Published > 0 && v.Counts.InFlight == 0 }

// pausedAndSettled is not so, as settled may be, for a view of a moment before the button was pressed.
func pausedAndSettled(v view) bool { return settled(v) && strings.Contains(v.Mood.Text, "paused") }

// allRunning tells whether so many consumers run, each with its share of the six partitions.
func allRunning(n int) func(view) bool {
	return func(v view) bool {
		partitions := 0
		for _, c := range v.Consumers {
			for run := range strings.SplitSeq(strings.TrimPrefix(c.Partitions, "partitions "), ", ") {
				first, last, isRun := strings.Cut(run, "–")
				from, err := strconv.Atoi(first)
				to := from
				if isRun {
					to, err = strconv.Atoi(last)
				}
				if err != nil || !c.Well {
					return false
				}
				partitions += to - from + 1
			}
		}
		return len(v.Consumers) == n && partitions == 6
	}
}

func TestTheSheetIsLiveAndAddsUp(t *testing.T) {
	s := open(t)
	v := s.until("rows", func(v view) bool { return v.Counts.Rows >= 40 && v.Counts.DeadLetters >= 1 })
	if !slices.Contains(v.Columns, "age_guess") || v.Kafka == "" {
		t.Errorf("%+v", v)
	}
	s.until("rates of every stage", func(v view) bool {
		r := v.Rates
		return r.Published > 5 && r.Fetched > 5 && r.Enriched > 5 && r.Delivered > 5 && r.Committed > 5
	})

	// What anybody publishes is accounted for too. Nothing else is published by then, so that it comes last.
	s.press("pause?on=true")
	s.until("all of the demo's own", pausedAndSettled)
	client, err := kgo.NewClient(kgo.SeedBrokers(v.Kafka), kgo.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	mine := []string{`{"id":"mine","email":"me@mail.example"}`, `{"id":"mine","email":"me@mail.example"}`, `nonsense`}
	for _, value := range mine {
		if err := client.ProduceSync(t.Context(), &kgo.Record{Value: []byte(value)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.ProduceSync(t.Context(), &kgo.Record{Key: []byte("k")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	v = s.until("all of it", func(v view) bool { return settled(v) && v.Counts.Skipped == 2 })
	c := v.Counts
	if c.Published != c.Rows+c.DeadLetters+2 || c.SheetRows != c.Rows || c.LetterRows != c.DeadLetters || c.Duplicates != 1 {
		t.Errorf("%+v", c)
	}
	last := v.Letters.Cells[len(v.Letters.Cells)-1]
	if last[0] != "decode" || last[5] != "nonsense" {
		t.Errorf("the last dead letter is %q", last)
	}

	output, err := s.end()
	if err != nil || !strings.Contains(output, "Every record is accounted for") {
		t.Errorf("%v\n%s", err, output)
	}
	file, err := os.Open(s.csv)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if rows, err := csv.NewReader(file).ReadAll(); err != nil || len(rows) != 1+c.Rows {
		t.Errorf("the CSV has %d lines, %v, want %d", len(rows), err, 1+c.Rows)
	}
}

func TestEachButtonMakesItsTroubleAndEndsIt(t *testing.T) {
	s := open(t)
	v := s.moreRows(10)
	for _, b := range v.Buttons {
		if b.On || b.Label == "" || b.Hint == "" {
			t.Errorf("%+v", b)
		}
	}

	s.press("down?on=true")
	v = s.until("a reason to wait", func(v view) bool { return v.Mood.Kind == "waiting" && strings.Contains(v.Mood.Text, "5xx") })
	v = s.until("a backlog", func(w view) bool { return w.Counts.InFlight > 20 })
	if v.Mood.Hold == "" || refusedLetters(v.Letters) > 0 {
		t.Errorf("%+v, %q", v.Mood, v.Letters.Cells)
	}
	s.press("down?on=false")
	s.until("recovery", func(w view) bool { return w.Counts.Rows > v.Counts.Rows+20 })

	s.press("limit?on=true")
	s.until("a hold with its end", func(v view) bool {
		return strings.HasPrefix(v.Mood.Text, "Held: ") && strings.Contains(v.Mood.Text, "429") && v.Mood.NextMS > 0 && v.Mood.NextMS <= 6000
	})
	s.press("limit?on=false")
	s.until("no hold", func(v view) bool { return v.Mood.Kind == "well" })

	s.press("slow?on=true")
	s.until("rows that take long", func(v view) bool {
		return v.Counts.InFlight > 40 && v.Mood.Kind == "well" && strings.Contains(v.Mood.Detail, "takes its time")
	})
	s.press("slow?on=false")
	s.until("no row that takes long", func(v view) bool { return v.Counts.InFlight < 15 && v.Mood.Detail == "" })

	for button, reason := range map[string]string{"token": "(401, 403)", "refuse": "refuses rows"} {
		letters := s.state().Letters
		before := refusedLetters(letters)
		s.press(button + "?on=true")
		v = s.until("a hold for "+button, func(v view) bool {
			return strings.HasPrefix(v.Mood.Text, "Held: ") && strings.Contains(v.Mood.Text, reason) && v.Mood.NextMS > 0 && v.Counts.InFlight > 40
		})
		s.press(button + "?on=false")
		v = s.until("recovery from "+button, func(w view) bool { return w.Mood.Kind == "well" && w.Counts.Rows > v.Counts.Rows+40 })
		if refusedLetters(v.Letters) > before {
			t.Errorf("after %s there are dead letters of rows that nothing is wrong with: %q", button, v.Letters.Cells)
		}
	}

	letters := s.state().Counts.DeadLetters
	s.press("flood?on=true")
	if !isOn(s.state(), "flood") {
		t.Error("no flood")
	}
	v = s.until("dead letters", func(v view) bool { return v.Counts.DeadLetters >= letters+floodRecords })
	s.until("the end of the flood by itself", func(v view) bool { return !isOn(v, "flood") && v.Mood.Kind == "well" })
	s.moreRows(v.Counts.Rows + 20)

	s.press("pause?on=true")
	v = s.until("nothing in flight", pausedAndSettled)
	letters = v.Counts.DeadLetters
	s.press("poison")
	v = s.until("a dead letter", func(v view) bool { return settled(v) && v.Counts.DeadLetters > letters })
	if !strings.Contains(v.Mood.Text, "paused") {
		t.Errorf("%+v", v.Mood)
	}
	s.press("pause?on=false")
	s.moreRows(v.Counts.Rows)

	s.press("second?on=true")
	s.until("two consumers", allRunning(2))
	if got := send(t, http.MethodPost, s.url+"/press/second?on=true"); got.status != http.StatusNoContent {
		t.Errorf("the same again: %d %s", got.status, got.body)
	}
	s.press("second?on=false")
	v = s.until("one consumer", allRunning(1))

	before := v.Consumers[0].PID
	s.press("kill")
	s.until("why nothing is delivered", func(v view) bool { return strings.Contains(v.Mood.Text, "killed") && v.Mood.NextMS > 0 })
	if got := send(t, http.MethodPost, s.url+"/press/second?on=true"); got.status != http.StatusConflict || !strings.Contains(got.body, "rebalancing") {
		t.Errorf("another member during a rebalance: %d %s", got.status, got.body)
	}
	v = s.until("another process", allRunning(1))
	if v.Consumers[0].PID == before {
		t.Error("the consumer was not killed")
	}
	s.moreRows(v.Counts.Rows)

	s.press("pause?on=true")
	v = s.until("everything", pausedAndSettled)
	if v.Counts.Published != v.Counts.Rows+v.Counts.DeadLetters {
		t.Errorf("%+v", v.Counts)
	}
}

// refusedLetters counts the dead letters of rows that the sheet refused.
func refusedLetters(all *lines) (n int) {
	for _, cells := range all.Cells {
		if cells[0] == classRefused {
			n++
		}
	}
	return n
}

func isOn(v view, button string) bool {
	return slices.ContainsFunc(v.Buttons, func(b buttonView) bool { return b.Name == button && b.On })
}

func TestCtrlCInTroubleLosesNothingAndIsNoFailure(t *testing.T) {
	s := open(t)
	s.moreRows(5)
	s.press("down?on=true")
	s.until("a backlog", func(v view) bool { return v.Counts.InFlight > 10 })
	output, err := s.end()
	if err != nil || !endsWell(output) {
		t.Errorf("%v\n%s", err, output)
	}
}

func TestAPortThatIsTakenIsNamed(t *testing.T) {
	_, port, _ := strings.Cut(strings.TrimPrefix((&pressed{}).serve(t), "http://"), ":")
	var taken int
	if _, err := fmt.Sscan(port, &taken); err != nil {
		t.Fatal(err)
	}
	for flag, opts := range map[string]options{
		"--port":        {seed: 1, pace: pace, port: taken},
		"--broker-port": {seed: 1, pace: pace, brokerPort: taken},
	} {
		if output, err := play(t.Context(), t, opts); err == nil || !strings.Contains(err.Error(), flag+": ") || !strings.Contains(err.Error(), "in use") {
			t.Errorf("%s: error %v\n%s", flag, err, output)
		}
	}
}
