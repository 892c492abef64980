package consumer_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"signup-sheet/consumer"
	"signup-sheet/internal/kafkatest"
)

// Hazard 30: a quota throttles us.
func TestAQuotaSlowsDownAndNothingElse(t *testing.T) {
	for _, quota := range []struct {
		key   string
		value float64
	}{
		{"consumer_byte_rate", 20_000},
		{"request_percentage", 0.05},
	} {
		t.Run(quota.key, func(t *testing.T) {
			s := setOn(t, kafkatest.StartApache(t, 1).Cluster, 3)
			admin := kadm.NewClient(s.Client(t))
			limit := func(op kadm.AlterClientQuotaOp) {
				t.Helper()
				client := "signup-sheet"
				altered, err := admin.AlterClientQuotas(t.Context(), []kadm.AlterClientQuotaEntry{{
					Entity: kadm.ClientQuotaEntity{{Type: "client-id", Name: &client}}, Ops: []kadm.AlterClientQuotaOp{op},
				}})
				if err != nil || len(altered) != 1 || altered[0].Err != nil {
					t.Fatalf("alter quotas: %v, %+v", err, altered)
				}
			}
			var dials atomic.Int64
			w := newWire(s)
			plain := w.dial
			w.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				dials.Add(1)
				return plain(ctx, network, address)
			}
			records := s.publish(t, "x", 3000, 300)
			m := s.join(t, w.on, func(cfg *consumer.Config) { cfg.SessionTimeout, cfg.CommitInterval = 6*time.Second, time.Second })
			s.delivered(t, 3000)
			before, connected := m.Status(), dials.Load()

			limit(kadm.AlterClientQuotaOp{Key: quota.key, Value: quota.value})
			began := time.Now()
			records = append(records, s.publish(t, "y", 6000, 300)...)
			const throttled = 20 * time.Second // more than three sessions
			<-time.After(throttled)
			slow := s.sheet.State().Rows - 3000
			t.Logf("%d rows in %v, %d new connections, %d heartbeats, %d commits", slow, throttled, dials.Load()-connected,
				len(w.exchanges(kmsg.Heartbeat, began)), len(w.exchanges(kmsg.OffsetCommit, began)))
			if after := m.Status(); after.Member != before.Member || after.Generation != before.Generation || len(after.Partitions) != 3 {
				t.Errorf("member %s in generation %d became %s in %d", before.Member, before.Generation, after.Member, after.Generation)
			}
			if codes := commitErrors(w, began); len(codes) > 0 {
				t.Errorf("commits were answered with errors %v", codes)
			}
			if n := dials.Load() - connected; n > 6 {
				t.Errorf("%d new connections", n)
			}

			limit(kadm.AlterClientQuotaOp{Key: quota.key, Remove: true})
			removed := time.Now()
			s.delivered(t, 9000)
			s.committed(t, 9000)
			t.Logf("all done %v after the quota was removed", time.Since(removed))
			if m.Status().Member != before.Member {
				t.Error("another member id after the quota was removed")
			}
			m.leave(t)
			s.judge(t, records, 0)
		})
	}
}
