package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// once is a demo that ends by itself: it publishes a number of records while the sheet misbehaves, and proves that each arrived.
type once struct {
	*demo
	trouble *trouble
	greeted bool // the consumer's admin server was shown
}

// deadline is how long n records may take.
func deadline(n int) time.Duration { return time.Minute + time.Duration(n)*5*time.Millisecond }

// play publishes, waits, stops the consumer and judges.
func (o *once) play(ctx, hurry context.Context) error {
	began := time.Now()
	o.receiver.Script(o.trouble.behave)
	o.broker.read(
		func(*kgo.Record) {}, // what is expected of it was known before
		func(letter deadLetter, err error) {
			if err != nil {
				o.ledger.mistake("%v", err)
				return
			}
			o.ledger.deadLetter(letter)
		},
	)
	if err := o.fleet.begin(firstConsumer); err != nil {
		return err
	}
	o.out.line("%s", table("  ", [][2]string{
		{"broker", o.broker.addr + ", topic " + topic + ", dead letters in " + deadLetterTopic},
		{"sheet", o.opts.csv},
		{"consumer's log", o.logPath(firstConsumer)},
	}))

	err := o.deliver(ctx, hurry)
	interrupted := err != nil && ctx.Err() != nil
	if err == nil || interrupted {
		o.out.step("stopping the consumer")
		err = errors.Join(err, o.finish(hurry))
	}
	o.out.line("\n%s", o.summary(began, o.trouble.String()))
	if interrupted {
		return err
	}
	problems := o.problems()
	if err != nil {
		problems = append([]string{err.Error()}, problems...)
	}
	if err := o.failure(problems); err != nil {
		return err
	}
	o.out.line("\nEvery record is accounted for, and the group's progress is at the end of the topic.")
	return nil
}

// deliver publishes as many records as asked for and waits until each is accounted for.
func (o *once) deliver(ctx, hurry context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, deadline(o.opts.once), fmt.Errorf("not every record was accounted for within %s", deadline(o.opts.once)))
	defer cancel()
	o.out.step("publishing %s records", number(o.opts.once))
	signups := newGenerator(o.opts.seed, time.Now)
	for range o.opts.once {
		r := signups.next()
		o.broker.publish(ctx, r, func(k *kgo.Record, err error) {
			if err != nil {
				o.ledger.mistake("publish: %v", err)
				return
			}
			o.ledger.publish(r, k)
		})
	}
	if err := o.broker.flush(ctx); err != nil {
		return fmt.Errorf("publish: %w", context.Cause(ctx))
	}
	look := time.NewTicker(pause)
	defer look.Stop()
	for {
		open, err := o.look(hurry)
		if err != nil || open == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-o.fleet.failed:
			return err
		case <-look.C:
		}
	}
}

// look accounts for what has happened and returns how many records are open.
func (o *once) look(ctx context.Context) (open int, err error) {
	_, a, err := o.settle(ctx)
	if err != nil {
		return 0, err
	}
	for _, s := range o.fleet.list() {
		if admin := s.consumer.log.admin(); admin != "" && !o.greeted {
			o.greeted = true
			o.out.step("the consumer tells about itself at http://%s/status", admin)
		}
	}
	state := o.receiver.State()
	o.out.status(fmt.Sprintf("published %s   rows %s   dead letters %s   open %s   in flight %d   attempts %s",
		number(a.published), number(state.Rows), number(a.deadLetters), number(a.open), state.InFlight, number(state.Attempts)))
	return a.open, nil
}

// finish stops the consumer and requires that it ends well and has committed everything.
func (o *once) finish(ctx context.Context) error {
	if err := o.fleet.stop(); err != nil {
		return err
	}
	if open, err := o.look(ctx); err != nil || open > 0 {
		return err // what is open is a problem already
	}
	return o.compare(ctx)
}

// problems returns everything that is wrong, nothing if all is well.
func (o *once) problems() []string {
	problems := o.ledger.problems()
	counts, rows := o.ledger.counts(), o.receiver.State().Rows
	if len(problems) == 0 && rows != counts.signups {
		problems = append(problems, fmt.Sprintf("the sheet has %d rows of %d signups", rows, counts.signups))
	}
	if rows >= 50 && o.sheet.state().ages == 0 {
		problems = append(problems, "no row has an age")
	}
	return problems
}
