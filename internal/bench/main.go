// Bench measures the program beside a bare loop: kafka-go reads, net/http posts the value, nothing is guaranteed. Broker, webhook,
// loop and program are processes of their own on this machine; the first three are this binary in another role.
//
//	bench -program bin/signup-sheet                    every cell, five pairs each; tables to the standard output
//	bench -program bin/signup-sheet -cells 20ms/256    the cells whose names match
//
// It is for Linux: memory, processor time and connections are read from /proc.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// options is the command line.
type options struct {
	program string
	cells   *regexp.Regexp
	pairs   int
	output  string
	list    bool
}

// defaultPairs is how often each side of a cell runs.
const defaultPairs = 5

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:])
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// command runs the role that the first argument names, or the benchmark.
func command(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "broker":
			return runBroker(ctx, args[1:], os.Stdin, os.Stdout)
		case "webhook":
			return runWebhook(ctx, os.Stdin, os.Stdout)
		case "bare":
			return runBare(ctx, args[1:])
		}
	}
	o, err := parse(args, os.Stderr)
	if err != nil {
		return err
	}
	chosen := slices.DeleteFunc(cells(), func(c cell) bool { return !o.cells.MatchString(c.name) })
	if len(chosen) == 0 {
		return fmt.Errorf("-cells %s: matches none; -list shows them", o.cells)
	}
	if o.list {
		for _, c := range chosen {
			fmt.Println(c.name)
		}
		return nil
	}
	return bench(ctx, o, chosen)
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	var cells string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.program, "program", "bin/signup-sheet", "the `binary` to measure")
	flags.StringVar(&cells, "cells", "", "measure the cells whose names match this `regexp`")
	flags.IntVar(&o.pairs, "pairs", defaultPairs, "runs of each side of a cell")
	flags.StringVar(&o.output, "o", "", "write the report to this `file` too")
	flags.BoolVar(&o.list, "list", false, "list the cells and end")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	var err error
	if o.cells, err = regexp.Compile(cells); err != nil {
		return o, fmt.Errorf("-cells: %w", err)
	}
	if o.pairs < 1 {
		return o, errors.New("-pairs: at least 1")
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q: not a flag", flags.Arg(0))
	}
	return o, nil
}

// bench measures the cells one after the other and reports what was measured, also if a cell in the middle failed. The file is
// written only if all went well.
func bench(ctx context.Context, o options, chosen []cell) error {
	m, err := readMachine(ctx, o)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "signup-sheet-bench-")
	if err != nil {
		return err
	}
	b := &lab{program: o.program, dir: dir, progress: os.Stderr}
	var rows []row
	for i, c := range chosen {
		fmt.Fprintf(os.Stderr, "%s (%d of %d)\n", c.name, i+1, len(chosen))
		r, failure := b.measure(ctx, c, o.pairs)
		if failure != nil {
			err = fmt.Errorf("%s: %w", c.name, failure)
			break
		}
		rows = append(rows, r)
	}
	var report strings.Builder
	writeReport(&report, m, rows)
	if len(rows) > 0 {
		fmt.Print(report.String())
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("%w (logs are in %s)", err, dir)
	}
	if err == nil && o.output != "" {
		err = os.WriteFile(o.output, []byte(report.String()), 0o644)
	}
	return errors.Join(err, os.RemoveAll(dir))
}
