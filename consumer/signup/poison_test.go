package signup_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"
	"weak"

	"signup-sheet/consumer/signup"
)

func poison(t *testing.T, d *signup.Decoder, r signup.Record) *signup.Poison {
	t.Helper()
	s, err := d.Decode(r)
	if err == nil {
		t.Fatalf("%.80q was accepted", r.Value)
	}
	p, ok := errors.AsType[*signup.Poison](err)
	if !ok || s != nil {
		t.Fatalf("%.80q: got %v and %T, want nil and a poison", r.Value, s, err)
	}
	return p
}

func TestEveryPoisonHasAClassAPointerAndAReason(t *testing.T) {
	const ok = `"email":"a@b.example"`
	used := signup.NewDecoder(signup.Limits{})
	for _, c := range []struct {
		name, value, class, pointer, reason string
	}{
		{"empty", "", "decode", "", "empty value"},
		{"white space", " \r\n\t ", "decode", "", "value of white space only"},
		{"registry framing", "\x00\x00\x00\x00\x2a{" + ok + "}", "decode", "", "starts with magic byte 0x00: looks framed by a schema registry (schema id 42), not plain JSON"},
		{"registry framing cut off", "\x00\x01", "decode", "", "starts with magic byte 0x00: looks framed by a schema registry, not plain JSON"},
		{"registry framing with GUID", "\x010123456789abcdef{}", "decode", "", "starts with magic byte 0x01: looks framed by a schema registry, not plain JSON"},
		{"byte order mark", "\ufeff{" + ok + "}", "decode", "", "starts with a byte order mark, which JSON does not allow"},

		{"array", `[{` + ok + `}]`, "decode", "", "the event must be an object, found an array"},
		{"string", `"{}"`, "decode", "", "the event must be an object, found a string"},
		{"null", `null`, "decode", "", "the event must be an object, found null"},
		{"number", `17`, "decode", "", "the event must be an object, found a number"},
		{"boolean", `true`, "decode", "", "the event must be an object, found a boolean"},
		{"text", `hello`, "decode", "", "expected a value, at byte 0"},
		{"almost null", `nulL`, "decode", "", "expected null, true or false, at byte 3"},

		{"trailing object", `{` + ok + `} {}`, "decode", "", "data after the event, at byte 24"},
		{"trailing comma", `{` + ok + `},`, "decode", "", "data after the event, at byte 23"},
		{"trailing zero", `{` + ok + "}\n\x00", "decode", "", "data after the event, at byte 24"},

		{"cut after brace", `{`, "decode", "", "the JSON ends too early, at byte 1"},
		{"cut in name", `{"ema`, "decode", "", "the JSON ends too early, at byte 5"},
		{"cut after name", `{"email" `, "decode", "/email", "the JSON ends too early, at byte 9"},
		{"cut in string", `{"email":"a@b`, "decode", "/email", "the JSON ends too early, at byte 13"},
		{"cut in metadata", `{` + ok + `,"metadata":{"a":[1,`, "decode", "/metadata/a", "the JSON ends too early, at byte 42"},
		{"cut before brace", `{` + ok, "decode", "", "the JSON ends too early, at byte 22"},

		{"duplicate name", `{` + ok + `,"plan":"pro","plan":"team"}`, "decode", "/plan", "duplicate name, at byte 36"},
		{"duplicate name with the same value", `{` + ok + `,` + ok + `}`, "decode", "/email", "duplicate name, at byte 23"},
		{"duplicate name with null", `{` + ok + `,"plan":null,"plan":"pro"}`, "decode", "/plan", "duplicate name, at byte 35"},
		{"duplicate name written with an escape", `{` + ok + `,"plan":"pro","pl\u0061n":"pro"}`, "decode", "/plan", "duplicate name, at byte 36"},
		{"duplicate unknown name", `{` + ok + `,"x":1,"x":2}`, "decode", "/x", "duplicate name, at byte 29"},
		{"duplicate name in metadata", `{` + ok + `,"metadata":{"a":1,"b":2,"a":1}}`, "decode", "/metadata/a", "duplicate name, at byte 47"},
		{"duplicate name in metadata written with an escape", `{` + ok + `,"metadata":{"a/b":{"é":1,"\u00e9":1}}}`, "decode", "/metadata/a~1b/é", "duplicate name, at byte 49"},
		{"duplicate name in an array in an unknown member", `{` + ok + `,"x":[0,{"a~b":1,"a~b":2}]}`, "decode", "/x/1/a~0b", "duplicate name, at byte 39"},
		{"duplicate name with a slash escaped", `{` + ok + `,"a/b":1,"a\/b":2}`, "decode", "/a~1b", "duplicate name, at byte 31"},

		{"name without quotes", `{email:"a@b.example"}`, "decode", "", "expected a name in double quotes, at byte 1"},
		{"name in single quotes", `{'email':"a@b.example"}`, "decode", "", "expected a name in double quotes, at byte 1"},
		{"name that is a number", `{1:2}`, "decode", "", "a name must be a string, at byte 1"},
		{"name that is an object", `{{"a":1}:2}`, "decode", "", "a name must be a string, at byte 1"},
		{"no colon", `{"email" "a@b.example"}`, "decode", "/email", "expected a colon after the name, at byte 9"},
		{"no comma", `{` + ok + ` "plan":"pro"}`, "decode", "", "expected a comma or a closing brace, at byte 23"},
		{"no comma in array", `{"x":[1 2]}`, "decode", "/x", "expected a comma or a closing bracket, at byte 8"},
		{"comma before brace", `{` + ok + `,}`, "decode", "", "expected a name in double quotes, at byte 22"},
		{"no value", `{"email":}`, "decode", "/email", "expected a value, at byte 9"},
		{"wrong closing", `{"x":[1}`, "decode", "/x", "expected a comma or a closing bracket, at byte 7"},
		{"comment", `{/* */` + ok + `}`, "decode", "", "expected a name in double quotes, at byte 1"},
		{"NaN", `{"x":NaN}`, "decode", "/x", "expected a value, at byte 5"},
		{"literal", `{"x":trve}`, "decode", "/x", "expected null, true or false, at byte 7"},
		{"number with leading zero", `{"x":01}`, "decode", "", "expected a comma or a closing brace, at byte 6"},
		{"number without digits", `{"x":-}`, "decode", "/x", "invalid number, at byte 6"},
		{"number without fraction", `{"x":1.}`, "decode", "/x", "invalid number, at byte 7"},
		{"number without exponent", `{"x":{"y":1e}}`, "decode", "/x/y", "invalid number, at byte 12"},

		{"invalid UTF-8", "{\"name\":\"J\xf6rg\"}", "decode", "/name", "invalid UTF-8, at byte 10"},
		{"invalid UTF-8 in a name", "{\"n\xffme\":1}", "decode", "", "invalid UTF-8, at byte 3"},
		{"overlong UTF-8", "{\"name\":\"\xc0\x80\"}", "decode", "/name", "invalid UTF-8, at byte 9"},
		{"surrogate in UTF-8", "{\"x\":[\"\xed\xa0\x80\"]}", "decode", "/x/0", "invalid UTF-8, at byte 7"},
		{"high surrogate alone", `{"name":"a\ud800"}`, "decode", "/name", "half of a surrogate pair, at byte 10"},
		{"high surrogate before text", `{"name":"\uD83D secret"}`, "decode", "/name", "half of a surrogate pair, at byte 9"},
		{"high surrogate twice", `{"name":"\ud83d\ud83d"}`, "decode", "/name", "half of a surrogate pair, at byte 9"},
		{"low surrogate alone", `{"metadata":{"x":"\udc00 and more"}}`, "decode", "/metadata/x", "half of a surrogate pair, at byte 18"},
		{"surrogate in a name", `{"\ud800":1}`, "decode", "", "half of a surrogate pair, at byte 2"},
		{"unknown escape", `{"name":"\x41"}`, "decode", "/name", "invalid escape sequence, at byte 9"},
		{"short escape", `{"name":"\u00g1"}`, "decode", "/name", "invalid escape sequence, at byte 9"},
		{"control character", "{\"name\":\"a\nb\"}", "decode", "/name", "control character in a string, at byte 10"},

		{"depth", `{"metadata":` + strings.Repeat(`[`, 64) + strings.Repeat(`]`, 64) + `}`, "decode", "/metadata" + strings.Repeat("/0", 63), "nested deeper than 64 levels, at byte 75"},
		{"depth of objects", `{"metadata":` + strings.Repeat(`{"a":`, 64) + `1` + strings.Repeat(`}`, 64) + `}`, "decode", "/metadata" + strings.Repeat("/a", 63), "nested deeper than 64 levels, at byte 327"},

		{"no email", `{"name":"Ann"}`, "validate", "/email", "required, but missing"},
		{"email null", `{"email":null}`, "validate", "/email", "required, but null"},
		{"email blank", `{"email":" "}`, "validate", "/email", "required, but blank"},
		{"email in other case", `{"Email":"a@b.example"}`, "validate", "/email", "required, but missing"},
		{"email a number", `{"email":1}`, "validate", "/email", "must be a string, found a number"},
		{"email an array", `{"email":["a@b.example"]}`, "validate", "/email", "must be a string, found an array"},
		{"id a number", `{` + ok + `,"id":17}`, "validate", "/id", "must be a string, found a number"},
		{"name an object", `{` + ok + `,"name":{"first":"Ann"}}`, "validate", "/name", "must be a string, found an object"},
		{"plan a boolean", `{` + ok + `,"plan":true}`, "validate", "/plan", "must be a string, found a boolean"},
		{"source a boolean", `{` + ok + `,"source":false}`, "validate", "/source", "must be a string, found a boolean"},
		{"utm_campaign a number", `{` + ok + `,"utm_campaign":2026}`, "validate", "/utm_campaign", "must be a string, found a number"},
		{"country_id a number", `{` + ok + `,"country_id":49}`, "validate", "/country_id", "must be a string, found a number"},
		{"metadata an array", `{` + ok + `,"metadata":[]}`, "validate", "/metadata", "must be an object, found an array"},
		{"metadata a string", `{` + ok + `,"metadata":""}`, "validate", "/metadata", "must be an object, found a string"},
		{"timestamp a number", `{` + ok + `,"timestamp":1795252530}`, "validate", "/timestamp", "must be a string, found a number"},
		{"timestamp of another form", `{` + ok + `,"timestamp":"2026-11-20"}`, "validate", "/timestamp", "must be an RFC 3339 time with seconds and an offset, such as 2026-01-31T23:59:59Z"},
		{"several", `{"id":1,"plan":2}`, "validate", "/id", "must be a string, found a number"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, d := range []*signup.Decoder{signup.NewDecoder(signup.Limits{}), used} {
				p := poison(t, d, record(c.value))
				if string(p.Class) != c.class || p.Pointer != c.pointer || p.Reason != c.reason {
					t.Errorf("\n got %s | %s | %s\nwant %s | %s | %s", p.Class, p.Pointer, p.Reason, c.class, c.pointer, c.reason)
				}
			}
		})
	}
}

func TestPoisonReadsAsOneLine(t *testing.T) {
	p := poison(t, signup.NewDecoder(signup.Limits{}), record(`{"plan":1,"plan":2}`))
	if got, want := p.Error(), "decode: /plan: duplicate name, at byte 10"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	p = poison(t, signup.NewDecoder(signup.Limits{}), record(`[]`))
	if got, want := p.Error(), "decode: the event must be an object, found an array"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLimitsAreExact(t *testing.T) {
	nested := func(levels int) string {
		return `{"email":"a@b.example","metadata":{},"x":` + strings.Repeat(`[`, levels-1) + strings.Repeat(`]`, levels-1) + `}`
	}
	decode(t, record(nested(64)))
	if p := poison(t, signup.NewDecoder(signup.Limits{}), record(nested(65))); p.Class != signup.Undecodable {
		t.Errorf("65 levels: %v", p)
	}

	d := signup.NewDecoder(signup.Limits{MaxBytes: 100, MaxDepth: 2})
	if _, err := d.Decode(record(nested(2))); err != nil {
		t.Errorf("2 levels of 2: %v", err)
	}
	if p := poison(t, d, record(nested(3))); p.Pointer != "/x/0" || p.Reason != "nested deeper than 2 levels, at byte 42" {
		t.Errorf("3 levels of 2: %v", p)
	}
	value := `{"email":"a@b.example"}`
	value += strings.Repeat(" ", 100-len(value))
	if _, err := d.Decode(record(value)); err != nil {
		t.Errorf("100 bytes of 100: %v", err)
	}
	p := poison(t, d, record(value+" "))
	if p.Class != signup.TooLarge || p.Pointer != "" || p.Reason != "value of 101 bytes, more than the 100 that event.max_bytes allows" {
		t.Errorf("101 bytes of 100: %v", p)
	}
	if p := poison(t, signup.NewDecoder(signup.Limits{}), record(strings.Repeat("[", 1<<20+1))); p.Class != signup.TooLarge {
		t.Errorf("1 MiB and a byte: %v", p)
	}
}

// Hazard 24.
func TestHostileValuesTakeBoundedMemory(t *testing.T) {
	const size = 1 << 20
	d := signup.NewDecoder(signup.Limits{})
	allocated := func(value string) uint64 {
		r := record(value)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _ = d.Decode(r)
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	for name, c := range map[string]struct {
		value string
		limit uint64
	}{
		"arrays":         {`{"x":` + strings.Repeat("[", size-5), 64 << 10},
		"objects":        {`{"x":` + strings.Repeat(`{"a":`, (size-5)/5), 64 << 10},
		"objects for ID": {strings.Repeat(`{`, size), 64 << 10},
		"name":           {`{"` + strings.Repeat("n", size-10) + `":x}`, 16 * size},
		"number":         {`{"email":"a@b.example","x":` + strings.Repeat("9", size-40) + `}`, 64 << 10},
		"email":          {`{"email":"` + strings.Repeat("e", size-20) + `"}`, 2 * size},
		"timestamp":      {`{"email":"a@b.example","timestamp":"` + strings.Repeat("2", size-50) + `"}`, 2 * size},
	} {
		if got := allocated(c.value); got > c.limit {
			t.Errorf("%s: %d bytes allocated, more than %d", name, got, c.limit)
		}
	}
}

func TestManyUnknownMembersCostNothingWhileTheSignupWaits(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"email":"a@b.example"`)
	for i := range 100_000 {
		b.WriteString(`,"_`)
		b.WriteString(string([]byte{'a' + byte(i%26), 'a' + byte(i/26%26), 'a' + byte(i/676%26), 'a' + byte(i/17576%26)}))
		b.WriteString(`":1`)
	}
	b.WriteString("}")
	d := signup.NewDecoder(signup.Limits{})
	r := record(b.String())
	var before, after runtime.MemStats
	const rounds = 8
	signups := make([]*signup.Signup, rounds)
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range rounds {
		s, err := d.Decode(r)
		if err != nil {
			t.Fatal(err)
		}
		signups[i] = s
	}
	runtime.GC()
	runtime.GC() // the pool lets go in the second
	runtime.ReadMemStats(&after)
	if after.HeapAlloc > before.HeapAlloc+1<<20 {
		t.Errorf("%d signups hold %d bytes", rounds, after.HeapAlloc-before.HeapAlloc)
	}
	n := 0
	for range signups[rounds-1].Unknown() {
		n++
	}
	if n != 100_000 {
		t.Errorf("%d unknown members, want 100000", n)
	}
}

func TestDecoderLetsGoOfTheValue(t *testing.T) {
	d := signup.NewDecoder(signup.Limits{})
	for _, value := range []string{event, event[:300]} {
		for range 8 {
			r := record(value)
			held := weak.Make(&r.Value[0])
			_, _ = d.Decode(r)
			r = signup.Record{}
			runtime.GC() // the first empties no pool
			if held.Value() != nil {
				t.Fatalf("the decoder holds a value of %d bytes", len(value))
			}
		}
	}
	runtime.KeepAlive(d)
}

func TestPointerShowsNothingButNames(t *testing.T) {
	d := signup.NewDecoder(signup.Limits{})
	deep := func(name string, levels int) string {
		return strings.Repeat(`{"`+name+`":`, levels) + `!`
	}
	for _, c := range []struct{ value, pointer string }{
		{deep("snake_case-1.2:$x", 1), "/snake_case-1.2:$x"},
		{deep("имя", 1), "/имя"},
		{deep("ann@example.com", 2), "/…/…"},
		{deep("Ann Lee", 1), "/…"},
		{deep(`a\nb`, 1), "/…"},
		{deep(`a\u202eb`, 1), "/…"},
		{deep("", 2), "//"},
		{deep("~/", 1), "/~0~1"},
		{deep(strings.Repeat("n", 64), 1), "/" + strings.Repeat("n", 64)},
		{deep(strings.Repeat("n", 65), 1), "/…"},
		{deep(strings.Repeat("n", 50), 60), strings.Repeat("/"+strings.Repeat("n", 50), 4) + "/…"},
	} {
		p := poison(t, d, record(c.value))
		if p.Pointer != c.pointer {
			t.Errorf("%.60s: pointer %q, want %q", c.value, p.Pointer, c.pointer)
		}
		expectPresentable(t, p)
	}
}

// expectPresentable checks what every poison promises of its texts.
func expectPresentable(t *testing.T, p *signup.Poison) {
	t.Helper()
	if len(p.Pointer) > 256 || len(p.Reason) > 512 || p.Reason == "" {
		t.Errorf("pointer of %d bytes, reason of %d bytes", len(p.Pointer), len(p.Reason))
	}
	if text := p.Error(); !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		t.Errorf("not one line of valid UTF-8: %q", text)
	}
	if p.EventID == "" {
		t.Error("no event id")
	}
}

// TestPoisonNeverTellsTheValue breaks an event at each of its bytes in several ways. (Names are told, values not.)
func TestPoisonNeverTellsTheValue(t *testing.T) {
	const secret = "Zyx"
	event := strings.NewReplacer("~", secret).Replace(`{"id":"~1","email":"~@~.example","name":"~ \u00e9 ~","plan":"~","metadata":{"k":"~","l":["~",{"m":"~"}]},"other":"~","country_id":"~","timestamp":"~"}`)
	d := signup.NewDecoder(signup.Limits{})
	seen := 0
	check := func(value string) {
		_, err := d.Decode(record(value))
		if err == nil {
			return
		}
		seen++
		p, ok := errors.AsType[*signup.Poison](err)
		if !ok {
			t.Fatalf("%q: %v", value, err)
		}
		expectPresentable(t, p)
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v", value, err)
		}
	}
	check(event)
	for i := range len(event) {
		check(event[:i])
		for _, junk := range []string{"\xff", `\ud800`, `\q`, "\x00", `"`, "}", "]", ",", ":", "7", "[[", `,"plan":1,`} {
			check(event[:i] + junk + event[i:])
			check(event[:i] + junk + event[i+1:])
		}
	}
	if seen < 1000 {
		t.Errorf("only %d poisons", seen)
	}
}
