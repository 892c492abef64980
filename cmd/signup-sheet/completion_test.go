package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// script writes a shell's script to a file.
func script(t *testing.T, shell string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"completion", shell}, nil, &stdout, &stderr); code != exitFine {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	path := filepath.Join(t.TempDir(), "_signup-sheet")
	if err := os.WriteFile(path, stdout.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// shell runs a shell, or skips the test where there is none.
func shell(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + cmd.Dir, "LC_ALL=C"}
	for _, file := range []string{"signup-sheet.yaml", "with blank.yaml"} {
		if err := os.WriteFile(filepath.Join(cmd.Dir, file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
	return string(out)
}

// What bash answers to the tab key: the words are as readline splits them.
func TestBashCompletes(t *testing.T) {
	file := script(t, "bash")
	commandNames := []string{"--help", "--version"}
	for name := range commands() {
		commandNames = append(commandNames, name)
	}
	flags := func(command string) []string {
		var c config
		names := []string{"--help"}
		for _, s := range settingsOf(command, &c) {
			names = append(names, s.flag())
		}
		return names
	}
	for _, c := range []struct {
		name  string
		words []string
		want  []string
	}{
		{"commands", []string{""}, commandNames},
		{"a command begun", []string{"che"}, []string{"check"}},
		{"flags of run", []string{"run", ""}, flags("run")},
		{"flags of check", []string{"check", "--"}, flags("check")},
		{"a flag begun", []string{"check", "--onl"}, []string{"--online"}},
		{"not of run", []string{"run", "--onl"}, nil},
		{"a choice", []string{"run", "--consumer.order", ""}, []string{"key", "none"}},
		{"a choice begun", []string{"run", "--log.level", "w"}, []string{"warn"}},
		{"a choice behind =", []string{"run", "--consumer.order", "="}, []string{"key", "none"}},
		{"a choice begun behind =", []string{"run", "--consumer.order", "=", "k"}, []string{"key"}},
		{"a choice in one word", []string{"run", "--consumer.order=k"}, []string{"--consumer.order=key"}},
		{"a toggle has no word behind it", []string{"run", "--agify.enabled", "--log.f"}, []string{"--log.format"}},
		{"a toggle behind =", []string{"run", "--agify.enabled", "=", "f"}, []string{"false"}},
		{"a file", []string{"run", "--config", "si"}, []string{"signup-sheet.yaml"}},
		{"a file with a blank", []string{"run", "--config", "w"}, []string{"with blank.yaml"}},
		{"a file behind =", []string{"run", "--sink.url_file", "=", "si"}, []string{"signup-sheet.yaml"}},
		{"a text of one's own", []string{"run", "--kafka.topic", ""}, nil},
		{"behind a text", []string{"run", "--kafka.topic", "x", "--log.f"}, []string{"--log.format"}},
		{"behind host and port", []string{"run", "--kafka.brokers", "a", ":", "1", "--log.f"}, []string{"--log.format"}},
		{"shells", []string{"completion", ""}, []string{"--help", "bash", "fish", "zsh"}},
		{"help", []string{"help", "ver"}, []string{"version"}},
		{"an unknown command", []string{"x", "--kaf"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			const ask = `source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _signup_sheet; printf '%s\n' "${COMPREPLY[@]}"`
			out := shell(t, "bash", append([]string{"--norc", "-u", "-c", ask, "bash", file, "signup-sheet"}, c.words...)...)
			var got []string
			for line := range strings.Lines(out) {
				if line = strings.TrimSuffix(line, "\n"); line != "" {
					got = append(got, line)
				}
			}
			slices.Sort(got)
			want := slices.Sorted(slices.Values(c.want))
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// The names and words are those of the declarations, in every shell.
func TestEveryShellHasEveryFlag(t *testing.T) {
	for _, name := range shells() {
		text, err := os.ReadFile(script(t, name))
		if err != nil {
			t.Fatal(err)
		}
		var c config
		for _, s := range declare(&c) {
			word := s.flag()
			if name == "fish" {
				word = "-l " + s.name
			}
			if !strings.Contains(string(text), word) {
				t.Errorf("%s: %s is missing", name, s.flag())
			}
			if len(s.value.choices) > 0 && !strings.Contains(string(text), strings.Join(s.value.choices, " ")) {
				t.Errorf("%s: %s: its words are missing", name, s.flag())
			}
		}
	}
}

// What zsh's completion system is told: one call, with all that belongs to it.
func TestZshTakesItsScript(t *testing.T) {
	const ask = `compdef() { : }; _describe() { print -l -- commands $commands }; _arguments() { print -l -- "$@" }
source $1; shift; words=("$@"); CURRENT=$#words; _signup_sheet`
	file := script(t, "zsh")
	if out := shell(t, "zsh", "-f", "-c", ask, "zsh", file, "signup-sheet", ""); !strings.Contains(out, "\ncheck:find mistakes before a start does\n") {
		t.Errorf("the commands are not described: %s", out)
	}
	out := shell(t, "zsh", "-f", "-c", ask, "zsh", file, "signup-sheet", "check", "")
	var c config
	for _, s := range settingsOf("check", &c) {
		if n := strings.Count("\n"+out, "\n"+s.flag()+"="); n != 1 {
			t.Errorf("%s is described %d times in\n%s", s.flag(), n, out)
		}
	}
}

// What fish answers to the tab key.
func TestFishCompletes(t *testing.T) {
	file := script(t, "fish")
	for line, want := range map[string]string{
		"signup-sheet che":                         "check",
		"signup-sheet check --onl":                 "--online",
		"signup-sheet run --consumer.order ":       "none",
		"signup-sheet run --consumer.order=":       "none",
		"signup-sheet run --agify.enabled=":        "false",
		"signup-sheet run --config sig":            "signup-sheet.yaml",
		"signup-sheet completion z":                "zsh",
		"signup-sheet run --kafka.topic x --log.f": "--log.format",
	} {
		if out := shell(t, "fish", "--no-config", "-c", `source $argv[1]; complete -C $argv[2]`, file, line); !strings.Contains(out, want) {
			t.Errorf("%q: want %s in %q", line, want, out)
		}
	}
}
