package main_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"signup-sheet/internal/agify"
	"signup-sheet/internal/kafkatest"
	"signup-sheet/internal/receiver"
	"signup-sheet/internal/receiver/receivertest"
)

// publishNamed writes n signups of so many people, each in one of two spellings of the name.
func (s *stage) publishNamed(t *testing.T, prefix string, n, names int, at time.Time) {
	t.Helper()
	records := make([]*kgo.Record, n)
	for i := range records {
		who := i % names
		name := "name" + string([]byte{byte('a' + who/26%26), byte('a' + who%26)})
		if i/names%2 == 1 {
			name = strings.ToUpper(name) + " Smith"
		}
		records[i] = &kgo.Record{
			Key: fmt.Append(nil, i), Value: fmt.Appendf(nil, `{"id":"%s-%d","email":"ann@example.com","name":%q}`, prefix, i, name), Partition: int32(i) % s.partitions,
			Timestamp: at,
		}
	}
	s.Produce(t, s.topic, records...)
}

// A name is paid for once: not again after a crash, by another member, by a group that begins anew or by a replay.
func TestANameIsAskedForOnceByAllProcesses(t *testing.T) {
	s := newStage(t, 4)
	sheet := receiver.New()
	webhook := receivertest.Serve(t, sheet)
	api := &agify.Server{}
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	cache := s.topic + ".ages"
	if s.Real() {
		defer s.DeleteTopic(t, cache)
	}
	flags := []string{
		"--agify.enabled=true", "--agify.url", server.URL, "--agify.cache_topic", cache, "--sink.columns", "event_id,age_guess",
		"--kafka.session_timeout", "3s", "--consumer.commit_interval", "200ms", "--agify.timeout", "10s", "--consumer.drain_timeout", "20s",
	}
	const names = 200
	asked := func(want int) {
		t.Helper()
		if got := api.Counts(); got.Names != want || got.Distinct != want {
			t.Errorf("agify answered %d names, %d of them distinct, want %d", got.Names, got.Distinct, want)
		}
	}
	hour := time.Now().Add(-time.Hour).Truncate(time.Second)

	s.publishNamed(t, "first", 1000, names, hour)
	p := s.start(t, webhook, flags...)
	awaitSheet(t, sheet, "the first rows", receiver.Rows(1000))
	asked(names)
	await(t, "all answers in the topic", func() bool { return len(s.ReadAll(t, cache)) == names })
	s.committed(t, 1000)
	p.kill(t)

	s.publishNamed(t, "crashed", 1000, names, hour)
	p = s.start(t, webhook, flags...)
	awaitSheet(t, sheet, "the rows after the crash", receiver.Rows(2000))
	asked(names)

	other := s.start(t, webhook, flags...)
	p.running(t, 2)
	other.running(t, 2)
	s.publishNamed(t, "two", 1000, names, hour)
	awaitSheet(t, sheet, "the rows by two", receiver.Rows(3000))
	asked(names)
	p.terminate(t)
	other.terminate(t)

	replayed := s.replay(t, webhook, append(flags, "--from", hour.Add(-time.Minute).UTC().Format(time.RFC3339), "--to", hour.Add(time.Minute).UTC().Format(time.RFC3339))...)
	replayed.finishes(t, 0)
	asked(names)
	if got := sheet.State().Accepted; got < 6000 {
		t.Errorf("%d rows, want those of the replay too", got)
	}
	if got := len(s.ReadAll(t, cache)); got != names {
		t.Errorf("%d records in the topic, want one a name", got)
	}
	for _, e := range sheet.Accepted() {
		if !strings.Contains(string(e.Body), `"age_guess":42`) {
			t.Fatalf("a row without the age: %s", e.Body)
		}
	}
	for _, one := range []*process{p, other, replayed} {
		if strings.Contains(strings.ToLower(one.out.String()), "nameab") {
			t.Error("a name is in the output")
		}
	}
}

// Rows wait until it is known which names need not be asked about.
func TestTheFirstRowsWaitForSharedAnswers(t *testing.T) {
	s := &stage{Cluster: kafkatest.Start(t, kafkatest.Fake()), topic: kafkatest.UniqueName(t), group: kafkatest.UniqueName(t), partitions: 1}
	cache := s.topic + ".ages"
	s.CreateTopic(t, s.topic, 1, nil)
	s.CreateTopic(t, s.dlq(), 1, nil)
	s.CreateTopic(t, cache, 1, map[string]string{"cleanup.policy": "compact"})
	s.Produce(t, cache, &kgo.Record{Key: []byte(":nameaa"), Value: fmt.Appendf(nil, `{"age":7,"time":%q}`, time.Now().UTC().Format(time.RFC3339))})
	unled := s.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: cache, Err: kerr.LeaderNotAvailable, Count: -1})

	sheet, api := receiver.New(), &agify.Server{}
	webhook, server := receivertest.Serve(t, sheet), httptest.NewServer(api)
	t.Cleanup(server.Close)
	s.publishNamed(t, "r", 10, 1, time.Now())
	p := s.start(t, webhook, "--agify.enabled=true", "--agify.url", server.URL, "--agify.cache_topic", cache)
	p.running(t, 1)
	await(t, "all rows wait", func() bool { return p.status(t).InProgress == 10 })
	<-time.After(500 * time.Millisecond)
	if rows, asked := sheet.State().Rows, api.Counts().Requests; rows > 0 || asked > 0 {
		t.Errorf("%d rows, %d requests before the answers are here", rows, asked)
	}
	unled.Remove()
	awaitSheet(t, sheet, "all rows", receiver.Rows(10))
	if asked := api.Counts().Requests; asked > 0 {
		t.Errorf("%d requests", asked)
	}
	for _, e := range sheet.Accepted() {
		if !strings.Contains(string(e.Body), `"age_guess":7`) {
			t.Fatalf("a row without the age: %s", e.Body)
		}
	}
	p.terminate(t)
}

// What a process learns while it ends is kept.
func TestAnswersOfTheLastMomentAreKept(t *testing.T) {
	s := newStage(t, 1)
	sheet := receiver.New()
	webhook := receivertest.Serve(t, sheet)
	sheet.Script(receiver.Event("slow-0", receiver.Always(receiver.Answer{Delay: 2 * time.Second})))
	api := &agify.Server{Latency: 500 * time.Millisecond}
	var arrived atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived.Add(1)
		api.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	cache := s.topic + ".ages"
	if s.Real() {
		defer s.DeleteTopic(t, cache)
	}
	p := s.start(t, webhook, "--agify.enabled=true", "--agify.url", server.URL, "--agify.cache_topic", cache, "--agify.timeout", "10s", "--sink.timeout", "10s", "--consumer.drain_timeout", "20s")
	s.publishNamed(t, "slow", 1, 1, time.Now())
	await(t, "a row that takes long", func() bool { return sheet.Attempts("slow-0") == 1 })
	s.publishNamed(t, "r", 10, 10, time.Now())
	await(t, "names are asked for", func() bool { return arrived.Load() > 1 })
	p.terminate(t)
	if got, asked := len(s.ReadAll(t, cache)), api.Counts().Names; got != asked || asked < 2 {
		t.Errorf("%d of %d answers are kept", got, asked)
	}
}
