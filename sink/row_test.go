package sink

import (
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"signup-sheet/internal/allocs"
)

// anyPath takes every path as it is.
func anyPath(path []string) ([]string, error) { return path, nil }

func mapping(tb testing.TB, cfg MappingConfig, columns ...string) *Mapping {
	tb.Helper()
	parsed, err := ParseColumns(columns, anyPath)
	if err != nil {
		tb.Fatal(err)
	}
	cfg.Columns = parsed
	m, err := NewMapping(cfg, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func TestRowHasEveryColumnInOrderAndNullForWhatIsMissing(t *testing.T) {
	m := mapping(t, MappingConfig{}, DefaultColumns()...)
	values := map[string]string{
		"email": `"a&b@example.com"`, "name": `"\u00fc <ü>"`, "metadata": `{ "n": 1.50, "n": 9007199254740993 }`,
		"age_guess": "34", "plan": "null",
	}
	var asked []string
	r := m.Row("id", "header", func(column int) ([]byte, bool) {
		asked = append(asked, DefaultColumns()[column])
		return []byte(values[DefaultColumns()[column]]), true
	})
	want := `{"event_id":null,"timestamp":null,"email":"a&b@example.com","name":"\u00fc <ü>","plan":null,` +
		`"source":null,"utm_campaign":null,"age_guess":34,"metadata":{ "n": 1.50, "n": 9007199254740993 }}`
	if string(r.Body) != want {
		t.Errorf("row %s\nwant %s", r.Body, want)
	}
	if r.EventID != "id" || r.HeaderID != "header" || strings.Join(asked, " ") != strings.Join(DefaultColumns(), " ") {
		t.Errorf("row %+v of %v", r, asked)
	}
}

func TestColumnNamesAreQuotedAsJSON(t *testing.T) {
	m := mapping(t, MappingConfig{}, `'a "quoted" & <b>'=x`)
	if got := string(m.Row("", "", func(int) ([]byte, bool) { return nil, true }).Body); got != `{"a \"quoted\" & <b>":null}` {
		t.Error(got)
	}
}

func TestMappingWithoutColumnsOrKeyIsNone(t *testing.T) {
	if _, err := NewMapping(MappingConfig{}, nil); err == nil || err.Error() != "no columns" {
		t.Error(err)
	}
	parsed, err := ParseColumns([]string{"a|hash", "b", "c|lower|hash"}, anyPath)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = NewMapping(MappingConfig{Columns: parsed}, nil); err == nil || err.Error() != "column \"a\": hash needs a key\ncolumn \"c\": hash needs a key" {
		t.Error(err)
	}
	if !parsed[0].Keyed() || parsed[1].Keyed() {
		t.Error("which columns need the key?")
	}
}

// of returns what a column, called x, sends of a value.
func of(t *testing.T, cfg MappingConfig, column, value string) string {
	t.Helper()
	body := mapping(t, cfg, "x="+column).Row("", "", func(int) ([]byte, bool) { return []byte(value), true }).Body
	if !jsontext.Value(body).IsValid() {
		t.Errorf("%s of %s: %s is not JSON", column, value, body)
	}
	return strings.TrimSuffix(strings.TrimPrefix(string(body), `{"x":`), "}")
}

func TestFunctions(t *testing.T) {
	for _, c := range []struct{ column, value, want string }{
		{"p", `12.50`, `12.50`},
		{"p", `"\u0026"`, `"\u0026"`},
		{"'web'", ``, `"web"`},
		{"''", ``, `""`},
		{`"it's ""so"""`, ``, `"it's \"so\""`},
		{"-1.50", ``, `-1.50`},
		{"true", ``, `true`},
		{"'x'|default('y')|lower", ``, `"x"`},

		{"p|default(none)", ``, `"none"`},
		{"p|default(none)", `null`, `"none"`},
		{"p|default(none)", `""`, `""`},
		{"p|default(0)", ``, `0`},
		{"p|default('0')", ``, `"0"`},
		{"p|default( false )", ``, `false`},
		{"p|default('')", ``, `""`},
		{"p|lower|default(X)", ``, `"X"`},
		{"p|default(X)|lower", ``, `"x"`},

		{"p|lower", `"ÄB@C"`, `"äb@c"`},
		{"p|lower", `"\u0041\n"`, `"a\n"`},
		{"p|lower", `"as-it-is"`, `"as-it-is"`},
		{"p|lower", `{"A":1}`, `{"A":1}`},
		{"p|lower", ``, `null`},

		{"p|mask", `"maria@example.com"`, `"m***@e***.com"`},
		{"p|mask", `"jo@example.co.uk"`, `"***@e***.uk"`},
		{"p|mask", `"María"`, `"M***"`},
		{"p|mask", `"Éa@nodot"`, `"É***"`},
		{"p|mask", `"Al"`, `"***"`},
		{"p|mask", `12345`, `"1***"`},
		{"p|mask", `{"email":"ann@example.com","name":"Ann Lee"}`, `"{***"`},
		{"p|mask", `"at home@9. Call 555 1234"`, `"a***"`},
		{"p|mask", `"ann@example.com, call 5551234"`, `"a***"`},
		{"p|mask", ``, `null`},

		{"p|sha256", `"abc"`, `"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"`},
		{"p|lower|sha256", `"\u0041BC"`, `"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"`},
		// RFC 4231, test case 2.
		{"p|hash", `"what do ya want for nothing?"`, `"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"`},
		{"p|hash", ``, `null`},
		{"p|sha256", `null`, `null`},

		{"p|json", `{ "a" : "\u0026\u00e9\/" , "n": 9007199254740993, "m":1.50, "l":[ 1, null ] }`, `"{\"a\":\"&é/\",\"n\":9007199254740993,\"m\":1.50,\"l\":[1,null]}"`},
		{"p|json", `12345678901234567890`, `"12345678901234567890"`},
		{"p|json", `true`, `"true"`},
		{"p|json", `"text"`, `"text"`},
		{"p|json|json", `[1]`, `"[1]"`},
		{"p|json", ``, `null`},

		{"p|date", `"2026-01-31T23:59:59.9Z"`, `"2026-01-31"`},
		{"p|date()", `"2026-02-01T01:30:00+02:00"`, `"2026-01-31"`},
		{"p|date(02.01.2006 15:04)", `"2026-01-31T23:59:59Z"`, `"31.01.2026 23:59"`},
		{"p|date('Jan 2, 2006')", `"2026-01-31T23:59:59Z"`, `"Jan 31, 2026"`},
		{"p|date(2006-01-02 15:04, Europe/Berlin)", `"2026-07-31T23:59:59Z"`, `"2026-08-01 01:59"`},
		{"p|date(2006-01-02 15:04, America/New_York)", `"2026-01-31"`, `"2026-01-31 00:00"`},
		{"p|date(15:04, America/New_York)", `"2026-01-31 08:00:00"`, `"08:00"`},
		{"p|date(2006-01-02T15:04:05Z07:00)", `"2026-01-31T08:00:00.25"`, `"2026-01-31T08:00:00Z"`},
		{"p|date(2006-01-02T15:04:05)", `1795252530`, `"2026-11-21T09:15:30"`},
		{"p|date(2006-01-02T15:04:05.000)", `1795252530123`, `"2026-11-21T09:15:30.123"`},
		{"p|date(2006-01-02T15:04:05.000)", `1795252530.5`, `"2026-11-21T09:15:30.500"`},
		{"p|date", `-1`, `"1969-12-31"`},
		{"p|date", `-1000000000000`, `"1938-04-24"`},
		{"p|date", ``, `null`},
	} {
		if got := of(t, MappingConfig{HashKey: []byte("Jefe")}, c.column, c.value); got != c.want {
			t.Errorf("%s of %s: %s, want %s", c.column, c.value, got, c.want)
		}
	}
}

func TestWhatAFunctionCannotTakeCountsAsMissing(t *testing.T) {
	for _, value := range []string{
		`"soon"`, `""`, `"2026-02-30"`, `true`, `{}`, `[1]`, `1e300`, `-9e14`, `9e14`, `"10000-01-01"`, `"9999-12-31T23:59:59-01:00"`, `"2026-01-31T25:00:00Z"`,
	} {
		reg := prometheus.NewRegistry()
		parsed, err := ParseColumns([]string{"when=x|date", "or=x|date|default(never)", "x"}, anyPath)
		if err != nil {
			t.Fatal(err)
		}
		m, err := NewMapping(MappingConfig{Columns: parsed}, reg)
		if err != nil {
			t.Fatal(err)
		}
		row := m.Row("", "", func(int) ([]byte, bool) { return []byte(value), true })
		if want := `{"when":null,"or":"never","x":` + value + `}`; string(row.Body) != want {
			t.Errorf("%s, want %s", row.Body, want)
		}
		want := `
# HELP signup_sheet_values_unfit_total Values that count as missing, since a function of their column cannot take them or they are not UTF-8, by column.
# TYPE signup_sheet_values_unfit_total counter
signup_sheet_values_unfit_total{column="or"} 1
signup_sheet_values_unfit_total{column="when"} 1
signup_sheet_values_unfit_total{column="x"} 0
`
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "signup_sheet_values_unfit_total"); err != nil {
			t.Error(err)
		}
	}
	m := mapping(t, MappingConfig{}, "x", "y=x|default('-')|raw")
	if got := string(m.Row("", "", func(int) ([]byte, bool) { return []byte("\xff"), false }).Body); got != `{"x":null,"y":"-"}` {
		t.Error(got)
	}
}

// The body.
func TestAllocationsOfARow(t *testing.T) { allocs.AtMost(t, 1, BenchmarkRow) }

func BenchmarkRow(b *testing.B) { benchmarkRow(b, DefaultColumns()...) }

// The body, and what functions make of four values: a keyed hash is eight of them.
func TestAllocationsOfARowWithFunctions(t *testing.T) {
	allocs.AtMost(t, 26, BenchmarkRowWithFunctions)
}

func BenchmarkRowWithFunctions(b *testing.B) {
	benchmarkRow(b, "event_id", "email|lower|hash", "name|mask", "when=timestamp|date(2006-01-02 15:04, Europe/Berlin)",
		"campaign=metadata|json", "plan|default(none)", "source='web'")
}

func benchmarkRow(b *testing.B, columns ...string) {
	b.Helper()
	m := mapping(b, MappingConfig{HashKey: []byte("0123456789abcdef")}, columns...)
	values := map[string][]byte{
		"timestamp": []byte(`"2026-11-20T09:15:30.123Z"`),
		"metadata":  []byte(`{"referrer":"https://blog.example.com/post/42","locale":"es-ES","tags":["beta","newsletter"],"score":0.7300}`),
	}
	of := make([][]byte, len(columns))
	for i, c := range m.columns {
		of[i] = []byte(`"someone@example.com"`)
		if len(c.Path) == 1 && values[c.Path[0]] != nil {
			of[i] = values[c.Path[0]]
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		m.Row("", "", func(column int) ([]byte, bool) { return of[column], true })
	}
}

func ExampleParseColumns() {
	columns, err := ParseColumns(SplitColumns("email = signup.email|lower, plan = signup.plan|default('a, b'), source = 'web'"), anyPath)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, c := range columns {
		fmt.Println(c.Name, c.Path)
	}
	// Output:
	// email [signup email]
	// plan [signup plan]
	// source []
}

func TestAMessageAboutARowWithoutValuesIsNotEmpty(t *testing.T) {
	// Slack refuses an empty text (no_text), and the row would be a dead letter.
	if got := string(message(Row{Body: []byte(`{"plan":null}`)})); strings.Contains(got, `"text":""`) {
		t.Error(got)
	}
}
