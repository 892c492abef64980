package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"signup-sheet/internal/certificates"
	"signup-sheet/internal/kafkatest"
	"signup-sheet/internal/ports"
)

// secretURL is an address of which only the host may be shown.
const secretURL = "https://me:S3CR3T@hooks.example.com/S3CR3T?key=S3CR3T"

// explainedAs runs explain with an event on standard input, and returns the exit code and what it writes.
func explainedAs(t *testing.T, event string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	args = append([]string{"--sink.url", secretURL, "--dead_letter.topic", "letters"}, args...)
	code = explainCommand(strings.NewReader(event))(t.Context(), args, nil, &out, &errs)
	if all := out.String() + errs.String(); strings.Contains(all, "S3CR3T") || strings.Contains(all, "bWU6UzNDUjNU") {
		t.Errorf("a secret is shown: %s", all)
	}
	return code, out.String(), errs.String()
}

// With UPDATE=1 in the environment it writes the files.
func TestExplainMatchesItsGoldenFiles(t *testing.T) {
	for name, c := range map[string]struct {
		event string
		code  int
	}{
		"row":       {`{"id":"6d2f","email":" ann@example.com","name":"Żofia & Ann <3","timestamp":"2026-11-01T08:15:30Z","metadata":{"n":9007199254740993},"plan":"pro","referrer":"x","é":1}` + "\n", 0},
		"invalid":   {`{"id":"6d2f","email":"ann"}`, 1},
		"duplicate": {`{"id":"6d2f","metadata":{"a":1,"a":2}}`, 1},
		"empty":     {"", 1},
		"formula":   {`{"id":"6d2f","email":"ann@example.com","name":"=IMPORTXML(1)","timestamp":"2026-11-01T08:15:30Z"}`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := explainedAs(t, c.event)
			if code != c.code || stderr != "" {
				t.Errorf("exit code %d, want %d: %s", code, c.code, stderr)
			}
			stdout = strings.ReplaceAll(stdout, "signup-sheet/"+readBuild().Version, "signup-sheet/(version)")
			golden(t, "explain."+name+".txt", stdout)
		})
	}
}

// golden compares text with a file in testdata, or writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE") == "1" {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s; if that is right: UPDATE=1 go test -run Golden ./cmd/signup-sheet\n%s", path, got)
	}
}

func TestExplainReadsAFileOrStandardInput(t *testing.T) {
	const event = `{"id":"from-a-file","email":"ann@example.com"}`
	for _, args := range [][]string{{"--file", write(t, event)}, {"--file=-"}, {}} {
		stdin := event
		if len(args) == 2 {
			stdin = "not read"
		}
		code, stdout, stderr := explainedAs(t, stdin, args...)
		if code != exitFine || !strings.Contains(stdout, `{"event_id":"from-a-file",`) || stderr != "" {
			t.Errorf("%v: exit code %d: %s%s", args, code, stdout, stderr)
		}
	}
}

// Whoever has seen that nothing comes stops it as any other command: with one signal.
func TestExplainThatWaitsForAnEventIsStopped(t *testing.T) {
	stdin, stays := io.Pipe()
	defer stays.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	var out, errs bytes.Buffer
	go func() {
		code := explainCommand(stdin)(ctx, []string{"--sink.url", secretURL}, nil, &out, &errs)
		ended <- code
	}()
	cancel()
	select {
	case code := <-ended:
		if code != exitFailed || out.Len() > 0 || errs.String() != "signup-sheet: wait for the event: context canceled\n" {
			t.Errorf("exit code %d: %s%s", code, out.String(), errs.String())
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it still waits")
	}
}

func TestExplainMistakes(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--partition", "1"}, "--partition and --offset go together"},
		{[]string{"--offset", "1"}, "--partition and --offset go together"},
		{[]string{"--partition", "1", "--offset", "2", "--file", "x"}, "name two records"},
		{[]string{"--partition", "-1", "--offset", "2"}, `--partition: want a whole number from 0 to 2147483647, not "-1"`},
		{[]string{"--partition", "0", "--offset", "latest"}, `--offset: want a whole number from 0 to`},
		{[]string{"--file", "/no/such/file"}, "--file: read /no/such/file: no such file or directory: create it, or correct the path"},
		{[]string{"--file", t.TempDir()}, "is a directory"},
		{[]string{"--from", "1h"}, "--from: no such flag: only signup-sheet replay has it"},
	} {
		code, stdout, stderr := explainedAs(t, "", c.args...)
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: exit code %d: %s%s", c.args, code, stdout, stderr)
		}
	}
}

// The length that an event has is the one that is told, however large it is.
func TestExplainOfATooLargeEvent(t *testing.T) {
	code, stdout, _ := explainedAs(t, `{"email":"ann@example.com","name":"`+strings.Repeat("x", 2<<20)+`"}`)
	if want := "value of 2097189 bytes, more than the 1048576 that"; code != exitFailed || !strings.Contains(strings.Join(strings.Fields(stdout), " "), want) || !strings.Contains(stdout, "of class too_large") {
		t.Errorf("exit code %d, want %q in %s", code, want, stdout)
	}
}

// A row above the limit is never sent, and a preset's request is that of the preset.
func TestExplainKnowsPresetsAndTheirLimits(t *testing.T) {
	const event = `{"id":"x","email":"ann@example.com","name":"Ann <3"}`
	code, stdout, _ := explainedAs(t, event, "--sink.preset", "slack")
	if code != exitFine || !strings.Contains(stdout, "\n{\"text\":\"") || !strings.Contains(stdout, "Ann &lt;3") {
		t.Errorf("exit code %d: %s", code, stdout)
	}
	code, stdout, _ = explainedAs(t, `{"email":"ann@example.com","name":"`+strings.Repeat("x", 2000)+`"}`, "--sink.max_body_bytes", "1KiB")
	if words := strings.Join(strings.Fields(stdout), " "); code != exitFailed || !strings.Contains(words, "and sink.max_body_bytes allows 1024. It would be a dead letter of class too_large in letters") || strings.Contains(stdout, "POST") {
		t.Errorf("exit code %d: %s", code, stdout)
	}
}

// Whatever authenticates is left out, and nobody is asked for anything: neither the webhook, nor for a token, nor for an age.
func TestExplainLeavesOutWhatAuthenticates(t *testing.T) {
	const event = `{"id":"x","email":"ann@example.com","name":"Ann"}`
	server, secured := endpoint(t, (*httptest.Server).Start), endpoint(t, (*httptest.Server).StartTLS)
	authority, dir := certificates.NewAuthority(t), t.TempDir()
	pair := authority.Issue(t, "S3CR3T")
	asUser := "http://me:S3CR3T@" + strings.TrimPrefix(server.URL, "http://") + "/S3CR3T"
	for _, c := range []struct {
		args []string
		want []string
	}{
		{nil, []string{"\nPOST " + server.URL + "/[secret]\n", "\nIdempotency-Key: x\n\n{"}},
		{[]string{"--sink.url", asUser}, []string{"\nAuthorization: [secret]\n"}},
		{[]string{"--sink.auth.mechanism", "basic", "--sink.auth.username", "S3CR3T", "--sink.auth.password_file", write(t, "S3CR3T")}, []string{"\nAuthorization: [secret]\n"}},
		{
			[]string{
				"--sink.url", secured.URL + "/S3CR3T", "--sink.tls.ca_file", certificates.Write(t, dir, "ca.crt", authority.PEM),
				"--sink.tls.certificate_file", certificates.Write(t, dir, "tls.crt", pair.Certificate), "--sink.tls.key_file", certificates.Write(t, dir, "tls.key", pair.Key),
			},
			[]string{"\nPOST " + secured.URL + "/[secret]\n"},
		},
		{[]string{"--sink.auth.mechanism", "bearer", "--sink.auth.token_file", write(t, "S3CR3T")}, []string{"\nAuthorization: [secret]\n"}},
		{[]string{"--sink.auth.mechanism", "api-key", "--sink.auth.header", "X-Sheet-Key", "--sink.auth.token_file", write(t, "S3CR3T")}, []string{"\nX-Sheet-Key: [secret]\n"}},
		{
			[]string{"--sink.auth.mechanism", "oauth2", "--sink.auth.token_url", server.URL, "--sink.auth.client_id", "me", "--sink.auth.client_secret_file", write(t, "S3CR3T")},
			[]string{"\nAuthorization: [secret]\n"},
		},
		{
			[]string{"--sink.auth.mechanism", "hmac", "--sink.auth.secrets_file", write(t, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")},
			[]string{"\nWebhook-Id: x\n", "\nWebhook-Timestamp: 1", "\nWebhook-Signature: [secret]\n"},
		},
	} {
		code, stdout, stderr := explainedAs(t, event, append([]string{"--sink.url", server.URL + "/S3CR3T", "--agify.url", server.URL}, c.args...)...)
		for _, want := range c.want {
			if code != exitFine || !strings.Contains(stdout, want) {
				t.Errorf("%v: exit code %d, want %q in\n%s%s", c.args, code, want, stdout, stderr)
			}
		}
	}
}

// agify is asked with --enrich, and only then.
func TestExplainAsksForAnAgeWhenToldTo(t *testing.T) {
	asked := 0
	agify := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		_, _ = io.WriteString(w, `{"count":9,"name":"ann","age":37}`)
	}))
	defer agify.Close()
	const event = `{"id":"x","email":"ann@example.com","name":"Ann Smith"}`
	for _, c := range []struct {
		args        []string
		words, body string
		asked       int
	}{
		{nil, "nobody was asked", `"age_guess":null`, 0},
		{[]string{"--agify.enabled=false", "--enrich"}, "agify.enabled is false", `"age_guess":null`, 0},
		{[]string{"--enrich"}, "age 37, guessed", `"age_guess":37`, 1},
		{[]string{"--enrich", "--sink.columns", "email,name"}, "no column has it", `"name":"Ann Smith"}`, 1},
	} {
		code, stdout, stderr := explainedAs(t, event, append(c.args, "--agify.url", agify.URL)...)
		if code != exitFine || !strings.Contains(stdout, c.words) || !strings.Contains(stdout, c.body) || asked != c.asked {
			t.Errorf("%v: exit code %d, asked %d times: %s%s", c.args, code, asked, stdout, stderr)
		}
	}
}

// What run does without an age depends on a setting.
func TestExplainSaysWhatRunWouldDo(t *testing.T) {
	agify := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	defer agify.Close()
	const event = `{"id":"x","email":"ann@example.com","name":"Ann Smith"}`
	for _, c := range []struct{ required, want string }{
		{"false", "run would send the row without one, too"},
		{"true", "run would wait for one, at most agify.required_max_wait, since agify.required is true"},
	} {
		code, stdout, _ := explainedAs(t, event, "--enrich", "--agify.url", agify.URL, "--agify.required="+c.required)
		if all := strings.Join(strings.Fields(stdout), " "); code != exitFine || !strings.Contains(all, c.want) {
			t.Errorf("exit code %d, want %q in %s", code, c.want, stdout)
		}
	}
}

// From the topic: key and headers are there, and the range, for an offset that is not.
func TestExplainTakesARecordOfTheTopic(t *testing.T) {
	cluster, topic := kafkatest.Start(t), kafkatest.UniqueName(t)
	cluster.CreateTopic(t, topic, 2, nil)
	at := time.Date(2026, 11, 1, 8, 15, 30, 5e6, time.UTC)
	cluster.Produce(t, topic,
		&kgo.Record{Partition: 1, Value: []byte("{"), Timestamp: time.Now()},
		&kgo.Record{Partition: 1, Key: []byte("k-1"), Value: []byte(`{"email":"ann@example.com"}`), Headers: []kgo.RecordHeader{{Key: "traceparent", Value: []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")}}, Timestamp: at},
		&kgo.Record{Partition: 1, Key: []byte("k-2"), Timestamp: time.Now()},
		&kgo.Record{Partition: 1, Value: []byte(`{"email":"ann@example.com","name":"` + strings.Repeat("x", 2000) + `"}`), Timestamp: time.Now()})
	flags := []string{"--kafka.brokers", strings.Join(cluster.Addrs(), ","), "--kafka.topic", topic, "--sink.max_body_bytes", "1KiB", "--partition", "1", "--offset"}
	for _, c := range []struct {
		offset string
		code   int
		want   []string
	}{
		{"0", 1, []string{"poison: the JSON ends too early", "a dead letter of class decode in letters"}},
		{"1", 0, []string{"partition 1, offset 1, of 2026-11-01T08:15:30.005Z", `key "k-1", headers traceparent, value of 27 bytes`, "made of topic, partition, offset and time", "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", `"timestamp":"2026-11-01T08:15:30.005Z"`}},
		{"2", 1, []string{"tombstone: it would be skipped"}},
		{"3", 1, []string{"of class too_large in letters"}},
		{"4", 1, []string{"partition 1 has no offset 4 yet: its offsets are 0 to 3"}},
		{"1", 1, []string{"dead_letter.force names the record"}},
		{"3", 1, []string{"dead_letter.force names the record"}}, // before it is looked at
	} {
		args := append(slices.Clone(flags), c.offset)
		if strings.Contains(c.want[0], "force") {
			args = append(args, "--dead_letter.force", "1:"+c.offset)
		}
		code, stdout, stderr := explainedAs(t, "", args...)
		for _, want := range c.want {
			if all := strings.Join(strings.Fields(stdout+stderr), " "); code != c.code || !strings.Contains(all, want) {
				t.Errorf("offset %s: exit code %d, want %q in\n%s%s", c.offset, code, want, stdout, stderr)
			}
		}
	}
}

// Headers and keys hold any bytes: none of them changes a terminal, and what is not UTF-8 is said to be missing from the row.
func TestExplainOfOddBytesBesideTheEvent(t *testing.T) {
	cluster, topic := kafkatest.Start(t), kafkatest.UniqueName(t)
	cluster.CreateTopic(t, topic, 1, nil)
	cluster.Produce(t, topic, &kgo.Record{
		Key: []byte("\xff\x1b[2J"), Value: []byte(`{"email":"ann@example.com"}`),
		Headers: []kgo.RecordHeader{
			{Key: "a\n\x1b[2J", Value: []byte("x")},
			{Key: "", Value: nil},
			{Key: "app", Value: []byte("\xff")},
			{Key: "\xfe", Value: nil},
			{Key: "traceparent", Value: []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nX-Injected: 1")},
			{Key: "signup_sheet.dlq.event_id", Value: []byte("e\r\nX-Injected: 1")},
		},
	})
	code, stdout, stderr := explainedAs(t, "", "--kafka.brokers", strings.Join(cluster.Addrs(), ","), "--kafka.topic", topic, "--partition", "0", "--offset", "0",
		"--sink.columns", "email,app=record.headers.app,none=record.headers.none,key=record.key")
	for _, want := range []string{
		`key "\xff\x1b[2J", headers a??[2J, , app, �, traceparent, signup_sheet.dlq.event_id, value of 27 bytes`, "event id e??X-Injected: 1, which the record carries in a header",
		"app counts as missing", "key counts as missing", `{"email":"ann@example.com","app":null,"none":null,"key":null}`,
	} {
		if all := strings.Join(strings.Fields(stdout), " "); code != exitFine || stderr != "" || !strings.Contains(all, want) {
			t.Errorf("exit code %d, want %q in\n%s%s", code, want, stdout, stderr)
		}
	}
	if strings.Contains(stdout, "\x1b") || strings.Contains(stdout, "\nX-Injected") || strings.Contains(stdout, "Traceparent") {
		t.Errorf("%q", stdout)
	}
}

// An unreachable cluster is said to be one, at once.
func TestExplainWithoutBrokers(t *testing.T) {
	began := time.Now()
	code, stdout, stderr := explainedAs(t, "", "--kafka.brokers", ports.Reserve(t).Address(), "--partition", "0", "--offset", "0")
	if code != exitFailed || stdout != "" || !strings.Contains(stderr, "connection refused") || !strings.Contains(stderr, "correct host and port") || time.Since(began) > 15*time.Second {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}

// What a terminal would take for a command of its own is escaped there, and only there.
func TestExplainedRowCannotControlATerminal(t *testing.T) {
	code, stdout, _ := explainedAs(t, "{\"email\":\"ann@example.com\",\"name\":\"\u009b2J\u202e\"}")
	if code != exitFine || !strings.Contains(stdout, "\u009b2J\u202e") {
		t.Errorf("not byte for byte: %q", stdout)
	}
	if shown := printable([]byte("\u009b2J\u202e")); shown != `\u009b2J\u202e` {
		t.Errorf("%q", shown)
	}
}

func TestAnEventOfAFileIsNotTheRecordThatIsForced(t *testing.T) {
	code, stdout, stderr := explainedAs(t, `{"email":"ann@example.com"}`, "--dead_letter.force", "0:0")
	if code != 0 || strings.Contains(stdout, "force") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}
