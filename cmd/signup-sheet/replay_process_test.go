package main_test

import (
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"signup-sheet/internal/receiver"
	"signup-sheet/internal/receiver/receivertest"
)

// rangeOf is a range in the past, and how the command line says so.
func rangeOf() (from, to time.Time, flags []string) {
	from = time.Now().Add(-2 * time.Hour).Truncate(time.Second).UTC()
	to = from.Add(time.Hour)
	return from, to, []string{"--from", from.Format(time.RFC3339), "--to", to.Format(time.RFC3339)}
}

// publishAt writes n signups prefix-0… with timestamps from one moment to another.
func (s *stage) publishAt(t *testing.T, prefix string, n int, from, to time.Time) []string {
	t.Helper()
	ids, records := make([]string, n), make([]*kgo.Record, n)
	for i := range records {
		ids[i] = fmt.Sprintf("%s-%d", prefix, i)
		records[i] = &kgo.Record{
			Key: []byte(ids[i]), Value: fmt.Appendf(nil, `{"id":%q,"email":"ann@example.com","name":"Ann Smith"}`, ids[i]), Partition: int32(i) % s.partitions,
			Timestamp: from.Add(time.Duration(i) * to.Sub(from) / time.Duration(n)),
		}
	}
	s.Produce(t, s.topic, records...)
	return ids
}

// replay starts a replay that commits often.
func (s *stage) replay(t *testing.T, webhook string, flags ...string) *process {
	t.Helper()
	return s.command(t, "replay", webhook, append([]string{"--consumer.commit_interval", "200ms"}, flags...)...)
}

// shortSession is for those who wait until the group gives up a process that was killed. Others have the default: what is required of
// them must not depend on a machine that never stands still for three seconds.
func shortSession() []string { return []string{"--kafka.session_timeout", "3s"} }

// finishes waits for the end of a replay and requires its exit code.
func (p *process) finishes(t *testing.T, code int) {
	t.Helper()
	if got := p.end(t, 3*time.Minute); got != code {
		t.Fatalf("exit code %d, want %d", got, code)
	}
}

// Guarantee 4 for a replay of 50,000 records beside the running consumer: killed and started again it goes on, sends again only what was
// in flight or settled since the last commit, and ends. The consumer's group never notices. A third time there is nothing to do.
func TestReplayThatIsKilledGoesOnBesideTheConsumer(t *testing.T) {
	s := newStage(t, 3)
	sheet := receiver.New()
	webhook := receivertest.Serve(t, sheet)
	from, to, flags := rangeOf()
	s.publishAt(t, "before", 3000, from.Add(-time.Hour), from)
	ids := s.publishAt(t, "in", 50_000, from, to)
	s.publishAt(t, "after", 3000, to, to.Add(time.Hour))

	live := s.start(t, webhook, "--consumer.start", "latest", "--consumer.commit_interval", "200ms")
	live.running(t, 3)
	s.committed(t, 56_000)
	flags = append(flags, shortSession()...)
	generation := live.status(t).Generation

	p := s.replay(t, webhook, flags...)
	awaitSheet(t, sheet, "a part of the range", receiver.Rows(15_000))
	p.kill(t)
	first := sheet.State().Accepted

	p = s.replay(t, webhook, flags...)
	s.publish(t, "live", 300) // today's, meanwhile
	p.finishes(t, 0)
	s.committed(t, 56_300)
	state := sheet.State()
	if state.Rows != 50_300 {
		t.Errorf("%d rows, want the 50,000 of the range and 300 of today", state.Rows)
	}
	for _, id := range ids {
		if sheet.Count(id) == 0 {
			t.Fatalf("%s was not sent", id)
		}
	}
	t.Logf("%d rows before the kill, %d sent again", first, state.Duplicates())
	if state.Duplicates() > first/2 {
		t.Errorf("%d rows were sent again after %d: it began anew", state.Duplicates(), first)
	}
	if g := live.status(t).Generation; g != generation {
		t.Errorf("the consumer's generation was %d and is %d", generation, g)
	}
	if !strings.Contains(p.out.String(), "rows sent by this process") {
		t.Errorf("no summary: %s", p.out.tail(20))
	}

	p = s.replay(t, webhook, flags...)
	p.finishes(t, 0)
	if again := sheet.State(); again.Attempts != state.Attempts || !strings.Contains(p.out.String(), "finished already") {
		t.Errorf("%d attempts more, and it says: %s", again.Attempts-state.Attempts, p.out.tail(20))
	}
	live.terminate(t)
}

// Of two processes that share a replay, one dies: the other takes over its partitions and ends only then.
func TestReplayTakesOverFromAProcessThatDies(t *testing.T) {
	s := newStage(t, 4)
	sheet := receiver.New()
	webhook := receivertest.Serve(t, sheet)
	from, to, flags := rangeOf()
	flags = append(append(flags, "--sink.concurrency", "8", "--name", "two"), shortSession()...)
	ids := s.publishAt(t, "r", 2000, from, to)
	// However long a process takes to start: one alone would need four minutes.
	sheet.Script(receiver.Always(receiver.Answer{Delay: time.Second}))
	a := s.replay(t, webhook, flags...)
	a.running(t, 4)
	b := s.replay(t, webhook, flags...)
	b.running(t, 2)
	b.kill(t)
	sheet.Script(receiver.Always(receiver.Answer{Delay: 20 * time.Millisecond}))
	a.finishes(t, 0)
	for _, id := range ids {
		if sheet.Count(id) == 0 {
			t.Fatalf("%s was not sent", id)
		}
	}
}

// A replay that is asked to stop finishes the rows under way, says how to go on, and does not claim success: a Job would be taken for done.
func TestReplayThatIsStoppedSaysHowToGoOn(t *testing.T) {
	s := newStage(t, 2)
	sheet := receiver.New()
	webhook := receivertest.Serve(t, sheet)
	from, to, flags := rangeOf()
	s.publishAt(t, "r", 1000, from, to)
	sheet.Script(receiver.Always(receiver.Answer{Delay: 50 * time.Millisecond}))
	p := s.replay(t, webhook, append(flags, "--sink.concurrency", "8")...)
	awaitSheet(t, sheet, "a part", receiver.Rows(100))
	p.signal(t, syscall.SIGTERM)
	p.finishes(t, 1)
	if want := "goes on with: signup-sheet replay " + strings.Join(flags, " "); !strings.Contains(p.out.String(), want) {
		t.Errorf("it does not say %q: %s", want, p.out.tail(20))
	}
	sheet.Script(nil)
	s.replay(t, webhook, flags...).finishes(t, 0)
	if state := sheet.State(); state.Rows != 1000 || state.Duplicates() > 0 {
		t.Errorf("%d rows, %d of them sent again, want 1000 and none", state.Rows, state.Duplicates())
	}
}

// The exit code tells of dead letters, and a taken port of the admin server is no reason not to replay.
func TestReplayWithDeadLettersExitsWith3(t *testing.T) {
	s := newStage(t, 1)
	sheet := receiver.New()
	webhook := receivertest.Serve(t, sheet)
	from, to, flags := rangeOf()
	s.publishAt(t, "r", 10, from, to)
	s.Produce(t, s.topic, &kgo.Record{Value: []byte(`{"email":"nobody"`), Timestamp: from})
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })

	dry := s.replay(t, webhook, append(flags, "--dry-run")...)
	dry.finishes(t, 0)
	if out := dry.out.String(); !strings.Contains(out, "dead letters of class decode: 1") || !strings.Contains(out, `{"event_id":"r-0",`) || sheet.State().Requests > 0 {
		t.Errorf("the dry run: %s", out)
	}
	p := s.replay(t, webhook, append(flags, "--admin.listen", taken.Addr().String())...)
	p.finishes(t, 3)
	if rows := sheet.State().Rows; rows != 10 {
		t.Errorf("%d rows, want 10", rows)
	}
	p.logged(t, "there is no admin server for this replay", time.Time{})
}
