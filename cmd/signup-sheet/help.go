package main

import (
	"fmt"
	"slices"
	"strings"
)

const helpWidth = 80

const programHelp = `signup-sheet reads signups from a Kafka topic and delivers each as a row to a
webhook that writes a sheet.

Usage:
  signup-sheet command [--name value ...]

Deliver:
  run           deliver signups until stopped
  replay        deliver a time range of them again

Look:
  check         find mistakes before a start does; --online tries brokers and
                endpoints too
  probe         send one test row, and explain the endpoint's answer
  explain       what one record becomes, step by step; sends nothing
  config        the settings in effect, and where each comes from

Help:
  completion    the script that completes commands and flags in a shell
  version       what this binary was built from
  help          this text, or that of a command: signup-sheet help run

Examples:
  signup-sheet check --online --config signup-sheet.yaml
  signup-sheet run --config signup-sheet.yaml

Exit codes:
  0  fine
  1  failed
  2  wrong usage or configuration
  3  finished, but some rows were dead-lettered
`

const runHelpHead = `Reads signups from Kafka and delivers each as a row to the webhook of a sheet.
Progress is committed only after the webhook accepted the row; a record that can
never be delivered goes to the dead-letter topic. SIGTERM or SIGINT (Ctrl-C)
finishes the rows under way, then stops; a second one stops at once, and those
rows are sent again by the next start.

Usage:
  signup-sheet run [--name value ...]

A setting is given by a flag, by an environment variable or in the YAML file
that --config names; the first of them counts. For the setting kafka.topic:
  flag         --kafka.topic events
  environment  SIGNUP_SHEET_KAFKA_TOPIC=events
  file         kafka:
                 topic: events
Durations have a unit (500ms, 10s, 1m), sizes may have one (1MiB, 512KiB, 1MB).

Examples:
  SHEETS_WEBHOOK_URL=https://... signup-sheet run --kafka.brokers kafka-1:9092
  signup-sheet run --config signup-sheet.yaml --log.level debug

Settings:
`

const versionHelp = `Prints the version, the version of Go and the commit that this binary was built
from.

Usage:
  signup-sheet version

Example:
  signup-sheet version | head -n 1
`

const replayHelpHead = `Delivers the signups of a time range once more, through the same steps as run,
in a group of its own: beside the consumer, and without touching its progress.
Rows keep their event ids. It ends when the range is delivered; after an
interruption, the same command goes on where it stopped.

Usage:
  signup-sheet replay --from time --to time [--name value ...]

The range is that of the records' timestamps. Partitions are read from the first
record that is not older than --from up to where they end at the start, because
timestamps need not be in order; what is not of the range is skipped. The group
is <kafka.group>.replay.[<name>.]<hash of topic, from and to>: another range, or
another --name, never goes on from this one's position. A range that is finished
is not sent again under the same name. Several processes share the partitions;
each ends when all of the range is done. 24h and now are taken when it starts:
for what may be started again, such as a Kubernetes Job, write the times out.

A dry run needs no group and sends nothing. It counts what would become of the
records and prints three rows to standard output: personal data.

Exit codes:
  0  finished
  1  failed, or interrupted before the end
  2  wrong usage or configuration
  3  finished, but some rows were dead-lettered

Examples:
  signup-sheet replay --from 2026-11-01 --to 2026-11-02 --dry-run
  signup-sheet replay --from 2026-11-01T08:00+01:00 --to 2026-11-02 --rate 50/s
  signup-sheet replay --config prod.yaml --from 24h --to now --name again

All settings of run are flags, variables and keys of the file here too (see
signup-sheet run --help); consumer.start does not count.

Settings:
`

// runHelp is the help of the command run, with every setting.
func runHelp() string { return runHelpHead + settingsHelp("run") }

// replayHelp is the help of the command replay.
func replayHelp() string { return replayHelpHead + settingsHelp("replay") }

// ownFlags lists the flags that only a command has.
func ownFlags(command string) string {
	var c config
	return listing(slices.DeleteFunc(settingsOf(command, &c), func(s setting) bool { return s.only == "" }))
}

// settingsHelp lists the settings of a command.
func settingsHelp(command string) string {
	var c config
	return listing(settingsOf(command, &c))
}

// listing is the settings with a heading for each group, names on the left.
func listing(settings []setting) string {
	width := 0
	for _, s := range settings {
		width = max(width, len(s.flag()))
	}
	var help strings.Builder
	group := settings[0].group()
	for _, s := range settings {
		if s.group() != group {
			group = s.group()
			help.WriteString("\n")
			if strings.HasPrefix(s.name, group+".") {
				help.WriteString(group + "\n")
			}
		}
		name := s.flag()
		for _, line := range append(wrap(s.help, helpWidth-width-4), wrap(s.details(), helpWidth-width-4)...) {
			fmt.Fprintf(&help, "  %-*s  %s\n", width, name, line)
			name = ""
		}
	}
	return help.String()
}

// details is the unit and the default: "(duration, default 10s)".
func (s setting) details() string {
	details := s.value.unit
	switch {
	case s.derived != "":
		details += ", default " + s.derived
	case s.fallback != "":
		details += ", default " + s.fallback
	}
	return "(" + details + ")"
}

// wrap breaks text between words into lines of at most width bytes.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}
