package sink

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
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

// shelf is a directory with secrets, replaced one by one, or all at once by a symbolic
// link as Kubernetes does it.
type shelf struct {
	dir        string
	kubernetes bool
	puts       int
}

func (s *shelf) path(name string) string { return filepath.Join(s.dir, name) }

func (s *shelf) text(name string) credentials.Text { return credentials.Text(s.path(name)) }

func (s *shelf) put(t *testing.T, files map[string]string) {
	t.Helper()
	s.puts++
	if !s.kubernetes {
		for name, content := range files {
			certificates.Write(t, s.dir, name, []byte(content))
		}
		return
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	version := fmt.Sprint("..version-", s.puts)
	must(os.Mkdir(s.path(version), 0o700))
	for name, content := range files {
		must(os.WriteFile(filepath.Join(s.path(version), name), []byte(content), 0o600))
	}
	must(os.Symlink(version, s.path("..data_tmp")))
	must(os.Rename(s.path("..data_tmp"), s.path("..data")))
	if s.puts == 1 {
		for name := range files {
			must(os.Symlink(filepath.Join("..data", name), s.path(name)))
		}
		return
	}
	must(os.RemoveAll(s.path(fmt.Sprint("..version-", s.puts-1))))
}

// rotation is one kind of secret that changes: from generation 0 to 1.
type rotation struct {
	tls    *tls.Config // of the endpoint
	files  [2]map[string]string
	config func(*Config, *shelf)
	of     func(r *http.Request, body string) int // the generation by which a request comes; -1: none
	begin  func(t *testing.T, e *endpoint)
	end    func() // generation 0 is withdrawn
}

// rotations are made anew for each test, inside its bubble: certificates have times.
func rotations() map[string]func(t *testing.T) rotation {
	authorization := func(want ...string) func(*http.Request, string) int {
		return func(r *http.Request, _ string) int { return indexOf(want, r.Header.Get("Authorization")) }
	}
	one := func(name, first, second string) [2]map[string]string {
		return [2]map[string]string{{name: first}, {name: second}}
	}
	return map[string]func(*testing.T) rotation{
		"bearer": func(*testing.T) rotation {
			return rotation{
				files: one("token", "t0\n", "t1\n"), of: authorization("Bearer t0", "Bearer t1"),
				config: func(c *Config, s *shelf) { c.Auth = Auth{Mechanism: AuthBearer, TokenFile: s.text("token")} },
			}
		},
		"api-key": func(*testing.T) rotation {
			return rotation{
				files: one("token", "k0", "k1"),
				of:    func(r *http.Request, _ string) int { return indexOf([]string{"k0", "k1"}, r.Header.Get("X-Api-Key")) },
				config: func(c *Config, s *shelf) {
					c.Auth = Auth{Mechanism: AuthAPIKey, Header: "X-Api-Key", TokenFile: s.text("token")}
				},
			}
		},
		"basic": func(*testing.T) rotation {
			return rotation{
				files: one("password", "p0", "p1"), of: authorization("Basic dTpwMA==", "Basic dTpwMQ=="),
				config: func(c *Config, s *shelf) {
					c.Auth = Auth{Mechanism: AuthBasic, Username: "u", PasswordFile: s.text("password")}
				},
			}
		},
		"hmac": func(t *testing.T) rotation {
			secrets := [2]string{signingSecret(1, 32), signingSecret(2, 32)}
			return rotation{
				files: one("secrets", secrets[0]+"\n", secrets[1]+"\n"),
				config: func(c *Config, s *shelf) {
					c.Auth = Auth{Mechanism: AuthHMAC, SecretsFile: s.text("secrets")}
				},
				of: func(r *http.Request, body string) int {
					for i, secret := range secrets {
						hook, err := standardwebhooks.NewWebhook(secret)
						if err != nil {
							t.Error(err)
						}
						if hook.Verify([]byte(body), r.Header) == nil {
							return i
						}
					}
					return -1
				},
			}
		},
		"the URL's path": func(*testing.T) rotation {
			return rotation{
				files:  one("url", "http://127.0.0.1/hooks/0\n", "http://127.0.0.1/hooks/1"),
				config: func(c *Config, s *shelf) { c.URL, c.URLFile = "", s.text("url") },
				of:     func(r *http.Request, _ string) int { return indexOf([]string{"/hooks/0", "/hooks/1"}, r.URL.Path) },
			}
		},
		"the URL's host and user": func(*testing.T) rotation {
			return rotation{
				files:  one("url", "http://u:p0@127.0.0.1/hook", "http://u:p1@localhost:8080/hook\n"),
				config: func(c *Config, s *shelf) { c.URL, c.URLFile = "", s.text("url") },
				of: func(r *http.Request, _ string) int {
					_, password, _ := r.BasicAuth()
					return indexOf([]string{"127.0.0.1 p0", "localhost:8080 p1"}, r.Host+" "+password)
				},
				begin: func(t *testing.T, e *endpoint) { e.serveAt(t, "localhost:8080", nil) },
			}
		},
		"oauth2": func(*testing.T) rotation {
			a := &authorizationServer{secret: "s1", old: "s0", expires: 3600, took: time.Second}
			return rotation{
				files: one("secret", "s0", "s1\n"),
				config: func(c *Config, s *shelf) {
					c.Auth = Auth{Mechanism: AuthOAuth2, TokenURL: "http://127.0.0.1:81/token", ClientID: "signup", ClientSecretFile: s.text("secret")}
				},
				begin: func(t *testing.T, e *endpoint) { a.serve(t, e) },
				end:   func() { a.change(func() { a.old = "" }) },
				of: func(r *http.Request, _ string) int {
					if _, by, _ := strings.Cut(r.Header.Get("Authorization"), "-by-s"); by == "0" {
						return 0
					} else if by == "1" {
						return 1
					}
					return -1
				},
			}
		},
		"client certificate": func(t *testing.T) rotation {
			authorities := [2]*certificates.Authority{certificates.NewAuthority(t), certificates.NewAuthority(t)}
			pairs := [2]certificates.Pair{authorities[0].Issue(t, "client-0"), authorities[1].Issue(t, "client-1")}
			server := certificates.NewAuthority(t)
			both := authorities[0].Pool()
			both.AppendCertsFromPEM(authorities[1].PEM)
			filesOf := func(p certificates.Pair) map[string]string {
				return map[string]string{"ca.crt": string(server.PEM), "tls.crt": string(p.Certificate), "tls.key": string(p.Key)}
			}
			return rotation{
				tls: &tls.Config{
					MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{server.Issue(t, "server").TLS(t)},
					ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: both,
				},
				files: [2]map[string]string{filesOf(pairs[0]), filesOf(pairs[1])},
				config: func(c *Config, s *shelf) {
					c.URL = "https://127.0.0.1:80/hook"
					c.TLSFiles = credentials.Files{Authorities: s.path("ca.crt"), Certificate: s.path("tls.crt"), Key: s.path("tls.key")}
				},
				of: func(r *http.Request, _ string) int {
					return indexOf([]string{"client-0", "client-1"}, r.TLS.PeerCertificates[0].Subject.CommonName)
				},
			}
		},
	}
}

func indexOf(list []string, text string) int {
	for i, one := range list {
		if one == text {
			return i
		}
	}
	return -1
}

// play rotates under load ten seconds after the beginning; generation 0 is withdrawn
// after so long. It returns the sink and how many requests came by each generation, and
// how many by 0 after it was withdrawn.
func (r rotation) play(t *testing.T, kubernetes bool, after time.Duration) (s *probed, c *crowd, seen [2]int, late int, switched time.Duration) {
	t.Helper()
	files := &shelf{dir: t.TempDir(), kubernetes: kubernetes}
	files.put(t, r.files[0])
	began := time.Now()
	var mu sync.Mutex
	e := &endpoint{secure: r.tls}
	handler := func(n int, w http.ResponseWriter, req *http.Request) {
		body := e.body(n)
		at := time.Since(began)
		pause(100 * time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		generation := r.of(req, body)
		if generation < 0 {
			t.Errorf("a request by nothing known: %v", req.Header)
			return
		}
		seen[generation]++
		if generation == 1 && switched == 0 {
			switched = at
		}
		if generation == 0 && at >= 10*time.Second+after {
			late++
			w.WriteHeader(http.StatusUnauthorized)
		}
	}
	e.serve(t, handler)
	e.handler = handler
	if r.begin != nil {
		r.begin(t, e)
	}
	s = e.sink(t, func(c *Config) { c.Concurrency = 16; r.config(c, files) })
	c = s.keys(t.Context(), 16, 300)
	pause(10 * time.Second)
	files.put(t, r.files[1])
	pause(after)
	mu.Lock()
	if r.end != nil {
		r.end()
	}
	mu.Unlock()
	c.running.Wait()
	return s, c, seen, late, switched - 10*time.Second
}

// Each of them is picked up within ten seconds, without a restart: no row is lost, and not one request comes with what was
// withdrawn ten seconds after it was replaced.
func TestWhatIsReplacedIsUsedWithinTenSeconds(t *testing.T) {
	for name, make := range rotations() {
		for _, kubernetes := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, kubernetes %v", name, kubernetes), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s, c, seen, late, switched := make(t).play(t, kubernetes, 10*time.Second)
					if accepted, givenUp := c.counts(); accepted != 16*300 || givenUp != 0 {
						t.Errorf("%d accepted, %d given up", accepted, givenUp)
					}
					if late != 0 || seen[0] == 0 || seen[1] == 0 || seen[0]+seen[1] != 16*300 || switched > 6*time.Second {
						t.Errorf("%d requests with what was withdrawn; %v by generation, from %v on", late, seen, switched)
					}
					for _, name := range []string{"retries", "holds", "connection_repeats", "credential_repeats"} {
						if n := s.metric(t, "signup_sheet_"+name+"_total"); n != 0 {
							t.Errorf("%s: %v", name, n)
						}
					}
					if n := s.metric(t, "signup_sheet_credential_changes_total"); n != 1 || s.metric(t, "signup_sheet_credential_files_unreadable") != 0 {
						t.Errorf("%v changes", n)
					}
					if strings.Contains(s.logs.String(), "level=WARN") || strings.Count(s.logs.String(), "has changed") != 1 {
						t.Errorf("logs: %.2000s", s.logs.String())
					}
				})
			})
		}
	}
}

// One that is withdrawn in the moment in which it is replaced: what is refused is sent again at once with the other.
func TestWhatIsWithdrawnAtOnceCostsNoRow(t *testing.T) {
	for name, make := range rotations() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				s, c, _, late, switched := make(t).play(t, true, 0)
				if accepted, givenUp := c.counts(); accepted != 16*300 || givenUp != 0 {
					t.Errorf("%d accepted, %d given up", accepted, givenUp)
				}
				if late == 0 || late > 2*16 || switched > 3*time.Second || time.Since(began) > 40*time.Second {
					t.Errorf("%d refused, the other from %v on; took %v", late, switched, time.Since(began))
				}
				if s.metric(t, "signup_sheet_credential_repeats_total") == 0 {
					t.Error("nothing was sent again at once")
				}
			})
		})
	}
}

// A file that is empty, missing or anything else for a while is warned of once a minute, and what was in it is used on.
func TestWhatWasReadLastIsUsedOn(t *testing.T) {
	for name, make := range rotations() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := make(t)
				files := &shelf{dir: t.TempDir()}
				files.put(t, r.files[0])
				last := -1
				e := &endpoint{secure: r.tls}
				handler := func(n int, _ http.ResponseWriter, req *http.Request) { last = r.of(req, e.body(n)) }
				e.serve(t, handler)
				e.handler = handler
				if r.begin != nil {
					r.begin(t, e)
				}
				s := e.sink(t, func(c *Config) { r.config(c, files) })
				expect := func(generation int) {
					t.Helper()
					for range 20 {
						if err := s.Deliver(t.Context(), row("1")); err != nil || last != generation {
							t.Fatalf("%v, generation %d, want %d", err, last, generation)
						}
						pause(6 * time.Second)
					}
				}
				expect(0)
				path := ""
				for name := range r.files[0] {
					path = name
				}
				warnings := 0
				for i, damage := range []func(){
					func() { certificates.Write(t, files.dir, path, nil) },
					func() { certificates.Write(t, files.dir, path, []byte("\n")) },
					func() { certificates.Write(t, files.dir, path, []byte("S3CR3T\x00\x07\nS3CR3T")) },
					func() {
						if err := os.Remove(files.path(path)); err != nil {
							t.Fatal(err)
						}
					},
					func() {
						if err := os.Mkdir(files.path(path), 0o700); err != nil {
							t.Fatal(err)
						}
					},
				} {
					damage()
					expect(0) // two minutes
					if s.metric(t, "signup_sheet_credential_files_unreadable") != 1 {
						t.Errorf("damage %d: no metric says so", i)
					}
					n := strings.Count(s.logs.String(), `msg="cannot read a file: what was read before is used on"`)
					if n-warnings < 1 || n-warnings > 3 {
						t.Errorf("damage %d: %d warnings in two minutes", i, n-warnings)
					}
					warnings = n
				}
				if err := os.Remove(files.path(path)); err != nil {
					t.Fatal(err)
				}
				files.put(t, r.files[1])
				pause(4 * time.Second) // for a token by the new secret
				if err := s.Deliver(t.Context(), row("1")); err != nil {
					t.Fatal(err)
				}
				pause(4 * time.Second)
				expect(1)
				if s.metric(t, "signup_sheet_credential_files_unreadable") != 0 || strings.Contains(s.logs.String(), "S3CR3T") {
					t.Error(s.logs.String())
				}
			})
		})
	}
}

// A certificate is replaced before its key: the pair before is used until both are there.
func TestHalfOfAPairIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rotations()["client certificate"](t)
		files := &shelf{dir: t.TempDir()}
		files.put(t, r.files[0])
		last := -1
		e := &endpoint{secure: r.tls}
		e.serve(t, func(_ int, _ http.ResponseWriter, req *http.Request) { last = r.of(req, "") })
		s := e.sink(t, func(c *Config) { r.config(c, files) })
		for _, step := range []struct {
			file string
			want int
		}{{"", 0}, {"tls.crt", 0}, {"tls.key", 1}} {
			if step.file != "" {
				files.put(t, map[string]string{step.file: r.files[1][step.file]})
			}
			pause(4 * time.Second)
			if err := s.Deliver(t.Context(), row("1")); err != nil || last != step.want {
				t.Errorf("after %q: %v, generation %d, want %d", step.file, err, last, step.want)
			}
		}
	})
}

// An authority that replaces another is trusted within seconds, and the other not any more.
func TestAnAuthorityThatIsReplacedIsTrustedNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		authorities := [2]*certificates.Authority{certificates.NewAuthority(t), certificates.NewAuthority(t)}
		files := &shelf{dir: t.TempDir()}
		files.put(t, map[string]string{"ca.crt": string(authorities[0].PEM)})
		e := &endpoint{}
		serve := func(by int) (stop func()) {
			e.secure = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{authorities[by].Issue(t, "server").TLS(t)}}
			return e.serve(t, always(http.StatusOK))
		}
		serve(0)
		s := e.sink(t, func(c *Config) {
			c.URL = "https://127.0.0.1:80/hook"
			c.TLSFiles = credentials.Files{Authorities: files.path("ca.crt")}
		})
		if err := s.Deliver(t.Context(), row("1")); err != nil {
			t.Fatal(err)
		}
		files.put(t, map[string]string{"ca.crt": string(authorities[1].PEM)})
		pause(4 * time.Second)
		if a := s.attempt(t.Context(), row("1"), false); a.verdict == accepted {
			t.Errorf("%+v on a connection with whom is trusted no more", a.class)
		}
	})
}

// Files that change at one moment are used together, not one of them before and one after it.
func TestSeveralFilesChangeTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := &shelf{dir: t.TempDir(), kubernetes: true}
		generation := func(i int) map[string]string {
			return map[string]string{"url": fmt.Sprint("http://127.0.0.1/", i), "token": fmt.Sprint("t", i)}
		}
		files.put(t, generation(0))
		mixed, changes := 0, map[string]bool{}
		e := newEndpoint(t, func(_ int, _ http.ResponseWriter, r *http.Request) {
			changes[r.URL.Path] = true
			if "Bearer t"+strings.TrimPrefix(r.URL.Path, "/") != r.Header.Get("Authorization") {
				mixed++
			}
		})
		s := e.sink(t, func(c *Config) {
			c.URL, c.URLFile, c.Auth = "", files.text("url"), Auth{Mechanism: AuthBearer, TokenFile: files.text("token")}
		})
		// The swap comes between the reading of the two.
		for i := range s.sources {
			read := s.sources[i].read
			s.sources[i].read = func(to *access) error {
				err := read(to)
				if i == 0 && len(changes) == 1 && files.puts == 1 {
					files.put(t, generation(1))
				}
				return err
			}
		}
		for range 10 {
			if err := s.Deliver(t.Context(), row("1")); err != nil {
				t.Fatal(err)
			}
			pause(time.Second)
		}
		if mixed != 0 || len(changes) != 2 {
			t.Errorf("%d requests with one of each; %v", mixed, changes)
		}
	})
}

// The name of the endpoint comes to lead elsewhere, and connections are never idle: within ten minutes nothing is sent to
// where it led, and no row notices.
func TestConnectionsFollowTheNameOfTheEndpoint(t *testing.T) {
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(protocol, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := certificates.NewAuthority(t)
				e := &endpoint{}
				scheme := "http://"
				if protocol == "HTTP/2.0" {
					scheme = "https://"
					e.secure = &tls.Config{NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{a.Issue(t, "server").TLS(t)}}
				}
				var mu sync.Mutex
				last := map[string]time.Time{}
				handler := func(_ int, _ http.ResponseWriter, r *http.Request) {
					pause(200 * time.Millisecond)
					mu.Lock()
					defer mu.Unlock()
					last[r.Context().Value(http.LocalAddrContextKey).(net.Addr).String()] = time.Now()
					if r.Proto != protocol {
						t.Error(r.Proto)
					}
				}
				e.handler = handler
				e.serveAt(t, "127.0.0.1:8001", handler)
				e.serveAt(t, "127.0.0.1:8002", handler)
				leads := "127.0.0.1:8001"
				open := map[string]int{}
				s := e.sink(t, func(c *Config) {
					c.URL = scheme + "localhost/hook"
					c.TLS = &tls.Config{RootCAs: a.Pool(), MinVersion: tls.VersionTLS12}
					c.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
						mu.Lock()
						defer mu.Unlock()
						to := leads
						conn, err := e.DialContext(ctx, network, to)
						open[to]++
						return &closing{Conn: conn, closed: sync.OnceFunc(func() { mu.Lock(); defer mu.Unlock(); open[to]-- })}, err
					}
				})
				began := time.Now()
				crowd := s.keys(t.Context(), 8, 14*60*5)
				pause(time.Minute)
				mu.Lock()
				leads = "127.0.0.1:8002"
				mu.Unlock()
				pause(10 * time.Minute)
				mu.Lock()
				if d := last["127.0.0.1:8001"].Sub(began); d > 6*time.Minute || open["127.0.0.1:8001"] != 0 || open["127.0.0.1:8002"] > 8 {
					t.Errorf("the last request to where the name led came after %v; %v open", d, open)
				}
				mu.Unlock()
				crowd.running.Wait()
				if accepted, _ := crowd.counts(); accepted != 8*14*60*5 {
					t.Errorf("%d accepted", accepted)
				}
				if s.metric(t, "signup_sheet_retries_total") != 0 || s.metric(t, "signup_sheet_connection_repeats_total") != 0 {
					t.Error("rows noticed")
				}
				if now := time.Since(began); now > 15*time.Minute {
					t.Errorf("took %v", now)
				}
			})
		})
	}
}

// closing is a connection that tells when it is closed.
type closing struct {
	net.Conn
	closed func()
}

func (c *closing) Close() error {
	c.closed()
	return c.Conn.Close()
}

// Connections that are not used any more are closed when the last attempt on any of
// them has its answer, and not before: one whose answer is about to be handed over is
// in the transport's pool already.
func TestReplacedConnectionsAreClosedAfterTheirLastAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e endpoint
		e.serve(t, func(_ int, _ http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Idempotency-Key") == "slow" {
				pause(4 * time.Second)
			}
		})
		var open atomic.Int32
		s := e.sink(t, func(c *Config) {
			c.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := e.DialContext(ctx, network, address)
				if err != nil {
					return nil, err
				}
				open.Add(1)
				return &openConn{Conn: conn, open: &open}, nil
			}
		})
		deliver := func(id string) {
			if err := s.Deliver(t.Context(), row(id)); err != nil {
				t.Error(err)
			}
		}
		expect := func(when string, want int32) {
			t.Helper()
			synctest.Wait()
			if n := open.Load(); n != want {
				t.Errorf("%s: %d connections are open, want %d", when, n, want)
			}
		}
		pause(connectionAge - time.Second)
		var slow sync.WaitGroup
		slow.Go(func() { deliver("slow") })
		synctest.Wait()
		deliver("quick")
		expect("before", 2)
		pause(2 * time.Second)
		deliver("on a new one")
		expect("with an attempt under way on an old one", 3)
		slow.Wait()
		expect("after it", 1)
		s.Close()
		expect("at the end", 0)
	})
}

// openConn is one of those that are open, until it is closed.
type openConn struct {
	net.Conn
	open *atomic.Int32
	once sync.Once
}

func (c *openConn) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}
