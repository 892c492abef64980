package sink

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// Row is one signup in the shape in which the endpoint receives it.
type Row struct {
	// EventID identifies the event. It may hold any text, and so is never logged.
	EventID string
	// HeaderID identifies the event in the Idempotency-Key header and in logs. It is at
	// most 255 printable ASCII characters, none of them a dot or a blank.
	HeaderID string
	// Body is the JSON object that is sent, byte for byte. It must not change
	// while the row is being delivered.
	Body []byte
	// TraceParent and TraceState are sent as they are, if they are what W3C Trace Context
	// says; else the request has none.
	TraceParent, TraceState string
}

// Mapping lays values out as the columns of a row. It is safe for concurrent use.
type Mapping struct {
	columns []string
	keys    [][]byte // `{"event_id":`, `,"timestamp":`, …
	size    int      // bytes of all keys and the closing brace
}

// DefaultColumns returns the columns of a row in the order in which they are sent.
func DefaultColumns() []string {
	return []string{
		"event_id", "timestamp", "email", "name", "plan", "source", "utm_campaign", "age_guess", "metadata",
	}
}

// NewMapping returns a mapping to the given columns, in that order. All errors come
// at once: no column at all, a column without a name, a name that is not UTF-8, a
// name given twice.
func NewMapping(columns []string) (*Mapping, error) {
	var errs []error
	if len(columns) == 0 {
		errs = append(errs, errors.New("no columns"))
	}
	m := &Mapping{size: len("}")}
	seen := make(map[string]bool, len(columns))
	for i, column := range columns {
		if column == "" {
			errs = append(errs, fmt.Errorf("column %d has no name", i+1))
			continue
		}
		if seen[column] {
			errs = append(errs, fmt.Errorf("column %q is given twice", column))
			continue
		}
		seen[column] = true
		open := byte(',')
		if i == 0 {
			open = '{'
		}
		key, err := jsontext.AppendQuote([]byte{open}, column)
		if err != nil {
			errs = append(errs, fmt.Errorf("column %q: %w", column, err))
			continue
		}
		key = append(key, ':')
		m.columns = append(m.columns, column)
		m.keys = append(m.keys, key)
		m.size += len(key)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return m, nil
}

// Row returns the row of one event. field returns the JSON text of a column, which is
// sent byte for byte, or nothing if the event lacks the column, which is sent as null.
// It is called once a column, in order. That the text is JSON is the caller's promise.
func (m *Mapping) Row(eventID, headerID string, field func(column string) []byte) Row {
	var stack [16][]byte
	values, size := stack[:0], m.size
	for _, column := range m.columns {
		value := field(column)
		values = append(values, value)
		size += max(len(value), len("null"))
	}
	body := make([]byte, 0, size)
	for i, value := range values {
		body = append(body, m.keys[i]...)
		if len(value) == 0 {
			body = append(body, "null"...)
			continue
		}
		body = append(body, value...)
	}
	body = append(body, '}')
	return Row{EventID: eventID, HeaderID: headerID, Body: body}
}
