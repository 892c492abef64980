package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"signup-sheet/internal/receiver"
)

// pause is how long to wait between two looks at what has happened.
const pause = 100 * time.Millisecond

// demo is everything that runs.
type demo struct {
	opts     options
	out      *progress
	dir      string
	broker   *broker
	sheet    *sheet
	receiver *receiver.Receiver
	ledger   *ledger
	fleet    *fleet
}

// run plays the demo. When ctx ends it stops publishing and brings what it has begun to a good end; when hurry ends it gives
// up.
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
	if d.broker, err = startBroker(opts.brokerPort); err != nil {
		return err
	}
	defer d.broker.close()
	agifyURL, stopAgify, err := serve(hurry, 0, newAgify())
	if err != nil {
		return err
	}
	defer stopAgify()
	at := places{broker: d.broker.addr, agify: agifyURL}

	if opts.webhook != "" {
		at.sheet, at.preset, at.concurrency = opts.webhook, presetOf(opts.webhook), 1
		d.fleet = d.launcher(hurry, at)
		defer func() { _ = d.fleet.stop() }() // of no interest: it was asked before, or something else went wrong
		return (&visit{demo: d, watcher: newWatcher()}).play(ctx, hurry)
	}

	if d.sheet, err = createSheet(d.opts.csv); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.sheet.close()) }()
	d.receiver = receiver.New(receiver.KeepEntries(false), receiver.WriteRows(d.sheet.write))
	receiverURL, stopReceiver, err := serve(hurry, 0, d.receiver)
	if err != nil {
		return err
	}
	defer stopReceiver()
	at.sheet = receiverURL + "/rows"
	d.fleet = d.launcher(hurry, at)
	defer func() { _ = d.fleet.stop() }() // as above

	if opts.once > 0 {
		return (&once{demo: d, trouble: newTrouble(opts.once)}).play(ctx, hurry)
	}
	return newLive(d).play(ctx, hurry)
}

// launcher returns a fleet without consumers yet. They live until hurry ends at most.
func (d *demo) launcher(hurry context.Context, at places) *fleet {
	return newFleet(func(name string) (*consumer, error) {
		return startConsumer(hurry, d.opts.program, at, d.logPath(name))
	})
}

// logPath is where the log of a consumer is: the log of those that run in its place one after the other.
func (d *demo) logPath(consumer string) string {
	return filepath.Join(d.dir, strings.ReplaceAll(consumer, " ", "-")+".log")
}

// serve serves the handler on a port of the loopback interface, 0 for a free one, until stop.
func serve(ctx context.Context, port int, handler http.Handler) (url string, stop func(), err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
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

// settle finds out what is committed and closes in the ledger what is accounted for.
func (d *demo) settle(ctx context.Context) (offsets, account, error) {
	committed, err := d.broker.committed(ctx)
	if err != nil {
		return nil, account{}, orCause(ctx, err)
	}
	letters, err := d.broker.ends(ctx, deadLetterTopic)
	if err != nil {
		return nil, account{}, orCause(ctx, err)
	}
	published, err := d.broker.ends(ctx, topic)
	if err != nil {
		return nil, account{}, orCause(ctx, err)
	}
	a := d.ledger.settle(committed, letters, d.receiver.Count)
	// The ledger hears of records a moment after Kafka has them: until then they are in flight, too.
	if unheard := int(published.sum()) - a.published; unheard > 0 {
		a.published += unheard
		a.open += unheard
	}
	return committed, a, nil
}

// orCause returns why ctx has ended, if it has, instead of the error that follows from it.
func orCause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// compare notes in the ledger if the group's progress is not at the end of the topic.
func (d *demo) compare(ctx context.Context) error {
	committed, err := d.broker.committed(ctx)
	if err != nil {
		return orCause(ctx, err)
	}
	ends, err := d.broker.ends(ctx, topic)
	if err != nil {
		return orCause(ctx, err)
	}
	letters, err := d.broker.ends(ctx, deadLetterTopic)
	if err != nil {
		return orCause(ctx, err)
	}
	d.ledger.compare(committed, ends, letters)
	return nil
}

// failure is an error of all that went wrong, with the end of the consumer's log shown before it.
func (d *demo) failure(problems []string) error {
	if len(problems) == 0 {
		return nil
	}
	if tail := d.fleet.tail(); tail != "" {
		d.out.line("\nThe end of the consumer's log:\n\n%s", tail)
	}
	return fmt.Errorf("%s", strings.Join(problems, "\n"))
}
