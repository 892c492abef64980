package main

import (
	"context"
	"embed"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
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

// scripts has a file for each shell, with marks for what follows from the declarations: @commands@, @values@ (of flags), @flags@
// (of commands). It is no template for text/template, which would make the program a fifth larger.
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
	script, err := scripts.ReadFile("completion/" + args[0])
	if err != nil {
		return fail(stderr, fmt.Errorf("write the script: %w", err))
	}
	all := completions()
	marks := map[string]func([]completed) []string{"bash": bashMarks, "fish": fishMarks, "zsh": zshMarks}[args[0]](all)
	say(stdout, strings.NewReplacer(marks...).Replace(string(script)))
	return exitFine
}

// bashMarks are pairs of a mark in the script and what replaces it.
func bashMarks(commands []completed) []string {
	var names, flags, values, toggles, files, texts []string
	seen := map[string]bool{}
	for _, c := range commands {
		names = append(names, c.name)
		words := c.words
		for _, f := range c.flags {
			words = append(words, "--"+f.name)
			if seen[f.name] {
				continue
			}
			seen[f.name] = true
			switch {
			case f.toggle:
				toggles = append(toggles, "--"+f.name)
			case f.words != nil:
				values = append(values, fmt.Sprintf(`    --%s) words="%s" ;;`, f.name, strings.Join(f.words, " ")))
			case f.file:
				files = append(files, "--"+f.name)
			default:
				texts = append(texts, "--"+f.name)
			}
		}
		flags = append(flags, fmt.Sprintf(`    %s) words="%s" ;;`, c.name, strings.Join(words, " ")))
	}
	return []string{
		"@commands@", strings.Join(names, " "), "@values@", strings.Join(values, "\n"), "@flags@", strings.Join(flags, "\n"),
		"@toggles@", strings.Join(toggles, " | "), "@files@", strings.Join(files, " | "), "@texts@", strings.Join(texts, " | "),
	}
}

// fishMarks are pairs of a mark in the script and what replaces it.
func fishMarks(commands []completed) []string {
	var names, flags []string
	for _, c := range commands {
		names = append(names, fmt.Sprintf("complete -c signup-sheet -n __fish_use_subcommand -a %s -d '%s'", c.name, c.about))
		after := fmt.Sprintf("complete -c signup-sheet -n '__fish_seen_subcommand_from %s' ", c.name)
		if c.words != nil {
			flags = append(flags, after+"-a '"+strings.Join(c.words, " ")+"'")
		}
		for _, f := range c.flags {
			takes := "-x"
			switch {
			case f.toggle:
				takes = "-a 'true false'"
			case f.words != nil:
				takes = "-x -a '" + strings.Join(f.words, " ") + "'"
			case f.file:
				takes = "-r -F"
			}
			flags = append(flags, fmt.Sprintf("%s-l %s %s -d '%s'", after, f.name, takes, f.about))
		}
	}
	return []string{"@commands@", strings.Join(names, "\n"), "@flags@", strings.Join(flags, "\n")}
}

// zshMarks are pairs of a mark in the script and what replaces it.
func zshMarks(commands []completed) []string {
	var names, flags []string
	for _, c := range commands {
		names = append(names, fmt.Sprintf("    '%s:%s'", c.name, c.about))
		specs := []string{"'(- *)--help[show its help]'"}
		if c.words != nil {
			specs = append(specs, "'1:word:("+strings.Join(c.words, " ")+")'")
		}
		for _, f := range c.flags {
			takes := "]:value: "
			switch {
			case f.words != nil:
				takes = "]:word:(" + strings.Join(f.words, " ") + ")"
			case f.file:
				takes = "]:file:_files"
			}
			if f.toggle { // the value is optional, and only behind =
				specs = append(specs, "'--"+f.name+"=-["+f.about+"]:"+takes[1:]+"'")
				continue
			}
			specs = append(specs, "'--"+f.name+"=["+f.about+takes+"'")
		}
		flags = append(flags, "    "+c.name+")\n      _arguments "+strings.Join(specs, " \\\n        ")+"\n      ;;")
	}
	return []string{"@commands@", strings.Join(names, "\n"), "@flags@", strings.Join(flags, "\n")}
}

// completed is a command as shells complete it.
type completed struct {
	name, about string
	words       []string // that may follow it
	flags       []completedFlag
}

type completedFlag struct {
	name, about string // without the hyphens
	words       []string
	toggle      bool // the value comes behind = or not at all
	file        bool
}

// completions follow from the declarations of commands and settings.
func completions() []completed {
	all := commands()
	names := slices.Sorted(maps.Keys(all))
	var list []completed
	for _, name := range names {
		c := completed{name: name, about: brief(all[name].about), words: all[name].arguments}
		if name == "help" {
			c.words = names
		}
		if all[name].configured {
			var cfg config
			for _, s := range settingsOf(name, &cfg) {
				c.flags = append(c.flags, completedFlag{s.name, brief(s.help), s.value.choices, s.value.toggle, s.value.unit == "file"})
			}
		}
		list = append(list, c)
	}
	return list
}

// brief is the first part of a help text, without what a shell would take for its own.
func brief(text string) string {
	text, _, _ = strings.Cut(text, ";")
	text, _, _ = strings.Cut(text, ". ")
	return strings.NewReplacer("'", "", `"`, "", ": ", ", ", ":", " ", "[", "", "]", "", `\`, "", "`", "", "$", "").Replace(text)
}
