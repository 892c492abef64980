package main

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"
)

// idleCell is a member of a group whose topic has no records.
type idleCell struct {
	settle, watch time.Duration // before it is looked at, and for how long
	runs          []idleRun
}

// idleRun is one of its configurations, and what was seen.
type idleRun struct {
	name       string
	bare       bool
	partitions int
	brokers    int

	connections int     // to the brokers, the most at one time
	cpu         float64 // of one core, in percent
}

// maxIdleCPU is the part of a core that an idle member may use, in percent.
const maxIdleCPU = 3

func (l *lab) measureIdle(ctx context.Context, c idleCell) ([]idleRun, error) {
	var done []idleRun
	for _, r := range c.runs {
		r, err := l.idle(ctx, c, r)
		if err != nil {
			return nil, fmt.Errorf("%s, %d partitions: %w", r.name, r.partitions, err)
		}
		fmt.Fprintf(l.progress, "  %s, %d partitions on %d brokers: %d connections, %.2f %% of a core\n",
			r.name, r.partitions, r.brokers, r.connections, r.cpu)
		done = append(done, r)
	}
	return done, nil
}

func (l *lab) idle(ctx context.Context, c idleCell, r idleRun) (idleRun, error) {
	k, err := l.startKafka(ctx, r.brokers)
	if err != nil {
		return r, err
	}
	defer k.stop()
	const topic, group = "user.signup", "bench"
	if err := k.create(ctx, topic, int32(r.partitions)); err != nil {
		return r, err
	}
	flags := append(programFlags(k, topic, group), "--agify.enabled=false")
	if r.bare {
		flags = []string{"-broker", k.addrs[0], "-topic", topic, "-group", group, "-url", "http://127.0.0.1:9"}
	}
	p, err := l.startConsumer(ctx, r.bare, flags, "http://127.0.0.1:9") // to which nothing is sent
	if err != nil {
		return r, err
	}
	defer p.kill()
	if err := settled(ctx, k, group, c.settle); err != nil {
		return r, err
	}
	err = r.look(ctx, p, k, c.watch)
	if err != nil {
		return r, fmt.Errorf("%w:\n%s", err, p.tail())
	}
	return r, p.stop()
}

// settled waits until the group has shared out the partitions, and then a while.
func settled(ctx context.Context, k *kafka, group string, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, d+time.Minute)
	defer cancel()
	for {
		stable, err := k.stable(ctx, group)
		if err != nil {
			return err
		}
		if stable {
			return pause(ctx, d)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("wait for the group: %w", err)
		}
	}
}

// look counts connections, and the processor time in between.
func (r *idleRun) look(ctx context.Context, p *child, k *kafka, d time.Duration) error {
	ports := map[int]bool{}
	for _, addr := range k.addrs {
		_, text, _ := net.SplitHostPort(addr)
		port, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		ports[port] = true
	}
	pid, begin := p.cmd.Process.Pid, time.Now()
	before, err := cpuSoFar(pid)
	if err != nil {
		return err
	}
	for time.Since(begin) < d {
		n, err := connections(pid, ports)
		if err != nil {
			return err
		}
		r.connections = max(r.connections, n)
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return err
		}
	}
	after, err := cpuSoFar(pid)
	if err != nil {
		return err
	}
	r.cpu = 100 * (after - before).Seconds() / time.Since(begin).Seconds()
	return nil
}
