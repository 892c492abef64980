package main

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"testing"
)

// effectiveOf is what config prints.
func effectiveOf(t *testing.T, args []string, env map[string]string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), append([]string{"config"}, args...), env, &stdout, &stderr); code != exitFine || stderr.Len() > 0 {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	return stdout.String()
}

func TestConfigSaysWhereEachValueComesFrom(t *testing.T) {
	file := write(t, "kafka:\n  topic: events\n  group: from-file\nconsumer: {order: none}\nsink:\n  url: "+testURL+"\n")
	got := effectiveOf(t,
		[]string{"--config", file, "--kafka.brokers", "kafka-1:9092, kafka-2:9092", "--admin.listen=", "--consumer.window_bytes", "64 MiB"},
		map[string]string{"SIGNUP_SHEET_KAFKA_GROUP": "from-env", "SIGNUP_SHEET_AGIFY_ENABLED": "false"})
	for _, want := range []string{
		"# --config: " + file + "\n",
		"\nkafka:\n  brokers: [",
		"kafka-1:9092", "kafka-2:9092", "]  # --kafka.brokers\n",
		"\n  topic: events  # " + file + ":2\n",
		"\n  group: from-env  # SIGNUP_SHEET_KAFKA_GROUP\n",
		"\n  session_timeout: 10s  # default\n",
		"\n  window_bytes: 64 MiB  # --consumer.window_bytes\n",
		"\n  order: none  # " + file + ":4\n",
		"\n  drain_timeout: 7s  # default: agify.timeout if enabled + sink.timeout + 2s\n",
		"\n  topic: events.dlq  # default: kafka.topic + .dlq\n",
		"\n  # url: [secret]  # " + file + ":6\n",
		"\n  # url_file:  # not set\n",
		"\n  enabled: false  # SIGNUP_SHEET_AGIFY_ENABLED\n",
		"\n  listen: ''  # --admin.listen\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("want %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "online") {
		t.Errorf("a flag of one command is no setting:\n%s", got)
	}
}

// The printed file and the secrets give the same configuration again, and print the same again.
func TestConfigCanBeFedBack(t *testing.T) {
	var all []string
	for name, text := range samples(t) {
		if name != "sink.url" {
			all = append(all, "--"+name+"="+text)
		}
	}
	for name, args := range map[string][]string{
		"defaults": nil,
		"samples":  all,
		"texts that YAML would take for something else": {
			"--kafka.topic=2026", "--kafka.group=true", "--dead_letter.topic=null", "--kafka.brokers=[::1]:9092,#a:1,b:2", "--admin.listen=",
		},
		"texts with a meaning in YAML": {"--kafka.group=a: [b], {c} # d & *e ! |", "--kafka.topic=-"},
		"quotes and breaks":            {"--kafka.group=it's \"x\"\n\tand\r\u2028more\x00"},
		"blanks":                       {"--kafka.group= x "},
		"long":                         {"--kafka.group=" + strings.Repeat("long ", 100)},
	} {
		t.Run(name, func(t *testing.T) {
			secrets := map[string]string{"SHEETS_WEBHOOK_URL": testURL}
			want, err := load("run", args, secrets)
			if err != nil {
				t.Fatal(err)
			}
			printed := effectiveOf(t, args, secrets)
			file := write(t, printed)
			got, err := load("run", []string{"--config", file}, secrets)
			if err != nil {
				t.Fatalf("%v\n%s", err, printed)
			}
			got.File = ""
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v\n%s", got, want, printed)
			}
			again := effectiveOf(t, []string{"--config", file}, secrets)
			if withoutSources(again) != withoutSources(printed) {
				t.Errorf("the second time it is\n%s\nthe first time it was\n%s", again, printed)
			}
			if strings.Contains(printed, "hooks.example.com") {
				t.Errorf("a secret is in\n%s", printed)
			}
		})
	}
}

// withoutSources is a printed configuration without its sources.
func withoutSources(printed string) string {
	var lines []string
	for line := range strings.Lines(printed) {
		if !strings.HasPrefix(line, "# --config") {
			value, _, _ := strings.Cut(line, "  # ")
			lines = append(lines, strings.TrimRight(value, "\n"))
		}
	}
	return strings.Join(lines, "\n")
}

// The dots of a name are levels of the file.
func TestConfigHasALevelForEachPartOfAName(t *testing.T) {
	var to string
	l := &loader{origin: map[string]given{}}
	for _, name := range []string{"a.b", "a.c.d", "a.c.e", "a.f.g.h", "a.f.i", "b.c"} {
		l.settings = append(l.settings, setting{name: name, value: text(&to, "text", anything)})
		l.origin[name] = given{"--" + name, "x"}
	}
	l.settings = append(l.settings, setting{name: "b.d", derived: "something else", value: text(&to, "text", anything)})
	const want = `# What signup-sheet runs with. Secrets are left out.

a:
  b: x  # --a.b
  c:
    d: x  # --a.c.d
    e: x  # --a.c.e
  f:
    g:
      h: x  # --a.f.g.h
    i: x  # --a.f.i

b:
  c: x  # --b.c
  # d:  # default: something else
`
	if got := l.effective(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Whatever text a setting takes, it is printed on one line and read back.
func FuzzConfigIsReadBack(f *testing.F) {
	for _, text := range []string{"x", "1e3", "~", "'", "a\nb", "- a", "%", "\ufeff", "a #b", "\x85"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, group string) {
		var c config
		l := &loader{settings: settingsOf("run", &c), origin: map[string]given{}}
		s, _ := l.find("kafka.group")
		l.origin[s.name] = given{"--kafka.group", group}
		line := l.line(s, "group")
		if strings.ContainsAny(line, "\n\r") {
			t.Fatalf("%q is printed on several lines: %q", group, line)
		}
		if group == "" || strings.HasPrefix(line, "# ") {
			return
		}
		l.parseFile("f.yaml", []byte("kafka:\n  "+line+"\n"), l.origin)
		if got := l.origin[s.name].text; got != group || len(l.problems) > 0 {
			t.Errorf("%q is printed as %q and read as %q: %q", group, line, got, l.problems)
		}
	})
}

// A file that is not readable names its remedy, in config as in run.
func TestConfigSaysAllProblemsAtOnce(t *testing.T) {
	missing := write(t, "") + ".gone"
	if _, err := os.Stat(missing); err == nil {
		t.Fatal("it exists")
	}
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"config", "--agify.api_key_file", missing, "--sink.timeout", "5"}, nil, &stdout, &stderr)
	if code != exitUsage || stdout.Len() > 0 {
		t.Errorf("exit code %d, and on stdout: %s", code, stdout.String())
	}
	for _, want := range []string{"3 problems", "--agify.api_key_file: read " + missing + ": no such file or directory: create it, or correct the path", "--sink.timeout: ", "sink.url is required"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("want %q in %s", want, stderr.String())
		}
	}
}
