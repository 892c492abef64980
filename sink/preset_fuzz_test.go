package sink

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// FuzzShapes: whatever is in a row, the request is JSON of the shape that is expected, no
// value is lost from a contact, and a message mentions nobody.
func FuzzShapes(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"email":"a@example.com","name":"<!channel>","n":1.50,"o":{"a":[1,null]},"x":null}`, `{"a\u0000":"\u2028\n&amp;"}`,
		`{"big":"` + strings.Repeat("ü", 5000) + `"}`, `[1]`, `{"a":`, `{"a":"\ud800"}`, "{\"a\":\"\xff\"}", `{"a":1,"a":2}`, `{"email":7,"a":" ","b":""}`,
	} {
		f.Add([]byte(seed))
	}
	escape := regexp.MustCompile(`[<>]|&(?:$|[^alg])`)
	f.Fuzz(func(t *testing.T, body []byte) {
		var columns map[string]jsontext.Value
		if json.Unmarshal(body, &columns) != nil || columns == nil {
			return // no row
		}
		r := Row{EventID: "e", Body: body}
		var m struct {
			Text string `json:"text"`
		}
		if err := json.Unmarshal(message(r), &m); err != nil {
			t.Fatalf("%v: %s", err, message(r))
		}
		if escape.MatchString(m.Text) || strings.ContainsAny(m.Text, "\r\u2028") {
			t.Errorf("message %q", m.Text)
		}
		if values := strings.Count(m.Text, "\n"); values > len(columns) {
			t.Errorf("%d lines for %d columns", values, len(columns))
		}
		var c struct {
			Inputs []struct {
				ID         string            `json:"id"`
				Trace      string            `json:"objectWriteTraceId"`
				Properties map[string]string `json:"properties"`
			} `json:"inputs"`
		}
		if err := json.Unmarshal(contact(r), &c); err != nil || len(c.Inputs) != 1 || c.Inputs[0].Trace != "e" {
			t.Fatalf("%v: %s", err, contact(r))
		}
		for name, value := range columns {
			_, is := c.Inputs[0].Properties[name]
			if want := value.Kind() != 'n' && strings.TrimSpace(textOf(value)) != "" && name != "email" && name != "event_id"; is != want {
				t.Errorf("column %q is a property: %v", name, is)
			}
		}
	})
}

// FuzzJudges: no answer of an endpoint makes a judge panic, or is accepted as a page.
func FuzzJudges(f *testing.F) {
	for _, seed := range []string{`{"ok":true}`, "ok", loginPage, `{"status":"COMPLETE","results":[{}]}`, `{"status":"success"}`, "\xef\xbb\xbf", `{"errors":[null]}`} {
		f.Add("application/json", []byte(seed))
		f.Add("text/html", []byte(seed))
	}
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		header := http.Header{"Content-Type": {kind}}
		for _, p := range presets() {
			c := newTable(p, nil).of(http.StatusOK, header, body)
			if p.Name != generic && c.verdict == accepted && isHTML(header, body) {
				t.Errorf("%s takes a page for a success: %q", p.Name, body)
			}
		}
	})
}
