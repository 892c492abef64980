package enrich

import (
	"strings"
	"testing"
)

func TestDecodeAnswerTakesAgesAsDocumented(t *testing.T) {
	for _, tc := range []struct {
		body string
		want guess
	}{
		{`{"count":311558,"name":"michael","age":57}`, guess{age: 57, known: true}},
		{`{"count":311558,"name":"michael","age":57,"country_id":"US"}`, guess{age: 57, known: true}},
		{`{"name":"michael","age":"60","count":1}`, guess{age: 60, known: true}},
		{`{"name":"xyz","age":null,"count":0}`, guess{}},
		{` {"age":0} ` + "\n", guess{age: 0, known: true}},
		{`{"age":150}`, guess{age: 150, known: true}},
		{`{"age":57.4}`, guess{age: 57, known: true}},
		{`{"age":57.5}`, guess{age: 58, known: true}},
		{`{"age":5.7e1}`, guess{age: 57, known: true}},
		{`{"age":"57.5"}`, guess{age: 58, known: true}},
	} {
		if got, err := decodeAnswer([]byte(tc.body)); err != nil || got != tc.want {
			t.Errorf("decodeAnswer(%s) = %v, %v, want %v", tc.body, got, err, tc.want)
		}
	}
}

func TestDecodeAnswerRefusesGarbageWithoutQuotingIt(t *testing.T) {
	for _, body := range garbage {
		got, err := decodeAnswer([]byte(body))
		if err == nil {
			t.Errorf("decodeAnswer(%.80q) = %v, want an error", body, got)
			continue
		}
		if got != (guess{}) {
			t.Errorf("decodeAnswer(%.80q) = %v with the error %v", body, got, err)
		}
		if strings.Contains(err.Error(), "marker") {
			t.Errorf("decodeAnswer(%.80q) quotes the answer: %v", body, err)
		}
	}
}

var garbage = [...]string{ //nolint:gochecknoglobals // read only, seeds of the fuzz target too
	``, ` `, `null`, `57`, `"57"`, `true`, `{`, `{}`, `[]`,
	`[{"name":"marker","age":57,"count":1}]`,
	`{"error":"marker"}`,
	`{"Age":57}`,
	`{"age":-1}`, `{"age":-0.4}`, `{"age":150.4}`, `{"age":151}`, `{"age":1e400}`, `{"age":99999999999999999999}`,
	`{"age":"marker"}`, `{"age":""}`, `{"age":"null"}`, `{"age":" 57"}`, `{"age":"57 "}`, `{"age":"NaN"}`, `{"age":"Inf"}`,
	`{"age":"0x39"}`, `{"age":"5_7"}`, `{"age":"-1"}`, `{"age":"151"}`, `{"age":"+57"}`, `{"age":"057"}`,
	`{"age":057}`, `{"age":+57}`, `{"age":NaN}`, `{"age":57`,
	`{"age":true}`, `{"age":[57]}`, `{"age":{"marker":57}}`,
	`{"age":57,"age":58}`,
	`{"age":57} {"age":58}`, `{"age":57}marker`,
	"{\"age\":57,\"name\":\"marker\xff\"}",
	"\xef\xbb\xbf{\"age\":57}",
	`<!doctype html><title>marker</title>`,
	strings.Repeat(`{"a":`, 20_000),
}

// FuzzDecodeBatch: of several answers each is one, or an error of its own, and there are as many as names.
func FuzzDecodeBatch(f *testing.F) {
	for _, body := range garbage {
		f.Add([]byte(body), 1)
		f.Add([]byte("["+body+`,{"age":57}]`), 2)
	}
	f.Add([]byte(`[{"age":57},{"age":null},{"age":"60"}]`), 3)
	f.Fuzz(func(t *testing.T, body []byte, n int) {
		if n < 1 || n > maxBatch {
			return
		}
		answers, failed := decode(body, n)
		if failed != nil {
			if answers != nil || failed.reason != reasonAnswer && failed.reason != reasonCount {
				t.Errorf("decode(%q, %d) = %v, %v", body, n, answers, failed)
			}
			return
		}
		if len(answers) != n {
			t.Errorf("decode(%q, %d): %d answers", body, n, len(answers))
		}
		for _, a := range answers {
			if a.age > maxAge || !a.known && a.age != 0 || a.err != nil && a.known {
				t.Errorf("decode(%q, %d): %+v", body, n, a)
			}
		}
	})
}

func FuzzDecodeAnswer(f *testing.F) {
	for _, body := range garbage {
		f.Add([]byte(body))
	}
	for _, body := range []string{`{"count":311558,"name":"michael","age":57}`, `{"age":"60"}`, `{"age":null}`, `{"age":57.5}`, `{"age":"\u0035"}`} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := decodeAnswer(body)
		if got.age > maxAge || !got.known && got.age != 0 || err != nil && got.known {
			t.Errorf("decodeAnswer(%q) = %+v, %v", body, got, err)
		}
	})
}
