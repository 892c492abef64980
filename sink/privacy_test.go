package sink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestNothingPrivateAppearsAnywhere is hazard 22: every request fails, in every way that
// there is, with answers that repeat the request, and all that the sink tells is searched.
func TestNothingPrivateAppearsAnywhere(t *testing.T) {
	const (
		url  = "http://us3r:passw0rd@127.0.0.1/hooks/t0ken-7f/x?apikey=qu3ry"
		body = `{"event_id":"e1","email":"zofia@example.org","name":"Zofia Kowalska","metadata":{"n0te":"m3tadata text"}}`
	)
	private := []string{
		"us3r", "passw0rd", "t0ken", "qu3ry", "hooks", "apikey", "dXMzcjpwYXNzdzByZA",
		"zofia", "kowalska", "example.org", "n0te", "m3tadata",
	}
	failures := map[string]func(*endpoint, *Config){
		"refused connection": func(_ *endpoint, c *Config) {
			c.DialContext = func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
			}
		},
		"dns": func(_ *endpoint, c *Config) {
			c.DialContext = func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.DNSError{Err: "no such host", Name: "passw0rd.example.org", IsNotFound: true}
			}
		},
		"any error": func(_ *endpoint, c *Config) {
			c.DialContext = func(context.Context, string, string) (net.Conn, error) {
				return nil, errors.New("cannot reach " + url)
			}
		},
		"tls":     func(_ *endpoint, c *Config) { c.URL = strings.Replace(c.URL, "http:", "https:", 1) },
		"hang":    nil,
		"garbage": nil,
		"hang-up": nil,
	}
	for status := 300; status <= 599; status++ {
		failures[fmt.Sprint(status)] = nil
	}
	for name, change := range failures {
		synctest.Test(t, func(t *testing.T) {
			e := newEndpoint(t, func(_ int, w http.ResponseWriter, r *http.Request) {
				echo := r.URL.String() + " " + r.Header.Get("Authorization") + " " + url + " " + body
				var status int
				switch _, _ = fmt.Sscan(name, &status); name {
				case "hang":
					<-r.Context().Done()
				case "garbage", "hang-up":
					conn, _, _ := w.(http.Hijacker).Hijack()
					if name == "garbage" {
						_, _ = io.WriteString(conn, echo+"\r\n")
					}
					conn.Close()
				default:
					for _, field := range []string{"Location", "X-Request-Id", "Cf-Ray", "Www-Authenticate", "Retry-After"} {
						w.Header().Set(field, "zofia@example.org-t0ken")
					}
					w.WriteHeader(status)
					_, _ = io.WriteString(w, `{"id":"zofia@example.org","error":"`+strings.ReplaceAll(echo, `"`, `\"`)+`"}`)
				}
			})
			s := e.sink(t, func(c *Config) {
				c.URL = url
				if change != nil {
					change(e, c)
				}
			})
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			err := s.Deliver(ctx, Row{EventID: "e1", HeaderID: "e1", Body: []byte(body)})
			if err == nil {
				t.Fatalf("%s: accepted", name)
			}
			expectPrivate(t, name, s, err, private)
		})
	}
}

// expectPrivate searches all that a sink has told, after a delivery that ended with err.
func expectPrivate(t *testing.T, name string, s *probed, err error, private []string) {
	t.Helper()
	told := []string{err.Error(), s.logs.String()}
	if r, ok := errors.AsType[*GivenUp](err); ok {
		told = append(told, r.Response, strings.Join(r.RequestIDs, " "))
		if !strings.Contains(r.Response, "error") {
			t.Errorf("%s: nothing is left of the answer: %q", name, r.Response)
		}
	} else if !strings.Contains(s.logs.String(), "remedy=") {
		t.Errorf("%s: no log line says what to do", name)
	}
	if h, held := s.Hold(); held {
		told = append(told, fmt.Sprintf("%+v", h))
	}
	f, failed := s.LastFailure()
	if !failed {
		t.Errorf("%s: no failure is known", name)
	}
	told = append(told, fmt.Sprintf("%+v", f))
	families, _ := s.registry.Gather()
	for _, family := range families {
		told = append(told, family.String())
	}
	all := strings.ToLower(strings.Join(told, "\n"))
	for _, p := range private {
		if at := strings.Index(all, strings.ToLower(p)); at >= 0 {
			t.Errorf("%s: %s appears: …%s…", name, p, all[max(0, at-60):min(len(all), at+60)])
		}
	}
}

// The same for every mechanism: with all that is sent in what the endpoint, and the authorization server, say.
func TestNoCredentialAppearsAnywhere(t *testing.T) {
	const body = `{"event_id":"e1","email":"zofia@example.org"}`
	type mechanism struct {
		auth    func(*testing.T, *shelf) Auth
		files   [2]map[string]string // before and after a rotation
		private []string
	}
	signing := [2]string{signingSecret(40, 32), signingSecret(80, 32)}
	mechanisms := map[string]mechanism{
		"bearer": {
			func(_ *testing.T, s *shelf) Auth { return Auth{Mechanism: AuthBearer, TokenFile: s.text("f")} },
			[2]map[string]string{{"f": "t0ken.aaa|x"}, {"f": "t1ken.bbb|y"}},
			[]string{"t0ken", "t1ken", "aaa", "bbb"},
		},
		"api-key": {
			func(_ *testing.T, s *shelf) Auth {
				return Auth{Mechanism: AuthAPIKey, Header: "X-Request-Id", TokenFile: s.text("f")} // which we look for in answers
			},
			[2]map[string]string{{"f": "k0y-aaa"}, {"f": "k1y-bbb"}},
			[]string{"k0y", "k1y", "aaa", "bbb"},
		},
		"basic": {
			func(_ *testing.T, s *shelf) Auth {
				return Auth{Mechanism: AuthBasic, Username: "us3r", PasswordFile: s.text("f")}
			},
			[2]map[string]string{{"f": "p0ss"}, {"f": "p1ss"}},
			[]string{"us3r", "p0ss", "p1ss", "dXMzcjpwMHNz", "dXMzcjpwMXNz"},
		},
		"oauth2": {
			func(_ *testing.T, s *shelf) Auth {
				return Auth{Mechanism: AuthOAuth2, TokenURL: "http://127.0.0.1:81/token", ClientID: "signup", ClientSecretFile: s.text("f")}
			},
			[2]map[string]string{{"f": "c0secret"}, {"f": "c1secret"}},
			[]string{"c0secret", "c1secret", "acc0ss", "acc1ss"},
		},
		"hmac": {
			func(_ *testing.T, s *shelf) Auth { return Auth{Mechanism: AuthHMAC, SecretsFile: s.text("f")} },
			[2]map[string]string{{"f": signing[0]}, {"f": signing[1]}},
			[]string{signing[0][len(secretPrefix):], signing[1][len(secretPrefix):]},
		},
		"a URL in a file": {
			func(*testing.T, *shelf) Auth { return Auth{} },
			[2]map[string]string{{"url": "http://127.0.0.1/h00ks/p0th?k=q0ery"}, {"url": "http://127.0.0.1/h11ks/p1th?k=q1ery"}},
			[]string{"h00ks", "p0th", "q0ery", "h11ks", "p1th", "q1ery"},
		},
	}
	answers := []string{"302", "400", "401", "403", "404", "407", "410", "422", "429", "500", "503", "hang", "garbage", "hang-up", "no token", "tokens that are echoed"}
	for name, m := range mechanisms {
		for _, says := range answers {
			synctest.Test(t, func(t *testing.T) {
				files := &shelf{dir: t.TempDir()}
				files.put(t, m.files[0])
				secrets := fmt.Sprint(m.files[0]) // and what the request comes with
				e := newEndpoint(t, func(_ int, w http.ResponseWriter, r *http.Request) {
					echo := fmt.Sprint(r.URL, r.Header, body, secrets)
					switch says {
					case "hang":
						<-r.Context().Done()
					case "garbage", "hang-up":
						conn, _, _ := w.(http.Hijacker).Hijack()
						if says == "garbage" {
							_, _ = io.WriteString(conn, echo+"\r\n")
						}
						conn.Close()
					default:
						status := http.StatusBadRequest
						_, _ = fmt.Sscan(says, &status)
						for _, field := range []string{"Location", "X-Request-Id", "Www-Authenticate", "Retry-After"} {
							w.Header().Set(field, r.Header.Get("X-Request-Id")+r.Header.Get("Authorization")+r.URL.Path)
						}
						w.WriteHeader(status)
						_, _ = io.WriteString(w, `{"error":"`+strings.ReplaceAll(echo, `"`, `\"`)+`"}`)
					}
				})
				serveHTTP(t, e, "127.0.0.1:81", func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", "application/json")
					_, secret, _ := r.BasicAuth()
					if secret == "" { // the library tries to send it in the body too
						secret = m.files[0]["f"]
					}
					if says == "no token" {
						w.WriteHeader(http.StatusUnauthorized)
						_, _ = io.WriteString(w, `{"error":"`+secret+`","error_description":"`+secret+`","error_uri":"http://x/`+secret+`"}`)
						return
					}
					_, _ = io.WriteString(w, `{"access_token":"acc`+secret[1:2]+`ss","token_type":"bearer","expires_in":60}`)
				})
				s := e.sink(t, func(c *Config) {
					c.Auth = m.auth(t, files)
					if m.files[0]["url"] != "" {
						c.URL, c.URLFile = "", files.text("url")
					}
				})
				ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
				defer cancel()
				go func() {
					pause(20 * time.Second)
					files.put(t, m.files[1])
					pause(20 * time.Second)
					files.put(t, map[string]string{"f": m.files[1]["f"] + "\n" + m.files[1]["f"] + "\x00", "url": m.files[1]["url"] + "\x00\n" + m.files[1]["url"]})
				}()
				err := s.Deliver(ctx, Row{EventID: "e1", HeaderID: "e1", Body: []byte(body)})
				if err == nil {
					t.Fatalf("%s, %s: accepted", name, says)
				}
				pause(time.Minute)
				if says != "no token" && s.metric(t, "signup_sheet_attempts_total") < 2 {
					t.Errorf("%s, %s: few attempts", name, says)
				}
				expectPrivate(t, name+", "+says, s, err, append([]string{"zofia"}, m.private...))
			})
		}
	}
}

// An endpoint may know of a token that we have no more.
func TestATokenThatWasReplacedAppearsNowhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := []string{"f1rst", "s3cond"}
		asked := 0
		e := newEndpoint(t, func(n int, w http.ResponseWriter, r *http.Request) {
			switch {
			case n > 1 && r.Header.Get("Authorization") == "Bearer "+tokens[0]:
				w.WriteHeader(http.StatusUnauthorized)
			case r.Header.Get("Idempotency-Key") == "bad":
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprintf(w, "error: neither with %s nor with %s", tokens[0], tokens[1])
			}
		})
		serveHTTP(t, e, "127.0.0.1:81", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"access_token":%q,"token_type":"bearer"}`, tokens[asked])
			asked++
		})
		s := e.sink(t, func(c *Config) { c.Auth = oauth(t, "c0secret") })
		s.deliver(t.Context(), 1)
		s.deliver(t.Context(), 1)
		err := s.Deliver(t.Context(), row("bad"))
		if asked != 2 {
			t.Fatalf("asked %d times", asked)
		}
		expectPrivate(t, "replaced", s, err, tokens)
	})
}

// Tokens of a minute each would else be kept for ever.
func TestWhatIsASecretNoMoreIsForgottenAfterAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r retired
		for i := range 1000 {
			r.add(time.Now(), []string{fmt.Sprint("token-", i)})
			pause(time.Minute)
		}
		if n := len(r.texts()); n < 60 || n > 62 {
			t.Errorf("%d are known", n)
		}
	})
}
