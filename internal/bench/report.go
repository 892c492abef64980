package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

const reportHead = "<!-- Written by `make bench`: change internal/bench instead. -->\n\n" + `# Benchmarks

What the guarantees cost: the program beside a bare loop, and beside itself.
`

const reportMethod = `
## How it is measured

Everything runs on one machine, in processes of its own that talk over the loopback interface: a broker (kfake, a Kafka in memory), a
webhook, and the consumer, either the program or the bare loop. Each run has a fresh group and reads the whole topic.

- **The bare loop** is what one writes in an afternoon, and tunes: kafka-go's Reader with a group and a queue of 1,000 messages, whose
  fetches wait half a second at most, as the program's do; commits every second of whatever was read; as many goroutines as there may
  be requests in flight, which post each record's value with net/http over connections that are kept. It does not decode, has no order,
  no retry and no dead letters, and loses records when it stops.
- **The pipeline** is the program as ` + "`make build`" + ` makes it, with its default settings but for addresses, topic, group and
  sink.concurrency, and without guesses of ages where the cell does not say otherwise. Its log goes to a file.
- **Records** are signups of some 330 bytes with 10,000 keys in 6 partitions, in batches of 16 KiB without compression. Both sides of
  a cell read the same ones.
- **The webhook** answers after a set latency. It speaks just enough HTTP to take little of the processor from what is measured.
- **Rate**: accepted rows a second at the webhook, from the first one to the last but one hundredth. (What is left then is decided by
  single slow answers.) Poison is no row, so a cell with 1 % of it cannot be faster than 0.99 if it is bound by the processor.
- **Processor time**: user and system time of the consumer's process from its start to its end, by the number of records.
- **Peak memory**: VmHWM of the consumer's process at the last row.
- **Pairs**: the two sides run in turns, the one that begins alternates. A ratio is taken within each pair; the tables have medians,
  and of the ratios the lowest and the highest too. A bound on a ratio is for the median, one in MiB for the highest value.
- Every run checks that the webhook got each row exactly once and the dead-letter topic all poison.

The name of a cell is the webhook's latency and the number of requests in flight.
`

// writeReport writes everything as Markdown.
func writeReport(w io.Writer, m machine, rows []row) {
	fmt.Fprint(w, reportHead)
	fmt.Fprintf(w, "\n- Machine: %s, %d cores, %s of memory, Linux %s, %s; load average before the start %s\n",
		m.cpu, m.cores, m.memory, m.kernel, m.goVersion, m.load)
	fmt.Fprintf(w, "- Program: %s\n- Date: %s\n- Command: `%s` (%d pairs)\n",
		m.version, m.date.UTC().Format("2006-01-02 15:04 UTC"), m.command(), m.pairs)
	for _, t := range []struct {
		of    quantity
		title string
	}{
		{rate, "Rate"},
		{cpu, "Processor time"},
		{memory, "Peak memory"},
	} {
		writeTable(w, t.of, t.title, slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return !slices.Contains(r.show, t.of) }))
	}
	for _, r := range rows {
		if r.idle != nil {
			writeIdle(w, r)
		}
	}
	fmt.Fprint(w, reportMethod)
}

// writeTable writes the rows' figures of one quantity.
func writeTable(w io.Writer, of quantity, title string, rows []row) {
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(w, "\n## %s, %s\n\n", title, of.unit())
	fmt.Fprintln(w, "| cell | yardstick | | measured | | ratio | lowest … highest | required | |")
	fmt.Fprintln(w, "|---|---|--:|---|--:|--:|---|---|---|")
	for _, r := range rows {
		yardstick, values := r.yardsticks[of], r.values[of]
		ratio := ratios(values, yardstick)
		name := r.yardstick.name
		if r.limit > 0 {
			name = "the limit: one at a time of each key"
		}
		required, verdict := judge(r, of)
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %.3f | %.3f … %.3f | %s | %s |\n",
			r.name, name, figure(yardstick.median()), r.measured.name, figure(values.median()),
			ratio.median(), slices.Min(ratio), slices.Max(ratio), required, verdict)
	}
}

// judge says what is required of a quantity in a cell and whether it is so.
func judge(r row, of quantity) (required, verdict string) {
	var texts []string
	met := true
	for _, b := range r.bounds {
		if b.of != of {
			continue
		}
		texts = append(texts, b.String())
		value := ratios(r.values[of], r.yardsticks[of]).median()
		if b.absolute {
			value = slices.Max(slices.Concat(r.values[of], r.yardsticks[of]))
		}
		met = met && b.met(value)
	}
	return strings.Join(texts, ", "), verdictOf(len(texts) > 0, met)
}

func verdictOf(required, met bool) string {
	switch {
	case !required:
		return ""
	case met:
		return "met"
	default:
		return "**not met**"
	}
}

// figure writes a number with some three digits, and thousands apart.
func figure(v float64) string {
	switch {
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	digits := fmt.Sprintf("%.0f", v)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// writeIdle writes what members without records need. Of the program, connections must not grow with partitions: each broker may
// have one more.
func writeIdle(w io.Writer, r row) {
	fmt.Fprint(w, "\n## Idle\n\nA member alone in its group, whose topic has no records, for ", r.idle.watch, " after ", r.idle.settle, ".\n\n")
	fmt.Fprintln(w, "| | partitions | brokers | connections to brokers, at most | processor, % of a core | required | |")
	fmt.Fprintln(w, "|---|--:|--:|--:|--:|---|---|")
	for _, run := range r.idleRuns {
		required, verdict := "", ""
		if !run.bare {
			required, verdict = judgeIdle(run, r.idleRuns)
		}
		fmt.Fprintf(w, "| %s | %d | %d | %d | %.2f | %s | %s |\n",
			run.name, run.partitions, run.brokers, run.connections, run.cpu, required, verdict)
	}
}

func judgeIdle(run idleRun, all []idleRun) (required, verdict string) {
	required, met := fmt.Sprintf("< %d %%", maxIdleCPU), run.cpu < maxIdleCPU
	for _, few := range all {
		if !few.bare && few.brokers == run.brokers && few.partitions < run.partitions {
			limit := few.connections + run.brokers
			required += fmt.Sprintf(", ≤ %d connections", limit)
			met = met && run.connections <= limit
		}
	}
	return required, verdictOf(true, met)
}
