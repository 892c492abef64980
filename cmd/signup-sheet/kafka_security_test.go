package main

import (
	"strings"
	"testing"

	"signup-sheet/internal/certificates"
)

func TestSecurityThatDoesNotFitTogetherIsNamedAllAtOnce(t *testing.T) {
	authority := certificates.NewAuthority(t)
	one, other := authority.Issue(t, "one"), authority.Issue(t, "other")
	dir := t.TempDir()
	file := func(name string, content []byte) string { return certificates.Write(t, dir, name, content) }
	ca, certificate, key := file("ca.crt", authority.PEM), file("tls.crt", one.Certificate), file("tls.key", one.Key)
	otherKey, password, empty, missing := file("other.key", other.Key), file("password", []byte("S3CR3T\n")), file("empty", nil), dir+"/missing"
	for _, c := range []struct {
		name string
		args []string
		env  map[string]string
		want []string // all problems
	}{
		{"TLS", []string{"--kafka.tls.enabled", "--kafka.tls.ca_file", ca, "--kafka.tls.certificate_file", certificate, "--kafka.tls.key_file", key}, nil, nil},
		{"files without TLS", []string{"--kafka.tls.ca_file", ca}, map[string]string{"SIGNUP_SHEET_KAFKA_TLS_KEY_FILE": key}, []string{
			"--kafka.tls.ca_file has no effect without TLS: set kafka.tls.enabled to true, or remove it",
			"SIGNUP_SHEET_KAFKA_TLS_KEY_FILE has no effect without TLS: set kafka.tls.enabled to true, or remove it",
		}},
		{"no key", []string{"--kafka.tls.enabled", "--kafka.tls.certificate_file", certificate}, nil, []string{
			"--kafka.tls.certificate_file needs its key: set kafka.tls.key_file",
		}},
		{"no certificate", []string{"--kafka.tls.enabled", "--kafka.tls.key_file", key}, nil, []string{
			"--kafka.tls.key_file needs its certificate: set kafka.tls.certificate_file",
		}},
		{"files that cannot be used", []string{
			"--kafka.tls.enabled", "--kafka.tls.ca_file", missing, "--kafka.tls.certificate_file", certificate, "--kafka.tls.key_file", otherKey,
			"--kafka.sasl.mechanism", "plain", "--kafka.sasl.username", "u", "--kafka.sasl.password_file", empty,
		}, nil, []string{
			"--kafka.tls.ca_file: read " + missing + ": no such file or directory",
			"--kafka.tls.certificate_file, --kafka.tls.key_file: certificate " + certificate + " with key " + otherKey + ": tls: private key does not match public key",
			"--kafka.sasl.password_file: " + empty + " is empty",
		}},
		{"a login", []string{"--kafka.sasl.mechanism", "scram-sha-512", "--kafka.sasl.username", "u", "--kafka.sasl.password_file", password}, nil, nil},
		{"an unknown login", []string{"--kafka.sasl.mechanism", "gssapi", "--kafka.sasl.username", "u"}, nil, []string{
			`--kafka.sasl.mechanism: want none, plain, scram-sha-256, scram-sha-512 or oauthbearer, not "gssapi"`,
		}},
		{"half a login", []string{"--kafka.sasl.mechanism", "plain"}, nil, []string{
			"--kafka.sasl.mechanism (plain) needs kafka.sasl.username: set it",
			"--kafka.sasl.mechanism (plain) needs kafka.sasl.password_file: set it",
		}},
		{"a login that is off", []string{"--kafka.sasl.username", "u", "--kafka.sasl.token_file", password}, nil, []string{
			"--kafka.sasl.username has no effect here: remove it, or change kafka.sasl.mechanism (none, the default)",
			"--kafka.sasl.token_file has no effect here: remove it, or change kafka.sasl.mechanism (none, the default)",
		}},
		{"a token in a file", []string{"--kafka.sasl.mechanism", "oauthbearer", "--kafka.sasl.token_file", password}, nil, nil},
		{"client credentials", []string{
			"--kafka.sasl.mechanism", "oauthbearer", "--kafka.sasl.token_url", "https://id.example.com/token", "--kafka.sasl.client_id", "c",
			"--kafka.sasl.client_secret_file", password, "--kafka.sasl.scopes", "a,b",
		}, nil, nil},
		{"no token", []string{"--kafka.sasl.mechanism", "oauthbearer"}, nil, []string{
			"--kafka.sasl.mechanism (oauthbearer) needs a token: set kafka.sasl.token_file, or kafka.sasl.token_url with kafka.sasl.client_id and kafka.sasl.client_secret_file",
		}},
		{"two tokens", []string{"--kafka.sasl.mechanism", "oauthbearer", "--kafka.sasl.token_file", password, "--kafka.sasl.token_url", "https://id.example.com"}, nil, []string{
			"--kafka.sasl.token_file and --kafka.sasl.token_url are both set: remove one",
		}},
		{"half of the client credentials", []string{
			"--kafka.sasl.mechanism", "oauthbearer", "--kafka.sasl.token_url", "https://id.example.com", "--kafka.sasl.client_secret_file", missing, "--kafka.sasl.username", "u",
		}, nil, []string{
			"--kafka.sasl.mechanism (oauthbearer) needs kafka.sasl.client_id: set it",
			"--kafka.sasl.username has no effect here: remove it, or change --kafka.sasl.mechanism (oauthbearer)",
			"--kafka.sasl.client_secret_file: read " + missing + ": no such file or directory",
		}},
		{"scopes for a token in a file", []string{"--kafka.sasl.mechanism", "oauthbearer", "--kafka.sasl.token_file", password, "--kafka.sasl.scopes", "a"}, nil, []string{
			"--kafka.sasl.scopes has no effect here: remove it, or change --kafka.sasl.mechanism (oauthbearer)",
		}},
		{"settings that are given as nothing", nil, map[string]string{"SIGNUP_SHEET_KAFKA_SASL_USERNAME": "", "SIGNUP_SHEET_KAFKA_TLS_CA_FILE": ""}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := problemsOf(t, append([]string{"--sink.url", testURL}, c.args...), c.env)
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("problems:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(c.want, "\n  "))
			}
		})
	}
}

// A login that can be read on its way is a warning, not an error: below us a mesh or a VPN may encrypt.
func TestALoginThatIsNotEncryptedIsAWarning(t *testing.T) {
	password := write(t, "S3CR3T")
	for _, c := range []struct {
		brokers, mechanism string
		tls                bool
		warns              bool
	}{
		{"kafka-1:9092", "plain", false, true},
		{"127.0.0.1:9092,10.0.0.1:9092", "plain", false, true},
		{"localhost:9092,127.0.0.1:9092,[::1]:9092", "plain", false, false},
		{"kafka-1:9092", "plain", true, false},
		{"kafka-1:9092", "scram-sha-256", false, false},
		{"kafka-1:9092", "none", false, false},
	} {
		args := []string{"--sink.url", testURL, "--kafka.brokers", c.brokers, "--kafka.sasl.mechanism", c.mechanism}
		if c.mechanism != "none" {
			args = append(args, "--kafka.sasl.username", "u", "--kafka.sasl.password_file", password)
		}
		if c.tls {
			args = append(args, "--kafka.tls.enabled")
		}
		cfg, err := load("run", args, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := cfg.Kafka.sendsSecretInClear(); got != c.warns {
			t.Errorf("%s, %s, TLS %v: %v, want %v", c.brokers, c.mechanism, c.tls, got, c.warns)
		}
	}
}
