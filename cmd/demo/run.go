package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"signup-sheet/internal/receiver"
)

const (
	// pause is how long to wait between two looks at what has happened.
	pause = 100 * time.Millisecond
	// pace is the time between two signups in a run without --once.
	pace = time.Second / 20
	// patience is how long the last records may take after the last one was published, in a run without --once.
	patience = 15 * time.Second
)

// deadline is how long n records may take.
func deadline(n int) time.Duration { return time.Minute + time.Duration(n)*5*time.Millisecond }

// demo is everything that runs.
type demo struct {
	opts     options
	out      *progress
	dir      string
	broker   *broker
	sheet    *sheet
	receiver *receiver.Receiver
	trouble  *trouble // nil: the sheet behaves
	ledger   *ledger
	consumer *consumer
	greeted  bool // the consumer's admin server was shown
}

// run plays the demo. It returns nil if every record that was published is accounted for. When ctx ends it stops publishing
// and finishes; when hurry ends it gives up.
func run(ctx, hurry context.Context, opts options, out *progress) (err error) {
	d := &demo{opts: opts, out: out, ledger: newLedger()}
	if d.dir, err = os.MkdirTemp("", "signup-sheet-demo-"); err != nil {
		return err
	}
	if d.opts.csv == "" {
		d.opts.csv = filepath.Join(d.dir, "sheet.csv")
	}
	if d.opts.program == "" {
		out.step("building signup-sheet")
		if d.opts.program, err = build(ctx, d.dir); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.Remove(d.opts.program)) }()
	}

	if d.broker, err = startBroker(); err != nil {
		return err
	}
	defer d.broker.close()
	d.broker.readDeadLetters(func(letter deadLetter, err error) {
		if err != nil {
			d.ledger.mistake("%v", err)
			return
		}
		d.ledger.deadLetter(letter)
	})

	if d.sheet, err = createSheet(d.opts.csv); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.sheet.close()) }()
	d.receiver = receiver.New(receiver.KeepEntries(false), receiver.WriteRows(d.sheet.write))
	if opts.once > 0 {
		d.trouble = newTrouble(opts.once)
		d.receiver.Script(d.trouble.behave)
	}
	receiverURL, stopReceiver, err := serve(hurry, d.receiver)
	if err != nil {
		return err
	}
	defer stopReceiver()
	agifyURL, stopAgify, err := serve(hurry, &agify{ages: ages(people())})
	if err != nil {
		return err
	}
	defer stopAgify()

	at := places{broker: d.broker.addr, sheet: receiverURL + "/rows", agify: agifyURL}
	logPath := filepath.Join(d.dir, "consumer.log")
	if d.consumer, err = startConsumer(hurry, d.opts.program, at, logPath); err != nil {
		return err
	}
	defer func() { _ = d.consumer.stop() }() // of no interest: finish has asked, or something else went wrong
	out.line("%s", table("  ", [][2]string{
		{"broker", d.broker.addr + ", topic " + topic + ", dead letters in " + deadLetterTopic},
		{"sheet", d.opts.csv},
		{"consumer's log", logPath},
	}))

	return d.play(ctx, hurry)
}

// serve serves the handler on a free port of the loopback interface until stop.
func serve(ctx context.Context, handler http.Handler) (url string, stop func(), err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener) // ends with stop
	}()
	return "http://" + listener.Addr().String(), func() {
		_ = server.Close()
		<-served
	}, nil
}

// play publishes, waits, stops the consumer and judges.
func (d *demo) play(ctx, hurry context.Context) error {
	began := time.Now()
	var err error
	if d.opts.once > 0 {
		err = d.playOnce(ctx)
	} else {
		err = d.playOn(ctx, hurry)
	}
	interrupted := d.opts.once > 0 && err != nil && ctx.Err() != nil // the other kind of run is meant to be interrupted
	if err == nil || interrupted {
		d.out.step("stopping the consumer")
		err = errors.Join(err, d.finish(hurry))
	}
	d.out.line("\n%s", d.summary(began))
	if interrupted {
		return err
	}
	problems := d.problems()
	if err != nil {
		problems = append([]string{err.Error()}, problems...)
	}
	if len(problems) > 0 {
		d.out.line("\nThe end of the consumer's log:\n\n%s", d.consumer.log.tail())
		return errors.New(strings.Join(problems, "\n"))
	}
	d.out.line("\nEvery record is accounted for, and the group's progress is at the end of the topic.")
	return nil
}

// playOnce publishes as many records as asked for and waits until each is accounted for.
func (d *demo) playOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, deadline(d.opts.once), fmt.Errorf("not every record was accounted for within %s", deadline(d.opts.once)))
	defer cancel()
	d.out.step("publishing %s records", number(d.opts.once))
	signups := newGenerator(d.opts.seed, time.Now)
	for range d.opts.once {
		d.publish(ctx, signups.next())
	}
	if err := d.broker.flush(ctx); err != nil {
		return fmt.Errorf("publish: %w", context.Cause(ctx))
	}
	return d.await(ctx)
}

// playOn publishes at a steady pace until ctx ends, and then waits for the rest.
func (d *demo) playOn(ctx, hurry context.Context) error {
	d.out.step("publishing %d signups a second; stop with Ctrl-C", time.Second/pace)
	signups := newGenerator(d.opts.seed, time.Now)
	publish, look := time.NewTicker(pace), time.NewTicker(pause)
	defer publish.Stop()
	defer look.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-d.consumer.ended:
			return d.consumer.end()
		case <-publish.C:
			d.publish(hurry, signups.next())
		case <-look.C:
			if _, err := d.look(hurry); err != nil {
				return err
			}
		}
	}
	d.out.step("%v: waiting for what was published", context.Cause(ctx))
	rest, cancel := context.WithTimeoutCause(hurry, patience, fmt.Errorf("not every record was accounted for within %s", patience))
	defer cancel()
	if err := d.broker.flush(rest); err != nil {
		return fmt.Errorf("publish: %w", context.Cause(rest))
	}
	return d.await(rest)
}

func (d *demo) publish(ctx context.Context, r record) {
	d.broker.publish(ctx, r, func(k *kgo.Record, err error) {
		if err != nil {
			d.ledger.mistake("publish: %v", err)
			return
		}
		d.ledger.publish(r, k)
	})
}

// await returns when no record is open.
func (d *demo) await(ctx context.Context) error {
	look := time.NewTicker(pause)
	defer look.Stop()
	for {
		open, err := d.look(ctx)
		if err != nil || open == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-d.consumer.ended:
			return d.consumer.end()
		case <-look.C:
		}
	}
}

// look accounts for what has happened and returns how many records are open.
func (d *demo) look(ctx context.Context) (open int, err error) {
	committed, err := d.broker.committed(ctx)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return 0, err
	}
	if admin := d.consumer.log.admin(); admin != "" && !d.greeted {
		d.greeted = true
		d.out.step("the consumer tells about itself at http://%s/status", admin)
	}
	open = d.ledger.settle(d.receiver.Count, committed)
	d.out.status(d.status(open))
	return open, nil
}

// finish stops the consumer and requires that it ends well and has committed everything.
func (d *demo) finish(ctx context.Context) error {
	if err := d.consumer.stop(); err != nil {
		return err
	}
	if open, err := d.look(ctx); err != nil || open > 0 {
		return err // what is open is a problem already
	}
	committed, err := d.broker.committed(ctx)
	if err != nil {
		return err
	}
	ends, err := d.broker.ends(ctx, topic)
	if err != nil {
		return err
	}
	letters, err := d.broker.ends(ctx, deadLetterTopic)
	if err != nil {
		return err
	}
	d.ledger.compare(committed, ends, letters)
	return nil
}

// problems returns everything that is wrong, nothing if all is well.
func (d *demo) problems() []string {
	problems := d.ledger.problems()
	counts, rows := d.ledger.counts(), d.receiver.State().Rows
	if len(problems) == 0 && rows != counts.signups {
		problems = append(problems, fmt.Sprintf("the sheet has %d rows of %d signups", rows, counts.signups))
	}
	if rows >= 50 && d.sheet.state().ages == 0 {
		problems = append(problems, "no row has an age")
	}
	return problems
}
