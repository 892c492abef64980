package main

import (
	"encoding/csv"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"signup-sheet/internal/receiver"
)

func TestAgifyKnowsMostPeopleButNotAll(t *testing.T) {
	everybody := people()
	if known := len(ages(everybody)); known < len(everybody)/2 || known == len(everybody) {
		t.Errorf("%d of %d", known, len(everybody))
	}
}

// ask returns what the trouble does about n attempts, the time between them apart.
func ask(t *testing.T, tr *trouble, n int, apart time.Duration) []receiver.Answer {
	t.Helper()
	answers := make([]receiver.Answer, n)
	for i := range answers {
		answers[i] = tr.behave(t.Context(), receiver.Attempt{Time: noon().Add(time.Duration(i) * apart)})
	}
	return answers
}

func TestTroubleIsABurstThenOneLimitAndOneSlowAnswer(t *testing.T) {
	for i, a := range ask(t, newTrouble(1000), 700, 0) {
		busy, limited, slow := a.Status == 503, a.Status == 429 && a.Header.Get("Retry-After") == "1", a.Delay == slowAnswer
		if busy != (i < 40) || limited != (i == 39+250) || slow != (i == 39+500) {
			t.Errorf("attempt %d: %+v", i, a)
		}
	}
}

func TestTheBurstEndsAfterTwoSecondsEvenWithFewAttempts(t *testing.T) {
	tr := newTrouble(1)
	answers := ask(t, tr, 7, 500*time.Millisecond)
	var statuses []int
	for _, a := range answers {
		statuses = append(statuses, a.Status)
	}
	if want := []int{503, 503, 503, 503, 429, 0, 0}; !slices.Equal(statuses, want) || answers[5].Delay != slowAnswer {
		t.Errorf("%v, want %v", statuses, want)
	}
	if got, want := tr.state(), (troubleState{busy: 4, limited: 1, slow: 1}); got != want {
		t.Errorf("served %+v, want %+v", got, want)
	}
}

func TestTheSheetIsACSVOfTheRows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sheet.csv")
	s, err := createSheet(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{
		`{"event_id":"1","name":"O'Neil, \"MJ\"\nJr","age_guess":41,"metadata":{"n":9007199254740993}}`,
		`{"event_id":"2","name":null,"age_guess":null,"metadata":null}`,
	} {
		row, err := receiver.ParseRow([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.write(receiver.Entry{Row: row, Time: noon()}); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.Open(path) // while the sheet is still open: rows are there at once
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	got, err := csv.NewReader(file).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"event_id", "name", "age_guess", "metadata"},
		{"1", "O'Neil, \"MJ\"\nJr", "41", `{"n":9007199254740993}`},
		{"2", "", "", ""},
	}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("%q, want %q", got, want)
	}
	if seen := s.state(); seen.ages != 1 || !seen.last.Equal(noon()) {
		t.Errorf("seen %+v", seen)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

func TestFlags(t *testing.T) {
	const url = "https://hooks.example.com/s3cret"
	for _, test := range []struct {
		args, webhook string
		want          options
		bad           string // in the error
		note          string // in what is printed without an error
	}{
		{"", "", options{pace: pace}, "", ""},
		{"--once", "", options{once: 1000, pace: pace}, "", ""},
		{"--once --seed 3", "", options{once: 1000, seed: 3, pace: pace}, "", ""},
		{"--once 20 --csv x.csv", "", options{once: 20, csv: "x.csv", pace: pace}, "", ""},
		{"-once=7", url, options{once: 7, pace: pace}, "", ""},
		{"--port 8081 --broker-port 9092", "", options{port: 8081, brokerPort: 9092, pace: pace}, "", ""},
		{"--webhook", url, options{webhook: url, pace: visitPace}, "", ""},
		// Whoever has it set for the real program does not want invented people in the real sheet.
		{"", url, options{pace: pace}, "", "SHEETS_WEBHOOK_URL is set, but is not used"},
		{"--webhook", "", options{}, "SHEETS_WEBHOOK_URL is empty", ""},
		{"--webhook --once 5", url, options{}, "choose one", ""},
		{"--port 65536", "", options{}, "--port: must be", ""},
		{"--broker-port=-1", "", options{}, "--broker-port: must be", ""},
		{"--once=-7", "", options{}, "negative", ""},
		{"20", "", options{}, "not a flag", ""},
		{"--wrong", "", options{}, "-wrong", ""},
	} {
		var stderr strings.Builder
		got, err := parse(strings.Fields(test.args), test.webhook, &stderr)
		test.want.patience = visitPatience
		if test.want.seed == 0 {
			test.want.seed = 1
		}
		switch {
		case test.bad == "" && (err != nil || got != test.want):
			t.Errorf("%q: %+v, %v, want %+v", test.args, got, err, test.want)
		case test.bad != "" && (err == nil || !strings.Contains(stderr.String(), test.bad)):
			t.Errorf("%q: error %v, %q, want one about %q", test.args, err, stderr.String(), test.bad)
		case test.bad == "" && (!strings.Contains(stderr.String(), test.note) || test.note == "" && stderr.Len() > 0):
			t.Errorf("%q: printed %q, want %q", test.args, stderr.String(), test.note)
		}
		if strings.Contains(stderr.String(), "s3cret") {
			t.Errorf("%q: the webhook is printed: %q", test.args, stderr.String())
		}
	}
}

func TestProgressReplacesItsLastLineOnATerminalOnly(t *testing.T) {
	for _, terminal := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			var out strings.Builder
			p := newProgress(&out, terminal)
			p.step("begin")
			for range 20 {
				p.status("going")
				<-time.After(100 * time.Millisecond)
			}
			p.line("end")
			want := "   0.0s  begin\n   0.0s  going\n   1.0s  going\nend\n"
			if terminal {
				want = "   0.0s  begin\n   0.0s  going"
				for _, at := range []string{"0.2", "0.4", "0.6", "0.8", "1.0", "1.2", "1.4", "1.6", "1.8"} {
					want += "\r\x1b[K   " + at + "s  going"
				}
				want += "\r\x1b[Kend\n"
			}
			if out.String() != want {
				t.Errorf("%q, want %q", out.String(), want)
			}
		})
	}
}

func TestTheLogKeepsItsEndAndTheAdminAddress(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	l := &consumerLog{file: file}
	lines := []string{"Nov 25 INF admin server listens address=127.0.0.1:40001"}
	for i := range 5000 {
		lines = append(lines, "line "+strings.Repeat("x", 50)+number(i))
	}
	whole := strings.Join(lines, "\n") + "\n"
	if _, err := io.Copy(l, strings.NewReader(whole)); err != nil {
		t.Fatal(err)
	}
	l.close()
	if got, want := l.tail(), strings.Join(lines[len(lines)-tailLines:], "\n"); got != want {
		t.Errorf("tail %q, want %q", got, want)
	}
	if l.admin() != "127.0.0.1:40001" {
		t.Errorf("admin %q", l.admin())
	}
	if written, err := os.ReadFile(path); err != nil || string(written) != whole {
		t.Errorf("the file has %d bytes of %d, %v", len(written), len(whole), err)
	}
}

func TestSettingsOfTheEnvironmentDoNotReachTheConsumer(t *testing.T) {
	got := foreignEnvironment([]string{"PATH=/bin", "SIGNUP_SHEET_KAFKA_GROUP=mine", "SHEETS_WEBHOOK_URL=http://elsewhere.example", "HOME=/"})
	if want := []string{"PATH=/bin", "HOME=/"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
