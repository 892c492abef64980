package sink

import (
	"bytes"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
)

// The bounds of a Slack message, in characters. Slack may break a text of more than 4,000
// into several messages.
const (
	maxMessage      = 3500
	maxMessageValue = 300
)

// message returns a Slack message about a row: a line for each column that has a value.
// It mentions nobody and shows no preview of a link, whatever is in the row.
func message(row Row) []byte {
	var text strings.Builder
	length := 0
	for name, value := range columnsOf(row) {
		if value.Kind() == 'n' {
			continue
		}
		line := "*" + shown(name) + ":* " + shown(textOf(value)) + "\n"
		if length += len([]rune(line)); length > maxMessage {
			text.WriteString("…")
			break
		}
		text.WriteString(line)
	}
	if length == 0 {
		text.WriteString("…") // Slack refuses an empty text
	}
	body, err := jsontext.AppendQuote([]byte(`{"text":`), strings.TrimSuffix(text.String(), "\n"))
	if err != nil {
		return row.Body // not UTF-8, which no row is
	}
	return append(body, `,"unfurl_links":false,"unfurl_media":false}`...)
}

// shown is a text on one line that Slack takes as it stands.
func shown(text string) string {
	runes := []rune(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, text))
	if len(runes) > maxMessageValue {
		runes = append(runes[:maxMessageValue], '…')
	}
	// A mention or a link begins with <. Slack undoes no other escapes than these.
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(string(runes))
}

// textOf is a value as people read it: a string without quotes, the JSON of all else.
func textOf(value jsontext.Value) string {
	if value.Kind() != '"' {
		return string(value)
	}
	text, err := jsontext.AppendUnquote(nil, value)
	if err != nil {
		return string(value)
	}
	return string(text)
}

// columnsOf yields the columns of a row, in order, until something is no JSON object.
func columnsOf(row Row) func(yield func(name string, value jsontext.Value) bool) {
	return func(yield func(string, jsontext.Value) bool) {
		decoder := jsontext.NewDecoder(bytes.NewReader(row.Body), jsontext.AllowDuplicateNames(true))
		if token, err := decoder.ReadToken(); err != nil || token.Kind() != '{' {
			return
		}
		for decoder.PeekKind() == '"' {
			name, err := decoder.ReadToken()
			if err != nil {
				return
			}
			column := name.String() // the token lasts until the next read
			value, err := decoder.ReadValue()
			if err != nil || !yield(column, value) {
				return
			}
		}
	}
}
