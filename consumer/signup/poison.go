package signup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
)

// Class is the kind of a poison record, as its dead letter tells it.
type Class string

// The classes of poison that are found here.
const (
	Undecodable Class = "decode"    // not one strict JSON object
	Invalid     Class = "validate"  // a JSON object that is no signup
	TooLarge    Class = "too_large" // not looked at
)

// Poison is the error of a record that can never become a row. None of its texts contains anything of the event's
// values, all are one line of valid UTF-8, and they are short: 512 bytes for the reason, 256 for the pointer.
type Poison struct { //nolint:errname // The vocabulary's word for it.
	Class Class
	// Pointer is the place as a JSON pointer (RFC 6901), empty for the whole value or a place that cannot be told.
	// Names of members appear in it as published if they look like names: at most 64 bytes of letters, digits and _ - . : / ~ $.
	// Any other name could be somebody's data, and stands as an ellipsis; so do the levels that do not fit.
	Pointer string
	// Reason says what is wrong there, in words for an operator. Offsets in it count the bytes of the value from 0.
	Reason string
	// EventID is the id for the dead letter. It is the event's own if the value is a strict JSON object with a usable
	// id: then the id stays the same when the rules that made the record poison are changed.
	EventID string
}

// Error returns class, pointer and reason.
func (p *Poison) Error() string {
	if p.Pointer == "" {
		return string(p.Class) + ": " + p.Reason
	}
	return string(p.Class) + ": " + p.Pointer + ": " + p.Reason
}

// foreign returns why a value cannot be JSON if its first bytes tell, or an empty string. The framings are those of
// the Confluent schema registry: 0x00 and a schema id of four bytes, 0x01 and a schema GUID.
func foreign(value []byte) string {
	const framed = "starts with magic byte 0x%02x: looks framed by a schema registry%s, not plain JSON"
	switch {
	case len(value) == 0:
		return "empty value"
	case len(bytes.TrimLeft(value, jsonSpace)) == 0:
		return "value of white space only"
	case value[0] == 0 && len(value) >= 5:
		return fmt.Sprintf(framed, value[0], fmt.Sprintf(" (schema id %d)", binary.BigEndian.Uint32(value[1:])))
	case value[0] <= 1:
		return fmt.Sprintf(framed, value[0], "")
	case bytes.HasPrefix(value, []byte("\ufeff")):
		return "starts with a byte order mark, which JSON does not allow"
	}
	return ""
}

const jsonSpace = " \t\r\n"

// syntaxPoison makes poison of an error of the JSON decoder. The decoder's own words quote the characters that it
// stumbled over, so they are only looked at, never passed on.
func syntaxPoison(value []byte, json *jsontext.Decoder, err error) *Poison {
	p := &Poison{Class: Undecodable}
	at := len(value)
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		at = int(syntax.ByteOffset)
		p.Pointer = safePointer(syntax.JSONPointer)
		err = syntax.Err
	}
	kind, length := json.StackIndex(json.StackDepth())
	inPlaceOfName := kind == '{' && length%2 == 0
	p.Reason = fmt.Sprintf("%s, at byte %d", syntaxReason(err, inPlaceOfName), at)
	return p
}

// syntaxReason says what is wrong, given the decoder's error and whether it stood where a name must be.
func syntaxReason(err error, inPlaceOfName bool) string {
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return "duplicate name"
	case errors.Is(err, jsontext.ErrNonStringName):
		return "a name must be a string"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "the JSON ends too early"
	}
	text := err.Error()
	switch {
	case strings.HasPrefix(text, "invalid UTF-8"):
		return "invalid UTF-8"
	case strings.HasPrefix(text, "invalid surrogate pair"):
		return "half of a surrogate pair"
	case strings.HasPrefix(text, "invalid escape sequence"):
		return "invalid escape sequence"
	case strings.HasSuffix(text, "in string (expecting non-control character)"):
		return "control character in a string"
	case strings.HasSuffix(text, "in number (expecting digit)"):
		return "invalid number"
	case strings.Contains(text, "in literal "):
		return "expected null, true or false"
	case strings.HasSuffix(text, "after object name (expecting ':')"):
		return "expected a colon after the name"
	case strings.HasSuffix(text, "after object value (expecting ',' or '}')"):
		return "expected a comma or a closing brace"
	case strings.HasSuffix(text, "after array element (expecting ',' or ']')"):
		return "expected a comma or a closing bracket"
	case strings.HasSuffix(text, "at start of value") && inPlaceOfName:
		return "expected a name in double quotes"
	case strings.HasSuffix(text, "at start of value"):
		return "expected a value"
	}
	return "not valid JSON"
}

func kindName(kind jsontext.Kind) string {
	switch kind {
	case jsontext.KindNull:
		return "null"
	case jsontext.KindTrue, jsontext.KindFalse:
		return "a boolean"
	case jsontext.KindString:
		return "a string"
	case jsontext.KindNumber:
		return "a number"
	case jsontext.KindBeginObject:
		return "an object"
	case jsontext.KindBeginArray:
		return "an array"
	case jsontext.KindInvalid, jsontext.KindEndObject, jsontext.KindEndArray:
	}
	return "something else"
}

// safePointer returns the pointer as [Poison] promises it.
func safePointer(pointer jsontext.Pointer) string {
	const (
		maxPointer = 256
		maxName    = 64
		ellipsis   = "…"
	)
	var safe jsontext.Pointer
	for name := range pointer.Tokens() {
		if len(name) > maxName || strings.ContainsFunc(name, isNoNameRune) {
			name = ellipsis
		}
		longer := safe.AppendToken(name)
		if len(longer) > maxPointer-len("/"+ellipsis) {
			return string(safe.AppendToken(ellipsis))
		}
		safe = longer
	}
	return string(safe)
}

func isNoNameRune(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-.:/~$", r)
}
