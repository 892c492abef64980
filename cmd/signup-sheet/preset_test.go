package main

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"signup-sheet/sink"
)

// A preset gives defaults, and what the operator gives counts before it.
func TestPresetGivesDefaults(t *testing.T) {
	env := map[string]string{"SHEETS_WEBHOOK_URL": "https://script.google.com/macros/s/x/exec"}
	for name, c := range map[string]struct {
		args []string
		want sinkConfig
	}{
		"none":        {nil, sinkConfig{Preset: "generic", Concurrency: 64, Timeout: 5 * time.Second}},
		"apps-script": {[]string{"--sink.preset", "apps-script"}, sinkConfig{Preset: "apps-script", Concurrency: 4, Timeout: time.Minute, MaxBodyBytes: 2e6}},
		"slack":       {[]string{"--sink.preset", "slack"}, sinkConfig{Preset: "slack", Concurrency: 1, Timeout: 10 * time.Second, Rate: 0.8}},
		"overridden": {
			[]string{"--sink.preset", "make", "--sink.concurrency", "3", "--sink.timeout", "7s", "--sink.rate", "2.5/s", "--sink.max_body_bytes", "1MiB"},
			sinkConfig{Preset: "make", Concurrency: 3, Timeout: 7 * time.Second, Rate: 2.5, MaxBodyBytes: 1 << 20},
		},
	} {
		got, err := load("run", c.args, env)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		s := got.Sink
		if s.Preset != c.want.Preset || s.Concurrency != c.want.Concurrency || s.Timeout != c.want.Timeout || s.Rate != c.want.Rate || s.MaxBodyBytes != c.want.MaxBodyBytes {
			t.Errorf("%s: %+v, want %+v", name, s, c.want)
		}
		to := consumerOf(got, slog.New(slog.DiscardHandler)).Sink
		if to.Preset != s.Preset || to.Concurrency != s.Concurrency || to.Timeout != s.Timeout || to.Rate != s.Rate || to.MaxBodyBytes != s.MaxBodyBytes {
			t.Errorf("%s: the sink is told %+v", name, to)
		}
		if drain := s.Timeout + got.Agify.Timeout + drainMargin; got.Consumer.DrainTimeout != drain {
			t.Errorf("%s: the drain has %v, want %v", name, got.Consumer.DrainTimeout, drain)
		}
	}
}

func TestPresetThatDoesNotExistIsAMistakeThatNamesThoseThatDo(t *testing.T) {
	_, err := load("run", []string{"--sink.preset", "zappier"}, map[string]string{"SHEETS_WEBHOOK_URL": "https://hooks.zapier.com/x"})
	if err == nil {
		t.Fatal("taken")
	}
	for _, name := range append(sink.PresetNames(), "--sink.preset", "zappier") {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q does not name %s", err, name)
		}
	}
}

// What config prints is what a preset gives, and can be given again.
func TestPresetDefaultsAreShownInEffect(t *testing.T) {
	_, l := read("config", []string{"--sink.preset", "hubspot", "--sink.timeout", "9s"}, map[string]string{"SHEETS_WEBHOOK_URL": "https://api.hubapi.com/x"})
	if err := l.err(); err != nil {
		t.Fatal(err)
	}
	text := l.effective()
	for _, line := range []string{
		"  preset: hubspot  # --sink.preset",
		"  concurrency: 8  # default: 64; by sink.preset if one is set",
		"  timeout: 9s  # --sink.timeout",
		"  rate: 7/s  # default: as many as the webhook takes; by sink.preset if one is set",
		"  # max_body_bytes:  # default: any size; by sink.preset if one is set",
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}
}

func TestRateMayBeLessThanOneASecond(t *testing.T) {
	for text, want := range map[string]float64{"0.8/s": 0.8, "20": 20, "0.001": 0.001, "100000/s": 100_000} {
		var got float64
		if err := requestRate(&got).set(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "-1", "100001", "NaN", "Inf", "1e9", "20/min", "x"} {
		if err := requestRate(new(float64)).set(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// A webhook at a host that there is a preset for, without one, is said so in the log, without its path.
func TestPresetIsSuggestedByTheHost(t *testing.T) {
	for _, c := range []struct {
		url    secret
		preset string
		want   string
	}{
		{"https://hooks.zapier.com/hooks/catch/1/s3cret/", "generic", "preset=zapier"},
		{"https://hooks.zapier.com/hooks/catch/1/s3cret/", "zapier", ""},
		{"https://hooks.zapier.com/hooks/catch/1/s3cret/", "make", ""},
		{"https://sheet.example/s3cret", "generic", ""},
	} {
		var out strings.Builder
		sinkConfig{URL: c.url, Preset: c.preset}.suggestPreset(slog.New(slog.NewTextHandler(&out, nil)))
		if strings.Contains(out.String(), "s3cret") || c.want == "" && out.String() != "" || !strings.Contains(out.String(), c.want) {
			t.Errorf("%s with %s: %q", redacted, c.preset, out.String())
		}
	}
}
