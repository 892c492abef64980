package sink

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"signup-sheet/internal/certificates"
)

// internet is servers of any name, by TLS, in a bubble.
type internet struct {
	kfake.VirtualNetwork
	client *tls.Config

	mu      sync.Mutex
	seen    []*http.Request // the body can be read
	handler http.HandlerFunc
}

// newInternet starts servers that answer with handler.
func newInternet(t *testing.T, handler http.HandlerFunc) *internet {
	t.Helper()
	authority := certificates.NewAuthority(t)
	pair := authority.Issue(t, "vendor", func(c *x509.Certificate) {
		c.NotAfter = time.Now().Add(100 * time.Hour)
		c.DNSNames = []string{
			"hooks.zapier.com", "hook.eu1.make.com", "acme.app.n8n.cloud", "hooks.slack.com", "api.hubapi.com",
			"script.google.com", "script.googleusercontent.com", "accounts.google.com", "elsewhere.example",
		}
	})
	i := &internet{client: &tls.Config{RootCAs: authority.Pool(), MinVersion: tls.VersionTLS12}, handler: handler}
	listener, err := i.Listen("tcp", "127.0.0.1:443")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, 0),
		ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			kept := r.Clone(context.Background()) //nolint:usetesting // it outlives the request
			kept.Body = io.NopCloser(bytes.NewReader(body))
			i.mu.Lock()
			i.seen = append(i.seen, kept)
			i.mu.Unlock()
			i.handler(w, r)
		}),
	}
	var running sync.WaitGroup
	running.Go(func() {
		_ = server.Serve(tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{pair.TLS(t)}, MinVersion: tls.VersionTLS12}))
	})
	t.Cleanup(func() {
		server.Close()
		listener.Close()
		running.Wait()
	})
	return i
}

// requests returns those that reached a host, or all for "".
func (i *internet) requests(host string) []*http.Request {
	i.mu.Lock()
	defer i.mu.Unlock()
	var found []*http.Request
	for _, r := range i.seen {
		if host == "" || r.Host == host {
			found = append(found, r)
		}
	}
	return found
}

// posts returns the requests with this Idempotency-Key.
func (i *internet) posts(key string) []*http.Request {
	return slices.DeleteFunc(i.requests(""), func(r *http.Request) bool { return r.Header.Get("Idempotency-Key") != key })
}

func bodyOf(t *testing.T, r *http.Request) string {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// addresses returns where endpoints of a preset are.
func addresses() map[string]string {
	return map[string]string{
		"generic":     "https://elsewhere.example/hook",
		"zapier":      "https://hooks.zapier.com/hooks/catch/12345/s3cret/",
		"make":        "https://hook.eu1.make.com/s3cret",
		"n8n":         "https://acme.app.n8n.cloud/webhook/s3cret",
		"apps-script": "https://script.google.com/macros/s/s3cret/exec",
		"slack":       "https://hooks.slack.com/services/T0/B0/s3cret",
		"hubspot":     "https://api.hubapi.com/crm/objects/2026-03/contacts/batch/upsert",
	}
}

// sink returns a sink with the defaults of a preset.
func (i *internet) sink(t *testing.T, name string, change ...func(*Config)) *probed {
	t.Helper()
	p, ok := PresetNamed(name)
	if !ok {
		t.Fatalf("no preset %q", name)
	}
	cfg := Config{
		URL: addresses()[name], Preset: name,
		Concurrency: p.Concurrency, Timeout: p.Timeout, Rate: p.Rate, MaxBodyBytes: p.MaxBodyBytes,
		MaxAttempts: 12, MaxElapsed: 15 * time.Minute, DeadLetterBudget: 20,
		UserAgent: "signup-sheet/test", TLS: i.client,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return i.DialContext(ctx, network, "127.0.0.1:443")
		},
	}
	for _, c := range change {
		c(&cfg)
	}
	return newSink(t, cfg)
}

// says answers with a status, a Content-Type and a body.
func says(status int, kind, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

const (
	jsonType = "application/json; charset=utf-8"
	textType = "text/plain; charset=utf-8"
	htmlType = "text/html; charset=utf-8"

	loginPage = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>ok</body></html>"
)

// googleSays answers as Google does for a script: a redirect to what the script said.
func googleSays(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Host == "script.google.com" {
			w.Header().Set("Location", "https://script.googleusercontent.com/macros/echo?user_content_key=k3y&lib=l1b")
			says(http.StatusFound, htmlType, "<HTML><HEAD><TITLE>Moved Temporarily</TITLE></HEAD></HTML>")(w, r)
			return
		}
		says(http.StatusOK, jsonType, body)(w, r)
	}
}

func redirectTo(status int, target string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", target)
		says(status, htmlType, "<HTML>Moved</HTML>")(w, r)
	}
}

// usual is what the vendors say of a row that they take.
func usual() map[string]http.HandlerFunc {
	const id = "0192a4b0-0000-7000-8000-000000000000"
	return map[string]http.HandlerFunc{
		"generic":     says(http.StatusOK, htmlType, loginPage),
		"zapier":      says(http.StatusOK, jsonType, `{"attempt":"`+id+`","id":"`+id+`","request_id":"`+id+`","status":"success"}`),
		"make":        says(http.StatusOK, textType, "Accepted"),
		"n8n":         says(http.StatusOK, jsonType, `{"message":"Workflow was started"}`),
		"apps-script": googleSays(`{"ok":true}`),
		"slack":       says(http.StatusOK, textType, "ok"),
		"hubspot": says(http.StatusOK, jsonType, `{"completedAt":"2026-11-28T00:00:00Z","results":[{"id":"512","new":true,"properties":{}}],`+
			`"status":"COMPLETE"}`),
	}
}

// answers are what vendors say, by docs/destinations and their sources, and what comes
// of it: accepted, refused (a dead letter, others being accepted), or the reason for
// which the row is tried again.
func answers() []struct {
	preset, name, want string
	answer             http.HandlerFunc
} {
	all := []struct {
		preset, name, want string
		answer             http.HandlerFunc
	}{
		{"zapier", "accepted, the Zap may be off or deleted", "accepted", usual()["zapier"]},
		{"zapier", "accepted, silent mode", "accepted", says(200, textType, "")},
		{"zapier", "rate limit", reasonRateLimited, says(429, jsonType, `{"status":"throttled"}`)},
		{"zapier", "a page", reasonUnconfirmed, says(200, htmlType, loginPage)},
		{"zapier", "other JSON", reasonUnconfirmed, says(200, jsonType, `{"status":"error"}`)},
		{"zapier", "no JSON", reasonUnconfirmed, says(200, textType, "thanks")},
		{"zapier", "not its host any more", reasonRedirected, redirectTo(301, "https://elsewhere.example/")},
		{"zapier", "too large", "refused", says(413, textType, "")},
		{"zapier", "overloaded", reasonFailing, says(503, htmlType, loginPage)},

		{"make", "accepted, the scenario may be off", "accepted", usual()["make"]},
		{"make", "the scenario's own answer", "accepted", says(200, jsonType, `{"row":7}`)},
		{"make", "the scenario's own answer, empty", "accepted", says(204, textType, "")},
		{"make", "the queue is full", reasonFailing, says(400, textType, "Queue is full.")},
		{"make", "the data structure does not allow it", "refused", says(400, textType, "Validation failed for 1 parameter(s).")},
		{"make", "deleted", reasonNotFound, says(410, textType, "Webhook not found.")},
		{"make", "no scenario", reasonNotFound, says(410, textType, "There is no scenario listening for this webhook.")},
		{"make", "not attached for five days", reasonNotFound, says(410, textType, "Gone")},
		{"make", "the scenario failed", reasonFailing, says(500, textType, "Scenario failed to complete.")},
		{"make", "rate limit", reasonRateLimited, says(429, textType, "Too many requests")},
		{"make", "no API key", reasonUnauthorised, says(401, textType, "Unauthorized")},
		{"make", "a page", reasonUnconfirmed, says(200, htmlType, loginPage)},
		{"make", "too large", "refused", says(413, textType, "Payload Too Large")},

		{"n8n", "accepted at once", "accepted", usual()["n8n"]},
		{"n8n", "what the last node had", "accepted", says(200, jsonType, `{"event_id":"odd"}`)},
		{"n8n", "a text, which it calls HTML", "accepted", says(200, htmlType, "done")},
		{"n8n", "no data", "accepted", says(200, htmlType, "")},
		{"n8n", "not active", reasonNotFound, says(404, jsonType, `{"code":404,"message":"The requested webhook \"POST x\" is not registered.",`+
			`"hint":"The workflow must be active for a production URL to run successfully."}`)},
		{"n8n", "another method", reasonNotFound, says(404, jsonType, `{"code":404,"message":"This webhook is not registered for POST requests. `+
			`Did you mean to make a GET request?"}`)},
		{"n8n", "not on its list of addresses", reasonUnauthorised, says(403, htmlType, "IP is not whitelisted to access the webhook!")},
		{"n8n", "the workflow failed", reasonFailing, says(500, jsonType, `{"message":"Error in workflow"}`)},
		{"n8n", "the page of a proxy", reasonUnconfirmed, says(200, htmlType, loginPage)},
		{"n8n", "too large", "refused", says(413, htmlType, "Payload Too Large")},

		{"apps-script", "written", "accepted", usual()["apps-script"]},
		{"apps-script", "there already", "accepted", googleSays(`{"ok":true,"duplicate":true}`)},
		{"apps-script", "no HTTP redirect", "accepted", says(200, jsonType, `{"ok":true}`)},
		{"apps-script", "can never be written", "refused", googleSays(`{"ok":false,"refused":true,"error":"there is no event_id"}`)},
		{"apps-script", "busy", reasonUnconfirmed, googleSays(`{"ok":false,"error":"busy"}`)},
		{"apps-script", "another script", reasonUnconfirmed, googleSays(`done`)},
		{"apps-script", "the script failed", reasonUnconfirmed, says(200, htmlType, `<!DOCTYPE html><html><body>TypeError: Cannot read properties of null (line 7)</body></html>`)},
		{"apps-script", "a page where the answer should be", reasonUnconfirmed, func(w http.ResponseWriter, r *http.Request) {
			if r.Host == "script.google.com" {
				googleSays("")(w, r)
				return
			}
			says(200, htmlType, loginPage)(w, r)
		}},
		{"apps-script", "not deployed for anyone", reasonUnauthorised, redirectTo(302, "https://accounts.google.com/ServiceLogin?continue=https://script.google.com/macros/s/s3cret/exec")},
		{"apps-script", "deleted", reasonNotFound, says(404, htmlType, loginPage)},
		{"apps-script", "not allowed", reasonUnauthorised, says(403, htmlType, loginPage)},
		{"apps-script", "too many at once", reasonRateLimited, says(429, htmlType, loginPage)},
		{"apps-script", "redirect elsewhere", reasonRedirected, redirectTo(302, "https://elsewhere.example/?user_content_key=k3y")},
		{"apps-script", "redirect in clear", reasonRedirected, redirectTo(302, "http://script.googleusercontent.com/macros/echo?user_content_key=k3y")},
		{"apps-script", "redirect to another port", reasonRedirected, redirectTo(302, "https://script.googleusercontent.com:444/macros/echo")},
		{"apps-script", "redirect with a login", reasonRedirected, redirectTo(302, "https://user:pw@script.googleusercontent.com/macros/echo")},
		{"apps-script", "redirect with a user", reasonRedirected, redirectTo(302, "https://script.googleusercontent.com@elsewhere.example/")},
		{"apps-script", "redirect to a name that ends like it", reasonRedirected, redirectTo(302, "https://script.googleusercontent.com.elsewhere.example/")},
		{"apps-script", "redirect that keeps the method", reasonRedirected, redirectTo(307, "https://script.googleusercontent.com/macros/echo")},
		{"apps-script", "redirect to nothing", reasonRedirected, redirectTo(302, "https://%zz")},
		{"apps-script", "redirect without a place", reasonRedirected, says(302, htmlType, "")},

		{"slack", "posted", "accepted", usual()["slack"]},
		{"slack", "no such message", "refused", says(400, textType, "invalid_payload")},
		{"slack", "no hook", reasonNotFound, says(404, textType, "no_service")},
		{"slack", "no channel", reasonNotFound, says(404, textType, "channel_not_found")},
		{"slack", "archived", reasonNotFound, says(410, textType, "channel_is_archived")},
		{"slack", "prohibited", reasonUnauthorised, says(403, textType, "action_prohibited")},
		{"slack", "its own trouble", reasonFailing, says(500, textType, "rollup_error")},
		{"slack", "rate limit, with the status of a bad message", reasonFailing, says(400, textType, "rate_limited")},
		{"slack", "rate limit", reasonRateLimited, says(429, textType, "rate_limited")},
		{"slack", "a page", reasonUnconfirmed, says(200, htmlType, loginPage)},
		{"slack", "not ok", reasonUnconfirmed, says(200, textType, "not ok")},

		{"hubspot", "made", "accepted", usual()["hubspot"]},
		{"hubspot", "one of several statuses", "accepted", says(207, jsonType, `{"status":"COMPLETE","results":[{"id":"512"}],"numErrors":0,"errors":[]}`)},
		{"hubspot", "done, but not this contact", "refused", says(207, jsonType, `{"status":"COMPLETE","results":[],"numErrors":1,"errors":[{"status":"error",`+
			`"category":"VALIDATION_ERROR","message":"Property values were not valid"}]}`)},
		{"hubspot", "done, but not this contact, for no fault of it", reasonUnconfirmed, says(207, jsonType, `{"status":"COMPLETE","results":[],`+
			`"numErrors":1,"errors":[{"status":"error","category":"INTERNAL_ERROR"}]}`)},
		{"hubspot", "a result and an error", reasonUnconfirmed, says(207, jsonType, `{"status":"COMPLETE","results":[{"id":"512"}],"numErrors":1}`)},
		{"hubspot", "called off", reasonUnconfirmed, says(200, jsonType, `{"status":"CANCELED","results":[{"id":"512"}]}`)},
		{"hubspot", "no results", reasonUnconfirmed, says(200, jsonType, `{"status":"COMPLETE","results":[]}`)},
		{"hubspot", "not done yet", reasonUnconfirmed, says(200, jsonType, `{"status":"PENDING","results":[]}`)},
		{"hubspot", "an email that it does not like", "refused", says(400, jsonType, `{"status":"error","message":"Property values were not valid: `+
			`[{\"isValid\":false,\"error\":\"INVALID_EMAIL\",\"name\":\"email\"}]","category":"VALIDATION_ERROR"}`)},
		{"hubspot", "no such property", reasonRejected, says(400, jsonType, `{"status":"error","message":"Property values were not valid: `+
			`[{\"isValid\":false,\"message\":\"Property \\\"plan\\\" does not exist\",\"error\":\"PROPERTY_DOESNT_EXIST\",\"name\":\"plan\"}]","category":"VALIDATION_ERROR"}`)},
		{"hubspot", "no such property, among several statuses", reasonRejected, says(207, jsonType, `{"status":"COMPLETE","results":[],"numErrors":1,`+
			`"errors":[{"category":"VALIDATION_ERROR","message":"PROPERTY_DOESNT_EXIST"}]}`)},
		{"hubspot", "the token expired", reasonUnauthorised, says(401, jsonType, `{"status":"error","category":"INVALID_AUTHENTICATION"}`)},
		{"hubspot", "a scope is missing", reasonUnauthorised, says(403, jsonType, `{"status":"error","category":"MISSING_SCOPES"}`)},
		{"hubspot", "rate limit", reasonRateLimited, says(429, jsonType, `{"status":"error","errorType":"RATE_LIMIT","policyName":"TEN_SECONDLY_ROLLING"}`)},
		{"hubspot", "locked", reasonFailing, says(423, jsonType, `{"status":"error"}`)},
		{"hubspot", "moved to another data centre", reasonFailing, says(477, jsonType, `{"status":"error"}`)},
		{"hubspot", "a page", reasonUnconfirmed, says(200, htmlType, loginPage)},

		{"generic", "whatever it says", "accepted", says(200, htmlType, loginPage)},
		{"generic", "another status of success", "accepted", says(202, textType, "")},
		{"generic", "Google's redirect", reasonRedirected, redirectTo(302, "https://script.googleusercontent.com/macros/echo?user_content_key=k3y")},
	}
	// Slack says these with 400 too, though no message would go.
	for _, text := range []string{
		"no_service", "no_team", "no_active_hooks", "invalid_token", "team_disabled", "user_not_found", "channel_not_found",
		"channel_is_archived", "action_prohibited", "posting_to_general_channel_denied",
	} {
		said := all[0]
		said.preset, said.name, said.want, said.answer = "slack", text+", with the status of a bad message", reasonRejected, says(400, textType, text)
		all = append(all, said)
	}
	return all
}

// TestPresetsUnderstandWhatVendorsSay: one row after another gets the answer, others are
// accepted.
func TestPresetsUnderstandWhatVendorsSay(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range answers() {
		seen[c.preset] = true
		t.Run(c.preset+"/"+c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fine := usual()[c.preset]
				odd := 0 // how often the odd row came, if it is the latest one
				i := newInternet(t, func(w http.ResponseWriter, r *http.Request) {
					switch {
					case r.Method == http.MethodGet: // what the script said of the latest row
					case r.Header.Get("Idempotency-Key") == "odd":
						odd++
					default:
						odd = 0
					}
					if odd == 1 || odd > 1 && c.want == "refused" {
						c.answer(w, r)
						return
					}
					fine(w, r)
				})
				s := i.sink(t, c.preset)
				if err := s.Deliver(t.Context(), row("fine")); err != nil {
					t.Fatal(err)
				}
				before := len(i.posts("odd"))
				err := s.Deliver(t.Context(), row("odd"))
				posts := len(i.posts("odd")) - before
				f, failed := s.LastFailure()
				switch c.want {
				case "accepted":
					if err != nil || posts != 1 || failed {
						t.Errorf("%v after %d requests, failure %+v", err, posts, f)
					}
				case "refused":
					r, ok := errors.AsType[*GivenUp](err)
					if !ok || r.Class != ClassRefused || r.Reason != reasonRefused {
						t.Errorf("%v after %d requests, failure %+v", err, posts, f)
					}
				default:
					if err != nil || posts != 2 || f.Kind != c.want {
						t.Errorf("%v after %d requests, failure %+v", err, posts, f)
					}
				}
			})
		})
	}
	for _, name := range PresetNames() {
		if !seen[name] {
			t.Errorf("no answer of %s is tested", name)
		}
	}
}

// TestAPageIsNoSuccess: whatever it calls itself, for every preset with a name.
func TestAPageIsNoSuccess(t *testing.T) {
	pages := []string{
		loginPage, "\n \t<HTML>\n<body>ok</body>", "<!-- hello --><p>ok", "\xef\xbb\xbf<!doctype html>\n{\"ok\":true}",
	}
	for _, p := range presets() {
		for _, kind := range []string{htmlType, textType, jsonType, "", "text/html", "TEXT/HTML; charset=x"} {
			for _, page := range pages {
				header := http.Header{"Content-Type": {kind}}
				got := newTable(p, nil).of(http.StatusOK, header, []byte(page))
				want := class{transient, reasonUnconfirmed}
				if p.Name == generic {
					want = class{accepted, reasonNone}
				}
				if got != want {
					t.Errorf("%s: %q as %q: %v", p.Name, page, kind, got)
				}
			}
		}
	}
	half := class{transient, reasonUnconfirmed}
	for _, p := range presets() {
		if p.Name != generic && newTable(p, nil).of(200, http.Header{"Content-Type": {htmlType}}, []byte("Sorry, <b>try later")) != half {
			t.Errorf("%s takes the piece of a page for a success", p.Name)
		}
	}
}

// TestWhatAnOperatorSetsCountsBeforeThePreset: rules on a failure, on a success, and on a
// body.
func TestWhatAnOperatorSetsCountsBeforeThePreset(t *testing.T) {
	for _, c := range []struct {
		preset, rule string
		status       int
		body         string
		want         verdict
	}{
		{"make", "400=refused", 400, "Queue is full.", refused},
		{"slack", "400:user_not_found=refused", 400, "user_not_found", refused},
		{"apps-script", "200=accepted", 200, "done", accepted},
		{"apps-script", "2xx:done=accepted", 200, "done", accepted},
		{"apps-script", "2xx:done=accepted", 200, "undecided", transient},
		{"zapier", "200=accepted", 200, loginPage, accepted},
		{"zapier", "200=endpoint", 200, `{"status":"success"}`, atFault},
		{"hubspot", "423=endpoint", 423, "", atFault},
		{"generic", "2xx:no=refused", 200, "no", refused},
	} {
		p, _ := PresetNamed(c.preset)
		r, err := ParseRule(c.rule)
		if err != nil {
			t.Fatal(err)
		}
		got := newTable(p, []Rule{r}).of(c.status, http.Header{}, []byte(c.body))
		if got.verdict != c.want {
			t.Errorf("%s with %s: %d %q is %s, want %s", c.preset, c.rule, c.status, c.body, got.verdict, c.want)
		}
	}
}

// TestTheRedirectOfAScriptIsFollowedWithNothingOfOurs: neither header, nor body, nor the
// address that it comes from.
func TestTheRedirectOfAScriptIsFollowedWithNothingOfOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newInternet(t, func(w http.ResponseWriter, r *http.Request) {
			http.SetCookie(w, &http.Cookie{Name: "NID", Value: "c00kie"})
			googleSays(`{"ok":true}`)(w, r)
		})
		s := i.sink(t, "apps-script", func(c *Config) { c.URL = "https://us3r:passw0rd@script.google.com/macros/s/s3cret/exec?t=t0ken" })
		for range 2 {
			if err := s.Deliver(t.Context(), row("1")); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(i.requests("script.google.com")); n != 2 {
			t.Errorf("%d rows sent", n)
		}
		hops := i.requests("script.googleusercontent.com")
		if len(hops) != 2 || len(i.requests("")) != 4 {
			t.Fatalf("%d hops of %d requests", len(hops), len(i.requests("")))
		}
		for _, r := range hops {
			if r.Method != http.MethodGet || r.URL.RequestURI() != "/macros/echo?user_content_key=k3y&lib=l1b" || bodyOf(t, r) != "" || r.ContentLength != 0 {
				t.Errorf("%s %s with %d bytes", r.Method, r.URL, r.ContentLength)
			}
			var names []string
			for name := range r.Header {
				names = append(names, name)
			}
			if len(names) != 1 || r.UserAgent() != "signup-sheet/test" {
				t.Errorf("headers %v", r.Header)
			}
		}
		if s.metric(t, "signup_sheet_attempts_total") != 2 {
			t.Error("a hop counts as an attempt")
		}
		if s.logs.String() != "" {
			t.Errorf("logs: %s", s.logs)
		}
	})
}

// TestAHopThatFailsMeansMaybeWritten: the row is sent again, with the same id, and
// nothing is a dead letter.
func TestAHopThatFailsMeansMaybeWritten(t *testing.T) {
	hangUp := func(w http.ResponseWriter, _ *http.Request) {
		conn, _, _ := w.(http.Hijacker).Hijack()
		conn.Close()
	}
	for name, c := range map[string]struct {
		want   string
		answer http.HandlerFunc
	}{
		"no answer":         {reasonTimeout, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		"connection lost":   {reasonNetwork, hangUp},
		"another redirect":  {reasonUnconfirmed, redirectTo(302, "https://script.googleusercontent.com/macros/echo?again")},
		"to a login":        {reasonUnconfirmed, redirectTo(302, "https://accounts.google.com/")},
		"expired":           {reasonUnconfirmed, says(404, htmlType, loginPage)},
		"refused":           {reasonUnconfirmed, says(400, htmlType, loginPage)},
		"too many":          {reasonRateLimited, says(429, htmlType, loginPage)},
		"Google's trouble":  {reasonUnconfirmed, says(500, htmlType, loginPage)},
		"half of an answer": {reasonUnconfirmed, says(200, jsonType, `{"ok":tr`)},
		"nothing":           {reasonUnconfirmed, says(200, jsonType, ``)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var hops atomic.Int64
				i := newInternet(t, func(w http.ResponseWriter, r *http.Request) {
					if r.Host == "script.googleusercontent.com" {
						if hops.Add(1) == 1 {
							c.answer(w, r)
							return
						}
					}
					googleSays(`{"ok":true,"duplicate":true}`)(w, r)
				})
				s := i.sink(t, "apps-script")
				// An answer that gives a row up, or blames the endpoint, would be wrong: the row may be there.
				a := s.attempt(t.Context(), row("0"), false)
				if a.verdict != transient || a.reason != c.want || len(a.body) > 0 || a.lost || a.at.Sub(a.began) > time.Minute {
					t.Errorf("%+v after %v", a.class, a.at.Sub(a.began))
				}
				hops.Store(0)
				i.mu.Lock()
				i.seen = nil
				i.mu.Unlock()
				begin := time.Now()
				if err := s.Deliver(t.Context(), row("1")); err != nil {
					t.Fatal(err)
				}
				sent := i.requests("script.google.com")
				if f, _ := s.LastFailure(); f.Kind != c.want || len(sent) != 2 || hops.Load() != 2 || len(i.requests("accounts.google.com")) != 0 {
					t.Errorf("failure %+v, %d rows sent, %d hops", f, len(sent), hops.Load())
				}
				for _, r := range sent {
					if r.Header.Get("Idempotency-Key") != "1" || bodyOf(t, r) != `{"event_id":"1"}` {
						t.Errorf("sent %v", r.Header)
					}
				}
				if c.want == reasonTimeout && time.Since(begin) > 61*time.Second+maxBackoff {
					t.Errorf("took %v: the hop has a time of its own", time.Since(begin))
				}
				if s.metric(t, "signup_sheet_connection_repeats_total") != 0 {
					t.Error("counts as a request that was not processed")
				}
			})
		})
	}
}

// TestAHostOfAnswersThatCannotBeReachedIsNotTheEndpointsFault: the row may be written.
func TestAHostOfAnswersThatCannotBeReachedIsNotTheEndpointsFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newInternet(t, googleSays(`{"ok":true}`))
		s := i.sink(t, "apps-script", func(c *Config) {
			c.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				if strings.HasPrefix(addr, "script.googleusercontent.com:") {
					return nil, &net.DNSError{Err: "no such host", Name: addr, IsNotFound: true}
				}
				return i.DialContext(ctx, network, "127.0.0.1:443")
			}
		})
		if a := s.attempt(t.Context(), row("1"), false); a.verdict != transient || a.reason != reasonDNS || a.lost {
			t.Errorf("%+v", a.class)
		}
	})
}

// TestNothingPrivateIsToldOfARedirect: neither where it came from nor where it led.
func TestNothingPrivateIsToldOfARedirect(t *testing.T) {
	private := []string{"s3cret", "k3y", "l1b", "user_content", "macros", "zofia", "example.org"}
	for name, answer := range map[string]http.HandlerFunc{
		"login":      redirectTo(302, "https://accounts.google.com/?continue=https://script.google.com/macros/s/s3cret/exec&user=zofia@example.org"),
		"elsewhere":  redirectTo(302, "https://elsewhere.example/s3cret?zofia@example.org"),
		"no address": redirectTo(302, "https://zofia@example.org:s3cret\x7f"),
		"a page": func(w http.ResponseWriter, r *http.Request) {
			if r.Host == "script.google.com" {
				googleSays("")(w, r)
				return
			}
			says(404, htmlType, "<html>not found: "+r.URL.String()+" zofia@example.org /macros/s/s3cret/exec</html>")(w, r)
		},
		"refused": googleSays(`{"ok":false,"refused":true,"error":"zofia@example.org is not for /macros/s/s3cret/exec, error"}`),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := newInternet(t, func(w http.ResponseWriter, r *http.Request) {
					if name == "refused" && r.Header.Get("Idempotency-Key") == "0" {
						says(200, jsonType, `{"ok":true}`)(w, r)
						return
					}
					answer(w, r)
				})
				s := i.sink(t, "apps-script")
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
				defer cancel()
				var told []string
				if name == "refused" {
					if err := s.Deliver(ctx, row("0")); err != nil {
						t.Fatal(err)
					}
				}
				err := s.Deliver(ctx, Row{EventID: "e", HeaderID: "e", Body: []byte(`{"event_id":"e","email":"zofia@example.org"}`)})
				if err == nil {
					t.Fatal("accepted")
				}
				told = append(told, err.Error(), s.logs.String())
				if r, ok := errors.AsType[*GivenUp](err); ok {
					told = append(told, r.Response)
					if !strings.Contains(r.Response, "error") {
						t.Errorf("nothing is left of the answer: %q", r.Response)
					}
				} else if name == "refused" {
					t.Error(err)
				}
				all := strings.Join(told, "\n")
				for _, p := range private {
					if strings.Contains(all, p) {
						t.Errorf("%s appears: %s", p, all)
					}
				}
				if len(i.requests("accounts.google.com")) != 0 || len(i.requests("elsewhere.example")) != 0 {
					t.Error("it was followed")
				}
			})
		})
	}
}

// TestPresetsKeepTheirPace: by the default rate and a replay's quarter on top, no vendor's
// limit is reached, and no row of a burst waits longer than it has to.
func TestPresetsKeepTheirPace(t *testing.T) {
	limits := map[string]struct {
		requests int
		in       time.Duration
	}{
		"zapier": {30, time.Second}, "make": {300, 10 * time.Second}, "slack": {12, 10 * time.Second}, "hubspot": {100, 10 * time.Second},
	}
	for name, limit := range limits {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var at []time.Time
				i := newInternet(t, func(w http.ResponseWriter, r *http.Request) {
					mu.Lock()
					at = append(at, time.Now())
					mu.Unlock()
					usual()[name](w, r)
				})
				p, _ := PresetNamed(name)
				group, replay := i.sink(t, name), i.sink(t, name, func(c *Config) { c.Rate /= 4 })
				seconds := 30
				var running sync.WaitGroup
				running.Go(func() { group.deliver(t.Context(), int(p.Rate*float64(seconds))) })
				running.Go(func() { replay.deliver(t.Context(), int(p.Rate*float64(seconds)/4)) })
				running.Wait()
				first := 0
				for last := range at {
					for at[last].Sub(at[first]) >= limit.in {
						first++
					}
					if n := last - first + 1; n > limit.requests {
						t.Fatalf("%d requests in %v, and %d are allowed", n, limit.in, limit.requests)
					}
				}
				if took := at[len(at)-1].Sub(at[0]).Seconds(); took > 1.1*float64(seconds) {
					t.Errorf("%d rows took %.0f s", len(at), took)
				}
			})
		})
	}
}

// TestAPresetsOutageIsWaitedOut: ten minutes of what only a preset takes for a failure, or
// takes for one of another kind. Nothing is a dead letter, and few requests are sent.
func TestAPresetsOutageIsWaitedOut(t *testing.T) {
	const outage = 10 * time.Minute
	for _, c := range []struct {
		preset, name, reason string
		answer               http.HandlerFunc
	}{
		{"apps-script", "a page", reasonUnconfirmed, says(200, htmlType, loginPage)},
		{"apps-script", "a page behind the redirect", reasonUnconfirmed, func(w http.ResponseWriter, r *http.Request) {
			if r.Host == "script.google.com" {
				googleSays("")(w, r)
				return
			}
			says(200, htmlType, loginPage)(w, r)
		}},
		{"apps-script", "not deployed for anyone", reasonUnauthorised, redirectTo(302, "https://accounts.google.com/")},
		{"apps-script", "refuses everything", reasonRefused, googleSays(`{"ok":false,"refused":true,"error":"no"}`)},
		{"zapier", "a page", reasonUnconfirmed, says(200, htmlType, loginPage)},
		{"make", "the queue is full", reasonFailing, says(400, textType, "Queue is full.")},
		{"slack", "the person is gone", reasonRejected, says(400, textType, "user_not_found")},
		{"hubspot", "no such property", reasonRejected, says(400, jsonType, `{"category":"VALIDATION_ERROR","message":"PROPERTY_DOESNT_EXIST"}`)},
	} {
		t.Run(c.preset+"/"+c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				i := newInternet(t, func(w http.ResponseWriter, r *http.Request) {
					if time.Since(begin) < outage {
						c.answer(w, r)
						return
					}
					usual()[c.preset](w, r)
				})
				s := i.sink(t, c.preset)
				rows := make(chan []error)
				go func() { rows <- s.deliver(t.Context(), 60) }()
				pause(outage / 2)
				if h, held := s.Hold(); !held || h.Reason != c.reason {
					t.Errorf("hold %v: %+v", held, h)
				}
				pause(outage / 2)
				p, _ := PresetNamed(c.preset)
				sent := s.metric(t, "signup_sheet_attempts_total")
				if sent > float64(p.Concurrency+40) {
					t.Errorf("%v attempts in the outage", sent)
				}
				pause(maxProbeWait)
				if s.metric(t, "signup_sheet_attempts_total", "result", "accepted") == 0 {
					t.Errorf("nothing was accepted within %v of the outage's end", maxProbeWait)
				}
				for n, err := range <-rows {
					if err != nil {
						t.Errorf("row %d: %v", n, err)
					}
				}
			})
		})
	}
}

// TestConcurrencyOfAScriptStaysBelowGoogles: with seven members.
func TestConcurrencyOfAScriptStaysBelowGoogles(t *testing.T) {
	if p, _ := PresetNamed("apps-script"); p.Concurrency*7 > 30 {
		t.Errorf("%d each", p.Concurrency)
	}
}

// TestARowThatIsTooLargeIsNotSent: it is given up at once, also while nothing else goes;
// others are sent.
func TestARowThatIsTooLargeIsNotSent(t *testing.T) {
	for _, p := range presets() {
		t.Run(p.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := newInternet(t, usual()[p.Name])
				s := i.sink(t, p.Name, func(c *Config) { c.MaxBodyBytes = 200 })
				large := row("large")
				large.Body = []byte(`{"event_id":"large","email":"a@example.com","name":"` + strings.Repeat("x", 300) + `"}`)
				err := s.Deliver(t.Context(), large)
				given, ok := errors.AsType[*GivenUp](err)
				if !ok || given.Class != ClassTooLarge || given.Attempts != 0 || given.FirstFailure.IsZero() {
					t.Errorf("%v: %+v", err, given)
				}
				if strings.Contains(fmt.Sprint(err), "xxx") || !strings.Contains(fmt.Sprint(err), "sink.max_body_bytes") {
					t.Errorf("error %q", err)
				}
				if err := s.Deliver(t.Context(), row("small")); err != nil || len(i.requests("")) < 1 {
					t.Errorf("%v after %d requests", err, len(i.requests("")))
				}
				if n := len(i.posts("large")); n != 0 {
					t.Errorf("sent %d times", n)
				}
			})
		})
	}
}

func TestTheLimitOfABodyIsTheLargest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, always(http.StatusOK))
		r := row("1")
		s := e.sink(t, func(c *Config) { c.MaxBodyBytes = len(r.Body) })
		if err := s.Deliver(t.Context(), r); err != nil {
			t.Error(err)
		}
	})
}

func TestSlackGetsAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newInternet(t, usual()["slack"])
		s := i.sink(t, "slack")
		r := row("1")
		r.Body = []byte(`{"event_id":"1","name":"<!channel> & <https://evil.example|me>\n*plan:* gold","age_guess":34,"plan":null,"metadata":{"a":"ü 🌊 \"x\""},"<b>":true}`)
		if err := s.Deliver(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		want := `{"text":"*event_id:* 1\n*name:* &lt;!channel&gt; &amp; &lt;https://evil.example|me&gt; *plan:* gold\n*age_guess:* 34\n` +
			`*metadata:* {\"a\":\"ü 🌊 \\\"x\\\"\"}\n*&lt;b&gt;:* true","unfurl_links":false,"unfurl_media":false}`
		if got := bodyOf(t, i.requests("")[0]); got != want {
			t.Errorf("sent %s\nwant %s", got, want)
		}
	})
}

func TestAMessageIsShortAndWhole(t *testing.T) {
	var body strings.Builder
	body.WriteString(`{"event_id":"1"`)
	for i := range 60 {
		fmt.Fprintf(&body, `,"column %d":"%s"`, i, strings.Repeat("<ü🌊", 1000))
	}
	body.WriteString(`}`)
	r := Row{Body: []byte(body.String())}
	text := textOf(firstValue(t, message(r)))
	if n := len([]rune(text)); n > 4000 || n < 3000 || !strings.HasSuffix(text, "…") {
		t.Errorf("%d characters, the end %q", n, text[len(text)-20:])
	}
	if regexp.MustCompile(`[<>]|&(?:[^lga]|$)|&[lga]…`).MatchString(text) {
		t.Errorf("an escape is cut or missing: %s", text)
	}
}

func firstValue(t *testing.T, body []byte) []byte {
	t.Helper()
	for _, value := range columnsOf(Row{Body: body}) {
		return value.Clone()
	}
	t.Fatal("no value")
	return nil
}

func TestHubSpotGetsAContact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newInternet(t, usual()["hubspot"])
		s := i.sink(t, "hubspot")
		r := Row{EventID: `e "1"`, HeaderID: "e1", Body: []byte(`{"event_id":"e \"1\"","email":"a&b@example.com","firstname":"Zoë","age":34,"big":9007199254740993,` +
			`"paid":true,"plan":null,"metadata":{"n":1.50}}`)}
		if err := s.Deliver(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		want := `{"inputs":[{"idProperty":"email","id":"a&b@example.com","objectWriteTraceId":"e \"1\"",` +
			`"properties":{"firstname":"Zoë","age":"34","big":"9007199254740993","paid":"true","metadata":"{\"n\":1.50}"}}]}`
		if got := bodyOf(t, i.requests("")[0]); got != want {
			t.Errorf("sent %s\nwant %s", got, want)
		}
	})
}

// HubSpot takes texts alone, and an empty one deletes what it knows.
func TestAContactHasTextsAloneAndNoneThatAreEmpty(t *testing.T) {
	for body, want := range map[string]string{
		`{"email":42,"firstname":"Zoë","company":""}`: `"id":"42","objectWriteTraceId":"1","properties":{"firstname":"Zoë"}`,
		`{"email":null,"company":" ","city":"Rome "}`: `"id":"","objectWriteTraceId":"1","properties":{"city":"Rome "}`,
		`{"email":true,"event_id":"2"}`:               `"id":"true","objectWriteTraceId":"1","properties":{}`,
	} {
		got := string(contact(Row{EventID: "1", Body: []byte(body)}))
		if want = `{"inputs":[{"idProperty":"email",` + want + `}]}`; got != want {
			t.Errorf("of %s\n%s\nwant\n%s", body, got, want)
		}
	}
}

// TestTheOtherPresetsSendTheRow byte for byte.
func TestTheOtherPresetsSendTheRow(t *testing.T) {
	for _, p := range presets() {
		if p.shape != nil {
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			i := newInternet(t, usual()[p.Name])
			r := row("1")
			r.Body = []byte(`{"event_id":"1", "n": 1.50, "n": "<&>"}`)
			if err := i.sink(t, p.Name).Deliver(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if got := bodyOf(t, i.requests("")[0]); got != string(r.Body) {
				t.Errorf("%s: sent %s", p.Name, got)
			}
		})
	}
}

// TestARowThatIsRefusedIsMaskedWhateverItsShape: the values that are private are the row's.
func TestARowThatIsRefusedIsMaskedWhateverItsShape(t *testing.T) {
	for _, name := range []string{"slack", "hubspot", "make"} {
		synctest.Test(t, func(t *testing.T) {
			i := newInternet(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Idempotency-Key") == "fine" {
					usual()[name](w, r)
					return
				}
				body, _ := io.ReadAll(r.Body)
				says(422, textType, "error: "+string(body))(w, r)
			})
			s := i.sink(t, name)
			if err := s.Deliver(t.Context(), row("fine")); err != nil {
				t.Fatal(err)
			}
			err := s.Deliver(t.Context(), Row{EventID: "e7", HeaderID: "e7", Body: []byte(`{"event_id":"e7","email":"zofia@example.org","name":"Zofia <K> & Co"}`)})
			given, ok := errors.AsType[*GivenUp](err)
			if !ok || !strings.Contains(given.Response, "error") {
				t.Fatalf("%v", err)
			}
			for _, p := range []string{"zofia", "example.org", "Zofia", "Co"} {
				if strings.Contains(given.Response, p) {
					t.Errorf("%s: %s appears in %q", name, p, given.Response)
				}
			}
		})
	}
}

func TestAPresetThatDoesNotExistIsAnErrorWithThoseThatDo(t *testing.T) {
	_, err := New(Config{URL: "https://elsewhere.example/", Preset: "zappier", Concurrency: 1, Timeout: time.Second, MaxAttempts: 1}, nil, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "sink.preset") {
		t.Fatal(err)
	}
	for _, name := range PresetNames() {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q does not name %s", err, name)
		}
	}
}

func TestPresetsAreRecognisedByTheHost(t *testing.T) {
	for host, want := range map[string]string{
		"hooks.zapier.com": "zapier", "HOOKS.Zapier.com": "zapier", "hook.make.com": "make", "hook.eu2.make.com": "make", "hook.integromat.com": "make",
		"acme.app.n8n.cloud": "n8n", "script.google.com": "apps-script", "hooks.slack.com": "slack", "api.hubapi.com": "hubspot",
		"example.com": "generic", "": "generic", "app.n8n.cloud": "generic", "hooks.zapier.com.example": "generic", "www.make.com": "generic",
		"hook.make.com.evil.example": "generic", "127.0.0.1": "generic", "docs.google.com": "generic",
	} {
		if got := PresetOf(host); got != want {
			t.Errorf("%s is %s, want %s", host, got, want)
		}
	}
}

// TestDestinationsHaveThePresetsFigures: the table of the document is that of the code.
// UPDATE=1 writes it.
func TestDestinationsHaveThePresetsFigures(t *testing.T) {
	const file = "../docs/destinations/README.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var rows strings.Builder
	rows.WriteString("| `sink.preset` | requests a second | in flight, each member | time for one | largest body |\n|---|---|---|---|---|\n")
	orAny := func(zero bool, value any) string {
		if zero {
			return "any"
		}
		return fmt.Sprint(value)
	}
	for _, p := range presets() {
		timeout := strings.TrimSuffix(p.Timeout.String(), "0s")
		if p.Timeout%time.Minute != 0 {
			timeout = p.Timeout.String()
		}
		fmt.Fprintf(&rows, "| `%s` | %s | %d | %s | %s |\n", p.Name, orAny(p.Rate == 0, p.Rate), p.Concurrency, timeout, orAny(p.MaxBodyBytes == 0, p.MaxBodyBytes))
	}
	section := regexp.MustCompile(`(?s)<!-- presets -->\n.*?<!-- end -->`)
	want := section.ReplaceAllString(string(text), "<!-- presets -->\n"+rows.String()+"<!-- end -->")
	if os.Getenv("UPDATE") == "1" {
		if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if want != string(text) {
		t.Errorf("%s is not what the code has: UPDATE=1 go test -run Destinations ./sink", file)
	}
	for _, p := range presets() {
		if _, err := os.Stat("../docs/destinations/" + p.Name + ".md"); err != nil {
			t.Errorf("%s has no page", p.Name)
		}
		if !strings.Contains(want, "("+p.Name+".md)") {
			t.Errorf("no link to the page of %s", p.Name)
		}
	}
}
