package main

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// publisher publishes signups at a steady pace.
type publisher struct {
	broker *broker
	failed func(error)

	mu      sync.Mutex
	signups *generator
	paused  bool
	poisons int
	flooded int // undecodable records that are still to come
}

// A flood is so many undecodable records, some at each tick: with the usual pace it takes three seconds.
const (
	floodRecords = 300
	floodPerTick = 5
)

// run publishes a signup at each tick of pace until ctx ends.
func (p *publisher) run(ctx context.Context, pace time.Duration) {
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			p.tick()
		}
	}
}

// tick publishes a signup, and what is due of a flood.
func (p *publisher) tick() {
	p.signup()
	p.mu.Lock()
	defer p.mu.Unlock()
	for range min(p.flooded, floodPerTick) {
		p.publish(p.signups.undecodable(p.poisons))
		p.poisons++
		p.flooded--
	}
}

// flood begins a flood, or ends it.
func (p *publisher) flood(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flooded = 0
	if on {
		p.flooded = floodRecords
	}
}

func (p *publisher) isFlooding() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.flooded > 0
}

func (p *publisher) signup() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.paused {
		p.publish(p.signups.next())
	}
}

// poison publishes a broken signup; the ways in which it is broken take turns.
func (p *publisher) poison() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.publish(p.signups.poison(p.poisons))
	p.poisons++
}

// publish hands the record over. It is Kafka's although ctx of run may end; closing the broker's client ends it.
func (p *publisher) publish(r record) {
	p.broker.publish(context.Background(), r, func(_ *kgo.Record, err error) {
		if err != nil {
			p.failed(err)
		}
	})
}

func (p *publisher) pause(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paused = on
}

func (p *publisher) isPaused() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.paused
}
