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
		return class{accepted, "", false}
	case slices.Contains([]int{400, 413, 414, 415, 422}, status):
		return class{refused, "refused", false}
	case status == 429:
		return class{transient, "rate_limited", true}
	case status == 408, status == 425, status/100 == 5:
		return class{transient, "failing", false}
	case status == 401, status == 403:
		return class{hold, "unauthorised", true}
	case status == 404, status == 410:
		return class{hold, "not_found", true}
	case status == 407:
		return class{hold, "proxy", true}
	case status/100 == 3:
		return class{hold, "redirected", true}
	}
	return class{hold, "rejected", true} // 1xx that is final, every other 4xx
}

func TestEveryStatusHasItsVerdict(t *testing.T) {
	for status := 100; status <= 599; status++ {
		if got, want := classOfStatus(status), wantClass(status); got != want {
			t.Errorf("%d: %+v, want %+v", status, got, want)
		}
	}
	for _, status := range []int{0, 42, 600, 999} {
		if got := classOfStatus(status); got.verdict != hold {
			t.Errorf("%d: %+v", status, got)
		}
	}
}

// TestEveryStatusOfAnEndpoint sends every final status over the wire (101 is one; the
// other 1xx are followed by another) and looks at what becomes of the row.
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
			h, held := s.Hold()
			if held != want.closes || held && h.Reason != want.reason {
				t.Errorf("%d: hold %+v %v", status, h, held)
			}
			cancel(stop)
			err := <-done
			switch want.verdict {
			case accepted:
				if err != nil {
					t.Errorf("%d: %v", status, err)
				}
			case refused:
				if r, ok := errors.AsType[*Refused](err); !ok || r.Status != status || r.Attempts != 1 {
					t.Errorf("%d: %v", status, err)
				}
			case transient, hold:
				if !errors.Is(err, stop) {
					t.Errorf("%d: %v", status, err)
				}
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
	closed := httptest.NewServer(ok)
	closed.Close()

	for _, c := range []struct {
		name, url string
		change    func(*Sink)
		want      class
		words     string
	}{
		{"connection refused", closed.URL, nil, class{transient, reasonNetwork, false}, "connection refused"},
		{"hang-up", hangup.URL, nil, class{transient, reasonNetwork, false}, "connection failed or broke"},
		{"not HTTP", garbage.URL, nil, class{transient, reasonNetwork, false}, "connection failed or broke"},
		{"unknown host", "http://no-such-host.invalid/", nil, class{hold, reasonDNS, true}, "look up the host: "},
		{"unknown authority", secure.URL, nil, class{hold, reasonTLS, true}, "unknown authority"},
		{"other host", strings.Replace(secure.URL, "127.0.0.1", "localhost", 1), func(s *Sink) {
			s.transport.TLSClientConfig.RootCAs = secure.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
		}, class{hold, reasonTLS, true}, "for another host"},
		{"old TLS", old.URL, nil, class{hold, reasonTLS, true}, "tls: "},
		{"no TLS", strings.Replace(plain.URL, "http:", "https:", 1), nil, class{hold, reasonTLS, true}, "not TLS"},
		{"proxy without tunnel", "https://example.com/", func(s *Sink) {
			address, _ := url.Parse(proxy.URL)
			s.transport.Proxy = http.ProxyURL(address)
		}, class{hold, reasonProxy, true}, "407"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSink(t, Config{URL: c.url, Concurrency: 1, Timeout: 5 * time.Second})
			if c.change != nil {
				c.change(s.Sink)
			}
			a := s.attempt(t.Context(), row("1"))
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
			URL: "http://127.0.0.1/", Concurrency: 1, Timeout: time.Second,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			},
		})
		if a := s.attempt(t.Context(), row("1")); a.class != (class{transient, reasonTimeout, false}) {
			t.Errorf("%+v of %v", a.class, a.err)
		}
	})
}

func TestEveryHoldReasonHasARemedyThatNamesWhatToCheck(t *testing.T) {
	for _, reason := range holdReasons() {
		if level, text := remedy(reason); text == "" || level >= 8 && !strings.HasPrefix(text, "check ") {
			t.Errorf("%s: %v %q", reason, level, text)
		}
	}
}
