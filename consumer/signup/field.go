package signup

import (
	"bytes"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// The columns of a signup.
const (
	eventID = iota
	timestamp
	email
	name
	plan
	source
	utmCampaign
	metadata
	countryID

	columns
)

// field says of one column where the event has it, of which type it is, and what stands in for it when it is missing.
type field struct {
	column   string
	member   string         // the name of the member of the event
	text     string         // the member's name as JSON text
	kind     jsontext.Kind  // the only type accepted besides null
	required bool           // missing is poison
	fallback jsontext.Value // for a missing value
	accept   accept         // nil takes the value as it is
}

// accept validates a value of the right type that is not blank, or settles what a missing one becomes. It stores in
// the signup what it learned, and returns the text to keep, or a reason, which must not tell the value.
type accept func(s *Signup, text jsontext.Value) (keep jsontext.Value, reason string)

type fields [columns]field

// newFields returns the event's contract.
func newFields() *fields {
	f := &fields{
		eventID:     {column: "event_id", member: "id", kind: '"', accept: acceptID},
		timestamp:   {column: "timestamp", member: "timestamp", kind: '"', accept: acceptTimestamp},
		email:       {column: "email", member: "email", kind: '"', required: true, accept: acceptEmail},
		name:        {column: "name", member: "name", kind: '"', accept: acceptName},
		plan:        {column: "plan", member: "plan", kind: '"', fallback: jsontext.Value(`"free"`)},
		source:      {column: "source", member: "source", kind: '"', fallback: jsontext.Value(`"website"`)},
		utmCampaign: {column: "utm_campaign", member: "utm_campaign", kind: '"'},
		metadata:    {column: "metadata", member: "metadata", kind: '{'},
		countryID:   {column: "country_id", member: "country_id", kind: '"', accept: acceptCountryID},
	}
	for i := range f {
		f[i].text = string(quote(f[i].member))
	}
	return f
}

// find returns the column whose member has the name, which is JSON text, or -1. Names are compared byte by byte
// after unescaping: Email is not email.
func (f *fields) find(name jsontext.Value) int {
	if bytes.IndexByte(name, '\\') >= 0 {
		name = quote(string(content(name)))
	}
	for i := range f {
		if f[i].text == string(name) {
			return i
		}
	}
	return -1
}

// acceptID keeps the event's own id as it was published, unless the record carries another.
func acceptID(s *Signup, text jsontext.Value) (jsontext.Value, string) {
	if string(content(text)) == s.EventID {
		return text, ""
	}
	return quote(s.EventID), ""
}

func acceptTimestamp(_ *Signup, text jsontext.Value) (jsontext.Value, string) {
	if !isRFC3339(content(text)) {
		return nil, "must be an RFC 3339 time with seconds and an offset, such as 2026-01-31T23:59:59Z"
	}
	return text, ""
}

func acceptEmail(s *Signup, text jsontext.Value) (jsontext.Value, string) {
	published := content(text)
	address := string(bytes.TrimSpace(published))
	if reason := checkEmail(address); reason != "" {
		return nil, reason
	}
	if len(address) < len(published) {
		s.EmailTrimmed = true
		return quote(address), ""
	}
	return text, ""
}

func acceptName(s *Signup, text jsontext.Value) (jsontext.Value, string) {
	s.Name = string(content(text))
	return text, ""
}

func acceptCountryID(s *Signup, text jsontext.Value) (jsontext.Value, string) {
	code := content(text)
	if len(code) != 2 || !isLetter(code[0]) || !isLetter(code[1]) {
		return nil, ""
	}
	s.CountryID = strings.ToUpper(string(code))
	return text, ""
}

func isLetter(c byte) bool { return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' }

// isRFC3339 is stricter than [time.Parse], which takes an hour of one digit, a comma before the fraction and offsets
// of 24 hours (https://go.dev/issue/54580). Like it, it wants T and Z in upper case and knows no leap second.
func isRFC3339(b []byte) bool {
	const hourEnd, secondEnd = len("2006-01-02T15"), len("2006-01-02T15:04:05")
	if len(b) <= secondEnd || b[hourEnd] != ':' || b[secondEnd] == ',' {
		return false
	}
	if b[len(b)-1] != 'Z' {
		offset := b[len(b)-len("07:00"):]
		if string(offset[:2]) > "23" || string(offset[3:]) > "59" {
			return false
		}
	}
	_, err := time.Parse(time.RFC3339, string(b))
	return err == nil
}

// content returns the unescaped content of a JSON string, which must be valid. It points into the text where there
// is nothing to unescape.
func content(text jsontext.Value) []byte {
	if bytes.IndexByte(text, '\\') < 0 {
		return text[1 : len(text)-1]
	}
	b, _ := jsontext.AppendUnquote(nil, text) // fails for an invalid string alone
	return b
}

// quote returns a string of valid UTF-8 as JSON text that escapes no more than JSON demands.
func quote(s string) jsontext.Value {
	b, _ := jsontext.AppendQuote(make([]byte, 0, len(s)+2), s) // fails for invalid UTF-8 alone
	return b
}

// isBlank reports whether nothing but white space is in the JSON string.
func isBlank(text jsontext.Value) bool { return len(bytes.TrimSpace(content(text))) == 0 }
