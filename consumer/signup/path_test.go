package signup_test

import (
	"encoding/json"
	"strings"
	"testing"

	"signup-sheet/consumer/signup"
	"signup-sheet/internal/allocs"
)

func TestPathsLeadToColumnsAndToWhateverElseIsInTheEvent(t *testing.T) {
	const value = ` {"email":" a@b.example ","name":null,"metadata":{"campaign":{"id":"c 1","ids":[1, 2]},"a.b":1.50,"\u0063":"x\u0026y"},` +
		`"utm":{"source":"x","empty":{}},"n\u0061mes":["x"], "true":true, "":{"":0}, "x\"y":{"z\\":null}, "last": -1.0e5 } `
	s := decode(t, record(value))
	for path, want := range map[string]string{
		"event_id": `"` + recordID + `"`, "id": `"` + recordID + `"`, "email": `"a@b.example"`, "plan": `"free"`, "timestamp": `"2026-11-21T09:15:30.123Z"`,
		"name": ``, "metadata/campaign/id": `"c 1"`, "metadata/campaign/ids": `[1, 2]`, "metadata/campaign": `{"id":"c 1","ids":[1, 2]}`,
		"metadata/a.b": `1.50`, "metadata/c": `"x\u0026y"`, "utm/source": `"x"`, "utm/empty": `{}`, "utm/empty/x": ``, "utm": `{"source":"x","empty":{}}`,
		"names": `["x"]`, "true": `true`, "/": `0`, `x"y/z\`: `null`, "last": `-1.0e5`,
		"nothing": ``, "metadata/campaign/nothing": ``, "metadata/campaign/ids/0": ``, "email/x": ``, "last/x": ``, "utm_campaign/x": ``, `x"y/z\/a`: ``,
		"*": strings.Trim(value, " "),
	} {
		names := strings.Split(path, "/")
		if path == "*" {
			names = nil
		}
		if got := s.Lookup(signup.NewPath(names...)); string(got) != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

// FuzzLookup compares with encoding/json.
func FuzzLookup(f *testing.F) {
	for _, rest := range []string{`"a":{"b":[1,{"c":"}\""}]}`, `"a":1,"b":"\\",   "\u0061b":{"b":{}}`, `"a":{"b" : null}`, `"metadata":{"b":{"a":2.50}}`} {
		f.Add(rest, "a", "b")
	}
	d := signup.NewDecoder(signup.Limits{MaxDepth: 8})
	f.Fuzz(func(t *testing.T, rest, first, second string) {
		s, err := d.Decode(record(`{"email":"a@b.example",` + rest + `}`))
		if err != nil || s.Field(first) != nil || first == "id" || first == "country_id" {
			return
		}
		var event, object map[string]json.RawMessage
		if err := json.Unmarshal([]byte(`{`+rest+`}`), &event); err != nil {
			t.Fatal(err)
		}
		same := func(got []byte, want json.RawMessage) {
			if string(got) != string(want) {
				t.Errorf("%s.%s: %s, want %s", first, second, got, want)
			}
		}
		if string(event[first]) == "null" {
			return // a column's is missing then
		}
		same(s.Lookup(signup.NewPath(first)), event[first])
		_ = json.Unmarshal(event[first], &object) // nil if it is none
		same(s.Lookup(signup.NewPath(first, second)), object[second])
	})
}

// Looking for what is no column costs time, not memory.
func TestAllocationsOfALookup(t *testing.T) { allocs.AtMost(t, 0, BenchmarkLookup) }

func BenchmarkLookup(b *testing.B) {
	s, err := signup.NewDecoder(signup.Limits{}).Decode(record(event))
	if err != nil {
		b.Fatal(err)
	}
	plan, score, none := signup.NewPath("plan"), signup.NewPath("metadata", "score"), signup.NewPath("none")
	b.ReportAllocs()
	for b.Loop() {
		if s.Lookup(plan) == nil || s.Lookup(score) == nil || s.Lookup(none) != nil {
			b.Fatal("not found")
		}
	}
}
