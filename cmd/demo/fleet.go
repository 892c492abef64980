package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// The consumers' names.
const (
	firstConsumer  = "consumer 1"
	secondConsumer = "consumer 2"
)

// fleet is the consumers that run, by name. One that was killed on purpose is started again; one that ends without having been
// asked to is a failure.
type fleet struct {
	launch func(name string) (*consumer, error)
	failed chan error     // the first failure
	tasks  sync.WaitGroup // those that wait for consumers to end

	mu     sync.Mutex
	seats  map[string]*seat
	shown  *consumer // whose log is shown when something went wrong: the one that failed, else the newest
	closed bool      // nothing is started any more
}

// seat is where a consumer runs, and the one after it.
type seat struct {
	name     string
	consumer *consumer
	leaving  bool      // it was asked to stop
	dying    bool      // it was killed, and the next one has not started
	killed   time.Time // when one was last killed here, zero for never
}

func newFleet(launch func(name string) (*consumer, error)) *fleet {
	return &fleet{launch: launch, failed: make(chan error, 1), seats: map[string]*seat{}}
}

// begin starts a consumer.
func (f *fleet) begin(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seats[name] != nil {
		return fmt.Errorf("%s is running already", name)
	}
	s := &seat{name: name}
	if err := f.fill(s); err != nil {
		return err
	}
	f.seats[name] = s
	return nil
}

// fill starts a consumer in the seat and watches for its end. f.mu is held.
func (f *fleet) fill(s *seat) error {
	if f.closed {
		return errors.New("the demo is ending")
	}
	c, err := f.launch(s.name)
	if err != nil {
		return err
	}
	s.consumer, s.dying, f.shown = c, false, c
	f.tasks.Go(func() {
		<-c.ended
		f.ended(s, c)
	})
	return nil
}

func (f *fleet) ended(s *seat, c *consumer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case s.leaving || f.closed: // whoever asked finds out how
	case s.dying:
		c.log.close()
		if err := f.fill(s); err != nil {
			f.fail(c, err)
		}
	default:
		f.fail(c, c.end())
	}
}

// fail reports the first failure. f.mu is held.
func (f *fleet) fail(c *consumer, err error) {
	select {
	case f.failed <- err:
		f.shown = c
	default:
	}
}

// kill ends a consumer without warning (SIGKILL); another takes its place at once.
func (f *fleet) kill(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.seats[name]
	if s == nil || s.leaving || s.dying || f.closed {
		return fmt.Errorf("%s is not running", name)
	}
	s.dying, s.killed = true, time.Now()
	return s.consumer.process.Process.Kill()
}

// end asks a consumer to finish what it has in hand and to leave. It does not wait for that.
func (f *fleet) end(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.seats[name]
	if s == nil || s.leaving || s.dying || f.closed {
		return fmt.Errorf("%s is not running", name)
	}
	s.leaving = true
	f.tasks.Go(func() {
		err := s.consumer.stop()
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.seats, name)
		if err != nil {
			f.fail(s.consumer, err)
		}
	})
	return nil
}

// has tells whether there is a consumer with the name that was not asked to leave.
func (f *fleet) has(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.seats[name]
	return s != nil && !s.leaving
}

// list returns the seats by name, each as it is now.
func (f *fleet) list() []seat {
	f.mu.Lock()
	defer f.mu.Unlock()
	seats := make([]seat, 0, len(f.seats))
	for _, s := range f.seats {
		seats = append(seats, *s)
	}
	slices.SortFunc(seats, func(a, b seat) int { return cmp.Compare(a.name, b.name) })
	return seats
}

// stop asks all consumers to finish what they have in hand, waits for their ends and returns how they ended. It can be called
// again.
func (f *fleet) stop() error {
	f.mu.Lock()
	f.closed = true
	var left []seat
	for _, s := range f.seats {
		if !s.leaving {
			left = append(left, *s)
		}
	}
	f.mu.Unlock()
	errs := make([]error, len(left))
	for i, s := range left {
		f.tasks.Go(func() {
			if err := s.consumer.stop(); !s.dying { // one that was killed a moment ago has nothing to say
				errs[i] = err
			}
		})
	}
	f.tasks.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.seats)
	return errors.Join(errs...)
}

// tail is the end of a log: of the consumer that failed, else of the newest.
func (f *fleet) tail() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shown == nil {
		return ""
	}
	return f.shown.log.tail()
}

func (s *seat) pid() int { return s.consumer.process.Process.Pid }
