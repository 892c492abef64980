package sink

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
)

// What is shown of a request is what is sent, but for what is secret.
func TestRequestIsTheOneThatIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent *http.Request
		e := newEndpoint(t, func(_ int, _ http.ResponseWriter, r *http.Request) { sent = r })
		s := e.sink(t, func(c *Config) { c.URL = "http://me:S3CR3T@127.0.0.1/S3CR3T?key=S3CR3T" })
		const body = `{"event_id":"7","name":"Żofia & Ann <3"}`
		row := Row{EventID: "7", HeaderID: "7", Body: []byte(body)}
		r, err := s.Request(t.Context(), row)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(e.requests()); n > 0 {
			t.Fatalf("%d requests were sent", n)
		}
		if err := s.Deliver(t.Context(), row); err != nil {
			t.Fatal(err)
		}
		if r.Method != sent.Method || r.URL != "http://127.0.0.1/[secret]" || string(r.Body) != body || e.requests()[0].body != body {
			t.Errorf("%s %s %s", r.Method, r.URL, r.Body)
		}
		shown := map[string]bool{}
		for _, f := range r.Header {
			shown[f.Name] = true
			if strings.Contains(f.Value, "S3CR3T") {
				t.Errorf("%s shows a secret", f.Name)
			}
			want := sent.Header.Get(f.Name)
			switch f.Name {
			case "Host":
				want = sent.Host
			case "Authorization":
				want = secretText
			}
			if f.Value != want {
				t.Errorf("%s: %s is shown, and %s sent", f.Name, f.Value, want)
			}
		}
		for name := range sent.Header {
			if !shown[name] {
				t.Errorf("%s is sent, and not shown", name)
			}
		}
	})
}

// It is no attempt, so nobody has to permit it.
func TestRequestNeedsNoPermit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(endpoint).sink(t, func(c *Config) { c.Permit = never{} })
		if r, err := s.Request(t.Context(), row("1")); err != nil || len(r.Body) == 0 {
			t.Errorf("%+v, %v", r, err)
		}
		if _, err := s.Try(t.Context(), row("1")); err == nil {
			t.Error("it tried")
		}
	})
}

// never permits nothing.
type never struct{}

func (never) Wait(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func (never) Valid() bool { return false }

// A field that nobody has said to be harmless is a secret.
func TestRequestHidesFieldsThatItDoesNotKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, always(200))
		s := e.sink(t, func(c *Config) { c.URL = "http://127.0.0.1/" })
		s.webhook.Load().header.Set("X-Any-Key", "S3CR3T")
		r, err := s.Request(t.Context(), row("1"))
		if err != nil || r.URL != "http://127.0.0.1/" {
			t.Fatalf("%s, %v", r.URL, err)
		}
		for _, f := range r.Header {
			if f.Name == "X-Any-Key" && f.Value == secretText {
				return
			}
		}
		t.Errorf("%v", r.Header)
	})
}

// The operator names the field of an API key: none that is shown may be free for it.
func TestRequestHidesAKeyInAnyField(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, name := range append(shownFields(), "Accept", "X-Request-Id", "Authorization", "Cookie") {
			if CheckAuthHeader(name) != nil {
				continue
			}
			s := new(endpoint).sink(t, func(c *Config) { c.Auth = Auth{Mechanism: AuthAPIKey, Header: name, TokenFile: fileOf(t, "S3CR3T")} })
			r, err := s.Request(t.Context(), row("1"))
			if err != nil || strings.Contains(fmt.Sprint(r), "S3CR3T") {
				t.Errorf("%s: %+v, %v", name, r.Header, err)
			}
		}
	})
}
