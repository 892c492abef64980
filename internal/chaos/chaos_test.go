package chaos_test

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"signup-sheet/internal/kafkatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// seeds are those that the environment asks for: CHAOS_SEED alone, or 1 to CHAOS_SEEDS, or a few.
func seeds(t *testing.T, few uint64) []uint64 {
	t.Helper()
	number := func(name string, otherwise uint64) uint64 {
		text := os.Getenv(name)
		if text == "" {
			return otherwise
		}
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s=%q: want a number", name, text)
		}
		return n
	}
	if seed := number("CHAOS_SEED", 0); seed > 0 {
		return []uint64{seed}
	}
	var all []uint64
	for n := range number("CHAOS_SEEDS", few) {
		all = append(all, n+1)
	}
	return all
}

// Hazards 1, 2, 5, 6, 11, 13, 14 and 16: minutes of trouble in a second. Members come, go and lose their connections;
// brokers, the endpoint and agify fail in every way that they have.
func TestChaosInVirtualTime(t *testing.T) {
	kafkatest.OnKfake(t)
	for _, seed := range seeds(t, 10) {
		t.Run(fmt.Sprintf("seed-%d", seed), func(t *testing.T) {
			t.Parallel()
			var o *oracle
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, kafkatest.Start(t, kafkatest.VirtualNetwork(), kafkatest.Brokers(3)), seed, sessionTimeout)
				o = w.oracle
				defer w.oracle.onFailure(t)
				playVirtual(t, w)
			})
			o.report(t, o.judge())
		})
	}
}

// Hazards 1, 2, 5, 11, 16, 17, 25, 26 and 31: the program itself is killed, paused, stopped and started, on kfake, or with
// KAFKA_APACHE=1 on three brokers of Apache Kafka, which are killed too.
func TestChaosWithProcesses(t *testing.T) {
	program := build(t)
	var apache *kafkatest.Apache
	if os.Getenv("KAFKA_APACHE") == "1" {
		apache = kafkatest.StartApache(t, 3)
	}
	for _, seed := range seeds(t, 1) {
		t.Run(fmt.Sprintf("seed-%d", seed), func(t *testing.T) {
			var w *world
			if apache == nil {
				t.Parallel() // brokers of Apache Kafka are killed: one seed at a time
				w = newWorld(t, kafkatest.Start(t, kafkatest.Fake(), kafkatest.Brokers(3)), seed, processSession)
			} else {
				w = newWorld(t, apache.Cluster, seed, processSession)
			}
			defer w.oracle.onFailure(t)
			d := 10 * time.Second
			if apache != nil {
				d = time.Minute
			}
			playProcesses(t, w, program, apache, d)
			w.oracle.report(t, w.oracle.judge())
		})
	}
}
