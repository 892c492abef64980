package consumer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
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

// topicPatience is how long a topic may be missing, or denied, at the start: a
// broker that has just started does not know all topics and rules yet.
const topicPatience = 10 * time.Second

// check waits for the brokers, and finds out what would go wrong later: a
// missing topic, or a dead-letter topic that would lose dead letters. All that
// it finds is returned at once. It returns nil when ctx ends.
func (c *Consumer) check(ctx context.Context) error {
	source := c.exists(ctx, c.data, "kafka.topic", c.cfg.Topic)
	dead := c.exists(ctx, c.letters, "dead_letter.topic", c.cfg.DeadLetterTopic)
	if dead == nil {
		dead = c.keeps(ctx)
	}
	if ctx.Err() == nil {
		return errors.Join(source, dead)
	}
	return nil
}

// exists waits until the brokers can be asked, and reports whether a topic is
// there.
func (c *Consumer) exists(ctx context.Context, k *cluster, setting, topic string) error {
	began, said := time.Now(), time.Time{}
	for pause := 250 * time.Millisecond; ctx.Err() == nil; pause = min(2*pause, 5*time.Second) {
		_, err := k.topic(ctx, topic)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
		case errors.Is(err, kafka.UnknownTopicOrPartition), errors.Is(err, kafka.TopicAuthorizationFailed):
			if time.Since(began) >= topicPatience {
				if errors.Is(err, kafka.TopicAuthorizationFailed) {
					return &SetupError{setting, fmt.Sprintf("topic %q may not be described", topic), "allow DESCRIBE on it, or correct the setting"}
				}
				return missing(setting, topic)
			}
			pause = min(pause, time.Second)
		default:
			began = time.Now() // not heard yet, so not missing
			if time.Since(said) >= 10*time.Second {
				said = time.Now()
				c.log.Error("cannot ask the brokers (kafka.brokers): trying again", "brokers", strings.Join(c.cfg.Brokers, ","), "topic", topic, "err", err)
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
	return context.Cause(ctx)
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
