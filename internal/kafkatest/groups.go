package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Commit is what a group committed for one partition.
type Commit struct {
	Offset   int64
	Metadata string
}

// Committed returns the commits of a group on a topic; a partition without a commit is not in the map.
func (c *Cluster) Committed(t testing.TB, group, topic string) map[int32]Commit {
	t.Helper()
	var commits map[int32]Commit
	poll(t, "commits of "+group, func(ctx context.Context) (err error) {
		commits, err = c.committed(ctx, group, topic)
		return err
	})
	return commits
}

// WaitCommitted returns the commits of a group on a topic once done is true of them, which it asks 20 times a second;
// after a minute (of virtual time, in a bubble) it ends the test.
func (c *Cluster) WaitCommitted(t testing.TB, group, topic string, done func(map[int32]Commit) bool) map[int32]Commit {
	t.Helper()
	var commits map[int32]Commit
	poll(t, fmt.Sprintf("commits of %s on %s", group, topic), func(ctx context.Context) (err error) {
		if commits, err = c.committed(ctx, group, topic); err != nil {
			return err
		}
		if !done(commits) {
			return fmt.Errorf("not yet: %+v", commits)
		}
		return nil
	})
	return commits
}

// committed asks once. kfake is asked directly, so that no fault or observer of the test meets the question.
func (c *Cluster) committed(ctx context.Context, group, topic string) (map[int32]Commit, error) {
	commits := make(map[int32]Commit)
	if c.fake != nil {
		if info := c.fake.GroupInfo(group); info != nil {
			for partition, commit := range info.Commits[topic] {
				commits[partition] = Commit{commit.Offset, commit.Metadata}
			}
		}
		return commits, nil
	}
	responses, err := c.admin.FetchOffsets(ctx, group)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return commits, nil
	}
	if err != nil {
		return nil, err
	}
	for partition, r := range responses[topic] {
		if r.Err != nil {
			return nil, fmt.Errorf("partition %d: %w", partition, r.Err)
		}
		if r.At >= 0 {
			commits[partition] = Commit{r.At, r.Metadata}
		}
	}
	return commits, nil
}

// Lag returns how many offsets of each partition a group has not committed, counted from the partition's start where it
// has no commit.
func (c *Cluster) Lag(t testing.TB, group, topic string) map[int32]int64 {
	t.Helper()
	starts, commits := c.StartOffsets(t, topic), c.Committed(t, group, topic)
	lag := c.EndOffsets(t, topic)
	for partition := range lag {
		if commit, ok := commits[partition]; ok {
			lag[partition] -= commit.Offset
		} else {
			lag[partition] -= starts[partition]
		}
	}
	return lag
}

// WaitGroup returns the ids of a group's members once it is stable with exactly so many of them, for 0 once it is
// empty or gone. On kfake, wait so before each member that joins or leaves: one that leaves while others are being
// given their partitions can keep the group from ever settling.
func (c *Cluster) WaitGroup(t testing.TB, group string, members int) []string {
	t.Helper()
	var ids []string
	poll(t, fmt.Sprintf("group %s stable with %d members", group, members), func(ctx context.Context) error {
		state, now, err := c.members(ctx, group)
		if err != nil {
			return err
		}
		settled := state == "Stable" || members == 0 && (state == "Empty" || state == "Dead")
		if !settled || len(now) != members {
			return fmt.Errorf("%s with %d members", state, len(now))
		}
		ids = now
		return nil
	})
	return ids
}

// members returns the state of a group as Kafka names it, "Dead" when there is none, and the ids of its members.
func (c *Cluster) members(ctx context.Context, group string) (state string, ids []string, err error) {
	if c.fake != nil {
		info := c.fake.GroupInfo(group)
		if info == nil {
			return "Dead", nil, nil
		}
		for _, m := range info.Members {
			ids = append(ids, m.MemberID)
		}
		return info.State, ids, nil
	}
	groups, err := c.admin.DescribeGroups(ctx, group)
	if err != nil {
		return "", nil, err
	}
	g := groups[group]
	if errors.Is(g.Err, kerr.GroupIDNotFound) {
		return "Dead", nil, nil
	}
	return g.State, memberIDs(g), g.Err
}

func memberIDs(g kadm.DescribedGroup) (ids []string) {
	for _, m := range g.Members {
		ids = append(ids, m.MemberID)
	}
	return ids
}
