package consumer

import (
	"cmp"
	"slices"
	"sync"
)

// memory is what this process saw accepted in one partition, for longer than a
// session: a partition that comes back (the coordinator was away, brokers
// restarted, a rebalance) is not sent again, whether or not the commit landed,
// and whether or not another member had it meanwhile. It is believed only where
// the log still has a record that it knows.
type memory struct {
	mu sync.Mutex
	// stamps are of the records that were not settled, and of those that were
	// since the last acknowledged commit. The next owner leaves the partition at one
	// of them, unless the commit had no room for all that was settled.
	stamps []stamp
	done   spans
}

// add remembers one more settled record.
func (m *memory) add(s stamp) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stamps = append(m.stamps, s)
	m.done.add(s.offset, s.offset+1)
}

// at returns what is known of the log from the committed offset on; false if
// no record there is known.
func (m *memory) at(committed int64) (completions, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	slices.SortFunc(m.stamps, func(a, b stamp) int { return cmp.Compare(a.offset, b.offset) })
	i, _ := slices.BinarySearchFunc(m.stamps, committed, func(s stamp, o int64) int { return cmp.Compare(s.offset, o) })
	if i == len(m.stamps) {
		return completions{}, false
	}
	c := completions{base: m.stamps[i].offset, time: m.stamps[i].time}
	for s := range m.done.above(committed) {
		c.done = append(c.done, s)
	}
	return c, true
}
