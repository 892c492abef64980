package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// onEach runs a test on the brokers in KAFKA_BROKERS, else kfake on loopback, and on kfake in a bubble, which ends the
// test if a goroutine outlives it.
func onEach(t *testing.T, test func(t *testing.T, c *Cluster)) {
	t.Helper()
	t.Run("real network", func(t *testing.T) { test(t, Start(t)) })
	t.Run("virtual network", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, Start(t, VirtualNetwork())) })
	})
}

func TestStartUsesKafkaBrokersUnlessTheTestNeedsKfake(t *testing.T) {
	t.Setenv("KAFKA_APACHE", "")
	t.Setenv("KAFKA_BROKERS", "")
	loopback := Start(t)
	if loopback.Real() || loopback.Fake() == nil || loopback.DialContext() != nil {
		t.Errorf("without KAFKA_BROKERS: %+v, want kfake on loopback", loopback)
	}
	t.Setenv("KAFKA_BROKERS", loopback.Addrs()[0])
	if c := Start(t); !c.Real() || c.Fake() != nil || c.Addrs()[0] != loopback.Addrs()[0] {
		t.Errorf("with KAFKA_BROKERS: addresses %v, want %v", c.Addrs(), loopback.Addrs())
	}
	if c := Start(t, Fake()); c.Real() || c.Addrs()[0] == loopback.Addrs()[0] {
		t.Error("with Fake: the brokers of KAFKA_BROKERS, want a kfake of its own")
	}
	synctest.Test(t, func(t *testing.T) {
		if c := Start(t, VirtualNetwork()); c.Real() || c.DialContext() == nil || c.Network() == nil {
			t.Errorf("with VirtualNetwork: %+v, want kfake on it", c)
		}
	})
}

func TestEveryBrokerAnswersOnTheVirtualNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Start(t, Brokers(3), VirtualNetwork())
		if len(c.Addrs()) != 3 {
			t.Fatalf("addresses %v, want 3", c.Addrs())
		}
		for _, addr := range c.Addrs() {
			conn, err := c.DialContext()(t.Context(), "tcp", addr)
			if err != nil {
				t.Fatalf("dial %s: %v", addr, err)
			}
			conn.Close()
		}
	})
}

func TestUniqueNamesAreLegalAndDiffer(t *testing.T) {
	t.Run("a_b.c/ü "+strings.Repeat("long", 100), func(t *testing.T) {
		name, other := UniqueName(t), UniqueName(t)
		if name == other {
			t.Errorf("twice the name %s", name)
		}
		if legal := regexp.MustCompile(`^[A-Za-z0-9-]{1,249}$`); !legal.MatchString(name) {
			t.Errorf("%q is no topic name that goes with all others", name)
		}
	})
}

// TestWaitsEndTheTestAndSayWhatTheySaw holds that no wait of this package is for ever.
func TestWaitsEndTheTestAndSayWhatTheySaw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Start(t, VirtualNetwork())
		topic := UniqueName(t)
		c.CreateTopic(t, topic, 1, nil)
		began := time.Now()
		for want, wait := range map[string]func(testing.TB){
			"not yet: map[]":      func(t testing.TB) { c.WaitCommitted(t, "g", topic, func(map[int32]Commit) bool { return false }) },
			"Dead with 0 members": func(t testing.TB) { c.WaitGroup(t, "g", 2) },
			"2 brokers at":        func(t testing.TB) { c.waitBrokers(t, 2) },
			"the cause": func(t testing.TB) {
				called := false
				poll(t, "x", func(ctx context.Context) error {
					if called { // a broker that does not answer any more
						<-ctx.Done()
						return ctx.Err()
					}
					called = true
					return errors.New("the cause")
				})
			},
		} {
			if got := failure(t, wait); !strings.Contains(got, want) {
				t.Errorf("failed with %q, want %q in it", got, want)
			}
		}
		if took := time.Since(began); took < 4*pollLimit || took > 5*pollLimit {
			t.Errorf("four waits took %v, want %v each", took, pollLimit)
		}
	})
}

// failure returns what a function ends its test with, "" if it does not.
func failure(t testing.TB, f func(testing.TB)) string {
	f2 := &failing{TB: t}
	var wg sync.WaitGroup
	wg.Go(func() { f(f2) })
	wg.Wait()
	return f2.message
}

// failing is a test whose end is noted instead.
type failing struct {
	testing.TB
	message string
}

func (f *failing) Fatalf(format string, args ...any) {
	f.message = fmt.Sprintf(format, args...)
	runtime.Goexit()
}
