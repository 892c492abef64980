package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"signup-sheet/consumer"
)

const (
	drawEvery = 500 * time.Millisecond
	logEvery  = 10 * time.Second
	// meterSpan is the time that a speed is the average of.
	meterSpan = 30 * time.Second
)

// logProgress writes a line every 10 s until done is closed.
func logProgress(look func() (consumer.Progress, string), log *slog.Logger, done <-chan struct{}) {
	var m meter
	for {
		select {
		case <-time.After(logEvery):
		case <-done:
			return
		}
		p, held := look()
		speed, left := m.measure(p, time.Now())
		log.Info("replay goes on", "percent", percent(p), "done", p.Done, "total", p.Total, "per_second", int(speed),
			"left", left.String(), "sent", p.Sent, "dead_lettered", p.DeadLettered, "held", held)
	}
}

// bar is the progress on a terminal: one line below what is logged, which goes through it.
type bar struct {
	mu    sync.Mutex
	out   io.Writer
	width func() int
	line  string // what is drawn
}

// newBar draws on a terminal.
func newBar(out io.Writer) *bar {
	return &bar{out: out, width: func() int {
		if file, ok := out.(*os.File); ok {
			if width, _, err := term.GetSize(int(file.Fd())); err == nil && width > 0 { // some do not know it at first
				return width
			}
		}
		return 80
	}}
}

// Fd is the terminal's, by which it is known for one.
func (b *bar) Fd() uintptr {
	if file, ok := b.out.(*os.File); ok {
		return file.Fd()
	}
	return ^uintptr(0)
}

// Write puts text, which is whole lines, in the bar's place, and the bar below it.
func (b *bar) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clear()
	n, err := b.out.Write(text)
	_, _ = io.WriteString(b.out, b.line) // it is drawn again soon
	return n, err
}

func (b *bar) clear() {
	if b.line != "" {
		_, _ = io.WriteString(b.out, "\r\x1b[K") // to the start of the line, and erase it
	}
}

// draw makes line the bar; an empty one takes it away.
func (b *bar) draw(line string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if most := b.width() - 1; len(line) > most {
		line = line[:max(0, most)]
	}
	b.clear()
	b.line = line
	_, _ = io.WriteString(b.out, line) // it is drawn again soon
}

// follow draws the progress until done is closed, and takes the bar away then.
func (b *bar) follow(look func() (consumer.Progress, string), done <-chan struct{}) {
	defer b.draw("")
	var m meter
	for {
		p, held := look()
		speed, left := m.measure(p, time.Now())
		b.draw(barLine(p, speed, left, held))
		select {
		case <-time.After(drawEvery):
		case <-done:
			return
		}
	}
}

// barLine is the bar's text, in ASCII.
func barLine(p consumer.Progress, speed float64, left time.Duration, held string) string {
	if p.Total == 0 {
		return "replay: looking for the range"
	}
	const width = 20
	full := percent(p) * width / 100
	line := fmt.Sprintf("replay [%s%s] %3d%%  %d/%d offsets  %.0f/s", strings.Repeat("#", full), strings.Repeat("-", width-full), percent(p), p.Done, p.Total, speed)
	switch {
	case held != "":
		line += "  held: " + held
	case left > 0:
		line += "  ETA " + left.String()
	}
	return line
}

// percent is 100 only for all of it.
func percent(p consumer.Progress) int {
	if p.Total == 0 {
		return 0
	}
	return int(float64(p.Done) * 100 / float64(p.Total))
}

// meter measures the speed of the last meterSpan.
type meter struct{ samples []sample }

type sample struct {
	at   time.Time
	done int64
}

// measure returns offsets a second, and the time left at this speed; 0 while it is not known.
func (m *meter) measure(p consumer.Progress, now time.Time) (speed float64, left time.Duration) {
	for len(m.samples) > 1 && now.Sub(m.samples[0].at) > meterSpan {
		m.samples = m.samples[1:]
	}
	if p.Total > 0 { // known
		m.samples = append(m.samples, sample{now, p.Done})
	}
	if len(m.samples) < 2 {
		return 0, 0
	}
	first := m.samples[0]
	speed = float64(p.Done-first.done) / now.Sub(first.at).Seconds()
	if speed > 0 {
		left = time.Duration(float64(p.Total-p.Done) / speed * float64(time.Second)).Round(time.Second)
	}
	return speed, left
}
