package consumer_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"signup-sheet/internal/kafkatest"
	"signup-sheet/internal/receiver"
)

// Hazard 11: partitions get other leaders, groups other coordinators, and brokers go and come back, one by one and all at once, under load.
// Each time delivery resumes within seconds, nothing is lost and nothing is sent again.
func TestMovedLeadersAndCoordinatorsAreFollowedWithinSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 6, kafkatest.Brokers(3))
		c := newCables(s.Cluster)
		w := newWork(t, s, s.join(t, c.through))
		const soon = 5 * time.Second

		for i := range 4 {
			s.Fake().ShufflePartitionLeaders()
			w.goesOn(t, fmt.Sprint("leaders shuffled, ", i), soon)
		}
		for i := range 4 {
			before := c.coordinator(t, s.group)
			for c.coordinator(t, s.group) == before {
				s.Fake().RehashCoordinators()
			}
			w.goesOn(t, fmt.Sprint("coordinator moved, ", i), soon)
		}
		for _, node := range c.nodes() {
			c.down(t, node)
			// What it led and coordinated is taken over by others.
			for partition := range s.partitions {
				if s.Fake().LeaderFor(s.topic, partition) == int32(node) {
					if err := s.Fake().MoveTopicPartition(s.topic, partition, int32((node+1)%3)); err != nil {
						t.Fatal(err)
					}
				}
			}
			for c.coordinator(t, s.group) == node {
				s.Fake().RehashCoordinators()
			}
			w.goesOn(t, fmt.Sprint("down: broker ", node), soon)
			c.up(t, node)
			w.goesOn(t, fmt.Sprint("up: broker ", node), soon)
		}
		c.down(t, c.nodes()...)
		w.adds(t)
		<-time.After(3 * time.Second)
		c.up(t, c.nodes()...)
		w.goesOn(t, "all brokers up again", soon)
		w.ends(t)
	})
}

// Hazard 11 on three real brokers: each is killed and started again on its port, then all of them.
func TestRestartsOfRealBrokersAreSurvivedWithoutLossOrDuplicates(t *testing.T) {
	kafkatest.Long(t)
	a := startMachines(t, 3)
	s := setOn(t, a.Cluster, 6)
	w := newWork(t, s, s.join(t, shortSession))
	// The cluster gives a killed broker up after 4 s, and elects then.
	const soon = 30 * time.Second

	for _, node := range a.nodes() {
		a.inSync(t)
		a.down(t, node)
		w.goesOn(t, fmt.Sprint("killed: broker ", node), soon)
		a.up(t, node)
		w.goesOn(t, fmt.Sprint("started: broker ", node), soon)
	}
	a.inSync(t)
	a.Stop(t, 1)
	w.goesOn(t, "stopped: broker 1", soon)
	a.up(t, 1)
	a.inSync(t)
	w.adds(t)
	a.down(t, a.nodes()...)
	a.up(t, a.nodes()...)
	w.goesOn(t, "started: all brokers", soon)
	w.ends(t)
}

// work is what a member has to do while brokers come and go.
type work struct {
	*scene
	member  *member
	records []*kgo.Record
	batches int
}

// newWork waits until the member is at work.
func newWork(t *testing.T, s *scene, m *member) *work {
	t.Helper()
	s.sheet.Script(receiver.Always(receiver.Answer{Delay: 20 * time.Millisecond}))
	w := &work{scene: s, member: m}
	w.adds(t)
	s.delivered(t, len(w.records))
	return w
}

// adds publishes more, so that there are always rows under way.
func (w *work) adds(t *testing.T) {
	t.Helper()
	w.batches++
	w.records = append(w.records, w.publish(t, fmt.Sprint("batch-", w.batches), 150, 60)...)
}

// goesOn publishes more and requires that all is delivered and committed soon after what has just happened.
func (w *work) goesOn(t *testing.T, after string, soon time.Duration) {
	t.Helper()
	began := time.Now()
	w.adds(t)
	awaitFor(t, soon, "delivery after: "+after, func() bool { return w.sheet.State().Rows >= len(w.records) })
	awaitFor(t, soon, "commit after: "+after, func() bool { return w.commits(t) == int64(len(w.records)) })
	t.Logf("%s: delivered and committed in %v", after, time.Since(began).Round(time.Millisecond))
	w.adds(t) // to be under way at the next event
}

// commits adds up what the group has committed. Real brokers are asked by a new client each time: one that knows the coordinator stays with
// it for a minute after it was killed.
func (w *work) commits(t *testing.T) (sum int64) {
	t.Helper()
	if !w.Real() {
		for _, commit := range w.Committed(t, w.group, w.topic) {
			sum += commit.Offset
		}
		return sum
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(w.Addrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	offsets, err := kadm.NewClient(client).FetchOffsets(ctx, w.group)
	if err != nil {
		return -1 // not yet
	}
	for _, o := range offsets[w.topic] {
		sum += o.At
	}
	return sum
}

// ends requires that all went well, in the one member's life.
func (w *work) ends(t *testing.T) {
	t.Helper()
	w.delivered(t, len(w.records))
	await(t, "the last commit", func() bool { return w.commits(t) == int64(len(w.records)) })
	w.member.leave(t)
	w.judge(t, w.records, 0)
	if n := len(w.ReadAll(t, w.dlq())); n > 0 {
		t.Errorf("%d dead letters", n)
	}
}
