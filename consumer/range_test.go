package consumer

import (
	"slices"
	"testing"
	"time"
)

// ranged is a window of a replay of [1000, 2000) ms that ends at end.
func ranged(start, end int64, candidates ...completions) *window {
	w := newWindow(0, 1, true, position{offset: start}, candidates...)
	w.end, w.only = end, &Range{From: time.UnixMilli(1000), To: time.UnixMilli(2000)}
	return w
}

func at(offset, ms int64) record { return record{offset: offset, time: ms, value: []byte("{}")} }

func TestWindowOfAReplayTakesItsRangeUpToItsEnd(t *testing.T) {
	w := ranged(0, 6)
	got := w.take([]record{at(0, 999), at(1, 1000), at(2, 2000), at(4, 1999), at(6, 1500), at(7, 1500)}, 8, 100, 1<<20)
	var taken []int64
	for _, e := range got.ready {
		taken = append(taken, e.offset)
	}
	if !slices.Equal(taken, []int64{1, 4}) || got.records != 2 || got.skipped != 2 || w.skipped != 2 {
		t.Errorf("took %v: %+v", taken, got)
	}
	if w.watermark() != 1 {
		t.Errorf("watermark %d, want 1", w.watermark())
	}
	settleAll(w, got.ready)
	if next, room := w.room(100, 1<<20); next != 6 || w.watermark() != 6 || !room {
		t.Errorf("next %d, watermark %d, want the end, 6", next, w.watermark())
	}
	if lost := w.jump(50); lost != 0 || w.watermark() != 6 {
		t.Errorf("%d lost behind the end, watermark %d", lost, w.watermark())
	}
	if w := ranged(2, 6); w.jump(50) != 4 || w.watermark() != 6 {
		t.Errorf("watermark %d after retention removed everything, want 6", w.watermark())
	}
}

// What a commit of a replay says in each state of the window: where it ends.
func TestCommitsOfAReplaySayWhereItEnds(t *testing.T) {
	says := func(what string, w *window, offset int64) {
		t.Helper()
		pos := w.position(maxMetadata)
		c, err := decodeCompletions(pos.metadata, 1, pos.offset)
		if err != nil || pos.offset != offset || !c.ends || c.end != 6 {
			t.Errorf("%s: %d, %+v, %v", what, pos.offset, c, err)
		}
	}
	w := ranged(0, 6)
	says("nothing was taken", w, 0)
	got := w.take([]record{at(0, 1000), at(1, 1000), at(2, 1000)}, 3, 100, 1<<20)
	settleAll(w, got.ready[1:])
	says("one is unsettled", w, 0)
	says("all that was taken is settled, and more beyond", func() *window {
		w := ranged(0, 6, completions{base: 0, time: 1000, done: spans{{1, 5}}})
		settleAll(w, w.take([]record{at(0, 1000)}, 1, 100, 1<<20).ready)
		return w
	}(), 0)
	settleAll(w, got.ready[:1])
	says("all is settled", w, 3)
	w.take(nil, 6, 100, 1<<20)
	says("at the end", w, 6)

	// Candidates are dropped at the end: no record will judge them, and they must not hold the position back.
	w = ranged(3, 6, completions{base: 3, time: 1000, done: spans{{4, 5}}})
	w.take([]record{at(7, 1500)}, 8, 100, 1<<20)
	says("only gaps were left", w, 6)

	if text := (completions{base: 4, ends: true}).encode(1, maxMetadata); text == "" {
		t.Error("an end of 0 is an end")
	}
	if w := newWindow(0, 1, true, position{}); w.position(maxMetadata).metadata != "" {
		t.Error("metadata without topic, end and completions")
	}
}

// A process that had a later end, and lost it to the commits of another, remembers
// what it saw settled beyond the end that counts.
func TestWhatIsKnownBeyondTheEndOfAReplayDoesNotHoldItBack(t *testing.T) {
	w := ranged(0, 6, completions{base: 0, time: 1000, done: spans{{1, 9}}})
	settleAll(w, w.take([]record{at(0, 1000), at(1, 1000), at(2, 1000), at(3, 1000), at(4, 1000), at(5, 1000), at(6, 1000)}, 7, 100, 1<<20).ready)
	if pos := w.position(maxMetadata); pos.offset != 6 {
		t.Errorf("commits %d, want the end, 6", pos.offset)
	}
}
