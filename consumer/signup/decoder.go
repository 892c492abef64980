package signup

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// Limits bounds the events that are decoded. Zero stands for the default.
type Limits struct {
	// MaxBytes is the size of a value, 1 MiB by default.
	MaxBytes int
	// MaxDepth is how many objects and arrays are open at once, the event itself included. 64 by default.
	MaxDepth int
}

// Decoder decodes records. It is safe for concurrent use.
type Decoder struct {
	limits Limits
	fields *fields
	scans  sync.Pool // of *scan
}

// scan is a JSON decoder and the buffer that it reads from, for use with one value after the other.
type scan struct {
	json *jsontext.Decoder
	buf  bytes.Buffer
}

// NewDecoder returns a decoder for user.signup events.
func NewDecoder(limits Limits) *Decoder {
	if limits.MaxBytes == 0 {
		limits.MaxBytes = 1 << 20
	}
	if limits.MaxDepth == 0 {
		limits.MaxDepth = 64
	}
	return &Decoder{
		limits: limits,
		fields: newFields(),
		scans: sync.Pool{New: func() any {
			s := new(scan)
			s.json = jsontext.NewDecoder(&s.buf)
			return s
		}},
	}
}

// Decode returns the signup in the record, or an error that is always a [*Poison].
//
// The value must be one JSON object in the strict sense of RFC 7493: names that appear twice in an object, broken
// UTF-8 and half surrogates are poison, and so is anything before or after the object. Names are case-sensitive.
// null counts as missing, and so does a string of white space alone. A value of another type than the field's is
// poison: nothing is converted. Members that are no fields are allowed: see [Signup.Unknown].
//
//	id            string
//	email         string, required; white space around it is trimmed
//	name          string
//	plan          string, default "free"
//	source        string, default "website"
//	utm_campaign  string
//	metadata      object
//	country_id    string
//	timestamp     string, RFC 3339, default the record's time in UTC with milliseconds
//
// The event id is the one that the record carries in the header [EventIDHeader], else the event's own, else
// [EventID] of the record. A poison record has an event id too.
//
// A tombstone (a nil value) is no event, and it is the caller's to skip. Here it would be an empty value, which is
// poison.
func (d *Decoder) Decode(r Record) (*Signup, error) {
	s := &Signup{fields: d.fields, value: r.Value}
	poison := d.read(s)
	if poison != nil {
		poison.EventID = r.eventID(nil)
		return nil, poison
	}
	s.EventID = r.eventID(ownID(s.values[eventID]))
	if poison := s.validate(&r); poison != nil {
		poison.EventID = s.EventID
		return nil, poison
	}
	return s, nil
}

// ownID returns the event's own id, unescaped, or nil if it has none that can be used.
func ownID(text jsontext.Value) []byte {
	if text.Kind() != '"' || isBlank(text) {
		return nil
	}
	return content(text)
}

// read finds the fields in the value.
func (d *Decoder) read(s *Signup) *Poison {
	if len(s.value) > d.limits.MaxBytes {
		return &Poison{Class: TooLarge, Reason: fmt.Sprintf("value of %d bytes, more than the %d that event.max_bytes allows", len(s.value), d.limits.MaxBytes)}
	}
	if reason := foreign(s.value); reason != "" {
		return &Poison{Class: Undecodable, Reason: reason}
	}
	sc := d.scans.Get().(*scan)
	sc.buf = *bytes.NewBuffer(s.value)
	defer func() {
		sc.buf = bytes.Buffer{} // must not keep the value alive
		sc.json.Reset(&sc.buf)
		d.scans.Put(sc)
	}()
	return d.readEvent(s, sc.json)
}

func (d *Decoder) readEvent(s *Signup, json *jsontext.Decoder) *Poison {
	kind := json.PeekKind()
	if _, err := json.ReadToken(); err != nil {
		return syntaxPoison(s.value, json, err)
	}
	if kind != '{' {
		return &Poison{Class: Undecodable, Reason: "the event must be an object, found " + kindName(kind)}
	}
	for json.PeekKind() == '"' {
		name, err := json.ReadValue()
		if err != nil {
			return syntaxPoison(s.value, json, err)
		}
		i := d.fields.find(name)
		value, poison := d.readValue(s.value, json)
		if poison != nil {
			return poison
		}
		if i >= 0 {
			s.values[i] = value
		}
	}
	if _, err := json.ReadToken(); err != nil { // the closing brace, or what is wrong in its place
		return syntaxPoison(s.value, json, err)
	}
	end := int(json.InputOffset())
	if rest := bytes.TrimLeft(s.value[end:], jsonSpace); len(rest) > 0 {
		return &Poison{Class: Undecodable, Reason: fmt.Sprintf("data after the event, at byte %d", len(s.value)-len(rest))}
	}
	return nil
}

// readValue returns the text of the next value. It goes through objects and arrays token by token, because the JSON
// decoder's own limit of depth is 10,000.
func (d *Decoder) readValue(value []byte, json *jsontext.Decoder) (jsontext.Value, *Poison) {
	if kind := json.PeekKind(); kind != '{' && kind != '[' {
		text, err := json.ReadValue()
		if err != nil {
			return nil, syntaxPoison(value, json, err)
		}
		return text, nil
	}
	outside := json.StackDepth()
	start := -1
	for start < 0 || json.StackDepth() > outside {
		if _, err := json.ReadToken(); err != nil {
			return nil, syntaxPoison(value, json, err)
		}
		if start < 0 {
			start = int(json.InputOffset()) - 1
		}
		if json.StackDepth() > d.limits.MaxDepth {
			return nil, &Poison{
				Class:   Undecodable,
				Pointer: safePointer(json.StackPointer()),
				Reason:  fmt.Sprintf("nested deeper than %d levels, at byte %d", d.limits.MaxDepth, json.InputOffset()-1),
			}
		}
	}
	return jsontext.Value(value[start:json.InputOffset():json.InputOffset()]), nil
}

// validate replaces what was published by what the columns hold. The first field that is wrong, in the order of the
// columns, is the one reported.
func (s *Signup) validate(r *Record) *Poison {
	for i := range s.fields {
		f := &s.fields[i]
		keep, reason := f.validate(s, s.values[i])
		if reason != "" {
			return &Poison{Class: Invalid, Pointer: safePointer(jsontext.Pointer("").AppendToken(f.member)), Reason: reason}
		}
		s.values[i] = keep
	}
	if s.values[eventID] == nil {
		s.values[eventID] = quote(s.EventID)
	}
	if s.values[timestamp] == nil {
		s.values[timestamp] = Timestamp(r.Time)
	}
	return nil
}

func (f *field) validate(s *Signup, text jsontext.Value) (keep jsontext.Value, reason string) {
	missing := ""
	switch kind := text.Kind(); {
	case len(text) == 0:
		missing = "missing"
	case kind == 'n':
		missing = "null"
	case kind != f.kind:
		return nil, "must be " + kindName(f.kind) + ", found " + kindName(kind)
	case kind == '"' && isBlank(text):
		missing = "blank"
	}
	switch {
	case missing != "" && f.required:
		return nil, "required, but " + missing
	case missing != "":
		return f.fallback, ""
	case f.accept == nil:
		return text, ""
	default:
		return f.accept(s, text)
	}
}
