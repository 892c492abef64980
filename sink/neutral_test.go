package sink

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestFormulasAreNeutralised(t *testing.T) {
	for text, want := range map[string]string{
		// OWASP's list, and full-width and small forms.
		`"=IMPORTXML(\"https://x.example\",\"//a\")"`: `"'=IMPORTXML(\"https://x.example\",\"//a\")"`,
		`"+491701234567"`: `"'+491701234567"`,
		`"+1-1"`:          `"'+1-1"`,
		`"-1"`:            `"'-1"`,
		`"@SUM(A1)"`:      `"'@SUM(A1)"`,
		`"\tx"`:           `"'\tx"`,
		`"\rx"`:           `"'\rx"`,
		`"\nx"`:           `"'\nx"`,
		`"\u0000x"`:       `"'\u0000x"`,
		`"＝1"`:            `"'＝1"`,
		`"＋1"`:            `"'＋1"`,
		`"－1"`:            `"'－1"`,
		`"＠x"`:            `"'＠x"`,
		`"﹦1"`:            `"'﹦1"`,
		`"﹢1"`:            `"'﹢1"`,
		`"﹣1"`:            `"'﹣1"`,
		`"﹫x"`:            `"'﹫x"`,
		// Hidden behind escapes, blanks, controls and marks without a width.
		`"\u003d1"`:        `"'\u003d1"`,
		`"\uff1d1"`:        `"'\uff1d1"`,
		`"  =1"`:           `"'  =1"`,
		`"\u00a0=1"`:       `"'\u00a0=1"`,
		"\"\u200b=1\"":     "\"'\u200b=1\"",
		"\"\ufeff=1\"":     "\"'\ufeff=1\"",
		`"\u0001\u001f=1"`: `"'\u0001\u001f=1"`,
		`" \t1"`:           `"' \t1"`,
		`"\u007f=1"`:       `"'\u007f=1"`,
		// Nothing to do.
		`""`: `""`, `" "`: `" "`, `"x=1"`: `"x=1"`, `"1-2"`: `"1-2"`, `"'=1"`: `"'=1"`, `"/x"`: `"/x"`, `"ä"`: `"ä"`, `"\"=1\""`: `"\"=1\""`,
		`"\\=1"`: `"\\=1"`, `" a"`: `" a"`, `"😀"`: `"😀"`, `"\u0027=1"`: `"\u0027=1"`,
		// Strings alone.
		`-1`: `-1`, `-1.50e+3`: `-1.50e+3`, `null`: `null`, `true`: `true`, ``: ``,
		// At any depth, but not names.
		`{ "=a" : "=1" , "b":[ "+1", -1, {"c":"x", "-d":"\u002d"} ], "e\"":"\\", "f":"" }`: `{ "=a" : "'=1" , "b":[ "'+1", -1, {"c":"x", "-d":"'\u002d"} ], "e\"":"\\", "f":"" }`,
		`["a","=1"]`: `["a","'=1"]`,
		`{}`:         `{}`,
	} {
		got, changed := neutral([]byte(text))
		if string(got) != want || changed != (text != want) {
			t.Errorf("%s: %s %t, want %s", text, got, changed, want)
		}
		if again, changed := neutral(got); changed || !bytes.Equal(again, got) {
			t.Errorf("%s: %s the second time", got, again)
		}
	}
}

func TestNeutralisingIsSwitchedByMappingAndColumn(t *testing.T) {
	columns := []string{"a=x", "b=x|raw", "c=x|safe", "d=x|json", "e='=1'", "f='=1'|raw", "g=x|default(-)"}
	value := func(v string) func(int) ([]byte, bool) { return func(int) ([]byte, bool) { return []byte(v), true } }
	reg := prometheus.NewRegistry()
	parsed, err := ParseColumns(columns, anyPath)
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewMapping(MappingConfig{Columns: parsed}, reg)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(m.Row("", "", value(`"=1"`)).Body), `{"a":"'=1","b":"=1","c":"'=1","d":"'=1","e":"'=1","f":"=1","g":"'=1"}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := string(m.Row("", "", value(`["=1",-1]`)).Body), `{"a":["'=1",-1],"b":["=1",-1],"c":["'=1",-1],"d":"[\"=1\",-1]","e":"'=1","f":"=1","g":["'=1",-1]}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := string(m.Row("", "", value(``)).Body), `{"a":null,"b":null,"c":null,"d":null,"e":"'=1","f":"=1","g":"'-"}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	want := `
# HELP signup_sheet_values_neutralised_total Values sent with an apostrophe before what a sheet would take for a formula, by column.
# TYPE signup_sheet_values_neutralised_total counter
signup_sheet_values_neutralised_total{column="a"} 2
signup_sheet_values_neutralised_total{column="b"} 0
signup_sheet_values_neutralised_total{column="c"} 2
signup_sheet_values_neutralised_total{column="d"} 1
signup_sheet_values_neutralised_total{column="e"} 3
signup_sheet_values_neutralised_total{column="f"} 0
signup_sheet_values_neutralised_total{column="g"} 3
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "signup_sheet_values_neutralised_total"); err != nil {
		t.Error(err)
	}
	m = mapping(t, MappingConfig{RawCells: true}, columns...)
	if got, want := string(m.Row("", "", value(`"=1"`)).Body), `{"a":"=1","b":"=1","c":"'=1","d":"=1","e":"=1","f":"=1","g":"=1"}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// validNames returns the names of an object's members.
func validNames(t *testing.T, object []byte) []string {
	t.Helper()
	var members map[string]json.RawMessage
	if err := json.Unmarshal(object, &members); err != nil {
		t.Fatalf("%s: %v", object, err)
	}
	var names []string
	for name := range members {
		names = append(names, name)
	}
	return names
}

// What is neutralised differs from what was there by apostrophes at the start of strings alone, which no longer begin like a formula.
func FuzzNeutral(f *testing.F) {
	for _, text := range []string{`"=1"`, `{"=":["\u003d","\\\"=",{"a":"-"}]}`, `["", "'=", " \t", "\ud83d\ude00"]`, `-1`, `"＝"`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		value := jsontext.Value(bytes.TrimSpace(text))
		if !value.IsValid() {
			return
		}
		before := slices.Clone(value)
		got, changed := neutral(value)
		if !bytes.Equal(before, value) {
			t.Fatal("the value was changed")
		}
		if again, twice := neutral(got); twice || !bytes.Equal(again, got) {
			t.Fatalf("%s becomes %s the second time", got, again)
		}
		want, now := tokens(t, value), tokens(t, got)
		if len(want) != len(now) || changed != !bytes.Equal(value, got) {
			t.Fatalf("%s became %s", value, got)
		}
		for i := range want {
			isFormula := want[i].value && want[i].kind == '"' && strings.ContainsAny(firstSeen(want[i].text), "=+-@")
			switch now[i].text {
			case "'" + want[i].text:
				if !want[i].value || want[i].kind != '"' {
					t.Errorf("%s became %s", value, got)
				}
			case want[i].text:
				if isFormula {
					t.Errorf("%s stayed", value)
				}
			default:
				t.Errorf("%s became %s", value, got)
			}
		}
	})
}

type token struct {
	kind  jsontext.Kind
	value bool // no name
	text  string
}

func tokens(t *testing.T, text []byte) []token {
	t.Helper()
	var all []token
	d := jsontext.NewDecoder(bytes.NewReader(text))
	for {
		in, n := d.StackIndex(d.StackDepth())
		tok, err := d.ReadToken()
		if err != nil {
			return all
		}
		all = append(all, token{tok.Kind(), in != '{' || n%2 == 1, tok.String()})
	}
}

// firstSeen is the first sign of a text behind ASCII blanks and controls.
func firstSeen(text string) string {
	text = strings.TrimLeftFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f })
	return text[:min(1, len(text))]
}
