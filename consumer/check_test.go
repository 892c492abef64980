package consumer_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"signup-sheet/consumer"
	"signup-sheet/internal/kafkatest"
)

// refusal waits until the member has refused to start, and returns its words.
func (m *member) refusal(t *testing.T) string {
	t.Helper()
	select {
	case <-m.done:
	case <-time.After(time.Minute):
		t.Fatal("the member starts")
	}
	if _, ok := errors.AsType[*consumer.SetupError](m.err); !ok {
		t.Fatalf("the member ended with %v", m.err)
	}
	return m.err.Error()
}

func expectWords(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q does not say %q", text, w)
		}
	}
}

// Hazard 5: the start fails if a topic is missing, and says all that is.
func TestMissingTopicsAreNamedAllAtOnce(t *testing.T) {
	for name, tc := range map[string]struct {
		source, dead string // created
		want         []string
	}{
		"both":              {want: []string{`kafka.topic: topic "a.topic" does not exist: create it`, `dead_letter.topic: topic "a.topic.dlq" does not exist: create it`}},
		"the source":        {dead: "a.topic.dlq", want: []string{`kafka.topic: topic "a.topic" does not exist: create it`}},
		"the dead letters'": {source: "a.topic", want: []string{`dead_letter.topic: topic "a.topic.dlq" does not exist: create it`}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := setVirtual(t, 1)
				s.topic = "a.topic"
				for _, topic := range []string{tc.source, tc.dead} {
					if topic != "" {
						s.CreateTopic(t, topic, 1, nil)
					}
				}
				got := s.join(t).refusal(t)
				expectWords(t, got, tc.want...)
				if n := strings.Count(got, "does not exist"); n != len(tc.want) {
					t.Errorf("%d missing topics: %s", n, got)
				}
			})
		})
	}
}

// Hazard 5: brokers that have just started do not know all topics yet.
func TestATopicMayAppearMomentsAfterTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 1)
		s.topic = kafkatest.UniqueName(t)
		s.CreateTopic(t, s.topic, 1, nil)
		m := s.join(t)
		time.Sleep(8 * time.Second) //nolint:forbidigo // virtual
		s.CreateTopic(t, s.dlq(), 1, nil)
		m.running(t, 1)
		m.leave(t)
	})
}

// Hazard 5: a compacted dead-letter topic would lose dead letters: the start
// fails and says what to do.
func TestACompactedDeadLetterTopicIsRefused(t *testing.T) {
	for _, policy := range []string{"compact", "compact,delete"} {
		t.Run(policy, func(t *testing.T) {
			s := set(t, 1)
			s.retopic(t, nil, map[string]string{"cleanup.policy": policy})
			got := s.join(t).refusal(t)
			expectWords(t, got, "dead_letter.topic: ", s.dlq(), "cleanup.policy="+policy, "removes earlier dead letters of a key", "set cleanup.policy=delete on it, or name another topic")
		})
	}
}

// Hazard 5: who may not ask for the cleanup policy is warned, and works.
func TestACleanupPolicyThatMayNotBeAskedIsAWarning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 1)
		s.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeConfigs}, Err: kerr.TopicAuthorizationFailed, Count: -1})
		s.Produce(t, s.topic, poisonRecord("k", 0))
		m := s.join(t)
		s.committed(t, 1)
		m.leave(t)
		if !m.log.has(`level=WARN msg="cannot check the dead-letter topic's cleanup.policy, which must be delete"`) {
			t.Error("no warning")
		}
	})
}
