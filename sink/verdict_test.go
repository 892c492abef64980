package sink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// wantClass is the table of statuses, written down independently of the code.
func wantClass(status int) class {
	switch {
	case status/100 == 2:
		return class{accepted, ""}
	case slices.Contains([]int{400, 413, 414, 415, 422}, status):
		return class{refused, "refused"}
	case status == 429:
		return class{transient, "rate_limited"}
	case status == 501, status == 505:
		return class{atFault, "rejected"}
	case status == 408, status == 409, status == 425, status/100 == 5:
		return class{transient, "failing"}
	case status == 401, status == 402, status == 403:
		return class{atFault, "unauthorised"}
	case status == 404, status == 410:
		return class{atFault, "not_found"}
	case status == 407:
		return class{atFault, "proxy"}
	case status/100 == 3:
		return class{atFault, "redirected"}
	}
	return class{atFault, "rejected"} // 1xx that is final, every other 4xx
}

func TestEveryStatusHasItsVerdict(t *testing.T) {
	usual := newTable(Preset{}, nil)
	for status := 100; status <= 599; status++ {
		if got, want := usual.of(status, nil, nil), wantClass(status); got != want {
			t.Errorf("%d: %+v, want %+v", status, got, want)
		}
	}
	for _, status := range []int{-1, 0, 42, 600, 999} {
		if got := usual.of(status, nil, nil); got.verdict != atFault {
			t.Errorf("%d: %+v", status, got)
		}
	}
}

// TestEveryStatusOfAnEndpoint sends every final status over the wire (101 is one; the
// other 1xx are followed by another) and looks at what becomes of the row: but for 2xx
// it stays, whatever the first answer is.
func TestEveryStatusOfAnEndpoint(t *testing.T) {
	for status := 101; status <= 599; status++ {
		if status > 101 && status < 200 {
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			stop := errors.New("stop")
			e := newEndpoint(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(status)
			})
			s := e.sink(t)
			done := make(chan error, 1)
			go func() { done <- s.Deliver(ctx, row("1")) }()
			synctest.Wait()
			want := wantClass(status)
			if h, held := s.Hold(); held != (status == 429) {
				t.Errorf("%d: hold %+v %v", status, h, held)
			}
			cancel(stop)
			if err := <-done; want.verdict == accepted && err != nil || want.verdict != accepted && !errors.Is(err, stop) {
				t.Errorf("%d: %v", status, err)
			}
			if got := s.metric(t, "signup_sheet_attempts_total", "result", string(want.verdict)); got != 1 {
				t.Errorf("%d: %v attempts with result %s", status, got, want.verdict)
			}
			if len(e.requests()) != 1 {
				t.Errorf("%d: %d requests", status, len(e.requests()))
			}
		})
	}
}

// TestFailuresWithoutAnAnswerHaveTheirVerdict provokes each on a real network.
func TestFailuresWithoutAnAnswerHaveTheirVerdict(t *testing.T) {
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	quiet := func(s *httptest.Server) *httptest.Server {
		s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
		return s
	}
	plain := quiet(httptest.NewServer(ok))
	defer plain.Close()
	secure := quiet(httptest.NewTLSServer(ok))
	defer secure.Close()
	old := quiet(httptest.NewUnstartedServer(ok))
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11}
	old.StartTLS()
	defer old.Close()
	hangup := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, _ := w.(http.Hijacker).Hijack()
		conn.Close()
	}))
	defer hangup.Close()
	garbage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, _ := w.(http.Hijacker).Hijack()
		fmt.Fprint(conn, "jane@example.com is not HTTP\r\n\r\n")
		conn.Close()
	}))
	defer garbage.Close()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	defer proxy.Close()
	// A port that nobody is given by chance, and a name that no name server is asked about, nor slow to answer.
	const closed, nowhere = "http://127.0.0.1:1", "no-such..host"
	by := func(address string) func(*Sink) {
		return func(s *Sink) {
			u, _ := url.Parse(address)
			s.webhook.Load().transport.Proxy = http.ProxyURL(u)
		}
	}

	for _, c := range []struct {
		name, url string
		change    func(*Sink)
		want      class
		words     string
	}{
		{"connection refused", closed, nil, class{transient, reasonNetwork}, "connection refused"},
		{"hang-up", hangup.URL, nil, class{transient, reasonNetwork}, "connection failed or broke"},
		{"not HTTP", garbage.URL, nil, class{transient, reasonNetwork}, "connection failed or broke"},
		{"unknown host", "http://" + nowhere + "/", nil, class{atFault, reasonDNS}, "look up the host: "},
		{"unknown authority", secure.URL, nil, class{atFault, reasonTLS}, "unknown authority"},
		{"other host", strings.Replace(secure.URL, "127.0.0.1", "localhost", 1), func(s *Sink) {
			s.webhook.Load().transport.TLSClientConfig.RootCAs = secure.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
		}, class{atFault, reasonTLS}, "for another host"},
		{"old TLS", old.URL, nil, class{atFault, reasonTLS}, "tls: "},
		{"no TLS", strings.Replace(plain.URL, "http:", "https:", 1), nil, class{atFault, reasonTLS}, "not TLS"},
		{"proxy without tunnel", "https://example.com/", by(proxy.URL), class{atFault, reasonProxy}, "407"},
		{"proxy that is away", "https://example.com/", by(closed), class{atFault, reasonProxy}, "proxy: connection refused"},
		{"proxy that is away, for HTTP", "http://example.com/", by(closed), class{atFault, reasonProxy}, "proxy: connection refused"},
		{"proxy with an unknown host", "https://example.com/", by("http://us3r:jane@" + nowhere), class{atFault, reasonProxy}, "proxy: look up the host: "},
		{"proxy with an unknown authority", "https://example.com/", by(secure.URL), class{atFault, reasonProxy}, "proxy: tls: the certificate is signed by an unknown authority"},
	} {
		t.Run(c.name, func(t *testing.T) {
			// Nothing here takes time but the machine, which may be slow.
			s := newSink(t, Config{URL: c.url, AllowHTTP: true, Concurrency: 1, Timeout: time.Minute})
			if c.change != nil {
				c.change(s.Sink)
			}
			a := s.attempt(t.Context(), row("1"), false)
			if a.class != c.want || !strings.Contains(a.words(), c.words) {
				t.Errorf("%+v %q of %v, want %+v", a.class, a.words(), a.err, c.want)
			}
			if strings.Contains(a.words(), "jane") {
				t.Errorf("%q quotes the endpoint", a.words())
			}
		})
	}
}

func TestADialThatTimesOutIsATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(t, Config{
			URL: "http://127.0.0.1/", Concurrency: 1, Timeout: time.Second, MaxAttempts: 1,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			},
		})
		if a := s.attempt(t.Context(), row("1"), false); a.class != (class{transient, reasonTimeout}) {
			t.Errorf("%+v of %v", a.class, a.err)
		}
	})
}

func TestRulesOverrideTheTable(t *testing.T) {
	var rules []Rule
	for _, text := range []string{"404=refused", "400:Queue is full=transient", "5xx=endpoint", "503=transient", "599=accepted", "418-420 = refused"} {
		r, err := ParseRule(text)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseRule(r.String()); err != nil || again != r {
			t.Errorf("%s is written as %s", text, r)
		}
		rules = append(rules, r)
	}
	table := newTable(Preset{}, rules)
	for _, c := range []struct {
		status int
		body   string
		want   class
	}{
		{404, "", class{refused, reasonRefused}},
		{400, "", class{refused, reasonRefused}},
		{400, "error: QUEUE IS FULL!", class{transient, reasonFailing}},
		{500, "", class{atFault, reasonRejected}},
		{501, "", class{atFault, reasonRejected}},
		{503, "", class{transient, reasonFailing}},
		{599, "", class{accepted, reasonNone}},
		{419, "", class{refused, reasonRefused}},
		{421, "", class{atFault, reasonRejected}},
	} {
		if got := table.of(c.status, nil, []byte(c.body)); got != c.want {
			t.Errorf("%d %q: %+v, want %+v", c.status, c.body, got, c.want)
		}
	}
	for _, text := range []string{"", "404", "=refused", "404=", "404=hold", "99=refused", "600=refused", "500-400=refused", "4x=refused", "xx=refused", "404-=refused"} {
		if r, err := ParseRule(text); err == nil {
			t.Errorf("%q is taken for %+v", text, r)
		}
	}
}

// A key that came before with another body: the row is there.
func TestAReusedIdempotencyKeyMeansThatTheRowIsThere(t *testing.T) {
	for body, want := range map[string]bool{
		`{"type":"https://example.com/errors/idempotency-key-reused","title":"x"}`: true,
		`{"title":"Idempotency-Key is already used"}`:                              true,
		`{"type":"https://example.com/errors/idempotency-key-missing"}`:            false,
		`{"detail":"idempotency key reused"}`:                                      false,
		`idempotency key reused`:                                                   false,
	} {
		for kind, isProblem := range map[string]bool{"application/problem+json": true, "application/problem+json; charset=utf-8": true, "application/json": false} {
			synctest.Test(t, func(t *testing.T) {
				e := newEndpoint(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", kind)
					w.WriteHeader(http.StatusUnprocessableEntity)
					fmt.Fprint(w, body)
				})
				s := e.sink(t)
				err := s.Deliver(t.Context(), row("1"))
				if (err == nil) != (want && isProblem) {
					t.Errorf("%s %s: %v", kind, body, err)
				}
			})
		}
	}
}

func TestEveryHoldReasonHasARemedyThatNamesWhatToCheck(t *testing.T) {
	for _, reason := range holdReasons() {
		if level, text := remedy(reason); text == "" || level >= 8 && !strings.HasPrefix(text, "check ") {
			t.Errorf("%s: %v %q", reason, level, text)
		}
	}
}
