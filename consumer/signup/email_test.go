package signup_test

import (
	"encoding/json"
	"strings"
	"testing"

	"signup-sheet/consumer/signup"
)

func TestEmailIsDeliveredCharacterForCharacter(t *testing.T) {
	for _, address := range []string{
		"a@b.example",
		"Maria.Gonzalez+Spring-2026@Example.COM",
		"o'brien@example.co.uk",
		"=1+1@b.com",
		"a&b@b.example",
		"jörg@bücher.example",
		"用户@例子.广告",
		"a@xn--bcher-kva.example",
		strings.Repeat("l", 64) + "@b.example",
		"a@" + strings.Repeat(strings.Repeat("d", 49)+".", 5) + "ex",
	} {
		s := decode(t, record(`{"email":"`+address+`"}`))
		if got, want := string(s.Field("email")), `"`+address+`"`; got != want || s.EmailTrimmed {
			t.Errorf("email = %s, trimmed %v, want %s", got, s.EmailTrimmed, want)
		}
	}
}

func TestBlanksAroundAnEmailAreTrimmedAndTold(t *testing.T) {
	for published, want := range map[string]string{
		`" a@b.example"`:                              `"a@b.example"`,
		`"a@b.example "`:                              `"a@b.example"`,
		`"\ta&b@b.example\r\n"`:                       `"a&b@b.example"`,
		`"\u00a0a@b.example\u3000"`:                   `"a@b.example"`,
		`" j\u00f6rg@b.example"`:                      `"jörg@b.example"`,
		`"` + strings.Repeat(" ", 300) + `a@b.de"`:    `"a@b.de"`,
		`"\u0020` + strings.Repeat("l", 64) + `@b.c"`: `"` + strings.Repeat("l", 64) + `@b.c"`,
	} {
		s := decode(t, record(`{"email":`+published+`}`))
		if got := string(s.Field("email")); got != want || !s.EmailTrimmed {
			t.Errorf("email %s became %s, trimmed %v, want %s", published, got, s.EmailTrimmed, want)
		}
	}
}

func TestEmailThatCannotBeDeliveredToIsPoison(t *testing.T) {
	const notAlone = "must be an address alone, as in RFC 5322, without a name, comment or quotes"
	for address, reason := range map[string]string{
		"ann":                                  "must contain an @",
		"ann.example.com":                      "must contain an @",
		"a@b@c.example":                        "must contain only one @",
		"a@b.example,c@d.example":              "must contain only one @",
		`"a@b"@c.example`:                      "must contain only one @",
		"@b.example":                           "must have something before the @",
		"a@b":                                  "must have a domain with a dot",
		"a@localhost":                          "must have a domain with a dot",
		"a.b@":                                 "must have a domain with a dot",
		"a\nb@c.example":                       "must not contain a control character",
		"a@b.example\r\nBcc: c@d.ex":           "must not contain a control character",
		"a\x00@b.example":                      "must not contain a control character",
		"a\u0085b@b.example":                   "must not contain a control character",
		"a@b\x7f.example":                      "must not contain a control character",
		"Ann <a@b.example>":                    notAlone,
		"<a@b.example>":                        notAlone,
		`"x y"@b.example`:                      notAlone,
		"a@b.example (Ann)":                    notAlone,
		"x y@b.example":                        notAlone,
		"a..b@c.example":                       notAlone,
		".a@b.example":                         notAlone,
		"a.@b.example":                         notAlone,
		"a@.example":                           notAlone,
		"a@b..example":                         notAlone,
		"a@b.example.":                         notAlone,
		"a@b .example":                         notAlone,
		"a;b@c.example":                        notAlone,
		"mailto:a@b.example":                   notAlone,
		strings.Repeat("l", 65) + "@b.example": "must not have more than 64 bytes before the @",
		strings.Repeat("ö", 33) + "@b.example": "must not have more than 64 bytes before the @",
		"a@" + strings.Repeat(strings.Repeat("d", 49)+".", 5) + "exa": "must not be longer than 254 bytes",
	} {
		text, err := json.Marshal(address)
		if err != nil {
			t.Fatal(err)
		}
		p := poison(t, signup.NewDecoder(signup.Limits{}), record(`{"email":`+string(text)+`}`))
		if p.Class != signup.Invalid || p.Pointer != "/email" || p.Reason != reason {
			t.Errorf("%q: got %s | %s | %s, want %s", address, p.Class, p.Pointer, p.Reason, reason)
		}
	}
}
