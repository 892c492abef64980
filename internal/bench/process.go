package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stopTime is how long a process may take from SIGTERM to its end. Then it is killed.
const stopTime = 30 * time.Second

// child is a process that this one started. It is killed when the context of its start ends.
type child struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers *json.Decoder // of what it writes to its standard output; nil if that goes to its log
	log     string        // the path of its log
	ended   chan struct{} // closed when it has ended
	err     error         // how, to be read after ended
}

// startRole starts this binary in another role. It speaks JSON over its standard streams and ends when its input does.
func (l *lab) startRole(ctx context.Context, role string, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, append([]string{role}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c, err := l.start(cmd, role)
	if err != nil {
		return nil, err
	}
	c.answers = json.NewDecoder(out)
	return c, nil
}

// startProgram starts a program whose output is its log.
func (l *lab) startProgram(ctx context.Context, name, path string, args, env []string) (*child, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = env
	return l.start(cmd, name) // which logs to its standard error
}

func (l *lab) start(cmd *exec.Cmd, name string) (*child, error) {
	log, err := os.Create(filepath.Join(l.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own
	cmd.Stderr = log
	cmd.WaitDelay = 2 * time.Second
	c := &child{cmd: cmd, log: log.Name(), ended: make(chan struct{})}
	if c.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(c.ended)
		c.err = cmd.Wait()
	}()
	return c, nil
}

// answer reads the next value that the process writes. What it has written and nobody has read is lost when it ends.
func (c *child) answer(to any) error {
	if err := c.answers.Decode(to); err != nil {
		return fmt.Errorf("read from process %d: %w", c.cmd.Process.Pid, err)
	}
	return nil
}

// stop asks the process to end, and waits.
func (c *child) stop() error {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	timer := time.NewTimer(stopTime)
	defer timer.Stop()
	select {
	case <-c.ended:
		return c.err
	case <-timer.C:
		c.kill()
		return fmt.Errorf("did not end within %s of SIGTERM", stopTime)
	}
}

// kill ends the process if it has not ended.
func (c *child) kill() {
	_ = c.in.Close()
	_ = c.cmd.Process.Kill() // it may have ended
	<-c.ended
}

// cpu is the processor time, in user mode and in the system, of a process that has ended.
func (c *child) cpu() time.Duration {
	return c.cmd.ProcessState.UserTime() + c.cmd.ProcessState.SystemTime()
}

// tail returns the end of what the process has logged.
func (c *child) tail() string {
	text, err := os.ReadFile(c.log)
	if err != nil {
		return ""
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-10):], []byte("\n")))
}

// foreign returns the variables of an environment that are no settings of the program: those are ours to make.
func foreign(environ []string) []string {
	var env []string
	for _, variable := range environ {
		if !strings.HasPrefix(variable, "SIGNUP_SHEET_") && !strings.HasPrefix(variable, "SHEETS_") {
			env = append(env, variable)
		}
	}
	return env
}
