package main

import (
	"bytes"
	"strings"
	"testing"
)

// Eight kinds of mistakes in one start: each is named as it was written, with what to do about it. It is the same for all commands
// that take settings.
func TestEightMistakesAreNamedInOneRun(t *testing.T) {
	file := write(t, `kafka:
  topik: events
  session_timeout: 10
sink:
  url: https://hooks.example.com/S3CR3T
`)
	gone := write(t, "") + ".gone"
	args := []string{
		"--config", file, "--agify.timeout", "3 seconds", "--consumer.window", "0", "--agify.api_key_file", gone,
		"--kafka.heartbeat_interval", "4s", "--kafka.groop", "x",
	}
	env := map[string]string{"SIGNUP_SHEET_SINK_TIMOUT": "5s", "SHEETS_WEBHOOK_URL": "https://hooks.example.com/S3CR3T-2"}
	want := []struct{ mistake, message string }{
		{"an unknown flag", `--kafka.groop: no such flag: did you mean --kafka.group?`},
		{"an unknown variable", `SIGNUP_SHEET_SINK_TIMOUT: no such environment variable: did you mean SIGNUP_SHEET_SINK_TIMEOUT?`},
		{"an unknown key", file + `:2: kafka.topik: no such key: did you mean kafka.topic?`},
		{"a missing unit", file + `:3: kafka.session_timeout: want a duration from 1s to 30m with its unit, such as 500ms or 10s, not "10"`},
		{"a wrong duration", `--agify.timeout: want a duration from 10ms to 10m with its unit, such as 500ms or 10s, not "3 seconds"`},
		{"a value out of range", `--consumer.window: want a whole number from 1 to 1000000, not "0"`},
		{"two sources that differ", file + `:5: sink.url and SHEETS_WEBHOOK_URL are set differently: remove one`},
		{"a missing file", `--agify.api_key_file: read ` + gone + `: no such file or directory: create it, or correct the path`},
	}
	for name, c := range commands() {
		if !c.configured {
			continue
		}
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), append([]string{name}, args...), env, &stdout, &stderr); code != exitUsage || stdout.Len() > 0 {
				t.Errorf("exit code %d, and on stdout: %s", code, stdout.String())
			}
			for _, w := range want {
				if !strings.Contains(stderr.String(), "\n  "+w.message+"\n") {
					t.Errorf("%s: want %q", w.mistake, w.message)
				}
			}
			named := 0 // beside flags of its own that a command requires
			for line := range strings.Lines(stderr.String()) {
				if strings.HasPrefix(line, "  ") && !strings.Contains(line, " is required: ") {
					named++
				}
			}
			if named != len(want) || strings.Contains(stderr.String(), "S3CR3T") {
				t.Errorf("%d problems, want %d and no secret", named, len(want))
			}
			if t.Failed() {
				t.Log(stderr.String())
			}
		})
	}
	// Settings that do not go together are judged once each of them can be read.
	_, err := load("run", []string{"--sink.url", testURL, "--kafka.heartbeat_interval", "4s"}, nil)
	if err == nil || !strings.Contains(err.Error(), "--kafka.heartbeat_interval (4s) must be at most a third of kafka.session_timeout (10s, the default)") {
		t.Errorf("got %v", err)
	}
}
