package consumer

import (
	"context"
	"strconv"
	"sync"
	"time"

	"signup-sheet/consumer/signup"
)

// holdAge is the reason of the hold for ages that are required and cannot be had.
const holdAge = "age"

// agePause is how long a row waits before it asks for its age again. It is only
// its own process that it asks so often.
const agePause = time.Second

// unavailable is the status of an age that there may be another time.
const unavailable = "unavailable"

// age is what is guessed of a signup.
type age struct {
	guess  []byte // JSON text; nil without one
	status string // see Ages; empty if nobody was asked
}

// age asks for the age of a signup once.
func (c *Consumer) age(ctx context.Context, s *signup.Signup) age {
	if c.ages == nil {
		return age{}
	}
	guess, status := c.ages.Age(ctx, s.Name, s.CountryID, c.makeRoom)
	a := age{status: status}
	if status == "hit" || status == "miss" {
		a.guess = strconv.AppendInt(nil, int64(guess), 10)
	}
	return a
}

// requiredAge is age, but waits while the age is unavailable, if ages are required:
// as a hold, until AgesMaxWait has gone by for this row, or for everybody since
// there was an answer. An error says that ctx has ended.
func (c *Consumer) requiredAge(ctx context.Context, s *signup.Signup) (age, error) {
	a := c.age(ctx, s)
	if !c.cfg.RequireAges || c.ages == nil {
		return a, nil
	}
	began, held := time.Now(), false
	defer func() {
		if held {
			c.holds.end(holdAge)
		}
	}()
	for {
		if ctx.Err() != nil {
			return age{}, context.Cause(ctx) // which may be why there is none
		}
		if a.known() {
			if held || a.status == "miss" { // else it was known before, which says nothing
				c.outage.end()
			}
			return a, nil
		}
		if max(c.outage.lasts(c.cfg.AgesMaxWait), time.Since(began)) >= c.cfg.AgesMaxWait {
			return a, nil
		}
		c.holds.begin(holdAge, !held, time.Time{}, func() {
			c.log.Warn("ages are required and cannot be had: rows wait for them", "setting", "agify.required", "at_most", c.cfg.AgesMaxWait)
		})
		held = true
		pauseBeside(ctx, c.makeRoom, agePause)
		a = c.age(ctx, s)
	}
}

// known reports whether the age, or that there is none, is known.
func (a age) known() bool { return a.status != unavailable }

// statusText is the status for a column; nil without one.
func (a age) statusText() []byte {
	if a.status == "" {
		return nil
	}
	return []byte(a.status)
}

// ageOutage is the time in which ages are unavailable.
type ageOutage struct {
	mu          sync.Mutex
	since, last time.Time // when one was unavailable; zero since there was an answer
}

// lasts takes note of an age that is unavailable, and returns for how long there has
// been no answer. What was unavailable longer than longest ago is another story.
func (o *ageOutage) lasts(longest time.Duration) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if o.since.IsZero() || now.Sub(o.last) > longest {
		o.since = now
	}
	o.last = now
	return now.Sub(o.since)
}

// end takes note of an answer.
func (o *ageOutage) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.since = time.Time{}
}
