package consumer_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"signup-sheet/consumer"
)

// The members of a group keep to sink.rate together, and reach it nearly: each has the
// part that its partitions are of all.
func TestAGroupSharesItsRate(t *testing.T) {
	const rate = 30
	for members := 2; members <= 3; members++ {
		t.Run(fmt.Sprint(members, " members"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := setVirtual(t, 6)
				s.publish(t, "p", 6000, 600)
				var all []*member
				for range members {
					all = append(all, s.join(t, func(c *consumer.Config) { c.Sink.Rate = rate }))
				}
				for _, m := range all {
					m.running(t, 6/members)
				}
				settled := time.Now()
				time.Sleep(90 * time.Second) //nolint:forbidigo // virtual
				ended := time.Now()
				for _, m := range all {
					m.leave(t)
				}
				var seen []time.Time
				for _, a := range s.sheet.Accepted() {
					if a.Time.After(settled) && a.Time.Before(ended) {
						seen = append(seen, a.Time)
					}
				}
				for from := range seen {
					to := from
					for to < len(seen) && seen[to].Sub(seen[from]) < 10*time.Second {
						to++
					}
					if n := to - from; n > 10*rate || to < len(seen) && n < 270 {
						t.Fatalf("%d requests in ten seconds", n)
					}
				}
				if len(seen) < 80*27 {
					t.Errorf("%d requests in 90 seconds", len(seen))
				}
			})
		})
	}
}
