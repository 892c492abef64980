package enrich_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"signup-sheet/enrich"
)

// answered is a moment of an answer.
var answered = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC) //nolint:gochecknoglobals // a constant

// What one version writes, others read: this is the format.
func TestAnAnswerAsARecord(t *testing.T) {
	for _, tc := range []struct {
		answer     enrich.Answer
		key, value string
	}{
		{enrich.Answer{Name: "zoë", Country: "US", Age: 34, Known: true, Time: answered}, "US:zoë", `{"age":34,"time":"2026-11-28T12:00:00Z"}`},
		{enrich.Answer{Name: "zoë", Age: 0, Known: true, Time: answered}, ":zoë", `{"age":0,"time":"2026-11-28T12:00:00Z"}`},
		{enrich.Answer{Name: "jean-luc", Country: "FR", Age: 150, Known: true, Time: answered.In(time.FixedZone("", 3600))}, "FR:jean-luc", `{"age":150,"time":"2026-11-28T12:00:00Z"}`},
		{enrich.Answer{Name: "жанна", Time: time.Unix(0, 0)}, ":жанна", `{"age":null,"time":"1970-01-01T00:00:00Z"}`},
	} {
		key, value, err := tc.answer.Record()
		if err != nil || string(key) != tc.key || string(value) != tc.value {
			t.Errorf("%+v is the record %s = %s, %v, want %s = %s", tc.answer, key, value, err, tc.key, tc.value)
		}
		back, err := enrich.ParseAnswer(key, value)
		want := tc.answer
		want.Time = want.Time.UTC()
		if err != nil || back != want {
			t.Errorf("%s = %s is the answer %+v, %v, want %+v", key, value, back, err, want)
		}
	}
}

// Later versions may say more.
func TestARecordMaySayMoreThanIsKnown(t *testing.T) {
	got, err := enrich.ParseAnswer([]byte("US:zoë"), []byte(` {"count":7,"time":"2026-11-28T13:00:00.9+01:00","age":34,"more":{"a":[1]}} `))
	if want := (enrich.Answer{Name: "zoë", Country: "US", Age: 34, Known: true, Time: answered}); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
}

// foreign are records that no process of ours wrote.
var foreign = [...][2]string{ //nolint:gochecknoglobals // read only, seeds of the fuzz target too
	{"", `{"age":34,"time":"2026-11-28T12:00:00Z"}`},
	{"zoë", `{"age":34,"time":"2026-11-28T12:00:00Z"}`},
	{":", `{"age":34,"time":"2026-11-28T12:00:00Z"}`},
	{"US:", `{"age":34,"time":"2026-11-28T12:00:00Z"}`},
	{"us:zoë", `{"age":34,"time":"2026-11-28T12:00:00Z"}`},
	{"USA:zoë", `{"age":34,"time":"2026-11-28T12:00:00Z"}`},
	{"U1:zoë", `{"age":34,"time":"2026-11-28T12:00:00Z"}`},
	{"\x00\x00:zoë", `{"age":34,"time":"2026-11-28T12:00:00Z"}`},
	{"US:Zoë", `{"age":34,"time":"2026-11-28T12:00:00Z"}`},
	{"US:zoe\u0308", `{"age":34,"time":"2026-11-28T12:00:00Z"}`},
	{"US: zoë", `{"age":34,"time":"2026-11-28T12:00:00Z"}`},
	{"US:zoë smith", `{"age":34,"time":"2026-11-28T12:00:00Z"}`},
	{"US:zoë@example.com", `{"age":34,"time":"2026-11-28T12:00:00Z"}`},
	{"US:123", `{"age":34,"time":"2026-11-28T12:00:00Z"}`},
	{"US:zo\xeb", `{"age":34,"time":"2026-11-28T12:00:00Z"}`},
	{"US:" + strings.Repeat("z", 100), `{"age":34,"time":"2026-11-28T12:00:00Z"}`},
	{"US:zoë", ``},
	{"US:zoë", `null`},
	{"US:zoë", `34`},
	{"US:zoë", `[]`},
	{"US:zoë", `{}`},
	{"US:zoë", `{"age":34}`},
	{"US:zoë", `{"age":34,"time":null}`},
	{"US:zoë", `{"age":34,"time":1764331200}`},
	{"US:zoë", `{"age":34,"time":"2026-11-28"}`},
	{"US:zoë", `{"age":34,"time":"1969-12-31T23:59:59Z"}`},
	{"US:zoë", `{"age":34,"time":"2106-02-07T06:28:16Z"}`},
	{"US:zoë", `{"time":"2026-11-28T12:00:00Z"}`},
	{"US:zoë", `{"Age":34,"time":"2026-11-28T12:00:00Z"}`},
	{"US:zoë", `{"age":"34","time":"2026-11-28T12:00:00Z"}`},
	{"US:zoë", `{"age":34.5,"time":"2026-11-28T12:00:00Z"}`},
	{"US:zoë", `{"age":-1,"time":"2026-11-28T12:00:00Z"}`},
	{"US:zoë", `{"age":151,"time":"2026-11-28T12:00:00Z"}`},
	{"US:zoë", `{"age":34,"age":35,"time":"2026-11-28T12:00:00Z"}`},
	{"US:zoë", `{"age":34,"time":"2026-11-28T12:00:00Z"} more`},
	{"US:zoë", "\x00\x00\x00\x00\x07" + `{"age":34,"time":"2026-11-28T12:00:00Z"}`},
}

func TestForeignRecordsAreNoAnswersAndAreNotQuoted(t *testing.T) {
	for _, r := range foreign {
		got, err := enrich.ParseAnswer([]byte(r[0]), []byte(r[1]))
		if err == nil || got != (enrich.Answer{}) {
			t.Errorf("%q = %.60s is the answer %+v, %v", r[0], r[1], got, err)
			continue
		}
		if strings.Contains(err.Error(), "zo") || strings.Contains(err.Error(), "34") {
			t.Errorf("the error quotes the record: %v", err)
		}
	}
}

// What is taken for an answer is one, and is written again as the same.
func FuzzParseAnswer(f *testing.F) {
	for _, r := range foreign {
		f.Add([]byte(r[0]), []byte(r[1]))
	}
	f.Add([]byte("US:zoë"), []byte(`{"age":34,"time":"2026-11-28T12:00:00Z"}`))
	f.Add([]byte(":o'neil"), []byte(`{"age":null,"time":"2106-02-07T06:28:15Z"}`))
	f.Add([]byte(":a:b"), []byte(`{"age":0,"time":"2026-11-28T12:00:00.999+14:00"}`))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		a, err := enrich.ParseAnswer(key, value)
		if err != nil {
			return
		}
		if a.Name == "" || !utf8.ValidString(a.Name) || a.Age < 0 || a.Age > 150 || !a.Known && a.Age != 0 || a.Time.Nanosecond() != 0 || a.Time.Location() != time.UTC {
			t.Errorf("%q = %q is the answer %+v", key, value, a)
		}
		again, text, err := a.Record()
		if err != nil || string(again) != string(key) {
			t.Fatalf("%+v is the record %q = %q, %v, want the key %q", a, again, text, err, key)
		}
		if b, err := enrich.ParseAnswer(again, text); err != nil || b != a {
			t.Errorf("%q = %q is the answer %+v, %v, want %+v", again, text, b, err, a)
		}
	})
}
