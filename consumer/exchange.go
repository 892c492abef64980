package consumer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// brokerVersions asks a broker which requests it takes, each up to which version.
func brokerVersions(rw io.ReadWriter) (map[protocol.ApiKey]int16, error) {
	res := kmsg.NewPtrApiVersionsResponse()
	if err := exchange(rw, kmsg.NewPtrApiVersionsRequest(), res, 0); err != nil {
		return nil, fmt.Errorf("api versions: %w", err)
	}
	versions := make(map[protocol.ApiKey]int16, len(res.ApiKeys))
	for _, k := range res.ApiKeys {
		versions[protocol.ApiKey(k.ApiKey)] = k.MaxVersion
	}
	return versions, nil
}

// maxAnswer bounds an answer about one topic, in bytes: a partition takes some
// dozens.
const maxAnswer = 16 << 20

// exchange writes one request and reads its answer, by the Kafka protocol guide:
// a length, a correlation id and, in flexible versions, tagged fields come before
// the body.
func exchange(rw io.ReadWriter, req kmsg.Request, res kmsg.Response, version int16) error {
	req.SetVersion(version)
	res.SetVersion(version)
	const correlation = 1
	if _, err := rw.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID)).AppendRequest(nil, req, correlation)); err != nil {
		return err
	}
	var head [8]byte
	if _, err := io.ReadFull(rw, head[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size < 4 || size > maxAnswer {
		return fmt.Errorf("an answer of %d bytes", size)
	}
	if got := binary.BigEndian.Uint32(head[4:]); got != correlation {
		return fmt.Errorf("an answer to request %d, not %d", got, correlation)
	}
	body := make([]byte, size-4)
	if _, err := io.ReadFull(rw, body); err != nil {
		return err
	}
	if req.IsFlexible() { // of the requests here, none whose answer's header is not
		var ok bool
		if body, ok = skipTags(body); !ok {
			return errors.New("an answer with a broken header")
		}
	}
	return res.ReadFrom(body)
}

// skipTags removes the tagged fields at the start of b.
func skipTags(b []byte) (rest []byte, ok bool) {
	tags, n := binary.Uvarint(b)
	if n <= 0 {
		return nil, false
	}
	b = b[n:]
	for ; tags > 0; tags-- {
		_, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, false
		}
		b = b[n:]
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return nil, false
		}
		b = b[n+int(size):]
	}
	return b, true
}
