package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progress tells what is going on: on a terminal the last line is replaced by the next, elsewhere every line stays.
type progress struct {
	w        io.Writer
	terminal bool
	start    time.Time

	mu      sync.Mutex
	shown   time.Time // when a line of status was last written
	pending bool      // the terminal's last line is one of status
}

func newProgress(w io.Writer, terminal bool) *progress {
	return &progress{w: w, terminal: terminal, start: time.Now()}
}

// line writes a line that stays.
func (p *progress) line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	fmt.Fprintf(p.w, format+"\n", args...)
}

// step says what begins now.
func (p *progress) step(format string, args ...any) {
	p.line("%6.1fs  %s", time.Since(p.start).Seconds(), fmt.Sprintf(format, args...))
}

// status says how far things are, at most five times a second on a terminal and once a second elsewhere.
func (p *progress) status(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	every := time.Second
	if p.terminal {
		every = 200 * time.Millisecond
	}
	now := time.Now()
	if now.Sub(p.shown) < every {
		return
	}
	p.shown = now
	p.clear()
	fmt.Fprintf(p.w, "%6.1fs  %s", now.Sub(p.start).Seconds(), text)
	if !p.terminal {
		fmt.Fprintln(p.w)
	}
	p.pending = p.terminal
}

func (p *progress) clear() {
	if p.pending {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.pending = false
	}
}
