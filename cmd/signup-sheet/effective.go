package main

import (
	"context"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

const configHelp = `Prints the settings in effect as a YAML file, each with where it comes from. The
file can be given to --config, beside the secrets, which it does not have.

Usage:
  signup-sheet config [--name value ...]

It takes all settings of run, from the same sources: signup-sheet help run. If
anything is wrong, it prints that instead, all of it, and exits with 2.

Examples:
  signup-sheet config --config signup-sheet.yaml --sink.timeout 10s
  kubectl exec deploy/signup-sheet -- signup-sheet config
`

// configCommand prints the configuration in effect.
func configCommand(_ context.Context, args []string, env map[string]string, stdout, stderr io.Writer) int {
	_, l := read("config", args, env)
	if err := l.err(); err != nil {
		return fail(stderr, err)
	}
	say(stdout, l.effective())
	return exitFine
}

// effective is the configuration as a YAML file that gives the same again. A comment behind each value says where it comes from.
// Secrets, and settings without a value, are comments.
func (l *loader) effective() string {
	var out strings.Builder
	out.WriteString("# What signup-sheet runs with. Secrets are left out.\n")
	if file := l.origin["config"]; file.text != "" {
		out.WriteString("# " + oneLine(file.where+": "+file.text) + "\n")
	}
	var above []string // the keys that the lines are below
	for _, s := range l.settings {
		if s.fileless || s.only != "" {
			continue
		}
		keys := strings.Split(s.name, ".")
		last := len(keys) - 1
		for i, key := range keys[:last] {
			if i < len(above) && above[i] == key {
				continue
			}
			if i == 0 {
				out.WriteString("\n")
			}
			out.WriteString(strings.Repeat("  ", i) + key + ":\n")
			above = above[:i]
		}
		above = keys[:last]
		out.WriteString(strings.Repeat("  ", last) + l.line(s, keys[last]) + "\n")
	}
	return out.String()
}

// line is the line of a setting in the YAML file.
func (l *loader) line(s setting, key string) string {
	given := l.origin[s.name]
	source := strings.TrimSuffix(given.where, ": "+s.name)
	switch {
	case given.text == "" && s.fallback == "" && s.derived != "":
		return "# " + key + ":  # default: " + s.derived
	case given.text == "" && s.fallback == "":
		return "# " + key + ":  # not set"
	case !utf8.ValidString(given.text):
		return "# " + key + ": not UTF-8, which YAML cannot hold  # " + oneLine(source)
	case s.secret:
		return "# " + key + ": " + redacted + "  # " + oneLine(source)
	case given.where == s.name && s.derived != "":
		source = "default: " + s.derived
	case given.where == s.name:
		source = "default"
	}
	return key + ": " + s.value.yaml(given.text) + "  # " + oneLine(source)
}

// yaml writes a text that the value takes as it stands in a YAML file, on one line.
func (v value) yaml(text string) string {
	node := scalarNode(text)
	switch {
	case v.split != nil:
		node = &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, item := range v.split(text) {
			node.Content = append(node.Content, scalarNode(item))
		}
	case !v.words:
		return text // numbers, durations, sizes, true and false
	}
	line, err := yaml.Dump(node, yaml.WithLineWidth(-1))
	if err != nil {
		return `""` // UTF-8 can be written
	}
	return strings.TrimSuffix(string(line), "\n")
}

func scalarNode(text string) *yaml.Node {
	node := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	if oneLine(text) != text {
		node.Style = yaml.DoubleQuotedStyle
	}
	return node
}

// oneLine is text without what would end a comment or change a terminal.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, text)
}
