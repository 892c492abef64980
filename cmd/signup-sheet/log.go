package main

import (
	"io"
	"log/slog"

	"github.com/lmittmann/tint"
	"golang.org/x/term"
)

// newLogger writes to w in the format that c asks for: text for people, with colours on a terminal only, or a JSON object a line.
func newLogger(w io.Writer, c logConfig) *slog.Logger {
	onTerminal := isTerminal(w)
	if c.Format == "text" || c.Format == "auto" && onTerminal {
		return slog.New(tint.NewTextHandler(w, &tint.Options{Level: c.Level, NoColor: !onTerminal}))
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: c.Level, ReplaceAttr: readable}))
}

// readable writes durations as everywhere else ("1.5s"), and not as a number of nanoseconds.
func readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

func isTerminal(stream any) bool {
	file, ok := stream.(interface{ Fd() uintptr })
	return ok && term.IsTerminal(int(file.Fd()))
}
