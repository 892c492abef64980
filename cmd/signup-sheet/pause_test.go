package main_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"signup-sheet/internal/kafkatest"
	"signup-sheet/internal/receiver"
	"signup-sheet/internal/receiver/receivertest"
)

// Hazard 26: the process is paused with rows in flight, for longer than its session lives; a successor takes over; then the process goes on.
// By then its rows in flight are answered, so that it could send others at once, and some of them again.
func TestPausedProcessSendsNothingUntilItMayAgain(t *testing.T) {
	s := newStage(t, 2)
	const inFlight, rows = 64, 400
	// Each process has a sheet of its own, which tells who sent what.
	var times arrivals
	hangOld, hangNew := make(chan struct{}), make(chan struct{})
	oldSheet, newSheet := receiver.New(), receiver.New()
	oldWebhook, newWebhook := receivertest.Serve(t, oldSheet), receivertest.Serve(t, newSheet)
	oldSheet.Script(func(_ context.Context, a receiver.Attempt) receiver.Answer {
		times.add(a)
		answer := receiver.Answer{Hang: hangOld}
		if a.Total > inFlight {
			return receiver.Answer{}
		}
		if a.Total%2 == 0 {
			answer.Status = 503
		}
		return answer
	})
	newSheet.Script(receiver.Always(receiver.Answer{Hang: hangNew}))
	ids := s.publish(t, "r", rows)

	// The session of the successor must outlive a machine that stands still for some seconds.
	flags := []string{
		"--kafka.session_timeout", "6s", "--kafka.heartbeat_interval", "500ms", "--consumer.commit_interval", "500ms", "--sink.timeout", "30s", "--sink.concurrency", "64",
	}
	old := s.start(t, oldWebhook, flags...)
	awaitSheet(t, oldSheet, "rows in flight", func(st receiver.State) bool { return st.InFlight == inFlight })
	// The sheet counts a request before it asks the script about it.
	await(t, "all of them to be noted", func() bool { return len(times.ids()) == inFlight })
	s.WaitCommitted(t, s.group, s.topic, func(c map[int32]kafkatest.Commit) bool { return len(c) == 2 })
	onTheWire := times.ids()
	old.signal(t, syscall.SIGSTOP)

	successor := s.start(t, newWebhook, flags...)
	awaitSheet(t, newSheet, "the successor", func(st receiver.State) bool { return st.InFlight == inFlight })
	successor.running(t, 2)
	close(hangOld)
	awaitSheet(t, oldSheet, "the end of what was in flight", receiver.Idle)
	thaw := s.freeze(t)
	goesOn := old.signal(t, syscall.SIGCONT)
	if !s.Real() {
		// It cannot learn from the broker what it has missed, and must know by itself.
		await(t, "a hold for want of the lease", func() bool { return old.holds(t, "lease") || oldSheet.State().Attempts > inFlight })
	}
	thaw()

	// The group cannot give the old process partitions before the successor's rows are answered. So all that it sends now is sent without
	// a right to.
	// The first commit after the pause is fenced: one of a tick, which ends the session, or the last one of a session that a failed heartbeat ended.
	if ended := old.logged(t, "session ended", goesOn); !strings.Contains(ended.Reason+ended.Err, "the group has gone on without this member") {
		t.Errorf("the old session ended by %q, its last commit with %q: want it fenced", ended.Reason, ended.Err)
	}
	client := s.Client(t)
	await(t, "the old process to ask for its way back", func() bool { return s.groupState(t, client) == "PreparingRebalance" })
	if n := oldSheet.State().Attempts; n != inFlight {
		t.Errorf("%d rows were sent beside the successor", n-inFlight)
	}
	for partition, c := range s.Committed(t, s.group, s.topic) {
		if c.Offset != 0 {
			t.Errorf("partition %d: the old process committed offset %d beside the successor", partition, c.Offset)
		}
	}
	if s.Real() {
		for _, offset := range s.everyCommit(t) {
			if offset != 0 {
				t.Errorf("the old process committed offset %d beside the successor", offset)
			}
		}
	}

	// With the successor's rows answered, the two share the partitions.
	close(hangNew)
	begins := old.logged(t, "session begins", goesOn)
	old.running(t, 1)
	successor.running(t, 1)
	s.committed(t, rows)
	accepted := map[string]int{}
	count := func() {
		clear(accepted)
		for _, e := range slices.Concat(oldSheet.Accepted(), newSheet.Accepted()) {
			accepted[e.EventID]++
		}
	}
	count()
	for _, id := range ids {
		if n := accepted[id]; n == 0 || n > 1 && !slices.Contains(onTheWire, id) {
			t.Errorf("%s was accepted %d times, and was in flight during the pause: %t", id, n, slices.Contains(onTheWire, id))
		}
	}

	before := oldSheet.State().Rows
	more := s.publish(t, "more", 20)
	s.committed(t, rows+len(more))
	count()
	for _, id := range more {
		if accepted[id] != 1 {
			t.Errorf("%s was accepted %d times, want once", id, accepted[id])
		}
	}
	if oldSheet.State().Rows-before != len(more)/2 {
		t.Errorf("the old process delivered %d of the rows published after its return, want its half of %d", oldSheet.State().Rows-before, len(more))
	}
	if first := times.after(goesOn); !first.After(begins.Time) {
		t.Errorf("the old process sent a row at %v, before its new session began at %v", first, begins.Time)
	}
	old.terminate(t)
	successor.terminate(t)
}

// freeze stops kfake from answering anybody, until thaw is called or the test ends. Apache Kafka goes on.
func (s *stage) freeze(t *testing.T) (thaw func()) {
	t.Helper()
	if s.Real() {
		return func() {}
	}
	frozen := make(chan struct{})
	thaw = sync.OnceFunc(func() { close(frozen) })
	t.Cleanup(thaw)
	s.Fake().Control(func(kmsg.Request) (kmsg.Response, error, bool) {
		<-frozen
		return nil, nil, false
	})
	return thaw
}

// groupState is the group's state as Kafka names it.
func (s *stage) groupState(t *testing.T, client *kgo.Client) string {
	t.Helper()
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = []string{s.group}
	res, err := req.RequestWith(t.Context(), client)
	if err != nil {
		t.Fatalf("describe group %s: %v", s.group, err)
	}
	return res.Groups[0].State
}

// everyCommit reads all offsets that the group has ever committed, those that were overwritten included, from the topic in which Apache Kafka
// keeps them.
func (s *stage) everyCommit(t *testing.T) (offsets []int64) {
	t.Helper()
	for _, r := range s.ReadAll(t, "__consumer_offsets") {
		offsets = append(offsets, s.commitIn(t, r)...)
	}
	if len(offsets) == 0 {
		t.Error("no commits in __consumer_offsets: nothing is proved")
	}
	return offsets
}

func (s *stage) commitIn(t *testing.T, r *kgo.Record) []int64 {
	t.Helper()
	key := kmsg.NewOffsetCommitKey()
	if err := key.ReadFrom(r.Key); err != nil || key.Version > 1 || key.Group != s.group || r.Value == nil {
		return nil
	}
	value := kmsg.NewOffsetCommitValue()
	if err := value.ReadFrom(r.Value); err != nil {
		t.Fatalf("commit of %s: %v", s.group, err)
	}
	return []int64{value.Offset}
}

// arrivals remembers when requests came.
type arrivals struct {
	mu       sync.Mutex
	attempts []receiver.Attempt
}

func (a *arrivals) add(attempt receiver.Attempt) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.attempts = append(a.attempts, attempt)
}

// ids are those of the rows that came.
func (a *arrivals) ids() (ids []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, attempt := range a.attempts {
		ids = append(ids, attempt.EventID)
	}
	return ids
}

// after is when the first request after a moment came.
func (a *arrivals) after(moment time.Time) (first time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, attempt := range a.attempts {
		if attempt.Time.After(moment) && (first.IsZero() || attempt.Time.Before(first)) {
			first = attempt.Time
		}
	}
	return first
}
