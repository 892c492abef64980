package main

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"signup-sheet/internal/receiver"
)

// slowRow is how long a slow sheet takes for a row: the consumer's requests in flight then just keep pace with what is published.
const slowRow = 3 * time.Second

// button makes trouble on purpose.
type button struct {
	name  string // in its address
	label string
	hint  string
	on    func() bool // whether its trouble goes on; nil for trouble that is made at each press
	press func(on bool) error
}

// buttons are those of the page, in order. Another trouble is another line.
func (l *live) buttons() []button {
	return []button{
		l.endpointButton("down", "Endpoint down", "The sheet answers 503 to everything. Rows wait, none is lost or dead-lettered.",
			receiver.Always(receiver.Answer{Status: http.StatusServiceUnavailable})),
		l.endpointButton("limit", "Rate limit", "The sheet takes 30 rows in 6 seconds and answers 429 with Retry-After to the others.",
			limit(30, 6*time.Second)),
		l.endpointButton("slow", "Slow", "The sheet takes 3 seconds for each row. More rows are on their way at once, and all arrive.",
			receiver.Always(receiver.Answer{Delay: slowRow})),
		l.endpointButton("token", "Expired token", "The sheet answers 401 to everything. Rows wait until it takes the token again.",
			receiver.Always(receiver.Answer{Status: http.StatusUnauthorized})),
		l.endpointButton("refuse", "Refuse everything", "The sheet answers 400 to every row. That says more of the sheet than of the rows: they wait. Only if nothing new comes for a minute can a few become dead letters.",
			receiver.Always(receiver.Answer{Status: http.StatusBadRequest})),
		{"kill", "kill -9", "Kills consumer 1 without warning and starts it again. What was in flight is sent again, and refused as a duplicate.", nil, l.kill},
		{"second", "Second consumer", "Starts another consumer: the group shares out the partitions. Press again to stop it in good order.", func() bool { return l.fleet.has(secondConsumer) }, l.second},
		{"poison", "Poison record", "Publishes a record that is no signup. It goes to the dead letters and stops nobody.", nil, l.poison},
		{"flood", "Poison flood", "Publishes 300 records that cannot be decoded among the signups. It ends by itself, or when pressed again.", l.publisher.isFlooding, l.flood},
		{"pause", "Pause publishing", "Nothing new is published, so that what is in flight can be seen to arrive.", l.publisher.isPaused, l.pause},
	}
}

// endpointButton makes the sheet answer in another way for as long as the button is on.
func (l *live) endpointButton(name, label, hint string, answer receiver.Behaviour) button {
	return button{name, label, hint, func() bool { return l.endpoint.has(name) }, func(on bool) error {
		l.endpoint.switched(name, answer, on)
		return nil
	}}
}

// errRebalancing says why members do not come and go now: the embedded Kafka can lose sight of a member that vanishes
// while it waits for the others. One that takes the place of another that was killed joins only after a moment, until which
// the group seems to be at rest.
var errRebalancing = errors.New("the group is rebalancing: wait until every consumer is running")

// atRest tells whether no member is on its way in or out.
func (l *live) atRest() bool {
	seats := l.fleet.list()
	l.mu.Lock()
	defer l.mu.Unlock()
	return allJoined(seats, l.joined) && l.broker.stable()
}

// allJoined tells whether there is nobody who is yet to join, or about to leave.
func allJoined(seats []seat, joined map[int]bool) bool {
	return !slices.ContainsFunc(seats, func(s seat) bool { return s.leaving || s.dying || !joined[s.pid()] })
}

func (l *live) kill(bool) error {
	if !l.atRest() {
		return errRebalancing
	}
	return l.fleet.kill(firstConsumer)
}

func (l *live) second(on bool) error {
	if !l.atRest() {
		return errRebalancing
	}
	if on {
		return l.fleet.begin(secondConsumer)
	}
	return l.fleet.end(secondConsumer)
}

func (l *live) poison(bool) error {
	l.publisher.poison()
	return nil
}

func (l *live) flood(on bool) error {
	l.publisher.flood(on)
	return nil
}

func (l *live) pause(on bool) error {
	l.publisher.pause(on)
	return nil
}
