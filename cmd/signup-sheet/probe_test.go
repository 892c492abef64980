package main

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"signup-sheet/internal/ports"
)

// probedWith runs probe against a server that answers with handler, and returns the exit code and what it says.
func probedWith(t *testing.T, start func(*httptest.Server), handler http.HandlerFunc, args ...string) (code int, out string) {
	t.Helper()
	var requests atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		handler(w, r)
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	start(server)
	defer server.Close()
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), append([]string{"probe", "--sink.url", server.URL + "/S3CR3T?key=S3CR3T"}, args...), nil, &stdout, &stderr)
	if stderr.Len() > 0 {
		t.Errorf("stderr: %s", stderr.String())
	}
	if strings.Contains(stdout.String(), "S3CR3T") {
		t.Errorf("a secret is shown: %s", stdout.String())
	}
	if n := requests.Load(); n > 1 {
		t.Errorf("%d requests", n)
	}
	return code, stdout.String()
}

// A probe that works, and the usual reasons why one does not, over the wire. All that endpoints answer is tried in package sink.
func TestProbeExplainsTheAnswer(t *testing.T) {
	says := func(status int, header, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if !bytes.Contains(body, []byte(`"name":"signup-sheet test row"`)) {
				t.Errorf("it sent %s", body)
			}
			if name, value, ok := strings.Cut(header, ": "); ok {
				w.Header().Set(name, value)
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text+" "+r.URL.Path)
		}
	}
	for _, c := range []struct {
		name    string
		start   func(*httptest.Server)
		handler http.HandlerFunc
		args    []string
		code    int
		want    []string
	}{
		{"accepted", (*httptest.Server).Start, says(200, "X-Request-Id: r-17", "thanks"), nil, 0, []string{"✓ 200 OK after ", "request id r-17", "it says: thanks /[masked]", "run would count it as delivered", "look once whether the row is in the sheet"}},
		{"expired token", (*httptest.Server).Start, says(401, `WWW-Authenticate: Bearer error="invalid_token"`, "expired"), nil, 1, []string{"✗ 401 Unauthorized after", "verdict endpoint, unauthorised", "The token has expired"}},
		{"rate limited", (*httptest.Server).Start, says(429, "Retry-After: 8", "slow down"), nil, 1, []string{"✗ 429 Too Many Requests", "send nothing for 8s"}},
		{"refused", (*httptest.Server).Start, says(422, "", "no such column"), nil, 1, []string{"verdict refused: ", "dead-letter it, if", "it says: no such column"}},
		{"self-signed", (*httptest.Server).StartTLS, says(200, "", ""), nil, 1, []string{"✗ tls: the certificate is signed by an unknown authority", "self-signed"}},
		{"redirect", (*httptest.Server).Start, says(302, "Location: https://accounts.google.com/S3CR3T", ""), nil, 1, []string{"✗ 302 Found, to https://accounts.google.com after", "Google asks for a login"}},
		{"hang", (*httptest.Server).Start, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // only then the server sees that nobody waits
			<-r.Context().Done()
		}, []string{"--sink.timeout", "100ms"}, 1, []string{"✗ no answer in time after", "within sink.timeout"}},
		{"TLS 1.3 only, and plain HTTP", func(s *httptest.Server) {
			s.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
			s.StartTLS()
			s.URL = strings.Replace(s.URL, "https:", "http:", 1)
		}, says(200, "", ""), nil, 1, []string{"✗ 400 Bad Request", "begin sink.url with https://"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out := probedWith(t, c.start, c.handler, c.args...)
			all := strings.Join(strings.Fields(out), " ")
			if code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			for _, want := range append(c.want, "POST http", "/[secret]", `"event_id":"signup-sheet-probe-`) {
				if !strings.Contains(all, want) {
					t.Errorf("want %q", want)
				}
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}

// What a probe says of the ways to authenticate and to encrypt.
func TestProbeExplainsAuthenticationAndTLS(t *testing.T) {
	token := func(status int, text string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	wants := func(header string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasPrefix(r.Header.Get("Authorization")+r.Header.Get("Webhook-Signature"), header) {
				w.WriteHeader(http.StatusUnauthorized)
			}
		}
	}
	oauth := []string{"--sink.auth.mechanism", "oauth2", "--sink.auth.client_id", "me", "--sink.auth.client_secret_file", write(t, "S3CR3T"), "--sink.auth.token_url"}
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
		args    []string
		code    int
		want    []string
	}{
		{"no token", wants("Bearer"), nil, 1, []string{"✗ 401 Unauthorized", "sink.auth.mechanism"}},
		{"a token", wants("Bearer S3CR3T"), []string{"--sink.auth.mechanism", "bearer", "--sink.auth.token_file", write(t, "S3CR3T")}, 0, []string{"✓ 200 OK", "Authorization: [secret]"}},
		{"a signature", wants("v1,"), []string{"--sink.auth.mechanism", "hmac", "--sink.auth.secrets_file", write(t, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")}, 0, []string{"✓ 200 OK"}},
		{"an access token", wants("Bearer S3CR3T"), append(slices.Clone(oauth), token(200, `{"access_token":"S3CR3T","token_type":"Bearer","expires_in":3600}`)), 0, []string{"✓ 200 OK"}},
		{"no access token", wants("Bearer S3CR3T"), append(slices.Clone(oauth), token(401, `{"error":"invalid_client"}`)), 1, []string{"verdict endpoint, token", "No row was sent", "sink.auth.client_id"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out := probedWith(t, (*httptest.Server).Start, c.handler, c.args...)
			for _, want := range c.want {
				if code != c.code || !strings.Contains(strings.Join(strings.Fields(out), " "), want) {
					t.Errorf("exit code %d, want %q in\n%s", code, want, out)
				}
			}
		})
	}

	t.Run("a certificate of one's own", func(t *testing.T) {
		server := httptest.NewTLSServer(wants(""))
		defer server.Close()
		authorities := write(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), []string{"probe", "--sink.url", server.URL, "--sink.tls.ca_file", authorities}, nil, &stdout, &stderr); code != exitFine {
			t.Errorf("exit code %d: %s%s", code, stdout.String(), stderr.String())
		}
	})
	t.Run("plain HTTP to another machine", func(t *testing.T) {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), []string{"probe", "--sink.url", "http://hooks.example.com/S3CR3T"}, nil, &stdout, &stderr)
		if code != exitUsage || stdout.Len() > 0 || !strings.Contains(stderr.String(), "want https://, or set sink.allow_http") || strings.Contains(stderr.String(), "S3CR3T") {
			t.Errorf("exit code %d: %s%s", code, stdout.String(), stderr.String())
		}
	})
}

// A proxy that is not there is the proxy's trouble, not the endpoint's. Its password is shown to nobody.
func TestProbeExplainsAProxyThatIsAway(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "probe", "--sink.url", "https://hooks.example.com/S3CR3T")
	cmd.Env = []string{asProgram + "=1", "HTTPS_PROXY=http://me:S3CR3T@" + ports.Reserve(t).Address()}
	if _, err := cmd.StdinPipe(); err != nil { // stays open as long as this process lives
		t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	all := strings.Join(strings.Fields(string(out)), " ")
	if err == nil || !strings.Contains(all, "✗ proxy: connection refused") || !strings.Contains(all, "check HTTPS_PROXY") || strings.Contains(all, "S3CR3T") {
		t.Errorf("%v:\n%s", err, out)
	}
}

// Whoever answers cannot control the terminal of the one who probes.
func TestProbeEscapesWhatItIsTold(t *testing.T) {
	_, out := probedWith(t, (*httptest.Server).Start, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "\x1b[2J\u009b2J"+strings.Repeat("x", 2000))
	})
	_, redirected := probedWith(t, (*httptest.Server).Start, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "https://a%C2%9B2J.example/")
		w.WriteHeader(http.StatusFound)
	})
	if strings.Contains(redirected, "\u009b") || !strings.Contains(redirected, `to https://a\u009b2J.example`) {
		t.Errorf("%q", redirected)
	}
	if strings.ContainsAny(out, "\x1b\u009b") || strings.Contains(out, strings.Repeat("x", 500)) || !strings.Contains(out, "verdict     endpoint, rejected: ") {
		t.Errorf("%q", out)
	}
}

// An endpoint that repeats all that it was sent, in all places of an answer that are shown, has no secret shown.
func TestProbeShowsNoSecretThatIsRepeated(t *testing.T) {
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"S3CR3T-access","token_type":"Bearer","expires_in":3600}`)
	}))
	defer tokens.Close()
	for name, args := range map[string][]string{
		"none":    nil,
		"bearer":  {"--sink.auth.mechanism", "bearer", "--sink.auth.token_file", write(t, "S3CR3T-bearer")},
		"api-key": {"--sink.auth.mechanism", "api-key", "--sink.auth.header", "X-Sheet-Key", "--sink.auth.token_file", write(t, "S3CR3T-key")},
		"basic":   {"--sink.auth.mechanism", "basic", "--sink.auth.username", "me", "--sink.auth.password_file", write(t, "S3CR3T-password")},
		"oauth2":  {"--sink.auth.mechanism", "oauth2", "--sink.auth.client_id", "me", "--sink.auth.client_secret_file", write(t, "S3CR3T-client"), "--sink.auth.token_url", tokens.URL},
		"hmac":    {"--sink.auth.mechanism", "hmac", "--sink.auth.secrets_file", write(t, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")},
	} {
		for _, status := range []int{200, 302, 403, 422, 503} {
			sent := ""
			_, out := probedWith(t, (*httptest.Server).Start, func(w http.ResponseWriter, r *http.Request) {
				head, _ := httputil.DumpRequest(r, false)
				sent = r.Header.Get("Authorization")
				said := strings.Join(strings.Fields(string(head)), " ")
				for _, field := range []string{"X-Request-Id", "Www-Authenticate"} {
					w.Header().Set(field, said)
				}
				for _, values := range r.Header {
					w.Header().Add("X-Request-Id", values[0])
				}
				w.Header().Set("Location", "https://me:S3CR3T@elsewhere.example"+r.URL.String())
				w.WriteHeader(status)
				_, _ = w.Write(head)
			}, args...)
			if !strings.Contains(out, "HTTP/1.1") || !strings.Contains(out, "[masked]") {
				t.Errorf("%s, %d: what was said is missing in\n%s", name, status, out)
			}
			if credential := strings.TrimPrefix(strings.TrimPrefix(sent, "Basic "), "Bearer "); credential != "" && strings.Contains(out, credential) {
				t.Errorf("%s, %d: it shows %s in\n%s", name, status, credential, out)
			}
		}
	}
}
