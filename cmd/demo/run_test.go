package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"signup-sheet/internal/receiver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// play runs the demo and returns what it printed.
func play(ctx context.Context, t *testing.T, opts options) (string, error) {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	var out strings.Builder
	err := run(ctx, t.Context(), opts, newProgress(&out, false))
	return out.String(), err
}

func TestEveryRecordIsAccountedFor(t *testing.T) {
	sheet := filepath.Join(t.TempDir(), "sheet.csv")
	out, err := play(t.Context(), t, options{once: 300, seed: 5, csv: sheet})
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, line := range []string{
		"  records published            300 ",
		"  rows in the sheet            292 ",
		"  duplicates refused             3   published twice",
		"  dead letters                   3 ",
		"  tombstones skipped             2\n",
		" answered 503, 1 answered 429, 1 answered after 2s",
		"Every record is accounted for",
	} {
		if !strings.Contains(out, line) {
			t.Errorf("%q is not in the output:\n%s", line, out)
		}
	}
	file, err := os.Open(sheet)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if rows, err := csv.NewReader(file).ReadAll(); err != nil || len(rows) != 1+292 {
		t.Errorf("the sheet has %d lines, %v", len(rows), err)
	}
}

func TestARecordThatNobodyHasReadYetIsInFlight(t *testing.T) {
	b, err := startBroker(0)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	b.publish(t.Context(), record{value: []byte(`{}`)}, func(*kgo.Record, error) {})
	if err := b.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	d := &demo{broker: b, ledger: newLedger(), receiver: receiver.New()}
	if _, a, err := d.settle(t.Context()); err != nil || a.published != 1 || a.open != 1 || a.inFlight() != 1 {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestAConsumerThatEndsIsNoticedAndTheMissingAreNamed(t *testing.T) {
	program, err := exec.LookPath("false")
	if err != nil {
		t.Skip(err)
	}
	_, err = play(t.Context(), t, options{once: 12, seed: 1, program: program})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"signup-sheet ended by itself: exit status 1", "12 of 12 records are missing", "and 2 more", "a signup without a row, event id "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %q", want, err)
		}
	}
}

func TestAnInterruptEndsARunWithNothingMissing(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	t.Setenv("TMPDIR", t.TempDir())
	out := &trigger{when: regexp.MustCompile(`= rows [1-9]`), pull: func() { cancel(errors.New("received interrupt")) }}
	if err := run(ctx, t.Context(), options{seed: 1, pace: pace}, newProgress(out, false)); err != nil {
		t.Fatalf("%v\n%s", err, &out.Builder)
	}
	if !strings.Contains(out.String(), "received interrupt: waiting for what is in flight") || !endsWell(out.String()) {
		t.Errorf("%s", &out.Builder)
	}
}

func TestAnInterruptOfACountedRunBlamesNobody(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	t.Setenv("TMPDIR", t.TempDir())
	out := &trigger{when: regexp.MustCompile("tells about itself"), pull: func() { cancel(errors.New("received interrupt")) }}
	err := run(ctx, t.Context(), options{once: 2000, seed: 1}, newProgress(out, false))
	if err == nil || err.Error() != "received interrupt" {
		t.Errorf("error %v\n%s", err, &out.Builder)
	}
}

func TestAConsumerThatDoesNotEndWellIsAFailure(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	program, err := build(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	wrapped := filepath.Join(dir, "wrapped")
	script := fmt.Sprintf("#!%s\ntrap 'kill $!; wait $!; exit 7' TERM\n'%s' \"$@\" &\nwait $!\n", shell, program)
	if err := os.WriteFile(wrapped, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	t.Setenv("TMPDIR", dir)
	out := &trigger{when: regexp.MustCompile(`= rows [1-9]`), pull: func() { cancel(errors.New("received interrupt")) }}
	err = run(ctx, t.Context(), options{seed: 1, pace: pace, program: wrapped}, newProgress(out, false))
	if err == nil || !strings.Contains(err.Error(), "signup-sheet: exit status 7") {
		t.Errorf("error %v\n%s", err, &out.Builder)
	}
}

// endsWell tells whether a demo that was interrupted says that nothing is lost. What does not arrive within a few seconds is left
// to the next run.
func endsWell(output string) bool {
	return strings.Contains(output, "Every record is accounted for") || strings.Contains(output, "Nothing is lost")
}

// trigger is a writer that acts each time that a text that it waits for is written to it. It may be read when the run has ended.
type trigger struct {
	strings.Builder
	when *regexp.Regexp
	last string // what was written last
	pull func()
}

func (w *trigger) Write(p []byte) (int, error) {
	w.last = string(p)
	if w.when.Match(p) {
		w.pull()
	}
	return w.Builder.Write(p)
}
