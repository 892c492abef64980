package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"signup-sheet/consumer"
)

func TestMomentsAreReadAsOperatorsWriteThem(t *testing.T) {
	now := time.Date(2026, 11, 3, 12, 30, 0, 987e6, time.UTC)
	for text, want := range map[string]string{
		"2026-11-01T08:15:30Z":           "2026-11-01T08:15:30Z",
		"2026-11-01T08:15:30.123456Z":    "2026-11-01T08:15:30.123Z",
		"2026-11-01T08:15:30+01:00":      "2026-11-01T07:15:30Z",
		"2026-11-01T08:15Z":              "2026-11-01T08:15:00Z",
		"2026-11-01T08:15-05:00":         "2026-11-01T13:15:00Z",
		"2026-11-01T08:15:30":            "2026-11-01T08:15:30Z",
		"2026-11-01T08:15":               "2026-11-01T08:15:00Z",
		"2026-11-01":                     "2026-11-01T00:00:00Z",
		"24h":                            "2026-11-02T12:30:00Z",
		"90m":                            "2026-11-03T11:00:00Z",
		"now":                            "2026-11-03T12:30:00Z",
		"1970-01-01":                     "1970-01-01T00:00:00Z",
		"":                               "",
		"yesterday":                      "",
		"24":                             "",
		"-24h":                           "",
		"1000000h":                       "",
		"1969-12-31T23:59:59Z":           "", // -1000 ms, a word of its own to Kafka
		"1970-01-01T00:30+01:00":         "",
		"2026-11-01 08:15":               "",
		"2026-13-01":                     "",
		"2026-11-31":                     "",
		"01.11.2026":                     "",
		"1793520000":                     "",
		"2026-11-01T25:00Z":              "",
		"2026-11-01T08:15:30Z--to=now\n": "",
	} {
		at, ok := parseMoment(text, now)
		if got := formatMoment(at); ok != (want != "") || ok && got != want {
			t.Errorf("%q is %s, %v, want %s", text, got, ok, want)
		}
		if again, ok2 := parseMoment(formatMoment(at), now); ok && (!ok2 || !again.Equal(at)) {
			t.Errorf("%q is written as %s, and read as %s", text, formatMoment(at), again)
		}
	}
}

func TestReplayFlagsAreJudgedTogether(t *testing.T) {
	future := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	for _, c := range []struct {
		command string
		args    []string
		want    string // all problems, "; " between them
	}{
		{"replay", nil, "--from is required: want a time, such as 2026-11-01T00:00:00Z or 24h (ago); --to is required: want a time, such as 2026-11-01T00:00:00Z or 24h (ago)"},
		{"replay", []string{"--from", "2h", "--to", "3h"}, "--from (2h) must be before --to (3h): correct one"},
		{"replay", []string{"--from", "2026-01-02", "--to", "2026-01-02T01:00+01:00"}, "--from (2026-01-02) must be before --to (2026-01-02T01:00+01:00): correct one"},
		{"replay", []string{"--from", "2h", "--to", future}, "--to (" + future + ") is in the future: want a time that has passed, or now"},
		{"replay", []string{"--from", "soon", "--to", "now"}, `--from: want a time since 1970: 2026-11-01T00:00:00Z, 2026-11-01T01:00+01:00, 2026-11-01 (UTC), 24h (ago) or now, not "soon"`},
		{"replay", []string{"--from", "2h", "--to", "now", "--rate", "0/s"}, `--rate: want rows a second, such as 50/s: a whole number from 1 to 100000`},
		{"replay", []string{"--from", "2h", "--to", "now", "--rate", "5/m"}, `--rate: want rows a second, such as 50/s: a whole number from 1 to 100000`},
		{"replay", []string{"--from", "2h", "--to", "now", "--name", "a.b"}, `--name: want 1 to 64 letters, digits, underscores and hyphens, not "a.b"`},
		{"replay", []string{"--from", "2h", "--to", "now", "--dryrun"}, "--dryrun: no such flag: did you mean --dry-run?"},
		{"replay", []string{"--from", "2h", "--to", "now", "--rate", "fast"}, `--rate: want rows a second, such as 50/s: a whole number from 1 to 100000, not "fast"`},
		{"run", []string{"--rate", "5/s"}, "--rate: no such flag: only signup-sheet replay has it"},
		{"replay", []string{"--from", "2h", "--to", "now", "--rate", "50/s", "--name", "again_2"}, ""},
	} {
		_, err := load(c.command, append(c.args, "--sink.url", testURL), nil)
		got := ""
		if usage, ok := errors.AsType[*usageError](err); ok {
			got = strings.Join(usage.problems, "; ")
		}
		if got != c.want {
			t.Errorf("%s %v:\n%s\nwant\n%s", c.command, c.args, got, c.want)
		}
	}
	_, err := load("replay", []string{"--from", "2h", "--to", "now", "--config", write(t, "rate: 5\nsink: {url: http://localhost}\n")}, nil)
	if err == nil || !strings.Contains(err.Error(), "rate: cannot be set in the file: want --rate") {
		t.Errorf("a flag in the file: %v", err)
	}
}

func TestReplayIsToldWhatTheFlagsSay(t *testing.T) {
	args := []string{"--from", "2026-11-01", "--to", "2026-11-02", "--rate", "50/s", "--name", "n", "--dry-run", "--sink.url", testURL}
	c, err := load("replay", args, nil)
	if err != nil {
		t.Fatal(err)
	}
	from := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	if want := (replayConfig{From: from, To: from.Add(24 * time.Hour), Name: "n", Rate: 50, DryRun: true, Share: 25}); c.Replay != want {
		t.Errorf("%+v, want %+v", c.Replay, want)
	}
	if got := c.Replay.String(); got != "signup-sheet replay --from 2026-11-01T00:00:00Z --to 2026-11-02T00:00:00Z --name n" {
		t.Errorf("goes on with %s", got)
	}
	var k consumer.Config
	k.Group, k.Topic = "g", "t"
	c.Replay.apply(&k)
	if !strings.HasPrefix(k.Group, "g.replay.n.") || k.Sink.Rate != 50 || !k.Range.From.Equal(from) {
		t.Errorf("%+v", k)
	}
}

// midway is a replay that makes 100 offsets a second of 10,000.
func midway() func() (consumer.Progress, string) {
	began := time.Now()
	return func() (consumer.Progress, string) {
		return consumer.Progress{Done: int64(time.Since(began) / (10 * time.Millisecond)), Total: 10_000, Sent: 7}, ""
	}
}

func TestProgressIsALineEveryTenSecondsInALog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		done, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			logProgress(midway(), slog.New(slog.NewJSONHandler(&out, nil)), done)
		}()
		<-time.After(35 * time.Second)
		close(done)
		<-ended
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 3 {
			t.Fatalf("%d lines in 35 s: %s", len(lines), out.String())
		}
		var last struct {
			Msg              string
			Percent          int
			Done, Total      int64
			PerSecond        int `json:"per_second"`
			Left             string
			Sent             int
			DeadLettered     int `json:"dead_lettered"`
			Held             string
			Level, Time, Any string
		}
		if err := json.Unmarshal([]byte(lines[2]), &last); err != nil {
			t.Fatal(err)
		}
		if last.Msg != "replay goes on" || last.Percent != 30 || last.Done != 3000 || last.Total != 10_000 || last.PerSecond != 100 || last.Left != "1m10s" || last.Sent != 7 {
			t.Errorf("%s", lines[2])
		}
	})
}

// The bar is one line that is erased before anything is logged, and drawn again below it; at the end it is gone.
func TestBarKeepsLogsReadable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		b := &bar{out: &out, width: func() int { return 60 }}
		done, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			b.follow(midway(), done)
		}()
		<-time.After(10250 * time.Millisecond)
		slog.New(slog.NewTextHandler(b, nil)).Warn("something happened")
		<-time.After(time.Second)
		close(done)
		<-ended
		screen := rendered(out.String())
		if len(screen) != 2 || !strings.HasSuffix(screen[0], `msg="something happened"`) || screen[1] != "" {
			t.Errorf("on the screen: %q", screen)
		}
		if want := "replay [##------------------]  10%  1000/10000 offsets  100"; !strings.Contains(out.String(), want) {
			t.Errorf("never drawn: %s\n%q", want, out.String())
		}
		for _, line := range strings.FieldsFunc(out.String(), func(r rune) bool { return r == '\r' || r == '\n' }) {
			if strings.Contains(line, "offsets") && len(strings.TrimPrefix(line, "\x1b[K")) > 59 {
				t.Errorf("wider than the terminal: %q", line)
			}
		}
	})
}

// rendered is what a terminal shows of text.
func rendered(text string) []string {
	lines := []string{""}
	for _, r := range strings.ReplaceAll(text, "\r\x1b[K", "\f") {
		switch r {
		case '\f':
			lines[len(lines)-1] = ""
		case '\n':
			lines = append(lines, "")
		default:
			lines[len(lines)-1] += string(r)
		}
	}
	return lines
}

func TestBarSaysWhatItWaitsFor(t *testing.T) {
	p := consumer.Progress{Done: 999, Total: 1000}
	if got, want := barLine(p, 0, 0, "unauthorised, lease"), "replay [###################-]  99%  999/1000 offsets  0/s  held: unauthorised, lease"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := barLine(p, 12.4, time.Minute, ""), "replay [###################-]  99%  999/1000 offsets  12/s  ETA 1m0s"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := percent(consumer.Progress{Done: 1 << 53, Total: 1 << 53}); got != 100 {
		t.Errorf("%d %% of all", got)
	}
}

// A row is shown as it would be sent, but nothing in it commands the terminal.
func TestShownRowsAreTextOnly(t *testing.T) {
	for json, want := range map[string]string{
		`{"name":"Zoë 😀"}`:            `{"name":"Zoë 😀"}`,
		"{\"a\":\n\t1}":               `{"a":  1}`,
		"{\"a\":\"\u009b31m\u202e\"}": `{"a":"\u009b31m\u202e"}`,
		"{\"a\":\"\U000e0041\x7f\"}":  `{"a":"\udb40\udc41\u007f"}`,
	} {
		if got := printable([]byte(json)); got != want {
			t.Errorf("%q is shown as %s, want %s", json, got, want)
		}
	}
}

func TestSummariesSayWhatHappened(t *testing.T) {
	var cfg config
	from := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	cfg.Kafka.Topic, cfg.DeadLetter.Topic = "user.signup", "user.signup.dlq"
	cfg.Replay = replayConfig{From: from, To: from.Add(24 * time.Hour)}
	p := consumer.Progress{Done: 50, Total: 100, Sent: 40, DeadLettered: 1, AllDeadLetters: 2, OutsideRange: 5, Tombstones: 3, Restored: 4, Lost: 6, Cut: []int32{0, 7}}
	got := summary(cfg, "g.replay.x", p, 63400*time.Millisecond)
	want := `replay of user.signup from 2026-11-01T00:00:00Z to 2026-11-02T00:00:00Z: interrupted at 50% after 1m3s
  rows sent by this process              40
  dead letters of all of it               2  in user.signup.dlq
  skipped: not of the range               5
  skipped: tombstones                     3
  known to be sent before                 4
  removed by retention meanwhile          6  offsets
  in 2 partitions (0 7) the log begins within the range or after it: what retention removed before is missing
  group g.replay.x
`
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	p.Finished = true
	if got := summary(cfg, "g.replay.x", p, time.Hour); !strings.Contains(got, ": finished after 1h\n") {
		t.Error(got)
	}
	if got := summary(cfg, "g.replay.x", consumer.Progress{Finished: true, Before: true}, 0); !strings.Contains(got, "finished already, nothing was sent") || !strings.Contains(got, "another --name") {
		t.Error(got)
	}
}
