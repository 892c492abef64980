package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
)

// Hazard 22, for everything that the program says about its settings.
func TestSecretsAreNeverShown(t *testing.T) {
	const marker = "S3CR3T"
	const url = "https://hooks.example.com/" + marker
	const badURL = "hooks.example.com/" + marker
	urlFile, badURLFile, badKeyFile := write(t, url), write(t, badURL), write(t, marker+" "+marker)
	yaml := func(text string) []string { return []string{"--config", write(t, text)} }
	type env = map[string]string
	for _, c := range []struct {
		name string
		args []string
		env  env
	}{
		{"no scheme, flag", []string{"--sink.url", badURL}, nil},
		{"only a token, flag", []string{"--sink.url", marker}, nil},
		{"no scheme, variable", nil, env{"SIGNUP_SHEET_SINK_URL": badURL}},
		{"no scheme, the article's variable", nil, env{"SHEETS_WEBHOOK_URL": badURL}},
		{"no scheme, key", yaml("sink:\n  url: " + badURL), nil},
		{"no scheme, file", []string{"--sink.url_file", badURLFile}, nil},
		{"a URL that cannot be parsed", []string{"--sink.url", "https://%zz" + marker}, nil},
		{"set differently", []string{"--sink.url", url}, env{"SHEETS_WEBHOOK_URL": url + "2"}},
		{"both URL and file", []string{"--sink.url", url, "--sink.url_file", urlFile}, nil},
		{"the URL as the name of its file", []string{"--sink.url_file", url}, nil},
		{"the URL without its scheme as the name of its file", []string{"--sink.url_file", badURL}, nil},
		{"the key as the name of its file", []string{"--sink.url", url, "--agify.api_key_file", marker}, nil},
		{"the URL as the name of the settings", []string{"--config", url}, nil},
		{"the URL as a topic", []string{"--dead_letter.topic", url}, nil},
		{"the URL as a broker", []string{"--kafka.brokers", url}, nil},
		{"the URL for another URL", []string{"--agify.url", url + "?a=b"}, nil},
		{"a stray argument", []string{"--sink.url=", url}, nil},
		{"a wrong flag", []string{"--sink.ulr", url}, nil},
		{"a wrong flag in one argument", []string{"--sink.ulr=" + url}, nil},
		{"a flag that is the URL", []string{"--" + url}, nil},
		{"a wrong variable", nil, env{"SIGNUP_SHEET_SINK_ULR": url}},
		{"a key that is the URL", yaml("sink: {url:" + url + ", timeout: 5s}"), nil},
		{"a wrong key", yaml("sink: {ulr: " + url + "}"), nil},
		{"a text instead of keys", yaml("sink: " + url), nil},
		{"a list", yaml("sink: {url: [" + url + "]}"), nil},
		{"given twice", yaml("sink:\n  url: " + url + "\n  url: " + url), nil},
		{"not YAML, no space after the colon", yaml("sink:\n  timeout: 5s\n  url:" + url), nil},
		{"not YAML, an anchor", yaml("sink:\n  url: *" + marker), nil},
		{"not YAML, a tag", yaml("sink:\n  url: !" + marker + "!x " + url), nil},
		{"not YAML, an escape", yaml("sink:\n  url: \"\\q" + marker + "\""), nil},
		{"not YAML, a directive", yaml("%" + marker + " 1\n---\na: b"), nil},
		{"a tag", yaml("sink:\n  url: !" + marker + " " + badURL), nil},
		{"the file of the key", []string{"--sink.url", url, "--agify.api_key_file", badKeyFile}, nil},
		{"the password as the name of its file", []string{"--sink.url", url, "--kafka.sasl.mechanism", "plain", "--kafka.sasl.username", "u", "--kafka.sasl.password_file", marker}, nil},
		{"the file of the password", []string{"--sink.url", url, "--kafka.sasl.mechanism", "plain", "--kafka.sasl.username", "u", "--kafka.sasl.password_file", write(t, marker+"\n"+marker)}, nil},
		{"the file of the TLS key", []string{"--sink.url", url, "--kafka.tls.enabled", "--kafka.tls.certificate_file", badKeyFile, "--kafka.tls.key_file", badKeyFile}, nil},
		{"a secret in the URL for tokens", []string{"--sink.url", url, "--kafka.sasl.mechanism", "oauthbearer", "--kafka.sasl.token_url", "https://c:" + marker + "@id.example.com", "--kafka.sasl.client_id", "c", "--kafka.sasl.client_secret_file", urlFile}, nil},
		{"http", []string{"--sink.url", "http://hooks.example.com/" + marker}, nil},
		{"a token as the name of its file", []string{"--sink.url", url, "--sink.auth.mechanism", "bearer", "--sink.auth.token_file", marker}, nil},
		{"a token with its word", []string{"--sink.url", url, "--sink.auth.mechanism", "bearer", "--sink.auth.token_file", badKeyFile}, nil},
		{"a key as its header", []string{"--sink.url", url, "--sink.auth.mechanism", "api-key", "--sink.auth.header", marker + "/" + marker, "--sink.auth.token_file", badKeyFile}, nil},
		{"a whole header field as its name", []string{"--sink.url", url, "--sink.auth.mechanism", "api-key", "--sink.auth.header", "X-Api-Key: " + marker, "--sink.auth.token_file", badKeyFile}, nil},
		{"a user with the password", []string{"--sink.url", url, "--sink.auth.mechanism", "basic", "--sink.auth.username", "zofia:" + marker, "--sink.auth.password_file", badKeyFile}, nil},
		{"a token as the mechanism", []string{"--sink.url", url, "--sink.auth.mechanism", "Bearer " + marker}, nil},
		{"a signing secret that is none", []string{"--sink.url", url, "--sink.auth.mechanism", "hmac", "--sink.auth.secrets_file", badKeyFile}, nil},
		{"a user beside a token", []string{"--sink.url", "https://" + marker + ":" + marker + "@hooks.example.com", "--sink.auth.mechanism", "bearer", "--sink.auth.token_file", write(t, marker)}, nil},
		{"the key of the webhook's certificate", []string{"--sink.url", url, "--sink.tls.certificate_file", badKeyFile, "--sink.tls.key_file", badKeyFile}, nil},
		{"the command", []string{url}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"run"}, c.args...)
			if c.name == "the command" {
				args = c.args
			}
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), args, c.env, &stdout, &stderr); code != exitUsage {
				t.Errorf("exit code %d, want %d", code, exitUsage)
			}
			if stderr.Len() == 0 || strings.Contains(stdout.String()+stderr.String(), marker) {
				t.Errorf("the output is empty or has a secret: %s", stderr.String())
			}
		})
	}

	t.Run("the configuration printed in any way", func(t *testing.T) {
		c, err := load("run", []string{"--sink.url", url, "--agify.api_key_file", write(t, marker)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if string(c.Sink.URL) != url || string(c.Agify.APIKey) != marker {
			t.Fatal("the secrets did not arrive")
		}
		var out bytes.Buffer
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "config", c, "url", c.Sink.URL)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "config", c, "url", c.Sink.URL)
		newLogger(&out, logConfig{Format: "text"}).Info("x", "config", c, "url", c.Sink.URL)
		encoded, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(encoded)
		fmt.Fprintf(&out, "%v %+v %#v %v %q %x %s", c, c, c, c.Sink, c.Sink.URL, c.Sink.URL, c.Sink.URL)
		hex := fmt.Sprintf("%x", marker)
		if text := out.String(); strings.Contains(text, marker) || strings.Contains(text, hex) {
			t.Errorf("a secret is in %s", text)
		}
	})
}

// The key of agify is read again for each request as it was checked at the start: blanks, line breaks and a byte order mark around it are
// no part of it, and a file that is just being written gives none.
func TestAgifyKeyIsReadAsItWasChecked(t *testing.T) {
	for content, want := range map[string]string{"key": "key", "key\n": "key", "key\n\n": "key", " key \r\n": "key", "\ufeffkey\n": "key", "": "", "two words": "", "two\nlines": ""} {
		path := write(t, content)
		got, err := agifyKey(path)
		if want == "" && err == nil || want != "" && (err != nil || got != want) {
			t.Errorf("%q: %q, %v", content, got, err)
		}
		if c, loaded := load("run", []string{"--sink.url", testURL, "--agify.api_key_file", path}, nil); (loaded == nil) != (err == nil) || loaded == nil && string(c.Agify.APIKey) != got {
			t.Errorf("%q: at the start %v", content, loaded)
		}
	}
	if _, err := agifyKey(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a key of a file that is not there")
	}
}
