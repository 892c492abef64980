package main

import (
	"context"
	"embed"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/template"
)

const completionHelp = `Prints the script by which a shell completes commands, flags, the words that a
flag takes, and files.

Usage:
  signup-sheet completion bash|fish|zsh

Examples:
  bash  echo 'source <(signup-sheet completion bash)' >> ~/.bashrc
  fish  signup-sheet completion fish > \
          ~/.config/fish/completions/signup-sheet.fish
  zsh   signup-sheet completion zsh > "${fpath[1]}/_signup-sheet"
`

// scripts are templates, each called as its shell is.
//
//go:embed completion
var scripts embed.FS

// shells are those with a script.
func shells() []string { return []string{"bash", "fish", "zsh"} }

// completionCommand prints the script for a shell.
func completionCommand(_ context.Context, args []string, _ map[string]string, stdout, stderr io.Writer) int {
	if len(args) != 1 || !slices.Contains(shells(), args[0]) {
		return fail(stderr, &usageError{command: "completion", problems: []string{"want one shell: " + strings.Join(shells(), ", ")}})
	}
	if err := writeScript(stdout, args[0]); err != nil {
		return fail(stderr, fmt.Errorf("write the script: %w", err))
	}
	return exitFine
}

func writeScript(to io.Writer, shell string) error {
	script, err := template.New(shell).Funcs(template.FuncMap{"join": strings.Join}).ParseFS(scripts, "completion/"+shell)
	if err != nil {
		return err
	}
	return script.Execute(to, completions())
}

// completed is what shells are told: all commands, and the flags of any.
type completed struct {
	Commands []completedCommand
	Flags    []completedFlag
}

type completedCommand struct {
	Name, About string
	Words       []string // that may follow it
	Flags       []completedFlag
}

type completedFlag struct {
	Name, About string // without the hyphens
	Words       []string
	Toggle      bool // the value comes behind = or not at all
	File        bool
}

// completions follow from the declarations of commands and settings.
func completions() completed {
	var all completed
	known := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(commands())) {
		command := commands()[name]
		c := completedCommand{Name: name, About: brief(command.about), Words: command.arguments}
		if name == "help" {
			c.Words = slices.Sorted(maps.Keys(commands()))
		}
		if command.configured {
			var cfg config
			for _, s := range settingsOf(name, &cfg) {
				flag := completedFlag{s.name, brief(s.help), s.value.choices, s.value.toggle, s.value.unit == "file"}
				c.Flags = append(c.Flags, flag)
				if !known[s.name] {
					all.Flags = append(all.Flags, flag)
				}
				known[s.name] = true
			}
		}
		all.Commands = append(all.Commands, c)
	}
	return all
}

// brief is the first part of a help text, without what a shell would take for its own.
func brief(text string) string {
	text, _, _ = strings.Cut(text, ";")
	text, _, _ = strings.Cut(text, ". ")
	return strings.NewReplacer("'", "", `"`, "", ": ", ", ", ":", " ", "[", "", "]", "", `\`, "", "`", "", "$", "").Replace(text)
}
