package sink

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"strconv"
	"time"
)

// signer signs requests as Standard Webhooks 1.0.0 says. It is not safe for concurrent
// use.
type signer struct {
	hashes []hash.Hash
	text   []byte // that was signed, but for the body; then the signatures
}

func newSigner(keys [][]byte) *signer {
	s := &signer{}
	for _, key := range keys {
		s.hashes = append(s.hashes, hmac.New(sha256.New, key))
	}
	return s
}

// sign returns the fields webhook-timestamp and webhook-signature of a request that is
// sent now, with a signature by each key.
func (s *signer) sign(id string, now time.Time, body []byte) (timestamp, signatures string) {
	timestamp = strconv.FormatInt(now.Unix(), 10)
	s.text = append(append(append(append(s.text[:0], id...), '.'), timestamp...), '.')
	head := len(s.text)
	for _, h := range s.hashes {
		h.Reset()
		_, _ = h.Write(s.text[:head])
		_, _ = h.Write(body)
		if len(s.text) > head {
			s.text = append(s.text, ' ')
		}
		s.text = append(s.text, "v1,"...)
		var sum [sha256.Size]byte
		s.text = base64.StdEncoding.AppendEncode(s.text, h.Sum(sum[:0]))
	}
	return timestamp, string(s.text[head:])
}
