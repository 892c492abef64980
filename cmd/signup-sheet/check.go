package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"signup-sheet/consumer"
	"signup-sheet/credentials"
)

const checkHelpHead = `Says whether the configuration is fine, or all that is wrong with it: unknown
names, values out of range, settings that do not go together, files that cannot
be read. With --online it also tries what a start would need, a line for each:
brokers (name, connection, TLS, authentication), topics, permissions, group, and
the name, connection and TLS of webhook and agify. It sends no row and no
lookup, does not join the group and changes nothing.

Usage:
  signup-sheet check [--online] [--name value ...]

It takes all settings of run, from the same sources: signup-sheet help run.

Examples:
  signup-sheet check --config signup-sheet.yaml
  kubectl exec deploy/signup-sheet -- signup-sheet check --online

Exit codes:
  0  fine
  1  something that --online tried does not work
  2  wrong usage or configuration

Flags of its own:
`

func checkHelp() string { return checkHelpHead + ownFlags("check") }

// onlineTimeout bounds what --online tries, which is all tried at the same time.
const onlineTimeout = 10 * time.Second

// checkCommand judges the configuration, and with --online what is around the program.
func checkCommand(ctx context.Context, args []string, env map[string]string, stdout, stderr io.Writer) int {
	cfg, err := load("check", args, env)
	if err != nil {
		return fail(stderr, err)
	}
	say(stdout, plan(cfg))
	if !cfg.Online {
		say(stdout, "\nTo try brokers, topics and endpoints too: signup-sheet check --online\n")
		return exitFine
	}
	ctx, cancel := context.WithTimeout(ctx, onlineTimeout)
	defer cancel()
	say(stdout, "\n")
	failed := 0
	for _, f := range findings(ctx, cfg) {
		say(stdout, tick(f))
		if f.Err != nil {
			failed++
		}
	}
	if failed > 0 {
		say(stdout, fmt.Sprintf("\n%d failed\n", failed))
		return exitFailed
	}
	return exitFine
}

// plan says in a few lines what the program would do.
func plan(cfg config) string {
	ages := "none"
	if cfg.Agify.Enabled {
		ages = hostOf(cfg.Agify.URL)
		if cfg.Agify.CacheTopic != "" {
			ages += ", kept in " + cfg.Agify.CacheTopic
		}
	}
	lines := []string{
		"configuration is fine",
		"  signups       " + cfg.Kafka.Topic + " at " + strings.Join(cfg.Kafka.Brokers, ","),
		"  group         " + cfg.Kafka.Group,
		"  dead letters  " + cfg.DeadLetter.Topic,
		"  rows          " + hostOf(string(cfg.Sink.URL)),
		"  ages          " + ages,
	}
	return strings.Join(lines, "\n") + "\n"
}

// hostOf is what may be shown of a URL.
func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return redacted
	}
	return u.Scheme + "://" + u.Host
}

// findings tries everything at the same time. They come in the order of a record's road.
func findings(ctx context.Context, cfg config) []consumer.Finding {
	var kafka []consumer.Finding
	var webhook, agify consumer.Finding
	var tries sync.WaitGroup
	log := slog.New(slog.DiscardHandler)
	var tables []consumer.TableConfig
	if cfg.Agify.Enabled && cfg.Agify.CacheTopic != "" {
		tables = append(tables, tableOf(cfg, log))
	}
	tries.Go(func() { kafka = consumer.Check(ctx, consumerOf(cfg, log), tables...) })
	tries.Go(func() { webhook = reach(ctx, "webhook", "sink.url", string(cfg.Sink.URL), cfg.Sink.TLS.files()) })
	if cfg.Agify.Enabled {
		tries.Go(func() { agify = reach(ctx, "agify", "agify.url", cfg.Agify.URL, credentials.Files{}) })
	}
	tries.Wait()
	found := append(kafka, webhook)
	if cfg.Agify.Enabled {
		found = append(found, agify)
	}
	return found
}

// tick is the line of a finding.
func tick(f consumer.Finding) string {
	if setup, ok := errors.AsType[*consumer.SetupError](f.Err); ok {
		return fmt.Sprintf("✗ %v\n", setup)
	}
	switch {
	case f.Err != nil:
		return fmt.Sprintf("✗ %s: %v\n", f.What, f.Err)
	case f.Detail == "":
		return fmt.Sprintf("✓ %s\n", f.What)
	}
	return fmt.Sprintf("✓ %s: %s\n", f.What, f.Detail)
}
