package consumer_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"signup-sheet/consumer"
	"signup-sheet/internal/kafkatest"
)

// produces calls fn for each request that writes dead letters. It answers those
// that fn handles.
func (s *scene) produces(fn func(*kmsg.ProduceRequest) (kmsg.Response, error, bool)) {
	topic := s.dlq()
	s.Fake().ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		r := req.(*kmsg.ProduceRequest)
		if len(r.Topics) != 1 || r.Topics[0].Topic != topic {
			return nil, nil, false // the test's own client
		}
		s.Fake().KeepControl()
		return fn(r)
	})
}

// commits remembers the highest offset that any commit of the topic's partition
// 0 asked for.
func (s *scene) commits() *atomic.Int64 {
	var highest atomic.Int64
	s.Fake().ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
		for _, t := range req.(*kmsg.OffsetCommitRequest).Topics {
			for _, p := range t.Partitions {
				if t.Topic == s.topic && p.Partition == 0 && p.Offset > highest.Load() {
					highest.Store(p.Offset)
				}
			}
		}
		return nil, nil, false
	})
	return &highest
}

// holdOf returns the hold with this reason.
func (m *member) holdOf(reason string) (consumer.Hold, bool) {
	for _, h := range m.Status().Holds {
		if h.Reason == reason {
			return h, true
		}
	}
	return consumer.Hold{}, false
}

func poisonRecord(key string, partition int32) *kgo.Record {
	return &kgo.Record{Key: []byte(key), Value: []byte("poison of " + key), Partition: partition}
}

// Hazard 5: an offset is committed only after the dead letters below it were
// acknowledged.
func TestNoCommitPassesADeadLetterThatIsNotAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 1)
		highest := s.commits()
		release := make(chan struct{})
		var asked atomic.Int64
		s.produces(func(*kmsg.ProduceRequest) (kmsg.Response, error, bool) {
			asked.Add(1)
			s.Fake().SleepControl(func() { <-release })
			return nil, nil, false
		})
		records := s.publish(t, "before", 3, 3)
		bad := poisonRecord("bad", 0)
		s.Produce(t, s.topic, bad)
		records = append(records, s.publish(t, "after", 200, 50)...)
		m := s.join(t)
		s.delivered(t, 203)
		await(t, "the dead letter on its way", func() bool { return asked.Load() == 1 })
		time.Sleep(8 * time.Second) //nolint:forbidigo // virtual: below the request's timeout, many commits
		if got := highest.Load(); got != bad.Offset {
			t.Errorf("a commit says %d while the dead letter of offset %d is not acknowledged", got, bad.Offset)
		}
		if n := len(s.ReadAll(t, s.dlq())); n != 0 {
			t.Fatalf("%d dead letters were written: the test holds nothing", n)
		}
		close(release)
		s.committed(t, 204)
		s.letterOf(t, bad)
		m.leave(t)
		s.judge(t, records, 0)
	})
}

// trouble is something that goes wrong with every dead letter until it is
// mended. tries is how often one was sent meanwhile.
type trouble struct {
	mend  func()
	tries func() int
}

// answering makes the brokers answer with an error.
func answering(code *kerr.Error) func(*scene) trouble {
	return func(s *scene) trouble {
		h := s.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: s.dlq(), Err: code, Count: -1})
		return trouble{mend: h.Remove, tries: h.Hits}
	}
}

// breaking makes the brokers close the connection with an error, or not answer.
func breaking(err error) func(*scene) trouble {
	return func(s *scene) trouble {
		var mended atomic.Bool
		var tries atomic.Int64
		s.produces(func(*kmsg.ProduceRequest) (kmsg.Response, error, bool) {
			if mended.Load() {
				return nil, nil, false
			}
			tries.Add(1)
			return nil, err, true
		})
		return trouble{mend: func() { mended.Store(true) }, tries: func() int { return int(tries.Load()) }}
	}
}

// Hazard 5: whatever goes wrong with a dead letter, it is tried again at a calm
// pace until it is acknowledged. The status, a metric and the log say so, and
// what to do. Its key waits, all others go on, and no commit passes it.
func TestADeadLetterThatCannotBeWrittenIsAHoldAndNeverLost(t *testing.T) {
	const passing = "the brokers are asked again"
	for name, tc := range map[string]struct {
		begins     func(*scene) trouble
		duplicates bool   // the brokers take what they do not acknowledge
		remedy     string // in the log, as an error unless it is passing
	}{
		"connection closed":             {begins: breaking(errors.New("closed")), remedy: passing},
		"no answer":                     {begins: breaking(nil), remedy: passing},
		"leader moved":                  {begins: answering(kerr.NotLeaderForPartition), remedy: passing},
		"too few replicas":              {begins: answering(kerr.NotEnoughReplicas), remedy: passing},
		"timeout after append":          {begins: answering(kerr.RequestTimedOut), duplicates: true, remedy: passing},
		"too few replicas after append": {begins: answering(kerr.NotEnoughReplicasAfterAppend), duplicates: true, remedy: passing},
		"too large":                     {begins: answering(kerr.MessageTooLarge), remedy: "raise its max.message.bytes to 1000000"},
		"batch too large":               {begins: answering(kerr.RecordListTooLarge), remedy: "raise its max.message.bytes to 1000000"},
		"no permission":                 {begins: answering(kerr.TopicAuthorizationFailed), remedy: "the brokers deny access"},
		"no topic":                      {begins: answering(kerr.UnknownTopicOrPartition), remedy: "create the topic, or set dead_letter.topic"},
		"refused by a policy":           {begins: answering(kerr.PolicyViolation), remedy: "check the topic's settings"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := setVirtual(t, 1)
				highest := s.commits()
				tr := tc.begins(s)
				bad, behind := poisonRecord("stuck", 0), &kgo.Record{Key: []byte("stuck"), Value: event("behind")}
				s.Produce(t, s.topic, bad, behind)
				records := s.publish(t, "others", 300, 40)
				m := s.join(t)
				s.delivered(t, 300)
				await(t, "the hold", func() bool { _, held := m.holdOf("dead_letter"); return held })
				first, _ := m.holdOf("dead_letter")
				for range 12 { // two minutes
					time.Sleep(10 * time.Second) //nolint:forbidigo // virtual: this is the trouble
					h, held := m.holdOf("dead_letter")
					if metric := m.metric(t, "consumer_hold", "dead_letter"); !held || h.Since != first.Since || h.NextProbe.IsZero() || metric != 1 {
						t.Fatalf("the hold is on: %v, %+v, metric %v", held, h, metric)
					}
					if err := errors.Join(m.Live(), m.Ready()); err != nil {
						t.Fatal(err)
					}
				}
				if n := tr.tries(); n < 4 || n > 16 {
					t.Errorf("%d tries in two minutes", n)
				}
				records = append(records, s.publish(t, "more", 100, 40)...)
				s.delivered(t, 400)
				if s.sheet.Attempts("behind") > 0 {
					t.Error("the next record of the key did not wait")
				}
				if got := highest.Load(); got != bad.Offset {
					t.Errorf("a commit says %d, and the dead letter of offset %d is not acknowledged", got, bad.Offset)
				}
				level := "ERROR"
				if tc.remedy == passing {
					level = "WARN"
				}
				line := fmt.Sprintf(`level=%s msg="cannot write a dead letter: its record waits, and so does what follows it; %s`, level, tc.remedy)
				if n := strings.Count(m.log.String(), line); n < 2 || n > 3 {
					t.Errorf("%d times in the log: %s", n, line)
				}

				tr.mend()
				awaitFor(t, 70*time.Second, "the hold's end", func() bool { _, held := m.holdOf("dead_letter"); return !held })
				s.delivered(t, 401)
				s.committed(t, 402)
				if metric := m.metric(t, "consumer_hold", "dead_letter"); metric != 0 {
					t.Errorf("metric %v after the hold", metric)
				}
				if n := len(s.letters(t)[placeOf(bad)]); n < 1 || n > 1 && !tc.duplicates {
					t.Errorf("%d dead letters", n)
				}
				if n := m.metric(t, "dead_letters_total"); n != 1 {
					t.Errorf("metric: %v dead letters", n)
				}
				m.leave(t)
				s.judge(t, append(records, behind), 0)
			})
		})
	}
}

// Hazard 5: dead letters that cannot be written stop their keys, however many
// they are: they take nobody's place.
func TestManyDeadLettersThatWaitStopNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 1)
		tr := answering(kerr.TopicAuthorizationFailed)(s)
		for i := range 300 {
			s.Produce(t, s.topic, poisonRecord(fmt.Sprint("bad-", i), 0))
		}
		records := s.publish(t, "good", 500, 50)
		m := s.join(t, func(c *consumer.Config) { c.Sink.Concurrency = 8 })
		began := time.Now()
		s.delivered(t, 500)
		if d := time.Since(began); d > 10*time.Second {
			t.Errorf("took %v", d)
		}
		tr.mend()
		s.committed(t, 800)
		if n := len(s.letters(t)); n != 300 {
			t.Errorf("dead letters of %d records, want 300", n)
		}
		m.leave(t)
		s.judge(t, records, 0)
	})
}

// Hazard 5: the hold is on as long as one dead letter waits, though others are
// written; and it ends with the session that waits.
func TestTheHoldLastsUntilNoDeadLetterWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 1)
		s.retopic(t, nil, map[string]string{"max.message.bytes": "3000"})
		large := poisonRecord("large", 0)
		large.Headers = []kgo.RecordHeader{{Key: "noise", Value: noise(4000)}}
		s.Produce(t, s.topic, large)
		m := s.join(t)
		await(t, "the hold", func() bool { _, held := m.holdOf("dead_letter"); return held })
		for i := range 20 {
			s.Produce(t, s.topic, poisonRecord(fmt.Sprint("small-", i), 0))
			await(t, "a dead letter", func() bool { return m.metric(t, "dead_letters_total") == float64(i+1) })
			if _, held := m.holdOf("dead_letter"); !held {
				t.Fatal("another's dead letter ended the hold")
			}
		}
		m.leave(t)
		if h := m.Status().Holds; len(h) > 0 {
			t.Errorf("a member that left holds: %+v", h)
		}
	})
}

// Hazard 5: dead letters that share a request are taken one by one, at the
// first time they are tried again, if the topic takes less than usual at once.
func TestATopicThatTakesLittleTakesDeadLettersOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 1)
		s.retopic(t, nil, map[string]string{"max.message.bytes": "3000"})
		const n = 100
		for i := range n {
			r := poisonRecord(fmt.Sprint("key-", i), 0)
			r.Value = noise(1500 + i)
			s.Produce(t, s.topic, r)
		}
		m := s.join(t)
		m.running(t, 1)
		began := time.Now()
		await(t, "all dead letters", func() bool { return m.metric(t, "dead_letters_total") == n })
		if d := time.Since(began); d > 1700*time.Millisecond { // the first pause is at most 1.5 s
			t.Errorf("took %v", d)
		}
		s.committed(t, n)
		if got := len(s.ReadAll(t, s.dlq())); got != n {
			t.Errorf("%d dead letters of %d records", got, n)
		}
		m.leave(t)
	})
}

// Hazard 5: dead letters that share a request stay below 1,000,000 bytes
// together, as they are sent.
func TestDeadLettersThatShareARequestStayBelowTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 1)
		s.topic = kafkatest.UniqueName(t)
		s.CreateTopic(t, s.topic, 1, nil)
		s.CreateTopic(t, s.dlq(), 1, map[string]string{"max.message.bytes": "1000000"})
		largest := 0 // written by the broker, read when all is acknowledged
		s.produces(func(r *kmsg.ProduceRequest) (kmsg.Response, error, bool) {
			largest = max(largest, len(r.Topics[0].Partitions[0].Records))
			return nil, nil, false
		})
		m := s.join(t)
		m.running(t, 1)
		total := int64(0)
		for size := 123_600; size < 124_300; size += 100 { // eight of them are about the limit
			for range 12 {
				s.Produce(t, s.topic, &kgo.Record{Value: noise(size)})
				total++
			}
			s.committed(t, total)
		}
		m.leave(t)
		if largest >= 1_000_000 || largest < 980_000 {
			t.Errorf("a request has %d bytes", largest)
		}
		if m.log.has("cannot write a dead letter") {
			t.Error("a dead letter was not taken at once")
		}
	})
}

// Hazards 5 and 11: dead letters find a leader that moved.
func TestDeadLettersFollowALeaderThatMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 1, kafkatest.Brokers(3))
		m := s.join(t)
		for i := range int64(5) {
			for p := range int32(2) {
				if err := s.Fake().MoveTopicPartition(s.dlq(), p, (s.Fake().LeaderFor(s.dlq(), p)+1)%3); err != nil {
					t.Fatal(err)
				}
			}
			s.Produce(t, s.topic, poisonRecord(fmt.Sprint("k-", i), 0))
			began := time.Now()
			await(t, "the dead letter", func() bool { return m.metric(t, "dead_letters_total") == float64(i+1) })
			if d := time.Since(began); d > 6*time.Second {
				t.Errorf("took %v", d)
			}
		}
		s.committed(t, 5)
		if n := len(s.ReadAll(t, s.dlq())); n != 5 {
			t.Errorf("%d dead letters of 5 records", n)
		}
		m.leave(t)
	})
}

// Hazard 5: a dead-letter topic that is deleted while the program runs is
// waited for.
func TestADeletedDeadLetterTopicIsWaitedFor(t *testing.T) {
	s := set(t, 1)
	records := s.publish(t, "before", 5, 5)
	m := s.join(t)
	s.committed(t, 5)
	s.DeleteTopic(t, s.dlq())
	bad, behind := poisonRecord("stuck", 0), &kgo.Record{Key: []byte("stuck"), Value: event("behind")}
	s.Produce(t, s.topic, bad, behind)
	records = append(append(records, s.publish(t, "after", 50, 10)...), behind)
	s.delivered(t, 55)
	await(t, "the error", func() bool { return m.log.has("create the topic, or set dead_letter.topic") })
	if _, held := m.holdOf("dead_letter"); !held {
		t.Error("no hold")
	}
	s.CreateTopic(t, s.dlq(), 2, nil)
	s.delivered(t, 56)
	s.committed(t, 57)
	s.letterOf(t, bad)
	if _, held := m.holdOf("dead_letter"); held {
		t.Error("the hold stays on")
	}
	m.leave(t)
	s.judge(t, records, 0)
}

// Hazard 5: a dead-letter topic that takes less than it must is waited for
// until that is mended.
func TestADeadLetterTopicThatTakesTooLittleIsWaitedFor(t *testing.T) {
	s := set(t, 1)
	s.retopic(t, nil, map[string]string{"max.message.bytes": "1000"})
	bad := poisonRecord("large", 0)
	bad.Value = noise(5000)
	s.Produce(t, s.topic, bad)
	records := s.publish(t, "others", 50, 10)
	m := s.join(t)
	s.delivered(t, 50)
	await(t, "the error", func() bool { return m.log.has("raise its max.message.bytes to 1000000") })
	enough := "1000000"
	if _, err := kadm.NewClient(s.Client(t)).AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: "max.message.bytes", Value: &enough}}, s.dlq()); err != nil {
		t.Fatal(err)
	}
	s.committed(t, 51)
	expectOriginal(t, s.letterOf(t, bad), bad)
	m.leave(t)
	s.judge(t, records, 0)
}

// Hazard 5: a dead letter that is on its way when the program is stopped is
// finished, and its offset is committed: there is no second one after a restart.
func TestADeadLetterUnderWayIsFinishedInADrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 1)
		release := make(chan struct{})
		var asked atomic.Int64
		s.produces(func(*kmsg.ProduceRequest) (kmsg.Response, error, bool) {
			if asked.Add(1) == 1 {
				s.Fake().SleepControl(func() { <-release })
			}
			return nil, nil, false
		})
		s.Produce(t, s.topic, poisonRecord("bad", 0))
		m := s.join(t)
		await(t, "the dead letter on its way", func() bool { return asked.Load() == 1 })
		m.cancel()
		time.Sleep(3 * time.Second) //nolint:forbidigo // virtual: well within the drain's timeout
		close(release)
		m.leave(t)
		s.committed(t, 1)
		again := s.join(t)
		again.running(t, 1)
		s.Produce(t, s.topic, poisonRecord("next", 0))
		s.committed(t, 2)
		again.leave(t)
		if n := len(s.ReadAll(t, s.dlq())); n != 2 {
			t.Errorf("%d dead letters of 2 records", n)
		}
	})
}

// Hazards 5 and 10: a broker that does not answer a dead letter does not delay
// the end beyond the drain's timeout; the record is still there after a restart.
func TestADeadLetterWithoutAnAnswerDoesNotKeepTheProgramFromEnding(t *testing.T) {
	for name, begins := range map[string]func(*scene) trouble{
		"no answer": breaking(nil), "no permission": answering(kerr.TopicAuthorizationFailed),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := setVirtual(t, 1)
				tr := begins(s)
				records := s.publish(t, "before", 3, 3)
				m := s.join(t)
				s.committed(t, 3)
				bad := poisonRecord("bad", 0)
				s.Produce(t, s.topic, bad)
				await(t, "the dead letter on its way", func() bool { return tr.tries() > 0 })
				m.cancel()
				began := time.Now()
				<-m.done
				if d := time.Since(began); d > 7*time.Second+2*time.Second { // drain timeout and a moment
					t.Errorf("took %v to end", d)
				}
				tr.mend()
				again := s.join(t)
				s.committed(t, 4)
				s.letterOf(t, bad)
				again.leave(t)
				s.judge(t, records, 0)
			})
		})
	}
}
