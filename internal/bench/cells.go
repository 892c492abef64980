package main

import (
	"fmt"
	"time"
)

// quantity is what is measured of a run.
type quantity int

const (
	rate    quantity = iota // rows a second that the webhook accepted
	cpu                     // processor time a record, in µs
	memory                  // peak resident set, in MiB
	nothing                 // the end of the list
)

// bound is what a cell requires. Either of a ratio's median, or of the highest value that was measured.
type bound struct {
	of              quantity
	absolute        bool
	atLeast, atMost float64 // 0: no bound
}

func (b bound) String() string {
	unit := ""
	if b.absolute {
		unit = " " + b.of.unit()
	}
	if b.atLeast > 0 {
		return fmt.Sprintf("≥ %.2f%s", b.atLeast, unit)
	}
	if b.absolute {
		return fmt.Sprintf("≤ %.0f%s", b.atMost, unit)
	}
	return fmt.Sprintf("≤ %.2f", b.atMost)
}

// met reports whether a value is within the bound.
func (b bound) met(value float64) bool {
	return value >= b.atLeast && (b.atMost == 0 || value <= b.atMost)
}

func (q quantity) unit() string { return [...]string{"records/s", "µs/record", "MiB"}[q] }

// side is one of the two programs that a cell compares, and what it is given.
type side struct {
	name  string
	bare  bool // the bare loop
	flags []string
	load  load
	agify bool
	slow  int // one request in so many takes slowLatency
}

// slowLatency is what a straggler takes.
const slowLatency = 600 * time.Millisecond

// cell is one comparison.
type cell struct {
	name      string
	latency   time.Duration // of the webhook
	inFlight  int
	yardstick side
	measured  side
	limit     float64 // instead of a yardstick: the rate that is possible, computed
	pairs     int     // at most; 0: as many as asked for
	show      []quantity
	bounds    []bound

	idle *idleCell // instead of all else
}

func bareLoop(l load) side { return side{name: "bare loop", bare: true, load: l} }
func pipeline(l load) side { return side{name: "pipeline", load: l} }

// cells is everything that is measured. The numbers of records are for some 6 to 10 s a run on a machine of two cores.
func cells() []cell {
	all := []quantity{rate, cpu, memory}
	var list []cell
	for _, c := range []struct {
		ms, inFlight, records int
		bounds                []bound
	}{
		{0, 64, 300_000, []bound{{of: rate, atLeast: 0.75}, {of: cpu, atMost: 1.5}}},
		{0, 256, 300_000, nil},
		{20, 64, 25_000, []bound{{of: rate, atLeast: 0.97}}},
		{20, 256, 80_000, []bound{{of: rate, atLeast: 0.97}, {of: cpu, atMost: 1.5}}},
		{200, 64, 2_500, []bound{{of: rate, atLeast: 0.97}}},
		{200, 256, 10_000, []bound{{of: rate, atLeast: 0.97}}},
	} {
		l := load{records: c.records}
		list = append(list, cell{
			name: fmt.Sprintf("%dms/%d", c.ms, c.inFlight), latency: time.Duration(c.ms) * time.Millisecond, inFlight: c.inFlight,
			yardstick: bareLoop(l), measured: pipeline(l), show: all, bounds: c.bounds,
		})
	}

	const latency, inFlight = 20 * time.Millisecond, 256
	base := load{records: 80_000}
	beside := func(name string, measured side, show []quantity, bounds ...bound) cell {
		yardstick := pipeline(base)
		yardstick.name = "pipeline, as it is"
		return cell{
			name: "20ms/256 " + name, latency: latency, inFlight: inFlight,
			yardstick: yardstick, measured: measured, show: show, bounds: bounds,
		}
	}
	anyOrder := side{name: "pipeline, order none", load: base, flags: []string{"--consumer.order", "none"}}
	unordered := cell{
		name: "20ms/256 order none", latency: latency, inFlight: inFlight,
		yardstick: bareLoop(base), measured: anyOrder, show: all,
	}
	onKey := load{records: 420, spareEvery: 20}
	share := 1 - 1/float64(onKey.spareEvery)
	backlog := func(records int) side {
		return side{name: fmt.Sprintf("backlog of %d", records), load: load{records: records}}
	}
	large := load{records: 600, bytes: 1<<20 - 4096}
	return append(
		list,
		unordered,
		beside("enrichment", side{name: "ages guessed, cached", load: base, agify: true}, all, bound{of: cpu, atMost: 1.10}),
		beside("poison", side{name: "1 % poison", load: load{records: base.records, poisonEvery: 100}}, all, bound{of: rate, atLeast: 0.95}),
		beside("stragglers", side{name: "0.25 % take 600 ms", load: base, slow: 400}, all, bound{of: rate, atLeast: 0.80}),
		cell{
			name: "20ms/256 one key", latency: latency, inFlight: inFlight,
			measured: side{name: "95 % on one key", load: onKey}, limit: 1 / latency.Seconds() / share, show: []quantity{rate},
		},
		cell{
			name: "memory backlog", inFlight: 64, yardstick: backlog(100_000), measured: backlog(1_000_000), pairs: 3,
			show: []quantity{rate, memory}, bounds: []bound{{of: memory, atMost: 1.10}, {of: memory, absolute: true, atMost: 64}},
		},
		cell{
			name: "memory 1MiB records", inFlight: 64, yardstick: bareLoop(large), measured: pipeline(large),
			show: []quantity{rate, memory},
		},
		cell{name: "idle", idle: &idleCell{
			settle: 10 * time.Second, watch: 30 * time.Second,
			runs: []idleRun{
				{name: "pipeline", partitions: 6, brokers: 3},
				{name: "pipeline", partitions: 200, brokers: 3},
				{name: "pipeline", partitions: 200, brokers: 1},
				{name: "bare loop", bare: true, partitions: 200, brokers: 3},
			},
		}},
	)
}
