package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"

	"signup-sheet/consumer"
)

// replayConfig is what the command replay is told besides the settings.
type replayConfig struct {
	From, To time.Time // UTC, whole milliseconds
	Name     string
	Rate     int // rows a second of all its processes; 0: Share of sink.rate
	Share    int // percent
	DryRun   bool
}

// asked tells whether the command is replay.
func (r replayConfig) asked() bool { return !r.To.IsZero() }

// apply makes a consumer a replay.
func (r replayConfig) apply(c *consumer.Config) {
	c.Range = &consumer.Range{From: r.From, To: r.To}
	c.Group = c.Range.Group(c.Group, c.Topic, r.Name)
	c.Sink.Rate *= float64(r.Share) / 100
	if r.Rate > 0 {
		c.Sink.Rate = float64(r.Rate)
	}
}

// String is the command line that continues the replay, without its settings.
func (r replayConfig) String() string {
	line := fmt.Sprintf("signup-sheet replay --from %s --to %s", formatMoment(r.From), formatMoment(r.To))
	if r.Name != "" {
		line += " --name " + r.Name
	}
	return line
}

// replaySettings are the flags that only replay has.
func replaySettings(r *replayConfig) []setting {
	return []setting{
		{
			name: "from", value: moment(&r.From), only: "replay",
			help: "first moment of the range: 2026-11-01T00:00:00Z, 2026-11-01 (UTC), 24h (ago); required",
		},
		{
			name: "to", value: moment(&r.To), only: "replay",
			help: "end of the range, which is not part of it: the same, or now; not in the future; required",
		},
		{
			name: "name", value: text(&r.Name, "name", replayName), only: "replay",
			help: "part of the group's name: another name sends the same range again",
		},
		{
			name: "rate", value: rowRate(&r.Rate), only: "replay",
			help: "requests a second at most, of all processes of the replay together: 50/s; without it, replay.share of sink.rate, " +
				"or as fast as the endpoint takes them",
		},
		{
			name: "dry-run", value: toggle(&r.DryRun), fallback: "false", only: "replay",
			help: "only count what would become of the records, and show three rows",
		},
	}
}

var replayNamePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func replayName(text string) error {
	if !replayNamePattern.MatchString(text) {
		return errors.New("want 1 to 64 letters, digits, underscores and hyphens")
	}
	return nil
}

// judgeReplay holds what must be true of a range.
func (l *loader) judgeReplay(r replayConfig) {
	for _, name := range []string{"from", "to"} {
		at := r.From
		if name == "to" {
			at = r.To
		}
		switch {
		case l.broken[name]:
		case at.IsZero():
			l.problem("--%s is required: want a time, such as 2026-11-01T00:00:00Z or 24h (ago)", name)
			l.broken[name] = true
		case at.After(time.Now()):
			l.problem("%s is in the future: want a time that has passed, or now", l.describe(name))
			l.broken[name] = true
		}
	}
	l.require(r.From.Before(r.To), "%s must be before %s: correct one", "from", "to")
}

func replayCommand(ctx context.Context, args []string, env map[string]string, stdout, stderr io.Writer) int {
	cfg, err := load("replay", args, env)
	if err != nil {
		return fail(stderr, err)
	}
	var bar *bar
	if isTerminal(stderr) {
		bar = newBar(stderr)
		stderr = bar
	}
	log := newLogger(stderr, cfg.Log)
	do := runReplay
	if cfg.Replay.DryRun {
		do = dryRun
	}
	err = do(ctx, cfg, log, bar, stdout)
	switch {
	case errors.Is(err, errDeadLettered):
		log.Warn("finished, but some rows were dead-lettered", "dead_letter_topic", cfg.DeadLetter.Topic)
	case err != nil:
		log.Error("stopped", "err", err)
	}
	return exitCode(err)
}

// runReplay replays a range to its end, or until ctx ends.
func runReplay(ctx context.Context, cfg config, log *slog.Logger, bar *bar, stdout io.Writer) error {
	p, err := assemble(cfg, log)
	if err != nil {
		return err
	}
	defer p.close()
	// A replay often runs beside the consumer, with the same settings.
	admin, err := p.startAdmin(ctx, cfg, log)
	if err != nil {
		log.Warn("there is no admin server for this replay", "err", err)
	} else {
		defer admin.stop()
	}
	began := time.Now()
	log.Info("replay begins", "topic", cfg.Kafka.Topic, "from", formatMoment(cfg.Replay.From), "to", formatMoment(cfg.Replay.To), "group", p.group)
	stop := follow(p.consumer, bar, log)
	stopAnswers := p.answers.run(ctx)
	err = p.consumer.Run(ctx)
	stopAnswers()
	stop()
	if err != nil {
		return err
	}
	progress := p.consumer.Progress()
	say(stdout, summary(cfg, p.group, progress, time.Since(began)))
	switch {
	case !progress.Finished:
		return fmt.Errorf("%s before the end; the same range goes on with: %s, and the same settings", reasonOf(ctx), cfg.Replay)
	case progress.AllDeadLetters > 0:
		return errDeadLettered
	}
	return nil
}

// dryRun counts what a replay would do.
func dryRun(ctx context.Context, cfg config, log *slog.Logger, bar *bar, stdout io.Writer) error {
	cfg.Agify.Enabled = false // nobody is asked
	p, err := assemble(cfg, log)
	if err != nil {
		return err
	}
	defer p.close()
	stop := follow(p.consumer, bar, log)
	preview, err := p.consumer.Preview(ctx)
	stop()
	if err != nil {
		return err
	}
	say(stdout, report(cfg, preview))
	return nil
}

// follow shows the progress until stop is called.
func follow(c *consumer.Consumer, bar *bar, log *slog.Logger) (stop func()) {
	look := func() (consumer.Progress, string) {
		var held []string
		for _, h := range c.Status().Holds {
			held = append(held, h.Reason)
		}
		return c.Progress(), strings.Join(held, ", ")
	}
	done := make(chan struct{})
	var following sync.WaitGroup
	following.Go(func() {
		if bar != nil {
			bar.follow(look, done)
		} else {
			logProgress(look, log, done)
		}
	})
	return func() {
		close(done)
		following.Wait()
	}
}
