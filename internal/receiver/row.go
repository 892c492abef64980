package receiver

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// Column is a cell with the name of its column.
type Column struct {
	Name  string
	Value jsontext.Value // the JSON text as it came
}

// Row is what was sent, in the order in which it was sent.
type Row []Column

// ParseRow reads a body: one JSON object in the strict sense of RFC 7493 and nothing else. The row points into it.
func ParseRow(body []byte) (Row, error) {
	d := jsontext.NewDecoder(bytes.NewBuffer(body))
	if d.PeekKind() != '{' {
		return nil, errors.New("parse a row: not a JSON object")
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, fmt.Errorf("parse a row: %w", err)
	}
	row := make(Row, 0, 12)
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return nil, fmt.Errorf("parse a row: %w", err)
		}
		column := Column{Name: name.String()}
		if column.Value, err = d.ReadValue(); err != nil {
			return nil, fmt.Errorf("parse a row: %w", err)
		}
		row = append(row, column)
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, fmt.Errorf("parse a row: %w", err)
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("parse a row: something follows the object")
	}
	return row, nil
}

// Columns returns the names of the columns in order.
func (r Row) Columns() []string {
	names := make([]string, len(r))
	for i, c := range r {
		names[i] = c.Name
	}
	return names
}

// Get returns the JSON text in the column, nil if there is no such column.
func (r Row) Get(column string) jsontext.Value {
	for _, c := range r {
		if c.Name == column {
			return c.Value
		}
	}
	return nil
}

// Text returns what the column shows: the content of a string, the JSON text of anything else, nothing for null and
// for no such column.
func (r Row) Text(column string) string {
	value := r.Get(column)
	switch value.Kind() {
	case '"':
		text, err := jsontext.AppendUnquote(nil, value)
		if err != nil {
			return "" // ParseRow lets no such string through
		}
		return string(text)
	case 'n':
		return ""
	default:
		return string(value)
	}
}
