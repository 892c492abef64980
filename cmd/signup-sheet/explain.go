package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"strconv"
	"time"

	"signup-sheet/consumer"
)

const explainHelpHead = `Takes one record through the steps of run (decode, validate, enrich, map), says
what each does, and prints the request that would be sent, with secrets left
out. It sends nothing, joins no group and commits nothing.

The record is one of the topic (--partition, --offset), or the value of one in a
file or on standard input. What it prints has the row in it: personal data.

Usage:
  signup-sheet explain --partition number --offset number [--name value ...]
  signup-sheet explain --file event.json [--name value ...]
  signup-sheet explain [--name value ...] < event.json

It takes all settings of run, from the same sources: signup-sheet help run.
agify is asked for an age only with --enrich, because that counts against its
quota.

Examples:
  signup-sheet explain --config prod.yaml --partition 3 --offset 1042
  echo '{"email":"ann@example.com"}' | signup-sheet explain --config prod.yaml

Exit codes:
  0  the row would be sent
  1  it would not (it would be a dead letter or skipped), or nobody can tell
  2  wrong usage or configuration

Flags of its own:
`

func explainHelp() string { return explainHelpHead + ownFlags("explain") }

// explainConfig is what the command explain is told besides the settings.
type explainConfig struct {
	Partition, Offset *int64 // nil: not of the topic
	File              string // "-" or empty: standard input
	Enrich            bool
}

// explainSettings are the flags that only explain has.
func explainSettings(e *explainConfig) []setting {
	return []setting{
		{
			name: "partition", value: ordinal(&e.Partition, math.MaxInt32), only: "explain",
			help: "partition of kafka.topic that has the record; with --offset",
		},
		{
			name: "offset", value: ordinal(&e.Offset, math.MaxInt64), only: "explain",
			help: "offset of the record there",
		},
		{
			name: "file", value: text(&e.File, "file", anything), only: "explain",
			help: "file with the value of a record, instead of one from the topic; - is standard input, as without all three",
		},
		{
			name: "enrich", value: toggle(&e.Enrich), fallback: "false", only: "explain",
			help: "ask agify for the age, if agify.enabled",
		},
	}
}

// ordinal is a whole number from 0 that may be left out.
func ordinal(to **int64, most int64) value {
	return value{unit: "number", set: func(text string) error {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 || n > most {
			return fmt.Errorf("want a whole number from 0 to %d", most)
		}
		*to = &n
		return nil
	}}
}

// judgeExplain holds that one record is named.
func (l *loader) judgeExplain(e explainConfig) {
	switch place := e.Partition != nil || e.Offset != nil; {
	case l.broken["partition"] || l.broken["offset"]:
	case place && e.File != "":
		l.problem("--file and --partition with --offset name two records: leave one out")
	case place && (e.Partition == nil || e.Offset == nil):
		l.problem("--partition and --offset go together: give both, or --file")
	}
}

// explainCommand is the command, with its standard input.
func explainCommand(stdin io.Reader) func(context.Context, []string, map[string]string, io.Writer, io.Writer) int {
	return func(ctx context.Context, args []string, env map[string]string, stdout, stderr io.Writer) int {
		cfg, err := load("explain", args, env)
		if err != nil {
			return fail(stderr, err)
		}
		e, err := explain(ctx, cfg, newLogger(stderr, cfg.Log), stdin, stderr)
		if err != nil {
			return fail(stderr, err)
		}
		say(stdout, e.words(cfg))
		if !e.sent() {
			return exitFailed
		}
		say(stdout, "\n"+request(e.Request, isTerminal(stdout)))
		return exitFine
	}
}

// explain finds the record and explains it.
func explain(ctx context.Context, cfg config, log *slog.Logger, stdin io.Reader, stderr io.Writer) (*explained, error) {
	var e explained
	var r consumer.Record
	if cfg.Explain.Partition == nil {
		read, err := awaitEvent(ctx, cfg.Explain.File, stdin, stderr)
		if err != nil {
			return nil, err
		}
		r.Value, e.origin, r.Time = read.event, read.origin, time.Now()
	}
	cfg.Agify.Enabled = cfg.Agify.Enabled && cfg.Explain.Enrich
	cfg.Agify.CacheTopic = "" // agify itself is asked
	p, err := assemble(cfg, log)
	if err != nil {
		return nil, err
	}
	defer p.close()
	if e.origin != "" {
		e.Explanation, err = p.consumer.Explain(ctx, r)
	} else {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, onlineTimeout+cfg.Agify.Timeout)
		defer cancel()
		e.Explanation, err = p.consumer.ExplainAt(ctx, int32(*cfg.Explain.Partition), *cfg.Explain.Offset)
	}
	if err != nil {
		return nil, err
	}
	e.notes, err = notes(p.registry)
	return &e, err
}

// largestEvent is what event.max_bytes allows at most, and one more.
const largestEvent = 512*mebibyte + 1

// reading is the value of a record that is not from the topic.
type reading struct {
	event  []byte
	origin string
	err    error
}

// awaitEvent reads the value of a record from a file or standard input, until ctx ends. Nothing
// but the program's end ends the reading of a terminal or a pipe.
func awaitEvent(ctx context.Context, path string, stdin io.Reader, stderr io.Writer) (reading, error) {
	if path == "" {
		path = "-"
	}
	if path == "-" && isTerminal(stdin) {
		say(stderr, "the event, then Ctrl-D:\n")
	}
	done := make(chan reading, 1)
	go func() {
		var r reading
		r.event, r.origin, r.err = readEvent(path, stdin)
		done <- r
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return r, &usageError{command: "explain", problems: []string{r.err.Error()}}
		}
		return r, nil
	case <-ctx.Done():
		return reading{}, fmt.Errorf("wait for the event: %w", context.Cause(ctx))
	}
}

func readEvent(path string, stdin io.Reader) (event []byte, origin string, err error) {
	if path == "-" {
		if event, err = io.ReadAll(io.LimitReader(stdin, largestEvent)); err != nil {
			return nil, "", fmt.Errorf("read standard input: %w", err)
		}
		return event, "standard input", nil
	}
	file, err := os.Open(path) //nolint:gosec // the operator names the file
	if err == nil {
		defer file.Close()
		event, err = io.ReadAll(io.LimitReader(file, largestEvent))
	}
	if err != nil {
		return nil, "", fmt.Errorf("--file: %w", fileError(err, path))
	}
	return event, path, nil
}
