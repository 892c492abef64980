package kafkatest

import (
	"os"
	"testing"
)

// Long skips a test that takes its time on real brokers (kills, quotas), unless KAFKA_LONG is 1, as make test-kafka-long
// sets it. Its short form on kfake runs always.
func Long(t testing.TB) {
	t.Helper()
	if os.Getenv("KAFKA_LONG") != "1" {
		t.Skip("takes a minute or more: make test-kafka-long")
	}
}

// OnKfake skips a test that needs kfake in make test-kafka (KAFKA_APACHE=1): Apache Kafka adds nothing to it, and make
// test has it. Start does so for a cluster that is kfake's whatever the environment says, but can end a bubble only, not
// the test around it: a test that goes on behind its bubble calls this first.
func OnKfake(t testing.TB) {
	t.Helper()
	if os.Getenv("KAFKA_APACHE") == "1" {
		t.Skip("runs on kfake: make test")
	}
}
