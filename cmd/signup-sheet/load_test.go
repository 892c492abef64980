package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"signup-sheet/internal/certificates"
)

const testURL = "https://hooks.example.com/sheet"

// write makes a file and returns its path.
func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "signup-sheet.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// problemsOf gives everything that load finds wrong.
func problemsOf(t *testing.T, args []string, env map[string]string) []string {
	t.Helper()
	_, err := load("run", args, env)
	if err == nil {
		return nil
	}
	usage, ok := errors.AsType[*usageError](err)
	if !ok {
		t.Fatalf("load returned a %T: %v", err, err)
	}
	return usage.problems
}

func TestDefaultsAreTheDocumentedOnes(t *testing.T) {
	got, err := load("run", nil, map[string]string{"SHEETS_WEBHOOK_URL": testURL})
	if err != nil {
		t.Fatal(err)
	}
	want := config{
		Kafka: kafkaConfig{
			Brokers: []string{"localhost:9092"}, Topic: "user.signup", Group: "signup-sheet",
			SessionTimeout: 10 * time.Second, HeartbeatInterval: time.Second,
			SASL: saslConfig{Mechanism: "none"},
		},
		Consumer: consumerConfig{
			Window: 4096, WindowBytes: 32 << 20, Order: "key", CommitInterval: time.Second,
			DrainTimeout: 10 * time.Second, Start: "earliest",
		},
		DeadLetter: deadLetterConfig{Topic: "user.signup.dlq", Budget: 20},
		Sink: sinkConfig{
			URL: testURL, Auth: sinkAuthConfig{Mechanism: "none"}, Concurrency: 64, Timeout: 5 * time.Second, Preset: "generic", MaxAttempts: 12, MaxElapsed: 15 * time.Minute,
			Columns:   []string{"event_id", "timestamp", "email", "name", "plan", "source", "utm_campaign", "age_guess", "metadata"},
			SheetSafe: true,
		},
		Agify: agifyConfig{
			Enabled: true, URL: "https://api.agify.io", Timeout: 3 * time.Second, CacheSize: 100_000, CacheTTL: 90 * 24 * time.Hour, UnknownTTL: 7 * 24 * time.Hour,
			BatchSize: 10, Linger: 5 * time.Millisecond, MinRemaining: 250, RequiredMaxWait: time.Hour,
		},
		Event:  eventConfig{MaxBytes: 1 << 20},
		Admin:  adminConfig{Listen: ":8080"},
		Log:    logConfig{Level: slog.LevelInfo, Format: "auto"},
		Replay: replayConfig{Share: 25},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := got.Consumer.rebalanceTimeout(); got != 20*time.Second {
		t.Errorf("rebalance timeout %s, want the drain and 10s", got)
	}
}

func TestFlagBeatsEnvironmentBeatsFileBeatsDefault(t *testing.T) {
	const variable = "SIGNUP_SHEET_KAFKA_TOPIC"
	file := write(t, "kafka:\n  topic: file\nsink:\n  url: "+testURL+"\n")
	other := write(t, "kafka:\n  topic: other\nsink:\n  url: "+testURL+"\n")
	for _, c := range []struct {
		name string
		args []string
		env  map[string]string
		want string
	}{
		{"default", []string{"--sink.url", testURL}, nil, "user.signup"},
		{"file", []string{"--config", file}, nil, "file"},
		{"file named by the environment", nil, map[string]string{"SIGNUP_SHEET_CONFIG": file}, "file"},
		{"file named by the flag", []string{"--config", file}, map[string]string{"SIGNUP_SHEET_CONFIG": other}, "file"},
		{"environment and file", []string{"--config", file}, map[string]string{variable: "env"}, "env"},
		{"all", []string{"--config", file, "--kafka.topic", "flag"}, map[string]string{variable: "env"}, "flag"},
		{"flag in one argument", []string{"--config=" + file, "--kafka.topic=flag"}, nil, "flag"},
		{"the last flag", []string{"--config", file, "--kafka.topic", "flag", "--kafka.topic=last"}, nil, "last"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := load("run", c.args, c.env)
			if err != nil {
				t.Fatal(err)
			}
			if got.Kafka.Topic != c.want {
				t.Errorf("topic %q, want %q", got.Kafka.Topic, c.want)
			}
		})
	}
}

// samples has a text that differs from the default for every setting, but for those that exclude another one.
func samples(t *testing.T) map[string]string {
	t.Helper()
	authority := certificates.NewAuthority(t)
	pair, dir := authority.Issue(t, "signup"), t.TempDir()
	return map[string]string{
		"kafka.brokers":                 "kafka-1:9092,kafka-2:9092",
		"kafka.topic":                   "events",
		"kafka.group":                   "sheet-2",
		"kafka.session_timeout":         "30s",
		"kafka.heartbeat_interval":      "3s",
		"kafka.tls.enabled":             "true",
		"kafka.tls.ca_file":             certificates.Write(t, dir, "ca.crt", authority.PEM),
		"kafka.tls.certificate_file":    certificates.Write(t, dir, "tls.crt", pair.Certificate),
		"kafka.tls.key_file":            certificates.Write(t, dir, "tls.key", pair.Key),
		"kafka.sasl.mechanism":          "oauthbearer",
		"kafka.sasl.token_url":          "https://id.example.com/token",
		"kafka.sasl.client_id":          "signup",
		"kafka.sasl.client_secret_file": write(t, "secret\n"),
		"kafka.sasl.scopes":             "kafka,events",
		"consumer.window":               "17",
		"consumer.window_bytes":         "64MiB",
		"consumer.order":                "none",
		"consumer.commit_interval":      "2s",
		"consumer.drain_timeout":        "21s",
		"consumer.start":                "latest",
		"dead_letter.topic":             "dead",
		"dead_letter.create":            "true",
		"dead_letter.budget":            "7",
		"dead_letter.force":             "1:2",
		"sink.url":                      testURL,
		"sink.allow_http":               "true",
		"sink.auth.mechanism":           "oauth2",
		"sink.auth.token_url":           "https://id.example.com/token",
		"sink.auth.client_id":           "signup",
		"sink.auth.client_secret_file":  write(t, "secret\n"),
		"sink.auth.scopes":              "rows,write",
		"sink.tls.ca_file":              write(t, string(authority.PEM)),
		"sink.tls.certificate_file":     write(t, string(pair.Certificate)),
		"sink.tls.key_file":             write(t, string(pair.Key)),
		"sink.preset":                   "zapier",
		"sink.concurrency":              "128",
		"sink.timeout":                  "6s",
		"sink.columns":                  "event_id,when=record.timestamp|date('2006, Jan', UTC),source='it''s, so'",
		"sink.sheet_safe":               "false",
		"sink.hash_key_file":            write(t, "0123456789abcdef\n"),
		"sink.max_body_bytes":           "2MiB",
		"sink.rate":                     "3.5/s",
		"sink.max_attempts":             "3",
		"sink.max_elapsed":              "1m",
		"sink.rules":                    "404=refused",
		"replay.share":                  "30",
		"agify.enabled":                 "false",
		"agify.url":                     "http://localhost:7",
		"agify.timeout":                 "4s",
		"agify.cache_size":              "9",
		"agify.cache_ttl":               "10h",
		"agify.unknown_ttl":             "11h",
		"agify.cache_topic":             "user.signup.ages",
		"agify.batch_size":              "12",
		"agify.linger":                  "13ms",
		"agify.min_remaining":           "14",
		"agify.required":                "true",
		"agify.required_max_wait":       "15m",
		"agify.api_key_file":            write(t, "key\n"),
		"event.max_bytes":               "2MiB",
		"admin.listen":                  "127.0.0.1:0",
		"log.level":                     "debug",
		"log.format":                    "json",
	}
}

func TestEverySettingHasFlagVariableAndKey(t *testing.T) {
	texts := samples(t)
	var args []string
	env := map[string]string{}
	var file strings.Builder
	var c config
	var levels []string // of the file, as the last key has them
	without := []string{
		"config", "kafka.sasl.username", "kafka.sasl.password_file", "kafka.sasl.token_file",
		"sink.url_file", "sink.auth.token_file", "sink.auth.header", "sink.auth.username", "sink.auth.password_file", "sink.auth.secrets_file",
	}
	for _, s := range settingsOf("run", &c) {
		text, ok := texts[s.name]
		if !ok {
			if !slices.Contains(without, s.name) {
				t.Fatalf("no sample for %s", s.name)
			}
			continue
		}
		args = append(args, s.flag()+"="+text)
		env[s.env()] = text
		parts := strings.Split(s.name, ".")
		key := len(parts) - 1
		for i, level := range parts[:key] {
			if len(levels) <= i || levels[i] != level {
				fmt.Fprintf(&file, "%s%s:\n", strings.Repeat("  ", i), level)
			}
		}
		fmt.Fprintf(&file, "%s%s: %s\n", strings.Repeat("  ", key), parts[key], text)
		levels = parts[:key]
	}

	byFlag, err := load("run", args, nil)
	if err != nil {
		t.Fatal(err)
	}
	byEnv, err := load("run", nil, env)
	if err != nil {
		t.Fatal(err)
	}
	byFile, err := load("run", []string{"--config", write(t, file.String())}, nil)
	if err != nil {
		t.Fatal(err)
	}
	byFile.File = ""
	if !reflect.DeepEqual(byFlag, byEnv) || !reflect.DeepEqual(byFlag, byFile) {
		t.Errorf("flags       %+v\nenvironment %+v\nfile        %+v", byFlag, byEnv, byFile)
	}
	defaults, err := load("run", []string{"--sink.url", testURL}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string][2]any{
		"kafka": {byFlag.Kafka, defaults.Kafka}, "consumer": {byFlag.Consumer, defaults.Consumer}, "log": {byFlag.Log, defaults.Log},
	} {
		got, fallback := reflect.ValueOf(pair[0]), reflect.ValueOf(pair[1])
		for i := range got.NumField() {
			if reflect.DeepEqual(got.Field(i).Interface(), fallback.Field(i).Interface()) {
				t.Errorf("%s: field %s kept its default", name, got.Type().Field(i).Name)
			}
		}
	}
}

func TestDerivedDefaultsFollowTheirSettings(t *testing.T) {
	base := []string{"--sink.url", testURL, "--kafka.topic", "events", "--sink.timeout", "7s", "--agify.timeout", "4s"}
	for _, c := range []struct {
		args  []string
		topic string
		drain time.Duration
	}{
		{nil, "events.dlq", 13 * time.Second},
		{[]string{"--agify.enabled=false"}, "events.dlq", 9 * time.Second},
		{[]string{"--consumer.drain_timeout", "0s", "--dead_letter.topic="}, "events.dlq", 13 * time.Second},
		{[]string{"--consumer.drain_timeout", "40s", "--dead_letter.topic", "dead"}, "dead", 40 * time.Second},
	} {
		got, err := load("run", slices.Concat(base, c.args), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got.DeadLetter.Topic != c.topic || got.Consumer.DrainTimeout != c.drain {
			t.Errorf("%q: %s, %s, want %s, %s", c.args, got.DeadLetter.Topic, got.Consumer.DrainTimeout, c.topic, c.drain)
		}
	}
}

func TestAllProblemsComeAtOnceAsTheOperatorWroteThem(t *testing.T) {
	file := write(t, `kafka:
  topik: events
  topic: 12
  group: a
  group: b
  brokers: [kafka-1:9092, "kafka-2"]
snik:
  url: x
kafka.group: x
consumer:
log:
  level:
config: x
event: {max_bytes: [1]}
admin: here
`)
	got := problemsOf(t, []string{
		"run", "--config", file, "--kafka.heartbeat_interval", "5s", "--sink.timeout", "ten", "--agify.enabled", "false",
		"--topic", "x", "--consumer.order=kye", "--agify.timeout",
	}, map[string]string{
		"SIGNUP_SHEET_BROKERS": "a:1", "SIGNUP_SHEET_KAFKA_TOPIK": "x", "SIGNUP_SHEET_SINK_CONCURRENCY": "0", "PATH": "/bin",
	})
	want := []string{
		`argument 1: want a flag: --name value, or --name=value for true and false`,
		`argument 9: want a flag: --name value, or --name=value for true and false`,
		`--topic: no such flag: did you mean --kafka.topic?`,
		`--agify.timeout: no value follows`,
		`SIGNUP_SHEET_BROKERS: no such environment variable: did you mean SIGNUP_SHEET_KAFKA_BROKERS?`,
		`SIGNUP_SHEET_KAFKA_TOPIK: no such environment variable: did you mean SIGNUP_SHEET_KAFKA_TOPIC?`,
		file + `:2: kafka.topik: no such key: did you mean kafka.topic?`,
		file + `:3: kafka.topic: want text: put it in quotes`,
		file + `:5: kafka.group: given twice, first in line 4: remove one`,
		file + `:7: snik: no such key: did you mean sink?`,
		file + `:9: kafka.group: write group: below kafka:`,
		file + `:12: log.level: has no value: give it one or remove the key`,
		file + `:13: config: cannot be set in the file: want --config or SIGNUP_SHEET_CONFIG`,
		file + `:14: event.max_bytes: want one value (size), not a list or keys`,
		file + `:15: admin: want keys with values here`,
		file + `:6: kafka.brokers: item 2: want host:port, such as kafka-1:9092, separated by commas, not "kafka-1:9092,kafka-2"`,
		`--consumer.order: want key or none, not "kye"`,
		`SIGNUP_SHEET_SINK_CONCURRENCY: want a whole number from 1 to 10000, not "0"`,
		`--sink.timeout: want a duration from 10ms to 10m with its unit, such as 500ms or 10s, not "ten"`,
		`sink.url is required: give it by --sink.url, SIGNUP_SHEET_SINK_URL, SHEETS_WEBHOOK_URL, sink.url in the file, or sink.url_file`,
		`--kafka.heartbeat_interval (5s) must be at most a third of kafka.session_timeout (10s, the default), or the group takes the process for dead when two heartbeats are late: lower the first or raise the second`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestServiceLinksOfKubernetesAreNotSettings(t *testing.T) {
	links := map[string]string{
		"SIGNUP_SHEET_SERVICE_HOST":              "10.0.0.11",
		"SIGNUP_SHEET_SERVICE_PORT":              "8080",
		"SIGNUP_SHEET_SERVICE_PORT_HTTP":         "8080",
		"SIGNUP_SHEET_PORT":                      "tcp://10.0.0.11:8080",
		"SIGNUP_SHEET_PORT_8080_TCP":             "tcp://10.0.0.11:8080",
		"SIGNUP_SHEET_PORT_8080_TCP_PROTO":       "tcp",
		"SIGNUP_SHEET_PORT_8080_TCP_PORT":        "8080",
		"SIGNUP_SHEET_PORT_8080_TCP_ADDR":        "10.0.0.11",
		"SIGNUP_SHEET_METRICS_SERVICE_HOST":      "10.0.0.12",
		"SIGNUP_SHEET_METRICS_PORT":              "tcp://10.0.0.12:80",
		"SIGNUP_SHEET_METRICS_PORT_53_UDP_PROTO": "udp",
		"SHEETS_WEBHOOK_URL":                     testURL,
	}
	if got := problemsOf(t, nil, links); got != nil {
		t.Errorf("links were taken for settings: %q", got)
	}
	mistake := map[string]string{"SIGNUP_SHEET_PORT": "9090", "SHEETS_WEBHOOK_URL": testURL}
	if got := problemsOf(t, nil, mistake); len(got) != 1 {
		t.Errorf("a port that somebody set got %q, want one problem", got)
	}
}

func TestSinkURLHasOneSource(t *testing.T) {
	urlFile := write(t, " "+testURL+" \n")
	inFile := write(t, "sink:\n  url: "+testURL+"\n")
	const other = "https://hooks.example.com/other"
	type env = map[string]string
	for _, c := range []struct {
		name string
		args []string
		env  env
		want string // the problem, empty for none
	}{
		{"flag", []string{"--sink.url", testURL}, nil, ""},
		{"variable", nil, env{"SIGNUP_SHEET_SINK_URL": testURL}, ""},
		{"the article's variable", nil, env{"SHEETS_WEBHOOK_URL": testURL}, ""},
		{"a variable with the line break of the Secret's file", nil, env{"SIGNUP_SHEET_SINK_URL": testURL + "\n", "SHEETS_WEBHOOK_URL": testURL + "\r\n"}, ""},
		{"the article's variable, empty", []string{"--sink.url", testURL}, env{"SHEETS_WEBHOOK_URL": ""}, ""},
		{"key", []string{"--config", inFile}, nil, ""},
		{"secret file with a byte order mark", []string{"--sink.url_file", write(t, "\ufeff"+testURL+"\r\n")}, nil, ""},
		{"secret file", []string{"--sink.url_file", urlFile}, nil, ""},
		{"both variables, the same", nil, env{"SIGNUP_SHEET_SINK_URL": testURL, "SHEETS_WEBHOOK_URL": testURL}, ""},
		{
			"both variables, different", nil,
			env{"SIGNUP_SHEET_SINK_URL": testURL, "SHEETS_WEBHOOK_URL": other},
			"SIGNUP_SHEET_SINK_URL and SHEETS_WEBHOOK_URL are set differently: remove one",
		},
		{
			"key and the article's variable, different",
			[]string{"--config", inFile},
			env{"SHEETS_WEBHOOK_URL": other},
			inFile + ":2: sink.url and SHEETS_WEBHOOK_URL are set differently: remove one",
		},
		{
			"URL and secret file",
			[]string{"--sink.url_file", urlFile},
			env{"SHEETS_WEBHOOK_URL": testURL},
			"SHEETS_WEBHOOK_URL and --sink.url_file are both set: remove one",
		},
		{"none", nil, nil, "sink.url is required: give it by --sink.url, SIGNUP_SHEET_SINK_URL, SHEETS_WEBHOOK_URL, sink.url in the file, or sink.url_file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := load("run", c.args, c.env)
			switch {
			case err == nil && c.want == "":
				if got.Sink.URL != testURL {
					t.Errorf("got another URL")
				}
			case err == nil || err.Error() != c.want:
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestTimingThatLosesTheLeaseIsRefused(t *testing.T) {
	for _, c := range []struct{ args, first, second string }{
		{"--kafka.heartbeat_interval=3334ms", "--kafka.heartbeat_interval (3334ms)", "kafka.session_timeout (10s, the default)"},
		{"--kafka.session_timeout=2s", "kafka.heartbeat_interval (1s, the default)", "--kafka.session_timeout (2s)"},
		{"--consumer.commit_interval=3334ms", "--consumer.commit_interval (3334ms)", "kafka.session_timeout (10s, the default)"},
		{"--consumer.drain_timeout=5999ms", "--consumer.drain_timeout (5999ms)", "sink.timeout (5s, the default)"},
		{"--consumer.window_bytes=1023KiB", "--consumer.window_bytes (1023KiB)", "event.max_bytes (1MiB, the default)"},
		{"--event.max_bytes=33MiB", "consumer.window_bytes (32MiB, the default)", "--event.max_bytes (33MiB)"},
		{"--agify.linger=500ms --agify.timeout=500ms", "--agify.linger (500ms)", "--agify.timeout (500ms)"},
		{"--dead_letter.topic=user.signup", "--dead_letter.topic (user.signup)", "kafka.topic (user.signup, the default)"},
		{"--agify.cache_topic=user.signup", "--agify.cache_topic (user.signup)", "kafka.topic (user.signup, the default)"},
		{"--agify.cache_topic=user.signup.dlq", "--agify.cache_topic (user.signup.dlq)", "dead_letter.topic (user.signup.dlq, the default)"},
	} {
		got := problemsOf(t, append([]string{"--sink.url", testURL}, strings.Fields(c.args)...), nil)
		if !slices.ContainsFunc(got, func(p string) bool {
			return strings.HasPrefix(p, c.first) && strings.Contains(p, c.second)
		}) {
			t.Errorf("%s: got %q, want a problem with %s and %s", c.args, got, c.first, c.second)
		}
	}
	// The last values that are right.
	args := []string{
		"--sink.url", testURL, "--kafka.session_timeout=9s", "--kafka.heartbeat_interval=3s", "--consumer.commit_interval=3s",
		"--consumer.drain_timeout=6s", "--consumer.window_bytes=1MiB",
	}
	if got := problemsOf(t, args, nil); got != nil {
		t.Errorf("refused: %q", got)
	}
}

func TestValuesOutOfRangeOrOfTheWrongTypeAreRefused(t *testing.T) {
	for _, arg := range []string{
		"--kafka.brokers=", "--kafka.brokers=localhost", "--kafka.brokers=a:1,,b:2", "--kafka.brokers=a:0", "--kafka.brokers=SASL_SSL://a:1",
		"--kafka.topic=", "--kafka.topic=..", "--kafka.topic=a/b", "--kafka.topic=" + strings.Repeat("a", 246), "--kafka.topic=" + strings.Repeat("a", 250),
		"--kafka.group=", "--kafka.group= ", "--kafka.session_timeout=10", "--kafka.session_timeout=-10s", "--kafka.session_timeout=31m",
		"--kafka.heartbeat_interval=0s", "--consumer.window=0", "--consumer.window=1e3", "--consumer.window=", "--consumer.window_bytes=1.5MiB",
		"--consumer.window_bytes=-1", "--consumer.order=Key", "--consumer.start=oldest", "--consumer.commit_interval=0s",
		"--sink.concurrency=10001", "--sink.timeout=0s", "--sink.url=ftp://a", "--sink.url=https://", "--sink.url=hooks.example.com/x",
		"--agify.enabled=yes", "--agify.url=", "--agify.url=https://u:p@a", "--agify.url=https://a?apikey=x", "--agify.cache_size=0", "--agify.cache_topic=a/b",
		"--event.max_bytes=0", "--admin.listen=8080", "--admin.listen=http://:8080", "--log.level=trace", "--log.format=logfmt",
		"--config=/nowhere/at/all", "--config=/", "--sink.url_file=/nowhere/at/all", "--agify.api_key_file=/nowhere/at/all",
	} {
		args := []string{"--sink.url", testURL, arg}
		if strings.HasPrefix(arg, "--sink.url_file") {
			args = []string{arg}
		}
		name, _, _ := strings.Cut(arg, "=")
		got := problemsOf(t, args, nil)
		if len(got) != 1 || !strings.Contains(got[0], strings.TrimPrefix(name, "--")) {
			t.Errorf("%.60s: got %q, want one problem that names it", arg, got)
		}
	}
}

func TestFilesThatAreTooLargeAreNotRead(t *testing.T) {
	for _, flag := range []string{"--config", "--agify.api_key_file"} {
		path := write(t, strings.Repeat("#", largestFile+1))
		want := []string{flag + ": read " + path + ": want a file of at most 1MiB"}
		if got := problemsOf(t, []string{"--sink.url", testURL, flag, path}, nil); !slices.Equal(got, want) {
			t.Errorf("got %.200q, want %q", got, want)
		}
	}
}

func TestNamesAreUniqueAndFollowOnePattern(t *testing.T) {
	var c config
	seen := map[string]bool{}
	for _, s := range settingsOf("run", &c) {
		for _, name := range []string{s.flag(), s.env()} {
			if seen[name] {
				t.Errorf("%s names two settings", name)
			}
			seen[name] = true
		}
		if s.help == "" || s.name != strings.ToLower(s.name) || !namePattern.MatchString(s.name) {
			t.Errorf("%s: want help, and a name of lower-case letters, dots and underscores", s.name)
		}
	}
}

func TestAnEmptyAdminAddressMeansNoServer(t *testing.T) {
	c, err := load("run", []string{"--sink.url", testURL}, map[string]string{"SIGNUP_SHEET_ADMIN_LISTEN": ""})
	if err != nil || c.Admin.Listen != "" {
		t.Errorf("listen %q, %v", c.Admin.Listen, err)
	}
}
