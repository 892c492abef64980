package consumer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/createtopics"
)

// SetupError is a configuration that cannot work with the cluster as it is. It
// names the setting and says what to do.
type SetupError struct {
	Setting string
	Problem string
	Remedy  string
}

// Error returns setting, problem and remedy.
func (e *SetupError) Error() string { return e.Setting + ": " + e.Problem + ": " + e.Remedy }

// topicPatience is how long a topic may be missing at the start: a broker that has
// just started does not know all topics yet.
const topicPatience = 10 * time.Second

// check waits for the brokers, and for their permission, and finds out what would
// go wrong later: a missing topic, or a dead-letter topic that would lose dead
// letters. All that it finds is returned at once. It returns nil when ctx ends.
func (c *Consumer) check(ctx context.Context) error {
	info, source := c.exists(ctx, c.data, wanted{"kafka.topic", c.cfg.Topic, "READ", nil})
	dead := wanted{"dead_letter.topic", c.cfg.DeadLetterTopic, "WRITE", nil}
	if c.cfg.CreateDeadLetter && source == nil {
		dead.create = func() (bool, error) {
			return c.letters.createTopic(ctx, newTopic{"dead_letter.create", c.cfg.DeadLetterTopic, len(info.leaders), keepAll()})
		}
	}
	_, err := c.exists(ctx, c.letters, dead)
	if err == nil {
		err = c.keeps(ctx)
	}
	if ctx.Err() == nil {
		return errors.Join(source, err)
	}
	return nil
}

// keepAll are the settings of a topic that keeps each record for its time.
func keepAll() []createtopics.RequestConfig {
	return []createtopics.RequestConfig{{Name: "cleanup.policy", Value: "delete"}}
}

// wanted is a topic that has to be there.
type wanted struct {
	setting, topic string
	operation      string                           // that has to be allowed
	create         func() (created bool, err error) // nil: the operator creates it
}

// exists waits until the brokers can be asked and allow what is wanted, and
// describes the topic, or reports that it is missing.
func (c *Consumer) exists(ctx context.Context, k *cluster, w wanted) (topicInfo, error) {
	began, said := time.Now(), time.Time{}
	for pause := 250 * time.Millisecond; ctx.Err() == nil; pause = min(2*pause, 5*time.Second) {
		info, err := k.topic(ctx, w.topic)
		if errors.Is(err, kafka.UnknownTopicOrPartition) && w.create != nil {
			var created bool
			if created, err = w.create(); err == nil {
				if created {
					c.log.Info("created the dead-letter topic", "topic", w.topic)
				}
				w.create = nil // brokers may not know it at once
				k.refresh()
				continue
			}
		}
		switch _, hopeless := errors.AsType[*SetupError](err); {
		case err == nil, hopeless:
			return info, err
		case ctx.Err() != nil:
		case errors.Is(err, kafka.UnknownTopicOrPartition):
			if time.Since(began) >= topicPatience {
				return info, missing(w.setting, w.topic)
			}
			pause = min(pause, time.Second)
		default:
			began = time.Now() // not heard yet, so not missing
			if time.Since(said) >= 10*time.Second {
				said = time.Now()
				c.sayWhy(w, err)
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
	return topicInfo{}, context.Cause(ctx)
}

// sayWhy logs why the start has to wait.
func (c *Consumer) sayWhy(w wanted, err error) {
	if errors.Is(err, kafka.TopicAuthorizationFailed) {
		c.log.Error("the brokers deny access to a topic: waiting until they allow it", "setting", w.setting, "topic", w.topic,
			"err", fmt.Errorf("%w: allow %s on topic %s", err, w.operation, w.topic))
		return
	}
	if isClosed(err) && (c.cfg.TLS == nil || c.cfg.SASL == nil) {
		err = fmt.Errorf("%w: the broker closed the connection: does it expect TLS (kafka.tls.enabled) or a login (kafka.sasl.mechanism)?", err)
	}
	c.log.Error("cannot ask the brokers (kafka.brokers): trying again", "brokers", strings.Join(c.cfg.Brokers, ","), "topic", w.topic, "err", err)
}

// keeps reports whether the dead-letter topic keeps what is written to it. A
// compacted topic removes the earlier dead letters of a key and takes none
// without a key.
func (c *Consumer) keeps(ctx context.Context) error {
	policy, err := c.letters.topicConfig(ctx, c.cfg.DeadLetterTopic, "cleanup.policy")
	if err != nil && ctx.Err() == nil {
		c.log.Warn("cannot check the dead-letter topic's cleanup.policy, which must be delete", "topic", c.cfg.DeadLetterTopic, "err", err)
	}
	return losing(c.cfg.DeadLetterTopic, policy)
}

// missing says what to do about a topic that does not exist.
func missing(setting, topic string) error {
	return &SetupError{setting, fmt.Sprintf("topic %q does not exist", topic), "create it, or correct the setting"}
}

// losing says what to do about a dead-letter topic whose policy removes dead
// letters; nil if it keeps them.
func losing(topic, policy string) error {
	if !strings.Contains(policy, "compact") {
		return nil
	}
	return &SetupError{
		"dead_letter.topic",
		fmt.Sprintf("topic %q has cleanup.policy=%s, which removes earlier dead letters of a key and rejects records without a key", topic, policy),
		"set cleanup.policy=delete on it, or name another topic",
	}
}

// awaitTopic waits until the source topic exists, and reports false when ctx
// ends first.
func (c *Consumer) awaitTopic(ctx context.Context) bool {
	for ctx.Err() == nil {
		c.data.refresh()
		if _, err := c.data.topic(ctx, c.cfg.Topic); err == nil {
			c.control.refresh()
			return true
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
	return false
}
