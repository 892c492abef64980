package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// lab is where the cells are measured.
type lab struct {
	program  string // path of the binary
	dir      string // for logs
	progress io.Writer
	groups   int // so far: each run has a group of its own
}

// partitions of the topics.
const partitions = 6

// row is what was measured of a cell: a value a pair for each quantity and side.
type row struct {
	cell
	yardsticks, values [nothing]series
	idleRuns           []idleRun
}

// measure runs both sides of a cell, each beginning every other pair.
func (l *lab) measure(ctx context.Context, c cell, pairs int) (row, error) {
	r := row{cell: c}
	if c.idle != nil {
		var err error
		r.idleRuns, err = l.measureIdle(ctx, *c.idle)
		return r, err
	}
	if c.pairs > 0 {
		pairs = min(pairs, c.pairs)
	}
	s, err := l.open(ctx, c)
	if err != nil {
		return r, err
	}
	defer s.close()
	for i := range pairs {
		sides := []bool{true, false} // the yardstick?
		if i%2 == 1 {
			sides = []bool{false, true}
		}
		for _, yardstick := range sides {
			if err := s.add(ctx, &r, yardstick); err != nil {
				return r, err
			}
		}
		fmt.Fprintf(l.progress, "  pair %d of %d: %s\n", i+1, pairs, r.latest())
	}
	return r, nil
}

// add runs one side and adds what was measured to the row.
func (s *setup) add(ctx context.Context, r *row, yardstick bool) error {
	side, to := r.measured, &r.values
	if yardstick {
		side, to = r.yardstick, &r.yardsticks
	}
	var got [nothing]float64
	if yardstick && r.limit > 0 {
		got[rate] = r.limit
	} else {
		var err error
		if got, err = s.run(ctx, side); err != nil {
			return fmt.Errorf("%s: %w", side.name, err)
		}
	}
	for q := range nothing {
		to[q] = append(to[q], got[q])
	}
	return nil
}

// latest says what the last pair showed.
func (r *row) latest() string {
	var text []string
	for _, q := range r.show {
		a, b := r.yardsticks[q], r.values[q]
		n := len(b) - 1
		text = append(text, fmt.Sprintf("%.0f to %.0f %s, ratio %.2f", a[n], b[n], q.unit(), ratios(b, a)[n]))
	}
	return strings.Join(text, "; ")
}

// setup is the broker and the webhook of a cell, with the topics filled.
type setup struct {
	*lab
	cell
	kafka  *kafka
	hook   *hook
	topics map[load]string
}

func (l *lab) open(ctx context.Context, c cell) (*setup, error) {
	s := &setup{lab: l, cell: c, topics: map[load]string{}}
	var err error
	if s.kafka, err = l.startKafka(ctx, 1); err != nil {
		return nil, err
	}
	if s.hook, err = l.startWebhook(ctx); err != nil {
		s.close()
		return nil, err
	}
	for _, side := range []side{c.yardstick, c.measured} {
		if side.load.records == 0 || s.topics[side.load] != "" {
			continue
		}
		topic := fmt.Sprintf("user.signup-%d", len(s.topics)+1)
		s.topics[side.load] = topic
		if err := errors.Join(s.kafka.create(ctx, topic, partitions), s.kafka.publish(ctx, topic, side.load)); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

func (s *setup) close() {
	if s.hook != nil {
		s.hook.process.kill()
	}
	s.kafka.stop()
}

// run lets one side work through its topic, and measures it.
func (s *setup) run(ctx context.Context, side side) (got [nothing]float64, err error) {
	topic, rows := s.topics[side.load], side.load.good()
	deadBefore, err := s.kafka.end(ctx, deadLetters(topic))
	if err != nil {
		return got, err
	}
	if err := s.hook.begin(behaviour{Expect: rows, Latency: s.latency, SlowEvery: side.slow, Slow: slowLatency}); err != nil {
		return got, err
	}
	c, err := s.startConsumer(ctx, side.bare, s.consumerFlags(side, topic), s.hook.url())
	if err != nil {
		return got, err
	}
	defer c.kill()
	if err := s.arrived(ctx, c, rows); err != nil {
		return got, err
	}
	if err := s.deadLettered(ctx, topic, deadBefore+int64(side.load.poison())); err != nil {
		return got, err
	}
	peak, err := peakRSS(c.cmd.Process.Pid)
	if err != nil {
		return got, err
	}
	if err := c.stop(); err != nil {
		return got, err
	}
	t, err := s.hook.tally()
	if err != nil {
		return got, err
	}
	if t.Accepted != rows {
		return got, fmt.Errorf("%d rows were delivered for %d records", t.Accepted, rows)
	}
	got[rate] = t.rate()
	got[cpu] = float64(c.cpu().Nanoseconds()) / 1e3 / float64(side.load.records)
	got[memory] = float64(peak) / (1 << 20)
	return got, nil
}

// consumerFlags are those of the program, beyond which it has its defaults, or of the bare loop.
func (s *setup) consumerFlags(side side, topic string) []string {
	s.groups++
	group := fmt.Sprintf("bench-%d", s.groups)
	if side.bare {
		return []string{
			"-broker", s.kafka.addrs[0], "-topic", topic, "-group", group,
			"-url", s.hook.url(), "-in-flight", fmt.Sprint(s.inFlight),
		}
	}
	flags := append(programFlags(s.kafka, topic, group), "--sink.concurrency", fmt.Sprint(s.inFlight))
	if side.agify {
		flags = append(flags, "--agify.url", "http://"+s.hook.addrs.Agify)
	} else {
		flags = append(flags, "--agify.enabled=false")
	}
	return append(flags, side.flags...)
}

func programFlags(k *kafka, topic, group string) []string {
	return []string{
		"run", "--kafka.brokers", strings.Join(k.addrs, ","), "--kafka.topic", topic, "--kafka.group", group,
		"--admin.listen", "127.0.0.1:0",
	}
}

// startConsumer starts the bare loop or the program.
func (l *lab) startConsumer(ctx context.Context, bare bool, flags []string, url string) (*child, error) {
	if bare {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		return l.startProgram(ctx, "bare", self, append([]string{"bare"}, flags...), os.Environ())
	}
	return l.startProgram(ctx, "pipeline", l.program, flags, append(foreign(os.Environ()), "SIGNUP_SHEET_SINK_URL="+url))
}

// arrived waits until the webhook has all rows.
func (s *setup) arrived(ctx context.Context, c *child, rows int) error {
	answered := make(chan error, 1)
	go func() { // ends with the webhook, if not before
		_, err := s.hook.tally()
		answered <- err
	}()
	limit := time.NewTimer(time.Minute + time.Duration(rows)*time.Millisecond) // all but a standstill is faster
	defer limit.Stop()
	select {
	case err := <-answered:
		return err
	case <-c.ended:
		return fmt.Errorf("it ended by itself (%w):\n%s", errors.Join(c.err), c.tail())
	case <-limit.C:
		return fmt.Errorf("not all of %d rows came:\n%s", rows, c.tail())
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// deadLettered waits until the topic's dead letters are so many.
func (s *setup) deadLettered(ctx context.Context, topic string, want int64) error {
	ctx, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	for {
		n, err := s.kafka.end(ctx, deadLetters(topic))
		if err != nil || n > want {
			return fmt.Errorf("%d dead letters, want %d: %w", n, want, errors.Join(err))
		}
		if n == want {
			return nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("%d dead letters, want %d: %w", n, want, err)
		}
	}
}

// pause waits, or returns why ctx ended.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
