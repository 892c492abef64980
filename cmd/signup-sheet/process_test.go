package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"signup-sheet/consumer"
	"signup-sheet/internal/kafkatest"
	"signup-sheet/internal/receiver"
)

// stage is a Kafka cluster with the topics of a test, on which processes of the program play.
type stage struct {
	*kafkatest.Cluster
	topic, group string
	partitions   int32
}

// newStage prepares a topic with so many partitions and its dead-letter topic on the brokers of the environment, or kfake.
func newStage(t *testing.T, partitions int32) *stage {
	t.Helper()
	s := &stage{Cluster: kafkatest.Start(t), topic: kafkatest.UniqueName(t), group: kafkatest.UniqueName(t), partitions: partitions}
	s.CreateTopic(t, s.topic, partitions, nil)
	s.CreateTopic(t, s.dlq(), 1, nil)
	return s
}

func (s *stage) dlq() string { return s.topic + ".dlq" }

// publish writes n signups prefix-0…, each with a key of its own, to the partitions in turn.
func (s *stage) publish(t *testing.T, prefix string, n int) []string {
	t.Helper()
	ids, records := make([]string, n), make([]*kgo.Record, n)
	for i := range records {
		ids[i] = fmt.Sprintf("%s-%d", prefix, i)
		records[i] = &kgo.Record{
			Key: []byte(ids[i]), Value: fmt.Appendf(nil, `{"id":%q,"email":"ann@example.com","name":"Ann Smith"}`, ids[i]), Partition: int32(i) % s.partitions,
		}
	}
	s.Produce(t, s.topic, records...)
	return ids
}

// committed waits until the group's commits add up to n.
func (s *stage) committed(t *testing.T, n int) {
	t.Helper()
	s.WaitCommitted(t, s.group, s.topic, func(commits map[int32]kafkatest.Commit) bool {
		var sum int64
		for _, c := range commits {
			sum += c.Offset
		}
		return sum == int64(n)
	})
}

// process is the program, running.
type process struct {
	cmd     *exec.Cmd
	out     output // what it writes to its standard streams
	started time.Time
	ended   chan struct{} // closed when it has ended
}

// start runs the program with a webhook and more flags. It is killed when the test ends, if it still runs then.
func (s *stage) start(t *testing.T, webhook string, flags ...string) *process {
	t.Helper()
	return s.command(t, "run", webhook, flags...)
}

// command is start for another command than run.
func (s *stage) command(t *testing.T, command, webhook string, flags ...string) *process {
	t.Helper()
	return startCommand(t, command, webhook, append([]string{
		"--kafka.brokers", strings.Join(s.Addrs(), ","), "--kafka.topic", s.topic, "--kafka.group", s.group,
	}, flags...)...)
}

func start(t *testing.T, webhook string, flags ...string) *process {
	t.Helper()
	return startCommand(t, "run", webhook, flags...)
}

func startCommand(t *testing.T, command, webhook string, flags ...string) *process {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{command, "--admin.listen", "127.0.0.1:0", "--log.level", "debug", "--log.format", "json", "--agify.enabled=false"}, flags...)
	p := &process{cmd: exec.CommandContext(t.Context(), program, args...), started: time.Now(), ended: make(chan struct{})}
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(strings.ToUpper(variable), "=")
		if !strings.HasPrefix(name, "SIGNUP_SHEET_") && !strings.HasPrefix(name, "SHEETS_") && !strings.HasSuffix(name, "_PROXY") {
			p.cmd.Env = append(p.cmd.Env, variable)
		}
	}
	p.cmd.Env = append(p.cmd.Env, "START_AS_SIGNUP_SHEET=1", "SIGNUP_SHEET_SINK_URL="+webhook)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if _, err := p.cmd.StdinPipe(); err != nil { // stays open as long as this process lives
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // its state is looked at
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.ended
		if t.Failed() {
			t.Logf("process %d, %v, wrote:\n%s", p.cmd.Process.Pid, p.cmd.ProcessState, p.out.tail(40))
		}
	})
	return p
}

// signal sends a signal to the process and returns when that was.
func (p *process) signal(t *testing.T, sig syscall.Signal) time.Time {
	t.Helper()
	at := time.Now()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("send %v: %v", sig, err)
	}
	return at
}

// end waits until the process has ended, and returns its exit code: -1 if a signal ended it.
func (p *process) end(t *testing.T, limit time.Duration) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(limit):
		t.Fatalf("process %d has not ended within %v", p.cmd.Process.Pid, limit)
	}
	return p.cmd.ProcessState.ExitCode()
}

// kill ends the process with SIGKILL.
func (p *process) kill(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGKILL)
	p.end(t, 10*time.Second)
}

// terminate stops the process in order and requires that it says that all is fine.
func (p *process) terminate(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	if code := p.end(t, 40*time.Second); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
}

// get asks the admin server.
func (p *process) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	var address string
	await(t, "the admin server", func() bool {
		for _, line := range p.out.lines("admin server listens") {
			address = line.Address
		}
		return address != ""
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	return res.StatusCode, string(text)
}

// status is what /status says.
func (p *process) status(t *testing.T) consumer.Status {
	t.Helper()
	_, body := p.get(t, "/status")
	var s consumer.Status
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatalf("/status: %v: %s", err, body)
	}
	return s
}

// holds tells whether deliveries are held for a reason.
func (p *process) holds(t *testing.T, reason string) bool {
	t.Helper()
	return slices.ContainsFunc(p.status(t).Holds, func(h consumer.Hold) bool { return h.Reason == reason })
}

// running waits until the process works on so many partitions.
func (p *process) running(t *testing.T, partitions int) {
	t.Helper()
	await(t, fmt.Sprintf("a process with %d partitions", partitions), func() bool {
		s := p.status(t)
		return s.State == "running" && len(s.Partitions) == partitions
	})
}

// line is a line of the program's log.
type line struct {
	Time       time.Time
	Level      string
	Msg        string
	Err        string
	Reason     string
	Address    string
	Generation int32
}

// logged waits for a line of the log after a moment and returns it.
func (p *process) logged(t *testing.T, msg string, after time.Time) line {
	t.Helper()
	var found line
	await(t, "the log line "+msg, func() bool {
		for _, l := range p.out.lines(msg) {
			if l.Time.After(after) {
				found = l
				return true
			}
		}
		return false
	})
	return found
}

// output keeps what a process writes.
type output struct {
	mu   sync.Mutex
	text []byte
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, p...)
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}

func (o *output) tail(n int) string {
	lines := strings.Split(o.String(), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// lines returns the lines of the log with a message.
func (o *output) lines(msg string) (found []line) {
	for text := range bytes.Lines([]byte(o.String())) {
		var l line
		if json.Unmarshal(text, &l) == nil && l.Msg == msg {
			found = append(found, l)
		}
	}
	return found
}

// await waits until cond holds.
func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick, end := time.NewTicker(20*time.Millisecond), time.After(time.Minute)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// awaitSheet waits until the sheet's state is as done says.
func awaitSheet(t *testing.T, sheet *receiver.Receiver, what string, done func(receiver.State) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("a minute is over"))
	defer cancel()
	if err := sheet.Wait(ctx, done); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
