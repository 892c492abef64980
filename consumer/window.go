package consumer

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// window holds what one session took of one partition and has not settled yet.
//
// The unsettled records form a list in offset order, so whatever else lies
// below next is settled: by us, by a rule, or because no such offset exists
// (logs have gaps). The watermark is the first of the list, and it can be
// followed by any number of settled offsets without growing: one stuck record
// costs one element, not the span behind it.
type window struct {
	partition int32
	place     uint32
	topic     uint32 // short id of the topic that the log is of; 0 if it is not known
	end       int64  // what lies at or above it is not taken; noEnd for a log that is read for ever
	only      *Range // other records are skipped; nil: none are
	ordered   bool   // order: key
	seed      maphash.Seed

	mu    sync.Mutex
	first *entry // unsettled, ascending
	last  *entry
	count int
	bytes int64
	next  int64 // the offset to fetch next; all below it was taken or does not exist

	skipped int64 // records that only leaves out
	lost    int64 // offsets that retention removed before they were taken

	// chains has the youngest unsettled record of each key. Keys are hashed: two
	// keys that collide wait for each other, which is harmless.
	chains map[uint64]*entry

	// restored has offsets at or above next that are known to be settled. It is
	// filled from the candidates when the first record was fetched and proved
	// them to speak of this log.
	restored   spans
	candidates []completions

	// committed is what was last handed out for a commit; fresh are the records
	// settled since the last acknowledged one, of which the first told were so when
	// that commit was handed out.
	committed position
	fresh     []stamp
	told      int
	bound     stamp // what that commit is bound to, if it is one of those; the zero stamp if not
	acked     stamp // the same of the last acknowledged one

	// stale: the log ended below the position, so that what is committed, and what
	// is remembered, is of another log. restarted: the window begins with the new
	// one, and cured: the commit just handed out does so too.
	stale, restarted, cured bool

	letters int64   // dead letters, those before the session too if it is a replay's
	from    int64   // where the session began
	touched bool    // a record was seen since
	newest  stamp   // the last one
	memory  *memory // set when the session is over: where late settles go
}

// entry is one unsettled record in its window. Its links belong to the window's
// mutex.
type entry struct {
	record
	window     *window
	prev, succ *entry
	taken      time.Time
	hash       uint64
	keyed      bool
	waits      bool   // for the one before it in its chain
	follower   *entry // the next record of the same key

	prepared atomic.Bool // ready for the endpoint, or for the dead-letter topic
}

// position is what a commit says of one partition.
type position struct {
	offset   int64
	metadata string
}

// stamp is a record by which a log can be recognised: its offset, and its
// timestamp in Unix ms.
type stamp struct{ offset, time int64 }

// maxFresh bounds what is kept of the settled, should no commit land for long:
// without the oldest ones some records may be sent again.
const maxFresh = 1 << 14

// note keeps the stamp of a record that was settled.
func (w *window) note(s stamp) {
	if len(w.fresh) == maxFresh {
		w.fresh = w.fresh[:copy(w.fresh, w.fresh[maxFresh/2:])]
		w.told = max(0, w.told-maxFresh/2)
	}
	w.fresh = append(w.fresh, s)
}

// newWindow begins at offset, which was committed with metadata, or resolved.
// The candidates are completions that may be known of the log above it.
func newWindow(partition int32, place uint32, ordered bool, start position, candidates ...completions) *window {
	return &window{
		partition: partition, place: place, ordered: ordered, seed: maphash.MakeSeed(),
		end: noEnd, next: start.offset, from: start.offset, committed: start, candidates: candidates,
		chains: map[uint64]*entry{},
	}
}

// taken is what take made of a fetch.
type taken struct {
	ready    []*entry // can be delivered now
	records  int      // new to the session
	restored int      // known to be settled, passed over
	skipped  int      // not of the range
	ignored  int      // candidates that did not speak of this log
}

// take adds records, which are ascending, and moves the window on to next. It
// stops early when the window is full (limit records, or share bytes; an empty
// window always takes one), and then will fetch the rest again.
func (w *window) take(records []record, next int64, limit int, share int64) taken {
	var t taken
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() { w.restored.cut(w.next) }()
	for _, r := range records {
		if r.offset < w.next {
			continue // the head of a batch that the position lies within
		}
		if r.offset >= w.end {
			break
		}
		if w.count >= limit || (w.count > 0 && w.bytes+r.size() > share) {
			return t
		}
		t.ignored += w.identify(r)
		w.next, w.newest = r.offset+1, stamp{r.offset, r.time}
		if w.restored.has(r.offset) {
			t.restored++
			w.note(stamp{r.offset, r.time})
			continue
		}
		if w.only != nil && !w.only.has(r.time) {
			t.skipped++
			w.skipped++
			w.note(stamp{r.offset, r.time})
			continue
		}
		t.records++
		if e := w.push(r.clone(), now); !e.waits {
			t.ready = append(t.ready, e)
		}
	}
	w.next = max(w.next, min(next, w.end))
	if w.next >= w.end {
		w.finish()
	}
	return t
}

// identify lets the first record that a session sees decide about what is
// believed of the log. It returns the number of candidates that were turned down.
func (w *window) identify(r record) (ignored int) {
	w.touched = true
	for _, c := range w.candidates {
		if c.base > r.offset {
			continue // it speaks of what comes later, and may well be right
		}
		if c.base != r.offset || c.time != r.time {
			ignored++
			continue
		}
		for s := range c.done.above(w.next) {
			w.restored.add(s.from, s.to)
		}
	}
	w.candidates = nil
	return ignored
}

// push appends a record to the list and to its key's chain.
func (w *window) push(r record, now time.Time) *entry {
	e := &entry{record: r, window: w, prev: w.last, taken: now}
	if w.last != nil {
		w.last.succ = e
	} else {
		w.first = e
	}
	w.last = e
	w.count++
	w.bytes += e.size()
	if w.ordered && r.key != nil {
		e.keyed, e.hash = true, maphash.Bytes(w.seed, r.key)
		if before := w.chains[e.hash]; before != nil {
			before.follower, e.waits = e, true
		}
		w.chains[e.hash] = e
	}
	return e
}

// settle marks one record done. It returns the next record of the same key,
// which may now be delivered, or nil. After the session's end the window no
// longer moves, but what was accepted is remembered.
func (w *window) settle(e *entry) (follower *entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.memory != nil {
		w.memory.add(stamp{e.offset, e.time})
		return nil
	}
	if e.prev != nil {
		e.prev.succ = e.succ
	} else {
		w.first = e.succ
	}
	if e.succ != nil {
		e.succ.prev = e.prev
	} else {
		w.last = e.prev
	}
	w.count--
	w.bytes -= e.size()
	w.note(stamp{e.offset, e.time})
	if e.keyed {
		if follower = e.follower; follower != nil {
			follower.waits = false
		} else {
			delete(w.chains, e.hash)
		}
	}
	e.prev, e.succ, e.follower = nil, nil, nil
	return follower
}

// jump moves the position forward to o, where retention removed what lay before.
// It returns how many of the offsets that were still to be taken that are.
func (w *window) jump(o int64) (lost int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.next
	w.next = max(before, min(o, w.end))
	lost = w.next - before
	w.lost += lost
	w.candidates = nil
	w.restored.cut(w.next)
	if w.next >= w.end {
		w.finish()
	}
	return lost
}

// finish drops what is known beyond the end, which a process may have learnt that had
// a later one: it must not hold the position back. Nor will a record come that candidates
// could be judged by.
func (w *window) finish() { w.candidates, w.restored = nil, nil }

// restart moves the position back to the log's start o, where the log ends below
// the position: it is another one, or was cut. That is possible only while nothing
// was taken: it returns false otherwise, and the session has to end, because
// offsets of two logs do not mix in one window. So it has with an end, which was
// the other log's.
func (w *window) restart(o int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stale = true
	if w.touched || w.end != noEnd {
		return false
	}
	w.next, w.from, w.restarted = o, o, true
	w.candidates = nil
	return true
}

// watermark is the lowest unsettled offset: what a commit may say.
func (w *window) watermark() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mark()
}

func (w *window) mark() int64 {
	if w.first != nil {
		return w.first.offset
	}
	return w.next
}

// settled yields the settled offsets from from on: the gaps of the list, and
// what was restored beyond it.
func (w *window) settled(from int64) spans {
	var s spans
	for e := w.first; e != nil; e = e.succ {
		if e.offset > from {
			s = append(s, span{from, e.offset})
		}
		from = e.offset + 1
	}
	if w.next > from {
		s = append(s, span{from, w.next})
	}
	for r := range w.restored.above(w.next) {
		s.add(r.from, r.to)
	}
	return s
}

// position is what to commit now, with metadata of at most limit characters.
func (w *window) position(limit int) position {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bound, w.cured = stamp{}, w.restarted
	switch {
	case len(w.candidates) > 0:
		// Nothing was seen of the log yet: what was committed stands, its
		// metadata included.
	case w.first == nil && len(w.restored) > 0:
		// What is known to be settled above next is bound to the last record before
		// it, which is settled too, until the fetch has passed it.
		w.bound = w.newest
		c := w.completions(w.newest.offset)
		c.time, c.done = w.newest.time, w.settled(w.newest.offset)
		w.committed = position{offset: c.base, metadata: c.encode(w.place, limit)}
	default:
		c := w.completions(w.mark())
		if e := w.first; e != nil {
			c.time, c.done = e.time, w.settled(e.offset+1)
		}
		w.committed = position{offset: c.base, metadata: c.encode(w.place, limit)}
	}
	w.told = len(w.fresh)
	return w.committed
}

// bury counts a dead letter of the window.
func (w *window) bury() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.letters++
}

// completions are what a commit of base says, without any record.
func (w *window) completions(base int64) completions {
	c := completions{topic: w.topic, base: base}
	if w.end != noEnd {
		c.ends, c.end, c.letters = true, w.end, w.letters
	}
	return c
}

// acknowledged tells that the broker has what was last handed out.
func (w *window) acknowledged() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fresh = w.fresh[:copy(w.fresh, w.fresh[w.told:])]
	w.told, w.acked = 0, w.bound
	w.stale = w.stale && !w.cured
}

// close ends the session's hold on the window and returns what this process
// knows of the log beyond what was committed; nil if it learnt nothing. Of a log
// that was replaced below it, it knows nothing that can be believed.
func (w *window) close() *memory {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stale && !w.restarted {
		w.memory = &memory{}
		return w.memory
	}
	m := &memory{stamps: append(w.fresh, w.newest), done: w.settled(w.from)}
	if w.acked != (stamp{}) {
		m.stamps = append(m.stamps, w.acked)
	}
	for e := w.first; e != nil; e = e.succ {
		m.stamps = append(m.stamps, stamp{e.offset, e.time})
	}
	w.memory = m
	if !w.touched {
		return nil
	}
	return m
}

// room reports whether the next fetch may be asked for. It waits until half the
// window is free, so that a full window is not refilled record by record.
func (w *window) room(limit int, share int64) (next int64, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.next, w.count == 0 || (w.count <= limit/2 && w.bytes <= share/2)
}

// windowState is a window at a moment.
type windowState struct {
	watermark, next int64
	unsettled       int
	bytes           int64
	oldest          time.Time // when the oldest unsettled record was taken; zero if there is none
}

func (w *window) state() windowState {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := windowState{watermark: w.mark(), next: w.next, unsettled: w.count, bytes: w.bytes}
	if w.first != nil {
		s.oldest = w.first.taken
	}
	return s
}
