package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf16"

	"signup-sheet/consumer"
	"signup-sheet/consumer/signup"
)

// title says which range of which topic.
func title(cfg config) string {
	return fmt.Sprintf("%s from %s to %s", cfg.Kafka.Topic, formatMoment(cfg.Replay.From), formatMoment(cfg.Replay.To))
}

// summary is what a process did for a replay, in lines for a person.
func summary(cfg config, group string, p consumer.Progress, took time.Duration) string {
	if p.Before {
		return fmt.Sprintf("replay of %s: finished already, nothing was sent now\n  group  %s\n  to send the rows again, give the replay another --name\n", title(cfg), group)
	}
	var b strings.Builder
	end := "finished"
	if !p.Finished {
		end = fmt.Sprintf("interrupted at %d%%", percent(p))
	}
	fmt.Fprintf(&b, "replay of %s: %s after %s\n", title(cfg), end, short(took.Round(time.Second)))
	line := func(what string, n int64, note string) {
		fmt.Fprintf(&b, "  %-30s %10d%s\n", what, n, note)
	}
	line("rows sent by this process", p.Sent, "")
	deadLetters := ""
	if p.AllDeadLetters > 0 {
		deadLetters = "  in " + cfg.DeadLetter.Topic
	}
	line("dead letters of all of it", p.AllDeadLetters, deadLetters)
	line("skipped: not of the range", p.OutsideRange, "")
	line("skipped: tombstones", p.Tombstones, "")
	if p.Restored > 0 {
		line("known to be sent before", p.Restored, "")
	}
	if p.Lost > 0 {
		line("removed by retention meanwhile", p.Lost, "  offsets")
	}
	b.WriteString(cutNote(p.Cut))
	fmt.Fprintf(&b, "  group %s\n", group)
	return b.String()
}

// cutNote says where retention may have removed a part of the range.
func cutNote(partitions []int32) string {
	if len(partitions) == 0 {
		return ""
	}
	return fmt.Sprintf("  in %d partitions (%s) the log begins within the range or after it: what retention removed before is missing\n",
		len(partitions), strings.Trim(fmt.Sprint(partitions), "[]"))
}

// report is what a dry run found, in lines for a person.
func report(cfg config, p *consumer.Preview) string {
	var b strings.Builder
	fmt.Fprintf(&b, "dry run of a replay of %s: nothing was sent\n\n", title(cfg))
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(table, "partition\trows\tdead letters\ttombstones\tnot of the range\t")
	var total consumer.PartitionPreview
	classes := map[signup.Class]int64{}
	var deadLetters, lost int64
	var cut []int32
	for _, part := range p.Partitions {
		var dead int64
		for class, n := range part.DeadLetters {
			classes[class] += n
			dead += n
		}
		_, _ = fmt.Fprintf(table, "%d\t%d\t%d\t%d\t%d\t\n", part.Partition, part.Rows, dead, part.Tombstones, part.OutsideRange)
		total.Rows += part.Rows
		total.Tombstones += part.Tombstones
		total.OutsideRange += part.OutsideRange
		deadLetters += dead
		lost += part.Lost
		if part.Cut {
			cut = append(cut, part.Partition)
		}
	}
	_, _ = fmt.Fprintf(table, "all\t%d\t%d\t%d\t%d\t\n", total.Rows, deadLetters, total.Tombstones, total.OutsideRange)
	_ = table.Flush() // a strings.Builder does not fail
	b.WriteString("\n")
	for _, class := range slices.Sorted(maps.Keys(classes)) {
		fmt.Fprintf(&b, "  dead letters of class %s: %d\n", class, classes[class])
	}
	if lost > 0 {
		fmt.Fprintf(&b, "  retention removed %d offsets before they were read\n", lost)
	}
	b.WriteString(cutNote(cut))
	b.WriteString("  not known before: which rows the endpoint refuses, and ages (null here)\n")
	if len(p.Rows) > 0 {
		fmt.Fprintf(&b, "\nthe first rows (personal data):\n")
	}
	for _, row := range p.Rows {
		b.WriteString(printable(row) + "\n")
	}
	return b.String()
}

// printable is JSON in one line that a terminal takes for text only.
func printable(json []byte) string {
	var b strings.Builder
	for _, r := range string(json) {
		switch {
		case r == '\n' || r == '\r' || r == '\t': // between values; within a string they are escaped
			b.WriteByte(' ')
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			for _, unit := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&b, `\u%04x`, unit)
			}
		}
	}
	return b.String()
}
