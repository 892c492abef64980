package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"signup-sheet/consumer"
	"signup-sheet/consumer/signup"
	"signup-sheet/sink"
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
		asked := cfg.Agify.Enabled && cfg.Explain.Enrich
		why := map[bool]string{true: "agify has no guess", false: "agify.enabled is false"}[cfg.Agify.Enabled]
		if cfg.Agify.Enabled && !asked {
			why = "nobody was asked for the age, because a look-up counts against the quota (--enrich asks)"
		}
		cfg.Agify.Enabled = asked
		x, origin, err := explain(ctx, cfg, newLogger(stderr, cfg.Log), stdin, stderr)
		if err != nil {
			return fail(stderr, err)
		}
		say(stdout, explanation(cfg, x, origin, why))
		if x.Signup == nil || x.Forced || x.GivenUp != nil {
			return exitFailed
		}
		say(stdout, "\n"+request(x.Request, isTerminal(stdout)))
		return exitFine
	}
}

// explain finds the record and explains it. The origin is its file, empty for the topic.
func explain(ctx context.Context, cfg config, log *slog.Logger, stdin io.Reader, stderr io.Writer) (x *consumer.Explanation, origin string, err error) {
	var r consumer.Record
	if cfg.Explain.Partition == nil {
		if r.Value, origin, err = readEvent(cfg.Explain.File, stdin, stderr); err != nil {
			return nil, "", &usageError{command: "explain", problems: []string{err.Error()}}
		}
		r.Time = time.Now()
	}
	p, err := assemble(cfg, log)
	if err != nil {
		return nil, "", err
	}
	defer p.close()
	if origin != "" {
		x, err = p.consumer.Explain(ctx, r)
		return x, origin, err
	}
	ctx, cancel := context.WithTimeout(ctx, onlineTimeout+max(cfg.Agify.Timeout, 0))
	defer cancel()
	x, err = p.consumer.ExplainAt(ctx, int32(*cfg.Explain.Partition), *cfg.Explain.Offset)
	return x, "", err
}

// largestEvent is what event.max_bytes allows at most, and one more.
const largestEvent = 512*mebibyte + 1

// readEvent reads the value of a record from a file or standard input.
func readEvent(path string, stdin io.Reader, stderr io.Writer) (event []byte, origin string, err error) {
	if path == "" || path == "-" {
		if isTerminal(stdin) {
			say(stderr, "the event, then Ctrl-D:\n")
		}
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

// explanation is every step in words.
func explanation(cfg config, x *consumer.Explanation, origin, noAge string) string {
	var b strings.Builder
	step := func(name, text string) {
		for _, line := range wrap(text, helpWidth-10) {
			fmt.Fprintf(&b, "%-10s%s\n", name, line)
			name = ""
		}
	}
	r := x.Record
	if origin == "" {
		step("record", fmt.Sprintf("%s, partition %d, offset %d, of %s", cfg.Kafka.Topic, r.Partition, r.Offset, r.Time.UTC().Format("2006-01-02T15:04:05.000Z")))
		step("", fmt.Sprintf("%s, %s, value of %d bytes", keyOf(r.Key), headersOf(r.Headers), len(r.Value)))
	} else {
		step("record", fmt.Sprintf("the value is from %s, %d bytes; there are no key and no headers", oneLine(origin), len(r.Value)))
	}
	poison := func() {
		step("", fmt.Sprintf("The record would be a dead letter of class %s in %s, byte for byte as it is; %s", x.Poison.Class, cfg.DeadLetter.Topic, eventID(cfg, r, x.Poison.EventID, origin)))
	}
	switch {
	case x.Tombstone:
		step("decode", "a null value, which is a tombstone: it would be skipped and counted, and nothing sent.")
		return b.String()
	case x.Poison != nil && x.Poison.Class == signup.Invalid:
		step("decode", "fine: a JSON object")
		step("validate", "poison: "+poisonous(x.Poison))
		poison()
		return b.String()
	case x.Poison != nil:
		step("decode", "poison: "+poisonous(x.Poison))
		poison()
		return b.String()
	}
	step("decode", "fine: a JSON object"+othersOf(x.Signup))
	validated := "fine"
	if x.Signup.EmailTrimmed {
		validated += ", without the blanks around the email"
	}
	if missing := missingFrom(x.Signup); missing != "" {
		validated += "; not in the event: " + missing
	}
	step("validate", validated)
	step("", eventID(cfg, r, x.Signup.EventID, origin))
	if x.Age != nil {
		step("enrich", "age "+string(x.Age)+", guessed from the first name")
	} else {
		step("enrich", "no age: "+noAge)
	}
	step("map", fmt.Sprintf("a row of %d bytes", len(x.Row.Body)))
	switch {
	case x.GivenUp != nil:
		step("send", fmt.Sprintf("nothing, now and then: %v. It would be a dead letter of class %s in %s", x.GivenUp, x.GivenUp.Class, cfg.DeadLetter.Topic))
		return b.String()
	case x.Forced:
		step("send", "nothing, now and then: dead_letter.force names the record, which would be a dead letter of class exhausted in "+cfg.DeadLetter.Topic)
		return b.String()
	}
	step("send", "nothing was sent; it would be this request:")
	return b.String()
}

// poisonous says what is wrong with a record, and where.
func poisonous(p *signup.Poison) string {
	if p.Pointer == "" {
		return p.Reason
	}
	return "at " + p.Pointer + ": " + p.Reason
}

func keyOf(key []byte) string {
	switch {
	case key == nil:
		return "no key"
	case len(key) == 0:
		return "an empty key"
	case len(key) > 100:
		return fmt.Sprintf("a key of %d bytes", len(key))
	}
	return fmt.Sprintf("key %q", key)
}

func headersOf(headers []signup.Header) string {
	if len(headers) == 0 {
		return "no headers"
	}
	names := make([]string, len(headers))
	for i, h := range headers {
		names[i] = oneLine(h.Key)
	}
	return "headers " + some(names)
}

// othersOf names the members of the event that are no field.
func othersOf(s *signup.Signup) string {
	var names []string
	for name := range s.Unknown() {
		names = append(names, oneLine(name))
	}
	if len(names) == 0 {
		return ""
	}
	return "; members beside the known ones: " + some(names)
}

// missingFrom names the columns of a signup that have no value.
func missingFrom(s *signup.Signup) string {
	var names []string
	for _, column := range signup.Columns() {
		if s.Field(column) == nil {
			names = append(names, column)
		}
	}
	return strings.Join(names, ", ")
}

// some are the first of many names.
func some(names []string) string {
	const most = 20
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
}

// eventID says what the event id is, and where it comes from.
func eventID(cfg config, r consumer.Record, id, origin string) string {
	shown := "event id " + oneLine(id)
	switch {
	case slices.ContainsFunc(r.Headers, func(h signup.Header) bool { return h.Key == signup.EventIDHeader && string(h.Value) == id }):
		return shown + ", which the record carries in a header: it was a dead letter"
	case id != signup.EventID(cfg.Kafka.Topic, r.Partition, r.Offset, r.Time):
		return shown + ", the event's own"
	case origin != "":
		return "the event has no id, so in the topic one would be made of topic, partition, offset and time"
	}
	return shown + ", made of topic, partition, offset and time, because the event has no id"
}

// request is a request as it would be on the wire. On a terminal, what could change it is escaped.
func request(r sink.Request, onTerminal bool) string {
	var b strings.Builder
	b.WriteString(r.Method + " " + r.URL + "\n")
	for _, f := range r.Header {
		b.WriteString(f.Name + ": " + f.Value + "\n")
	}
	b.WriteString("\n")
	if onTerminal {
		b.WriteString(printable(r.Body))
	} else {
		b.Write(r.Body)
	}
	b.WriteString("\n")
	return b.String()
}
