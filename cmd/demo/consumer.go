package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopTime is how long the consumer may take from SIGTERM to its end: its drain and leaving the group. Then it is killed.
const stopTime = 30 * time.Second

// build compiles the program into dir and returns its path. It needs to be called somewhere inside the repository.
func build(ctx context.Context, dir string) (string, error) {
	mod, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the repository: go env GOMOD: %w", err)
	}
	file := strings.TrimSpace(string(mod))
	if filepath.Base(file) != "go.mod" {
		return "", errors.New("find the repository: run the demo from inside it")
	}
	program := filepath.Join(dir, "signup-sheet")
	compile := exec.CommandContext(ctx, "go", "build", "-o", program, "./cmd/signup-sheet") //nolint:gosec // paths of our own
	compile.Dir = filepath.Dir(file)
	if output, err := compile.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build signup-sheet: %w\n%s", err, output)
	}
	return program, nil
}

// places is where the consumer finds the others.
type places struct {
	broker, sheet, agify string
	preset               string // of the sheet; empty for the default
	concurrency          int    // of requests to the sheet; 0 for the default
}

// consumer is the real program, running.
type consumer struct {
	process *exec.Cmd
	log     *consumerLog
	ended   chan struct{} // closed when the process has ended
	err     error         // how, to be read after ended
}

// startConsumer runs "program run", and appends to the log. It lives until stop, or until ctx ends, which kills it.
func startConsumer(ctx context.Context, program string, at places, logPath string) (*consumer, error) {
	file, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // a path of our own
	if err != nil {
		return nil, fmt.Errorf("open the consumer's log: %w", err)
	}
	c := &consumer{log: &consumerLog{file: file}, ended: make(chan struct{})}
	c.process = exec.CommandContext(ctx, program, "run", //nolint:gosec // a program of our own
		"--kafka.brokers", at.broker,
		"--kafka.topic", topic,
		"--kafka.group", group,
		"--dead_letter.topic", deadLetterTopic,
		"--agify.url", at.agify,
		"--admin.listen", "127.0.0.1:0",
		"--log.format", "text",
	)
	if at.preset != "" {
		c.process.Args = append(c.process.Args, "--sink.preset", at.preset)
	}
	if at.concurrency > 0 {
		c.process.Args = append(c.process.Args, "--sink.concurrency", strconv.Itoa(at.concurrency))
	}
	c.process.Env = append(foreignEnvironment(os.Environ()), "SIGNUP_SHEET_SINK_URL="+at.sheet)
	c.process.Stdout, c.process.Stderr = c.log, c.log
	c.process.WaitDelay = 2 * time.Second
	apart(c.process)
	if err := c.process.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start signup-sheet: %w", err), file.Close())
	}
	go func() {
		defer close(c.ended)
		c.err = c.process.Wait()
	}()
	return c, nil
}

// foreignEnvironment returns the variables that are no settings of the consumer: those are the demo's to make.
func foreignEnvironment(environ []string) []string {
	var foreign []string
	for _, variable := range environ {
		if !strings.HasPrefix(variable, "SIGNUP_SHEET_") && !strings.HasPrefix(variable, "SHEETS_WEBHOOK_URL=") {
			foreign = append(foreign, variable)
		}
	}
	return foreign
}

// stop asks the consumer to finish what it has in hand, waits for its end and returns how it ended. It can be called again.
func (c *consumer) stop() error {
	if err := c.process.Process.Signal(syscall.SIGTERM); err != nil {
		_ = c.process.Process.Kill() // it has ended, or this system knows no SIGTERM
	}
	timer := time.NewTimer(stopTime)
	defer timer.Stop()
	select {
	case <-c.ended:
	case <-timer.C:
		_ = c.process.Process.Kill() // it may have ended
		<-c.ended
		c.err = fmt.Errorf("did not stop within %s of SIGTERM and was killed", stopTime)
	}
	c.log.close()
	if c.err != nil && c.log.admin() != "" { // before, it was asked to end before it had begun
		return fmt.Errorf("signup-sheet: %w", c.err)
	}
	return nil
}

// end waits until the consumer, which nobody stopped, has ended, and returns how.
func (c *consumer) end() error {
	<-c.ended
	if c.err == nil {
		return errors.New("signup-sheet ended by itself")
	}
	return fmt.Errorf("signup-sheet ended by itself: %w", c.err)
}

// tailLines is how many lines of the consumer's log are shown when something went wrong.
const tailLines = 30

// consumerLog writes to a file and keeps the last lines.
type consumerLog struct {
	mu   sync.Mutex
	file *os.File // nil once closed
	text []byte   // the end of the log
	head []byte   // its beginning, where the addresses are
}

// maxKept bounds what is kept of either end, in bytes.
const maxKept = 64 << 10

// Write never fails: a full disk must not stop the consumer.
func (l *consumerLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		_, _ = l.file.Write(p)
	}
	if len(l.head) < maxKept {
		l.head = append(l.head, p...)
	}
	l.text = append(l.text, p...)
	if len(l.text) > 2*maxKept {
		l.text = append([]byte(nil), l.text[len(l.text)-maxKept:]...)
	}
	return len(p), nil
}

// tail returns the last lines.
func (l *consumerLog) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := bytes.Split(bytes.TrimSpace(l.text), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-tailLines):], []byte("\n")))
}

var adminAddress = regexp.MustCompile(`admin server listens.* address=(\S+)`)

// admin returns where the consumer's admin server listens, once it has said so.
func (l *consumerLog) admin() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if found := adminAddress.FindSubmatch(l.head); found != nil {
		return string(found[1])
	}
	return ""
}

func (l *consumerLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		_ = l.file.Close() // what matters was shown
		l.file = nil
	}
}
