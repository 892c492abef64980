package signup

import (
	"net/mail"
	"strings"
	"unicode"
)

// RFC 5321 §4.5.3.1, less the angle brackets of a path.
const (
	maxEmail = 254
	maxLocal = 64
)

// checkEmail returns why an address is not taken, or an empty string. Lengths are in bytes. Internationalised and
// punycode domains pass, and so does every address that RFC 5322 allows unquoted; what must not pass is what
// [mail.ParseAddress] would read as something other than what is written: display names, comments, quoted local parts.
func checkEmail(address string) string {
	if len(address) > maxEmail {
		return "must not be longer than 254 bytes"
	}
	if strings.ContainsFunc(address, unicode.IsControl) {
		return "must not contain a control character"
	}
	local, domain, found := strings.Cut(address, "@")
	switch {
	case !found:
		return "must contain an @"
	case strings.Contains(domain, "@"):
		return "must contain only one @"
	case local == "":
		return "must have something before the @"
	case len(local) > maxLocal:
		return "must not have more than 64 bytes before the @"
	case !strings.Contains(domain, "."):
		return "must have a domain with a dot"
	}
	if isPlain(local) && isPlain(domain) {
		return ""
	}
	if a, err := mail.ParseAddress(address); err != nil || a.Address != address {
		return "must be an address alone, as in RFC 5322, without a name, comment or quotes"
	}
	return ""
}

// isPlain reports whether a part of an address, as most are, is nothing but letters, digits, a few signs, and dots
// between them. [mail.ParseAddress] takes those too, but takes its time and six allocations.
func isPlain(part string) bool {
	between := false
	for i := range len(part) {
		switch c := part[i]; {
		case isLetter(c), '0' <= c && c <= '9', c == '-', c == '_', c == '+':
			between = true
		case c == '.' && between:
			between = false
		default:
			return false
		}
	}
	return between
}
