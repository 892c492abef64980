package main

import (
	"fmt"
	"strconv"
	"time"

	"signup-sheet/consumer"
	"signup-sheet/sink"
)

// drainMargin is what a drain needs beyond the row under way: to settle it and to commit.
const drainMargin = 2 * time.Second

// deriveDefaults fills in the defaults that depend on other settings.
func (l *loader) deriveDefaults(c *config) {
	if c.DeadLetter.Topic == "" && !l.broken["kafka.topic"] {
		c.DeadLetter.Topic = c.Kafka.Topic + ".dlq"
		l.origin["dead_letter.topic"] = given{"dead_letter.topic", c.DeadLetter.Topic}
		if topicName(c.DeadLetter.Topic) != nil {
			l.problem("dead_letter.topic: the default, %s + .dlq, is longer than Kafka allows: set it", l.origin["kafka.topic"].where)
		}
	}
	l.presetDefaults(&c.Sink)
	if c.Consumer.DrainTimeout == 0 {
		c.Consumer.DrainTimeout = c.Sink.Timeout + drainMargin
		if c.Agify.Enabled {
			c.Consumer.DrainTimeout += c.Agify.Timeout
		}
		l.origin["consumer.drain_timeout"] = given{"consumer.drain_timeout", short(c.Consumer.DrainTimeout)}
	}
}

// presetDefaults fills in what the preset says of the webhook, where the operator says nothing.
func (l *loader) presetDefaults(c *sinkConfig) {
	preset, _ := sink.PresetNamed(c.Preset) // the generic one instead of one that was refused
	set := func(name, text string, fill func()) {
		if l.origin[name].text == "" {
			fill()
			l.origin[name] = given{name, text}
		}
	}
	set("sink.concurrency", strconv.Itoa(preset.Concurrency), func() { c.Concurrency = preset.Concurrency })
	set("sink.timeout", short(preset.Timeout), func() { c.Timeout = preset.Timeout })
	if preset.Rate > 0 {
		set("sink.rate", strconv.FormatFloat(preset.Rate, 'f', -1, 64)+"/s", func() { c.Rate = preset.Rate })
	}
	set("sink.sheet_safe", strconv.FormatBool(preset.Sheet), func() { c.SheetSafe = preset.Sheet })
	if preset.MaxBodyBytes > 0 {
		set("sink.max_body_bytes", strconv.Itoa(preset.MaxBodyBytes), func() { c.MaxBodyBytes = preset.MaxBodyBytes })
	}
}

// judge holds what must be true of several settings together.
func (l *loader) judge(c *config) {
	l.require(3*c.Kafka.HeartbeatInterval <= c.Kafka.SessionTimeout,
		"%s must be at most a third of %s, or the group takes the process for dead when two heartbeats are late: lower the first or raise the second",
		"kafka.heartbeat_interval", "kafka.session_timeout")
	l.require(3*c.Consumer.CommitInterval <= c.Kafka.SessionTimeout,
		"%s must be at most a third of %s, because commits keep the right to deliver alive: lower the first or raise the second",
		"consumer.commit_interval", "kafka.session_timeout")
	l.require(c.Consumer.DrainTimeout >= c.Sink.Timeout+time.Second,
		"%s must be at least a second more than %s, or a slow row is cut off and sent again: raise the first or lower the second",
		"consumer.drain_timeout", "sink.timeout")
	l.require(c.Consumer.WindowBytes >= c.Event.MaxBytes,
		"%s must be at least %s, or the largest signup does not fit: raise the first or lower the second",
		"consumer.window_bytes", "event.max_bytes")
	if l.command == "replay" {
		l.judgeReplay(c.Replay)
	}
	if l.command == "explain" {
		l.judgeExplain(c.Explain)
	}
	l.require(!c.Agify.Enabled || c.Agify.Linger < c.Agify.Timeout,
		"%s must be less than %s: lower the one or raise the other", "agify.linger", "agify.timeout")
	l.require(c.DeadLetter.Topic != c.Kafka.Topic,
		"%s and %s must be two topics, or dead letters come back as signups: change one",
		"dead_letter.topic", "kafka.topic")
	l.require(c.Agify.CacheTopic != c.Kafka.Topic,
		"%s and %s must be two topics, or guesses come as signups: change the first",
		"agify.cache_topic", "kafka.topic")
	l.require(c.Agify.CacheTopic == "" || c.Agify.CacheTopic != c.DeadLetter.Topic,
		"%s and %s must be two topics, or guesses are kept among dead letters: change the first",
		"agify.cache_topic", "dead_letter.topic")
	l.judgeColumns(c.Sink)
	l.judgeTLS(c.Kafka.TLS)
	l.judgeSASL(c.Kafka.SASL)
	l.judgeSinkTLS(c.Sink)
	l.judgeSinkAuth(c.Sink)
}

// judgeColumns holds what columns need besides themselves.
func (l *loader) judgeColumns(c sinkConfig) {
	parsed, err := consumer.ParseColumns(c.Columns)
	if err != nil {
		return // it was found when the text was parsed
	}
	where, email := l.origin["sink.columns"].where, false
	for _, column := range parsed {
		email = email || column.Name == "email"
		if column.Keyed() && c.HashKeyFile == "" {
			l.problem("%s: column %q has the function hash, which needs a key: set sink.hash_key_file, or use sha256", where, column.Name)
		}
	}
	if c.Preset == "hubspot" && !email {
		l.problem("%s: want a column called email, by which HubSpot finds a contact: sink.preset is hubspot", where)
	}
}

// require adds a problem unless ok. The two %s of format are the settings, as written, with their values. A setting that could not be
// parsed has had its problem already.
func (l *loader) require(ok bool, format, first, second string) {
	if ok || l.broken[first] || l.broken[second] {
		return
	}
	l.problem(format, l.describe(first), l.describe(second))
}

func (l *loader) describe(name string) string {
	origin := l.origin[name]
	if origin.where == name {
		return fmt.Sprintf("%s (%s, the default)", name, origin.text)
	}
	return fmt.Sprintf("%s (%s)", origin.where, origin.text)
}
