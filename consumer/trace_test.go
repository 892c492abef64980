package consumer_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kgo"

	"signup-sheet/internal/receiver"
)

// What a record is part of (W3C Trace Context) is passed on, and nothing that only looks like it.
func TestTheTraceOfARecordIsPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const parent, state = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "rojo=00f067aa0ba902b7"
		s := setVirtual(t, 1)
		got := map[string]http.Header{}
		var mu sync.Mutex
		s.sheet.Script(func(_ context.Context, a receiver.Attempt) receiver.Answer {
			mu.Lock()
			defer mu.Unlock()
			got[a.EventID] = a.Header
			return receiver.Answer{}
		})
		header := func(pairs ...string) (headers []kgo.RecordHeader) {
			for i := 0; i < len(pairs); i += 2 {
				headers = append(headers, kgo.RecordHeader{Key: pairs[i], Value: []byte(pairs[i+1])})
			}
			return headers
		}
		s.Produce(t, s.topic,
			&kgo.Record{Value: event("one"), Headers: header("traceparent", "old", "traceparent", parent, "tracestate", state)},
			&kgo.Record{Value: event("two"), Headers: header("traceparent", "zofia@example.org", "tracestate", state)},
			&kgo.Record{Value: event("three")},
		)
		m := s.join(t)
		s.delivered(t, 3)
		s.committed(t, 3)
		m.leave(t)
		if h := got["one"]; h.Get("Traceparent") != parent || h.Get("Tracestate") != state {
			t.Errorf("one: %v", h)
		}
		for _, id := range []string{"two", "three"} {
			if h := got[id]; h.Get("Traceparent") != "" || h.Get("Tracestate") != "" {
				t.Errorf("%s: %v", id, h)
			}
		}
	})
}
