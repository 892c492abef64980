package sink

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// step makes of a value another one. nil is a missing value, and what is missing stays so
// in all steps but default. It reports whether it could take the value: if not, what it
// returns stands in for it. key is that of hash.
type step func(key []byte, value jsontext.Value) (jsontext.Value, bool)

// Function is what may be done to the value of a column.
type Function struct {
	// Usage is how it is written, Help what it does.
	Usage, Help string

	name string
	// make returns the step for the arguments, or nil if it is none.
	make func(args []argument) (step, error)
}

// Functions lists all functions.
func Functions() []Function { return functions() }

func functions() []Function {
	return []Function{
		{
			name: "default", Usage: "default(value)", make: makeDefault,
			Help: "what stands in for a missing value and for `null`: a number, `true`, `false`, or a text, in quotes if it has a comma in it or looks like one of the others",
		},
		{
			name: "lower", Usage: "lower", make: without(lower),
			Help: "a text in lower case",
		},
		{
			name: "date", Usage: "date(layout, zone)", make: makeDate,
			Help: "a time as text. The layout is how it would write 2 January 2006, 15:04:05 (`2006-01-02` if it is left out, `02.01.2006 15:04`); the zone is UTC, or as in `Europe/Berlin`. " +
				"Times are texts such as `2026-01-31T23:59:59Z` or `2026-01-31`, and numbers of seconds or milliseconds since 1970",
		},
		{
			name: "mask", Usage: "mask", make: without(mask),
			Help: "what is left to recognise it by: `m***@e***.com`, `M***`",
		},
		{
			name: "hash", Usage: "hash", make: without(hashKeyed),
			Help: "HMAC-SHA-256 with the key in `sink.hash_key_file`, in hexadecimal: the same for the same text, and nobody without the key can find the text by trying",
		},
		{
			name: "sha256", Usage: "sha256", make: without(hashPlain),
			Help: "SHA-256 in hexadecimal, for receivers that compute it too. Whoever has a list of emails finds those in it",
		},
		{
			name: "json", Usage: "json", make: without(jsonText),
			Help: "what is no text as a text of its JSON, without blanks and needless escapes: an object for one cell, digits that a sheet would round",
		},
		{
			name: "raw", Usage: "raw", make: without(nil),
			Help: "texts as they are, also those that a sheet takes for a formula",
		},
		{
			name: "safe", Usage: "safe", make: without(nil),
			Help: "the opposite, where `sink.sheet_safe` is off",
		},
	}
}

func functionNames() string {
	var names []string
	for _, f := range functions() {
		names = append(names, f.name)
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// without makes the step of a function that takes no arguments.
func without(s step) func([]argument) (step, error) {
	return func(args []argument) (step, error) {
		if len(args) > 0 {
			return nil, errors.New("takes no argument")
		}
		return s, nil
	}
}

func makeDefault(args []argument) (step, error) {
	if len(args) != 1 {
		return nil, errors.New("takes one argument, such as default('none')")
	}
	if args[0] == (argument{text: "null"}) {
		return nil, errors.New("a missing value is sent as null anyway: for the word, put it in quotes")
	}
	fallback := jsontext.Value(args[0].text)
	if args[0].quoted || !isConstant(fallback) {
		fallback = quoteText(args[0].text)
	}
	return func(_ []byte, value jsontext.Value) (jsontext.Value, bool) {
		if value == nil {
			return fallback, true
		}
		return value, true
	}, nil
}

func lower(_ []byte, value jsontext.Value) (jsontext.Value, bool) {
	if value.Kind() != '"' {
		return value, true
	}
	if bytes.IndexByte(value, '\\') < 0 && bytes.Equal(bytes.ToLower(value), value) {
		return value, true
	}
	return quoteText(strings.ToLower(unquoted(value))), true
}

func mask(_ []byte, value jsontext.Value) (jsontext.Value, bool) {
	if value == nil {
		return nil, true
	}
	text := unquoted(value)
	local, domain, _ := strings.Cut(text, "@")
	dot := strings.LastIndexByte(domain, '.')
	// What is no address, such as a sentence or an object with one in it, would show its end.
	if dot < 0 || strings.ContainsFunc(text, unicode.IsSpace) || strings.ContainsFunc(domain[dot+1:], isNoLetter) {
		return quoteText(initial(text)), true
	}
	return quoteText(initial(local) + "@" + initial(domain[:dot]) + domain[dot:]), true
}

func isNoLetter(r rune) bool { return !unicode.IsLetter(r) }

// initial is the first character of a text, if that does not give away most of it.
func initial(text string) string {
	if utf8.RuneCountInString(text) < 3 {
		return "***"
	}
	_, size := utf8.DecodeRuneInString(text)
	return text[:size] + "***"
}

func hashKeyed(key []byte, value jsontext.Value) (jsontext.Value, bool) {
	if value == nil {
		return nil, true
	}
	h := hmac.New(sha256.New, key)
	h.Write([]byte(unquoted(value)))
	return quoteHex(h.Sum(nil)), true
}

func hashPlain(_ []byte, value jsontext.Value) (jsontext.Value, bool) {
	if value == nil {
		return nil, true
	}
	sum := sha256.Sum256([]byte(unquoted(value)))
	return quoteHex(sum[:]), true
}

func quoteHex(sum []byte) jsontext.Value {
	b := make([]byte, 0, 2+2*sha256.Size)
	return append(hex.AppendEncode(append(b, '"'), sum), '"')
}

// jsonText leaves strings alone. The text of an object is the one place where a reader
// sees how JSON is written, so that is normalised: escapes and blanks, not digits.
func jsonText(_ []byte, value jsontext.Value) (jsontext.Value, bool) {
	if value == nil || value.Kind() == '"' {
		return value, true
	}
	compact, err := jsontext.AppendFormat(nil, value)
	if err != nil {
		return nil, false
	}
	return quoteText(string(compact)), true
}

// unquoted returns a string unescaped, and the JSON text of anything else.
func unquoted(value jsontext.Value) string {
	if value.Kind() != '"' {
		return string(value)
	}
	text, _ := jsontext.AppendUnquote(nil, value) // valid, says the caller
	return string(text)
}

var (
	errLayout = errors.New("want a layout that says how 2 January 2006, 15:04:05 is written, such as 2006-01-02 15:04")
	// otherLayouts are what people write who think of another notation.
	otherLayouts = regexp.MustCompile(`(?i)yy|dd|hh|%|\b(19\d\d|20[1-9]\d|200[0-57-9])\b`)
)

func makeDate(args []argument) (step, error) {
	layout, zone := time.DateOnly, time.UTC
	if len(args) > 2 {
		return nil, errors.New("takes a layout and a zone, such as date(2006-01-02, Europe/Berlin)")
	}
	if len(args) > 0 {
		layout = args[0].text
		one, other := time.Date(1999, 11, 27, 22, 33, 44, 555_666_777, time.UTC), time.Date(2038, 8, 9, 3, 7, 8, 111_222_333, time.UTC)
		if otherLayouts.MatchString(layout) || one.Format(layout) == other.Format(layout) {
			return nil, errLayout
		}
	}
	if len(args) > 1 {
		var err error
		if zone, err = time.LoadLocation(args[1].text); err != nil || args[1].text == "" || args[1].text == "Local" {
			return nil, fmt.Errorf("there is no time zone %q: want one as Europe/Berlin, or UTC", args[1].text)
		}
	}
	return func(_ []byte, value jsontext.Value) (jsontext.Value, bool) {
		if value == nil {
			return nil, true
		}
		t, ok := timeOf(value, zone)
		if !ok {
			return nil, false
		}
		return quoteText(t.In(zone).Format(layout)), true
	}, nil
}

// timeOf reads a time of four-digit years. What names no zone is of the zone that is asked for, so that
// a date alone stays the same day.
func timeOf(value jsontext.Value, zone *time.Location) (time.Time, bool) {
	var t time.Time
	switch value.Kind() {
	case '"':
		text := strings.TrimSpace(unquoted(value))
		var err error
		for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", time.DateTime, time.DateOnly} {
			if t, err = time.ParseInLocation(layout, text, zone); err == nil {
				break
			}
		}
		if err != nil {
			return t, false
		}
	case '0':
		const milliseconds = 1e11 // as seconds that is the year 5138, as milliseconds 1973
		n, err := strconv.ParseFloat(string(value), 64)
		if err != nil {
			return t, false
		}
		if n < milliseconds && n > -milliseconds {
			n *= 1000
		}
		if n < -1e15 || n > 1e15 {
			return t, false
		}
		t = time.UnixMilli(int64(n))
	default:
		return t, false
	}
	year := t.In(zone).Year()
	return t, year >= 0 && year <= 9999
}
