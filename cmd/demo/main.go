// Demo shows signup-sheet at work: an embedded Kafka, a fake agify and a sheet that writes a CSV, all in this process, and the
// real program delivering between them.
//
// With --once N it publishes N signups, some of them broken, makes the sheet misbehave for a while, and then proves that every
// one arrived: the exit code is 1 if one is missing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"
)

const usage = `Demo runs signup-sheet between an embedded Kafka and a sheet of its own.

  go run ./cmd/demo                  a sheet to look at: 20 signups a second until Ctrl-C
  go run ./cmd/demo --once [N]       N signups (1000), then a check that none is missing
  go run ./cmd/demo --webhook        20 signups to the webhook in SHEETS_WEBHOOK_URL

Flags:
`

// onceDefault is what --once without a number means.
const onceDefault = 1000

// options is the command line.
type options struct {
	once       int    // 0: until Ctrl-C
	webhook    string // a secret; empty: a sheet of the demo's own
	port       int    // of the page, 0: a free one
	brokerPort int    // 0: a free one
	seed       uint64
	csv        string
	program    string

	pace     time.Duration // between two signups
	patience time.Duration // without progress, until the demo with a webhook gives up
}

// webhookVariable is the environment variable with somebody's own webhook. It counts with --webhook alone: whoever has it set for
// the real program does not want invented people in the real sheet.
const webhookVariable = "SHEETS_WEBHOOK_URL"

func main() {
	os.Exit(command(os.Args[1:]))
}

// command returns the exit code: 0 nothing is missing, 1 something is or went wrong, 2 wrong usage.
func command(args []string) int {
	opts, err := parse(args, os.Getenv(webhookVariable), os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return 2
	}
	ctx, hurry := obey()
	out := newProgress(os.Stdout, term.IsTerminal(int(os.Stdout.Fd())))
	if err := run(ctx, hurry, opts, out); err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo: %v\n", err)
		return 1
	}
	return 0
}

// obey returns a context that the first signal ends, so that everything is brought to a good end, and one that the second
// signal ends, so that it is brought to any end.
func obey() (ctx, hurry context.Context) {
	ctx, cancel := context.WithCancelCause(context.Background())
	hurry, abort := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		cancel(fmt.Errorf("received %s", <-signals))
		abort(fmt.Errorf("received %s again", <-signals))
	}()
	return ctx, hurry
}

func parse(args []string, webhook string, stderr io.Writer) (options, error) {
	o := options{pace: pace, patience: visitPatience}
	var visit bool
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	flags.IntVar(&o.once, "once", 0, "publish `N` signups, wait until each is accounted for, and stop")
	flags.BoolVar(&visit, "webhook", false, "deliver 20 signups to the webhook whose URL is in "+webhookVariable+", and stop")
	flags.IntVar(&o.port, "port", 0, "serve the page on this `port` (default: a free one)")
	flags.IntVar(&o.brokerPort, "broker-port", 0, "run Kafka on this `port` (default: a free one)")
	flags.Uint64Var(&o.seed, "seed", 1, "makes the signups: the same `number` makes the same ones")
	flags.StringVar(&o.csv, "csv", "", "write the sheet to this `file` (default: one in a new temporary directory)")
	flags.StringVar(&o.program, "program", "", "run this signup-sheet `binary` instead of building one")
	if err := flags.Parse(completeOnce(args)); err != nil {
		return o, err
	}
	var err error
	switch {
	case flags.NArg() > 0:
		err = fmt.Errorf("%q: not a flag", flags.Arg(0))
	case o.once < 0:
		err = errors.New("--once: must not be negative")
	case !isPort(o.port):
		err = errors.New("--port: must be 0 to 65535")
	case !isPort(o.brokerPort):
		err = errors.New("--broker-port: must be 0 to 65535")
	case visit && o.once > 0:
		err = errors.New("--once and --webhook: what arrives at a webhook of yours cannot be checked; choose one")
	case visit && webhook == "":
		err = errors.New("--webhook: " + webhookVariable + " is empty; set it to the URL of your webhook")
	case visit:
		o.webhook, o.pace = webhook, visitPace
	case webhook != "" && o.once == 0:
		fmt.Fprintf(stderr, "demo: %s is set, but is not used: to deliver to it, make demo %[1]s=https://…\n", webhookVariable)
	}
	if err != nil {
		fmt.Fprintf(stderr, "demo: %v\n", err)
	}
	return o, err
}

func isPort(n int) bool { return n >= 0 && n <= 65_535 }

// completeOnce puts the default number after a --once that has none.
func completeOnce(args []string) []string {
	i := slices.IndexFunc(args, func(arg string) bool { return strings.TrimLeft(arg, "-") == "once" })
	if i < 0 || i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
		return args
	}
	return slices.Insert(slices.Clone(args), i+1, strconv.Itoa(onceDefault))
}
