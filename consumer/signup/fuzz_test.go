package signup_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/mail"
	"strings"
	"testing"
	"unicode/utf8"

	"signup-sheet/consumer/signup"
)

// FuzzDecode compares with encoding/json, which takes more but must agree on what is taken here.
func FuzzDecode(f *testing.F) {
	for _, value := range []string{
		event, `{}`, "", `{"email":" a@b.example ","unknown":[{"x":1}]}`, `{"email":"a@b.example","\u0069d":"\u0041","metadata":{"a":{"b":[1,2.50,null]}}}`,
		`{"email":"a@b.example","email":"c@d.example"}`, `{"email":"\ud800"}`, "\x00\x00\x00\x00\x01{}", `{"email":null,"plan":" ","source":"\u00a0"}`,
		`{"email":"a@b.example","timestamp":"2026-11-20T9:15:30,5Z"}`, `[[[[`, `{"email":"Zyxw@Zyxw.example","name":"Zyxw","metadata":["Zyxw"]}`,
		`{"email":"a-b_c+d.9@b-c.e_f"}`, `{"email":"a..b@b.example"}`, `{"email":"a.@b.example"}`, `{"email":"a@b..example"}`, `{"email":"a@b.example."}`,
	} {
		f.Add([]byte(value), "")
		f.Add([]byte(value), "first-id")
	}
	d := signup.NewDecoder(signup.Limits{MaxBytes: 4096, MaxDepth: 8})
	f.Fuzz(func(t *testing.T, value []byte, carried string) {
		r := record(string(value))
		r.Headers = []signup.Header{{Key: signup.EventIDHeader, Value: []byte(carried)}}
		expectUntold(t, d, value)
		s, err := d.Decode(r)
		if !bytes.Equal(r.Value, value) {
			t.Fatal("the value was changed")
		}
		if err != nil {
			p, ok := errors.AsType[*signup.Poison](err)
			if !ok || s != nil {
				t.Fatalf("got %v and %v", s, err)
			}
			expectPresentable(t, p)
			return
		}
		expectAgreement(t, value, s)
	})
}

// expectUntold checks that an event that begins with values to be kept secret and goes on with anything does not give
// them away.
func expectUntold(t *testing.T, d *signup.Decoder, rest []byte) {
	t.Helper()
	const secret = "Zyxw-Secret"
	if bytes.Contains(rest, []byte("Zyxw")) {
		return
	}
	_, err := d.Decode(record(`{"email":"` + secret + `","country_id":"` + secret + `","x":["` + secret + `",` + string(rest)))
	if err != nil && strings.Contains(err.Error(), secret) {
		t.Errorf("a value is told: %v", err)
	}
}

func expectAgreement(t *testing.T, value []byte, s *signup.Signup) {
	t.Helper()
	var published map[string]json.RawMessage
	if err := json.Unmarshal(value, &published); err != nil {
		t.Fatalf("encoding/json does not take it: %v", err)
	}
	if !utf8.Valid(value) {
		t.Error("invalid UTF-8 was accepted")
	}
	unescape := func(text []byte) (s string) {
		if err := json.Unmarshal(text, &s); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		return s
	}
	for column, member := range map[string]string{
		"email": "email", "name": "name", "plan": "plan", "source": "source", "utm_campaign": "utm_campaign", "metadata": "metadata",
		"country_id": "country_id", "timestamp": "timestamp",
	} {
		got := s.Field(column)
		if got == nil {
			continue
		}
		if !json.Valid(got) {
			t.Errorf("%s: %q is not JSON", column, got)
		}
		raw, ok := published[member]
		switch {
		case bytes.Equal(got, raw):
		case column == "email" && s.EmailTrimmed && unescape(got) == strings.TrimSpace(unescape(raw)):
		case column == "plan" && string(got) == `"free"`, column == "source" && string(got) == `"website"`, column == "timestamp":
			if ok && string(raw) != "null" && strings.TrimSpace(unescape(raw)) != "" {
				t.Errorf("%s: %q was published and became %q", column, raw, got)
			}
		default:
			t.Errorf("%s: %q was published and became %q", column, raw, got)
		}
	}
	if s.Field("email") == nil || s.Field("timestamp") == nil || s.EventID == "" || unescape(s.Field("event_id")) != s.EventID {
		t.Errorf("email %q, timestamp %q, event id %q and %q", s.Field("email"), s.Field("timestamp"), s.EventID, s.Field("event_id"))
	}
	address := unescape(s.Field("email"))
	if a, err := mail.ParseAddress(address); err != nil || a.Address != address {
		t.Errorf("net/mail reads %q as %v: %v", address, a, err)
	}
	for name, text := range s.Unknown() {
		if !bytes.Equal(published[name], text) {
			t.Errorf("unknown %q: %q was published and became %q", name, published[name], text)
		}
	}
}
