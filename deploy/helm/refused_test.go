package helm_test

import (
	"strings"
	"testing"

	"signup-sheet/internal/charttest"
)

func TestValuesThatCannotWorkAreRefused(t *testing.T) {
	for _, c := range []struct{ name, values, want string }{
		{"a secret in config", "config: {sink: {url: https://hooks.example.com/secret}}", "config.sink.url is a secret"},
		{"no brokers", "config: {kafka: {brokers: null}}", "config.kafka.brokers is missing"},
		{"no webhook", `secrets: {sink: {url_file: {existingSecret: ""}}}`, "secrets.sink.url_file.existingSecret is missing"},
		{"two files for one setting", "config: {sink: {url_file: /vault/url}}", "config.sink.url_file and secrets.sink.url_file.existingSecret are both set"},
		{"a duration without unit", "config: {sink: {timeout: 5}}", `config.sink.timeout: want a duration with its unit, such as 10s, not "5"`},
		{"a duration that is none", "config: {consumer: {drain_timeout: soon}}", `config.consumer.drain_timeout: want a duration`},
		{"probes that cannot connect", `config: {admin: {listen: "127.0.0.1:8080"}}`, "config.admin.listen: want a port on all addresses"},
		{"no admin server", `config: {admin: {listen: ""}}`, "config.admin.listen: want a port on all addresses"},
		{"a setting as variable", "env: [{name: SIGNUP_SHEET_KAFKA_TOPIC, value: events}]", "SIGNUP_SHEET_KAFKA_TOPIC is a setting of the program"},
		{"the webhook as variable", "env: [{name: SHEETS_WEBHOOK_URL, value: x}]", "SHEETS_WEBHOOK_URL is a setting of the program"},
		{"a second memory limit", "env: [{name: GOMEMLIMIT, value: 1GiB}]", "GOMEMLIMIT follows resources.limits.memory"},

		// The rest is said by the schema, in Helm's words.
		{"a misspelt value", "replicaCount: 3", "replicaCount"},
		{"a misspelt secret", "secrets: {sink: {urlfile: {existingSecret: x}}}", "urlfile"},
		{"a setting without its group", "config: {topic: events}", "/config/topic"},
		{"replicas as text", `replicas: "two"`, "/replicas"},
		{"a budget of nothing", "podDisruptionBudget: {maxUnavailable: 0}", "/podDisruptionBudget/maxUnavailable"},
		{"a budget of no percent", `podDisruptionBudget: {maxUnavailable: "0%"}`, "/podDisruptionBudget/maxUnavailable"},
		{"memory in milli", "resources: {limits: {memory: 268435456000m}}", "/resources/limits/memory"},
		{"a digest that is a tag", "image: {digest: latest}", "/image/digest"},
		{"a name that cannot be", "fullnameOverride: Sheet_1", "/fullnameOverride"},
		{"a key that cannot be", "secrets: {sink: {url_file: {key: a/b}}}", "/secrets/sink/url_file/key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := render(t, c.values)
			if err == nil {
				t.Fatal("it is rendered")
			}
			if text := err.Error(); !strings.Contains(text, c.want) || strings.Contains(text, "hooks.example.com") {
				t.Errorf("want %q, and no secret, in %s", c.want, text)
			}
		})
	}
}

func TestAllProblemsAreSaidAtOnce(t *testing.T) {
	_, err := charttest.Render(t, "--set", "config.sink.timeout=5,config.admin.listen=localhost:1,secrets.agify.api_key_file.existingSecret=a,config.agify.api_key_file=/a")
	if err == nil {
		t.Fatal("it is rendered")
	}
	for _, want := range []string{
		"config.kafka.brokers is missing", "secrets.sink.url_file.existingSecret is missing", "--namespace sales", "config.sink.timeout",
		"config.admin.listen", "config.agify.api_key_file and secrets.agify.api_key_file.existingSecret",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}

func TestOlderKubernetesIsRefused(t *testing.T) {
	if _, err := render(t, "", "--kube-version", "1.31.9"); err == nil || !strings.Contains(err.Error(), "kubeVersion: >=1.32.0-0") {
		t.Errorf("Kubernetes 1.31: %v", err)
	}
	if _, err := render(t, "", "--kube-version", "v1.32.4-gke.100"); err != nil {
		t.Errorf("Kubernetes 1.32 of a vendor: %v", err)
	}
}
