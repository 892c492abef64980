package main_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"signup-sheet/internal/ports"
)

// What nobody must be told.
const (
	privateSegment  = "segmentq7w"
	privateQuery    = "queryx9k"
	privateUser     = "userj4p"
	privatePassword = "passwordv2m"
	privateKey      = "agifykeyz8r"
)

// private returns the secrets, and the personal data of the signups.
func private() []string {
	return []string{
		privateSegment, privateQuery, privateUser, privatePassword, privateKey,
		base64.StdEncoding.EncodeToString([]byte(privateUser + ":" + privatePassword)),
		"zebulonia", "quasimodsky", "mailboxt5n", "hidden-domain", "campaignl3c", "interestb6h", "recordkeyf1d",
	}
}

// privateSignups are some that can be rows, and some that cannot.
func privateSignups(s *stage) []*kgo.Record {
	good := `{"id":"good-%d","email":"mailboxt5n@hidden-domain.example","name":"Zebulonia Quasimodsky","utm_campaign":"campaignl3c","metadata":{"interestb6h":"interestb6h"}}`
	var records []*kgo.Record
	for i, value := range []string{
		fmt.Sprintf(good, 0), fmt.Sprintf(good, 1),
		`{"id":"bad-0","email":"mailboxt5n at hidden-domain","name":"Zebulonia Quasimodsky"}`,
		`{"id":"bad-1","email":"mailboxt5n@hidden-domain.example","name":{"zebulonia":"quasimodsky"}}`,
		`{"id":"bad-2","email":"mailboxt5n@hidden-domain.example","mailboxt5n@hidden-domain.example":1,"mailboxt5n@hidden-domain.example":2}`,
		`{"id":"bad-3","email":"mailboxt5n@hidden-domain.example" zebulonia quasimodsky`,
		`{"id":"bad-4","email":"mailboxt5n@hidden-domain.example","timestamp":"zebulonia","metadata":"interestb6h"}`,
	} {
		records = append(records, &kgo.Record{
			Topic: s.topic, Key: fmt.Append(nil, "recordkeyf1d-", i), Value: []byte(value), Headers: []kgo.RecordHeader{{Key: "recordkeyf1d", Value: []byte("zebulonia")}},
		})
	}
	return records
}

// Hazard 22: every request to the webhook and to agify fails, in every way, and nothing that the program says has a secret or a person in it.
func TestNoSecretAndNoPersonIsInAnyOutput(t *testing.T) {
	for _, c := range []struct {
		name    string
		webhook func(t *testing.T) string // without path
		agify   func(t *testing.T) string
		failure string // what /status calls it
		letters int    // dead letters
	}{
		{"401 that quotes the request", quoting(401), quoting(401), "unauthorised", 5},
		{"500 that quotes the request", quoting(500), quoting(429), "failing", 5},
		{"400 that quotes the request", quoting(400), quoting(400), "refused", 7},
		{"429 that quotes the request", quoting(429), quoting(500), "rate_limited", 5},
		{"redirect that quotes the request", quoting(307), quoting(307), "redirected", 5},
		{"an answer that is not HTTP", raw(""), raw(""), "network", 5},
		{"a status that is none", raw("HTTP/1.1 "), raw("HTTP/1.1 "), "network", 5},
		{"a header that is none", raw("HTTP/1.1 200 OK\r\n"), raw("HTTP/1.1 200 OK\r\n"), "network", 5},
		{"half an answer", raw("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\nTransfer-Encoding: "), raw("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{\"age\": "), "network", 5},
		{"no answer", silent(), silent(), "timeout", 5},
		{"connection refused", refused("http"), refused("http"), "network", 5},
		{"connection refused to HTTPS", refused("https"), refused("https"), "network", 5},
		{"no such host", fixed("https://no-such..host"), fixed("http://no-such..host"), "dns", 5},
		{"a certificate that nobody knows", unknown(), unknown(), "tls", 5},
		{"HTTP where HTTPS is expected", mistaken(), mistaken(), "tls", 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, 1)
			records := privateSignups(s)
			s.Produce(t, s.topic, records...)
			keyFile := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(keyFile, []byte(privateKey+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			scheme, host, _ := strings.Cut(c.webhook(t), "://")
			webhook := fmt.Sprintf("%s://%s:%s@%s/%s/rows?token=%s", scheme, privateUser, privatePassword, host, privateSegment, privateQuery)
			p := s.start(t, webhook, "--agify.enabled", "--agify.url", c.agify(t), "--agify.api_key_file", keyFile, "--agify.timeout", "500ms", "--sink.timeout", "500ms")

			await(t, "a failure that is called "+c.failure, func() bool {
				st := p.status(t)
				return st.LastFailure != nil && st.LastFailure.What == c.failure
			})
			var taken time.Time
			await(t, "the dead letters", func() bool {
				if time.Since(taken) > time.Second {
					taken = time.Now()
					s.Produce(t, s.topic, &kgo.Record{Value: fmt.Appendf(nil, `{"id":"%s %v","email":"a@b.example"}`, evidence, taken)})
				}
				return s.EndOffsets(t, s.dlq())[0] == int64(c.letters)
			})
			if _, metrics := p.get(t, "/metrics"); !strings.Contains(metrics, `signup_sheet_enrich_lookups_total{result="unavailable"} `) ||
				strings.Contains(metrics, `signup_sheet_enrich_lookups_total{result="unavailable"} 0`) {
				t.Error("no request to agify failed: nothing is proved of its key")
			}

			said := map[string]string{"the dead letters' headers": s.ownHeaders(t, records)}
			for _, path := range []string{"/", "/livez", "/readyz", "/metrics", "/status"} {
				_, said[path] = p.get(t, path)
			}
			p.terminate(t)
			said["the log"] = p.out.String()
			for where, text := range said {
				if text == "" {
					t.Errorf("%s: empty, nothing is proved", where)
				}
				lower := strings.ToLower(text)
				for _, secret := range private() {
					if at := strings.Index(lower, strings.ToLower(secret)); at >= 0 {
						t.Errorf("%s: %q is in it: …%s…", where, secret, text[max(0, at-200):min(len(text), at+100)])
					}
				}
			}
		})
	}
}

// ownHeaders returns what the dead letters say beyond the record that they keep, which must be the source's.
func (s *stage) ownHeaders(t *testing.T, sources []*kgo.Record) string {
	t.Helper()
	var own strings.Builder
	for _, r := range s.ReadAll(t, s.dlq()) {
		i := slices.IndexFunc(sources, func(source *kgo.Record) bool {
			return bytes.Equal(source.Key, r.Key) && bytes.Equal(source.Value, r.Value)
		})
		if i < 0 {
			t.Fatalf("dead letter %s is no record of the source", r.Key)
		}
		for _, h := range r.Headers[len(sources[i].Headers):] {
			fmt.Fprintf(&own, "%s: %s\n", h.Key, h.Value)
		}
	}
	return own.String()
}

// evidence begins the ids of the events that those servers take.
const evidence = "evidence-of-life"

// quoting is a server that answers with a status and with all that it was sent: in the body, in the header, and as the place to go to.
func quoting(status int) func(t *testing.T) string {
	return func(t *testing.T) string {
		return serve(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if strings.Contains(string(body), evidence) {
				return // taken: what is refused is the row's own fault
			}
			w.Header().Set("Location", "http://"+r.Host+"/elsewhere"+r.URL.RequestURI())
			w.Header().Set("X-Request-Id", r.URL.Path)
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"error":%q,"request_id":%q,"id":"mailboxt5n@hidden-domain.example"}`, string(body), url.QueryEscape(r.URL.String()+r.Header.Get("Authorization")))
			fmt.Fprint(w, r.URL, r.Header, string(body))
		})
	}
}

// raw is a server that answers with the request itself, as one line after a beginning.
func raw(beginning string) func(t *testing.T) string {
	return func(t *testing.T) string {
		return serve(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Errorf("hijack: %v", err)
				return
			}
			defer conn.Close()
			fmt.Fprintf(conn, "%s%s %s %s\r\n\r\n", beginning, r.URL, r.Header.Get("Authorization"), body)
		})
	}
}

// silent is a server that does not answer.
func silent() func(t *testing.T) string {
	return func(t *testing.T) string {
		return serve(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body) // or the end of the client is not noticed
			<-r.Context().Done()
		})
	}
}

func serve(t *testing.T, answer http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return server.URL
}

// refused is a place where nobody listens.
func refused(scheme string) func(t *testing.T) string {
	return func(t *testing.T) string { return scheme + "://" + ports.Reserve(t).Address() }
}

func fixed(address string) func(t *testing.T) string {
	return func(*testing.T) string { return address }
}

// unknown is a server whose certificate no known authority has signed.
func unknown() func(t *testing.T) string {
	return func(t *testing.T) string {
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		quiet(server)
		server.StartTLS()
		t.Cleanup(server.Close)
		return server.URL
	}
}

// mistaken is a server that speaks no TLS where the client expects it.
func mistaken() func(t *testing.T) string {
	return func(t *testing.T) string {
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		quiet(server)
		server.Start()
		t.Cleanup(server.Close)
		return strings.Replace(server.URL, "http://", "https://", 1)
	}
}

// quiet keeps a server from writing about clients that it is meant to annoy.
func quiet(server *httptest.Server) {
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
}
