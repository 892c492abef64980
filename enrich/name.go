package enrich

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// maxNameRunes is the length that a first name is cut to.
const maxNameRunes = 64

// firstName returns the first word of name in the one spelling that is cached and sent: lower case, in Unicode's normal form NFC, without
// punctuation around it, and at most 64 runes. Titles are passed over if two words follow: what follows "Dr." alone is a last name.
// It returns "" if there is nothing to ask about: no word, no letter in it, only a title, or anything that
// looks like an email address or is not UTF-8.
//
// firstName(firstName(s)) == firstName(s). A name in that spelling already costs no allocation.
func firstName(name string) string {
	if emailLike(name) || !utf8.ValidString(name) {
		return ""
	}
	titled, behind := false, ""
	for word := range strings.FieldsSeq(name) {
		if behind != "" {
			return behind
		}
		first := normalize(word)
		switch {
		case isTitle(first):
			titled = true
		case !titled || first == "":
			return first
		default:
			behind = first
		}
	}
	return ""
}

func normalize(first string) string {
	first = strings.TrimFunc(first, aroundNames)
	first = cut(first, 4*maxNameRunes) // NFC makes one rune of at most four: what is cut here would be cut below
	first = norm.NFC.String(first)
	first = norm.NFC.String(strings.ToLower(first)) // some letters compose in lower case only: h and U+0331
	first = strings.TrimFunc(cut(first, maxNameRunes), aroundNames)
	if !strings.ContainsFunc(first, unicode.IsLetter) {
		return ""
	}
	return first
}

// aroundNames is for what stands before and behind a name and is no part of it: a comma, a quotation mark, an emoji.
func aroundNames(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsDigit(r)
}

// isTitle reports whether a word, as normalize gives it, is a title that people write before their names.
func isTitle(word string) bool {
	switch word {
	case "mr", "mrs", "ms", "miss", "mx", "dr", "doctor", "prof", "professor", "sir", "madam", "rev",
		"herr", "frau", "hr", "dipl", "dipl.-ing", "ing",
		"mme", "mlle", "madame", "monsieur",
		"sr", "sra", "srta", "señor", "señora", "señorita", "dott", "dra":
		return true
	}
	return false
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

// A country is an ISO 3166-1 alpha-2 code in upper case; zero for none.
type country [2]byte

func (c country) String() string {
	if c == (country{}) {
		return ""
	}
	return string(c[:])
}

// countryCode returns id as a country if it has the form of an ISO 3166-1 alpha-2 code, in either case; else none.
func countryCode(id string) country {
	if len(id) != 2 || !asciiLetter(id[0]) || !asciiLetter(id[1]) {
		return country{}
	}
	return country{id[0] &^ 0x20, id[1] &^ 0x20}
}

func asciiLetter(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z'
}
