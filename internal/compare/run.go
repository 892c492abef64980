package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

type options struct {
	scenario scenario
	records  int
	latency  time.Duration
	outage   time.Duration
	patience time.Duration
	consumer []string // command and arguments
	dir      string   // for logs and files
}

const (
	topic      = "user.signup"
	dead       = topic + ".dlq"
	group      = "compare"
	partitions = 6
	keys       = 1000 // event n has key n modulo keys
)

// run starts everything, waits until all rows have come or none comes any more, and counts.
func run(ctx context.Context, o options) (figures, error) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, topic), kfake.SeedTopics(1, dead))
	if err != nil {
		return figures{}, err
	}
	defer cluster.Close()
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.DefaultProduceTopic(topic))
	if err != nil {
		return figures{}, err
	}
	defer client.Close()
	if err := publish(ctx, client, o); err != nil {
		return figures{}, err
	}

	e := newEndpoint(o)
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return figures{}, err
	}
	server := &http.Server{Handler: e, ReadHeaderTimeout: time.Minute, ConnState: e.connState}
	go func() { _ = server.Serve(listener) }() // ends with Close
	defer server.Close()

	c := consumer{options: o, env: append(os.Environ(),
		"BROKER="+cluster.ListenAddrs()[0], "TOPIC="+topic, "GROUP="+group, "ENDPOINT=http://"+listener.Addr().String()+"/rows",
		"FILE="+filepath.Join(o.dir, "events"), "DEAD="+filepath.Join(o.dir, "dead"), "STATE="+o.dir)}
	if err := c.start(ctx); err != nil {
		return figures{}, err
	}
	defer c.kill()
	if err := c.watch(ctx, e); err != nil {
		return figures{}, err
	}
	c.stop()

	f := e.figures()
	f.cpu, f.ended = c.cpu(), c.byItself
	if f.dead, err = deadLetters(ctx, client, o); err != nil {
		return figures{}, err
	}
	return f, nil
}

// publish writes the events to the topic, and to the file.
func publish(ctx context.Context, client *kgo.Client, o options) error {
	var lines bytes.Buffer
	records := make([]*kgo.Record, o.records)
	for n := range records {
		value := fmt.Appendf(nil, `{"id":"event-%d","email":"user%d@mail.example","name":"Emma Smith","plan":"pro","source":"website","metadata":{"note":"%s"}}`,
			n, n%keys, strings.Repeat("x", 200))
		records[n] = &kgo.Record{Key: fmt.Appendf(nil, "user-%d", n%keys), Value: value}
		lines.Write(value)
		lines.WriteByte('\n')
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return os.WriteFile(filepath.Join(o.dir, "events"), lines.Bytes(), 0o600)
}

// deadLetters counts what was given up: records of the topic for them, and lines of the file.
func deadLetters(ctx context.Context, client *kgo.Client, o options) (int, error) {
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, dead)
	if err != nil {
		return 0, err
	}
	total := 0
	ends.Each(func(l kadm.ListedOffset) { total += int(l.Offset) })
	text, err := os.ReadFile(filepath.Join(o.dir, "dead"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	return total + bytes.Count(text, []byte("\n")), nil
}

// consumer is the program that is compared, as a process.
type consumer struct {
	options
	env      []string
	cmd      *exec.Cmd
	ended    chan struct{} // closed when the process has
	byItself bool          // it ended before it was asked to
}

func (c *consumer) start(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(c.dir, "consumer.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own
	c.cmd = exec.CommandContext(ctx, c.consumer[0], c.consumer[1:]...)
	c.cmd.Env, c.cmd.Stdout, c.cmd.Stderr = c.env, log, log
	if err := c.cmd.Start(); err != nil {
		return err
	}
	cmd, ended := c.cmd, make(chan struct{})
	c.ended = ended
	go func() {
		defer close(ended)
		_ = cmd.Wait() // how does not matter
	}()
	return nil
}

// watch returns when the run is over.
func (c *consumer) watch(ctx context.Context, e *endpoint) error {
	began := time.Now()
	killed := !c.scenario.kill
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	trouble := e.trouble
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-trouble:
			trouble = nil
			if killed {
				continue
			}
			killed = true
			c.kill()
			if err := c.start(ctx); err != nil {
				return err
			}
		case <-c.ended:
			c.byItself = true
			return nil
		case <-tick.C:
			if e.done(began, time.Now()) {
				return nil
			}
		}
	}
}

func (c *consumer) kill() {
	_ = c.cmd.Process.Kill() // it may have ended
	<-c.ended
}

// stop asks the process to end, and ends it if it does not.
func (c *consumer) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-c.ended:
	case <-time.After(30 * time.Second):
		c.kill()
	}
}

// cpu is the time that the last process used.
func (c *consumer) cpu() time.Duration {
	return c.cmd.ProcessState.UserTime() + c.cmd.ProcessState.SystemTime()
}
