package consumer

import "sync"

// memory is what this process saw accepted in one partition, for longer than a
// session: a partition that comes back (the coordinator was away, brokers
// restarted, a rebalance) is not sent again, whether or not the commit landed.
// It is believed only where the log still has the record that it was bound to.
type memory struct {
	mu      sync.Mutex
	anchors []anchor
	done    spans
}

// add remembers one more settled offset.
func (m *memory) add(offset int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done.add(offset, offset+1)
}

// at returns what is known of the log from the committed offset on; false if
// the memory was not bound to that offset.
func (m *memory) at(committed int64) (completions, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range m.anchors {
		if a.base == committed && a.known {
			c := completions{base: a.offset, time: a.time}
			for s := range m.done.above(committed) {
				c.done = append(c.done, s)
			}
			return c, true
		}
	}
	return completions{}, false
}
