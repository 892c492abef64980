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
