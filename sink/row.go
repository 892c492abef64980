package sink

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Row is one signup in the shape in which the endpoint receives it.
type Row struct {
	// EventID identifies the event. It may hold any text, and so is never logged.
	EventID string
	// HeaderID identifies the event in the Idempotency-Key header and in logs. It is at
	// most 255 printable ASCII characters, none of them a dot or a blank.
	HeaderID string
	// Place is where the row comes from, in whatever way the caller counts: it tells rows
	// apart whose events have one id, and is the same when a row is delivered again.
	Place [2]int64
	// Body is the JSON object that is sent, byte for byte. It must not change
	// while the row is being delivered.
	Body []byte
	// TraceParent and TraceState are sent as they are, if they are what W3C Trace Context
	// says; else the request has none.
	TraceParent, TraceState string
}

// DefaultColumns returns the columns of a row, as [ParseColumns] takes them, in the order
// in which they are sent.
func DefaultColumns() []string {
	return []string{
		"event_id", "timestamp", "email", "name", "plan", "source", "utm_campaign", "age_guess", "metadata",
	}
}

// MappingConfig is what a Mapping needs to know.
type MappingConfig struct {
	// Columns of a row, in order.
	Columns []Column
	// RawCells sends strings as they are. Else those that a sheet would take for a
	// formula are neutralised. A column may have it its own way.
	RawCells bool
	// HashKey is the key of the function hash; required if a column is Keyed.
	HashKey []byte
}

// Mapping lays values out as the columns of a row. It is safe for concurrent use.
type Mapping struct {
	columns []mappedColumn
	key     []byte
	size    int // bytes of all names and the closing brace
}

type mappedColumn struct {
	Column
	name        []byte // `{"event_id":`, `,"timestamp":`, …
	neutral     bool
	neutralised prometheus.Counter
	unfit       prometheus.Counter
}

// NewMapping returns a mapping to columns. Metrics are registered at reg, which may be
// nil. Errors name the column, and come all at once.
func NewMapping(cfg MappingConfig, reg prometheus.Registerer) (*Mapping, error) {
	with := promauto.With(reg)
	neutralised := with.NewCounterVec(prometheus.CounterOpts{
		Name: "signup_sheet_values_neutralised_total",
		Help: "Values sent with an apostrophe before what a sheet would take for a formula, by column.",
	}, []string{"column"})
	unfit := with.NewCounterVec(prometheus.CounterOpts{
		Name: "signup_sheet_values_unfit_total",
		Help: "Values that count as missing, since a function of their column cannot take them or they are not UTF-8, by column.",
	}, []string{"column"})
	m := &Mapping{key: cfg.HashKey, size: len("}")}
	var errs []error
	for i, c := range cfg.Columns {
		if c.keyed && len(cfg.HashKey) == 0 {
			errs = append(errs, fmt.Errorf("column %q: hash needs a key", c.Name))
		}
		open := byte(',')
		if i == 0 {
			open = '{'
		}
		name, err := jsontext.AppendQuote([]byte{open}, c.Name)
		if err != nil {
			errs = append(errs, fmt.Errorf("column %q: %w", c.Name, err))
			continue
		}
		name = append(name, ':')
		m.size += len(name)
		m.columns = append(m.columns, mappedColumn{
			Column: c, name: name, neutral: c.cell == cellSafe || c.cell == cellAsMapping && !cfg.RawCells,
			neutralised: neutralised.WithLabelValues(c.Name), unfit: unfit.WithLabelValues(c.Name),
		})
	}
	if len(cfg.Columns) == 0 {
		errs = append(errs, errors.New("no columns"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return m, nil
}

// Row returns the row of one event. value is called once for each column that is no
// constant, in order, with the column's index. It returns JSON text, which is sent byte
// for byte if no function says otherwise, or nil or null for a value that is missing.
// False means that there is a value, but that it cannot be sent. Both are sent as null
// if the column has no default. That the text is JSON is the caller's promise.
func (m *Mapping) Row(eventID, headerID string, value func(column int) ([]byte, bool)) Row {
	var stack [16][]byte
	values, size := stack[:0], m.size
	for i := range m.columns {
		v := m.columns[i].value(m.key, i, value)
		values = append(values, v)
		size += max(len(v), len("null"))
	}
	body := make([]byte, 0, size)
	for i, v := range values {
		body = append(body, m.columns[i].name...)
		if len(v) == 0 {
			body = append(body, "null"...)
			continue
		}
		body = append(body, v...)
	}
	body = append(body, '}')
	return Row{EventID: eventID, HeaderID: headerID, Body: body}
}

// value returns what is sent of one column.
func (c *mappedColumn) value(key []byte, i int, value func(int) ([]byte, bool)) []byte {
	v, fits := []byte(c.constant), true
	if v == nil {
		if v, fits = value(i); !fits || len(v) == 0 || v[0] == 'n' {
			v = nil
		}
	}
	for _, s := range c.steps {
		var took bool
		v, took = s(key, v)
		fits = fits && took
	}
	if !fits {
		c.unfit.Inc()
	}
	if !c.neutral {
		return v
	}
	v, changed := neutral(v)
	if changed {
		c.neutralised.Inc()
	}
	return v
}
