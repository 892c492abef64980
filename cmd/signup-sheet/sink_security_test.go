package main

import (
	"strings"
	"testing"

	"signup-sheet/internal/certificates"
)

func TestSecurityOfTheWebhookThatDoesNotFitTogetherIsNamedAllAtOnce(t *testing.T) {
	authority := certificates.NewAuthority(t)
	one, other := authority.Issue(t, "one"), authority.Issue(t, "other")
	dir := t.TempDir()
	file := func(name, content string) string { return certificates.Write(t, dir, name, []byte(content)) }
	ca, certificate, key := file("ca.crt", string(authority.PEM)), file("tls.crt", string(one.Certificate)), file("tls.key", string(one.Key))
	otherKey, token, empty, missing := file("other.key", string(other.Key)), file("token", "S3CR3T\n"), file("empty", ""), dir+"/missing"
	signing, plain := file("signing", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"), file("url", "http://hooks.example.com/S3CR3T\n")
	url := []string{"--sink.url", testURL}
	mechanism := func(name string, args ...string) []string {
		return append([]string{"--sink.url", testURL, "--sink.auth.mechanism", name}, args...)
	}
	for _, c := range []struct {
		name string
		args []string
		env  map[string]string
		want []string // all problems
	}{
		{"TLS", append(url, "--sink.tls.ca_file", ca, "--sink.tls.certificate_file", certificate, "--sink.tls.key_file", key), nil, nil},
		{"no key", append(url, "--sink.tls.certificate_file", certificate), nil, []string{"--sink.tls.certificate_file needs its key: set sink.tls.key_file"}},
		{"no certificate", append(url, "--sink.tls.key_file", key), nil, []string{"--sink.tls.key_file needs its certificate: set sink.tls.certificate_file"}},
		{"TLS without TLS", []string{"--sink.url", "http://localhost:8000/S3CR3T", "--sink.tls.ca_file", ca, "--sink.tls.key_file", key}, nil, []string{
			"--sink.tls.ca_file has no effect with a URL that begins with http://: change --sink.url, or remove it",
			"--sink.tls.key_file has no effect with a URL that begins with http://: change --sink.url, or remove it",
		}},
		{"http", nil, map[string]string{"SHEETS_WEBHOOK_URL": "http://hooks.example.com/S3CR3T"}, []string{
			"SHEETS_WEBHOOK_URL: the URL begins with http://, so all on the way could read signups and secrets: want https://, or set sink.allow_http to true",
		}},
		{"http from a file", []string{"--sink.url_file", plain}, nil, []string{
			"--sink.url_file: the URL begins with http://, so all on the way could read signups and secrets: want https://, or set sink.allow_http to true",
		}},
		{"http that is allowed", []string{"--sink.url_file", plain, "--sink.allow_http"}, nil, nil},
		{"http to this machine", []string{"--sink.url", "http://127.0.0.1:8000/x"}, nil, nil},
		{"an unknown mechanism", mechanism("digest", "--sink.auth.username", "u"), nil, []string{
			`--sink.auth.mechanism: want none, bearer, api-key, basic, oauth2 or hmac, not "digest"`,
		}},
		{"files that cannot be used", mechanism("hmac", "--sink.auth.secrets_file", token, "--sink.tls.ca_file", missing, "--sink.tls.certificate_file", certificate, "--sink.tls.key_file", otherKey), nil, []string{
			"--sink.tls.ca_file: read " + missing + ": no such file or directory",
			"--sink.tls.certificate_file, --sink.tls.key_file: certificate " + certificate + " with key " + otherKey + ": tls: private key does not match public key",
			"--sink.auth.secrets_file: line 1 of the file is no secret of Standard Webhooks: want whsec_ and base64 of 24 to 64 random bytes",
		}},
		{"bearer", mechanism("bearer", "--sink.auth.token_file", token), nil, nil},
		{"bearer without token", mechanism("bearer"), nil, []string{"--sink.auth.mechanism (bearer) needs sink.auth.token_file: set it"}},
		{"bearer with nothing", mechanism("bearer", "--sink.auth.token_file", empty), nil, []string{"--sink.auth.token_file: " + empty + " is empty"}},
		{"api-key", mechanism("api-key", "--sink.auth.token_file", token, "--sink.auth.header", "X-Api-Key"), nil, nil},
		{"half an api-key", mechanism("api-key", "--sink.auth.header", "Content-Length"), nil, []string{
			`--sink.auth.header: Content-Length has a meaning of its own: want a header field for the key alone, such as X-Api-Key, not "Content-Length"`,
			"--sink.auth.mechanism (api-key) needs sink.auth.token_file: set it",
		}},
		{"basic", mechanism("basic", "--sink.auth.username", "u", "--sink.auth.password_file", token), nil, nil},
		{"half of basic and what is of others", mechanism("basic", "--sink.auth.username", "u", "--sink.auth.token_file", token, "--sink.auth.scopes", "a"), nil, []string{
			"--sink.auth.mechanism (basic) needs sink.auth.password_file: set it",
			"--sink.auth.token_file has no effect here: remove it, or change --sink.auth.mechanism (basic)",
			"--sink.auth.scopes has no effect here: remove it, or change --sink.auth.mechanism (basic)",
		}},
		{"two users", []string{"--sink.url", "https://u:S3CR3T@hooks.example.com/", "--sink.auth.mechanism", "bearer", "--sink.auth.token_file", token}, nil, []string{
			"--sink.url: has a user, which would be sent where sink.auth.mechanism sends something else: remove one",
		}},
		{"oauth2", mechanism("oauth2", "--sink.auth.token_url", "https://id.example.com/t", "--sink.auth.client_id", "c", "--sink.auth.client_secret_file", token, "--sink.auth.scopes", "a,b"), nil, nil},
		{"half of oauth2", mechanism("oauth2", "--sink.auth.token_url", "http://id.example.com/t", "--sink.auth.client_secret_file", missing), nil, []string{
			"--sink.auth.mechanism (oauth2) needs sink.auth.client_id: set it",
			"--sink.auth.token_url: the URL begins with http://, so all on the way could read the client's secret: want https://, or set sink.allow_http to true",
			"--sink.auth.client_secret_file: read " + missing + ": no such file or directory",
		}},
		{"hmac beside TLS and a user", []string{"--sink.url", "https://u:S3CR3T@hooks.example.com/", "--sink.auth.mechanism", "hmac", "--sink.auth.secrets_file", signing, "--sink.tls.ca_file", ca}, nil, nil},
		{"settings of no mechanism", append(url, "--sink.auth.username", "u"), nil, []string{
			"--sink.auth.username has no effect here: remove it, or change sink.auth.mechanism (none, the default)",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := problemsOf(t, c.args, c.env)
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("problems:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(c.want, "\n  "))
			}
			if strings.Contains(strings.Join(got, ""), "S3CR3T") {
				t.Error("a secret is shown")
			}
		})
	}
}
