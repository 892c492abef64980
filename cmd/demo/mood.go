package main

import (
	"strconv"
	"strings"
	"time"

	member "signup-sheet/consumer"
)

// mood is how things are, in a sentence.
type mood struct {
	Kind   string `json:"kind"` // well, waiting, bad or ended
	Text   string `json:"text"` // changes only if the situation does
	Detail string `json:"detail"`
	until  time.Time
	Hold   string `json:"hold"`    // what deliveries wait for, in a word or two; empty if they do not
	NextMS int64  `json:"next_ms"` // until it is tried again, 0 if that is not known
}

const startingText = "A consumer is starting."

// noMember is what deliveries wait for while no consumer runs.
const noMember = "no member"

// sessionTimeout is how long the group waits for a member that was killed: the default of kafka.session_timeout.
const sessionTimeout = 10 * time.Second

// moodOf says why deliveries wait, if they do, as the consumers tell it.
func moodOf(now time.Time, reports []report, a account, paused bool) mood {
	m := whyWaiting(now, reports)
	switch {
	case a.lost > 0:
		m = mood{Kind: "bad", Text: "Records are missing.", Detail: number(a.lost) + " of them were committed, but are neither in the sheet nor in the dead letters."}
	case m.Kind != "":
	case paused && a.inFlight() == 0:
		m = mood{Kind: "well", Text: "Publishing is paused. Everything has arrived."}
	case paused:
		m = mood{Kind: "well", Text: "Publishing is paused. What is in flight arrives."}
	default:
		m = mood{Kind: "well", Text: "Delivering.", Detail: slowness(reports)}
	}
	if !m.until.IsZero() {
		m.NextMS = max(0, m.until.Sub(now).Milliseconds())
	}
	return m
}

// manyOnTheWay is how many rows at once are more than a sheet that answers promptly has to do with.
const manyOnTheWay = 15

// slowness says that the sheet takes its time, if it does.
func slowness(reports []report) string {
	onTheWay := 0
	for _, r := range reports {
		if r.status != nil {
			onTheWay += r.status.Attempts
		}
	}
	if onTheWay < manyOnTheWay {
		return ""
	}
	return number(onTheWay) + " rows are with the sheet, which takes its time to answer."
}

// whyWaiting returns nothing if deliveries go on.
func whyWaiting(now time.Time, reports []report) mood {
	var held *member.Hold
	retrying, running := 0, 0
	failure := ""
	var killed time.Time
	for _, r := range reports {
		if r.killed.After(killed) {
			killed = r.killed
		}
		if r.status == nil {
			continue
		}
		if r.runs() {
			running++
		}
		for _, h := range r.status.Holds {
			if held == nil || h.NextProbe.Before(held.NextProbe) {
				held = &h
			}
		}
		retrying += r.status.Retrying
		if f := r.status.LastFailure; f != nil {
			failure = f.What
		}
	}
	switch {
	case held != nil:
		return mood{Kind: "waiting", Text: "Held: " + holdText(held.Reason) + ".", Detail: "All rows wait, then one is tried.", Hold: words(held.Reason), until: held.NextProbe}
	case running == 0 && now.Sub(killed) < 2*sessionTimeout:
		return mood{
			Kind: "waiting", Text: "A consumer was killed. The group waits for it until its session times out.",
			Hold: noMember, until: killed.Add(sessionTimeout),
		}
	case running == 0:
		return mood{Kind: "waiting", Text: startingText, Hold: noMember}
	case retrying > 0:
		return mood{
			Kind: "waiting", Text: "Rows wait for their next attempt: " + holdText(failure) + ".",
			Detail: number(retrying) + " rows, each after a random wait that doubles.", Hold: words(failure),
		}
	}
	return mood{}
}

// words makes a reason readable.
func words(reason string) string { return strings.ReplaceAll(reason, "_", " ") }

// holdText says what a reason of the consumer's means.
func holdText(reason string) string {
	switch reason {
	case "rate_limited":
		return "the sheet asks for time (429, Retry-After)"
	case "failing":
		return "the sheet fails (5xx)"
	case "refused":
		return "the sheet refuses rows (400, 422)"
	case "unauthorised":
		return "the sheet wants another token (401, 403)"
	case "not_found":
		return "the sheet is gone (404, 410)"
	case "timeout":
		return "the sheet does not answer in time"
	case "network":
		return "the sheet cannot be reached"
	case "lease":
		return "Kafka has acknowledged no commit for too long"
	case "dead_letter":
		return "the dead-letter topic takes no record"
	default:
		return words(reason)
	}
}

// partitionsText names the partitions of a consumer, which ascend: 0–2, 5.
func partitionsText(of []member.PartitionStatus) string {
	if len(of) == 0 {
		return "no partitions"
	}
	var runs []string
	for i := 0; i < len(of); {
		from := of[i].Partition
		to := from
		for i++; i < len(of) && of[i].Partition == to+1; i++ {
			to++
		}
		run := strconv.Itoa(int(from))
		if to > from {
			run += "–" + strconv.Itoa(int(to))
		}
		runs = append(runs, run)
	}
	return "partitions " + strings.Join(runs, ", ")
}
