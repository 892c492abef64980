package main

import (
	"strconv"
	"strings"
	"time"
)

// view is all that the page shows, as JSON.
type view struct {
	Run       string         `json:"run"`   // another one is another demo
	Kafka     string         `json:"kafka"` // the broker's address
	Counts    counts         `json:"counts"`
	Rates     road           `json:"rates"` // records a second
	Mood      mood           `json:"mood"`
	Consumers []consumerView `json:"consumers"`
	Buttons   []buttonView   `json:"buttons"`
	Columns   []string       `json:"columns"`        // of the rows; empty before the first
	Rows      *lines         `json:"rows,omitempty"` // those that were asked for
	Letters   *lines         `json:"letters,omitempty"`
}

// counts are what adds up: published = rows + dead letters + skipped + in flight, and nothing is lost.
type counts struct {
	Published   int  `json:"published"`
	Rows        int  `json:"rows"`
	DeadLetters int  `json:"dead_letters"`
	Skipped     int  `json:"skipped"` // tombstones, and signups that were published again: none of the demo's own
	InFlight    int  `json:"in_flight"`
	Lost        int  `json:"lost"`
	AddsUp      bool `json:"adds_up"`
	Duplicates  int  `json:"duplicates"` // rows that came again and were refused by their event id
	SheetRows   int  `json:"sheet_rows"` // the last row's number
	LetterRows  int  `json:"letter_rows"`
}

type consumerView struct {
	Name       string `json:"name"`
	PID        int    `json:"pid"`
	Address    string `json:"address"` // of its admin server; empty before it has one
	State      string `json:"state"`
	Partitions string `json:"partitions"`
	Well       bool   `json:"well"`
}

type buttonView struct {
	Name   string `json:"name"`
	Label  string `json:"label"`
	Hint   string `json:"hint"`
	Toggle bool   `json:"toggle"`
	On     bool   `json:"on"`
}

func countsOf(a account, duplicates int) counts {
	c := counts{
		Published: a.published, Rows: a.signups, DeadLetters: a.deadLetters, Skipped: a.tombstones + a.repeated,
		InFlight: a.inFlight(), Lost: a.lost, Duplicates: duplicates,
	}
	c.AddsUp = c.Lost == 0 && c.Published == c.Rows+c.DeadLetters+c.Skipped+c.InFlight
	return c
}

func consumerViews(reports []report) []consumerView {
	views := make([]consumerView, len(reports))
	for i, r := range reports {
		v := consumerView{Name: r.name, PID: r.pid(), State: "starting"}
		switch {
		case r.dying:
			v.State = "killed"
		case r.leaving:
			v.State = "stopping"
		case r.status != nil:
			v.State, v.Partitions, v.Address = r.status.State, partitionsText(r.status.Partitions), r.consumer.log.admin()
			v.Well = r.runs()
		}
		views[i] = v
	}
	return views
}

func buttonViews(buttons []button) []buttonView {
	views := make([]buttonView, len(buttons))
	for i, b := range buttons {
		views[i] = buttonView{Name: b.name, Label: b.label, Hint: b.hint, Toggle: b.on != nil, On: b.on != nil && b.on()}
	}
	return views
}

// maxShown bounds what the page shows of a dead letter's value, in bytes.
const maxShown = 400

// letterCells are a dead letter's cells: class, reason, partition, offset, time, value.
func letterCells(d deadLetter) []string {
	value := d.value
	if len(value) > maxShown {
		value = value[:maxShown]
	}
	return []string{
		d.class, strings.TrimPrefix(d.reason, d.class+": "), strconv.Itoa(int(d.origin.partition)), strconv.FormatInt(d.origin.offset, 10),
		d.time.UTC().Format(time.RFC3339), strings.ToValidUTF8(string(value), "\uFFFD"),
	}
}
