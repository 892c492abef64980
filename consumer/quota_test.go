package consumer_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"signup-sheet/consumer"
	"signup-sheet/internal/kafkatest"
)

// Hazard 30: a quota throttles us.
func TestAQuotaSlowsDownAndNothingElse(t *testing.T) {
	kafkatest.Long(t)
	cluster := kafkatest.StartApache(t, 1).Cluster
	for _, quota := range []struct {
		key   string
		value float64
	}{
		{"consumer_byte_rate", 50_000},
		{"request_percentage", 0.05},
	} {
		t.Run(quota.key, func(t *testing.T) {
			const n = 3000
			s := setOn(t, cluster, 3)
			var dials atomic.Int64
			w := newWire(s)
			plain := w.dial
			w.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				dials.Add(1)
				return plain(ctx, network, address)
			}
			records := s.bulky("x", n)
			s.Produce(t, s.topic, records...)
			m := s.join(t, w.on, func(cfg *consumer.Config) { cfg.SessionTimeout = 6 * time.Second })
			s.delivered(t, n)
			before, connected := m.Status(), dials.Load()

			s.quota(t, kadm.AlterClientQuotaOp{Key: quota.key, Value: quota.value})
			began := time.Now()
			late := s.bulky("y", n)
			s.Produce(t, s.topic, late...)
			const throttled = 15 * time.Second // more than two sessions
			<-time.After(throttled)
			slow, heartbeats, commits := s.sheet.State().Rows-n, w.exchanges(kmsg.Heartbeat, began), w.exchanges(kmsg.OffsetCommit, began)
			if after := m.Status(); after.Member != before.Member || after.Generation != before.Generation || len(after.Partitions) != 3 {
				t.Errorf("member %s in generation %d became %s in %d", before.Member, before.Generation, after.Member, after.Generation)
			}
			if codes := commitErrors(w, began); len(codes) > 0 {
				t.Errorf("commits were answered with errors %v", codes)
			}
			if n := dials.Load() - connected; n > 2 {
				t.Errorf("%d new connections", n)
			}
			for _, e := range commits[:max(0, len(commits)-1)] {
				if e.response == nil {
					t.Errorf("the commit sent %v after the quota was set has no answer", e.sent.Sub(began))
				}
			}

			s.quota(t, kadm.AlterClientQuotaOp{Key: quota.key, Remove: true})
			removed := time.Now()
			s.delivered(t, 2*n)
			s.committed(t, 2*n)
			recovery := time.Since(removed)
			t.Logf("%d rows in %v, %d heartbeats, %d commits, %d new connections; the others within %v of the quota's removal",
				slow, throttled, len(heartbeats), len(commits), dials.Load()-connected, recovery)
			if quota.key == "consumer_byte_rate" && slow == n {
				t.Error("the quota was none")
			}
			if recovery > 15*time.Second {
				t.Errorf("back to full speed %v after the quota was removed", recovery)
			}
			if got := m.Status(); got.Member != before.Member || got.Generation != before.Generation {
				t.Errorf("member %s in generation %d became %s in %d", before.Member, before.Generation, got.Member, got.Generation)
			}
			m.leave(t)
			s.judge(t, append(records, late...), 0)
		})
	}
}

// bulky makes signups of a kilobyte that does not compress.
func (s *scene) bulky(prefix string, n int) []*kgo.Record {
	rs := s.signups(prefix, n, 300)
	for i, r := range rs {
		noise := make([]byte, 500)
		_, _ = rand.Read(noise)
		r.Value = fmt.Appendf(nil, `{"id":"%s-%d","email":"ann@example.com","metadata":{"noise":"%x"}}`, prefix, i, noise)
	}
	return rs
}

// quota changes a quota of the program's clients.
func (s *scene) quota(t *testing.T, op kadm.AlterClientQuotaOp) {
	t.Helper()
	client := "signup-sheet"
	altered, err := kadm.NewClient(s.Client(t)).AlterClientQuotas(t.Context(), []kadm.AlterClientQuotaEntry{{
		Entity: kadm.ClientQuotaEntity{{Type: "client-id", Name: &client}}, Ops: []kadm.AlterClientQuotaOp{op},
	}})
	if err != nil || len(altered) != 1 || altered[0].Err != nil {
		t.Fatalf("alter quotas: %v, %+v", err, altered)
	}
}
