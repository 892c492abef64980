package enrich_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"signup-sheet/enrich"
)

func TestRedirectIsNotFollowed(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/elsewhere" {
						_, _ = io.WriteString(w, michael)
						return
					}
					w.Header().Set("Location", "/elsewhere")
					w.WriteHeader(status)
				})
				f.wantNoAge(t, "michael")
				if got := f.asked(); got != 1 {
					t.Errorf("%d requests, want 1", got)
				}
			})
		})
	}
}

// A body that goes on and on is read up to its limit, at once, and its connection is given up.
func TestHugeBodyIsReadUpToItsLimit(t *testing.T) {
	for _, status := range []int{200, 500} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sent := make(chan int, 1)
				f := start(t, func(w http.ResponseWriter, _ *http.Request) {
					w.WriteHeader(status)
					total := 0
					for total < 1<<20 {
						n, err := io.WriteString(w, strings.Repeat(" ", 1024))
						total += n
						if err != nil {
							break
						}
					}
					sent <- total
				})
				begin := time.Now()
				f.wantNoAge(t, "michael")
				if got := time.Since(begin); got != 0 {
					t.Errorf("waited %s", got)
				}
				if got := <-sent; got > 128<<10 {
					t.Errorf("%d bytes were taken", got)
				}
			})
		})
	}
}

// An age within a body of 64 KiB counts, one in a larger body does not.
func TestAnswerMayHave64KiB(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		size := 64 << 10
		f := start(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, michael+strings.Repeat(" ", size-len(michael)))
		})
		f.wantAge(t, "michael", 57)
		size++
		f.wantNoAge(t, "anna")
	})
}

// While agify fails a line is logged at once and then one a minute, with the number of failures; when it is back, one more.
func TestOutageIsLoggedAtMostOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fail := true
		f := start(t, func(w http.ResponseWriter, _ *http.Request) {
			if fail {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			_, _ = io.WriteString(w, michael)
		})
		lines := func() []string { return strings.Split(strings.TrimSpace(f.log.String()), "\n") }

		for range 10 * 150 { // 150 s
			f.wantNoAge(t, "michael")
			<-time.After(100 * time.Millisecond)
		}
		got := lines()
		if len(got) < 2 || len(got) > 3 {
			t.Fatalf("%d lines in 150 s, want 2 or 3:\n%s", len(got), f.log)
		}
		for _, line := range got {
			if !strings.Contains(line, `"level":"WARN"`) || !strings.Contains(line, `"failures":`) || !strings.Contains(line, `"reason":"status","status":503`) {
				t.Errorf("got %s", line)
			}
		}

		fail = false
		<-time.After(time.Minute)
		f.wantNoAge(t, "michael") // nobody waits for the probe
		synctest.Wait()
		f.wantAge(t, "anna", 57)
		if more := lines()[len(got):]; len(more) != 1 || !strings.Contains(more[0], "succeed again") {
			t.Errorf("after the outage:\n%s", f.log)
		}
	})
}

func TestFlappingIsLoggedAtMostTwiceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		f := start(t, func(w http.ResponseWriter, _ *http.Request) {
			if n++; n%2 == 0 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			_, _ = io.WriteString(w, michael)
		})
		for i := range 550 { // 55 s
			f.age(t.Context(), fmt.Sprintf("name%d", i), "")
			<-time.After(100 * time.Millisecond)
		}
		if got := strings.Count(f.log.String(), "\n"); got != 2 {
			t.Errorf("%d lines in 55 s, want 2:\n%s", got, f.log)
		}
	})
}

// However a request fails, and whatever it is answered, neither the name nor the key nor what was answered is seen anywhere. (Hazard 22.)
func TestNoFailureShowsNameKeyOrAnswer(t *testing.T) {
	raw := func(answer string) func(*enrich.Config) {
		return func(c *enrich.Config) { c.DialContext = answering(answer) }
	}
	http200 := func(body string) string {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	const secrets = "markername markerkey markeranswer"
	for _, tc := range []struct {
		name   string
		change func(*enrich.Config)
		reason string
	}{
		{"refused", func(c *enrich.Config) {
			c.DialContext = func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
			}
		}, "network"},
		{"unknown host", func(c *enrich.Config) {
			c.DialContext = func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.DNSError{Err: "no such host", Name: "api.agify.io", IsNotFound: true}
			}
		}, "network"},
		{"a dialer's own error", func(c *enrich.Config) {
			c.DialContext = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New(secrets) }
		}, "network"},
		{"no answer", func(c *enrich.Config) { c.DialContext = blackHole(func() {}) }, "timeout"},
		{"closed", raw(""), "network"},
		{"not HTTP", raw(secrets + "\r\n\r\n"), "network"},
		{"bad status", raw("HTTP/1.1 " + secrets + "\r\n\r\n"), "network"},
		{"bad header", raw("HTTP/1.1 200 OK\r\n" + secrets + "\r\n\r\n"), "network"},
		{"bad length", raw("HTTP/1.1 200 OK\r\nContent-Length: " + secrets + "\r\n\r\n"), "network"},
		{"bad encoding", raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: " + secrets + "\r\n\r\n"), "network"},
		{"bad chunk", raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + secrets + "\r\n"), "network"},
		{"huge header", raw("HTTP/1.1 200 OK\r\nX: " + strings.Repeat(secrets, 10_000) + "\r\n\r\n"), "network"},
		{"half a body", raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + secrets), "network"},
		{"bad location", raw("HTTP/1.1 302 " + secrets + "\r\nLocation: :" + secrets + "\r\nContent-Length: 0\r\n\r\n"), "status"},
		{"status text", raw("HTTP/1.1 500 " + secrets + "\r\nContent-Length: 0\r\n\r\n"), "status"},
		{"error body", raw("HTTP/1.1 422 Unprocessable Entity\r\nContent-Length: 33\r\n\r\n" + secrets), "status"},
		{"agify's own error", raw(strings.Replace(http200(`{"error":"`+secrets+`"}`), "200 OK", "401 Unauthorized", 1)), "unauthorized"},
		{"garbage", raw(http200(secrets)), "answer"},
		{"age of another type", raw(http200(`{"age":"` + secrets + `"}`)), "answer"},
		{"a key twice", raw(http200(`{"markeranswer":1,"markeranswer":1,"age":57}`)), "answer"},
		{"TLS with a server that has none", func(c *enrich.Config) {
			c.URL = "https://127.0.0.1"
			c.DialContext = answering("HTTP/1.1 400 " + secrets + "\r\n\r\n")
		}, "network"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, never, func(c *enrich.Config) { c.APIKey = keyOf("markerkey") }, tc.change)
				f.wantNoAge(t, "Markername")
				if got := f.value(t, "signup_sheet_enrich_request_failures_total", tc.reason); got != 1 {
					t.Errorf("%g failures with reason %s, want 1", got, tc.reason)
				}
				metrics, err := f.reg.Gather()
				if err != nil {
					t.Fatal(err)
				}
				if f.log.String() == "" {
					t.Error("nothing was logged")
				}
				if all := strings.ToLower(f.log.String() + fmt.Sprint(metrics)); strings.Contains(all, "marker") {
					t.Errorf("a secret shows:\n%s", all)
				}
			})
		})
	}
}

// Over a real network, with TLS: the log says what the operator needs to know.
func TestTLSFailureIsNamed(t *testing.T) {
	server := httptest.NewUnstartedServer(says(michael))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	defer server.Close()
	log := new(syncBuffer)
	e, err := enrich.New(enrich.Config{URL: server.URL, Timeout: time.Minute, CacheSize: 1, CacheTTL: time.Hour, UnknownTTL: time.Hour, BatchSize: 10, Concurrency: 1, APIKey: keyOf("markerkey")}, nil, jsonLog(log))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, status := e.Age(t.Context(), "markername", "", alone); status != "unavailable" {
		t.Error("an age from a server that nobody vouches for")
	}
	if !strings.Contains(log.String(), "x509: certificate signed by unknown authority") || strings.Contains(log.String(), "marker") {
		t.Errorf("logged %s", log)
	}
}

func TestAgeOverARealNetwork(t *testing.T) {
	server := httptest.NewServer(says(michael))
	defer server.Close()
	e, err := enrich.New(enrich.Config{URL: server.URL, Timeout: time.Minute, CacheSize: 1, CacheTTL: time.Hour, UnknownTTL: time.Hour, BatchSize: 10, Concurrency: 1}, nil, jsonLog(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if age, status := e.Age(t.Context(), "Michael", "US", alone); age != 57 || status != "miss" {
		t.Errorf("got %d, %s, want 57", age, status)
	}
}

// blackHole dials for ever, until its context ends.
func blackHole(ended func()) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		ended()
		return nil, ctx.Err()
	}
}

// answering gives connections to a server that reads one request, says answer, and hangs up. What it says need not be HTTP.
func answering(answer string) func(context.Context, string, string) (net.Conn, error) {
	if strings.HasPrefix(answer, "{") {
		answer = fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer)
	}
	return func(context.Context, string, string) (net.Conn, error) {
		server, client := net.Pipe()
		go func() {
			defer server.Close()
			_, _ = bufio.NewReader(server).ReadSlice('\n')
			_, _ = io.WriteString(server, answer)
		}()
		return client, nil
	}
}
