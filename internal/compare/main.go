// Compare runs a consumer against an embedded Kafka and an endpoint that makes one kind of trouble, and counts what arrives. It knows
// nothing of the consumer but how to start it, so that other tools can be put to the same test (docs/comparison.md).
//
//	compare -scenario kill -- sh docs/comparison/signup-sheet.sh
//
// The command finds broker, topic, group and URL in BROKER, TOPIC, GROUP and ENDPOINT; the same events as lines of a file in FILE; in
// DEAD the name of a file for what it gives up, one line each; and in STATE a directory that stays when it is started again.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "compare: %v\n", err)
		os.Exit(1)
	}
}

// command is one run: one line of figures on stdout.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var name string
	var o options
	flags := flag.NewFlagSet("compare", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&name, "scenario", "rate", strings.Join(scenarioNames(), ", "))
	flags.IntVar(&o.records, "records", 20_000, "events in the topic")
	flags.DurationVar(&o.latency, "latency", 20*time.Millisecond, "before each answer of the endpoint")
	flags.DurationVar(&o.outage, "outage", time.Minute, "how long the trouble lasts")
	flags.DurationVar(&o.patience, "patience", 90*time.Second, "end the run when no new row has come for so long")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var known bool
	if o.scenario, known = scenarios()[name]; !known {
		return fmt.Errorf("-scenario %s: give one of %s", name, strings.Join(scenarioNames(), ", "))
	}
	if o.consumer = flags.Args(); len(o.consumer) == 0 || o.records < 100 {
		return errors.New("give a command behind --, and 100 records at least")
	}
	dir, err := os.MkdirTemp("", "compare-")
	if err != nil {
		return err
	}
	o.dir = dir
	f, err := run(ctx, o)
	if err != nil {
		return fmt.Errorf("%w (logs are in %s)", err, dir)
	}
	fmt.Fprintf(stdout, "%-6s %s\n", name, f)
	return os.RemoveAll(dir)
}
