package enrich

import (
	"errors"
	"math"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxAge is the highest age that is believed.
const maxAge = 150

// A guess is what agify answered about a name.
type guess struct {
	at    uint32 // when, in Unix seconds
	age   uint8
	known bool // false: agify does not know the name
}

// result is r for an age, unknown for none.
func (g guess) result(r result) result {
	if !g.known {
		return unknown
	}
	return r
}

// An answer is what agify said about one name of a request; an error if that makes no sense.
type answer struct {
	guess
	err error
}

// decode reads the answer to a request about n names: for one name an object, for more a list of as many. A failure is for a body
// that is neither, or as many; for one name also if the answer makes no sense.
func decode(body []byte, n int) ([]answer, *failure) {
	if n == 1 {
		g, err := decodeAnswer(body)
		if err != nil {
			return nil, &failure{reason: reasonAnswer, err: err}
		}
		return []answer{{guess: g}}, nil
	}
	var list []jsontext.Value
	// What is wrong within one answer is not the others' fault.
	if json.Unmarshal(body, &list, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) != nil {
		return nil, &failure{reason: reasonAnswer, err: errors.New("not a JSON list")}
	}
	if len(list) != n {
		return nil, &failure{reason: reasonCount, err: errors.New("not as many as there were names")}
	}
	answers := make([]answer, n)
	sense := false
	for i, one := range list {
		answers[i].guess, answers[i].err = decodeAnswer(one)
		sense = sense || answers[i].err == nil
	}
	if !sense {
		return nil, &failure{reason: reasonAnswer, err: answers[0].err}
	}
	return answers, nil
}

// decodeAnswer reads the answer about one name, {"name":"michael","age":57,"count":311558}. The age is a number, a number
// in a string (as agify once documented it), or null for a name that it does not know. A fraction is rounded to the nearest year:
// it is a guess. Anything else is an error, which never quotes the answer: no age at all, one that is negative or above 150, a list
// (that answers several names), a repeated key, text behind the object.
func decodeAnswer(body []byte) (guess, error) {
	var answer struct {
		Age jsontext.Value `json:"age"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return guess{}, errors.New("not a JSON object")
	}
	number := string(answer.Age)
	switch answer.Age.Kind() {
	case 'n':
		return guess{}, nil
	case '0':
	case '"':
		if json.Unmarshal(answer.Age, &number) != nil || jsontext.Value(number).Kind() != '0' || !jsontext.Value(number).IsValid() {
			return guess{}, errors.New("age is a string without a number")
		}
	default:
		return guess{}, errors.New("no age, or one that is neither number nor null")
	}
	age, err := strconv.ParseFloat(number, 64)
	if err != nil || age < 0 || age > maxAge {
		return guess{}, errors.New("age is not a number from 0 to 150")
	}
	return guess{age: uint8(math.Round(age)), known: true}, nil
}
