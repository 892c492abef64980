package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"signup-sheet/sink"
)

const (
	visitRows = 20
	// visitPace is the time between two rows: polite to a service that somebody pays for.
	visitPace = 700 * time.Millisecond
	// visitPatience is how long to go on without a row that was taken.
	visitPatience = time.Minute
)

// visit is a demo that delivers a few rows to a webhook of somebody else. It sees what the webhook took by what is committed.
type visit struct {
	*demo
	watcher *watcher

	mu      sync.Mutex
	letters []deadLetter
}

// play publishes, waits until everything is delivered, and says what happened.
func (v *visit) play(ctx, hurry context.Context) error {
	v.broker.read(func(*kgo.Record) {}, func(d deadLetter, err error) {
		if err == nil {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.letters = append(v.letters, d)
		}
	})
	if err := v.fleet.begin(firstConsumer); err != nil {
		return err
	}
	v.out.line("%s\n", table("  ", [][2]string{
		{"Webhook", "the one of SHEETS_WEBHOOK_URL, with the preset " + presetOf(v.opts.webhook)},
		{"Kafka", v.broker.addr + ", topic " + topic + ", dead letters in " + deadLetterTopic},
		{"Log", v.logPath(firstConsumer)},
	}))
	v.out.step("delivering %d signups with invented people, one in %s", visitRows, visitPace)
	delivered, mood, err := v.deliver(ctx, hurry)
	if ctx.Err() != nil {
		return err
	}
	if err == nil {
		err = v.fleet.stop()
	}
	ends, err2 := v.broker.ends(hurry, deadLetterTopic)
	v.out.line("\nThe webhook took %d of %d rows.", delivered-int(ends.sum()), visitRows)
	var problems []string
	for _, err := range []error{err, err2} {
		if err != nil {
			problems = append(problems, err.Error())
		}
	}
	if delivered < visitRows && mood.Kind == "waiting" {
		problems = append(problems, mood.Text)
	}
	if err := v.failure(append(problems, v.refused()...)); err != nil {
		return err
	}
	v.out.line("Each has an event_id, by which a receiver recognises a row that comes twice.")
	return nil
}

// presetOf returns the preset for a webhook, by its host.
func presetOf(webhook string) string {
	u, err := url.Parse(webhook)
	if err != nil {
		return sink.PresetOf("")
	}
	return sink.PresetOf(u.Hostname())
}

// refused returns a line for each dead letter.
func (v *visit) refused() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	refused := make([]string, len(v.letters))
	for i, d := range v.letters {
		refused[i] = fmt.Sprintf("%s is a dead letter: %s", d.origin, d.reason)
	}
	return refused
}

// deliver returns how many records are done with, and how things stand then.
func (v *visit) deliver(ctx, hurry context.Context) (delivered int, m mood, err error) {
	signups := newGenerator(v.opts.seed, time.Now)
	signups.clean = true
	publish, look := time.NewTicker(v.opts.pace), time.NewTicker(pause)
	defer publish.Stop()
	defer look.Stop()
	failed := make(chan error, visitRows)
	published, progress := 0, time.Now()
	for {
		select {
		case <-ctx.Done():
			return delivered, m, context.Cause(ctx)
		case err := <-v.fleet.failed:
			return delivered, m, err
		case err := <-failed:
			return delivered, m, fmt.Errorf("publish: %w", err)
		case <-publish.C:
			if published < visitRows {
				published++
				v.broker.publish(hurry, signups.next(), func(_ *kgo.Record, err error) {
					if err != nil {
						failed <- err
					}
				})
			}
		case <-look.C:
			committed, err := v.broker.committed(hurry)
			if err != nil {
				return delivered, m, orCause(hurry, err)
			}
			if now := int(committed.sum()); now > delivered {
				delivered, progress = now, time.Now()
			}
			reports := v.watcher.look(hurry, v.fleet.list())
			m = moodOf(time.Now(), reports, account{open: published - delivered}, false)
			v.out.status(fmt.Sprintf("published %d   delivered %d   %s", published, delivered, m.Text))
			if delivered >= visitRows {
				return delivered, m, nil
			}
			if time.Since(progress) > v.opts.patience {
				return delivered, m, errors.New("no row was taken for " + v.opts.patience.String())
			}
		}
	}
}
