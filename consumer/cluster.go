package consumer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/createtopics"
	"github.com/segmentio/kafka-go/protocol/describeconfigs"
	"github.com/segmentio/kafka-go/protocol/leavegroup"
	"github.com/segmentio/kafka-go/protocol/listoffsets"
	"github.com/segmentio/kafka-go/protocol/metadata"
	"github.com/segmentio/kafka-go/protocol/offsetfetch"
)

// How long things may take and last between us and the brokers.
const (
	dialTimeout = 5 * time.Second
	// metadataTTL is generous, because kafka-go uses it as the deadline of the
	// metadata request too, and a large or distant cluster answers slowly. A
	// leader that moved is found by refresh, not by waiting for it.
	metadataTTL    = 30 * time.Second
	requestTimeout = 10 * time.Second
)

// cluster is one set of connections to the brokers. Those whose requests must
// not wait behind one another have one each: a broker that throttles a client
// stops reading the connection, and kafka-go has one request under way on each.
type cluster struct {
	addr      net.Addr
	transport *kafka.Transport
}

// newCluster connects lazily. topics are those whose leaders have to be known.
func newCluster(brokers []string, clientID string, d *dialer, topics ...string) *cluster {
	return &cluster{
		addr: kafka.TCP(brokers...),
		transport: &kafka.Transport{
			Dial:           d.DialContext,
			DialTimeout:    dialTimeout,
			MetadataTTL:    metadataTTL,
			MetadataTopics: topics,
			ClientID:       clientID,
		},
	}
}

// refresh makes the next request look up brokers and leaders afresh. Requests
// under way are not disturbed.
func (c *cluster) refresh() { c.transport.CloseIdleConnections() }

// close closes the connections as they become idle.
func (c *cluster) close() { c.transport.CloseIdleConnections() }

// ask sends one request and waits for its answer, at most timeout. An error
// makes the next request start from fresh metadata.
func ask[T protocol.Message](ctx context.Context, c *cluster, req protocol.Message, timeout time.Duration) (T, error) {
	var none T
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	res, err := c.transport.RoundTrip(ctx, c.addr, req)
	if err != nil {
		c.refresh()
		return none, explain(err)
	}
	got, ok := res.(T)
	if !ok {
		return none, fmt.Errorf("a broker answered with %T", res)
	}
	return got, nil
}

// explain says in an error what its cause probably is.
func explain(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer in time (is the broker reachable, and is TLS or SASL expected?): %w", err)
	}
	return err
}

// topicInfo is what the brokers say of a topic.
type topicInfo struct {
	clusterID string
	leaders   map[int32]int32 // by partition; -1 where there is none just now
}

// topic describes a topic by the cached metadata. A missing topic is
// kafka.UnknownTopicOrPartition. It never creates one.
func (c *cluster) topic(ctx context.Context, name string) (topicInfo, error) {
	res, err := ask[*metadata.Response](ctx, c, &metadata.Request{TopicNames: []string{name}}, requestTimeout)
	if err != nil {
		return topicInfo{}, fmt.Errorf("metadata: %w", err)
	}
	if len(res.Topics) != 1 {
		return topicInfo{}, fmt.Errorf("metadata: %d topics in the answer", len(res.Topics))
	}
	t := res.Topics[0]
	if t.ErrorCode != 0 {
		c.refresh()
		return topicInfo{}, fmt.Errorf("metadata: %w", kafka.Error(t.ErrorCode))
	}
	info := topicInfo{clusterID: res.ClusterID, leaders: make(map[int32]int32, len(t.Partitions))}
	for _, p := range t.Partitions {
		info.leaders[p.PartitionIndex] = p.LeaderID
	}
	return info, nil
}

// newTopic is a topic to be created.
type newTopic struct {
	setting    string // that a refusal is about
	name       string
	partitions int
	configs    []createtopics.RequestConfig
}

// createTopic creates a topic, with as many replicas as brokers give a topic by
// default. That another member was quicker is no error, but false; a *SetupError
// is for what does not pass by itself.
func (c *cluster) createTopic(ctx context.Context, t newTopic) (created bool, err error) {
	res, err := ask[*createtopics.Response](ctx, c, &createtopics.Request{
		Topics:    []createtopics.RequestTopic{{Name: t.name, NumPartitions: int32(t.partitions), ReplicationFactor: -1, Configs: t.configs}},
		TimeoutMs: int32(requestTimeout / time.Millisecond),
	}, requestTimeout)
	if err != nil {
		return false, fmt.Errorf("create topic %s: %w", t.name, err)
	}
	if len(res.Topics) != 1 {
		return false, fmt.Errorf("create topic %s: %d topics in the answer", t.name, len(res.Topics))
	}
	switch code := kafka.Error(res.Topics[0].ErrorCode); {
	case code == 0:
		return true, nil
	case code == kafka.TopicAlreadyExists:
		return false, nil
	case isDenied(code):
		return false, fmt.Errorf("create topic %s: %w: allow CREATE on topic %s, or create it yourself", t.name, code, t.name)
	case code.Temporary():
		c.refresh()
		return false, fmt.Errorf("create topic %s: %w", t.name, code)
	default:
		return false, &SetupError{
			t.setting, fmt.Sprintf("the brokers refuse to create topic %q: %s%s", t.name, code.Title(), words(&res.Topics[0].ErrorMessage)),
			"create it yourself",
		}
	}
}

// Timestamps that ListOffsets takes for an end of the log.
const (
	earliest = -2
	latest   = -1
)

// listOffset asks the leader of a partition for the offset of the first record
// at or after a time (Unix ms), or at an end of the log. No such record is -1.
func (c *cluster) listOffset(ctx context.Context, topic string, partition int32, at int64) (int64, error) {
	res, err := ask[*listoffsets.Response](ctx, c, &listoffsets.Request{
		ReplicaID: -1,
		Topics:    []listoffsets.RequestTopic{{Topic: topic, Partitions: []listoffsets.RequestPartition{{Partition: partition, CurrentLeaderEpoch: -1, Timestamp: at}}}},
	}, requestTimeout)
	if err != nil {
		return 0, fmt.Errorf("list offsets of partition %d: %w", partition, err)
	}
	for _, t := range res.Topics {
		for _, p := range t.Partitions {
			if p.Partition != partition {
				continue
			}
			if p.ErrorCode != 0 {
				c.refresh()
				return 0, fmt.Errorf("list offsets of partition %d: %w", partition, kafka.Error(p.ErrorCode))
			}
			return p.Offset, nil
		}
	}
	return 0, fmt.Errorf("list offsets of partition %d: not in the answer", partition)
}

// noOffset is what the coordinator answers for a partition without a commit.
const noOffset = -1

// committed asks the group's coordinator for the committed positions of all the
// given partitions. An error on any of them is an error of the whole: a start
// offset is never guessed.
func (c *cluster) committed(ctx context.Context, group, topic string, partitions []int32) (map[int32]position, error) {
	res, err := ask[*offsetfetch.Response](ctx, c, &offsetfetch.Request{
		GroupID: group,
		Topics:  []offsetfetch.RequestTopic{{Name: topic, PartitionIndexes: partitions}},
	}, requestTimeout)
	if err != nil {
		return nil, fmt.Errorf("fetch committed offsets: %w", err)
	}
	if res.ErrorCode != 0 {
		c.refresh()
		return nil, fmt.Errorf("fetch committed offsets: %w", kafka.Error(res.ErrorCode))
	}
	got := make(map[int32]position, len(partitions))
	for _, t := range res.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				c.refresh()
				return nil, fmt.Errorf("fetch committed offset of partition %d: %w", p.PartitionIndex, kafka.Error(p.ErrorCode))
			}
			got[p.PartitionIndex] = position{offset: p.CommittedOffset, metadata: p.Metadata}
		}
	}
	for _, p := range partitions {
		if _, ok := got[p]; !ok {
			return nil, fmt.Errorf("fetch committed offset of partition %d: not in the answer", p)
		}
	}
	return got, nil
}

// leave ends a membership in a group, whatever the member is at.
func (c *cluster) leave(ctx context.Context, group, member string) error {
	res, err := ask[*leavegroup.Response](ctx, c, &leavegroup.Request{
		GroupID: group, MemberID: member, Members: []leavegroup.RequestMember{{MemberID: member}},
	}, requestTimeout)
	if err != nil {
		return fmt.Errorf("leave group: %w", err)
	}
	if res.ErrorCode != 0 {
		return fmt.Errorf("leave group: %w", kafka.Error(res.ErrorCode))
	}
	return nil
}

// topicConfig returns one setting of a topic.
func (c *cluster) topicConfig(ctx context.Context, topic, name string) (string, error) {
	res, err := ask[*describeconfigs.Response](ctx, c, &describeconfigs.Request{
		Resources: []describeconfigs.RequestResource{{ResourceType: int8(kafka.ResourceTypeTopic), ResourceName: topic, ConfigNames: []string{name}}},
	}, requestTimeout)
	if err != nil {
		return "", fmt.Errorf("describe configuration of topic %s: %w", topic, err)
	}
	for _, r := range res.Resources {
		if r.ErrorCode != 0 {
			return "", fmt.Errorf("describe configuration of topic %s: %w", topic, kafka.Error(r.ErrorCode))
		}
		for _, e := range r.ConfigEntries {
			if e.ConfigName == name {
				return e.ConfigValue, nil
			}
		}
	}
	return "", fmt.Errorf("describe configuration of topic %s: %s is not in the answer", topic, name)
}
