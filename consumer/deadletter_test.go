package consumer_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"signup-sheet/consumer"
	"signup-sheet/consumer/signup"
	"signup-sheet/internal/kafkatest"
)

// letterHeaders are the names of the headers of every dead letter, in order.
func letterHeaders() []string {
	return []string{
		"__connect.errors.topic", "__connect.errors.partition", "__connect.errors.offset",
		"__connect.errors.stage", "__connect.errors.exception.message",
		"signup_sheet.dlq.version", "signup_sheet.dlq.group", "signup_sheet.dlq.timestamp", "signup_sheet.dlq.class",
		"signup_sheet.dlq.attempts", "signup_sheet.dlq.first_failure", "signup_sheet.dlq.failed",
		"signup_sheet.dlq.event_id", "signup_sheet.dlq.redrives",
	}
}

// refusedHeaders are the names of those of a refused row, in order.
func refusedHeaders() []string {
	return slices.Insert(letterHeaders(), 9, "signup_sheet.dlq.http_status", "signup_sheet.dlq.response", "signup_sheet.dlq.request_ids")
}

// header returns the last header of that name, which is the consumer's: it
// appends its own.
func header(r *kgo.Record, name string) string {
	for _, h := range slices.Backward(r.Headers) {
		if h.Key == name || h.Key == "signup_sheet.dlq."+name || h.Key == "__connect.errors."+name {
			return string(h.Value)
		}
	}
	return ""
}

// letters returns the dead letters by the place that their records had.
func (s *scene) letters(t *testing.T) map[string][]*kgo.Record {
	t.Helper()
	found := map[string][]*kgo.Record{}
	for _, r := range s.ReadAll(t, s.dlq()) {
		at := header(r, "partition") + ":" + header(r, "offset")
		found[at] = append(found[at], r)
	}
	return found
}

// letterOf returns the one dead letter of a record.
func (s *scene) letterOf(t *testing.T, r *kgo.Record) *kgo.Record {
	t.Helper()
	got := s.letters(t)[placeOf(r)]
	if len(got) != 1 {
		t.Fatalf("%d dead letters of the record at %s, want 1", len(got), placeOf(r))
	}
	return got[0]
}

func placeOf(r *kgo.Record) string { return fmt.Sprintf("%d:%d", r.Partition, r.Offset) }

// same tells null from empty.
func same(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }

// expectOriginal requires that key, value and headers of the record are in its
// dead letter byte for byte, and returns the headers that follow them.
func expectOriginal(t *testing.T, letter, source *kgo.Record) (added []kgo.RecordHeader) {
	t.Helper()
	if !same(letter.Key, source.Key) {
		t.Errorf("%s: key %q became %q", placeOf(source), source.Key, letter.Key)
	}
	if !same(letter.Value, source.Value) {
		t.Errorf("%s: the value became %d bytes, of %d", placeOf(source), len(letter.Value), len(source.Value))
	}
	n := len(source.Headers)
	if len(letter.Headers) < n {
		t.Fatalf("%s: %d headers, the record has %d", placeOf(source), len(letter.Headers), n)
	}
	for i, h := range source.Headers {
		if got := letter.Headers[i]; got.Key != h.Key || !same(got.Value, h.Value) {
			t.Errorf("%s: header %d: %q=%q became %q=%q", placeOf(source), i, h.Key, h.Value, got.Key, got.Value)
		}
	}
	return letter.Headers[n:]
}

// expectHeaders requires that the added headers are those named, in order, and
// that they tell where the record was and when it failed.
func (s *scene) expectHeaders(t *testing.T, source *kgo.Record, added []kgo.RecordHeader, names []string, began time.Time) {
	t.Helper()
	var got []string
	for _, h := range added {
		got = append(got, h.Key)
	}
	if !slices.Equal(got, names) {
		t.Fatalf("%s: headers\n%q, want\n%q", placeOf(source), got, names)
	}
	letter := &kgo.Record{Headers: added}
	for name, want := range map[string]string{
		"topic": s.topic, "partition": strconv.Itoa(int(source.Partition)), "offset": strconv.FormatInt(source.Offset, 10),
		"version": "1", "group": s.group, "timestamp": strconv.FormatInt(source.Timestamp.UnixMilli(), 10),
	} {
		if got := header(letter, name); got != want {
			t.Errorf("%s: %s is %q, want %q", placeOf(source), name, got, want)
		}
	}
	for _, name := range []string{"first_failure", "failed"} {
		at, err := time.Parse(time.RFC3339Nano, header(letter, name))
		if err != nil || at.Before(began) || at.After(time.Now()) || !strings.HasSuffix(header(letter, name), "Z") {
			t.Errorf("%s: %s is %q", placeOf(source), name, header(letter, name))
		}
	}
}

// poisonValues are records of every kind that cannot become a row.
func poisonValues() map[string][]byte {
	const ok = `"email":"ann@example.com"`
	values := map[string]string{
		"empty":                 ``,
		"white space":           " \r\n\t ",
		"registry framing":      "\x00\x00\x00\x00\x2a{" + ok + "}",
		"registry GUID":         "\x010123456789abcdef{}",
		"byte order mark":       "\ufeff{" + ok + "}",
		"array":                 `[{` + ok + `}]`,
		"null":                  `null`,
		"text":                  `hello`,
		"cut off":               `{"email":"ann@exa`,
		"trailing data":         `{` + ok + `} {}`,
		"duplicate name":        `{` + ok + `,"plan":"pro","pl\u0061n":"pro"}`,
		"duplicate in metadata": `{` + ok + `,"metadata":{"a":1,"a":2}}`,
		"name without quotes":   `{email:"ann@example.com"}`,
		"NaN":                   `{"x":NaN}`,
		"number":                `{"x":01}`,
		"invalid UTF-8":         "{\"name\":\"J\xf6rg\"}",
		"half a surrogate":      `{"name":"a\ud800"}`,
		"control character":     "{\"name\":\"a\nb\"}",
		"bytes":                 "\xff\xfe\x00\x80\xc3(",
		"too deep":              `{"metadata":` + strings.Repeat(`[`, 64) + strings.Repeat(`]`, 64) + `}`,
		"no email":              `{"id":"own-id","name":"Ann"}`,
		"bad email":             `{"id":"own.id/ü","email":"ann"}`,
		"email is a number":     `{"email":1}`,
		"id is a number":        `{` + ok + `,"id":17}`,
		"metadata is an array":  `{` + ok + `,"metadata":[]}`,
		"timestamp":             `{` + ok + `,"timestamp":"2026-11-20"}`,
		"too large":             `{` + ok + `,"x":"` + strings.Repeat("x", 5000) + `"}`,
	}
	bytes := make(map[string][]byte, len(values))
	for name, v := range values {
		bytes[name] = []byte(v)
	}
	return bytes
}

// headerSets are headers that are easily damaged on the way.
func headerSets() [][]kgo.RecordHeader {
	h := func(key string, value []byte) kgo.RecordHeader { return kgo.RecordHeader{Key: key, Value: value} }
	return [][]kgo.RecordHeader{
		nil,
		{h("null", nil), h("empty", []byte{})},
		{h("again", []byte("2")), h("other", []byte("x")), h("again", []byte("1")), h("again", []byte("2"))},
		{h("binary", []byte("\xff\x00\xc3(\x80")), h("", []byte("no name")), h("ключ \u00a0", []byte("\n"))},
		{h("long", bytes.Repeat([]byte("0123456789"), 1000))},
		{ // what looks like ours
			h("signup_sheet.dlq.class", []byte("refused")), h("__connect.errors.topic", nil), h("__connect.errors.offset", []byte("-7")),
			h("signup_sheet.dlq.redrives", []byte("999999999999999999999")), h("signup_sheet.dlq.truncated", []byte("size=1")),
		},
		{h("signup_sheet.dlq.event_id", []byte("id-of-the-first-time")), h("signup_sheet.dlq.redrives", []byte("2"))}, // a dead letter redriven
	}
}

// Hazards 5, 19 and 21: poison of every kind is dead-lettered exactly once, byte
// for byte, and tells where it came from and what is wrong with it. None of it is
// attempted, and records around it are delivered. A null value is no poison.
func TestPoisonOfEveryKindIsDeadLetteredOnceByteForByte(t *testing.T) {
	s := set(t, 3)
	const maxBytes = 5000
	began := time.Now().Add(-time.Millisecond) // brokers and headers keep time in different units
	keys := [][]byte{nil, {}, []byte("key"), []byte("\xff\x00\x80")}
	var all, poison, good []*kgo.Record
	n := 0
	values := poisonValues()
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		for j, headers := range headerSets() {
			key := keys[(i+j)%len(keys)]
			poison = append(poison, &kgo.Record{Key: key, Value: values[name], Headers: headers, Partition: int32(n) % 3})
			good = append(good, &kgo.Record{Key: key, Value: event(fmt.Sprintf("g-%d", n)), Partition: int32(n) % 3})
			tombstone := &kgo.Record{Key: []byte(fmt.Sprint("gone-", n)), Headers: headers, Partition: int32(n) % 3}
			all = append(all, poison[n], tombstone, good[n])
			n++
		}
	}
	s.Produce(t, s.topic, all...)
	m := s.join(t, func(c *consumer.Config) { c.Event.MaxBytes = maxBytes })
	s.delivered(t, len(good))
	s.committed(t, int64(len(all)))
	m.leave(t)

	letters := s.letters(t)
	decoder := signup.NewDecoder(signup.Limits{MaxBytes: maxBytes})
	classes := map[string]int{}
	for _, r := range poison {
		got := letters[placeOf(r)]
		if len(got) != 1 {
			t.Errorf("%d dead letters of %.60q", len(got), r.Value)
			continue
		}
		added := expectOriginal(t, got[0], r)
		s.expectHeaders(t, r, added, letterHeaders(), began)
		if at := got[0].Timestamp; at.Before(began) || at.After(time.Now()) {
			t.Errorf("%.60q: the dead letter's timestamp is %v", r.Value, at)
		}
		var headers []signup.Header
		for _, h := range r.Headers {
			headers = append(headers, signup.Header{Key: h.Key, Value: h.Value})
		}
		_, err := decoder.Decode(signup.Record{Topic: s.topic, Partition: r.Partition, Offset: r.Offset, Time: r.Timestamp, Headers: headers, Value: r.Value})
		want := err.(*signup.Poison) //nolint:errorlint // its only type
		redrives := "0"
		if header(r, "event_id") != "" {
			redrives = "2"
		}
		for name, want := range map[string]string{
			"stage": "decode", "class": string(want.Class), "exception.message": want.Error(), "attempts": "0", "event_id": want.EventID, "redrives": redrives,
		} {
			if value := header(got[0], name); value != want {
				t.Errorf("%.60q: %s is %q, want %q", r.Value, name, value, want)
			}
		}
		classes[string(want.Class)]++
	}
	if len(letters) != len(poison) {
		t.Errorf("dead letters of %d records, want %d", len(letters), len(poison))
	}
	for class, n := range classes {
		if got := m.metric(t, "dead_letters_total", class); got != float64(n) {
			t.Errorf("metric: %v dead letters of class %s, want %d", got, class, n)
		}
	}
	if len(classes) != 3 {
		t.Errorf("classes %v, want decode, validate and too_large", classes)
	}
	if got := m.metric(t, "records_skipped_total", "tombstone"); got != float64(n) {
		t.Errorf("%v tombstones skipped, want %d", got, n)
	}
	if st := s.sheet.State(); st.Requests != len(good) {
		t.Errorf("%d requests for %d good records", st.Requests, len(good))
	}
	s.judge(t, good, 0)
}

// Hazard 5: a dead letter stays below 1,000,000 bytes as it is sent. It is whole
// if it can be compressed to that, and else its value is cut, and a header says
// what it was. The topic takes no more.
func TestALargeDeadLetterIsWholeIfItCompressesAndElseCut(t *testing.T) {
	s := set(t, 1)
	s.retopic(t, map[string]string{"max.message.bytes": "8388608"}, map[string]string{"max.message.bytes": "1000000"})
	// It compresses to three quarters, by a codec that looks harder than the one in use.
	base64 := func(n int) []byte { return base64.StdEncoding.AppendEncode(nil, noise(n/4*3)) }
	const mib = 1 << 20
	type large struct {
		name  string
		value []byte
		key   []byte
		whole bool
		class string
	}
	cases := []large{
		{"a compressible MiB that is JSON", fmt.Appendf(nil, `{"name":"%s"}`, bytes.Repeat([]byte("a"), mib-11)), nil, true, "validate"},
		{"a byte more", fmt.Appendf(nil, `{"name":"%s"}`, bytes.Repeat([]byte("a"), mib-10)), nil, true, "too_large"},
		{"4 MiB that compress", bytes.Repeat([]byte("0123456789abcdef"), 4*mib/16), nil, true, "too_large"},
		{"a MiB that does not compress", noise(mib), nil, false, "decode"},
		{"4 MiB that do not compress", noise(4 * mib), nil, false, "too_large"},
		{"text that compresses a little", base64(1_200_000), nil, false, "too_large"},
		{"a large key", noise(700_000), noise(400_000), false, "decode"},
		{"a large key and a small value", []byte("x"), noise(900_000), true, "decode"},
		{"just whole", noise(995_000), nil, true, "decode"},
		{"just cut", noise(996_000), nil, false, "decode"},
	}
	var records []*kgo.Record
	for _, c := range cases {
		records = append(records, &kgo.Record{Key: c.key, Value: c.value, Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")}}})
	}
	producer := s.Client(t, kgo.DefaultProduceTopic(s.topic), kgo.ProducerBatchMaxBytes(8<<20), kgo.MaxBufferedRecords(1), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err := producer.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	m := s.join(t)
	s.committed(t, int64(len(records)))
	m.leave(t)
	letters := s.letters(t)
	for i, c := range cases {
		got := letters[placeOf(records[i])]
		if len(got) != 1 {
			t.Errorf("%s: %d dead letters", c.name, len(got))
			continue
		}
		letter := got[0]
		if class := header(letter, "class"); class != c.class {
			t.Errorf("%s: class %s, want %s", c.name, class, c.class)
		}
		truncated := header(letter, "truncated")
		if c.whole != (truncated == "") {
			t.Errorf("%s: truncated is %q", c.name, truncated)
		}
		if truncated == "" {
			expectOriginal(t, letter, records[i])
			continue
		}
		if want := fmt.Sprintf("size=%d sha256=%x", len(c.value), sha256.Sum256(c.value)); truncated != want {
			t.Errorf("%s: truncated is %q, want %q", c.name, truncated, want)
		}
		if !bytes.HasPrefix(c.value, letter.Value) || !same(letter.Key, c.key) {
			t.Errorf("%s: the cut value is no beginning of the value, or the key is not the key", c.name)
		}
		if n := len(letter.Value) + len(letter.Key); n < 990_000 {
			t.Errorf("%s: %d bytes are kept, though more would fit", c.name, n)
		}
	}
	if m.log.has("cannot write a dead letter") {
		t.Error("a dead letter was not taken at once")
	}
}

// noise returns n bytes that cannot be compressed, always the same.
func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)})
	_, _ = r.Read(b) // never fails
	return b
}

// retopic gives the scene topics with these settings.
func (s *scene) retopic(t *testing.T, source, dead map[string]string) {
	t.Helper()
	s.topic = kafkatest.UniqueName(t)
	s.CreateTopic(t, s.topic, s.partitions, source)
	s.CreateTopic(t, s.dlq(), 2, dead)
}

// A row whose request would be larger than sink.max_body_bytes is a dead letter of its own class, without a request, and the
// next of its key goes on.
func TestARowTooLargeForTheEndpointIsADeadLetterWithoutARequest(t *testing.T) {
	s := set(t, 1)
	began := time.Now().Add(-time.Second)
	large := &kgo.Record{
		Key:     []byte("key"),
		Value:   fmt.Appendf(nil, `{"id":"large","email":"ann@example.com","metadata":{"bio":"%s"}}`, strings.Repeat("x", 5000)),
		Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")}},
	}
	small := &kgo.Record{Key: []byte("key"), Value: event("small")}
	s.Produce(t, s.topic, large, small)
	m := s.join(t, func(c *consumer.Config) { c.Sink.MaxBodyBytes = 4096 })
	s.committed(t, 2)
	m.leave(t)
	letter := s.letterOf(t, large)
	s.expectHeaders(t, large, expectOriginal(t, letter, large), letterHeaders(), began)
	for name, want := range map[string]string{"class": "too_large", "attempts": "0", "event_id": "large", "stage": "deliver"} {
		if got := header(letter, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if reason := header(letter, "exception.message"); !strings.Contains(reason, "sink.max_body_bytes allows 4096") {
		t.Errorf("reason %q", reason)
	}
	if state := s.sheet.State(); state.Rows != 1 || state.Attempts != 1 {
		t.Errorf("%+v", state)
	}
}

// An id that is the same in many events does not make one row of them: each uses the budget.
func TestRowsWithOneEventIDUseTheBudgetEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 2)
		const rows, budget = 40, 20
		records := make([]*kgo.Record, rows)
		for i := range records {
			records[i] = &kgo.Record{Key: fmt.Append(nil, i), Value: event("constant"), Partition: int32(i % 2)}
		}
		s.Produce(t, s.topic, records...)
		m := s.join(t, func(cfg *consumer.Config) { cfg.Sink.MaxBodyBytes = 10 })
		await(t, "as many dead letters as the budget has", func() bool {
			return m.metric(t, "dead_letters_total") == budget && m.metric(t, "dead_letters_withheld") == rows-budget
		})
	})
}
