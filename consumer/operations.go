package consumer

import (
	"context"
	"fmt"
	"io"
	"math"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// operations is what a client may do with a topic or group, as a bit field
// (KIP-430): bit n for the operation with the code n in Kafka's AclOperation.
type operations int32

const (
	opRead  = 3
	opWrite = 4
	// notTold is the answer of a broker that does not say.
	notTold operations = math.MinInt32
)

// allow reports whether an operation is not known to be forbidden.
func (o operations) allow(operation int) bool { return o == notTold || o&(1<<operation) != 0 }

// operations asks a broker, and no cache, what is allowed with a topic.
func (c *cluster) operations(ctx context.Context, topic string) (operations, error) {
	res, err := ask[*operationsResponse](ctx, c, &operationsRequest{topic}, requestTimeout)
	if err == nil && res.err != 0 {
		err = res.err
	}
	if err != nil {
		return notTold, fmt.Errorf("look up what is allowed with topic %s: %w", topic, err)
	}
	return res.allowed, nil
}

// operationsRequest is a Metadata request that kafka-go does not answer from what
// it remembers.
type operationsRequest struct{ topic string }

type operationsResponse struct {
	allowed operations
	err     kafka.Error
}

// ApiKey implements protocol.Message.
//
//nolint:revive,staticcheck // the interface's name
func (*operationsRequest) ApiKey() protocol.ApiKey { return protocol.Metadata }

// ApiKey implements protocol.Message.
//
//nolint:revive,staticcheck // the interface's name
func (*operationsResponse) ApiKey() protocol.ApiKey { return protocol.Metadata }

// Required implements protocol.RawExchanger.
func (*operationsRequest) Required(map[protocol.ApiKey]int16) bool { return true }

// metadataWithOperations is the first version of the Metadata request that
// answers with what is allowed, of Kafka 2.3.
const metadataWithOperations = 8

// RawExchange implements protocol.RawExchanger.
func (r *operationsRequest) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	req, res := kmsg.NewPtrMetadataRequest(), kmsg.NewPtrMetadataResponse()
	req.IncludeTopicAuthorizedOperations = true
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = new(r.topic)
	req.Topics = append(req.Topics, topic)
	if err := exchange(rw, req, res, metadataWithOperations); err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	if len(res.Topics) != 1 {
		return nil, fmt.Errorf("metadata: %d topics in the answer", len(res.Topics))
	}
	return &operationsResponse{operations(res.Topics[0].AuthorizedOperations), kafka.Error(res.Topics[0].ErrorCode)}, nil
}
