package enrich

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// An Answer is what agify said about a name, and when.
type Answer struct {
	Name    string    // a first name in the one spelling that is asked for: lower case, NFC
	Country string    // an ISO 3166-1 alpha-2 code in upper case; empty for none
	Age     int       // in years, 0 to 150
	Known   bool      // false: agify does not know the name, and Age is 0
	Time    time.Time // when agify answered, in whole seconds; what its time to live counts from
}

// A Store keeps answers for processes that come later, and for others that run now. What it gives back goes to
// [Enricher.Learn].
type Store interface {
	// Keep is told every answer of agify once. It must not wait for anything.
	Keep(a Answer)
}

// record is the value of an answer in a store.
type record struct {
	Age  jsontext.Value `json:"age"`  // an integer; null: agify does not know the name
	Time string         `json:"time"` // RFC 3339
}

// Record returns a as a key, such as "US:zoë" or ":zoë", and a value, such as {"age":34,"time":"2026-11-28T12:00:00Z"}.
func (a Answer) Record() (key, value []byte, err error) {
	r := record{Age: jsontext.Value("null"), Time: a.Time.UTC().Format(time.RFC3339)}
	if a.Known {
		r.Age = strconv.AppendInt(nil, int64(a.Age), 10)
	}
	value, err = json.Marshal(r)
	return []byte(a.Country + ":" + a.Name), value, err
}

// errForeign is for records that no Enricher wrote. It never quotes them.
var errForeign = errors.New("not an answer about a name")

// ParseAnswer reads what [Answer.Record] wrote. An error is for anything else: a name or country that is not in its one
// spelling, an age that is no whole number from 0 to 150, a time that is none or lies outside of what can be kept (1970 to 2106).
func ParseAnswer(key, value []byte) (Answer, error) {
	country, name, ok := strings.Cut(string(key), ":")
	if !ok || name == "" || firstName(name) != name || countryCode(country).String() != country {
		return Answer{}, errForeign
	}
	var r record
	if json.Unmarshal(value, &r, json.RejectUnknownMembers(false)) != nil {
		return Answer{}, errForeign
	}
	at, err := time.Parse(time.RFC3339, r.Time)
	if err != nil || at.Unix() < 0 || at.Unix() > math.MaxUint32 {
		return Answer{}, errForeign
	}
	a := Answer{Name: name, Country: country, Time: at.Truncate(time.Second).UTC()}
	if r.Age.Kind() == 'n' {
		return a, nil
	}
	if json.Unmarshal(r.Age, &a.Age) != nil || a.Age < 0 || a.Age > maxAge {
		return Answer{}, errForeign // without an age, it says nothing
	}
	a.Known = true
	return a, nil
}
