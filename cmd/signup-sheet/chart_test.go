package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"signup-sheet/internal/charttest"
	"signup-sheet/sink"
)

// sampleOf is a text that a setting takes and that is not its default. Numbers come first in their large form, which Helm likes to
// write with an exponent.
func sampleOf(t *testing.T, s setting) string {
	t.Helper()
	for _, text := range []string{"1000000", "7000", "9s", "9ms", "3MiB", "true", "false", ":9090", "https://example.com", "host-1:9093", "latest", "some-text", "email", "7", "1:2", "404=refused", "9/s"} {
		if text != s.fallback && s.value.set(text) == nil {
			return text
		}
	}
	for word := range strings.FieldsSeq(strings.NewReplacer(",", "", " or ", " ").Replace(s.value.unit)) { // of a choice
		if word != s.fallback && s.value.set(word) == nil {
			return word
		}
	}
	t.Fatalf("%s: no sample for a %s: add one", s.name, s.value.unit)
	return ""
}

// nest sets the value of a dotted name in nested maps.
func nest(tree map[string]any, name string, value any) {
	keys := strings.Split(name, ".")
	for _, key := range keys[:len(keys)-1] {
		if tree[key] == nil {
			tree[key] = map[string]any{}
		}
		tree = tree[key].(map[string]any)
	}
	tree[keys[len(keys)-1]] = value
}

// values writes a values file for Helm.
func values(t *testing.T, tree map[string]any) []string {
	t.Helper()
	text, err := yaml.Dump(tree)
	if err != nil {
		t.Fatal(err)
	}
	return charttest.Values(t, string(text))
}

// settingsIn reads the program's YAML as the program does, without judging what the settings mean together.
func settingsIn(t *testing.T, text string) map[string]given {
	t.Helper()
	var c config
	l := &loader{settings: settingsOf("run", &c), origin: map[string]given{}, broken: map[string]bool{}}
	found := map[string]given{}
	l.parseFile("config.yaml", []byte(text), found)
	if len(l.problems) > 0 {
		t.Fatalf("the program refuses what the chart wrote: %s\n%s", strings.Join(l.problems, "\n"), text)
	}
	return found
}

func TestChartReachesEverySetting(t *testing.T) {
	var c config
	config, want := map[string]any{}, map[string]string{}
	for _, s := range settingsOf("run", &c) {
		if s.fileless || s.secret {
			continue
		}
		text := sampleOf(t, s)
		want[s.name] = text
		var value any = text
		if !s.value.words {
			if err := yaml.Load([]byte(text), &value); err != nil {
				t.Fatal(err)
			}
		}
		if s.value.unit == "list" {
			want[s.name], value = text+","+text, []any{text, text}
		}
		nest(config, s.name, value)
	}
	// These have rules of their own in the chart.
	delete(config["consumer"].(map[string]any), "drain_timeout")
	nest(config, "consumer.drain_timeout", "9s")
	want["consumer.drain_timeout"] = "9s"

	got := settingsIn(t, charttest.MustRender(t, values(t, map[string]any{"config": config})...).Config(t))
	for name, text := range want {
		if got[name].text != text {
			t.Errorf("%s: the program reads %q, want %q", name, got[name].text, text)
		}
	}
}

// A setting that names a file has an entry in the chart's values, and an entry is such a setting.
func TestChartMountsEverySecret(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(charttest.Root(t), charttest.Chart, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var chart struct{ Secrets map[string]any }
	if err := yaml.Load(text, &chart); err != nil {
		t.Fatal(err)
	}
	var entries []string
	var walk func(path string, tree map[string]any)
	walk = func(path string, tree map[string]any) {
		if _, leaf := tree["existingSecret"]; leaf {
			entries = append(entries, path)
			return
		}
		for key, below := range tree {
			walk(strings.TrimPrefix(path+"."+key, "."), below.(map[string]any))
		}
	}
	walk("", chart.Secrets)

	var c config
	var files []string
	for _, s := range settingsOf("run", &c) {
		if strings.HasSuffix(s.name, "_file") {
			files = append(files, s.name)
		}
	}
	slices.Sort(entries)
	slices.Sort(files)
	if !slices.Equal(entries, files) {
		t.Errorf("the chart's secrets are not the program's files:\n%v\n%v", entries, files)
	}
}

func TestChartRefusesSecretsInItsConfig(t *testing.T) {
	var c config
	for _, s := range settingsOf("run", &c) {
		if !s.secret {
			continue
		}
		tree := map[string]any{}
		nest(tree, s.name, "https://hooks.example.com/secret")
		_, err := charttest.Render(t, values(t, map[string]any{"config": tree})...)
		if err == nil || !strings.Contains(err.Error(), "config."+s.name+" is a secret") {
			t.Errorf("config.%s: %v", s.name, err)
		}
	}
}

// secretFile is what a Secret's key for a setting holds.
func secretFile(t *testing.T, setting string) string {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	switch {
	case setting == "sink.url_file":
		return testURL + "\n"
	case setting == "sink.auth.secrets_file":
		return "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"
	case strings.Contains(setting, ".tls.key"):
		key, err := x509.MarshalPKCS8PrivateKey(server.TLS.Certificates[0].PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	case strings.Contains(setting, ".tls."):
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	}
	return "secret"
}

// loadRendered loads what the chart renders, with the files that it mounts.
func loadRendered(t *testing.T, m charttest.Manifests) (config, error) {
	t.Helper()
	dir := t.TempDir()
	text := m.Config(t)
	for name, g := range settingsIn(t, text) {
		if g.text == "/etc/signup-sheet/secrets/"+name {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(secretFile(t, name)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	text = strings.ReplaceAll(text, "/etc/signup-sheet/secrets", dir)
	text = strings.ReplaceAll(text, "/vault/secrets/webhook", write(t, testURL)) // put there by other means
	return load("run", []string{"--config", write(t, text)}, nil)
}

func TestProgramTakesWhatTheChartRenders(t *testing.T) {
	for name, path := range charttest.Cases(t) {
		t.Run(name, func(t *testing.T) {
			if _, err := loadRendered(t, charttest.MustRender(t, "--values", path)); err != nil {
				t.Error(err)
			}
		})
	}
}

// SIGKILL comes after the drain, the last commit, leaving the group and the admin server's last answers, and not minutes after.
func TestChartGivesTheDrainItsTime(t *testing.T) {
	const after = 500*time.Millisecond + time.Second + adminStop
	configs := []string{
		"sink: {preset: slack, timeout: 45s}",
		"", "consumer: {drain_timeout: 1m30s}", "consumer: {drain_timeout: 6.2s}", "consumer: {drain_timeout: 0}", "sink: {timeout: 45s}",
		"sink: {timeout: 1m}", "sink: {timeout: 1500ms}", "agify: {timeout: 20s}", "agify: {enabled: false, timeout: 20s}",
		"sink: {timeout: 1m30.5s}, agify: {timeout: .5s}", "consumer: {drain_timeout: 1h}, sink: {timeout: 10m}",
	}
	for _, preset := range sink.PresetNames() {
		configs = append(configs, "sink: {preset: "+preset+"}")
	}
	for _, config := range configs {
		m := charttest.MustRender(t, append(charttest.Values(t, "config: {"+config+"}"),
			"--set", "config.kafka.brokers={kafka-1:9092}", "--set", "secrets.sink.url_file.existingSecret=sheet-webhook")...)
		c, err := loadRendered(t, m)
		if err != nil {
			t.Fatal(err)
		}
		var grace int
		if _, err := fmt.Sscan(fmt.Sprint(m.Objects["Deployment"].At("spec", "template", "spec", "terminationGracePeriodSeconds")), &grace); err != nil {
			t.Fatal(err)
		}
		got := time.Duration(grace) * time.Second
		if least := c.Consumer.DrainTimeout + after; got < least || got > least+15*time.Second {
			t.Errorf("%s: the grace period is %s, want %s and a margin", config, got, least)
		}
	}
}
