package enrich

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

func TestFirstNameHasOneSpelling(t *testing.T) {
	for _, tc := range []struct{ name, want string }{
		{"michael", "michael"},
		{"Michael", "michael"},
		{"  MICHAEL\t Smith \n", "michael"},
		{"\u00a0\u3000Zoë\u2003Kravitz", "zoë"},
		{"Zoë", "zoë"},
		{"Zoe\u0308", "zoë"},
		{"ZOE\u0308", "zoë"},
		{"H\u0331", "\u1e96"},
		{"\u0130pek", "ipek"},
		{"I\u0307pek", "ipek"},
		{"Анна Петровна", "анна"},
		{"王 小明", "王"},
		{"José-María", "josé-maría"},
		{"O'Neil", "o'neil"},
		{"R2D2", "r2d2"},
		{"Anna, the first", "anna"},
		{"\"Bob\" Smith", "bob"},
		{"(Anna)", "anna"},
		{"Anna🎉", "anna"},
		{"anna-", "anna"},
		{"Dr. Anna Schmidt", "anna"},
		{"Frau Prof. Dr. ANNA Maria Schmidt", "anna"},
		{"Don Draper", "don"},
		{"a&b=c#d+e%f?g/h", "a&b=c#d+e%f?g/h"},
		{strings.Repeat("É", 70), strings.Repeat("é", 64)},
		{strings.Repeat("E\u0301", 70), strings.Repeat("é", 64)},
		{strings.Repeat("\u0391\u0313\u0300\u0345", 70), strings.Repeat("\u1f82", 64)}, // four runes become one

		// Nothing to ask about.
		{"", ""},
		{" \t\u2003", ""},
		{"1234", ""},
		{"١٢٣ michael", ""}, // digits are not only ASCII's
		{"- michael", ""},
		{"Dr.", ""},
		{"Mr", ""},
		{"Mr. Smith", ""}, // a last name
		{"Herr Prof. Dr. Schmidt", ""},
		{"Dr. 123 Schmidt", ""},
		{"🙂", ""},
		{"michael@example.com", ""},
		{"Michael michael@example.com", ""},
		{"michael＠example.com", ""},
		{"michael﹫example.com", ""},
		{"mich\xffael", ""},
		{"michael \xff", ""},
	} {
		if got := firstName(tc.name); got != tc.want {
			t.Errorf("firstName(%+q) = %+q, want %+q", tc.name, got, tc.want)
		}
	}
}

func TestCountryIsATwoLetterCodeOrNone(t *testing.T) {
	for _, tc := range []struct{ id, want string }{
		{"US", "US"},
		{"us", "US"},
		{"dE", "DE"},
		{"", ""},
		{"U", ""},
		{"USA", ""},
		{"U1", ""},
		{"&a", ""},
		{"@Z", ""},
		{"`z", ""},
		{"[a", ""},
		{"a{", ""},
		{"ß", ""}, // two bytes
	} {
		if got := countryCode(tc.id).String(); got != tc.want {
			t.Errorf("countryCode(%q) = %q, want %q", tc.id, got, tc.want)
		}
	}
}

// Every letter of the scripts that have cases or marks, alone and with a mark, comes out in a spelling that comes out as itself.
func TestFirstNameOfAFirstNameIsItself(t *testing.T) {
	for r := range rune(unicode.MaxRune + 1) {
		if !unicode.In(r, unicode.Latin, unicode.Greek, unicode.Cyrillic, unicode.Armenian, unicode.Georgian, unicode.Cherokee, unicode.Devanagari) {
			continue
		}
		for _, mark := range []string{"", "\u0301", "\u0307", "\u0308", "\u0331", "\u0345"} {
			checkSpelling(t, string(r)+mark)
		}
	}
}

func FuzzFirstName(f *testing.F) {
	for _, s := range []string{"Michael Smith", " Zoe\u0308", "H\u0331", "1 2", "a@b", "\xff", "\u0130", "Dr. Anna-, Schmidt", "mr. -mr- x", strings.Repeat("a\u0301", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) { checkSpelling(t, name) })
}

func checkSpelling(t *testing.T, name string) {
	t.Helper()
	got := firstName(name)
	switch {
	case firstName(got) != got:
		t.Errorf("firstName(%+q) = %+q, and of that %+q", name, got, firstName(got))
	case utf8.RuneCountInString(got) > maxNameRunes || !utf8.ValidString(got) || !norm.NFC.IsNormalString(got):
		t.Errorf("firstName(%+q) = %+q: too long, not UTF-8 or not NFC", name, got)
	case strings.ContainsFunc(got, unicode.IsSpace) || strings.Contains(got, "@"):
		t.Errorf("firstName(%+q) = %+q: more than a first name", name, got)
	}
}
