package consumer

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// naive is the window as one would write it without a care for speed: a set of
// all offsets below next that are not settled.
type naive struct {
	unsettled map[int64]bool
	next      int64
}

func (n *naive) watermark() int64 {
	if len(n.unsettled) == 0 {
		return n.next
	}
	return slices.Min(slices.Collect(maps.Keys(n.unsettled)))
}

func (n *naive) settledAbove(from int64) map[int64]bool {
	s := map[int64]bool{}
	for o := from; o < n.next; o++ {
		if !n.unsettled[o] {
			s[o] = true
		}
	}
	return s
}

func offsets(s spans) map[int64]bool {
	set := map[int64]bool{}
	for _, r := range s {
		for o := r.from; o < r.to; o++ {
			set[o] = true
		}
	}
	return set
}

// FuzzWatermark drives a window and the naive model with the same random takes
// (with gaps, keys and restored completions) and settles in any order, and
// requires the same watermark and completions after each, order per key, and
// that a crash at any moment loses nothing and repeats only what was unsettled.
func FuzzWatermark(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		from := int64(rnd.IntN(50))
		w := newWindow(3, place("c", "t", 3), true, position{offset: from})
		model := &naive{unsettled: map[int64]bool{}, next: from}
		log := map[int64]record{}
		var ready []*entry
		lastOfKey := map[string]int64{}

		for range 150 {
			if rnd.IntN(3) == 0 { // a fetch
				var batch []record
				o := model.next
				for range rnd.IntN(20) {
					o += int64(rnd.IntN(3)) // a gap now and then
					r := record{offset: o, time: 1000 + o}
					if k := rnd.IntN(6); k > 0 {
						r.key = []byte{byte(k)}
					}
					batch = append(batch, r)
					o++
				}
				next := o + int64(rnd.IntN(2))
				got := w.take(batch, next, 1<<20, 1<<40)
				for _, r := range batch {
					model.unsettled[r.offset] = true
					log[r.offset] = r
				}
				model.next = next
				ready = append(ready, got.ready...)
			} else if len(ready) > 0 { // a settle, out of order
				i := rnd.IntN(len(ready))
				e := ready[i]
				ready = slices.Delete(ready, i, i+1)
				if e.key != nil {
					if last, ok := lastOfKey[string(e.key)]; ok && last > e.offset {
						t.Fatalf("key %v: offset %d was ready after %d", e.key, e.offset, last)
					}
					lastOfKey[string(e.key)] = e.offset
				}
				delete(model.unsettled, e.offset)
				if follower := w.settle(e); follower != nil {
					ready = append(ready, follower)
				}
			}
			if got, want := w.watermark(), model.watermark(); got != want {
				t.Fatalf("watermark %d, want %d", got, want)
			}
			if got, want := offsets(w.settled(w.watermark())), model.settledAbove(w.watermark()); !maps.Equal(got, want) {
				t.Fatalf("settled %v, want %v", got, want)
			}
			restart(t, w, model, log, rnd)
		}
		// Every chain came to its end: what is ready settles all.
		for len(ready) > 0 {
			e := ready[0]
			ready = ready[1:]
			if follower := w.settle(e); follower != nil {
				ready = append(ready, follower)
			}
		}
		if w.count != 0 || w.bytes != 0 || len(w.chains) != 0 || w.watermark() != model.next {
			t.Fatalf("after all: %d records, %d bytes, %d chains, watermark %d of %d", w.count, w.bytes, len(w.chains), w.watermark(), model.next)
		}
	})
}

// restart commits, crashes and takes the log again from the commit.
func restart(t *testing.T, w *window, model *naive, log map[int64]record, rnd *rand.Rand) {
	t.Helper()
	pos := w.position(maxMetadata)
	if pos.offset != model.watermark() {
		t.Fatalf("commits %d, want %d", pos.offset, model.watermark())
	}
	meta, err := decodeCompletions(pos.metadata, w.place, pos.offset)
	if err != nil {
		t.Fatal(err)
	}
	again := newWindow(3, w.place, true, pos, meta)
	var rest []record
	for _, o := range slices.Sorted(maps.Keys(log)) {
		if o >= pos.offset {
			rest = append(rest, log[o])
		}
	}
	if cut := rnd.IntN(len(rest) + 1); cut > 0 { // in two fetches
		again.take(rest[:cut], rest[cut-1].offset+1, 1<<20, 1<<40)
	}
	again.take(rest, model.next, 1<<20, 1<<40)
	redo := map[int64]bool{}
	for e := again.first; e != nil; e = e.succ {
		redo[e.offset] = true
	}
	if !maps.Equal(redo, model.unsettled) {
		t.Fatalf("after a crash %v are delivered again, want %v", redo, model.unsettled)
	}
}

func records(key string, from, to int64) []record {
	var rs []record
	for o := from; o < to; o++ {
		r := record{offset: o, time: o * 10, value: []byte("v")}
		if key != "" {
			r.key = []byte(key)
		}
		rs = append(rs, r)
	}
	return rs
}

func settleAll(w *window, entries []*entry) {
	for _, e := range entries {
		w.settle(e)
	}
}

func TestWindowIsBoundedInUnsettledRecordsNotInSpan(t *testing.T) {
	w := newWindow(0, 1, true, position{})
	stuck := w.take(records("", 0, 1), 1, 100, 1<<30).ready[0]
	for o := int64(1); o < 1_000_000; o += 50 {
		if _, room := w.room(100, 1<<30); !room {
			t.Fatalf("no room at offset %d behind one stuck record", o)
		}
		settleAll(w, w.take(records("", o, o+50), o+50, 100, 1<<30).ready)
	}
	if w.watermark() != 0 || w.count != 1 {
		t.Fatalf("watermark %d, %d unsettled", w.watermark(), w.count)
	}
	meta, err := decodeCompletions(w.position(maxMetadata).metadata, 1, 0)
	if err != nil || meta.done.count() < 999_999 {
		t.Fatalf("completions %d, %v", meta.done.count(), err)
	}
	w.settle(stuck)
	if w.watermark() < 999_999 {
		t.Fatalf("watermark %d", w.watermark())
	}
}

func TestWindowTakesNoMoreThanItsLimitsAndAlwaysOne(t *testing.T) {
	w := newWindow(0, 1, false, position{})
	if got := w.take(records("", 0, 500), 500, 100, 1<<30); got.records != 100 || w.next != 100 {
		t.Fatalf("took %d, next %d", got.records, w.next)
	}
	w = newWindow(0, 1, false, position{})
	if got := w.take(records("", 0, 500), 500, 100, 1); got.records != 1 || w.next != 1 {
		t.Fatalf("took %d of too large records, next %d", got.records, w.next)
	}
	one := records("", 0, 1)[0]
	w = newWindow(0, 1, false, position{})
	if got := w.take(records("", 0, 500), 500, 100, 10*one.size()); got.records != 10 {
		t.Fatalf("took %d records into room for 10", got.records)
	}
}

func TestNullKeysHaveNoOrderAndEmptyKeysAreAKey(t *testing.T) {
	w := newWindow(0, 1, true, position{})
	null := []record{{offset: 0}, {offset: 1}}
	if got := w.take(null, 2, 10, 1<<20); len(got.ready) != 2 {
		t.Fatalf("%d of 2 records without a key are ready", len(got.ready))
	}
	empty := []record{{offset: 2, key: []byte{}}, {offset: 3, key: []byte{}}}
	if got := w.take(empty, 4, 10, 1<<20); len(got.ready) != 1 {
		t.Fatalf("%d records with an empty key are ready at once", len(got.ready))
	}
	w = newWindow(0, 1, false, position{})
	if got := w.take(records("k", 0, 5), 5, 10, 1<<20); len(got.ready) != 5 {
		t.Fatalf("order none: %d of 5 are ready", len(got.ready))
	}
}

func TestMetadataOfAnotherLogSkipsNothing(t *testing.T) {
	old := completions{base: 5, time: 50, done: spans{{6, 9}}}
	for name, log := range map[string][]record{
		"the record has another time":   {{offset: 5, time: 51}, {offset: 6, time: 60}},
		"the record is not there":       {{offset: 6, time: 60}, {offset: 7, time: 70}},
		"the log begins further behind": {{offset: 8, time: 80}},
	} {
		w := newWindow(0, 1, true, position{offset: 5}, old)
		if got := w.take(log, 9, 10, 1<<20); got.records != len(log) || got.restored != 0 || got.ignored != 1 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	w := newWindow(0, 1, true, position{offset: 5}, old)
	if got := w.take(records("", 5, 9), 9, 10, 1<<20); got.records != 1 || got.restored != 3 {
		t.Errorf("the same log: %+v", got)
	}
}

func TestWhatWasAcceptedStaysKnownWhenNoCommitLanded(t *testing.T) {
	w := newWindow(0, 1, true, position{offset: 10})
	first := w.position(maxMetadata) // committed at once, before anything was seen
	got := w.take(records("", 10, 20), 20, 100, 1<<20)
	w.position(maxMetadata)
	settleAll(w, got.ready[:7])
	w.position(maxMetadata) // these two did not land
	late := got.ready[8]
	m := w.close()
	w.settle(late) // accepted while the session ended

	known, ok := m.at(first.offset)
	if !ok {
		t.Fatal("nothing is known of the committed offset")
	}
	next := newWindow(0, 1, true, first, known)
	again := next.take(records("", 10, 20), 20, 100, 1<<20)
	var redo []int64
	for _, e := range again.ready {
		redo = append(redo, e.offset)
	}
	if !slices.Equal(redo, []int64{17, 19}) {
		t.Fatalf("delivered again: %v", redo)
	}
	// And through a session that saw nothing, and one in which the log changed.
	idle := newWindow(0, 1, true, first, known)
	if idle.close() != nil {
		t.Fatal("a session that saw nothing forgot what was known")
	}
	other := newWindow(0, 1, true, first, known)
	changed := records("", 10, 20)
	changed[0].time++
	if got := other.take(changed, 20, 100, 1<<20); got.restored != 0 {
		t.Fatalf("%d records of another log are skipped", got.restored)
	}
	// Another member had the partition meanwhile, and left it at a record that this process had seen accepted.
	known, _ = m.at(12)
	third := newWindow(0, 1, true, position{offset: 12}, known)
	if got := third.take(records("", 12, 20), 20, 100, 1<<20); got.restored != 6 {
		t.Fatalf("%d records are known to be settled from offset 12 on, want 12 to 16 and 18", got.restored)
	}
	if _, ok := m.at(20); ok {
		t.Fatal("something is known of records that were never seen")
	}
}

// What is known to be settled above the position is committed too while the fetch has not passed it.
func TestEverythingTakenIsCommittedBeforeTheFetchHasPassedWhatWasRestored(t *testing.T) {
	start := completions{base: 10, time: 100, done: spans{{12, 15}, {16, 17}}}
	w := newWindow(0, 1, true, position{offset: 10, metadata: start.encode(1, maxMetadata)}, start)
	got := w.take(records("", 10, 12), 12, 100, 1<<20)
	settleAll(w, got.ready)
	c, err := decodeCompletions(w.position(maxMetadata).metadata, 1, 11)
	if err != nil || !slices.Equal(c.done, spans{{11, 15}, {16, 17}}) || c.time != 110 {
		t.Errorf("commits %+v, %v, want what is settled from offset 11 on", c, err)
	}
	again := newWindow(0, 1, true, position{offset: 11}, c)
	if got := again.take(records("", 11, 18), 18, 100, 1<<20); got.restored != 5 {
		t.Errorf("%d records are passed over, want 11 to 14 and 16", got.restored)
	}
	w.acknowledged()
	if m, ok := w.close().at(11); !ok || !slices.Equal(m.done, spans{{11, 15}, {16, 17}}) {
		t.Errorf("remembers %+v, want offset 11 too", m)
	}
}

// What was restored is over once it was passed, also where the window got full just behind it.
func TestAFullWindowBehindWhatWasRestoredMovesOn(t *testing.T) {
	w := newWindow(0, 1, true, position{offset: 10}, completions{base: 10, time: 100, done: spans{{12, 15}}})
	got := w.take(records("", 10, 20), 20, 3, 1<<20)
	settleAll(w, got.ready)
	if pos := w.position(maxMetadata); pos.offset != 16 || got.restored != 3 {
		t.Errorf("commits %+v with %d passed over, want offset 16 with 3", pos, got.restored)
	}
}

func TestPositionKeepsUnverifiedMetadataAsItIs(t *testing.T) {
	c := completions{base: 5, time: 50, done: spans{{6, 9}}}
	start := position{offset: 5, metadata: c.encode(1, maxMetadata)}
	w := newWindow(0, 1, true, start, c)
	if got := w.position(maxMetadata); got != start {
		t.Fatalf("commits %+v before the first fetch, want %+v", got, start)
	}
}

func TestRestartGoesBackOnlyWhileNothingWasTaken(t *testing.T) {
	w := newWindow(0, 1, true, position{offset: 1000})
	if !w.restart(0) || w.watermark() != 0 {
		t.Fatalf("watermark %d", w.watermark())
	}
	w.take(records("", 0, 3), 3, 10, 1<<20)
	if w.restart(1) {
		t.Fatal("went back over records that were taken")
	}
	if w.jump(50); w.watermark() != 0 || w.next != 50 {
		t.Fatalf("watermark %d, next %d", w.watermark(), w.next)
	}
}

// A log that was cut below the position has other records at the same offsets.
func TestNothingIsRememberedOfALogThatWasCut(t *testing.T) {
	w := newWindow(0, 1, true, position{offset: 10})
	w.position(maxMetadata)
	w.acknowledged()
	settleAll(w, w.take(records("", 10, 30), 30, 100, 1<<20).ready) // no commit lands
	if w.restart(0) {
		t.Fatal("went back over records that were taken")
	}
	if _, ok := w.close().at(10); ok || !w.stale {
		t.Errorf("something is believed of it; stale %t", w.stale)
	}
}

func TestTheRecordThatAnAcknowledgedCommitIsBoundToIsRemembered(t *testing.T) {
	start := completions{base: 10, time: 100, done: spans{{12, 15}}}
	w := newWindow(0, 1, true, position{offset: 10, metadata: start.encode(1, maxMetadata)}, start)
	settleAll(w, w.take(records("", 10, 12), 12, 100, 1<<20).ready)
	pos := w.position(maxMetadata) // bound to 11
	w.acknowledged()
	settleAll(w, w.take(records("", 12, 30), 30, 100, 1<<20).ready)
	w.position(maxMetadata) // never lands
	own, ok := w.close().at(pos.offset)
	if !ok {
		t.Fatal("nothing is known of it")
	}
	next := newWindow(0, 1, true, pos, own)
	if again := next.take(records("", pos.offset, 30), 30, 100, 1<<20); again.records != 0 {
		t.Errorf("%d records are sent again that this process saw accepted", again.records)
	}
}

func TestStampsAreBoundedWhileNoCommitLands(t *testing.T) {
	w := newWindow(0, 1, true, position{})
	for o := int64(0); o < 3*maxFresh; o += 100 {
		settleAll(w, w.take(records("", o, o+100), o+100, 100, 1<<20).ready)
	}
	if n := len(w.fresh); n > maxFresh {
		t.Errorf("%d stamps, want at most %d", n, maxFresh)
	}
	w.position(maxMetadata)
	w.acknowledged()
	if len(w.fresh) != 0 {
		t.Errorf("%d stamps after the acknowledgement", len(w.fresh))
	}
}

func FuzzCommitMetadata(f *testing.F) {
	f.Add("", int64(0), uint32(0))
	f.Add(completions{base: 7, time: 99, done: spans{{9, 12}, {20, 21}}}.encode(4, maxMetadata), int64(7), uint32(4))
	f.Add("AQAAAAEB", int64(1), uint32(1))
	f.Add(completions{base: 7, time: 99, ends: true, end: 30, letters: 5, done: spans{{9, 12}}}.encode(4, maxMetadata), int64(7), uint32(4))
	f.Fuzz(func(t *testing.T, text string, offset int64, id uint32) {
		c, err := decodeCompletions(text, id, offset)
		if err != nil || text == "" {
			return
		}
		end := offset - 1 // it may be among them
		for _, s := range c.done {
			if s.from <= end || s.to <= s.from {
				t.Fatalf("spans %v above %d", c.done, offset)
			}
			end = s.to
		}
		back, err := decodeCompletions(c.encode(id, maxMetadata), id, offset)
		if (len(c.done) > 0 || c.ends) && (err != nil || back.time != c.time || back.ends != c.ends || back.end != c.end) {
			t.Fatalf("%+v does not survive: %+v, %v", c, back, err)
		}
	})
}

func TestCommitMetadataKeepsTheNearestCompletionsThatFit(t *testing.T) {
	c := completions{base: 1 << 40, time: time.Now().UnixMilli()}
	for i := range int64(4096) {
		c.done = append(c.done, span{c.base + 2 + 3*i, c.base + 3 + 3*i})
	}
	text := c.encode(7, maxMetadata)
	if len(text) > maxMetadata || len(text) < maxMetadata-8 {
		t.Fatalf("%d characters", len(text))
	}
	got, err := decodeCompletions(text, 7, c.base)
	if err != nil || got.time != c.time {
		t.Fatalf("%+v, %v", got, err)
	}
	if n := len(got.done); n < 1000 || !slices.Equal(got.done, c.done[:n]) {
		t.Fatalf("%d spans, first %v", n, got.done[0])
	}
	if got := c.encode(7, 10); got != "" {
		t.Fatalf("no room, but %q", got)
	}
}

func TestForeignAndStaleCommitMetadataIsTurnedDown(t *testing.T) {
	c := completions{base: 7, time: 99, done: spans{{9, 12}}}
	text := c.encode(4, maxMetadata)
	flip := []byte(text)
	flip[10] = map[bool]byte{true: 'B', false: 'A'}[flip[10] == 'A']
	for name, tc := range map[string]struct {
		text   string
		place  uint32
		offset int64
		want   error
	}{
		"another tool's":     {"offset commit by hand", 4, 7, errMetadataForeign},
		"another version":    {"B" + text[1:], 4, 7, errMetadataForeign},
		"a flipped bit":      {string(flip), 4, 7, errMetadataCorrupt},
		"cut off":            {text[:len(text)-4], 4, 7, errMetadataCorrupt},
		"of another topic":   {text, 5, 7, errMetadataPlace},
		"of an older offset": {text, 4, 8, errMetadataBase},
		"of a higher offset": {text, 4, 6, errMetadataBase},
	} {
		if _, err := decodeCompletions(tc.text, tc.place, tc.offset); err != tc.want { //nolint:errorlint // sentinels as they are
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
	if place("c", "t", 1) == place("c", "t", 11) || place("c", "t", 1) == place("d", "t", 1) || place("c", "t", 1) == place("c", "u", 1) {
		t.Error("places share a hash")
	}
}

func FuzzSpans(f *testing.F) {
	f.Add([]byte{1, 3, 2, 9, 4, 4})
	f.Fuzz(func(t *testing.T, ops []byte) {
		var s spans
		model := map[int64]bool{}
		for i := 0; i+1 < len(ops); i += 2 {
			a, b := int64(ops[i]%64), int64(ops[i+1]%64)
			if ops[i] >= 192 {
				s.cut(a)
				maps.DeleteFunc(model, func(o int64, _ bool) bool { return o < a })
				continue
			}
			s.add(a, b)
			for o := a; o < b; o++ {
				model[o] = true
			}
		}
		if !maps.Equal(offsets(s), model) || s.count() != int64(len(model)) {
			t.Fatalf("%v, want %v", s, slices.Sorted(maps.Keys(model)))
		}
		for i := 1; i < len(s); i++ {
			if s[i].from <= s[i-1].to {
				t.Fatalf("%v touch", s)
			}
		}
		for o := range int64(70) {
			if s.has(o) != model[o] {
				t.Fatalf("has(%d) = %v in %v", o, s.has(o), s)
			}
		}
	})
}
