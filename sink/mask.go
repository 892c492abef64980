package sink

import (
	"bytes"
	"encoding/base64"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxExcerpt   = 1 << 10 // bytes of an answer that are kept
	maxExamined  = 4 << 10 // bytes of an answer that are searched for private values
	maxRequestID = 128
	maskText     = "[masked]"
)

// secretsOf returns the parts of the endpoint's URL that let others use it.
func secretsOf(target *url.URL) []string {
	secrets := []string{target.RequestURI()}
	secrets = append(secrets, strings.Split(target.Path, "/")...)
	for name, values := range target.Query() {
		secrets = append(append(secrets, name), values...)
	}
	secrets = append(secrets, target.RawQuery)
	if target.User != nil {
		password, _ := target.User.Password()
		secrets = append(secrets, target.User.Username(), password, basic(target.User))
	}
	return slices.DeleteFunc(secrets, func(s string) bool { return strings.Trim(s, "/") == "" })
}

// basic returns what basic authentication sends (RFC 7617).
func basic(user *url.Userinfo) string {
	password, _ := user.Password()
	return base64.StdEncoding.EncodeToString([]byte(user.Username() + ":" + password))
}

// valuesOf returns the strings and numbers in a row, at any depth, and the names below
// its columns: metadata may be keyed by an address.
func valuesOf(row []byte) []string {
	var values []string
	decoder := jsontext.NewDecoder(bytes.NewReader(row), jsontext.AllowDuplicateNames(true))
	for {
		kind, count := decoder.StackIndex(decoder.StackDepth())
		isColumn := decoder.StackDepth() == 1 && kind == '{' && count%2 == 0
		token, err := decoder.ReadToken()
		if err != nil { // io.EOF, or a row that is not JSON: what is readable counts
			return values
		}
		if k := token.Kind(); (k == '"' || k == '0') && !isColumn {
			values = append(values, token.String())
		}
	}
}

// excerpt returns the beginning of an answer, at most maxExcerpt bytes of valid UTF-8,
// without the private values.
func excerpt(body []byte, private []string) string {
	if len(body) > maxExamined {
		// The last word may be the half of one, which nothing would recognise.
		body = bytes.TrimRightFunc(bytes.ToValidUTF8(body[:maxExamined], nil), isWord)
	}
	text := masked(string(body), private)
	return strings.ToValidUTF8(text[:min(len(text), maxExcerpt)], "") // the cut may be inside a rune
}

// masked returns text with the private values masked: as a whole anywhere, and each of
// their words where it is a word of its own, whatever the case. The usual escapes (JSON,
// HTML, percent) are undone before, in the result too. What has one of them in base64 is
// masked as a whole. It masks rather too much, such
// as a plan named "free" in "the free plan", than too little.
func masked(text string, private []string) string {
	private = withUnescaped(private)
	runes := []rune(withoutEncoded(unescape(strings.ToValidUTF8(text, "\uFFFD")), private))
	lower := make([]rune, len(runes))
	for i, r := range runes {
		lower[i] = unicode.ToLower(r)
	}
	hidden := make([]bool, len(runes))
	hide := func(from, to int) {
		for i := from; i < to; i++ {
			hidden[i] = true
		}
	}

	// The words of the text are few and those of a row may be many.
	words := make(map[string][]int) // where each begins
	eachWord(lower, func(from, to int) {
		word := string(lower[from:to])
		words[word] = append(words[word], from)
	})
	whole := string(lower)
	for _, value := range private {
		folded := []rune(value)
		for i, r := range folded {
			folded[i] = unicode.ToLower(r)
		}
		eachWord(folded, func(from, to int) {
			word := string(folded[from:to])
			for _, at := range words[word] {
				hide(at, at+to-from)
			}
			delete(words, word) // once is enough, and keeps a word said often from costing its square
		})
		if len(folded) < 2 && len(value) < 4 || len(folded) < 4 && len(value) == len(folded) {
			continue // "al" is in "final": only as a word; an emoji is none
		}
		search := string(folded)
		for offset, at := 0, 0; ; {
			next := strings.Index(whole[offset:], search)
			if next < 0 {
				break
			}
			at += utf8.RuneCountInString(whole[offset : offset+next])
			hide(at, at+len(folded))
			at += len(folded)
			offset += next + len(search)
		}
	}

	var out strings.Builder
	for i, r := range runes {
		if !hidden[i] {
			out.WriteRune(r)
		} else if i == 0 || !hidden[i-1] {
			out.WriteString(maskText)
		}
	}
	return out.String()
}

// withoutEncoded masks what is base64 of something with a private value. It may begin
// anywhere: what stands before it can look like a part of it, such as the slash of a path.
func withoutEncoded(text string, private []string) string {
	return regexp.MustCompile(`[A-Za-z0-9+/_-]{8,}=*`).ReplaceAllStringFunc(text, func(encoded string) string {
		characters := strings.NewReplacer("-", "+", "_", "/", "=", "").Replace(encoded)
		for from := range 4 {
			// The last character may be the half of one.
			decoded, _ := base64.RawStdEncoding.DecodeString(characters[from:])
			plain := strings.ToLower(unescape(string(decoded)))
			for _, value := range private {
				if len(value) >= 4 && strings.Contains(plain, strings.ToLower(value)) {
					return maskText
				}
			}
		}
		return encoded
	})
}

// eachWord calls yield with the bounds of each run of letters, marks and digits.
func eachWord(text []rune, yield func(from, to int)) {
	start := -1
	for i, r := range text {
		if isWord(r) {
			if start < 0 {
				start = i
			}
			continue
		}
		if start >= 0 {
			yield(start, i)
			start = -1
		}
	}
	if start >= 0 {
		yield(start, len(text))
	}
}

func isWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) }

// unescape undoes the escapes of JSON, HTML and URLs wherever they seem to be, and
// twice, since answers quote answers.
func unescape(text string) string {
	return strings.ToValidUTF8(unescapeOnce(unescapeOnce(text)), "\uFFFD")
}

// withUnescaped returns values, and what unescape makes of those that have escapes of
// their own, such as the address of a page, depending on how often they were quoted.
func withUnescaped(values []string) []string {
	all := slices.Clone(values)
	for _, value := range values {
		for range 2 {
			before := value
			if value = strings.ToValidUTF8(unescapeOnce(before), "\uFFFD"); value == before {
				break
			}
			all = append(all, value)
		}
	}
	return all
}

func unescapeOnce(text string) string { return html.UnescapeString(unescapeSigns(text)) }

func unescapeSigns(text string) string {
	if !strings.ContainsAny(text, `\%`) {
		return text
	}
	var out strings.Builder
	for i := 0; i < len(text); {
		rest := text[i:]
		switch {
		case strings.HasPrefix(rest, `\u`) && isHex(rest, 2, 6):
			n := 6
			if len(rest) >= 12 && rest[6] == '\\' {
				n = 12 // perhaps a surrogate pair
			}
			quoted, err := jsontext.AppendUnquote(nil, `"`+rest[:n]+`"`)
			if err != nil {
				n = 6
				quoted, _ = jsontext.AppendUnquote(nil, `"`+rest[:n]+`"`) // half a pair: U+FFFD
			}
			out.Write(quoted)
			i += n
		case strings.HasPrefix(rest, `\x`) && isHex(rest, 2, 4): // of scripts in pages
			r, _ := strconv.ParseUint(rest[2:4], 16, 8)
			out.WriteRune(rune(r))
			i += 4
		case len(rest) >= 2 && rest[0] == '\\' && strings.IndexByte(`"\/bfnrt`, rest[1]) >= 0:
			out.WriteByte("\"\\/\b\f\n\r\t"[strings.IndexByte(`"\/bfnrt`, rest[1])])
			i += 2
		case rest[0] == '%' && isHex(rest, 1, 3):
			b, _ := strconv.ParseUint(rest[1:3], 16, 8)
			out.WriteByte(byte(b))
			i += 3
		default:
			out.WriteByte(rest[0])
			i++
		}
	}
	return out.String()
}

func isHex(text string, from, to int) bool {
	return len(text) >= to && strings.Trim(text[from:to], "0123456789abcdefABCDEF") == ""
}

// requestIDs returns what the endpoint calls the request, in the header fields and the
// members of a JSON answer that are commonly used for it. A text that is long, not
// printable or has a private value in it is no id.
func requestIDs(header http.Header, body []byte, private []string) []string {
	var candidates []string
	for _, name := range []string{"X-Request-Id", "Request-Id", "X-Amzn-Requestid", "Cf-Ray"} {
		candidates = append(candidates, header.Values(name)...)
	}
	var members map[string]jsontext.Value
	if err := json.Unmarshal(body, &members); err == nil {
		for _, name := range []string{"request_id", "id", "attempt"} {
			if value := members[name]; value.Kind() == '"' {
				id, _ := jsontext.AppendUnquote(nil, value)
				candidates = append(candidates, string(id))
			}
		}
	}
	var ids []string
	for _, id := range candidates {
		printable := strings.IndexFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
		if id != "" && len(id) <= maxRequestID && printable && !slices.Contains(ids, id) &&
			!strings.Contains(masked(id, private), maskText) {
			ids = append(ids, id)
		}
	}
	return ids
}
