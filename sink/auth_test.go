package sink

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"signup-sheet/credentials"
	"signup-sheet/internal/certificates"
)

// signingSecret returns a secret of Standard Webhooks of so many bytes.
func signingSecret(seed byte, size int) string {
	key := make([]byte, size)
	for i := range key {
		key[i] = seed + byte(i)
	}
	return secretPrefix + base64.StdEncoding.EncodeToString(key)
}

// fileOf writes a file with a secret.
func fileOf(t *testing.T, content string) credentials.Text {
	t.Helper()
	return credentials.Text(certificates.Write(t, t.TempDir(), "secret", []byte(content)))
}

func TestEachMechanismSendsItsFieldsAndNoOther(t *testing.T) {
	for _, c := range []struct {
		name, url string
		auth      func(*testing.T) Auth
		want      map[string]string
	}{
		{"none", "http://127.0.0.1/hook", func(*testing.T) Auth { return Auth{Mechanism: AuthNone} }, nil},
		{"bearer", "http://127.0.0.1/hook", func(t *testing.T) Auth {
			return Auth{Mechanism: AuthBearer, TokenFile: fileOf(t, "1|abc.def~/+==\r\n")}
		}, map[string]string{"Authorization": "Bearer 1|abc.def~/+=="}},
		{"api-key", "http://127.0.0.1/hook", func(t *testing.T) Auth {
			return Auth{Mechanism: AuthAPIKey, Header: "x-make-apikey", TokenFile: fileOf(t, "k e y")}
		}, map[string]string{"X-Make-Apikey": "k e y"}},
		{"api-key in Authorization", "http://127.0.0.1/hook", func(t *testing.T) Auth {
			return Auth{Mechanism: AuthAPIKey, Header: "authorization", TokenFile: fileOf(t, "Token 7\n")}
		}, map[string]string{"Authorization": "Token 7"}},
		{"api-key beside the URL's user", "http://me:pass@127.0.0.1/hook", func(t *testing.T) Auth {
			return Auth{Mechanism: AuthAPIKey, Header: "X-Api-Key", TokenFile: fileOf(t, "7")}
		}, map[string]string{"Authorization": "Basic bWU6cGFzcw==", "X-Api-Key": "7"}},
		{"basic", "http://127.0.0.1/hook", func(t *testing.T) Auth {
			return Auth{Mechanism: AuthBasic, Username: "zofia", PasswordFile: fileOf(t, "pä:ss \n")}
		}, map[string]string{"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte("zofia:pä:ss "))}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got http.Header
				e := newEndpoint(t, func(_ int, _ http.ResponseWriter, r *http.Request) { got = r.Header })
				s := e.sink(t, func(cfg *Config) { cfg.URL, cfg.Auth = c.url, c.auth(t) })
				for range 2 { // the second time in the same envelope
					if err := s.Deliver(t.Context(), row("7")); err != nil {
						t.Fatal(err)
					}
					for name, value := range c.want {
						if got.Get(name) != value || len(got.Values(name)) != 1 {
							t.Errorf("%s: %q, want %q", name, got.Values(name), value)
						}
					}
					if len(got) != len(c.want)+4 { // Content-Type, Content-Length, User-Agent, Idempotency-Key
						t.Errorf("%v", got)
					}
				}
			})
		})
	}
}

// The reference library is the judge, with each of the secrets. Every attempt is signed anew: a receiver refuses what is
// older than five minutes.
func TestEveryAttemptIsSignedAnewForEverySecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secrets := []string{signingSecret(1, 24), signingSecret(2, 64), signingSecret(3, 32)}
		type seen struct{ id, timestamp string }
		var attempts []seen
		check := func(w http.ResponseWriter, r *http.Request, body []byte) {
			for i, secret := range secrets {
				hook, err := standardwebhooks.NewWebhook(secret)
				if err != nil {
					t.Fatal(err)
				}
				if err := hook.Verify(body, r.Header); err != nil {
					t.Errorf("secret %d: %v", i, err)
				}
				if err := hook.Verify(append(body, ' '), r.Header); err == nil {
					t.Error("another body has the same signature")
				}
			}
			attempts = append(attempts, seen{r.Header.Get("Webhook-Id"), r.Header.Get("Webhook-Timestamp")})
			if n := len(attempts); n < 8 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}
		e := &endpoint{}
		e.serve(t, func(n int, w http.ResponseWriter, r *http.Request) { check(w, r, []byte(e.body(n))) })
		s := e.sink(t, func(c *Config) {
			c.Auth = Auth{Mechanism: AuthHMAC, SecretsFile: fileOf(t, "\n"+strings.Join(secrets, "\r\n")+"\n\n")}
		})
		if err := s.Deliver(t.Context(), Row{EventID: "ą", HeaderID: "msg_1", Body: []byte(`{"name":"Żofia & Ann <3"}`)}); err != nil {
			t.Fatal(err)
		}
		timestamps := map[string]bool{}
		for _, a := range attempts {
			if a.id != "msg_1" {
				t.Errorf("webhook-id %q, want the same every time", a.id)
			}
			timestamps[a.timestamp] = true
		}
		if len(attempts) != 8 || len(timestamps) < 5 {
			t.Errorf("%d attempts with %d timestamps", len(attempts), len(timestamps))
		}
	})
}

// The example of the specification.
func TestTheSignatureOfTheSpecification(t *testing.T) {
	keys, err := signingKeys([]string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})
	if err != nil {
		t.Fatal(err)
	}
	s := newSigner(keys)
	for range 2 {
		timestamp, signature := s.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
		if timestamp != "1614265330" || signature != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
			t.Errorf("%s %s", timestamp, signature)
		}
	}
}

func TestTracesArePassedOnIfTheyAreOnes(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	synctest.Test(t, func(t *testing.T) {
		var got http.Header
		e := newEndpoint(t, func(_ int, _ http.ResponseWriter, r *http.Request) { got = r.Header })
		s := e.sink(t)
		for _, c := range []struct{ parent, state, wantParent, wantState string }{
			{parent, "", parent, ""},
			{parent, "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", parent, "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"},
			{"", "rojo=1", "", ""},
			{parent, "rojo=1\r\nX: y", parent, ""},
			{parent, "no member", parent, ""},
			{parent, "a=" + strings.Repeat("x", 511), parent, ""},
			{"01" + parent[2:], "", "01" + parent[2:], ""},
			{strings.ToUpper(parent), "rojo=1", "", ""},
			{"ff" + parent[2:], "", "", ""},
			{parent + "-more", "", "", ""},
			{parent[:54], "", "", ""},
			{"00-00000000000000000000000000000000-b7ad6b7169203331-01", "", "", ""},
			{"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", "", "", ""},
			{"00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01", "", "", ""},
			{"", "", "", ""},
		} {
			r := row("7")
			r.TraceParent, r.TraceState = c.parent, c.state
			if err := s.Deliver(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if got.Get("Traceparent") != c.wantParent || got.Get("Tracestate") != c.wantState {
				t.Errorf("%q %q: sent %v", c.parent, c.state, got)
			}
		}
	})
}

// What is wrong is named without what is in it, and all at once.
func TestAuthenticationThatCannotWorkIsRefused(t *testing.T) {
	const marker = "S3CR3T"
	secret := signingSecret(9, 32)
	for _, c := range []struct {
		name string
		cfg  func(*testing.T, *Config)
		want []string
	}{
		{"a mechanism that is none", func(_ *testing.T, c *Config) { c.Auth.Mechanism = "digest" }, []string{"sink.auth.mechanism: want one of none, bearer, "}},
		{"no token", func(_ *testing.T, c *Config) { c.Auth.Mechanism = AuthBearer }, []string{"sink.auth.token_file: "}},
		{"a token with its word", func(t *testing.T, c *Config) {
			c.Auth = Auth{Mechanism: AuthBearer, TokenFile: fileOf(t, "Bearer "+marker)}
		}, []string{"sink.auth.token_file: ", "without Bearer before it"}},
		{"a token on two lines", func(t *testing.T, c *Config) {
			c.Auth = Auth{Mechanism: AuthBearer, TokenFile: fileOf(t, marker+"\n\n")}
		}, []string{"more than one line"}},
		{"a token that is too long", func(t *testing.T, c *Config) {
			c.Auth = Auth{Mechanism: AuthBearer, TokenFile: fileOf(t, strings.Repeat(marker, 2000))}
		}, []string{"longer than 8192 bytes"}},
		{"a key that no header carries", func(t *testing.T, c *Config) {
			c.Auth = Auth{Mechanism: AuthAPIKey, Header: "X-Api-Key", TokenFile: fileOf(t, marker+"\tż")}
		}, []string{"no header field can carry"}},
		{"a key with a blank behind it", func(t *testing.T, c *Config) {
			c.Auth = Auth{Mechanism: AuthAPIKey, Header: "X-Api-Key", TokenFile: fileOf(t, marker+" ")}
		}, []string{"no header field can carry"}},
		{"two problems", func(_ *testing.T, c *Config) { c.Auth = Auth{Mechanism: AuthAPIKey, Header: "X Api"} }, []string{"sink.auth.token_file: ", "sink.auth.header: want the name of a header field"}},
		{"a header with a meaning", func(t *testing.T, c *Config) {
			c.Auth = Auth{Mechanism: AuthAPIKey, Header: "transfer-encoding", TokenFile: fileOf(t, marker)}
		}, []string{"Transfer-Encoding has a meaning of its own"}},
		{"a user with a colon", func(t *testing.T, c *Config) {
			c.Auth = Auth{Mechanism: AuthBasic, Username: "a:b", PasswordFile: fileOf(t, marker)}
		}, []string{"sink.auth.username: want a name without colon"}},
		{"no client", func(_ *testing.T, c *Config) { c.Auth = Auth{Mechanism: AuthOAuth2} }, []string{"sink.auth.client_id", "sink.auth.client_secret_file", "sink.auth.token_url: is not set"}},
		{"tokens by http", func(t *testing.T, c *Config) {
			c.Auth = Auth{Mechanism: AuthOAuth2, TokenURL: "http://id.example.com", ClientID: "c", ClientSecretFile: fileOf(t, marker)}
		}, []string{"sink.auth.token_url: begins with http://"}},
		{"no secrets", func(_ *testing.T, c *Config) { c.Auth.Mechanism = AuthHMAC }, []string{"sink.auth.secrets_file: "}},
		{"a secret without its beginning", func(t *testing.T, c *Config) {
			c.Auth = Auth{Mechanism: AuthHMAC, SecretsFile: fileOf(t, secret+"\n"+strings.TrimPrefix(secret, secretPrefix))}
		}, []string{"sink.auth.secrets_file: line 2 of the file is no secret"}},
		{"a secret that is short", func(t *testing.T, c *Config) {
			c.Auth = Auth{Mechanism: AuthHMAC, SecretsFile: fileOf(t, signingSecret(1, 23))}
		}, []string{"line 1 of the file is no secret"}},
		{"a secret that is long", func(t *testing.T, c *Config) {
			c.Auth = Auth{Mechanism: AuthHMAC, SecretsFile: fileOf(t, signingSecret(1, 65))}
		}, []string{"line 1 of the file is no secret"}},
		{"a secret that is not base64", func(t *testing.T, c *Config) {
			c.Auth = Auth{Mechanism: AuthHMAC, SecretsFile: fileOf(t, secretPrefix+marker+strings.Repeat("-", 40))}
		}, []string{"line 1 of the file is no secret"}},
		{"too many secrets", func(t *testing.T, c *Config) {
			c.Auth = Auth{Mechanism: AuthHMAC, SecretsFile: fileOf(t, strings.Repeat(secret+"\n", 9))}
		}, []string{"want at most 8 secrets"}},
		{"two users", func(t *testing.T, c *Config) {
			c.URL = "https://u:" + marker + "@hooks.example.com"
			c.Auth = Auth{Mechanism: AuthBearer, TokenFile: fileOf(t, "x")}
		}, []string{"sink.url: has a user"}},
		{"http", func(_ *testing.T, c *Config) { c.URL = "http://hooks.example.com/" + marker }, []string{"sink.url: begins with http://", "or set sink.allow_http"}},
		{"http in a file", func(t *testing.T, c *Config) { c.URLFile = fileOf(t, "http://10.0.0.1/"+marker) }, []string{"sink.url_file: the URL in the file begins with http://"}},
		{"no URL in the file", func(t *testing.T, c *Config) { c.URLFile = fileOf(t, marker) }, []string{"sink.url_file: the URL in the file must begin with https://"}},
		{"two URLs in the file", func(t *testing.T, c *Config) { c.URLFile = fileOf(t, "https://a/"+marker+"\nhttps://b/"+marker) }, []string{"sink.url_file: the file holds more than one line"}},
		{"a certificate without key", func(t *testing.T, c *Config) { c.TLSFiles.Certificate = string(fileOf(t, marker)) }, []string{"sink.tls.certificate_file: "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := Config{URL: "https://hooks.example.com/", Concurrency: 1, Timeout: time.Second, MaxAttempts: 1}
			c.cfg(t, &cfg)
			_, err := New(cfg, nil, slog.New(slog.DiscardHandler))
			if err == nil {
				t.Fatal("taken")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v: want %q", err, want)
				}
			}
			if strings.Contains(err.Error(), marker) || strings.Contains(err.Error(), "hooks.example.com") {
				t.Errorf("has what it must not show: %v", err)
			}
		})
	}
}

func TestHTTPIsForThisMachineOnly(t *testing.T) {
	for raw, fine := range map[string]bool{
		"http://localhost:7/": true, "http://LOCALHOST./": true, "http://127.0.0.1/": true, "http://127.9.9.9/": true, "http://[::1]:80/": true,
		"https://hooks.example.com": true, "http://hooks.example.com": false, "http://10.0.0.1": false, "http://localhost.example.com": false,
		"http://n8n.tools.svc.cluster.local/": false, "http://127.0.0.1.example.com": false, "http://[::2]/": false,
	} {
		if _, err := parseURL(raw, false); (err == nil) != fine {
			t.Errorf("%s: %v", raw, err)
		}
		if _, err := parseURL(raw, true); err != nil {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

// authorizationServer is one by OAuth, on the endpoint's network: http://127.0.0.1:81/token.
type authorizationServer struct {
	mu      sync.Mutex
	asked   int
	secret  string
	old     string // is taken too
	expires int    // seconds; 0: it does not say
	broken  bool
	took    time.Duration
	valid   map[string]bool
}

func (a *authorizationServer) serve(t *testing.T, e *endpoint) (stop func()) {
	t.Helper()
	a.valid = map[string]bool{}
	return serveHTTP(t, e, "127.0.0.1:81", func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.asked++
		took := a.took
		a.mu.Unlock()
		select {
		case <-time.After(took):
		case <-r.Context().Done():
		}
		a.mu.Lock()
		_, secret, _ := r.BasicAuth()
		w.Header().Set("Content-Type", "application/json")
		switch {
		case a.broken:
			w.WriteHeader(http.StatusServiceUnavailable)
		case secret != a.secret && (a.old == "" || secret != a.old):
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, `{"error":"invalid_client","error_description":"no client with secret %s"}`, secret)
		default:
			token := fmt.Sprintf("token-%d-by-%s", a.asked, secret)
			a.valid[token] = true
			expires := ""
			if a.expires > 0 {
				expires = fmt.Sprintf(`,"expires_in":%d`, a.expires)
			}
			fmt.Fprintf(w, `{"access_token":%q,"token_type":"bearer"%s}`, token, expires)
		}
	})
}

// revoke makes all tokens so far worth nothing.
func (a *authorizationServer) revoke() { a.change(func() { clear(a.valid) }) }

// change changes how it answers.
func (a *authorizationServer) change(do func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	do()
}

// count returns how often it was asked.
func (a *authorizationServer) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked
}

func (a *authorizationServer) takes(r *http.Request) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.valid[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
}

// serveHTTP serves at another address of the endpoint's network, one request at a time.
func serveHTTP(t *testing.T, e *endpoint, address string, handler http.HandlerFunc) (stop func()) {
	t.Helper()
	listener, err := e.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	turn := make(chan struct{}, 1)
	server := &http.Server{ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then is the end of a request noticed
		turn <- struct{}{}
		defer func() { <-turn }()
		handler(w, r)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	stop = func() {
		server.Close()
		listener.Close()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

func oauth(t *testing.T, secret string) Auth {
	t.Helper()
	return Auth{Mechanism: AuthOAuth2, TokenURL: "http://127.0.0.1:81/token", ClientID: "signup", ClientSecretFile: fileOf(t, secret), Scopes: []string{"rows"}}
}

func TestATokenIsAskedForOnceAndRenewedBeforeItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authorizationServer{secret: "s1", expires: 100, took: 3 * time.Second}
		refused := 0
		e := newEndpoint(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			pause(10 * time.Millisecond)
			if !a.takes(r) {
				refused++
				w.WriteHeader(http.StatusUnauthorized)
			}
		})
		a.serve(t, e)
		s := e.sink(t, func(c *Config) { c.Auth = oauth(t, "s1") })
		if errs := s.deliver(t.Context(), 200); errs[0] != nil || a.count() != 1 {
			t.Fatalf("%v, asked %d times", errs[0], a.count())
		}
		for begin := time.Now(); time.Since(begin) < 10*time.Minute; {
			sent := time.Now()
			if err := s.Deliver(t.Context(), row("1")); err != nil || time.Since(sent) > 50*time.Millisecond {
				t.Fatalf("%v in %v: nobody waits for a new token while the old one is good", err, time.Since(sent))
			}
			pause(50 * time.Millisecond)
		}
		if refused != 0 || a.count() < 7 || a.count() > 9 {
			t.Errorf("%d refused, asked %d times in ten minutes", refused, a.count())
		}
		if n := s.metric(t, "signup_sheet_token_requests_total", "result", "given"); int(n) != a.count() {
			t.Errorf("counted %v of %d", n, a.count())
		}
	})
}

// A 401 is no failure of a row, nor evidence, if a fresh token is taken: it is asked for once, for all in flight.
func TestATokenThatIsRevokedIsReplacedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authorizationServer{secret: "s1", expires: 3600, took: 100 * time.Millisecond}
		e := newEndpoint(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			pause(10 * time.Millisecond)
			if !a.takes(r) {
				w.WriteHeader(http.StatusUnauthorized)
			}
		})
		a.serve(t, e)
		s := e.sink(t, func(c *Config) { c.Auth = oauth(t, "s1") })
		for round := 1; round < 4; round++ {
			began := time.Now()
			if errs := s.deliver(t.Context(), 200); errs[0] != nil || errs[199] != nil {
				t.Fatal(errs)
			}
			if a.count() != round || time.Since(began) > time.Second {
				t.Errorf("asked %d times in round %d, which took %v", a.count(), round, time.Since(began))
			}
			a.revoke()
			pause(replaceAfter)
		}
		if s.metric(t, "signup_sheet_holds_total") != 0 || s.metric(t, "signup_sheet_retries_total") != 0 {
			t.Error("counted as failures")
		}
		if n := s.metric(t, "signup_sheet_credential_repeats_total"); n < 64 || n > 128 {
			t.Errorf("%v repeats of 2 × 64", n)
		}
	})
}

// Rows that come while a fresh token is asked for wait for it.
func TestNothingIsSentWithATokenThatWasRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authorizationServer{secret: "s1", took: time.Second}
		refused := 0
		e := newEndpoint(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			if !a.takes(r) {
				refused++
				w.WriteHeader(http.StatusUnauthorized)
			}
		})
		a.serve(t, e)
		s := e.sink(t, func(c *Config) { c.Auth = oauth(t, "s1") })
		s.deliver(t.Context(), 1)
		a.revoke()
		crowd := s.keys(t.Context(), 1, 1)
		pause(100 * time.Millisecond)
		s.deliver(t.Context(), 20)
		crowd.running.Wait()
		if refused != 1 || a.count() != 2 {
			t.Errorf("%d refused, asked %d times", refused, a.count())
		}
	})
}

// An endpoint that takes no token at all is not our reason to ask the authorization server at each attempt, nor to send each
// row twice. It is seen within 30 s that it takes tokens again, those that are given from then on.
func TestTokensThatAreNeverTakenAreAHold(t *testing.T) {
	for _, slots := range []int{1, 8, 64} {
		synctest.Test(t, func(t *testing.T) {
			a := &authorizationServer{secret: "s1", expires: 3600}
			var recovered atomic.Bool
			const think = 20 * time.Millisecond
			e := newEndpoint(t, func(_ int, w http.ResponseWriter, r *http.Request) {
				pause(think)
				if !recovered.Load() || !a.takes(r) {
					w.WriteHeader(http.StatusUnauthorized)
				}
			})
			a.serve(t, e)
			s := e.sink(t, func(c *Config) { c.Auth, c.Concurrency = oauth(t, "s1"), slots })
			crowd := s.keys(t.Context(), 200, 1)
			pause(10 * time.Minute)
			if h, held := s.Hold(); !held || h.Reason != reasonUnauthorised {
				t.Errorf("%+v", h)
			}
			if n := len(e.requests()); n > slots+40 || a.count() > 40 {
				t.Errorf("%d in flight: %d requests, and asked %d times in ten minutes", slots, n, a.count())
			}
			a.revoke()
			recovered.Store(true)
			began := time.Now()
			crowd.running.Wait()
			first := time.Now()
			for _, at := range crowd.accepted {
				if at.Before(first) {
					first = at
				}
			}
			// A probe may have begun just before that, and its answer have come just after.
			if len(crowd.accepted) != 200 || first.Sub(began) > maxProbeWait+think {
				t.Errorf("%d in flight: %d accepted, after %v", slots, len(crowd.accepted), first.Sub(began))
			}
		})
	}
}

// An endpoint that took no token for a while may take the old one again. That there is none by then that is fresh, or that it
// takes its time, is no reason to notice later, nor to send each probe twice.
func TestTheRecoveryIsSeenInTimeThoughTokensAreSlow(t *testing.T) {
	for _, took := range []time.Duration{0, 5 * time.Second, 9 * time.Second, 9990 * time.Millisecond, time.Hour} {
		for range 10 {
			synctest.Test(t, func(t *testing.T) {
				a := &authorizationServer{secret: "s1", expires: 3600}
				var down, ends atomic.Bool
				var recovered atomic.Pointer[time.Time]
				e := newEndpoint(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
					pause(20 * time.Millisecond)
					if down.Load() {
						w.WriteHeader(http.StatusUnauthorized)
					}
					if ends.Load() && down.CompareAndSwap(true, false) { // as early before the next probe as can be
						now := time.Now()
						recovered.Store(&now)
					}
				})
				a.serve(t, e)
				s := e.sink(t, func(c *Config) { c.Auth, c.Concurrency = oauth(t, "s1"), 8 })
				s.deliver(t.Context(), 1)
				a.change(func() { a.took = took })
				down.Store(true)
				crowd := s.keys(t.Context(), 8, 1)
				pause(10 * time.Minute)
				if n := len(e.requests()) - 1; n > 8+40 {
					t.Errorf("tokens in %v: %d requests", took, n)
				}
				ends.Store(true)
				crowd.running.Wait()
				first := time.Now()
				for _, at := range crowd.accepted {
					if at.Before(first) {
						first = at
					}
				}
				if late := first.Sub(*recovered.Load()); len(crowd.accepted) != 8 || late > maxProbeWait+40*time.Millisecond {
					t.Errorf("tokens in %v: %d accepted, %v after the recovery", took, len(crowd.accepted), late)
				}
			})
		}
	}
}

// While one row tries a fresh token, the others wait for what becomes of that: for no more than it may take, and not at all
// once they are stopped.
func TestATokenThatIsTriedHoldsNobodyUp(t *testing.T) {
	for _, stops := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			a := &authorizationServer{secret: "s1", expires: 3600}
			var hangs atomic.Bool
			e := newEndpoint(t, func(_ int, w http.ResponseWriter, r *http.Request) {
				pause(20 * time.Millisecond)
				switch {
				case !a.takes(r):
					w.WriteHeader(http.StatusUnauthorized)
				case hangs.Load():
					select {
					case <-r.Context().Done():
					case <-time.After(time.Minute):
					}
				}
			})
			a.serve(t, e)
			s := e.sink(t, func(c *Config) { c.Auth = oauth(t, "s1") })
			if errs := s.deliver(t.Context(), 1); errs[0] != nil {
				t.Fatal(errs)
			}
			a.revoke()
			hangs.Store(true)
			ctx, stop := context.WithCancelCause(t.Context())
			began := time.Now()
			crowd := s.keys(ctx, 64, 1)
			pause(time.Second)
			if n := len(e.requests()); n != 1+64+1 {
				t.Errorf("%d requests", n)
			}
			if stops {
				stop(errors.New("stop"))
				synctest.Wait()
				if n := s.InFlight(); n != 1 {
					t.Errorf("%d attempts after the stop", n)
				}
			} else {
				pause(5 * time.Second)
				if h, held := s.Hold(); !held {
					t.Errorf("no hold: %+v", h)
				}
				hangs.Store(false)
			}
			crowd.running.Wait()
			if took := time.Since(began); stops && took > 6*time.Second || !stops && (took > 40*time.Second || len(crowd.accepted) != 64) {
				t.Errorf("%d accepted in %v", len(crowd.accepted), took)
			}
			stop(nil)
		})
	}
}

// A row that tries a fresh token and gets no answer delays the others no longer than it takes to see that the token is taken.
func TestNobodyWaitsForTheTrialOfATokenThatIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authorizationServer{secret: "s1", expires: 3600}
		var tried atomic.Bool
		e := newEndpoint(t, func(n int, w http.ResponseWriter, r *http.Request) {
			pause(20 * time.Millisecond)
			switch {
			case !a.takes(r):
				w.WriteHeader(http.StatusUnauthorized)
			case n == 1+30+1:
				tried.Store(true)
				<-r.Context().Done()
			}
		})
		a.serve(t, e)
		s := e.sink(t, func(c *Config) { c.Auth = oauth(t, "s1") })
		if errs := s.deliver(t.Context(), 1); errs[0] != nil {
			t.Fatal(errs)
		}
		a.revoke()
		crowd := s.keys(t.Context(), 30, 1)
		pause(100 * time.Millisecond)
		if accepted, _ := crowd.counts(); accepted != 0 || !tried.Load() {
			t.Errorf("%d accepted though one tries the token", accepted)
		}
		if err := s.Deliver(t.Context(), row("new")); err != nil {
			t.Error(err)
		}
		pause(100 * time.Millisecond)
		if accepted, _ := crowd.counts(); accepted != 29 {
			t.Errorf("%d accepted, want all but the one that tried the token", accepted)
		}
		crowd.running.Wait()
		if s.metric(t, "signup_sheet_holds_total") != 0 || s.metric(t, "signup_sheet_retries_total") != 1 {
			t.Error("counted as failures of others")
		}
	})
}

// That the row which tries a fresh token may not be sent any more says nothing of the token, nor of the endpoint.
func TestATrialThatIsWithheldIsNoHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authorizationServer{secret: "s1", took: 100 * time.Millisecond}
		p := newPermit(true)
		var tries atomic.Bool
		p.checks = func() {
			if tries.CompareAndSwap(true, false) {
				pause(time.Millisecond) // until all others wait
				p.set(false)
			}
		}
		e := newEndpoint(t, func(n int, w http.ResponseWriter, r *http.Request) {
			pause(20 * time.Millisecond)
			if !a.takes(r) {
				if n == 1+64 {
					tries.Store(true)
				}
				w.WriteHeader(http.StatusUnauthorized)
			}
		})
		a.serve(t, e)
		s := e.sink(t, func(c *Config) { c.Auth, c.Permit = oauth(t, "s1"), p })
		if errs := s.deliver(t.Context(), 1); errs[0] != nil {
			t.Fatal(errs)
		}
		a.revoke()
		crowd := s.keys(t.Context(), 64, 1)
		pause(time.Second)
		if n := len(e.requests()); n != 1+64 {
			t.Errorf("%d requests, the last without a permit", n)
		}
		p.set(true)
		began := time.Now()
		crowd.running.Wait()
		if accepted, _ := crowd.counts(); accepted != 64 || time.Since(began) > 100*time.Millisecond {
			t.Errorf("%d accepted in %v", accepted, time.Since(began))
		}
		if s.metric(t, "signup_sheet_holds_total") != 0 || s.metric(t, "signup_sheet_retries_total") != 0 {
			t.Error("counted as failures")
		}
	})
}

// The authorization server is away, or does not know us: rows wait in a hold, as long as it takes, and none of them is to
// blame. Nothing is sent without a token.
func TestWithoutATokenRowsWaitInAHold(t *testing.T) {
	for name, c := range map[string]struct {
		breaks, mends func(*authorizationServer)
		words         string
	}{
		"away":    {func(a *authorizationServer) { a.broken = true }, func(a *authorizationServer) { a.broken = false }, "no token: the authorization server answered 503"},
		"refuses": {func(a *authorizationServer) { a.secret = "other" }, func(a *authorizationServer) { a.secret = "s1" }, "no token: the authorization server answered 401 (invalid_client)"},
		"hangs":   {func(a *authorizationServer) { a.took = time.Hour }, func(a *authorizationServer) { a.took = 0 }, "no token: the authorization server: no answer in time"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &authorizationServer{secret: "s1", expires: 3600}
				a.change(func() { c.breaks(a) })
				e := newEndpoint(t, func(_ int, _ http.ResponseWriter, r *http.Request) {
					if !a.takes(r) {
						t.Error("a request without a token")
					}
				})
				a.serve(t, e)
				s := e.sink(t, func(c *Config) { c.Auth = oauth(t, "s1") })
				crowd := s.keys(t.Context(), 64, 3)
				pause(20 * time.Minute)
				h, held := s.Hold()
				if !held || h.Reason != reasonToken || a.count() > 130 || len(e.requests()) != 0 {
					t.Errorf("%+v, asked %d times, %d requests", h, a.count(), len(e.requests()))
				}
				if f, failed := s.LastFailure(); !failed || f.Kind != reasonToken {
					t.Errorf("%+v", f)
				}
				if !strings.Contains(s.logs.String(), "sink.auth.token_url") || !strings.Contains(s.logs.String(), c.words) {
					t.Error("no line says what to do")
				}
				if s.metric(t, "signup_sheet_hold", "reason", reasonToken) != 1 || s.metric(t, "signup_sheet_token_requests_total", "result", "failed") == 0 {
					t.Error("no metric says so")
				}
				a.change(func() { c.mends(a) })
				began := time.Now()
				crowd.running.Wait()
				if accepted, givenUp := crowd.counts(); accepted != 192 || givenUp != 0 || time.Since(began) > 51*time.Second || name != "hangs" && time.Since(began) > 31*time.Second {
					t.Errorf("%d accepted and %d given up in %v", accepted, givenUp, time.Since(began))
				}
				if s.metric(t, "signup_sheet_retries_total") != 0 {
					t.Error("rows are said to have failed")
				}
			})
		})
	}
}

// It is known at the first row, without evidence from others.
func TestOneRowWithoutATokenIsAHoldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authorizationServer{secret: "s1", broken: true}
		e := newEndpoint(t, always(http.StatusOK))
		a.serve(t, e)
		s := e.sink(t, func(c *Config) { c.Auth = oauth(t, "s1") })
		crowd := s.keys(t.Context(), 1, 1)
		pause(time.Millisecond)
		if h, held := s.Hold(); !held || h.Reason != reasonToken || a.count() > 2 { // the library asks in two ways
			t.Errorf("%+v, asked %d times", h, a.count())
		}
		a.change(func() { a.broken = false })
		crowd.running.Wait()
		if accepted, _ := crowd.counts(); accepted != 1 || len(e.requests()) != 1 {
			t.Errorf("%d accepted of %d requests", accepted, len(e.requests()))
		}
	})
}

// An endpoint that answers 401 to some rows, whatever the token, is no reason for a token each time.
func TestRowsThatAreNeverTakenAskForFewTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authorizationServer{secret: "s1", expires: 3600}
		e := newEndpoint(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			pause(20 * time.Millisecond)
			if !a.takes(r) || strings.HasPrefix(r.Header.Get("Idempotency-Key"), "bad") {
				w.WriteHeader(http.StatusUnauthorized)
			}
		})
		a.serve(t, e)
		s := e.sink(t, func(c *Config) { c.Auth = oauth(t, "s1") })
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		crowd := s.keys(ctx, 4, 5000)
		for i := range 10 {
			crowd.running.Go(func() { _ = s.Deliver(ctx, row(fmt.Sprint("bad-", i))) })
		}
		crowd.running.Wait()
		bad := 0
		for _, r := range e.requests() {
			if strings.HasPrefix(r.id, "bad") {
				bad++
			}
		}
		if accepted, _ := crowd.counts(); accepted < 1000 || bad < 50 || a.count() > 14 {
			t.Errorf("%d accepted, %d attempts of others, asked %d times", accepted, bad, a.count())
		}
	})
}

// While there is a token that is good, nobody misses the authorization server.
func TestATokenIsUsedOnWhileThereIsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authorizationServer{secret: "s1", expires: 100}
		e := newEndpoint(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			if !a.takes(r) {
				w.WriteHeader(http.StatusUnauthorized)
			}
		})
		a.serve(t, e)
		s := e.sink(t, func(c *Config) { c.Auth = oauth(t, "s1") })
		for begin := time.Now(); time.Since(begin) < 99*time.Second; pause(time.Second) {
			if err := s.Deliver(t.Context(), row("1")); err != nil {
				t.Fatal(err)
			}
			a.change(func() { a.broken = true })
		}
		if s.metric(t, "signup_sheet_holds_total") != 0 || a.count() < 3 || a.count() > 6 {
			t.Errorf("asked %d times", a.count())
		}
	})
}

// A stop does not wait for a token.
func TestAStopEndsTheWaitForAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authorizationServer{secret: "s1", took: time.Minute}
		e := newEndpoint(t, always(http.StatusOK))
		a.serve(t, e)
		s := e.sink(t, func(c *Config) { c.Auth = oauth(t, "s1") })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		s.deliver(ctx, 3)
		if time.Since(began) != time.Second {
			t.Errorf("took %v", time.Since(began))
		}
		s.Close()
		if time.Since(began) != time.Second {
			t.Errorf("closing took %v", time.Since(began))
		}
	})
}

func TestAnAnswerThatIsNoTokenIsNone(t *testing.T) {
	for _, answer := range []string{
		`{}`, `{"access_token":"","token_type":"bearer"}`, `{"access_token":"a b","token_type":"bearer"}`, `{"access_token":"abc","token_type":"mac"}`,
		`<html>S3CR3T</html>`, `{"access_token":"` + strings.Repeat("x", maxToken+1) + `","token_type":"bearer"}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			e := newEndpoint(t, always(http.StatusOK))
			serveHTTP(t, e, "127.0.0.1:81", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, answer)
			})
			s := e.sink(t, func(c *Config) { c.Auth = oauth(t, "s1") })
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := s.Deliver(ctx, row("1")); err == nil || len(e.requests()) != 0 {
				t.Errorf("%.40s: %v", answer, err)
			}
			if !strings.Contains(s.logs.String(), "answer holds no token") || strings.Contains(s.logs.String(), "S3CR3T") {
				t.Errorf("%.40s: %s", answer, s.logs.String())
			}
		})
	}
}

// A token by a secret that was replaced while it was asked for is not used for an hour.
func TestATokenByASecretThatIsOldWhenItComesIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := &shelf{dir: t.TempDir()}
		files.put(t, map[string]string{"secret": "s0"})
		a := &authorizationServer{secret: "s1", old: "s0", expires: 3600, took: 8 * time.Second}
		var last atomic.Pointer[string]
		e := newEndpoint(t, func(_ int, _ http.ResponseWriter, r *http.Request) {
			_, by, _ := strings.Cut(r.Header.Get("Authorization"), "-by-")
			last.Store(&by)
		})
		by := func() string { return *last.Load() }
		a.serve(t, e)
		s := e.sink(t, func(c *Config) { c.Auth = oauth(t, ""); c.Auth.ClientSecretFile = files.text("secret") })
		crowd := s.keys(t.Context(), 1, 1)
		pause(4 * time.Second)
		files.put(t, map[string]string{"secret": "s1"})
		for range 2 {
			if err := s.Deliver(t.Context(), row("1")); err != nil || by() != "s0" {
				t.Fatalf("%v, by %s", err, by())
			}
		}
		pause(10 * time.Second)
		if err := s.Deliver(t.Context(), row("1")); err != nil || by() != "s1" || a.count() != 2 {
			t.Errorf("%v, by %s, asked %d times", err, by(), a.count())
		}
		crowd.running.Wait()
	})
}

// The client's secret goes to no other host.
func TestAnAuthorizationServerThatRedirectsIsNotFollowed(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		synctest.Test(t, func(t *testing.T) {
			e := newEndpoint(t, always(http.StatusOK))
			serveHTTP(t, e, "127.0.0.1:81", func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "http://127.0.0.1:82/token", status)
			})
			followed := false
			serveHTTP(t, e, "127.0.0.1:82", func(w http.ResponseWriter, _ *http.Request) {
				followed = true
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, `{"access_token":"abc","token_type":"bearer"}`)
			})
			s := e.sink(t, func(c *Config) { c.Auth = oauth(t, "s1") })
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := s.Deliver(ctx, row("1")); err == nil || followed || !strings.Contains(s.logs.String(), fmt.Sprint("answered ", status)) {
				t.Errorf("%d: %v, followed %v", status, err, followed)
			}
		})
	}
}

// Some servers say -1 of a token that does not end. It is used on, and not asked for anew for each row.
func TestATokenThatHasEndedBeforeItCameIsUsedUntilItIsRefused(t *testing.T) {
	for _, expires := range []string{"-1", `"-3600"`, "0", `"3600"`, "null"} {
		synctest.Test(t, func(t *testing.T) {
			e := newEndpoint(t, always(http.StatusOK))
			asked := 0
			serveHTTP(t, e, "127.0.0.1:81", func(w http.ResponseWriter, _ *http.Request) {
				asked++
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprintf(w, `{"access_token":"t%d","token_type":"bearer","expires_in":%s}`, asked, expires)
			})
			s := e.sink(t, func(c *Config) { c.Auth = oauth(t, "s1") })
			for i, err := range s.deliver(t.Context(), 200) {
				if err != nil {
					t.Fatalf("%d: %v", i, err)
				}
			}
			for range 20 {
				pause(time.Second)
				if err := s.Deliver(t.Context(), row("1")); err != nil {
					t.Fatal(err)
				}
			}
			if asked != 1 {
				t.Errorf("%s: asked %d times", expires, asked)
			}
		})
	}
}

// Rate limits and Retry-After come with a 401 too. The next attempt, after the time that was asked for, has a fresh token.
func TestATokenIsReplacedThoughTheEndpointAsksForTime(t *testing.T) {
	for name, field := range map[string][2]string{
		"Retry-After":  {"Retry-After", "20"},
		"a rate limit": {"RateLimit", `"anonymous";r=0;t=20`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &authorizationServer{secret: "s1"}
				e := newEndpoint(t, func(_ int, w http.ResponseWriter, r *http.Request) {
					if !a.takes(r) {
						w.Header().Set(field[0], field[1])
						w.WriteHeader(http.StatusUnauthorized)
					}
				})
				a.serve(t, e)
				s := e.sink(t, func(c *Config) { c.Auth = oauth(t, "s1") })
				if errs := s.deliver(t.Context(), 1); errs[0] != nil {
					t.Fatal(errs)
				}
				a.revoke()
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				began := time.Now()
				if err := s.Deliver(ctx, row("2")); err != nil {
					t.Fatalf("%v after %d requests", err, len(e.requests()))
				}
				if took := time.Since(began); took < 20*time.Second || took > 21*time.Second || len(e.requests()) != 3 || a.count() != 2 {
					t.Errorf("%d requests and %d tokens in %v", len(e.requests()), a.count(), took)
				}
			})
		})
	}
}
