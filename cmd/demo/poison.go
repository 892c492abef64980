package main

import (
	"bytes"
	"slices"

	"signup-sheet/consumer/signup"
)

// flaw is a way to get an event wrong.
type flaw struct {
	name  string
	class signup.Class
	spoil func(event) []byte
}

func flaws() []flaw {
	// instead replaces the beginning of the event by other JSON.
	instead := func(of, by string) func(event) []byte {
		return func(e event) []byte { return bytes.Replace(e.encode(), []byte(of), []byte(by), 1) }
	}
	return []flaw{
		{"cut off", signup.Undecodable, func(e event) []byte { b := e.encode(); return b[:len(b)*2/3] }},
		{"no email", signup.Invalid, func(e event) []byte { e.email = ""; return e.encode() }},
		{"duplicate name", signup.Undecodable, instead(`"email"`, `"email":"first@mail.example","email"`)},
		{"email is a number", signup.Invalid, instead(`"email":`, `"email":42,"Email":`)},
		{"empty value", signup.Undecodable, func(event) []byte { return []byte{} }},
		{"email without @", signup.Invalid, func(e event) []byte { e.email = "somebody at mail.example"; return e.encode() }},
		{"invalid UTF-8", signup.Undecodable, instead(`"email":`, "\"note\":\"caf\xe9\",\"email\":")},
		{"metadata is a list", signup.Invalid, func(e event) []byte { e.metadata = []byte(`["a","b"]`); return e.encode() }},
		{"half a surrogate pair", signup.Undecodable, instead(`"email":`, `"note":"\ud83d","email":`)},
		{"no RFC 3339 time", signup.Invalid, func(e event) []byte { e.at = "yesterday, 10 am"; return e.encode() }},
		{"two events in one", signup.Undecodable, func(e event) []byte { return append(e.encode(), e.encode()...) }},
		{"a list of events", signup.Undecodable, func(e event) []byte { return append(append([]byte{'['}, e.encode()...), ']') }},
	}
}

// poison returns the n-th broken event; the flaws take turns.
func (g *generator) poison(n int) record {
	return g.spoilt(flaws(), n)
}

// undecodable returns the n-th broken event of those that are no JSON, or not the JSON of an event.
func (g *generator) undecodable(n int) record {
	return g.spoilt(slices.DeleteFunc(flaws(), func(f flaw) bool { return f.class != signup.Undecodable }), n)
}

func (g *generator) spoilt(by []flaw, n int) record {
	f := by[n%len(by)]
	e := g.event(true)
	return record{kind: poison, key: []byte(e.user.key), value: f.spoil(e), class: f.class, flaw: f.name}
}
