// Signup-sheet reads signups from a Kafka topic and delivers each as a row to a webhook that writes a sheet.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	stdlog "log" //nolint:depguard // only to be silenced
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	_ "time/tzdata" // the image has no zones for the dates in columns

	"signup-sheet/consumer"
)

// Exit codes. Scripts depend on them.
const (
	exitFine         = 0
	exitFailed       = 1
	exitUsage        = 2
	exitDeadLettered = 3
)

// errDeadLettered is the end of a command that finished what it was asked to do, but not with every row.
var errDeadLettered = errors.New("finished, but some rows were dead-lettered")

func main() {
	// net/http writes there what an endpoint sends unasked, in the endpoint's words.
	stdlog.SetOutput(io.Discard)
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go obey(signals, cancel, os.Exit)
	os.Exit(run(ctx, os.Args[1:], environment(os.Environ()), os.Stdout, os.Stderr))
}

// obey asks the program to stop at the first signal and makes it stop at the second.
func obey(signals <-chan os.Signal, cancel context.CancelCauseFunc, exit func(code int)) {
	cancel(fmt.Errorf("received %s", <-signals))
	<-signals
	exit(exitFailed)
}

// environment is the variables of environ ("NAME=text") by name.
func environment(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, variable := range environ {
		name, text, _ := strings.Cut(variable, "=")
		env[name] = text
	}
	return env
}

// command is a word after the program's name.
type command struct {
	about      string // what it does, in a few words
	help       string
	configured bool     // it takes the settings as flags
	arguments  []string // words that may follow it
	run        func(ctx context.Context, args []string, env map[string]string, stdout, stderr io.Writer) (exitCode int)
}

func commands() map[string]command {
	return map[string]command{
		"run":        {about: "deliver signups until stopped", help: runHelp(), configured: true, run: runCommand},
		"replay":     {about: "deliver a time range of them again", help: replayHelp(), configured: true, run: replayCommand},
		"check":      {about: "find mistakes before a start does", help: checkHelp(), configured: true, run: checkCommand},
		"probe":      {about: "send one test row, and explain the answer", help: probeHelp, configured: true, run: probeCommand},
		"explain":    {about: "what one record becomes, step by step", help: explainHelp(), configured: true, run: explainCommand(os.Stdin)},
		"config":     {about: "the settings in effect, and where each comes from", help: configHelp, configured: true, run: configCommand},
		"completion": {about: "the script that completes commands and flags in a shell", help: completionHelp, arguments: shells(), run: completionCommand},
		"version":    {about: "what this binary was built from", help: versionHelp, run: versionCommand},
		"help":       {about: "this text, or that of a command", help: programHelp, run: helpCommand},
	}
}

// say writes text to a standard stream. If nobody reads it, there is nobody to tell.
func say(w io.Writer, text string) { _, _ = io.WriteString(w, text) }

// run is the program: it does what args say and returns the exit code.
func run(ctx context.Context, args []string, env map[string]string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		say(stderr, programHelp)
		return exitUsage
	}
	name, args := args[0], args[1:]
	switch name {
	case "--help", "-h":
		name = "help"
	case "--version":
		name = "version"
	}
	c, ok := commands()[name]
	if !ok {
		return fail(stderr, unknownCommand(name))
	}
	if slices.Contains(args, "--help") || slices.Contains(args, "-h") {
		say(stdout, c.help)
		return exitFine
	}
	return c.run(ctx, args, env, stdout, stderr)
}

func runCommand(ctx context.Context, args []string, env map[string]string, stdout, stderr io.Writer) int {
	cfg, err := load("run", args, env)
	if err != nil {
		return fail(stderr, err)
	}
	log := newLogger(stderr, cfg.Log)
	if err := runConsumer(ctx, cfg, log, stdout); err != nil {
		log.Error("stopped", "err", err)
		return exitCode(err)
	}
	log.Info("stopped", "reason", reasonOf(ctx))
	return exitFine
}

// reasonOf says why ctx ended.
func reasonOf(ctx context.Context) string {
	if cause := context.Cause(ctx); cause != nil {
		return cause.Error()
	}
	return "nothing is left to do"
}

func versionCommand(_ context.Context, args []string, _ map[string]string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		return fail(stderr, &usageError{command: "version", problems: []string{"version takes no arguments"}})
	}
	say(stdout, readBuild().String())
	return exitFine
}

func helpCommand(_ context.Context, args []string, _ map[string]string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		args = []string{"help"}
	}
	c, ok := commands()[args[0]]
	if !ok {
		return fail(stderr, unknownCommand(args[0]))
	}
	say(stdout, c.help)
	return exitFine
}

func unknownCommand(name string) error {
	problem := safeName("", name) + ": no such command" + didYouMean("", name, slices.Sorted(maps.Keys(commands())))
	return &usageError{problems: []string{problem}}
}

// exitCode is the code that tells scripts about err.
func exitCode(err error) int {
	if _, usage := errors.AsType[*usageError](err); usage {
		return exitUsage
	}
	if _, setup := errors.AsType[*consumer.SetupError](err); setup {
		return exitUsage
	}
	if errors.Is(err, errDeadLettered) {
		return exitDeadLettered
	}
	if err != nil {
		return exitFailed
	}
	return exitFine
}

// fail tells the operator about an error before there is a log.
func fail(stderr io.Writer, err error) int {
	say(stderr, "signup-sheet: "+err.Error()+"\n")
	if usage, ok := errors.AsType[*usageError](err); ok {
		say(stderr, "see: "+strings.TrimSpace("signup-sheet "+usage.command)+" --help\n")
	}
	return exitCode(err)
}
