package kafkatest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Apache is a cluster of Apache Kafka that belongs to one test, which may kill its brokers. They are numbered from 1.
type Apache struct {
	*Cluster
	scripts string // the directory test/kafka
	state   string
	n       int
}

// StartApache gives the test a cluster of Apache Kafka of its own: n brokers with these broker settings ("key=value").
// It is stopped when the test ends, and "make test-kafka" stops what a killed test leaves. It takes about 10 seconds.
//
// Outside of "make test-kafka" (KAFKA_APACHE=1) the test is skipped.
func StartApache(t testing.TB, n int, settings ...string) *Apache {
	t.Helper()
	return startApache(t, n, settings)
}

// startApache calls test/kafka/up with more flags.
func startApache(t testing.TB, n int, settings []string, flags ...string) *Apache {
	t.Helper()
	if os.Getenv("KAFKA_APACHE") != "1" {
		t.Skip("needs Apache Kafka: make test-kafka")
	}
	a := &Apache{scripts: scripts(t), state: t.TempDir(), n: n}
	t.Cleanup(func() { a.down(t) })
	args := append([]string{"-n", strconv.Itoa(n)}, flags...)
	for _, s := range settings {
		args = append(args, "-o", s)
	}
	out := a.run(t, "up", append(args, a.state)...)
	_, addrs, ok := strings.Cut(strings.TrimSpace(out), "export KAFKA_BROKERS=")
	if !ok {
		t.Fatalf("test/kafka/up names no brokers: %s", out)
	}
	a.Cluster = connect(t, &Cluster{addrs: strings.Split(addrs, ",")}, n)
	return a
}

// Kill ends a broker with SIGKILL.
func (a *Apache) Kill(t testing.TB, node int) {
	t.Helper()
	a.run(t, "node", "kill", strconv.Itoa(node), a.state)
}

// Stop ends a broker in good order: it hands its leaderships over first.
func (a *Apache) Stop(t testing.TB, node int) {
	t.Helper()
	a.run(t, "node", "stop", strconv.Itoa(node), a.state)
}

// StartNode starts a broker that was killed or stopped, with its data and on its port, and returns when it listens. It
// may take seconds more until it leads partitions again.
func (a *Apache) StartNode(t testing.TB, node int) {
	t.Helper()
	a.run(t, "node", "start", strconv.Itoa(node), a.state)
}

// WaitBrokers returns when all brokers are registered, after StartNode of the last one that was missing.
func (a *Apache) WaitBrokers(t testing.TB) {
	t.Helper()
	a.waitBrokers(t, a.n)
}

// InSync tells whether all brokers are registered and every partition has all its replicas, so that the next broker can go.
func (a *Apache) InSync(ctx context.Context) bool {
	res, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, a.client) // of all topics
	if err != nil || len(res.Brokers) != a.n {
		return false
	}
	for _, topic := range res.Topics {
		for _, p := range topic.Partitions {
			if p.ErrorCode != 0 || len(p.ISR) < len(p.Replicas) {
				return false
			}
		}
	}
	return true
}

// run calls a script of test/kafka and returns its standard output.
func (a *Apache) run(t testing.TB, script string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	out, err := a.command(ctx, script, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (a *Apache) command(ctx context.Context, script string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(a.scripts, script), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("test/kafka/%s %s: %w: %s", script, strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

// down ends what still runs. The brokers' last words are part of a failed test's output.
func (a *Apache) down(t testing.TB) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	if _, err := a.command(ctx, "down", "-9", a.state); err != nil {
		t.Error(err)
	}
	if !t.Failed() {
		return
	}
	logs, _ := filepath.Glob(filepath.Join(a.state, "broker-*.log"))
	for _, log := range logs {
		text, err := os.ReadFile(log)
		if err == nil {
			t.Logf("the end of %s:\n%s", filepath.Base(log), text[max(0, len(text)-4096):])
		}
	}
}

// scripts returns the directory test/kafka of the module that the test runs in.
func scripts(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; filepath.Dir(dir) != dir; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "test", "kafka")
		}
	}
	t.Fatal("no go.mod above the working directory")
	return ""
}
