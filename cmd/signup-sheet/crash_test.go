package main_test

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"syscall"
	"testing"
	"time"

	"signup-sheet/internal/kafkatest"
	"signup-sheet/internal/receiver"
	"signup-sheet/internal/receiver/receivertest"
)

// Hazard 17: SIGKILL with a slow record at the watermark, once the broker holds a commit that lists the 500 settled behind it.
func TestCrashResendsOnlyWhatWasInFlight(t *testing.T) {
	s := newStage(t, 1)
	sheet := receiver.New()
	webhook := receivertest.Serve(t, sheet)
	ids := s.publish(t, "r", 501)
	slow := ids[0]
	sheet.Script(receiver.Event(slow, receiver.Always(receiver.Answer{Hang: make(chan struct{})})))

	flags := []string{"--consumer.commit_interval", "200ms", "--sink.timeout", "1m"}
	p := s.start(t, webhook, flags...)
	awaitSheet(t, sheet, "all but the slow one", receiver.Rows(500))
	s.WaitCommitted(t, s.group, s.topic, func(commits map[int32]kafkatest.Commit) bool {
		return commits[0].Offset == 0 && settled(t, commits[0].Metadata) == 500
	})
	p.kill(t)
	if n := sheet.Attempts(slow); n != 1 {
		t.Fatalf("the slow record was sent %d times before the crash, want 1", n)
	}
	before := sheet.State().Attempts
	sheet.Script(nil)

	p = s.start(t, webhook, flags...)
	s.committed(t, 501)
	p.terminate(t)
	if n := sheet.State().Attempts - before; n != 1 || sheet.Count(slow) != 1 {
		t.Errorf("%d records were sent after the crash, of which the slow one %d times: want it alone", n, sheet.Count(slow))
	}
	for _, id := range ids {
		if n := sheet.Count(id); n != 1 {
			t.Errorf("%s was accepted %d times, want once", id, n)
		}
	}
}

// settled decodes a commit's metadata by its wire format (base64 of version, place, topic, base offset, time, runs as distance and length,
// checksum) and returns how many records above the committed one it lists.
func settled(t *testing.T, metadata string) (records uint64) {
	t.Helper()
	if metadata == "" {
		return 0
	}
	b, err := base64.RawURLEncoding.DecodeString(metadata)
	if err != nil || len(b) < 13 || b[0] != 1 {
		t.Fatalf("metadata %q: %v", metadata, err)
	}
	b = b[9 : len(b)-4]
	number := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			t.Fatalf("metadata %q is cut off", metadata)
		}
		b = b[n:]
		return v
	}
	number() // base
	number() // time
	for len(b) > 0 {
		number() // distance
		records += number()
	}
	return records
}

// Guarantee 4, and the order of a shutdown: what is under way is finished and committed, what is queued is left to the next process.
func TestSIGTERMUnderLoadEndsInTimeAndCostsNoDuplicates(t *testing.T) {
	s := newStage(t, 3)
	sheet := receiver.New()
	webhook := receivertest.Serve(t, sheet)
	ids := s.publish(t, "r", 3000)
	// One row is under way for long when the signal comes.
	sheet.Script(func(_ context.Context, a receiver.Attempt) receiver.Answer {
		if a.Total == 900 {
			return receiver.Answer{Delay: 1500 * time.Millisecond}
		}
		return receiver.Answer{Delay: 20 * time.Millisecond}
	})

	// Times that a machine which stands still for some seconds does not use up: a row that is not answered in time is sent again.
	const drain = 12 * time.Second
	flags := []string{
		"--consumer.commit_interval", "200ms", "--sink.timeout", "10s", "--consumer.drain_timeout", drain.String(), "--sink.concurrency", "32",
	}
	p := s.start(t, webhook, flags...)
	awaitSheet(t, sheet, "the load", receiver.Attempts(900))
	first := p.logged(t, "session begins", time.Time{})
	at := p.signal(t, syscall.SIGTERM)
	if code := p.end(t, time.Minute); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if took := time.Since(at); took > drain+2*time.Second {
		t.Errorf("the end took %v, want at most the drain timeout (%v) and 2 s", took, drain)
	}
	if n := sheet.InFlight(); n > 0 {
		t.Errorf("%d requests were left behind", n)
	}
	rows := sheet.State().Rows
	if rows >= len(ids) {
		t.Fatal("nothing was left for the next process: the signal came too late to prove anything")
	}
	s.WaitGroup(t, s.group, 0)

	p = s.start(t, webhook, flags...)
	second := p.logged(t, "session begins", at)
	s.committed(t, len(ids))
	p.terminate(t)
	// By one when the group is left, and by one when it is joined.
	if second.Generation != first.Generation+2 {
		t.Errorf("generation %d after generation %d: the process joined once more while it stopped", second.Generation, first.Generation)
	}
	if got := sheet.State(); got.Rows != len(ids) || got.Duplicates() > 0 {
		t.Errorf("%d rows and %d duplicates, want %d and none", got.Rows, got.Duplicates(), len(ids))
	}
}
