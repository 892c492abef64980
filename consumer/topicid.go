package consumer

import (
	"context"
	"fmt"
	"hash/fnv"
	"io"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// topicID tells a topic from an earlier one of the same name: brokers give each
// topic that is created an id of its own (KIP-516, since Kafka 2.8). Zero is the
// id where brokers have none.
type topicID [16]byte

// short is the id in a few bytes, for every commit; 0 is unknown.
func (id topicID) short() uint32 {
	if id == (topicID{}) {
		return 0
	}
	h := fnv.New32a()
	h.Write(id[:])
	return max(h.Sum32(), 1)
}

// differs reports whether both are known and not the same.
func (id topicID) differs(from topicID) bool {
	return id != from && id != (topicID{}) && from != (topicID{})
}

// topicID asks the group's coordinator, and no cache, which topic has a name
// now. A missing topic is kafka.UnknownTopicOrPartition. It is the coordinator
// that is asked because it takes the commits: what it says of a topic is never
// older than the topic that a commit before was taken for.
func (c *cluster) topicID(ctx context.Context, group, topic string) (topicID, error) {
	res, err := ask[*topicIDResponse](ctx, c, &topicIDRequest{group: group, topic: topic}, requestTimeout)
	if err != nil {
		return topicID{}, fmt.Errorf("look up the id of topic %s: %w", topic, err)
	}
	if res.err != 0 {
		return topicID{}, fmt.Errorf("look up the id of topic %s: %w", topic, res.err)
	}
	return res.id, nil
}

// topicIDRequest is a Metadata request in a version that kafka-go does not know,
// which it therefore writes and reads itself.
type topicIDRequest struct{ group, topic string }

type topicIDResponse struct {
	id  topicID
	err kafka.Error
}

// metadataWithIDs is the first version of the Metadata request that answers with
// topic ids.
const metadataWithIDs = 10

// ApiKey implements protocol.Message.
//
//nolint:revive,staticcheck // the interface's name
func (*topicIDRequest) ApiKey() protocol.ApiKey { return protocol.Metadata }

// ApiKey implements protocol.Message.
//
//nolint:revive,staticcheck // the interface's name
func (*topicIDResponse) ApiKey() protocol.ApiKey { return protocol.Metadata }

// Group implements protocol.GroupMessage: the request goes to its coordinator.
func (r *topicIDRequest) Group() string { return r.group }

// Required implements protocol.RawExchanger.
func (*topicIDRequest) Required(map[protocol.ApiKey]int16) bool { return true }

// RawExchange implements protocol.RawExchanger: it asks the broker for its
// versions, because kafka-go keeps those to itself, and then for the id.
func (r *topicIDRequest) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	versions, err := brokerVersions(rw)
	if err != nil {
		return nil, err
	}
	if versions[protocol.Metadata] < metadataWithIDs {
		return &topicIDResponse{}, nil
	}
	req := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = new(r.topic)
	req.Topics = append(req.Topics, topic)
	res := kmsg.NewPtrMetadataResponse()
	if err := exchange(rw, req, res, metadataWithIDs); err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	if len(res.Topics) != 1 {
		return nil, fmt.Errorf("metadata: %d topics in the answer", len(res.Topics))
	}
	return &topicIDResponse{id: res.Topics[0].TopicID, err: kafka.Error(res.Topics[0].ErrorCode)}, nil
}
