package consumer

import (
	"errors"
	"slices"
	"strconv"
	"time"
)

// Status is what can be known of a running consumer at a moment. It has no
// personal data and no secrets. The metrics and /status are made of it.
type Status struct {
	State       string            `json:"state"` // starting, joining, running, rebalancing, draining, no topic, stopped
	Topic       string            `json:"topic"`
	Group       string            `json:"group"`
	Member      string            `json:"member,omitempty"`
	Generation  int32             `json:"generation,omitempty"`
	Partitions  []PartitionStatus `json:"partitions"` // those assigned, ascending
	Queued      int               `json:"queued"`     // could be delivered now, wait for their turn
	InProgress  int               `json:"in_progress"`
	Retrying    int               `json:"retrying"` // of those in progress: wait for their own next attempt, or for their age
	Attempts    int               `json:"attempts_in_flight"`
	Holds       []Hold            `json:"holds"`
	LastFailure *Failure          `json:"last_failure,omitempty"`
}

// PartitionStatus is the state of one assigned partition. Offsets are Kafka's.
type PartitionStatus struct {
	Partition     int32   `json:"partition"`
	Watermark     int64   `json:"watermark"` // the lowest unsettled offset: what is committed next
	Next          int64   `json:"next"`      // the offset to fetch next
	End           int64   `json:"end"`       // of the log, as last heard; -1 before. Of a replay: where it ends
	Lag           int64   `json:"lag"`       // End - Watermark; -1 while End is not known
	Unsettled     int     `json:"unsettled"`
	Bytes         int64   `json:"bytes"`
	OldestSeconds float64 `json:"oldest_unsettled_seconds"` // since the oldest unsettled record was taken
}

func (p PartitionStatus) label() string { return strconv.Itoa(int(p.Partition)) }

// Failure is the latest attempt that did not succeed.
type Failure struct {
	Time time.Time `json:"time"`
	What string    `json:"what"` // a status code or a kind of fault
}

// Status returns the present state. It may be called at any time.
func (c *Consumer) Status() Status {
	c.mu.Lock()
	s := c.session
	st := Status{State: c.state, Topic: c.cfg.Topic, Group: c.cfg.Group, Partitions: []PartitionStatus{}, Holds: []Hold{}}
	c.mu.Unlock()
	if s != nil {
		st.Member, st.Generation = s.member, s.generation
		for partition, w := range s.windows {
			ws := w.state()
			high := s.fetcher.high(partition)
			if w.end != noEnd {
				high = w.end
			}
			p := PartitionStatus{Partition: partition, Watermark: ws.watermark, Next: ws.next, End: high, Lag: -1, Unsettled: ws.unsettled, Bytes: ws.bytes}
			if high >= 0 {
				p.Lag = max(0, high-ws.watermark)
			}
			if !ws.oldest.IsZero() {
				p.OldestSeconds = time.Since(ws.oldest).Seconds()
			}
			st.Partitions = append(st.Partitions, p)
		}
		slices.SortFunc(st.Partitions, func(a, b PartitionStatus) int { return int(a.Partition - b.Partition) })
		ps := s.pool.state()
		st.Queued, st.InProgress, st.Retrying = ps.ready, ps.busy, ps.waiting
	}
	st.Attempts = c.sink.InFlight()
	if h, ok := c.sink.Hold(); ok {
		st.Holds = append(st.Holds, Hold{Reason: h.Reason, Since: h.Since, NextProbe: h.NextProbe})
	}
	st.Holds = append(st.Holds, c.holds.list()...)
	if since, ok := c.lease.held(); ok {
		st.Holds = append(st.Holds, Hold{Reason: holdLease, Since: since})
	}
	if f, ok := c.sink.LastFailure(); ok {
		st.LastFailure = &Failure{Time: f.Time, What: f.Kind}
	}
	return st
}

// Ready returns nil when the member has joined the group and was told its
// partitions, even if there are none for it. Webhook and holds play no part:
// unrouting or restarting this process would mend neither.
func (c *Consumer) Ready() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.joined {
		return errors.New("not a member of the group: " + c.state)
	}
	return nil
}

// stuckAfter is how long a row that could be attempted may wait for its attempt
// before the process counts as stuck.
const stuckAfter = time.Minute

// stuck remembers the last sign of life of deliveries, seen by Live.
type stuck struct {
	since    time.Time
	progress uint64
	attempt  time.Time
}

// Live returns an error if deliveries are stuck: for a minute, a row that could
// be attempted (not held, chained, backing off, paced or without lease) was not. Either
// one is not prepared in all that time, or none is attempted. It has to be
// called now and then, because it compares.
func (c *Consumer) Live() error {
	st := c.Status()
	s := c.current()
	c.mu.Lock()
	defer c.mu.Unlock()
	var ps poolState
	if s != nil {
		ps = s.pool.state()
	}
	free := len(st.Holds) == 0 && c.lease.Valid()
	attemptable := free && !c.sink.Paced()
	if free && !ps.preparing.IsZero() && time.Since(ps.preparing) >= stuckAfter {
		return errors.New("a delivery is stuck: its row is in preparation for " + time.Since(ps.preparing).Round(time.Second).String())
	}
	progress, attempt := ps.progress, c.sink.LastAttempt()
	idle := s == nil || st.Queued+st.InProgress-st.Retrying == 0
	if idle || !attemptable || st.Attempts > 0 || progress != c.stuck.progress || attempt != c.stuck.attempt || c.stuck.since.IsZero() {
		c.stuck = stuck{since: time.Now(), progress: progress, attempt: attempt}
		return nil
	}
	if quiet := time.Since(c.stuck.since); quiet >= stuckAfter {
		return errors.New("deliveries are stuck: nothing was attempted for " + quiet.Round(time.Second).String())
	}
	return nil
}
