// Package signup decodes and validates user.signup events, and names them.
//
// It reads bytes and returns a [Signup] or a [Poison]. It does no input or output, keeps no state but reused buffers,
// and knows nothing of how records are fetched or rows delivered.
package signup

import (
	"bytes"
	"iter"

	"github.com/go-json-experiment/json/jsontext"
)

// Signup is a decoded and valid event. It keeps the record's value and points into it.
type Signup struct {
	// EventID is the event's stable id, unescaped: see [Decoder.Decode].
	EventID string
	// Name is the name, unescaped, or empty.
	Name string
	// CountryID is two upper-case ASCII letters, or empty. Anything else that was published counts as missing,
	// because the country does no more than sharpen the guess of an age.
	CountryID string
	// EmailTrimmed tells that blanks around the email were removed.
	EmailTrimmed bool

	fields *fields
	values [columns]jsontext.Value
	value  []byte
}

// Field returns the JSON text of a column, exactly as it was published: digits, escapes and white space included.
// What was not published as it stands here is written as plain JSON: an email whose blanks were trimmed, a default,
// an event id that is not the event's own. It returns nil for a missing value and for a column that signups do not
// have.
//
// Columns: event_id, timestamp, email, name, plan, source, utm_campaign, metadata, country_id.
//
// The text is part of the record's value and must not be changed.
func (s *Signup) Field(column string) jsontext.Value {
	for i := range s.fields {
		if s.fields[i].column == column {
			return s.values[i]
		}
	}
	return nil
}

// Columns returns the names that [Signup.Field] knows, in its order.
func Columns() []string {
	var names []string
	for _, f := range newFields() {
		names = append(names, f.column)
	}
	return names
}

// Unknown returns the members of the event that are no field, in the order in which they were published: the
// unescaped name, and the JSON text of the value as published. They are read anew from the record's value on each
// call, so that an event of many unknown members costs no memory while it waits.
func (s *Signup) Unknown() iter.Seq2[string, jsontext.Value] {
	return func(yield func(string, jsontext.Value) bool) {
		d := jsontext.NewDecoder(bytes.NewBuffer(s.value))
		if _, err := d.ReadToken(); err != nil { // the opening brace
			return
		}
		for d.PeekKind() == '"' {
			name, err := d.ReadValue()
			if err != nil {
				return
			}
			known := s.fields.find(name) >= 0
			member := string(content(name))
			value, err := d.ReadValue()
			if err != nil {
				return
			}
			if !known && !yield(member, value) {
				return
			}
		}
	}
}
