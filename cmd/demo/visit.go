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
	read    int // dead letters, those included that nobody understands
	letters []deadLetter
}

// play publishes, waits until everything is delivered, and says what happened.
func (v *visit) play(ctx, hurry context.Context) error {
	v.broker.read(func(*kgo.Record) {}, func(d deadLetter, err error) {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.read++
		if err == nil {
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
	if err2 == nil {
		err2 = v.awaitLetters(hurry, int(ends.sum()))
	}
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

// awaitLetters waits until so many dead letters were read: none of them is to be left out.
func (v *visit) awaitLetters(ctx context.Context, n int) error {
	look := time.NewTicker(pause)
	defer look.Stop()
	for {
		v.mu.Lock()
		all := v.read >= n
		v.mu.Unlock()
		if all {
			return nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
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

// deliver returns how many records are done with, and why the others wait, as was last heard. Patience is with the webhook: until
// it is known to be the reason, the consumer has the usual time to start.
func (v *visit) deliver(ctx, hurry context.Context) (delivered int, m mood, err error) {
	signups := newGenerator(v.opts.seed, time.Now)
	signups.clean = true
	publish, look := time.NewTicker(v.opts.pace), time.NewTicker(pause)
	defer publish.Stop()
	defer look.Stop()
	failed := make(chan error, visitRows)
	published, progress, heard := 0, time.Now(), false
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
				delivered, progress, heard = now, time.Now(), false
			}
			reports := v.watcher.look(hurry, v.fleet.list())
			current := moodOf(time.Now(), reports, account{open: published - delivered}, false)
			v.out.status(fmt.Sprintf("published %d   delivered %d   %s", published, delivered, current.Text))
			known := current.Kind == "waiting" && current.Hold != noMember
			if known && !heard {
				progress, heard = time.Now(), true
			}
			if known || !heard {
				m = current
			}
			if delivered >= visitRows {
				return delivered, m, nil
			}
			patience := v.opts.patience
			if !heard {
				patience = max(patience, visitPatience)
			}
			if time.Since(progress) > patience {
				return delivered, m, errors.New("no row was taken for " + patience.String())
			}
		}
	}
}
