package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"signup-sheet/internal/kafkatest"
)

// The processes' times: short, because this is real time.
const (
	processSession = 3 * time.Second
	processDrain   = 5 * time.Second
)

// build builds the program as it is now, or as GOFLAGS' overlay has it.
func build(t *testing.T) (program string) {
	t.Helper()
	program = filepath.Join(t.TempDir(), "signup-sheet")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", program, "signup-sheet/cmd/signup-sheet")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v: %s", err, out)
	}
	return program
}

// process is the program, running.
type process struct {
	name  string
	cmd   *exec.Cmd
	spoke chan struct{} // it wrote something
	ended chan struct{}
}

// speech closes spoke when something is written.
type speech struct {
	*journal
	once  sync.Once
	spoke chan struct{}
}

func (s *speech) Write(b []byte) (int, error) {
	s.once.Do(func() { close(s.spoke) })
	return s.journal.Write(b)
}

// play is a run in real time with real processes, on kfake or on Apache Kafka.
type play struct {
	*world
	t         *testing.T
	program   string
	apache    *kafkatest.Apache // nil on kfake
	processes []*process
	started   int
	down      int        // the broker that is down, from 1; 0: none
	repaired  func()     // ends the fault of the last broker that was down
	backAt    time.Time  // when a broker was back
	resume    []*sleeper // processes that stand still
	pulse     *pulse
}

type sleeper struct {
	*process
	until time.Time
	ended func()
}

// playProcesses plays a seed for about so long, and a while to come to an end.
func playProcesses(t *testing.T, w *world, program string, apache *kafkatest.Apache, d time.Duration) {
	t.Helper()
	p := &play{world: w, t: t, program: program, apache: apache, pulse: feel(t, w)}
	w.oracle.slack = 2 * time.Second // this is real time, on a machine that may be busy
	if apache == nil {
		w.watch()
	}
	p.publish(t, 100)
	p.start()
	p.start()
	for end := time.Now().Add(d); time.Now().Before(end); {
		p.step()
		pause(time.Duration(p.rng.Int64N(int64(500 * time.Millisecond))))
		p.wake(func(x *sleeper) bool { return time.Now().After(x.until) })
	}
	p.webhook.change(calm())
	p.agify.change(0)
	p.oracle.tell("calm")
	p.wake(func(*sleeper) bool { return true })
	p.repair()
	if !p.allDone(t, 150*time.Second) {
		p.oracle.stall()
	}
	for len(p.processes) > 0 {
		p.terminate(0)
	}
	p.letters(t)
	if apache != nil {
		p.everyCommit()
	}
}

func (p *play) step() {
	switch n := p.rng.IntN(20); {
	case n < 7:
		p.publish(p.t, 1+p.rng.IntN(300))
	case n < 11:
		p.turnWeather()
	case n < 12:
		p.agify.change(p.rng.Float64())
	case n < 14 && p.apache == nil:
		p.oracle.tell("leaders move")
		p.Fake().ShufflePartitionLeaders()
	case n < 14:
		p.killBroker()
	default:
		p.membership()
	}
}

// turnWeather leaves those out that need minutes to recover from.
func (p *play) turnWeather() {
	bad := weathers(sinkTimeout)
	w := calm()
	if n := p.rng.IntN(len(bad) + 6); n < len(bad) && bad[n].share < 1 {
		w = bad[n]
	}
	p.oracle.tell("the endpoint: %s", w.name)
	p.webhook.change(w)
}

// pulse feels whether the machine goes on, and whether the group's coordinator answers. Without the one, processes miss answers
// and their sessions end; without the other, they cannot commit what was accepted.
type pulse struct {
	oracle *oracle
	group  string
	admin  *kadm.Client

	asking sync.Mutex
	mu     sync.Mutex
	last   time.Time // the last beat
	long   time.Time // when a pause of more than tooLong ended
}

const (
	// missedBeat is the shortest pause that counts: an answer that is not as late for the webhook may be too late for the process then.
	missedBeat = sinkTimeout / 4
	// tooLong is a pause that takes all the time from a last commit that rows under way may leave it.
	tooLong = processDrain - sinkTimeout
)

// feel feels the pulse until the test ends.
func feel(t *testing.T, w *world) *pulse {
	t.Helper()
	p := &pulse{oracle: w.oracle, group: w.group, admin: kadm.NewClient(w.Client(t)), last: time.Now()}
	ctx, cancel := context.WithCancel(t.Context())
	var feeling sync.WaitGroup
	for _, beat := range []func(context.Context){p.machine, p.coordinator} {
		feeling.Go(func() {
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				beat(ctx)
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		})
	}
	t.Cleanup(func() { cancel(); feeling.Wait() })
	return p
}

func (p *pulse) machine(context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.missed(standsStill, p.last)
	p.last = time.Now()
}

// coordinator asks until there is an answer.
func (p *pulse) coordinator(ctx context.Context) {
	p.asking.Lock()
	defer p.asking.Unlock()
	for asked := time.Now(); ctx.Err() == nil; pause(50 * time.Millisecond) {
		groups, err := p.admin.DescribeGroups(ctx, p.group)
		if err == nil && (groups[p.group].Err == nil || errors.Is(groups[p.group].Err, kerr.GroupIDNotFound)) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.missed("the coordinator does not answer", asked)
			return
		}
	}
}

// missed notes a fault of all since a moment, if that is long ago. The pulse's mutex is held.
func (p *pulse) missed(what string, since time.Time) {
	now := time.Now()
	d := now.Sub(since)
	if d <= missedBeat {
		return
	}
	p.oracle.tell("fault of all for %v: %s", d, what)
	p.oracle.pausedAll(what, since, now)
	if d > tooLong {
		p.long = now
	}
}

// paused tells whether there was a pause of more than tooLong since a moment.
func (p *pulse) paused(ctx context.Context, since time.Time) bool {
	p.machine(ctx)
	p.coordinator(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.long.After(since)
}

// membership starts, stops, kills or pauses a process. On kfake not while the group settles: it has bugs there that
// Apache Kafka has not.
func (p *play) membership() {
	if p.apache == nil {
		g := p.Fake().GroupInfo(p.group)
		if len(p.resume) > 0 || g == nil || g.State != "Stable" || len(g.Members) != len(p.processes) {
			return
		}
	}
	n := p.rng.IntN(len(p.processes))
	switch k := p.rng.IntN(10); {
	case k < 2 && len(p.processes) < 4:
		p.start()
	case k < 4:
		p.terminate(n)
		if len(p.processes) == 0 {
			p.start()
		}
	case k < 7:
		p.kill(n)
		p.start()
	default:
		p.stand(n)
	}
}

func (p *play) start() {
	p.started++
	name := fmt.Sprintf("p%d", p.started)
	concurrency, window := 8<<p.rng.IntN(4), 1<<(4+p.rng.IntN(9))
	p.oracle.tell("%s starts, concurrency %d, window %d", name, concurrency, window)
	x := &process{name: name, spoke: make(chan struct{}), ended: make(chan struct{})}
	x.cmd = exec.Command(p.program, "run", //nolint:noctx // it is ended in order, or killed
		"--kafka.brokers", strings.Join(p.Addrs(), ","), "--kafka.topic", p.topic, "--kafka.group", p.group,
		"--kafka.session_timeout", processSession.String(), "--kafka.heartbeat_interval", "500ms", "--consumer.commit_interval", "500ms",
		"--consumer.drain_timeout", processDrain.String(), "--consumer.window", fmt.Sprint(window),
		"--sink.timeout", sinkTimeout.String(), "--sink.concurrency", fmt.Sprint(concurrency),
		"--agify.url", p.agifyURL, "--agify.timeout", "500ms", "--admin.listen", "127.0.0.1:0", "--log.format", "json")
	for _, variable := range os.Environ() {
		if v := strings.ToUpper(variable); !strings.HasPrefix(v, "SIGNUP_SHEET_") && !strings.HasPrefix(v, "SHEETS_") && !strings.Contains(v, "_PROXY=") {
			x.cmd.Env = append(x.cmd.Env, variable)
		}
	}
	x.cmd.Env = append(x.cmd.Env, "SIGNUP_SHEET_SINK_URL="+p.hookURL+name)
	out := &speech{journal: &journal{oracle: p.oracle, member: name}, spoke: x.spoke}
	x.cmd.Stdout, x.cmd.Stderr = out, out
	if err := x.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		defer close(x.ended)
		_ = x.cmd.Wait() // its state is looked at
	}()
	p.t.Cleanup(func() { _ = x.cmd.Process.Kill(); <-x.ended })
	p.processes = append(p.processes, x)
}

// take takes a process off the list. It does not stand still any more.
func (p *play) take(n int) *process {
	x := p.processes[n]
	p.wake(func(s *sleeper) bool { return s.process == x })
	p.processes = append(p.processes[:n:n], p.processes[n+1:]...)
	return x
}

func (p *play) signal(x *process, sig syscall.Signal) {
	if err := x.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
}

// terminate stops a process in order: whatever it was at, it ends in time and says that all is fine.
func (p *play) terminate(n int) {
	x := p.take(n)
	select { // before it has come to main, it dies of the signal
	case <-x.spoke:
	case <-x.ended:
	}
	p.oracle.tell("%s is told to stop", x.name)
	told := time.Now()
	p.signal(x, syscall.SIGTERM)
	select {
	case <-x.ended:
	case <-time.After(processDrain + 10*time.Second):
		p.t.Errorf("%s has not stopped within %v", x.name, processDrain+10*time.Second)
		return
	}
	// With its coordinator away it cannot say that all is committed, and it takes a while to be back.
	if code := x.cmd.ProcessState.ExitCode(); code != 0 && p.down == 0 && time.Since(p.backAt) > 20*time.Second && !p.pulse.paused(p.t.Context(), told) {
		p.t.Errorf("%s stopped with exit code %d", x.name, code)
	}
	p.oracle.tell("%s has stopped, exit code %d", x.name, x.cmd.ProcessState.ExitCode())
}

func (p *play) kill(n int) {
	x := p.take(n)
	p.oracle.tell("%s is killed", x.name)
	ended := p.oracle.fault(x.name, "killed")
	p.signal(x, syscall.SIGKILL)
	<-x.ended
	ended()
}

// stand makes a process stand still for a while; wake lets it go on.
func (p *play) stand(n int) {
	x := p.processes[n]
	if slices.ContainsFunc(p.resume, func(s *sleeper) bool { return s.process == x }) {
		return
	}
	d := time.Duration(p.rng.Int64N(int64(2 * processSession)))
	p.oracle.tell("%s stands still for %v", x.name, d)
	p.resume = append(p.resume, &sleeper{process: x, until: time.Now().Add(d), ended: p.oracle.fault(x.name, standsStill)})
	p.signal(x, syscall.SIGSTOP)
}

// wake lets those go on whose time has come.
func (p *play) wake(due func(*sleeper) bool) {
	p.resume = slices.DeleteFunc(p.resume, func(x *sleeper) bool {
		if !due(x) {
			return false
		}
		p.oracle.tell("%s goes on", x.name)
		p.signal(x.process, syscall.SIGCONT)
		x.ended()
		return true
	})
}

// killBroker kills a broker of Apache Kafka, or starts the one that is down. Two are never down at a time.
func (p *play) killBroker() {
	if p.down > 0 {
		p.repair()
		return
	}
	if !p.apache.InSync(p.t.Context()) {
		return
	}
	if p.repaired != nil {
		p.repaired()
	}
	p.down = 1 + p.rng.IntN(3)
	p.oracle.tell("broker %d is killed", p.down)
	p.repaired = p.oracle.fault("", "a broker is killed")
	p.apache.Kill(p.t, p.down)
}

func (p *play) repair() {
	if p.down == 0 {
		return
	}
	p.apache.StartNode(p.t, p.down)
	p.oracle.tell("broker %d is back", p.down)
	p.down, p.backAt = 0, time.Now()
}

// everyCommit reads all commits of the group that Apache Kafka took, from the topic in which it keeps them.
func (p *play) everyCommit() {
	for _, r := range p.ReadAll(p.t, "__consumer_offsets") {
		key, value := kmsg.NewOffsetCommitKey(), kmsg.NewOffsetCommitValue()
		if err := key.ReadFrom(r.Key); err != nil || key.Version > 1 || key.Group != p.group || key.Topic != p.topic || r.Value == nil {
			continue
		}
		if err := value.ReadFrom(r.Value); err != nil {
			p.t.Fatalf("a commit of %s: %v", p.group, err)
		}
		p.oracle.committed(commit{
			moment: moment{at: r.Timestamp}, partition: key.Partition, offset: value.Offset, done: completions(value.Metadata), landed: true,
		})
	}
}
