package consumer

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"signup-sheet/sink"
)

// Probe sends one row that is marked as a test, in one attempt, and explains what came of
// it. Nobody is asked for the age: it is a number, so that the row has one in every column.
func (c *Consumer) Probe(ctx context.Context) (*Explanation, sink.Answer, error) {
	defer c.close()
	const event = `{"id":"signup-sheet-probe-%s","email":"test@example.com","name":"signup-sheet test row",` +
		`"plan":"free","source":"signup-sheet probe","utm_campaign":"test","metadata":{"test":true},"country_id":"DE"}`
	e := c.specimen(0, record{time: time.Now().UnixMilli(), value: fmt.Appendf(nil, event, uuid.NewString())})
	x, err := c.explain(ctx, e, []byte("42"))
	if err != nil {
		return nil, sink.Answer{}, err
	}
	switch {
	case x.Poison != nil:
		return nil, sink.Answer{}, x.Poison
	case x.GivenUp != nil:
		return nil, sink.Answer{}, x.GivenUp
	}
	// It is no partition's row, so that the right to send it needs no commit.
	c.lease.renew(time.Now().Add(time.Hour))
	answer, err := c.sink.Try(ctx, x.Row)
	return x, answer, err
}
