package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestLogIsJSONUnlessItGoesToATerminal(t *testing.T) {
	for _, format := range []string{"auto", "json"} {
		var out bytes.Buffer
		newLogger(&out, logConfig{Format: format}).Info("hello", "partition", 3, "drain", 1500*time.Millisecond)
		var line struct {
			Msg       string
			Partition int
			Drain     string
		}
		if err := json.Unmarshal(out.Bytes(), &line); err != nil || line.Msg != "hello" || line.Partition != 3 || line.Drain != "1.5s" {
			t.Errorf("%s: %q, %v", format, out.String(), err)
		}
	}
	var out bytes.Buffer
	newLogger(&out, logConfig{Format: "text"}).Info("hello", "partition", 3)
	if got := out.String(); !strings.Contains(got, "INF hello partition=3") || strings.Contains(got, "\x1b") {
		t.Errorf("text: %q, want words without colours", got)
	}
}

func TestLogLevelIsTheLeastThatIsWritten(t *testing.T) {
	for _, format := range []string{"json", "text"} {
		var out bytes.Buffer
		log := newLogger(&out, logConfig{Format: format, Level: slog.LevelWarn})
		log.Info("quiet")
		log.Warn("loud")
		if got := out.String(); strings.Contains(got, "quiet") || !strings.Contains(got, "loud") {
			t.Errorf("%s: %q", format, got)
		}
	}
}
