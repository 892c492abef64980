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
		})
	}
}
