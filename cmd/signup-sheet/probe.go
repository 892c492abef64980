package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"signup-sheet/consumer"
	"signup-sheet/sink"
)

const probeHelp = `Sends one row that is marked as a test to the webhook, in one attempt, and says
what came of it: what the endpoint answered, what run would do with a row that
got this answer, and what to do. It needs no Kafka.

The row is written like any other: its event id begins with signup-sheet-probe-,
its name is "signup-sheet test row", its email test@example.com. Delete it when
you have seen it. agify is not asked; the age is 42.

Usage:
  signup-sheet probe [--name value ...]

It takes all settings of run, from the same sources: signup-sheet help run.

Examples:
  signup-sheet probe --config signup-sheet.yaml
  kubectl exec deploy/signup-sheet -- signup-sheet probe

Exit codes:
  0  accepted
  1  not accepted
  2  wrong usage or configuration
`

// probeCommand sends a test row.
func probeCommand(ctx context.Context, args []string, env map[string]string, stdout, stderr io.Writer) int {
	cfg, err := load("probe", args, env)
	if err != nil {
		return fail(stderr, err)
	}
	cfg.Agify.Enabled = false // nobody is asked
	p, err := assemble(cfg, newLogger(stderr, cfg.Log))
	if err != nil {
		return fail(stderr, err)
	}
	defer p.close()
	x, answer, err := p.consumer.Probe(ctx)
	if err != nil {
		return fail(stderr, err)
	}
	say(stdout, verdict(x, answer, isTerminal(stdout)))
	if !answer.Accepted {
		return exitFailed
	}
	return exitFine
}

// verdict is what came of a test row, in words.
func verdict(x *consumer.Explanation, a sink.Answer, onTerminal bool) string {
	var b strings.Builder
	b.WriteString("The request:\n\n" + request(x.Request, onTerminal) + "\n")
	mark := map[bool]string{true: "✓", false: "✗"}[a.Accepted]
	said := fmt.Sprintf("%s %s after %s", mark, printable([]byte(a.Words)), a.Took.Round(time.Millisecond))
	paragraph := func(name, text string) {
		for _, line := range wrap(text, helpWidth-12) {
			fmt.Fprintf(&b, "%-12s%s\n", name, line)
			name = ""
		}
	}
	paragraph("answer", said)
	if len(a.RequestIDs) > 0 {
		paragraph("", "request id "+strings.Join(a.RequestIDs, ", "))
	}
	if a.Response != "" {
		paragraph("", "it says: "+shortened(printable([]byte(a.Response))))
	}
	verdict := a.Verdict
	if a.Reason != "" && a.Reason != a.Verdict {
		verdict += ", " + a.Reason
	}
	paragraph("verdict", verdict+": with such an answer to a row, run would "+a.Consequence+".")
	paragraph("what to do", a.Advice)
	return b.String()
}

// shortened is the beginning of a long text.
func shortened(text string) string {
	const most = 400
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	return string(runes[:most]) + " …"
}
