package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"signup-sheet/consumer"
	"signup-sheet/consumer/signup"
	"signup-sheet/sink"
)

// explained is a record with all that is known of its way.
type explained struct {
	*consumer.Explanation
	origin string   // of a value that is not from the topic
	notes  []string // on single columns
}

// sent reports whether there would be a request.
func (e *explained) sent() bool { return e.Signup != nil && e.GivenUp == nil && !e.Forced }

// notes says what was counted of the values of columns.
func notes(reg prometheus.Gatherer) ([]string, error) {
	families, err := reg.Gather()
	if err != nil {
		return nil, fmt.Errorf("gather metrics: %w", err)
	}
	words := map[string]string{
		"signup_sheet_values_neutralised_total": "gets an apostrophe, or a sheet would take it for a formula (sink.sheet_safe)",
		"signup_sheet_values_unfit_total":       "counts as missing, since its function cannot take the value, or it is not UTF-8 (sink.columns)",
	}
	var notes []string
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if words[family.GetName()] != "" && m.GetCounter().GetValue() > 0 {
				notes = append(notes, oneLine(m.GetLabel()[0].GetValue())+" "+words[family.GetName()])
			}
		}
	}
	return notes, nil
}

// words are every step in words.
func (e *explained) words(cfg config) string {
	x, origin := e.Explanation, e.origin
	var b strings.Builder
	step := func(name, text string) {
		for _, line := range wrap(text, helpWidth-10) {
			fmt.Fprintf(&b, "%-10s%s\n", name, line)
			name = ""
		}
	}
	r := x.Record
	if origin == "" {
		step("record", fmt.Sprintf("%s, partition %d, offset %d, of %s", cfg.Kafka.Topic, r.Partition, r.Offset, r.Time.UTC().Format("2006-01-02T15:04:05.000Z")))
		step("", fmt.Sprintf("%s, %s, value of %d bytes", keyOf(r.Key), headersOf(r.Headers), len(r.Value)))
	} else {
		step("record", fmt.Sprintf("the value is from %s, %d bytes; there are no key and no headers, and it counts as offset 0 of partition 0, of now", oneLine(origin), len(r.Value)))
	}
	poison := func() {
		step("", fmt.Sprintf("The record would be a dead letter of class %s in %s, byte for byte as it is; %s", x.Poison.Class, cfg.DeadLetter.Topic, eventID(cfg, r, x.Poison.EventID, origin, x.Poison)))
	}
	switch {
	case x.Tombstone:
		step("decode", "a null value, which is a tombstone: it would be skipped and counted, and nothing sent.")
		return b.String()
	case x.Poison != nil && x.Poison.Class == signup.Invalid:
		step("decode", "fine: a JSON object")
		step("validate", "poison: "+poisonous(x.Poison))
		poison()
		return b.String()
	case x.Poison != nil:
		step("decode", "poison: "+poisonous(x.Poison))
		poison()
		return b.String()
	}
	step("decode", "fine: a JSON object"+othersOf(x.Signup))
	validated := "fine"
	if x.Signup.EmailTrimmed {
		validated += ", without the blanks around the email"
	}
	if missing := missingFrom(x.Signup); missing != "" {
		validated += "; not in the event: " + missing
	}
	step("validate", validated)
	step("", eventID(cfg, r, x.Signup.EventID, origin, nil))
	if x.Age != nil {
		step("enrich", "age "+string(x.Age)+", guessed from the first name")
	} else {
		step("enrich", "no age: "+e.ageless(cfg))
	}
	step("map", fmt.Sprintf("a row of %d bytes", len(x.Row.Body)))
	for _, note := range e.notes {
		step("", note)
	}
	switch {
	case x.Forced:
		step("send", "nothing, neither now nor by run: dead_letter.force names the record, which would be a dead letter of class exhausted in "+cfg.DeadLetter.Topic)
		return b.String()
	case x.GivenUp != nil:
		step("send", fmt.Sprintf("nothing, neither now nor by run: %v. It would be a dead letter of class %s in %s", x.GivenUp, x.GivenUp.Class, cfg.DeadLetter.Topic))
		return b.String()
	}
	step("send", "nothing was sent; it would be this request:")
	return b.String()
}

// ageless says why there is no age.
func (e *explained) ageless(cfg config) string {
	switch {
	case !cfg.Agify.Enabled:
		return "agify.enabled is false"
	case !cfg.Explain.Enrich:
		return "nobody was asked, because a look-up counts against the quota (--enrich asks)"
	case !e.Asked:
		return "no column has it, so nobody is asked"
	}
	switch e.AgeStatus {
	case "unknown":
		return "agify does not know the first name"
	case "skipped":
		return "the event has no first name to ask about"
	}
	const silent = "agify has not answered, or its quota is used up; run would "
	if cfg.Agify.Required {
		return silent + "wait for one, at most agify.required_max_wait, since agify.required is true"
	}
	return silent + "send the row without one, too"
}

// poisonous says what is wrong with a record, and where.
func poisonous(p *signup.Poison) string {
	if p.Pointer == "" {
		return p.Reason
	}
	return "at " + p.Pointer + ": " + p.Reason
}

func keyOf(key []byte) string {
	switch {
	case key == nil:
		return "no key"
	case len(key) == 0:
		return "an empty key"
	case len(key) > 100:
		return fmt.Sprintf("a key of %d bytes", len(key))
	}
	return fmt.Sprintf("key %q", key)
}

func headersOf(headers []signup.Header) string {
	if len(headers) == 0 {
		return "no headers"
	}
	names := make([]string, len(headers))
	for i, h := range headers {
		names[i] = oneLine(h.Key)
	}
	return "headers " + some(names)
}

// othersOf names the members of the event that are no field.
func othersOf(s *signup.Signup) string {
	var names []string
	for name := range s.Unknown() {
		names = append(names, oneLine(name))
	}
	if len(names) == 0 {
		return ""
	}
	return "; members beside the known ones: " + some(names)
}

// missingFrom names the columns of a signup that have no value.
func missingFrom(s *signup.Signup) string {
	var names []string
	for _, column := range signup.Columns() {
		if s.Field(column) == nil {
			names = append(names, column)
		}
	}
	return strings.Join(names, ", ")
}

// some are the first of many names.
func some(names []string) string {
	const most = 20
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
}

// eventID says what the event id is, and where it comes from. poison is nil for a good record.
func eventID(cfg config, r consumer.Record, id, origin string, poison *signup.Poison) string {
	none := "the event has no id"
	if poison != nil && poison.Class != signup.Invalid {
		none = "no id can be read in it"
	}
	shown := "event id " + oneLine(id)
	switch {
	case slices.ContainsFunc(r.Headers, func(h signup.Header) bool { return h.Key == signup.EventIDHeader && string(h.Value) == id }):
		return shown + ", which the record carries in a header: it was a dead letter"
	case id != signup.EventID(cfg.Kafka.Topic, r.Partition, r.Offset, r.Time):
		return shown + ", the event's own"
	case origin != "":
		return none + ", so in the topic one would be made of topic, partition, offset and time"
	}
	return shown + ", made of topic, partition, offset and time, because " + none
}

// request is a request as it would be on the wire. On a terminal, what could change it is escaped.
func request(r sink.Request, onTerminal bool) string {
	var b strings.Builder
	b.WriteString(r.Method + " " + r.URL + "\n")
	for _, f := range r.Header {
		b.WriteString(f.Name + ": " + f.Value + "\n")
	}
	b.WriteString("\n")
	if onTerminal {
		b.WriteString(printable(r.Body))
	} else {
		b.Write(r.Body)
	}
	b.WriteString("\n")
	return b.String()
}
