package enrich

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// maxNameRunes is the length that a first name is cut to.
const maxNameRunes = 64

// firstName returns the first word of name in the one spelling that is cached and sent: lower case, in Unicode's normal form NFC, and at
// most 64 runes. It returns "" if there is nothing to ask about: no word, no letter in the first one, or anything that
// looks like an email address or is not UTF-8.
//
// firstName(firstName(s)) == firstName(s). A name in that spelling already costs no allocation.
func firstName(name string) string {
	if emailLike(name) || !utf8.ValidString(name) {
		return ""
	}
	for first := range strings.FieldsSeq(name) {
		return normalize(first)
	}
	return ""
}

func normalize(first string) string {
	first = cut(first, 4*maxNameRunes) // NFC makes one rune of at most four: what is cut here would be cut below
	first = norm.NFC.String(first)
	first = norm.NFC.String(strings.ToLower(first)) // some letters compose in lower case only: h and U+0331
	first = cut(first, maxNameRunes)
	if !strings.ContainsFunc(first, unicode.IsLetter) {
		return ""
	}
	return first
}

// cut returns the first n runes of s.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

// emailLike reports whether s has an @, in any of its widths. An email address never leaves the process, even if somebody gave it as a name.
func emailLike(s string) bool {
	return strings.ContainsRune(s, '@') || strings.ContainsRune(s, '＠') || strings.ContainsRune(s, '﹫')
}

// countryCode returns id in upper case if it has the form of an ISO 3166-1 alpha-2 code, else "".
func countryCode(id string) string {
	if len(id) != 2 || !asciiLetter(id[0]) || !asciiLetter(id[1]) {
		return ""
	}
	return strings.ToUpper(id)
}

func asciiLetter(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z'
}
