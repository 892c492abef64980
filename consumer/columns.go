package consumer

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/prometheus/client_golang/prometheus"

	"signup-sheet/consumer/signup"
	"signup-sheet/sink"
)

// ColumnPath is what the value of a column may come from.
type ColumnPath struct {
	// Path is how it is written, with what differs in angle brackets; Help says what is
	// there.
	Path, Help string

	source source
}

// source is the kind of thing that a column's value is taken from.
type source int

const (
	fromSignup source = iota
	fromAge
	fromAgeStatus
	fromTopic
	fromPartition
	fromOffset
	fromTimestamp
	fromKey
	fromHeader
)

// ColumnPaths lists all paths.
func ColumnPaths() []ColumnPath {
	return []ColumnPath{
		{"signup.event_id", "the row's id: the event's own `id`, or one made for it; `signup.id` is the same", fromSignup},
		{"signup.timestamp", "when it happened; the record's time if the event does not say", fromSignup},
		{"signup.email", "", fromSignup},
		{"signup.name", "", fromSignup},
		{"signup.plan", "`free` if it is missing", fromSignup},
		{"signup.source", "`website` if it is missing", fromSignup},
		{"signup.utm_campaign", "", fromSignup},
		{"signup.metadata", "an object", fromSignup},
		{"signup.country_id", "two letters, else missing", fromSignup},
		{"signup.<member>.<member>…", "any other member of the event, and the members of objects in it (`signup.metadata.campaign.id`); names with dots or blanks are put in quotes (`signup.\"first touch\"`)", fromSignup},
		{"signup", "the whole event, as published", fromSignup},
		{"age", "the guess, a number. Without a column for it nobody is asked for ages", fromAge},
		{"age_status", "where the age comes from, `hit` (known here) or `miss` (asked for), or why there is none: `unknown` to agify, `skipped` (no name), `unavailable` (agify fails, or its quota is used up)", fromAgeStatus},
		{"record.topic", "", fromTopic},
		{"record.partition", "a number", fromPartition},
		{"record.offset", "a number", fromOffset},
		{"record.timestamp", "the record's time, in UTC with milliseconds", fromTimestamp},
		{"record.key", "a text", fromKey},
		{"record.headers.<name>", "a text; of several with the name the last one", fromHeader},
	}
}

// ageColumn is what the age is called by default.
const ageColumn = "age_guess"

// ParseColumns reads columns as operators write them: see [sink.ParseColumns]. Errors
// come all at once, and say which paths there are.
func ParseColumns(texts []string) ([]sink.Column, error) { return sink.ParseColumns(texts, resolve) }

// resolve returns the path that is meant by one as it was written.
func resolve(path []string) ([]string, error) {
	if isColumn(path[0]) {
		path = append([]string{"signup"}, path...)
	}
	_, err := originOf(path)
	return path, err
}

// isColumn reports whether a name alone stands for what signups have under it.
func isColumn(name string) bool {
	for _, p := range ColumnPaths() {
		if p.Path == "signup."+name {
			return true
		}
	}
	return false
}

// origin is where the value of one column comes from.
type origin struct {
	source source
	path   signup.Path // fromSignup
	header string      // fromHeader
}

// originOf returns where a path leads to.
func originOf(path []string) (origin, error) {
	written := strings.Join(path, ".")
	switch root := path[0]; {
	case root == "signup":
		return origin{source: fromSignup, path: signup.NewPath(path[1:]...)}, nil
	case (root == "age" || root == ageColumn) && len(path) == 1:
		return origin{source: fromAge}, nil
	case root == "age_status" && len(path) == 1:
		return origin{source: fromAgeStatus}, nil
	case root == "age" || root == ageColumn || root == "age_status":
		return origin{}, fmt.Errorf("there is no %s: %s has nothing below it", written, root)
	case root != "record":
		return origin{}, fmt.Errorf("there is no %s: paths begin with signup, age, age_status or record, and a text is put in quotes", written)
	case len(path) > 2 && path[1] == "headers":
		return origin{source: fromHeader, header: strings.Join(path[2:], ".")}, nil // headers' names have dots, too
	}
	var known []string
	for _, p := range ColumnPaths() {
		if p.Path == written {
			return origin{source: p.source}, nil
		}
		if strings.HasPrefix(p.Path, "record.") {
			known = append(known, p.Path)
		}
	}
	last := len(known) - 1
	return origin{}, fmt.Errorf("there is no %s: want %s or %s", written, strings.Join(known[:last], ", "), known[last])
}

// columns make rows of records.
type columns struct {
	topic   string
	mapping *sink.Mapping
	origins []origin
}

// newColumns returns the columns that cfg asks for. Errors name the column.
func newColumns(cfg Config, reg prometheus.Registerer) (*columns, error) {
	parsed, err := ParseColumns(cfg.Columns)
	if err != nil {
		return nil, err
	}
	c := &columns{topic: cfg.Topic, origins: make([]origin, len(parsed))}
	for i, column := range parsed {
		if column.Path != nil {
			c.origins[i], _ = originOf(column.Path) // was asked when it was parsed
		}
	}
	c.mapping, err = sink.NewMapping(sink.MappingConfig{Columns: parsed, RawCells: cfg.RawCells, HashKey: cfg.HashKey}, reg)
	return c, err
}

// needAge reports whether a column has the age, or its status.
func (c *columns) needAge() bool {
	return slices.ContainsFunc(c.origins, func(o origin) bool { return o.source == fromAge || o.source == fromAgeStatus })
}

// row maps a record of a partition, its signup, and an age.
func (c *columns) row(partition int32, r *record, s *signup.Signup, age age) sink.Row {
	return c.mapping.Row(s.EventID, signup.HeaderID(s.EventID), func(column int) ([]byte, bool) {
		switch o := &c.origins[column]; o.source {
		case fromSignup:
			return s.Lookup(o.path), true
		case fromAge:
			return age.guess, true
		case fromAgeStatus:
			return quoted(age.statusText())
		case fromTopic:
			return quoted([]byte(c.topic))
		case fromPartition:
			return strconv.AppendInt(nil, int64(partition), 10), true
		case fromOffset:
			return strconv.AppendInt(nil, r.offset, 10), true
		case fromTimestamp:
			return signup.Timestamp(time.UnixMilli(r.time)), true
		case fromKey:
			return quoted(r.key)
		case fromHeader:
			return quoted(r.header(o.header))
		}
		return nil, true
	})
}

// quoted returns bytes as a JSON string; nothing for nil, and false if they are not UTF-8.
func quoted(b []byte) ([]byte, bool) {
	if b == nil {
		return nil, true
	}
	text, err := jsontext.AppendQuote(nil, b)
	if err != nil {
		return nil, false
	}
	return text, true
}
