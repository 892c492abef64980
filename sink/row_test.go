package sink

import (
	"strings"
	"testing"

	"signup-sheet/internal/allocs"
)

func TestRowHasEveryColumnInOrderAndNullForWhatIsMissing(t *testing.T) {
	m, err := NewMapping(DefaultColumns())
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{
		"email": `"a&b@example.com"`, "name": `"\u00fc <ü>"`, "metadata": `{ "n": 1.50, "n": 9007199254740993 }`,
		"age_guess": "34",
	}
	var asked []string
	r := m.Row("id", "header", func(column string) []byte {
		asked = append(asked, column)
		return []byte(values[column])
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
	m, err := NewMapping([]string{`a "quoted" & <b>`})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(m.Row("", "", func(string) []byte { return nil }).Body); got != `{"a \"quoted\" & <b>":null}` {
		t.Error(got)
	}
}

func TestMappingNamesEveryBadColumn(t *testing.T) {
	for _, columns := range [][]string{nil, {""}, {"a", "b", "a"}, {"\xff"}} {
		if _, err := NewMapping(columns); err == nil {
			t.Errorf("%q is accepted", columns)
		}
	}
	_, err := NewMapping([]string{"a", "", "a"})
	if err == nil || !strings.Contains(err.Error(), "column 2 has no name") || !strings.Contains(err.Error(), `"a" is given twice`) {
		t.Error(err)
	}
}

func defaultMapping(tb testing.TB) *Mapping {
	tb.Helper()
	m, err := NewMapping(DefaultColumns())
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// The body.
func TestAllocationsOfARow(t *testing.T) { allocs.AtMost(t, 1, BenchmarkRow) }

func BenchmarkRow(b *testing.B) {
	m, value := defaultMapping(b), []byte(`"someone@example.com"`)
	b.ReportAllocs()
	for b.Loop() {
		m.Row("", "", func(string) []byte { return value })
	}
}
