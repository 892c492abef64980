package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// pace is the time between two signups.
	pace = time.Second / 20
	// livePause is how long to wait between two looks; the page looks no more often.
	livePause = 200 * time.Millisecond
	// patience is how long what is in flight may take to arrive after Ctrl-C, before the consumers are stopped.
	patience = 5 * time.Second
)

// live is a demo to look at and to play with: it publishes until Ctrl-C, and serves a page.
type live struct {
	*demo
	endpoint  *endpoint
	publisher *publisher
	watcher   *watcher
	flow      flow
	began     time.Time

	mu      sync.Mutex
	view    view // what was seen last
	letters newest
	joined  map[int]bool // the consumers that were seen running, by process id
}

func newLive(d *demo) *live {
	signups := newGenerator(d.opts.seed, time.Now)
	signups.simple = true // what is published is then a row or a dead letter, and duplicates are the consumer's
	d.ledger.crashes, d.ledger.refusals = true, true
	began := time.Now()
	return &live{
		demo:      d,
		endpoint:  &endpoint{},
		publisher: &publisher{broker: d.broker, signups: signups, failed: func(err error) { d.ledger.mistake("publish: %v", err) }},
		watcher:   newWatcher(),
		began:     began,
		joined:    map[int]bool{},
		view:      view{Run: began.Format(time.RFC3339Nano), Kafka: d.broker.addr, Mood: mood{Kind: "waiting", Text: startingText}},
	}
}

// follow keeps account of all that is in the topics, whoever published it.
func (l *live) follow() {
	reader := newReader()
	l.broker.read(
		func(k *kgo.Record) { l.ledger.publish(reader.expect(k), k) },
		func(d deadLetter, err error) {
			if err != nil {
				l.ledger.mistake("%v", err)
				return
			}
			l.mu.Lock()
			l.letters.add(letterCells(d)) // before it counts: what counts is shown
			l.mu.Unlock()
			l.ledger.deadLetter(d)
		},
	)
}

// play runs until ctx ends, and then sees to it that nothing is lost at the end either.
func (l *live) play(ctx, hurry context.Context) error {
	url, stop, err := serve(hurry, l.opts.port, (&page{look: l.show, buttons: l.buttons(), csv: l.opts.csv}).handler())
	if err != nil {
		return fmt.Errorf("--port: %w (choose another one, or leave it out for a free one)", err)
	}
	defer stop()
	l.follow()
	l.receiver.Script(l.endpoint.behave)
	if err := l.fleet.begin(firstConsumer); err != nil {
		return err
	}
	l.out.line("%s\n", table("  ", [][2]string{
		{"Open this", url},
		{"Kafka", l.broker.addr + ", topic " + topic + ", dead letters in " + deadLetterTopic + "; publish to it if you like"},
		{"Sheet", l.opts.csv},
		{"Log", l.logPath(firstConsumer)},
	}))
	l.out.step("publishing %d signups a second; stop with Ctrl-C", time.Second/l.opts.pace)

	publishing, rest := context.WithCancel(ctx)
	var publisher sync.WaitGroup
	publisher.Go(func() { l.publisher.run(publishing, l.opts.pace) })
	err = l.watch(ctx, hurry)
	rest()
	publisher.Wait()
	if err == nil {
		l.out.step("%v: waiting for what is in flight", context.Cause(ctx))
		err = l.finish(hurry)
	}
	return l.conclude(err)
}

// watch looks at everything until ctx ends or a consumer fails.
func (l *live) watch(ctx, hurry context.Context) error {
	ticker := time.NewTicker(livePause)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-l.fleet.failed:
			return err
		case <-ticker.C:
			if _, err := l.account(hurry, ""); err != nil {
				return err
			}
		}
	}
}

// finish ends all trouble, gives what is in flight the time to arrive and stops the consumers.
func (l *live) finish(hurry context.Context) error {
	l.endpoint.calm()
	const ending = "The demo is ending."
	if err := l.broker.flush(hurry); err != nil {
		return fmt.Errorf("publish: %w", context.Cause(hurry))
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	ticker := time.NewTicker(livePause)
	defer ticker.Stop()
	for waiting := true; waiting; {
		a, err := l.account(hurry, ending)
		if err != nil {
			return err
		}
		if a.open == 0 {
			break
		}
		select {
		case <-late.C:
			waiting = false
		case <-ticker.C:
		case err := <-l.fleet.failed:
			return err
		case <-hurry.Done():
			return context.Cause(hurry)
		}
	}
	l.out.step("stopping")
	if err := l.fleet.stop(); err != nil {
		return err
	}
	a, err := l.account(hurry, ending)
	if err != nil || a.open > 0 {
		return err
	}
	return l.compare(hurry)
}

// conclude says what happened.
func (l *live) conclude(err error) error {
	l.out.line("\n%s", l.summary(l.began, ""))
	var problems []string
	if err != nil {
		problems = append(problems, err.Error())
	}
	a := l.last()
	if a.Lost > 0 {
		problems = append(problems, fmt.Sprintf("%d records are lost: committed, but neither in the sheet nor in the dead letters", a.Lost))
	}
	problems = append(problems, l.ledger.wrongs()...)
	if err := l.failure(problems); err != nil {
		return err
	}
	if a.InFlight > 0 {
		l.out.line("\nNothing is lost: %d records were still in flight. They are not committed, so a consumer would begin with them.", a.InFlight)
		return nil
	}
	l.out.line("\nEvery record is accounted for, and the group's progress is at the end of the topic.")
	return nil
}

// account finds out where everything is, for the page and the terminal. ending is the mood at the end.
func (l *live) account(ctx context.Context, ending string) (account, error) {
	paused := l.publisher.isPaused() // before all is counted: when it says that everything has arrived, nothing may follow
	committed, a, err := l.settle(ctx)
	if err != nil {
		return account{}, err
	}
	reports := l.watcher.look(ctx, l.fleet.list())
	state := l.receiver.State()
	now := time.Now()
	v := view{
		Run:    l.view.Run,
		Counts: countsOf(a, state.Duplicates()),
		Rates: l.flow.note(now, road{
			Published: float64(a.published), Fetched: l.watcher.sum.fetched, Enriched: l.watcher.sum.enriched,
			Delivered: float64(state.Accepted), Committed: float64(committed.sum()), DeadLetters: float64(a.deadLetters),
		}),
		Mood:      moodOf(now, reports, a, paused),
		Consumers: consumerViews(reports),
		Kafka:     l.broker.addr,
	}
	if ending != "" {
		v.Mood = mood{Kind: "ended", Text: ending}
	}
	l.mu.Lock()
	l.view = v
	for _, r := range reports {
		if r.runs() {
			l.joined[r.pid()] = true
		}
	}
	l.mu.Unlock()
	l.out.status(fmt.Sprintf("published %s = rows %s + dead letters %s + in flight %s   %s",
		number(a.published), number(a.signups), number(a.deadLetters), number(v.Counts.InFlight+v.Counts.Skipped), v.Mood.Text))
	return a, nil
}

func (l *live) last() counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.view.Counts
}

// show returns the view with the rows and the dead letters behind those that the page has. A negative number asks for none.
func (l *live) show(rows, letters int, buttons []button) view {
	l.mu.Lock()
	v := l.view
	v.Counts.LetterRows = l.letters.count
	if letters >= 0 {
		some := l.letters.after(letters)
		v.Letters = &some
	}
	l.mu.Unlock()
	v.Columns, v.Counts.SheetRows = l.sheet.columns()
	if rows >= 0 {
		some := l.sheet.after(rows)
		v.Rows = &some
	}
	v.Buttons = buttonViews(buttons)
	return v
}
