package consumer

import (
	"context"
	"sync"
	"time"
)

// maxWaiting bounds the deliveries that wait for their own retry or age while others
// go on, over those in progress: each costs a goroutine and its row.
const maxWaiting = 1024

// pool runs deliveries, each in a goroutine of its own for as long as it takes.
// As many are in progress as limit says; one that waits for its own retry lets
// another begin meanwhile, so that a stuck row stops nothing but its key. The
// number of attempts is not the pool's business but the sink's.
type pool struct {
	limit int
	work  func(*entry) // set before the first submit

	mu       sync.Mutex
	wake     *sync.Cond // work for an idle worker, or stopped
	ready    fifo
	workers  map[*worker]struct{}
	idle     int
	waiting  int
	stopped  bool
	progress uint64 // deliveries begun and ended
	done     sync.WaitGroup
}

// worker is one goroutine of the pool: what it is at, and since when.
type worker struct {
	entry *entry
	since time.Time
}

func newPool(limit int) *pool {
	p := &pool{limit: limit, workers: map[*worker]struct{}{}}
	p.wake = sync.NewCond(&p.mu)
	return p
}

// submit hands over records that can be delivered now, in order. After stop it
// does nothing.
func (p *pool) submit(entries ...*entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return
	}
	for _, e := range entries {
		p.ready.push(e)
		p.engage()
	}
}

// engage wakes or starts a worker if there is something to do and one may.
func (p *pool) engage() {
	switch busy := len(p.workers) - p.idle; {
	case p.ready.len() == 0 || busy-p.waiting >= p.limit || busy >= p.limit+maxWaiting:
	case p.idle > 0:
		p.wake.Signal()
	default:
		w := &worker{}
		p.workers[w] = struct{}{}
		p.done.Go(func() { p.run(w) })
	}
}

// run delivers one record after the other until there are enough without it.
func (p *pool) run(w *worker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer delete(p.workers, w)
	for {
		for p.ready.len() == 0 && !p.stopped {
			p.idle++
			p.wake.Wait()
			p.idle--
		}
		// A worker that is back from waiting may be one too many.
		if p.stopped || len(p.workers)-p.idle-p.waiting > p.limit {
			return
		}
		w.entry, w.since = p.ready.pop(), time.Now()
		p.progress++
		p.engage() // submit wakes an idle worker no more than once, however much it hands over
		p.mu.Unlock()
		p.work(w.entry)
		p.mu.Lock()
		p.progress++
		w.entry = nil
	}
}

// wait counts deliveries that wait for their own retry: +1 when one begins to,
// -1 when it goes on.
func (p *pool) wait(delta int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting += delta
	if delta > 0 && !p.stopped {
		p.engage()
	}
}

// pauseBeside waits before something is tried again, and lets other deliveries begin
// meanwhile: waiting counts those that wait.
func pauseBeside(ctx context.Context, waiting func(delta int), pause time.Duration) {
	waiting(1)
	defer waiting(-1)
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	}
}

// stop drops what was not begun and lets workers end after what they are at.
func (p *pool) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	p.ready = fifo{}
	p.wake.Broadcast()
}

// poolState is the pool at a moment.
type poolState struct {
	ready, busy, waiting int
	progress             uint64
	preparing            time.Time // since when the oldest row in preparation is; zero if there is none
}

func (p *pool) state() poolState {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := poolState{ready: p.ready.len(), busy: len(p.workers) - p.idle, waiting: p.waiting, progress: p.progress}
	for w := range p.workers {
		if w.entry != nil && !w.entry.prepared.Load() && (s.preparing.IsZero() || w.since.Before(s.preparing)) {
			s.preparing = w.since
		}
	}
	return s
}

// fifo is a queue of entries that reuses its memory.
type fifo struct {
	items []*entry
	head  int
}

func (q *fifo) len() int { return len(q.items) - q.head }

func (q *fifo) push(e *entry) {
	if q.head > 0 && len(q.items) == cap(q.items) && q.head >= len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, e)
}

func (q *fifo) pop() *entry {
	e := q.items[q.head]
	q.items[q.head] = nil
	if q.head++; q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return e
}
