package kafkatest

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestCommitsAreReadWithTheirMetadata(t *testing.T) {
	onEach(t, func(t *testing.T, c *Cluster) {
		topic, group := UniqueName(t), UniqueName(t)
		c.CreateTopic(t, topic, 3, nil)
		if got := c.Committed(t, group, topic); len(got) != 0 {
			t.Errorf("a new group committed %v", got)
		}
		for range 5 {
			c.Produce(t, topic, &kgo.Record{Partition: 0}, &kgo.Record{Partition: 1})
		}
		c.DeleteRecords(t, topic, 0, 2)
		offsets := kadm.Offsets{}
		offsets.Add(kadm.Offset{Topic: topic, Partition: 1, At: 3, LeaderEpoch: -1, Metadata: "some text"})
		if err := kadm.NewClient(c.Client(t)).CommitAllOffsets(t.Context(), group, offsets); err != nil {
			t.Fatal(err)
		}
		got := c.WaitCommitted(t, group, topic, func(commits map[int32]Commit) bool { return commits[1].Offset == 3 })
		if want := (Commit{3, "some text"}); len(got) != 1 || got[1] != want {
			t.Errorf("commits %+v, want partition 1: %+v alone", got, want)
		}
		if got := c.Committed(t, group, topic); got[1].Metadata != "some text" {
			t.Errorf("commits %+v, want the metadata", got)
		}
		lag := c.Lag(t, group, topic)
		if lag[0] != 3 || lag[1] != 2 || lag[2] != 0 || len(lag) != 3 {
			t.Errorf("lag %v, want 3 (two are deleted), 2 and 0", lag)
		}
	})
}

func TestWaitGroupSeesMembersComeAndGo(t *testing.T) {
	onEach(t, func(t *testing.T, c *Cluster) {
		topic, group := UniqueName(t), UniqueName(t)
		c.CreateTopic(t, topic, 4, nil)
		c.WaitGroup(t, group, 0)
		first := join(t, c, group, topic)
		one := c.WaitGroup(t, group, 1)
		second := join(t, c, group, topic)
		two := c.WaitGroup(t, group, 2)
		if !slices.Contains(two, one[0]) {
			t.Errorf("members %v, want %v among them", two, one)
		}
		first.Close()
		if left := c.WaitGroup(t, group, 1); left[0] == one[0] {
			t.Errorf("the member %s is still there", one[0])
		}
		second.Close()
		c.WaitGroup(t, group, 0)
	})
}

func TestWaitGroupIsExactAboutTheNumberOfMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Start(t, VirtualNetwork())
		topic, group := UniqueName(t), UniqueName(t)
		c.CreateTopic(t, topic, 1, nil)
		join(t, c, group, topic)
		c.WaitGroup(t, group, 1)
		for _, members := range []int{0, 2} {
			got := failure(t, func(t testing.TB) { c.WaitGroup(t, group, members) })
			if !strings.Contains(got, "Stable with 1 members") {
				t.Errorf("waiting for %d members failed with %q, want the one that there is", members, got)
			}
		}
	})
}

// join starts a group consumer that polls until the test ends.
func join(t *testing.T, c *Cluster, group, topic string) *kgo.Client {
	member := c.Client(t, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
		kgo.Balancers(kgo.RangeBalancer()), kgo.HeartbeatInterval(200*time.Millisecond))
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(done)
		for ctx.Err() == nil && !member.PollFetches(ctx).IsClientClosed() {
			continue
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return member
}
