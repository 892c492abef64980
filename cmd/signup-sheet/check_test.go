package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"signup-sheet/internal/kafkatest"
	"signup-sheet/internal/ports"
)

// endpoint serves HTTP or HTTPS and counts requests, of which check sends none.
func endpoint(t *testing.T, start func(*httptest.Server)) *httptest.Server {
	t.Helper()
	var requests atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	start(server)
	t.Cleanup(func() {
		server.Close()
		if n := requests.Load(); n > 0 {
			t.Errorf("%d requests were sent", n)
		}
	})
	return server
}

// online is what check --online says, and its exit code.
func online(t *testing.T, args ...string) (int, string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), append([]string{"check", "--online"}, args...), nil, &stdout, &stderr)
	if stderr.Len() > 0 {
		t.Errorf("stderr: %s", stderr.String())
	}
	return code, stdout.String()
}

// prepared is a cluster with the topics, as flags.
func prepared(t *testing.T) []string {
	t.Helper()
	cluster, topic := kafkatest.Start(t), kafkatest.UniqueName(t)
	cluster.CreateTopic(t, topic, 3, nil)
	cluster.CreateTopic(t, topic+".dlq", 1, nil)
	return []string{"--kafka.brokers", strings.Join(cluster.Addrs(), ","), "--kafka.topic", topic, "--kafka.group", topic}
}

func TestCheckOnlineTicksWhatWorks(t *testing.T) {
	webhook, agify := endpoint(t, (*httptest.Server).Start), endpoint(t, (*httptest.Server).Start)
	const secret = "/S3CR3T?token=S3CR3T"
	flags := append(prepared(t), "--sink.url", webhook.URL+secret, "--agify.url", agify.URL, "--agify.cache_topic", "not.there.yet")
	code, out := online(t, flags...)
	if code != exitFine || strings.Contains(out, "✗") {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{
		"configuration is fine\n", "✓ broker ", "✓ addresses of the cluster: ", "✓ group ", ": 3 partitions, READ is allowed\n",
		"cleanup.policy=delete\n", "✓ shared topic not.there.yet: does not exist yet; ", ", kept in not.there.yet\n", "✓ webhook " + webhook.URL + ": connected\n", "✓ agify " + agify.URL + ": connected\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("want %q", want)
		}
	}
	if strings.Contains(out, "S3CR3T") {
		t.Error("a secret is shown")
	}
	if t.Failed() {
		t.Log(out)
	}
}

// Every failure has its line with a remedy, and the others are tried all the same.
func TestCheckOnlineNamesWhatFails(t *testing.T) {
	unknown := endpoint(t, (*httptest.Server).StartTLS) // by an authority that nobody knows
	plain := endpoint(t, (*httptest.Server).Start)
	closed := ports.Reserve(t).Address()
	flags := prepared(t)
	for _, c := range []struct {
		name string
		args []string
		want []string // parts of the line that fails
	}{
		{
			"unknown authority",
			[]string{"--sink.url", unknown.URL + "/S3CR3T", "--agify.enabled=false"},
			[]string{"✗ webhook " + unknown.URL + ": ", "unknown authority", "add the authority"},
		},
		{
			"TLS against a plain port",
			[]string{"--sink.url", "https://" + plain.Listener.Addr().String() + "/S3CR3T", "--agify.enabled=false"},
			[]string{"✗ webhook https://", "the port speaks no TLS: correct the port or the scheme in sink.url"},
		},
		{
			"nobody listens",
			[]string{"--sink.url", "http://" + closed + "/S3CR3T", "--agify.enabled=false"},
			[]string{"✗ webhook http://" + closed + ": ", "connection refused: correct host and port in sink.url"},
		},
		{
			"no such name",
			[]string{"--sink.url", plain.URL, "--agify.url", "https://no-such..host"},
			[]string{"✗ agify https://no-such..host: ", "correct the host in agify.url"},
		},
		{
			"no such topic",
			[]string{"--sink.url", plain.URL, "--agify.enabled=false", "--dead_letter.topic", "gone"},
			[]string{`✗ dead_letter.topic: topic "gone" does not exist: create it, or correct the setting`},
		},
		{
			"no broker",
			[]string{"--sink.url", plain.URL, "--agify.enabled=false", "--kafka.brokers", closed},
			[]string{"✗ broker " + closed + ": ", "connection refused", "correct host and port"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out := online(t, append(flags, c.args...)...)
			if code != exitFailed {
				t.Errorf("exit code %d, want %d", code, exitFailed)
			}
			var failed []string
			for line := range strings.Lines(out) {
				if strings.HasPrefix(line, "✗ ") {
					failed = append(failed, line)
				}
			}
			if len(failed) != 1 {
				t.Fatalf("%d failures, want 1:\n%s", len(failed), out)
			}
			for _, part := range c.want {
				if !strings.Contains(failed[0], part) {
					t.Errorf("want %q in %s", part, failed[0])
				}
			}
			if strings.Contains(out, "S3CR3T") || !strings.HasSuffix(out, "\n1 failed\n") {
				t.Errorf("a secret is shown, or failures are not counted:\n%s", out)
			}
		})
	}
}

// onlineProcess is check --online as a process of its own, because net/http and crypto/x509 look at the environment once.
func onlineProcess(t *testing.T, variable string, args ...string) (string, error) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, append(append([]string{"check", "--online", "--agify.enabled=false"}, args...), prepared(t)...)...)
	cmd.Env = []string{asProgram + "=1", variable}
	if _, err := cmd.StdinPipe(); err != nil { // stays open as long as this process lives
		t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// A certificate of an authority that the machine trusts.
func TestCheckOnlineShakesHands(t *testing.T) {
	webhook := endpoint(t, func(s *httptest.Server) {
		s.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
		s.StartTLS()
	})
	authorities := filepath.Join(t.TempDir(), "authorities.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: webhook.Certificate().Raw})
	if err := os.WriteFile(authorities, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := onlineProcess(t, "SSL_CERT_FILE="+authorities, "--sink.url", webhook.URL+"/S3CR3T")
	if err != nil || !strings.Contains(out, "✓ webhook "+webhook.URL+": connected, TLS 1.3, certificate valid until ") {
		t.Errorf("%v:\n%s", err, out)
	}
}

// Behind a proxy, the proxy is what can be tried without a request.
func TestCheckOnlineTriesTheProxy(t *testing.T) {
	proxy := endpoint(t, (*httptest.Server).Start)
	out, err := onlineProcess(t, "HTTPS_PROXY=http://user:S3CR3T@"+proxy.Listener.Addr().String(), "--sink.url", "https://hooks.example.com/S3CR3T")
	want := "✓ webhook https://hooks.example.com by the proxy " + proxy.Listener.Addr().String() + ": connected with the proxy; what is behind it was not tried\n"
	if err != nil || !strings.Contains(out, want) || strings.Contains(out, "S3CR3T") {
		t.Errorf("%v: want %q in\n%s", err, want, out)
	}
}
