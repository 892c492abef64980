package signup

import (
	"bytes"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// Path leads to a value in an event: see [NewPath].
type Path struct {
	field   int      // where it begins, or -1 for the event itself
	members []string // the names from there on
}

// NewPath returns the path through the members of these names, the first of them the event's. A first name that is a
// column's stands for that column: see [Signup.Field]. id stands for event_id. No name at all is the event.
func NewPath(names ...string) Path {
	if len(names) == 0 {
		return Path{field: -1}
	}
	for i, f := range newFields() {
		if names[0] == f.column || names[0] == f.member {
			return Path{field: i, members: slices.Clone(names[1:])}
		}
	}
	return Path{field: -1, members: slices.Clone(names)}
}

// Lookup returns the JSON text at a path: that of a column as [Signup.Field] does, anything else exactly as it was
// published. It returns nil if nothing is there, or something that has no members is on the way. What is no column is
// looked for in the record's value on each call, so that members that nobody asks for cost no memory.
//
// The text is part of the record's value and must not be changed.
func (s *Signup) Lookup(p Path) jsontext.Value {
	var text jsontext.Value
	if p.field >= 0 {
		text = s.values[p.field]
	} else {
		text = bytes.Trim(s.value, jsonSpace)
	}
	for _, name := range p.members {
		text = member(text, name)
	}
	return text
}

// member returns the value of the member called name, or nil if text is no object or has none. The text must be valid
// JSON, as that of an event is: only what has to be told apart is looked at.
func member(text jsontext.Value, name string) jsontext.Value {
	if len(text) == 0 || text[0] != '{' {
		return nil
	}
	at := skipSpace(text, 1)
	for text[at] == '"' {
		end := skipString(text, at)
		found := isNamed(text[at:end], name)
		at = skipSpace(text, skipSpace(text, end)+1) // the colon
		end = skipValue(text, at)
		if found {
			return text[at:end:end]
		}
		at = skipSpace(text, end)
		if text[at] == ',' {
			at = skipSpace(text, at+1)
		}
	}
	return nil
}

// isNamed reports whether a name in JSON text, whatever is escaped in it, is the name.
func isNamed(text jsontext.Value, name string) bool {
	if len(text) < len(name)+2 {
		return false // escapes only make it longer
	}
	return string(content(text)) == name
}

// The skips return the index behind what begins at an index, or that of the next byte that is no white space.

func skipSpace(text []byte, at int) int {
	for text[at] == ' ' || text[at] == '\t' || text[at] == '\r' || text[at] == '\n' {
		at++
	}
	return at
}

func skipString(text []byte, at int) int {
	for at++; text[at] != '"'; at++ {
		if text[at] == '\\' {
			at++
		}
	}
	return at + 1
}

func skipValue(text []byte, at int) int {
	for depth := 0; ; {
		switch text[at] {
		case '"':
			at = skipString(text, at)
		case '{', '[':
			depth++
			at++
		case '}', ']':
			depth--
			at++
		case ',', ':', ' ', '\t', '\r', '\n':
			at++
		default: // a number, true, false or null
			at += bytes.IndexAny(text[at:], ",}] \t\r\n")
		}
		if depth == 0 {
			return at
		}
	}
}
