package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"signup-sheet/consumer"
	"signup-sheet/internal/kafkatest"
)

// private is in every key and value of a table's records in tests, and never in a log.
const private = "zoë"

// sharer is a process that shares a topic.
type sharer struct {
	*consumer.Table
	member // its registry, log and end; not its consumer
	mu     sync.Mutex
	known  map[string]string
	late   int // records that came when it was ready
}

// sharedConfig is a table's of the scene's cluster.
func (s *scene) sharedConfig(topic string) consumer.TableConfig {
	return consumer.TableConfig{
		Brokers: s.Addrs(), Topic: topic, Setting: "agify.cache_topic", Retention: 90 * 24 * time.Hour, DialContext: s.DialContext(),
	}
}

// share starts a process. It is stopped when the test ends, if not before.
func (s *scene) share(t *testing.T, topic string, tweaks ...func(*consumer.TableConfig)) *sharer {
	t.Helper()
	p := &sharer{member: member{reg: prometheus.NewRegistry(), log: &logBook{}, done: make(chan struct{}), stall: s.stall()}, known: map[string]string{}}
	cfg := s.sharedConfig(topic)
	cfg.Take = func(key, value []byte) bool {
		if !strings.HasPrefix(string(value), private) {
			return false
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.isReady() {
			p.late++
		}
		p.known[string(key)] = string(value)
		return true
	}
	for _, tweak := range tweaks {
		tweak(&cfg)
	}
	p.Table = consumer.NewTable(cfg, p.reg, slog.New(slog.NewTextHandler(p.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	ctx, cancel := context.WithCancel(t.Context())
	p.cancel = cancel
	go func() {
		defer close(p.done)
		p.Run(ctx)
	}()
	t.Cleanup(func() {
		p.stop()
		if p.log.has(private) {
			t.Error("the log has what is in records")
		}
		if t.Failed() {
			t.Logf("log of a process:\n%s", p.log.tail(60))
		}
	})
	return p
}

func (p *sharer) stop() {
	p.cancel()
	<-p.done
}

func (p *sharer) isReady() bool {
	select {
	case <-p.Ready():
		return true
	default:
		return false
	}
}

// readyWithin waits until what was there is read, and returns how long that took.
func (p *sharer) readyWithin(t *testing.T, limit time.Duration) time.Duration {
	t.Helper()
	began := time.Now()
	awaitFor(t, limit+p.stall, "ready", p.isReady)
	return time.Since(began)
}

// knows waits until the process has so many records, and no others.
func (p *sharer) knows(t *testing.T, want map[string]string) {
	t.Helper()
	p.knowsWithin(t, time.Minute, want)
}

func (p *sharer) knowsWithin(t *testing.T, limit time.Duration, want map[string]string) {
	t.Helper()
	awaitFor(t, limit, fmt.Sprintf("%d records", len(want)), func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return maps.Equal(p.known, want)
	})
}

// counts waits until so many records are counted. One is counted after it is known, and as written only with the broker's answer, when it
// may have been read back already.
func (p *sharer) counts(t *testing.T, n float64, name, result string) {
	t.Helper()
	await(t, fmt.Sprint(n, " records ", result), func() bool { return p.metric(t, name, result) == n })
}

// put puts n records and adds them to what is expected.
func (p *sharer) put(want map[string]string, prefix string, n int) {
	for i := range n {
		key, value := fmt.Sprintf("%s-%s-%d", private, prefix, i), fmt.Sprintf("%s %d", private, i)
		want[key] = value
		p.Put([]byte(key), []byte(value))
	}
}

// produce does the same with another client.
func (s *scene) produce(t *testing.T, topic string, want map[string]string, prefix string, n int) {
	t.Helper()
	rs := make([]*kgo.Record, n)
	for i := range rs {
		key, value := fmt.Sprintf("%s-%s-%d", private, prefix, i), fmt.Sprintf("%s %d", private, i)
		want[key] = value
		rs[i] = &kgo.Record{Key: []byte(key), Value: []byte(value), Partition: -1}
	}
	s.Produce(t, topic, rs...)
}

// stored is what a topic has, the latest of each key.
func (s *scene) stored(t *testing.T, topic string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, r := range s.ReadAll(t, topic) {
		found[string(r.Key)] = string(r.Value)
	}
	return found
}

func compactedTopic() map[string]string { return map[string]string{"cleanup.policy": "compact,delete"} }

func TestASharedTopicIsReadBackWholeAndThenFollowed(t *testing.T) {
	for _, partitions := range []int32{1, 5} {
		t.Run(fmt.Sprint(partitions, " partitions"), func(t *testing.T) {
			play(t, 1, func(t *testing.T, s *scene) {
				topic, want := kafkatest.UniqueName(t), map[string]string{}
				s.CreateTopic(t, topic, partitions, compactedTopic())
				c := s.Client(t, kgo.ProducerBatchCompression(kgo.NoCompression())) // more than one answer has room for
				for i := range 50_000 {
					key, value := fmt.Sprintf("%s-old-%d", private, i), fmt.Sprintf("%s %d", private, i)
					want[key] = value
					c.Produce(t.Context(), &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte(value)}, nil)
				}
				if err := c.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
				p := s.share(t, topic)
				p.readyWithin(t, 20*time.Second)
				p.mu.Lock()
				if !maps.Equal(p.known, want) || p.late > 0 {
					t.Errorf("%d of 50000 records when it is ready", len(p.known)-p.late)
				}
				p.mu.Unlock()
				if got := p.metric(t, "cache_topic_read_back"); got != 1 {
					t.Errorf("cache_topic_read_back = %v", got)
				}
				s.produce(t, topic, want, "new", 100)
				p.knowsWithin(t, 2*time.Second+p.stall, want)
				p.counts(t, 50_100, "cache_topic_read_records_total", "taken")
				p.stop()
				if p.log.has("level=WARN") || p.log.has("level=ERROR") {
					t.Error("something is wrong, says the log")
				}
			})
		})
	}
}

// Nobody waits for records where there are none.
func TestAnEmptySharedTopicIsReadAtOnce(t *testing.T) {
	virtually(t, 1, func(t *testing.T, s *scene) {
		topic, want := kafkatest.UniqueName(t), map[string]string{}
		s.CreateTopic(t, topic, 3, compactedTopic())
		p := s.share(t, topic)
		if d := p.readyWithin(t, 5*time.Second); d > 200*time.Millisecond {
			t.Errorf("ready after %v", d)
		}
		s.produce(t, topic, want, "new", 10)
		p.knows(t, want)
		p.stop()
	})
}

// A topic that is missing is created once, with what it needs, and nobody waits for it.
func TestWhatOneProcessPutsAllOthersGet(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		topic, want := kafkatest.UniqueName(t), map[string]string{}
		a, b := s.share(t, topic), s.share(t, topic)
		a.readyWithin(t, 5*time.Second)
		b.readyWithin(t, 5*time.Second)
		a.put(want, "a", 700)
		b.put(want, "b", 3)
		a.knows(t, want)
		b.knows(t, want)
		b.put(want, "late", 1)
		a.knowsWithin(t, 2*time.Second+a.stall, want)
		late := s.share(t, topic)
		late.readyWithin(t, 5*time.Second)
		late.knowsWithin(t, time.Millisecond, want)
		a.counts(t, 700, "cache_topic_written_records_total", "written")
		if n := strings.Count(a.log.String()+b.log.String()+late.log.String(), `msg="created the shared topic"`); n != 1 {
			t.Errorf("%d say that they created it", n)
		}
		for name, value := range map[string]string{"cleanup.policy": "compact,delete", "retention.ms": "7776000000"} {
			if got := s.TopicConfig(t, topic, name); got != value {
				t.Errorf("%s=%s, want %s", name, got, value)
			}
		}
		if n := len(s.EndOffsets(t, topic)); n != 1 {
			t.Errorf("%d partitions", n)
		}
		for _, p := range []*sharer{a, b, late} {
			p.stop()
			if p.log.has("level=WARN") || p.log.has("level=ERROR") {
				t.Errorf("something is wrong, says the log:\n%s", p.log.String())
			}
		}
		if s.Real() {
			s.DeleteTopic(t, topic)
		}
	})
}

// Records that are not ours, tombstones, aborted transactions and the marks of Kafka's own
// stop nothing.
func TestForeignRecordsAreCountedAndNothingElse(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		topic, want := kafkatest.UniqueName(t), map[string]string{}
		s.CreateTopic(t, topic, 1, nil)
		s.produce(t, topic, want, "first", 1)
		s.Produce(t, topic,
			&kgo.Record{Key: []byte(private), Value: []byte("foreign " + private)},
			&kgo.Record{Value: []byte("no key " + private)},
			&kgo.Record{Key: []byte(private), Value: []byte{}},
			&kgo.Record{Key: []byte(private)}, // a tombstone
		)
		c := s.transactional(t)
		for _, try := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit} {
			s.Transact(t, c, try, topic, &kgo.Record{Key: fmt.Append(nil, try), Value: []byte(private + " in a transaction")})
		}
		want[fmt.Sprint(kgo.TryCommit)] = private + " in a transaction"
		p := s.share(t, topic)
		p.readyWithin(t, 5*time.Second)
		p.knowsWithin(t, time.Millisecond, want)
		s.produce(t, topic, want, "last", 1)
		p.knows(t, want)
		for result, n := range map[string]float64{"taken": 3, "foreign": 3, "tombstone": 1} {
			p.counts(t, n, "cache_topic_read_records_total", result)
		}
		await(t, "a warning", func() bool { return p.log.has("not compacted") }) // the policy is asked for beside the reading
		expectWords(t, p.log.String(), "level=WARN", "set its cleanup.policy to compact,delete", "cleanup_policy=delete", "retention_ms=7776000000")
		p.stop()
	})
}

// In a compacted log most offsets are missing.
func TestACompactedSharedTopicIsReadToItsEnd(t *testing.T) {
	virtually(t, 1, func(t *testing.T, s *scene) {
		topic, want := kafkatest.UniqueName(t), map[string]string{}
		s.CreateTopic(t, topic, 1, compactedTopic())
		for range 20 {
			s.produce(t, topic, want, "again", 50)
		}
		s.Fake().Compact()
		if n := len(s.ReadAll(t, topic)); n > 200 {
			t.Fatalf("%d records left of 1000", n)
		}
		p := s.share(t, topic)
		if d := p.readyWithin(t, 5*time.Second); d > 500*time.Millisecond {
			t.Errorf("ready after %v", d)
		}
		p.knowsWithin(t, time.Millisecond, want)
		p.stop()
	})
}

// The last offsets of a log may be missing too: nothing comes up to its end, and it is read
// all the same.
func TestALogThatEndsInAGapIsReadBackAllTheSame(t *testing.T) {
	virtually(t, 1, func(t *testing.T, s *scene) {
		topic, want := kafkatest.UniqueName(t), map[string]string{}
		s.CreateTopic(t, topic, 1, compactedTopic())
		s.produce(t, topic, want, "old", 10)
		s.Fake().ControlKey(int16(kmsg.ListOffsets), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
			s.Fake().KeepControl()
			req := kreq.(*kmsg.ListOffsetsRequest)
			if req.Topics[0].Topic != topic || req.Topics[0].Partitions[0].Timestamp != -1 {
				return nil, nil, false
			}
			res := req.ResponseKind().(*kmsg.ListOffsetsResponse)
			rt, rp := kmsg.NewListOffsetsResponseTopic(), kmsg.NewListOffsetsResponseTopicPartition()
			rt.Topic, rp.Offset = topic, 15
			rt.Partitions = append(rt.Partitions, rp)
			res.Topics = append(res.Topics, rt)
			return res, nil, true
		})
		p := s.share(t, topic)
		if d := p.readyWithin(t, 20*time.Second); d > 6*time.Second {
			t.Errorf("ready after %v", d)
		}
		if got := p.metric(t, "cache_topic_read_back"); got != 1 {
			t.Error("not read back")
		}
		p.knows(t, want)
		p.stop()
	})
}

// A batch that cannot be read costs what is there, not all that follows for ever.
func TestACorruptPartOfASharedTopicIsPassedOver(t *testing.T) {
	virtually(t, 1, func(t *testing.T, s *scene) {
		s.topic = kafkatest.UniqueName(t)
		want, lost := map[string]string{}, map[string]string{}
		s.CreateTopic(t, s.topic, 1, compactedTopic())
		s.produce(t, s.topic, want, "good", 5)
		s.produce(t, s.topic, lost, "bad", 5)
		good, bad := s.batchAt(t, 0), s.batchAt(t, 5)
		bad[len(bad)-3] ^= 1
		s.forge(10, func(offset int64) []byte {
			if offset == 0 {
				return slices.Concat(good, bad)
			}
			return bad
		})
		p := s.share(t, s.topic)
		p.readyWithin(t, 20*time.Second)
		if got := p.metric(t, "cache_topic_read_back"); got != 1 {
			t.Error("not read back")
		}
		s.produce(t, s.topic, want, "after", 5)
		p.knows(t, want)
		expectWords(t, p.log.String(), "level=WARN", "passed over up to the log's end", "checksum", "offset=5", "log_end=10")
		p.stop()
	})
}

// troubles counts the lines in the log that are louder than Info.
func (p *sharer) troubles() int {
	return strings.Count(p.log.String(), "level=WARN") + strings.Count(p.log.String(), "level=ERROR")
}

// Nobody waits for more than 30 s for brokers that are away, and what they have is read when
// they come. The log is calm about it.
func TestBrokersThatAreAwayAtTheStartAreNotWaitedForLong(t *testing.T) {
	virtually(t, 1, func(t *testing.T, s *scene) {
		topic, want := kafkatest.UniqueName(t), map[string]string{}
		s.CreateTopic(t, topic, 2, compactedTopic())
		s.produce(t, topic, want, "old", 1000)
		c := newCables(s.Cluster)
		c.down(t, c.nodes()...)
		p := s.share(t, topic, func(cfg *consumer.TableConfig) { cfg.DialContext = c.dial })
		if d := p.readyWithin(t, time.Minute); d < 29*time.Second || d > 31*time.Second {
			t.Errorf("ready after %v", d)
		}
		time.Sleep(10 * time.Minute) //nolint:forbidigo // virtual
		p.put(want, "kept", 5)       // is written when they are back
		if got := p.metric(t, "cache_topic_read_back"); got != 0 {
			t.Error("read back")
		}
		if n := p.troubles(); n < 5 || n > 13 {
			t.Errorf("%d warnings in ten minutes, want one a minute", n)
		}
		c.up(t, c.nodes()...)
		p.knowsWithin(t, 30*time.Second, want)
		if got := p.metric(t, "cache_topic_read_back"); got != 1 {
			t.Error("not read back")
		}
		before := p.troubles()
		expectWords(t, p.log.String(), "the shared topic was not read in time", `msg="the shared topic is read again"`)
		c.down(t, c.nodes()...)
		time.Sleep(3 * time.Second) //nolint:forbidigo // virtual: not worth a word
		c.up(t, c.nodes()...)
		s.produce(t, topic, want, "after", 10)
		p.knowsWithin(t, 30*time.Second, want)
		if n := p.troubles(); n != before {
			t.Errorf("%d warnings because of three seconds", n-before)
		}
		p.stop()
	})
}

// A topic that is missing and may not be created is not waited for, and used as soon as it is
// there.
func TestASharedTopicThatMayNotBeCreated(t *testing.T) {
	for name, breaks := range map[string]func(*testing.T, *scene){
		"no permission": func(*testing.T, *scene) {},
		"a policy": func(t *testing.T, s *scene) {
			t.Helper()
			s.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.CreateTopics}, Err: kerr.PolicyViolation, Count: -1, When: func(req kmsg.Request) bool {
				return !req.(*kmsg.CreateTopicsRequest).ValidateOnly
			}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := guarded(t, 1)
				topic, want := "a.shared.topic", map[string]string{}
				for _, op := range []kadm.ACLOperation{kadm.OpRead, kadm.OpWrite} {
					s.Allow(t, principal, kafkatest.Permission{Operation: op, Topics: []string{topic}})
				}
				if name != "no permission" {
					s.Allow(t, principal, kafkatest.Permission{Operation: kadm.OpCreate, Topics: []string{topic}})
				}
				breaks(t, s)
				p := s.share(t, topic, s.asPlainUser(t))
				if d := p.readyWithin(t, time.Minute); d < 9*time.Second || d > 12*time.Second {
					t.Errorf("ready after %v", d)
				}
				expectWords(t, p.log.String(), "cannot create the shared topic", "with 1 partition", "cleanup.policy=compact,delete", "retention_ms=7776000000", "setting=agify.cache_topic", "topic="+topic)
				time.Sleep(10 * time.Minute) //nolint:forbidigo // virtual
				if n := p.troubles(); n > 14 {
					t.Errorf("%d warnings in ten minutes", n)
				}
				s.CreateTopic(t, topic, 1, compactedTopic())
				s.produce(t, topic, want, "old", 10)
				p.put(want, "new", 10)
				p.knows(t, want)
				p.stop()
			})
		})
	}
}

// asPlainUser logs in to a guarded cluster.
func (s *scene) asPlainUser(t *testing.T) func(*consumer.TableConfig) {
	t.Helper()
	cfg := s.config()
	plainUser(t)(&cfg)
	return func(c *consumer.TableConfig) { c.SASL = cfg.SASL }
}

// A permission that is missing is no reason to wait: somebody has to act. What it allows
// begins when it is there.
func TestAForbiddenSharedTopicIsNotWaitedFor(t *testing.T) {
	for name, tc := range map[string]struct {
		allowed []kadm.ACLOperation
		words   string
	}{
		"nothing": {nil, "allow READ and WRITE on topic a.shared.topic"},
		"WRITE":   {[]kadm.ACLOperation{kadm.OpWrite}, "allow READ on topic a.shared.topic"},
		"READ":    {[]kadm.ACLOperation{kadm.OpRead}, "allow WRITE on topic a.shared.topic"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := guarded(t, 1)
				topic, want := "a.shared.topic", map[string]string{}
				s.CreateTopic(t, topic, 1, compactedTopic())
				s.produce(t, topic, want, "old", 10)
				for _, op := range tc.allowed {
					s.Allow(t, principal, kafkatest.Permission{Operation: op, Topics: []string{topic}})
				}
				p := s.share(t, topic, s.asPlainUser(t))
				if d := p.readyWithin(t, time.Minute); d > time.Second {
					t.Errorf("ready after %v", d)
				}
				p.put(map[string]string{}, "early", 1)
				await(t, tc.words, func() bool { return p.log.has(tc.words) })
				time.Sleep(10 * time.Minute) //nolint:forbidigo // virtual
				if n := p.troubles(); n > 24 {
					t.Errorf("%d warnings in ten minutes", n)
				}
				for _, op := range []kadm.ACLOperation{kadm.OpRead, kadm.OpWrite} {
					s.Allow(t, principal, kafkatest.Permission{Operation: op, Topics: []string{topic}})
				}
				await(t, "the old records", func() bool { return p.metric(t, "cache_topic_read_back") == 1 })
				p.put(want, "new", 10)
				await(t, "the new records", func() bool {
					p.mu.Lock()
					defer p.mu.Unlock()
					for key := range want {
						if p.known[key] == "" {
							return false
						}
					}
					return true
				})
				p.stop()
			})
		})
	}
}

// Positions that the log does not have any more, or that are of another log, are given up for
// the log's start.
func TestASharedTopicThatIsCutOrMadeAnewIsReadFromItsStart(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		topic, want := kafkatest.UniqueName(t), map[string]string{}
		s.CreateTopic(t, topic, 1, compactedTopic())
		s.produce(t, topic, want, "old", 100)
		p := s.share(t, topic)
		p.knows(t, want)
		for _, n := range []int{3, 500, 0} { // fewer than there were, more, and none for a while
			s.DeleteTopic(t, topic)
			s.CreateTopic(t, topic, 1, compactedTopic())
			s.produce(t, topic, want, fmt.Sprint("again-", n), n)
			p.knows(t, want)
		}
		s.produce(t, topic, want, "at last", 10)
		p.knows(t, want)
		p.put(want, "own", 10)
		p.knows(t, want)
		if !p.isReady() {
			t.Error("not ready")
		}
		p.stop()
	})
}

// The same where nobody but the brokers' list of topics tells that it was gone.
func TestASharedTopicThatIsMadeAnewUnseenIsReadFromItsStart(t *testing.T) {
	virtually(t, 1, func(t *testing.T, s *scene) {
		topic, want := kafkatest.UniqueName(t), map[string]string{}
		s.CreateTopic(t, topic, 1, compactedTopic())
		s.produce(t, topic, want, "old", 100)
		p := s.share(t, topic)
		p.knows(t, want)
		var moving atomic.Bool
		moving.Store(true)
		s.Fake().ControlKey(int16(kmsg.Fetch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
			s.Fake().KeepControl()
			if !moving.Load() {
				return nil, nil, false
			}
			req := kreq.(*kmsg.FetchRequest)
			res := req.ResponseKind().(*kmsg.FetchResponse)
			rt, rp := kmsg.NewFetchResponseTopic(), kmsg.NewFetchResponseTopicPartition()
			rt.Topic, rt.TopicID, rp.ErrorCode = req.Topics[0].Topic, req.Topics[0].TopicID, kerr.NotLeaderForPartition.Code
			rt.Partitions = append(rt.Partitions, rp)
			res.Topics = append(res.Topics, rt)
			return res, nil, true
		})
		time.Sleep(3 * time.Second) //nolint:forbidigo // virtual: no fetch is under way as it was before
		s.DeleteTopic(t, topic)
		time.Sleep(20 * time.Second) //nolint:forbidigo // virtual
		s.CreateTopic(t, topic, 1, compactedTopic())
		s.produce(t, topic, want, "again", 500)
		moving.Store(false)
		p.knows(t, want)
		p.stop()
	})
}

// Retention may be quicker than a process that could not read for a while.
func TestWhatRetentionRemovedMeanwhileIsNotMissed(t *testing.T) {
	virtually(t, 1, func(t *testing.T, s *scene) {
		topic, want := kafkatest.UniqueName(t), map[string]string{}
		s.CreateTopic(t, topic, 1, compactedTopic())
		s.produce(t, topic, want, "old", 10)
		c := newCables(s.Cluster)
		p := s.share(t, topic, func(cfg *consumer.TableConfig) { cfg.DialContext = c.dial })
		p.knows(t, want)
		c.down(t, c.nodes()...)
		s.produce(t, topic, map[string]string{}, "gone", 10)
		s.DeleteRecords(t, topic, 0, 20)
		s.produce(t, topic, want, "left", 10)
		c.up(t, c.nodes()...)
		p.knows(t, want)
		p.stop()
	})
}

// Leaders that move and brokers that go and come are followed within seconds, for reading and
// for writing.
func TestASharedTopicFollowsItsLeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 1, kafkatest.Brokers(3))
		topic, want := kafkatest.UniqueName(t), map[string]string{}
		s.CreateTopic(t, topic, 4, compactedTopic())
		c := newCables(s.Cluster)
		p := s.share(t, topic, func(cfg *consumer.TableConfig) { cfg.DialContext = c.dial })
		other := s.share(t, topic)
		for i := range 6 {
			s.Fake().ShufflePartitionLeaders()
			p.put(want, fmt.Sprint("p", i), 50)
			other.put(want, fmt.Sprint("o", i), 50)
			p.knowsWithin(t, 5*time.Second, want)
		}
		for _, node := range c.nodes() {
			c.down(t, node)
			p.put(want, fmt.Sprint("down", node), 50)
			c.up(t, node)
			p.knowsWithin(t, 10*time.Second, want)
		}
		other.knows(t, want)
		for _, one := range []*sharer{p, other} {
			one.stop()
			if n := one.troubles(); n > 0 {
				t.Errorf("%d warnings", n)
			}
			if lost := one.metric(t, "cache_topic_written_records_total", "failed") + one.metric(t, "cache_topic_written_records_total", "dropped"); lost > 0 {
				t.Errorf("%v records lost", lost)
			}
		}
	})
}

// Put never waits and never takes more than its room, and what cannot be written is counted.
func TestPutNeverWaits(t *testing.T) {
	virtually(t, 1, func(t *testing.T, s *scene) {
		topic, want := kafkatest.UniqueName(t), map[string]string{}
		s.CreateTopic(t, topic, 1, compactedTopic())
		c := newCables(s.Cluster)
		p := s.share(t, topic, func(cfg *consumer.TableConfig) { cfg.DialContext = c.dial })
		p.readyWithin(t, 5*time.Second)
		c.silence(t, c.nodes()...)
		began := time.Now()
		p.put(map[string]string{}, "many", 40_000)
		if d := time.Since(began); d > 0 {
			t.Errorf("it took %v of virtual time", d)
		}
		if got := p.metric(t, "cache_topic_written_records_total", "dropped"); got < 40_000-17_000 || got >= 40_000 {
			t.Errorf("%v of 40000 dropped", got)
		}
		time.Sleep(5 * time.Minute) //nolint:forbidigo // virtual
		if got := p.metric(t, "cache_topic_written_records_total", "failed"); got == 0 {
			t.Error("none is given up")
		}
		if n := p.troubles(); n < 6 || n > 14 { // of reading and of writing
			t.Errorf("%d warnings in five minutes", n)
		}
		c.up(t, c.nodes()...)
		p.put(want, "after", 10)
		await(t, "what is put after that", func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			for key := range want {
				if p.known[key] == "" {
					return false
				}
			}
			return true
		})
		expectWords(t, p.log.String(), `msg="the shared topic is written again"`)
		p.stop()
		var sum float64
		for _, result := range []string{"written", "failed", "dropped"} {
			sum += p.metric(t, "cache_topic_written_records_total", result)
		}
		if sum != 40_010 {
			t.Errorf("%v of 40010 records are accounted for", sum)
		}
	})
}

// Faults of a moment cost nothing: writes are tried again, and only those that failed.
func TestAWriteThatFailsIsTriedAgain(t *testing.T) {
	virtually(t, 1, func(t *testing.T, s *scene) {
		topic, want := kafkatest.UniqueName(t), map[string]string{}
		s.CreateTopic(t, topic, 2, compactedTopic())
		s.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Partitions: []int32{1}, Err: kerr.NotEnoughReplicas, Count: 3})
		p := s.share(t, topic)
		p.put(want, "new", 100)
		p.knows(t, want)
		if got := p.metric(t, "cache_topic_written_records_total", "written"); got != 100 {
			t.Errorf("%v written", got)
		}
		if n := len(s.ReadAll(t, topic)); n != 100 {
			t.Errorf("%d records, want each once", n)
		}
		s.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: kerr.NotEnoughReplicas, Count: -1})
		p.put(map[string]string{}, "never", 100)
		await(t, "they are given up", func() bool { return p.metric(t, "cache_topic_written_records_total", "failed") == 100 })
		p.stop()
	})
}

// What is still to be written at the end is written, if that takes no more than a moment.
func TestWhatIsPutLastIsWrittenAtTheEnd(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		topic, want := kafkatest.UniqueName(t), map[string]string{}
		s.CreateTopic(t, topic, 1, compactedTopic())
		p := s.share(t, topic)
		p.readyWithin(t, 5*time.Second)
		p.put(want, "last", 1777)
		began := time.Now()
		p.stop()
		took, got := time.Since(began), s.stored(t, topic)
		if took < time.Second && !maps.Equal(got, want) {
			t.Errorf("%d of 1777 records, after %v", len(got), took)
		}
		// A real broker may take longer than that: what is not written then is counted so.
		written, all := p.metric(t, "cache_topic_written_records_total", "written"), p.metric(t, "cache_topic_written_records_total")
		if all != 1777 || float64(len(got)) < written {
			t.Errorf("%v of 1777 records are accounted for, %v of them as written, and %d are there", all, written, len(got))
		}
		if s.Real() {
			s.DeleteTopic(t, topic)
		}
	})
}

func TestAnEndIsNotHeldUpByBrokers(t *testing.T) {
	for name, breaks := range map[string]func(*testing.T, *cables){
		"that are away":   func(t *testing.T, c *cables) { t.Helper(); c.down(t, c.nodes()...) },
		"that are silent": func(t *testing.T, c *cables) { t.Helper(); c.silence(t, c.nodes()...) },
	} {
		for _, read := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, read back: %v", name, read), func(t *testing.T) {
				virtually(t, 1, func(t *testing.T, s *scene) {
					topic := kafkatest.UniqueName(t)
					s.CreateTopic(t, topic, 1, compactedTopic())
					c := newCables(s.Cluster)
					if !read {
						breaks(t, c)
					}
					p := s.share(t, topic, func(cfg *consumer.TableConfig) { cfg.DialContext = c.dial })
					before := 0.0
					if read {
						p.put(map[string]string{}, "first", 1)
						before = 1
						await(t, "a record is written", func() bool { return p.metric(t, "cache_topic_written_records_total", "written") == before })
						breaks(t, c)
					}
					p.put(map[string]string{}, "lost", 1200)
					time.Sleep(2 * time.Second) //nolint:forbidigo // virtual
					began := time.Now()
					p.stop()
					if d := time.Since(began); d > 1100*time.Millisecond {
						t.Errorf("the end took %v", d)
					}
					if !p.isReady() {
						t.Error("somebody still waits for it")
					}
					got, written := p.metric(t, "cache_topic_written_records_total"), p.metric(t, "cache_topic_written_records_total", "written")
					if got != 1200+before || written != before {
						t.Errorf("%v of 1200 are accounted for, %v of them as written", got-before, written-before)
					}
					c.up(t, c.nodes()...)
				})
			})
		}
	}
}

// Brokers that cannot be reached are asked calmly.
func TestASharedTopicIsAskedForCalmly(t *testing.T) {
	virtually(t, 1, func(t *testing.T, s *scene) {
		var dials atomic.Int64
		p := s.share(t, "a.topic", func(cfg *consumer.TableConfig) {
			cfg.DialContext = func(context.Context, string, string) (net.Conn, error) {
				dials.Add(1)
				return nil, errors.New("connection refused")
			}
		})
		p.put(map[string]string{}, "x", 10)
		time.Sleep(10 * time.Minute) //nolint:forbidigo // virtual
		if n := dials.Load(); n > 600 {
			t.Errorf("%d connections in ten minutes", n)
		}
		p.stop()
	})
}
