package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"signup-sheet/consumer"
)

// With UPDATE=1 in the environment it writes the files.
func TestHelpMatchesItsGoldenFileAndFits80Columns(t *testing.T) {
	for name := range commands() {
		t.Run(name, func(t *testing.T) {
			var byFlag, byCommand, stderr bytes.Buffer
			if code := run(t.Context(), []string{name, "--help"}, nil, &byFlag, &stderr); code != exitFine {
				t.Errorf("exit code %d", code)
			}
			if code := run(t.Context(), []string{"help", name}, nil, &byCommand, &stderr); code != exitFine {
				t.Errorf("exit code %d", code)
			}
			if stderr.Len() > 0 || byFlag.String() != byCommand.String() {
				t.Errorf("--help and help differ, or wrote to stderr: %s", stderr.String())
			}
			golden := filepath.Join("testdata", name+".help.txt")
			if os.Getenv("UPDATE") == "1" {
				if err := os.WriteFile(golden, byFlag.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := fs.ReadFile(os.DirFS("testdata"), name+".help.txt")
			if err != nil {
				t.Fatal(err)
			}
			if byFlag.String() != string(want) {
				t.Errorf("differs from %s; if that is right: UPDATE=1 go test -run Golden ./cmd/signup-sheet\n%s", golden, byFlag.String())
			}
			for i, line := range strings.Split(byFlag.String(), "\n") {
				if columns := utf8.RuneCountInString(line); columns > helpWidth {
					t.Errorf("line %d has %d columns: %s", i+1, columns, line)
				}
			}
		})
	}
}

// A command that nobody is told of is no command.
func TestProgramHelpNamesEveryCommand(t *testing.T) {
	for name, c := range commands() {
		if !strings.Contains(programHelp, "\n  "+name+" ") {
			t.Errorf("the program's help does not name %s", name)
		}
		if c.about == "" || !strings.Contains(c.help, "Usage:\n") || !strings.Contains(c.help, "\nExample") {
			t.Errorf("%s: want a few words about it, and a help page with usage and examples", name)
		}
	}
}

func TestExitCodes(t *testing.T) {
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })

	for _, c := range []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string // what each must contain; empty: nothing at all
	}{
		{"no arguments", nil, 2, "", "Usage:"},
		{"help", []string{"help"}, 0, "Usage:", ""},
		{"--help", []string{"--help"}, 0, "Usage:", ""},
		{"-h", []string{"-h"}, 0, "Usage:", ""},
		{"version", []string{"version"}, 0, "signup-sheet ", ""},
		{"--version", []string{"--version"}, 0, "signup-sheet ", ""},
		{"run --help beside mistakes", []string{"run", "--nonsense", "--help"}, 0, "Usage:", ""},
		{"unknown command", []string{"rnu"}, 2, "", "rnu: no such command: did you mean run?\nsee: signup-sheet --help\n"},
		{"help for an unknown command", []string{"help", "rnu"}, 2, "", "did you mean run?"},
		{"version with an argument", []string{"version", "x"}, 2, "", "see: signup-sheet version --help"},
		{"wrong flag", []string{"run", "--sink.url", testURL, "--kafka.topik", "x"}, 2, "", "signup-sheet: --kafka.topik: no such flag: did you mean --kafka.topic?\nsee: signup-sheet run --help\n"},
		{"wrong configuration", []string{"run"}, 2, "", "sink.url is required"},
		{"wrong configuration to check", []string{"check", "--online"}, 2, "", "sink.url is required"},
		{"wrong configuration to show", []string{"config"}, 2, "", "sink.url is required"},
		{"a flag of another command", []string{"run", "--sink.url", testURL, "--online"}, 2, "", "--online: no such flag: only signup-sheet check has it\nsee: signup-sheet run --help\n"},
		{"check", []string{"check", "--sink.url", testURL}, 0, "configuration is fine\n", ""},
		{"config", []string{"config", "--sink.url", testURL}, 0, "topic: user.signup  # default\n", ""},
		{"completion", []string{"completion", "bash"}, 0, "complete -F", ""},
		{"completion for no shell", []string{"completion"}, 2, "", "want one shell: bash, fish, zsh\nsee: signup-sheet completion --help\n"},
		{"completion for another shell", []string{"completion", "ksh"}, 2, "", "want one shell: bash, fish, zsh"},
		{"address in use", []string{"run", "--sink.url", testURL, "--log.format", "json", "--admin.listen", taken.Addr().String()}, 1, "", `"err":"admin.listen: `},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), c.args, nil, &stdout, &stderr); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			for _, out := range []struct{ name, got, want string }{{"stdout", stdout.String(), c.stdout}, {"stderr", stderr.String(), c.stderr}} {
				if (out.want == "") != (out.got == "") || !strings.Contains(out.got, out.want) {
					t.Errorf("%s: %q, want %q", out.name, out.got, out.want)
				}
			}
		})
	}
}

func TestErrorsHaveTheirExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
	}{
		{nil, 0},
		{errors.New("x"), 1},
		{fmt.Errorf("replay: %w", &usageError{problems: []string{"x"}}), 2},
		{fmt.Errorf("run: %w", &consumer.SetupError{Setting: "kafka.topic"}), 2},
		{fmt.Errorf("replay: %w", errDeadLettered), 3},
	} {
		if got := exitCode(c.err); got != c.code {
			t.Errorf("%v: %d, want %d", c.err, got, c.code)
		}
	}
}

func TestFirstSignalStopsAndSecondExitsAtOnce(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	signals, exited := make(chan os.Signal), make(chan int)
	go obey(signals, cancel, func(code int) { exited <- code })

	signals <- syscall.SIGTERM
	<-ctx.Done()
	if got := context.Cause(ctx).Error(); got != "received terminated" {
		t.Errorf("cause %q", got)
	}
	select {
	case <-exited:
		t.Fatal("exited at the first signal")
	case signals <- syscall.SIGINT:
	}
	if code := <-exited; code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
}

func TestStoppedProgramExitsWithZeroAndSaysWhy(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("received terminated"))
	var stdout, stderr bytes.Buffer
	args := []string{"run", "--sink.url", testURL, "--admin.listen=", "--log.format", "json"}
	if code := run(ctx, args, nil, &stdout, &stderr); code != exitFine {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
	if !strings.Contains(stderr.String(), `"msg":"stopped","reason":"received terminated"`) {
		t.Errorf("log: %s", stderr.String())
	}
}
