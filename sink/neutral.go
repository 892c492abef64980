package sink

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// neutral returns JSON text in which no string begins like a formula: those that did
// have an apostrophe before them, which is how one tells a sheet that text follows. It
// reports whether there were any, and returns text itself if not. Numbers stay numbers,
// and names of members stay. Strings inside of objects and arrays count too: Zapier,
// Make and n8n offer each of them as a field to write to a cell.
func neutral(text []byte) ([]byte, bool) {
	switch {
	case len(text) == 0, text[0] != '"' && text[0] != '{' && text[0] != '[':
		return text, false
	case text[0] == '"' && !isFormula(text): // as nearly all are: its end does not matter
		return text, false
	}
	var out []byte
	copied := 0
	for at := 0; ; {
		next := bytes.IndexByte(text[at:], '"')
		if next < 0 {
			break
		}
		at += next
		end := stringEnd(text, at)
		if isFormula(text[at:end]) && !bytes.HasPrefix(bytes.TrimLeft(text[end:], " \t\r\n"), []byte(":")) {
			if out == nil {
				out = make([]byte, 0, len(text)+1)
			}
			out = append(append(out, text[copied:at+1]...), '\'')
			copied = at + 1
		}
		at = end
	}
	if out == nil {
		return text, false
	}
	return append(out, text[copied:]...), true
}

// stringEnd returns the index behind the JSON string that begins at an index.
func stringEnd(text []byte, at int) int {
	for at++; text[at] != '"'; at++ {
		if text[at] == '\\' {
			at++
		}
	}
	return at + 1
}

const (
	// formulaSigns begin a formula: OWASP's (CSV Injection), and those that Unicode
	// holds for the same (NFKC), full-width and small, which some imports fold.
	formulaSigns = "=+-@＝＋－＠﹦﹢﹣﹫"
	// formulaControls are OWASP's and ASVS's: at the start they hide what follows.
	formulaControls = "\t\r\n\x00"
)

// isFormula reports whether a sheet might take a JSON string for a formula: by its first
// sign that can be seen, or by a control character before that.
func isFormula(text []byte) bool {
	if c := text[1]; 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '"' {
		return false // as nearly all do
	}
	content := text[1 : len(text)-1]
	if bytes.IndexByte(content, '\\') >= 0 {
		content, _ = jsontext.AppendUnquote(nil, text) // valid, says the caller
	}
	for len(content) > 0 {
		r, size := utf8.DecodeRune(content)
		switch {
		case strings.ContainsRune(formulaSigns, r), strings.ContainsRune(formulaControls, r):
			return true
		case !unicode.IsSpace(r) && !unicode.In(r, unicode.C):
			return false
		}
		content = content[size:]
	}
	return false
}
