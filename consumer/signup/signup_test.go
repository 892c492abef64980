package signup_test

import (
	"fmt"
	"maps"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"signup-sheet/consumer/signup"
)

// event is 378 bytes, the size that all throughput of this program is measured with.
const event = `{"id":"6d2f1c1e-6a6e-4a55-9a0b-0f5f2d1d7c3a","email":"maria.gonzalez@example.com","name":"María González","plan":"team","source":"landing-page","utm_campaign":"spring-2026","metadata":{"referrer":"https://blog.example.com/post/42","locale":"es-ES","ab":{"hero":"b","cta":2},"tags":["beta","newsletter"],"score":0.7300},"country_id":"ES","timestamp":"2026-11-20T09:15:30.123Z"}`

// recordID is the event id of [record] for a value that has none.
const recordID = "74e76b1c-251e-5b8b-8b1b-abc6169b95c8"

func record(value string) signup.Record {
	return signup.Record{Topic: "user.signup", Partition: 3, Offset: 42, Time: time.UnixMilli(1795252530123), Value: []byte(value)}
}

func decode(t *testing.T, r signup.Record) *signup.Signup {
	t.Helper()
	s, err := signup.NewDecoder(signup.Limits{}).Decode(r)
	if err != nil {
		t.Fatalf("decode %.80q: %v", r.Value, err)
	}
	return s
}

func expectFields(t *testing.T, s *signup.Signup, want map[string]string) {
	t.Helper()
	for column, text := range want {
		got := s.Field(column)
		if text == "" && got != nil {
			t.Errorf("%s = %s, want nil", column, got)
		}
		if string(got) != text {
			t.Errorf("%s = %s, want %s", column, got, text)
		}
	}
}

func TestFieldsAreTheTextThatWasPublished(t *testing.T) {
	const value = ` { "timestamp" : "2026-11-20T09:15:30.120+05:30" , "country_id":"gb",
		"metadata" : {"n":1.2300e+05, "big":9007199254740993, "html":"a&b<c>","esc":"\u0026\/\u00e9",  "list":[ 1 ,2] },
		"utm_campaign":"r&d \"q\"", "source":"caf\u00e9","plan":"PRO ","name":"  J\u00f6rg & Söhne  ","email":"J\u00f6rg+tag@b\u00fccher.example","id":"or\u0064er.42 "} ` + "\r\n"
	s := decode(t, record(value))
	expectFields(t, s, map[string]string{
		"event_id":     `"or\u0064er.42 "`,
		"timestamp":    `"2026-11-20T09:15:30.120+05:30"`,
		"email":        `"J\u00f6rg+tag@b\u00fccher.example"`,
		"name":         `"  J\u00f6rg & Söhne  "`,
		"plan":         `"PRO "`,
		"source":       `"caf\u00e9"`,
		"utm_campaign": `"r&d \"q\""`,
		"metadata":     `{"n":1.2300e+05, "big":9007199254740993, "html":"a&b<c>","esc":"\u0026\/\u00e9",  "list":[ 1 ,2] }`,
		"country_id":   `"gb"`,
		"age_guess":    "",
		"id":           "",
	})
	if s.EventID != "order.42 " || s.Name != "  Jörg & Söhne  " || s.CountryID != "GB" || s.EmailTrimmed {
		t.Errorf("got EventID %q, Name %q, CountryID %q, EmailTrimmed %v", s.EventID, s.Name, s.CountryID, s.EmailTrimmed)
	}
}

func TestMissingNullAndBlankFieldsHaveTheSameDefaults(t *testing.T) {
	want := map[string]string{
		"event_id": `"` + recordID + `"`, "timestamp": `"2026-11-21T09:15:30.123Z"`,
		"email": `"a@b.example"`, "name": "", "plan": `"free"`, "source": `"website"`, "utm_campaign": "", "metadata": "", "country_id": "",
	}
	for _, absent := range []string{"", "null", `""`, `" "`, `"\t\u00a0"`} {
		t.Run(absent, func(t *testing.T) {
			value := `{"email":"a@b.example"`
			if absent != "" {
				for _, member := range []string{"id", "name", "plan", "source", "utm_campaign", "country_id", "timestamp"} {
					value += fmt.Sprintf(`,%q:%s`, member, absent)
				}
				value += `,"metadata":null`
			}
			s := decode(t, record(value+"}"))
			expectFields(t, s, want)
			if s.EventID != recordID || s.Name != "" || s.CountryID != "" {
				t.Errorf("got EventID %q, Name %q, CountryID %q", s.EventID, s.Name, s.CountryID)
			}
		})
	}
}

func TestDefaultTimestampIsTheRecordsTimeInUTC(t *testing.T) {
	for _, c := range []struct {
		time time.Time
		want string
	}{
		{time.UnixMilli(0), `"1970-01-01T00:00:00.000Z"`},
		{time.UnixMilli(1795252530120), `"2026-11-21T09:15:30.120Z"`},
		{time.Date(2026, 1, 31, 23, 59, 59, 999_999_999, time.FixedZone("", -5*3600)), `"2026-02-01T04:59:59.999Z"`},
		{time.UnixMilli(253402300799999), `"9999-12-31T23:59:59.999Z"`},
		{time.UnixMilli(253402300800000), ""}, // the year 10000
		{time.UnixMilli(math.MaxInt64), ""},
		{time.UnixMilli(math.MinInt64), ""},
		{time.UnixMilli(-1), ""}, // Kafka's "no timestamp"
		{time.Time{}, ""},
	} {
		r := record(`{"email":"a@b.example"}`)
		r.Time = c.time
		expectFields(t, decode(t, r), map[string]string{"timestamp": c.want})
	}
}

func TestCountryThatIsNoCodeIsMissing(t *testing.T) {
	for published, want := range map[string]string{
		`"US"`: "US", `"us"`: "US", `"uS"`: "US", `"\u0055S"`: "US",
		`"USA"`: "", `"U"`: "", `"U1"`: "", `"1U"`: "", `"ÜS"`: "", `"é"`: "", `" US"`: "", `"ıs"`: "", `"U[" `: "",
	} {
		s := decode(t, record(`{"email":"a@b.example","country_id":`+published+`}`))
		if s.CountryID != want {
			t.Errorf("country_id %s: CountryID %q, want %q", published, s.CountryID, want)
		}
		if got := s.Field("country_id"); (got == nil) != (want == "") {
			t.Errorf("country_id %s: field %q, CountryID %q", published, got, s.CountryID)
		}
	}
}

func TestNamesAreCaseSensitiveAndUnescaped(t *testing.T) {
	s := decode(t, record(`{"\u0065mail":"a@b.example","Email":"x@y.example","PLAN":"team","pla\u006e":"pro","NAME":"X"}`))
	expectFields(t, s, map[string]string{"email": `"a@b.example"`, "plan": `"pro"`, "name": ""})
}

func TestUnknownMembersAreKeptAside(t *testing.T) {
	s := decode(t, record(`{"zeta":1.50,"email":"a@b.example","a\u006Cpha":{"x":[ 1]},"":null,"name":"N","last":"\u0026"}`))
	var got []string
	for name, value := range s.Unknown() {
		got = append(got, name+" "+string(value))
	}
	want := []string{"zeta 1.50", `alpha {"x":[ 1]}`, " null", `last "\u0026"`}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got %q, want %q", got, want)
	}
	for name := range s.Unknown() {
		if name != "zeta" {
			t.Errorf("first is %q", name)
		}
		break
	}
	for name := range decode(t, record(event)).Unknown() {
		t.Errorf("event without unknown members has %q", name)
	}
}

func TestDecodingLeavesTheValueAlone(t *testing.T) {
	for _, value := range []string{event, `{"email":" a@b.example ","x":{"y":[1,"\u00e9"]}}`, event[:200], `{"email":"a@b.example","email":1}`} {
		r := record(value)
		_, _ = signup.NewDecoder(signup.Limits{}).Decode(r)
		if string(r.Value) != value {
			t.Errorf("value %q became %q", value, r.Value)
		}
	}
}

func TestOneDecoderServesManyGoroutines(t *testing.T) {
	d := signup.NewDecoder(signup.Limits{})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 500 {
				plan := fmt.Sprintf(`"%d/%d"`, g, i)
				broken := record(`{"plan":` + plan + `,"metadata":{"a":[{"b":1,"b":2}`)
				if _, err := d.Decode(broken); err == nil {
					t.Error("a duplicate name was accepted")
				}
				s, err := d.Decode(record(`{"metadata":{"a":` + plan + `},"email":"a@b.example","plan":` + plan + `}`))
				if err != nil {
					t.Errorf("decode: %v", err)
					return
				}
				if got := string(s.Field("plan")); got != plan {
					t.Errorf("plan = %s, want %s", got, plan)
				}
				if got := s.Field("name"); got != nil {
					t.Errorf("name = %s, want nil", got)
				}
			}
		})
	}
	wg.Wait()
}

func TestTimestampMustBeRFC3339(t *testing.T) {
	valid := []string{
		"2026-11-20T09:15:30Z", "2026-11-20T09:15:30.1Z", "2026-11-20T09:15:30.123456789Z", "2026-11-20T09:15:30+00:00",
		"2026-11-20T09:15:30-23:59", "2024-02-29T00:00:00Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999+14:00",
	}
	invalid := []string{
		"2026-11-20", "2026-11-20T09:15Z", "2026-11-20T09:15:30", "2026-11-20 09:15:30Z", "2026-11-20t09:15:30z",
		"2026-11-20T9:15:30Z", "2026-11-20T9:15:30.5Z", "2026-11-20T09:15:30,5Z", "2026-11-20T09:15:30+24:00", "2026-11-20T09:15:30+01:60",
		"2026-11-20T09:15:30+0100", "2026-11-20T09:15:30+01", "2026-11-20T24:00:00Z", "2026-11-20T09:15:61Z",
		"2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "1795252530123", "12026-11-20T09:15:30Z", "2026-11-20T09:15:30.Z",
		" 2026-11-20T09:15:30Z", "2026-11-20T09:15:30Z ", "Fri, 20 Nov 2026 09:15:30 GMT", "now", "2026-11-20T09:15:30+01:-1",
	}
	results := map[string]bool{}
	for _, v := range valid {
		results[v] = true
	}
	for _, v := range invalid {
		results[v] = false
	}
	for v := range maps.Keys(results) {
		s, err := signup.NewDecoder(signup.Limits{}).Decode(record(`{"email":"a@b.example","timestamp":"` + v + `"}`))
		if (err == nil) != results[v] {
			t.Errorf("timestamp %q: error %v, valid %v", v, err, results[v])
		}
		if err == nil && string(s.Field("timestamp")) != `"`+v+`"` {
			t.Errorf("timestamp %q became %s", v, s.Field("timestamp"))
		}
	}
}
