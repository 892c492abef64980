package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// number writes thousands apart: 1,000.
func number(n int) string { return message.NewPrinter(language.English).Sprint(n) }

// table lines up names and what they name.
func table(indent string, lines [][2]string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, line := range lines {
		fmt.Fprintf(w, "%s%s\t%s\n", indent, line[0], line[1])
	}
	_ = w.Flush() // a strings.Builder never fails
	return strings.TrimRight(b.String(), "\n")
}

// summary is what happened, as a table. trouble says what went wrong on purpose.
func (d *demo) summary(began time.Time, trouble string) string {
	counts, state, written := d.ledger.counts(), d.receiver.State(), d.sheet.state()
	var b strings.Builder
	line := func(name string, n int, remark string) {
		fmt.Fprintln(&b, strings.TrimRight(fmt.Sprintf("  %-22s %9s   %s", name, number(n), remark), " "))
	}
	line("records published", counts.published, "in "+time.Since(began).Round(100*time.Millisecond).String())
	line("rows in the sheet", state.Rows, rate(state.Rows, written.last.Sub(began)))
	line("  with an age", written.ages, "guessed from the first name")
	line("duplicates refused", state.Duplicates(), duplicates(state.Duplicates(), counts.repeated))
	line("dead letters", counts.deadLetters, "in "+deadLetterTopic)
	for _, r := range sortedReasons(counts.reasons) {
		line("  "+r.class, counts.reasons[r], r.text)
	}
	line("tombstones skipped", counts.tombstones, "")
	line("requests to the sheet", state.Attempts, trouble)
	line("  retries", state.Attempts-state.Accepted, "")
	fmt.Fprintf(&b, "\n  the sheet is in %s", d.opts.csv)
	return b.String()
}

// rate is how fast rows came, from the first record published to the last row accepted.
func rate(rows int, took time.Duration) string {
	if rows == 0 || took <= 0 {
		return ""
	}
	return number(int(float64(rows)/took.Seconds())) + " a second"
}

// duplicates says where they come from.
func duplicates(refused, published int) string {
	switch {
	case refused == 0:
		return ""
	case refused == published:
		return "published twice, recognised by event id"
	case published == 0:
		return "sent again after a kill, recognised by event id"
	default:
		return fmt.Sprintf("%s published twice, %s sent again by the consumer", number(published), number(refused-published))
	}
}

func sortedReasons(reasons map[reason]int) []reason {
	return slices.SortedFunc(maps.Keys(reasons), func(a, b reason) int {
		return cmp.Or(cmp.Compare(a.class, b.class), cmp.Compare(reasons[b], reasons[a]), cmp.Compare(a.text, b.text))
	})
}
