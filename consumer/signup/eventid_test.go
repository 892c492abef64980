package signup_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"signup-sheet/consumer/signup"
)

// The values are the wire contract, computed by another implementation (Python's uuid.uuid5). Change none.
func TestEventIDNeverChanges(t *testing.T) {
	for _, c := range []struct {
		topic     string
		partition int32
		offset    int64
		ms        int64
		want      string
	}{
		{"user.signup", 0, 0, 0, "a9588e59-f078-5e10-9a64-f429345ba982"},
		{"user.signup", 3, 42, 1795252530123, recordID},
		{"user.signup", 34, 2, 1795252530123, "8852dc03-bf72-57f7-b5fc-29b154f0334c"},
		{"user.signup", 3, 42, 1795252530124, "b2dfa8cd-21eb-58b3-8c64-23344bfb5a25"},
		{"user.signup", 3, 43, 1795252530123, "284ff13f-578b-5c11-90c3-5d4ed610aeed"},
		{"user.signup.eu", 3, 42, 1795252530123, "c8bdcdc0-f80b-50f6-bb54-d96fa113469a"},
		{"user.signup", 3, 42, -1, "a62f158e-f283-5030-9e35-b08c96273b7f"},
		{"user.signup", 1<<31 - 1, 1<<63 - 1, 253402300799999, "e9599a41-a07e-50f6-b57b-f74d2326ac54"},
	} {
		at := time.UnixMilli(c.ms)
		if got := signup.EventID(c.topic, c.partition, c.offset, at); got != c.want {
			t.Errorf("%s/%d@%d at %d: %s, want %s", c.topic, c.partition, c.offset, c.ms, got, c.want)
		}
		if got := signup.EventID(c.topic, c.partition, c.offset, at.In(time.FixedZone("", 3600)).Add(999*time.Microsecond)); got != c.want {
			t.Errorf("%s/%d@%d at %d: %s in another zone and with microseconds, want %s", c.topic, c.partition, c.offset, c.ms, got, c.want)
		}
	}
}

// The UUIDs are the wire contract, as in TestEventIDNeverChanges.
func TestHeaderIDIsTheIDWhereHeadersTakeItAndNeverChanges(t *testing.T) {
	for id, want := range map[string]string{
		"6d2f1c1e-6a6e-4a55-9a0b-0f5f2d1d7c3a": "",
		"x":                                    "",
		"!\"#$%&'()*+,-/0:;<=>?@[\\]^_`{|}~":   "",
		strings.Repeat("x", 255):               "",
		strings.Repeat("x", 256):               "f04ad5c2-a489-5b19-b064-ef9992cd852e",
		"order.42":                             "cc1d3e32-3255-5282-baa4-62ec6030bb6f",
		"größe":                                "e2532ea2-1b88-5919-b02b-1243791ebec4",
		"a b":                                  "8cc34d2b-21b0-5821-9a09-28eec5711ae3",
		" a":                                   "529fb742-32f4-5027-9a3c-1e9544e327ce",
		"a\nb":                                 "014e088b-b197-5b94-8e1e-a11c52f0ea88",
		"\x7f":                                 "aa1a597c-5f98-524a-b02f-6bf574275f6f",
		"":                                     "b17a9de6-c3c5-57c9-b80c-4c9cb92894f4",
	} {
		if want == "" {
			want = id
		}
		if got := signup.HeaderID(id); got != want {
			t.Errorf("%q: %s, want %s", id, got, want)
		}
	}
}

func TestRecordKeepsTheEventIDThatItCarries(t *testing.T) {
	carried := func(values ...string) (h []signup.Header) {
		for _, v := range values {
			h = append(h, signup.Header{Key: "signup_sheet.dlq.event_id", Value: []byte(v)}, signup.Header{Key: "other", Value: []byte("x")})
		}
		return h
	}
	const own = `{"email":"a@b.example","id":"own\u002eid"}`
	const none = `{"email":"a@b.example"}`
	for _, c := range []struct {
		name    string
		headers []signup.Header
		value   string
		id      string
		field   string
	}{
		{"own", nil, own, "own.id", `"own\u002eid"`},
		{"none", nil, none, recordID, `"` + recordID + `"`},
		{"carried", carried("first-id"), none, "first-id", `"first-id"`},
		{"carried before own", carried("first-id"), own, "first-id", `"first-id"`},
		{"carried is own", carried("own.id"), own, "own.id", `"own\u002eid"`},
		{"last of several", carried("first", "second"), own, "second", `"second"`},
		{"empty", carried(""), own, "own.id", `"own\u002eid"`},
		{"blank", carried(" \t"), none, recordID, `"` + recordID + `"`},
		{"broken UTF-8", carried("first", "\xff"), none, "first", `"first"`},
		{"null", []signup.Header{{Key: "signup_sheet.dlq.event_id"}}, own, "own.id", `"own\u002eid"`},
		{"other case", []signup.Header{{Key: "Signup_Sheet.DLQ.event_id", Value: []byte("x")}}, own, "own.id", `"own\u002eid"`},
		{"to be quoted", carried("größe & \"q\""), none, "größe & \"q\"", `"größe & \"q\""`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := record(c.value)
			r.Headers = c.headers
			s := decode(t, r)
			if s.EventID != c.id || string(s.Field("event_id")) != c.field {
				t.Errorf("got %q and %s, want %q and %s", s.EventID, s.Field("event_id"), c.id, c.field)
			}
		})
	}
}

func TestPoisonHasTheEventIDThatTheSignupWouldHave(t *testing.T) {
	for _, c := range []struct{ name, carried, value, want string }{
		{"invalid email", "", `{"id":"own","email":"x"}`, "own"},
		{"no email", "", `{"id":"own"}`, "own"},
		{"invalid id", "", `{"id":7,"email":"a@b.example"}`, recordID},
		{"blank id", "", `{"id":" "}`, recordID},
		{"not decodable", "", `{"id":"own"`, recordID},
		{"two ids", "", `{"id":"own","id":"other"}`, recordID},
		{"empty", "", "", recordID},
		{"too large", "", `{"id":"own"}` + strings.Repeat(" ", 1<<20), recordID},
		{"carried, invalid email", "first-id", `{"id":"own"}`, "first-id"},
		{"carried, not decodable", "first-id", `{`, "first-id"},
		{"carried, too large", "first-id", strings.Repeat(" ", 1<<20+1), "first-id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := record(c.value)
			r.Headers = []signup.Header{{Key: signup.EventIDHeader, Value: []byte(c.carried)}}
			if got := poison(t, signup.NewDecoder(signup.Limits{}), r).EventID; got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func FuzzHeaderID(f *testing.F) {
	for _, id := range []string{"", "a", "a.b", "größe", "a b", "a\r\nX-Evil: 1", strings.Repeat("x", 256), "\xff", recordID} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		got := signup.HeaderID(id)
		if len(got) < 1 || len(got) > 255 || strings.ContainsFunc(got, func(r rune) bool { return r < '!' || r > '~' || r == '.' }) {
			t.Errorf("%q: %q is not safe in a header", id, got)
		}
		if got != id && uuid.Validate(got) != nil {
			t.Errorf("%q: %q is neither the id nor a UUID", id, got)
		}
		if signup.HeaderID(got) != got {
			t.Errorf("%q: the id made for a header is not its own header id", id)
		}
		if other := signup.HeaderID(id + "."); other == got {
			t.Errorf("%q and the same with a dot share %q", id, got)
		}
	})
}
