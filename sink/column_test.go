package sink

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestColumnsAreNamedAndPathsAreRead(t *testing.T) {
	for text, want := range map[string]struct{ name, path string }{
		"email":                              {"email", "email"},
		" email | lower ":                    {"email", "email"},
		"signup.metadata.campaign.id":        {"id", "signup/metadata/campaign/id"},
		"Sign-up date (UTC) = when|date":     {"Sign-up date (UTC)", "when"},
		`"Customer's =|, plan"=signup.plan`:  {"Customer's =|, plan", "signup/plan"},
		`'it''s'=signup."first ""touch"".x"`: {"it's", `signup/first "touch".x`},
		"x=signup.'utm.source'.1st-né_$":     {"x", "signup/utm.source/1st-né_$"},
		"größe=signup.größe":                 {"größe", "signup/größe"},
		"x = a":                              {"x", "a"},
		"1=a":                                {"1", "a"},
		"x=1a":                               {"x", "1a"},
		"x=truth":                            {"x", "truth"},
		"email|default('=')":                 {"email", "email"},
		"x=null":                             {"x", "null"}, // as a path: the resolver knows none
		"version=2":                          {"version", ""},
		"version = 2.50 | json":              {"version", ""},
		"x='a=b'":                            {"x", ""},
	} {
		columns, err := ParseColumns([]string{text}, anyPath)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := columns[0]; got.Name != want.name || strings.Join(got.Path, "/") != want.path {
			t.Errorf("%s: %q %q, want %q %q", text, got.Name, got.Path, want.name, want.path)
		}
	}
}

func TestColumnsNameEveryMistakeAtOnce(t *testing.T) {
	_, err := ParseColumns([]string{
		"email", "", "when=x|dat(2006)|lower(1)", "x=nowhere.y|hush", "a b", "email=z", "größe=ab.", "x='open", "'web'", "5", "=x", "x=", "''=x",
		"x=a|date(DD.MM.YYYY)", "x=a|date(%Y-%m-%d)", "x=a|date(2026-01-31)", "x=a|date(today)", "x=a|date(2006, Mars)", "x=a|date(2006, Local)", "x=a|date(1,2,3)",
		"x=a|default", "x=a|default(null)", "x=a|default(1,2)", "x=a|default(1", "x=a|default('1' 2)", "x=a||lower", "x=a|lower lower", "x=a b", "x=a|", "\xff", "x=a..b", "Customer's plan=p",
	}, func(path []string) ([]string, error) {
		if path[0] == "nowhere" {
			return nil, errors.New("there is no nowhere")
		}
		return path, nil
	})
	const functions = "want default, lower, date, mask, hash, sha256, json, raw or safe"
	const layout = "want a layout that says how 2 January 2006, 15:04:05 is written, such as 2006-01-02 15:04"
	const end = `want | and a function here, or the end; a name with one of = | , ( ' " in it is put in quotes`
	want := []string{
		`column 2, at character 1: is empty: want ` + ColumnSyntax,
		`column 3 ("when"), at character 8: there is no function "dat": ` + functions,
		`column 3 ("when"), at character 18: lower: takes no argument`,
		`column 4 ("x"), at character 3: there is no nowhere`,
		`column 4 ("x"), at character 13: there is no function "hush": ` + functions,
		`column 5 ("a"), at character 3: ` + end,
		`column 6 ("email"): column 1 has that name already: give one another`,
		`column 7 ("größe"), at character 10: want a name behind the dot; one with blanks or signs in it is put in quotes`,
		`column 8 ("x"): column 4 has that name already: give one another`,
		`column 8 ("x"), at character 3: the quote that begins here does not end`,
		`column 9, at character 1: a constant needs a name before it, such as source='web'`,
		`column 10, at character 1: a constant needs a name before it, such as version=5`,
		`column 11, at character 1: the name is empty`,
		`column 12 ("x"), at character 3: want a path such as signup.plan, a number, or a text in quotes`,
		`column 13, at character 1: the name is empty`,
		`column 14 ("x"), at character 5: date: ` + layout,
		`column 15 ("x"), at character 5: date: ` + layout,
		`column 16 ("x"), at character 5: date: ` + layout,
		`column 17 ("x"), at character 5: date: ` + layout,
		`column 18 ("x"), at character 5: date: there is no time zone "Mars": want one as Europe/Berlin, or UTC`,
		`column 19 ("x"), at character 5: date: there is no time zone "Local": want one as Europe/Berlin, or UTC`,
		`column 20 ("x"), at character 5: date: takes a layout and a zone, such as date(2006-01-02, Europe/Berlin)`,
		`column 21 ("x"), at character 5: default: takes one argument, such as default('none')`,
		`column 22 ("x"), at character 5: default: a missing value is sent as null anyway: for the word, put it in quotes`,
		`column 23 ("x"), at character 5: default: takes one argument, such as default('none')`,
		`column 24 ("x"), at character 14: want a comma or a closing parenthesis`,
		`column 25 ("x"), at character 17: want a comma or a closing parenthesis`,
		`column 26 ("x"), at character 5: there is no function "": ` + functions,
		`column 27 ("x"), at character 11: ` + end,
		`column 28 ("x"), at character 5: ` + end,
		`column 29 ("x"), at character 5: there is no function "": ` + functions,
		`column 30, at character 1: is not UTF-8`,
		`column 31 ("x"), at character 5: want a name behind the dot; one with blanks or signs in it is put in quotes`,
		`column 32 ("Customer"), at character 9: ` + end,
	}
	var got []string
	if err != nil {
		got = slices.DeleteFunc(strings.Split(err.Error(), "\n"), func(line string) bool {
			return strings.HasSuffix(line, `("x"): column 4 has that name already: give one another`) && !strings.HasPrefix(line, "column 8 ")
		})
	}
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("missing: %s", want[i])
		case i >= len(want):
			t.Errorf("unexpected: %s", got[i])
		case got[i] != want[i]:
			t.Errorf("%s\nwant %s", got[i], want[i])
		}
	}
	if _, err := ParseColumns(nil, anyPath); err == nil {
		t.Error("no columns are accepted")
	}
}

func TestListsOfColumnsAreSplitAtTheirOwnCommas(t *testing.T) {
	for list, want := range map[string][]string{
		"a,b":                                 {"a", "b"},
		" a , b|lower ":                       {"a", "b|lower"},
		"x=t|date(2006-01-02, UTC),y='a, b',": {"x=t|date(2006-01-02, UTC)", "y='a, b'", ""},
		`"it's"=a,'x''),'=b,c`:                {`"it's"=a`, `'x''),'=b`, "c"},
		"a),b":                                {"a)", "b"},
		"":                                    {""},
	} {
		if got := SplitColumns(list); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, want %q", list, got, want)
		}
	}
}

// Whatever is written, columns are read or refused, and what is refused is said in lines of UTF-8 that name the column.
func FuzzParseColumns(f *testing.F) {
	for _, text := range []string{
		"email", "x=signup.metadata.'a.b'|date('2006', UTC)|default(\"\")", "'a''b'=1.5|json", "x=|", "a|b(c,'d'", "ä=ö.ü", "\x00=\xff", "x= 'y' |raw|safe", "'\n'",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, list string) {
		texts := SplitColumns(list)
		if strings.Join(strings.Fields(strings.Join(texts, ",")), "") != strings.Join(strings.Fields(list), "") && utf8.ValidString(list) {
			t.Fatalf("%q was split into %q", list, texts)
		}
		columns, err := ParseColumns(texts, anyPath)
		if err != nil {
			for line := range strings.Lines(err.Error()) {
				if !strings.HasPrefix(line, "column ") || !utf8.ValidString(line) {
					t.Errorf("%q", line)
				}
			}
			return
		}
		m, err := NewMapping(MappingConfig{Columns: columns, HashKey: []byte("k")}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, value := range []string{``, `null`, `"\u003d1"`, `-1.50`, `{"a":["=1"]}`} {
			body := m.Row("", "", func(int) ([]byte, bool) { return []byte(value), true }).Body
			if len(validNames(t, body)) != len(columns) {
				t.Errorf("%d columns became %s", len(columns), body)
			}
		}
	})
}
