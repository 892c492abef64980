package sink

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
)

// misconfiguration is a mistake that people make, an endpoint that answers as the vendor's
// does, and what is to be said.
type misconfiguration struct {
	name   string
	url    string
	preset string
	// What comes back: an answer, or an error of the connection.
	status int
	header string // a line of the answer's head
	body   string
	dial   error
	secure *tls.Config // of an endpoint that speaks TLS
	hang   bool

	reason   string // empty: accepted
	verdict  verdict
	advice   string // what it has to say
	followed string // what the consequence has to say
}

// misconfigurations are the ten of the issue, each in its usual forms, and the neighbours that
// are easily taken for them.
func misconfigurations(secure *tls.Config) []misconfiguration {
	const (
		zapier   = "http://hooks.zapier.com/hooks/catch/1/s3cr3t/"
		makeHook = "http://hook.eu1.make.com/s3cr3t"
		script   = "http://script.google.com/macros/s/s3cr3t/exec"
		own      = "http://sheet.example.com/hook/s3cr3t"
		page     = "<!DOCTYPE html><html><head><title>Sheet</title><style>a{b:c}</style></head><body>Hello</body></html>"
	)
	return []misconfiguration{
		{name: "all is well", url: own, status: 200, verdict: accepted, advice: "look once whether the row is in the sheet", followed: "count it as delivered"},
		// Wrong URL.
		{name: "wrong URL: no such host", url: own, dial: &net.DNSError{Err: "no such host", Name: "sheet.example.com", IsNotFound: true}, reason: reasonDNS, verdict: atFault, advice: "correct the host in sink.url", followed: "nothing is dead-lettered"},
		{name: "wrong URL: nobody listens", url: own, dial: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, reason: reasonNetwork, verdict: transient, advice: "Nothing listens at this host and port", followed: "nothing is dead-lettered"},
		{name: "wrong URL: no such path", url: own, status: 404, body: "404 page not found", reason: reasonNotFound, verdict: atFault, advice: "copy the whole URL once more into sink.url", followed: "all wait with an error in the log"},
		{name: "wrong URL: a page that takes no POST", url: own, status: 405, reason: reasonRejected, verdict: atFault, advice: "takes no POST", followed: "nothing is dead-lettered"},
		{name: "wrong URL: a page that takes anything", url: own, status: 200, body: page, verdict: accepted, advice: "is a page for a browser", followed: "count it as delivered"},
		{name: "wrong URL: the sheet itself", url: "http://docs.google.com/spreadsheets/d/s3cr3t/edit", status: 401, body: page, reason: reasonUnauthorised, verdict: atFault, advice: "the address of the sheet itself", followed: "nothing is dead-lettered"},
		{name: "wrong URL: the Zap's page", url: "http://zapier.com/editor/s3cr3t", status: 200, body: page, verdict: accepted, advice: "it begins with https://hooks.zapier.com/", followed: "count it as delivered"},
		{name: "wrong URL: a login", url: own, status: 302, header: "Location: /login?next=/hook", reason: reasonRedirected, verdict: atFault, advice: "It leads to a login", followed: "nothing is dead-lettered"},
		{name: "wrong URL: another address", url: own, status: 308, header: "Location: http://www.example.com/hook", reason: reasonRedirected, verdict: atFault, advice: "set sink.url to the final address", followed: "nothing is dead-lettered"},
		// Deleted Zap or hook.
		{name: "deleted Zap, or one that is off", url: zapier, status: 200, body: `{"attempt":"1","id":"1","request_id":"1","status":"success"}`, verdict: accepted, advice: "Accepted does not mean written", followed: "count it as delivered"},
		{name: "deleted hook: Make", url: makeHook, status: 410, body: "Webhook not found.", reason: reasonNotFound, verdict: atFault, advice: "The webhook was deleted", followed: "nothing is dead-lettered"},
		{name: "unused hook: Make", url: makeHook, status: 410, body: "Gone", reason: reasonNotFound, verdict: atFault, advice: "no scenario has used it for five days", followed: "nothing is dead-lettered"},
		{name: "scenario gone: Make", url: makeHook, status: 410, body: "There is no scenario listening for this webhook.", reason: reasonNotFound, verdict: atFault, advice: "no scenario listens to it: switch the scenario on", followed: "nothing is dead-lettered"},
		{name: "scenario off: Make", url: makeHook, status: 200, body: "Accepted", verdict: accepted, advice: "Accepted does not mean written", followed: "count it as delivered"},
		{name: "deleted hook: Slack", url: "http://hooks.slack.com/services/T/B/s3cr3t", status: 404, body: "no_service", reason: reasonNotFound, verdict: atFault, advice: "make a new one in the app's settings", followed: "nothing is dead-lettered"},
		{name: "deleted deployment: Apps Script", url: script, status: 404, body: page, reason: reasonNotFound, verdict: atFault, advice: "The deployment does not exist any more", followed: "nothing is dead-lettered"},
		// Inactive n8n workflow.
		{name: "inactive n8n workflow", url: "http://n8n.example.com/webhook/s3cr3t", status: 404, body: `{"code":404,"message":"The requested webhook \"POST s3cr3t\" is not registered.","hint":"The workflow must be active for a production URL to run successfully."}`, reason: reasonNotFound, verdict: atFault, advice: "publish (activate) the workflow", followed: "nothing is dead-lettered"},
		{name: "n8n's test URL", url: "http://n8n.example.com/webhook-test/s3cr3t", status: 404, body: `{"code":404,"message":"The requested webhook \"s3cr3t\" is not registered.","hint":"Click the 'Execute workflow' button on the canvas, then try again."}`, reason: reasonNotFound, verdict: atFault, advice: "sink.url is the test URL", followed: "nothing is dead-lettered"},
		{name: "n8n's node for GET", url: "http://n8n.example.com/webhook/s3cr3t", status: 404, body: `{"code":404,"message":"This webhook is not registered for POST requests. Did you mean to make a GET request?"}`, reason: reasonNotFound, verdict: atFault, advice: "set its HTTP Method to POST", followed: "nothing is dead-lettered"},
		// Apps Script not public.
		{name: "Apps Script not public: login", url: script, status: 302, header: "Location: https://accounts.google.com/ServiceLogin?continue=s3cr3t", reason: reasonRedirected, verdict: atFault, advice: "The script is not public", followed: "nothing is dead-lettered"},
		{name: "Apps Script not public: forbidden", url: script, status: 403, body: page, reason: reasonUnauthorised, verdict: atFault, advice: `with access for "Anyone"`, followed: "nothing is dead-lettered"},
		{name: "Apps Script's test address", url: "http://script.google.com/macros/s/s3cr3t/dev", status: 302, header: "Location: https://accounts.google.com/ServiceLogin", reason: reasonRedirected, verdict: atFault, advice: "which ends with /exec", followed: "nothing is dead-lettered"},
		{name: "Apps Script without its preset", url: script, status: 302, header: "Location: https://script.googleusercontent.com/macros/echo?user_content_key=s3cr3t", reason: reasonRedirected, verdict: atFault, advice: "set sink.preset to apps-script", followed: "nothing is dead-lettered"},
		{name: "Apps Script that fails", url: script, status: 200, header: "Content-Type: text/html; charset=utf-8", body: "<html><head><title>Error</title></head><body>TypeError: sheet is null (line 5)</body></html>", verdict: accepted, advice: "the script failed", followed: "count it as delivered"},
		// Expired token.
		{name: "expired token", url: own, status: 401, header: `WWW-Authenticate: Bearer error="invalid_token"`, body: `{"error":"token expired"}`, reason: reasonUnauthorised, verdict: atFault, advice: "The token has expired", followed: "nothing is dead-lettered"},
		{name: "expired token, in the head only", url: own, status: 401, header: `WWW-Authenticate: Bearer error="invalid_token", error_description="The access token expired"`, reason: reasonUnauthorised, verdict: atFault, advice: "The token has expired", followed: "nothing is dead-lettered"},
		{name: "expired token, in the last word of the head", url: own, status: 401, header: `WWW-Authenticate: Custom the token has expired`, body: "no", reason: reasonUnauthorised, verdict: atFault, advice: "The token has expired", followed: "nothing is dead-lettered"},
		{name: "expired token: HubSpot", url: "http://api.hubapi.com/crm/objects/2026-03/contacts/batch/upsert", status: 401, body: `{"status":"error","category":"EXPIRED_AUTHENTICATION"}`, reason: reasonUnauthorised, verdict: atFault, advice: "The token has expired", followed: "nothing is dead-lettered"},
		{name: "no token", url: own, status: 401, reason: reasonUnauthorised, verdict: atFault, advice: "check what it wants", followed: "nothing is dead-lettered"},
		// Wrong signature.
		{name: "wrong signature", url: own, status: 401, body: `{"error":"No matching signature found"}`, reason: reasonUnauthorised, verdict: atFault, advice: "use the same secret on both sides", followed: "nothing is dead-lettered"},
		{name: "wrong signature, called a bad request", url: own, status: 400, body: "invalid signature", reason: reasonRefused, verdict: refused, advice: "use the same secret on both sides", followed: "dead-letter it, if the endpoint takes other rows"},
		{name: "signature of another time", url: own, status: 401, body: "Message timestamp too old", reason: reasonUnauthorised, verdict: atFault, advice: "set the clocks", followed: "nothing is dead-lettered"},
		// Plain HTTP.
		{name: "plain HTTP: a Go server", url: own, status: 400, body: "Client sent an HTTP request to an HTTPS server.\n", reason: reasonRefused, verdict: refused, advice: "begin sink.url with https://", followed: "dead-letter it, if"},
		{name: "plain HTTP: nginx", url: own, status: 400, header: "Content-Type: text/html", body: "<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>", reason: reasonRefused, verdict: refused, advice: "begin sink.url with https://", followed: "dead-letter it, if"},
		{name: "plain HTTP: redirected", url: own, status: 301, header: "Location: https://sheet.example.com/hook/s3cr3t", reason: reasonRedirected, verdict: atFault, advice: "The endpoint wants TLS: begin sink.url with https://", followed: "nothing is dead-lettered"},
		{name: "TLS where plain HTTP is spoken", url: strings.Replace(own, "http:", "https:", 1), status: 200, reason: reasonTLS, verdict: atFault, advice: "The port speaks plain HTTP", followed: "nothing is dead-lettered"},
		// Self-signed certificate.
		{name: "self-signed certificate", url: "https://127.0.0.1/hook/s3cr3t", secure: secure, status: 200, reason: reasonTLS, verdict: atFault, advice: "self-signed", followed: "nothing is dead-lettered"},
		// Body too large.
		{name: "body too large", url: own, status: 413, body: "<html><title>413 Request Entity Too Large</title></html>", reason: reasonRefused, verdict: refused, advice: "raise the limit there", followed: "dead-letter it, if"},
		{name: "body too large: n8n", url: "http://me.app.n8n.cloud/webhook/s3cr3t", status: 413, reason: reasonRefused, verdict: refused, advice: "N8N_PAYLOAD_SIZE_MAX", followed: "dead-letter it, if"},
		// Rate limited.
		{name: "rate limited", url: own, status: 429, header: "Retry-After: 8", reason: reasonRateLimited, verdict: transient, advice: "set sink.rate below", followed: "send nothing for 8s"},
		{name: "rate limited: Zapier", url: zapier, status: 429, body: "Too many requests", reason: reasonRateLimited, verdict: transient, advice: "30 requests a second", followed: "try"},
		{name: "rate limited: Slack", url: "http://hooks.slack.com/services/T/B/s3cr3t", status: 429, header: "Retry-After: 30", body: "rate_limited", reason: reasonRateLimited, verdict: transient, advice: "one message a second", followed: "send nothing for 30s"},
		{name: "full queue: Make", url: makeHook, status: 400, body: "Queue is full", reason: reasonRefused, verdict: refused, advice: "queue for the webhook is full", followed: "dead-letter it, if"},
		// The same with the preset, which judges bodies.
		{name: "Zapier with its preset: all is well, or off", url: zapier, preset: "zapier", status: 200, body: `{"status":"success"}`, verdict: accepted, advice: "Accepted does not mean written", followed: "count it as delivered"},
		{name: "Zapier with its preset: a page", url: "http://zapier.com/app/s3cr3t", preset: "zapier", status: 200, body: page, reason: reasonUnconfirmed, verdict: transient, advice: "it begins with https://hooks.zapier.com/", followed: "nothing is dead-lettered"},
		{name: "Make with its preset: full queue", url: makeHook, preset: "make", status: 400, body: "Queue is full", reason: reasonFailing, verdict: transient, advice: "queue for the webhook is full", followed: "nothing is dead-lettered"},
		{name: "Make with its preset: another structure", url: makeHook, preset: "make", status: 400, body: "Data structure validation failed", reason: reasonRefused, verdict: refused, advice: "does not fit the webhook's data structure", followed: "dead-letter it, if"},
		{name: "n8n with its preset: inactive", url: "http://n8n.example.com/webhook/s3cr3t", preset: "n8n", status: 404, body: `{"code":404,"message":"The requested webhook \"POST s3cr3t\" is not registered."}`, reason: reasonNotFound, verdict: atFault, advice: "publish (activate) the workflow", followed: "nothing is dead-lettered"},
		{name: "Apps Script with its preset: not public", url: script, preset: "apps-script", status: 302, header: "Location: https://accounts.google.com/ServiceLogin?continue=s3cr3t", reason: reasonUnauthorised, verdict: atFault, advice: "The script is not public", followed: "nothing is dead-lettered"},
		{name: "Apps Script with its preset: it fails", url: script, preset: "apps-script", status: 200, body: "<html><title>Error</title>TypeError: sheet is null (line 5)</html>", reason: reasonUnconfirmed, verdict: transient, advice: "the script failed", followed: "nothing is dead-lettered"},
		{name: "Apps Script with its preset: busy", url: script, preset: "apps-script", status: 200, body: `{"ok":false,"error":"busy"}`, reason: reasonUnconfirmed, verdict: transient, advice: "If it is busy, that passes", followed: "nothing is dead-lettered"},
		{name: "Apps Script with its preset: refused", url: script, preset: "apps-script", status: 200, body: `{"ok":false,"refused":true,"error":"no event_id"}`, reason: reasonRefused, verdict: refused, advice: "says why above", followed: "dead-letter it, if"},
		{name: "Apps Script with its preset: all is well", url: script, preset: "apps-script", status: 200, body: `{"ok":true}`, verdict: accepted, advice: "The script says that the row is in the sheet", followed: "count it as delivered"},
		{name: "Slack with its preset: revoked", url: "http://hooks.slack.com/services/T/B/s3cr3t", preset: "slack", status: 403, body: "invalid_token", reason: reasonUnauthorised, verdict: atFault, advice: "does not let the app post", followed: "nothing is dead-lettered"},
		{name: "Slack with its preset: gone", url: "http://hooks.slack.com/services/T/B/s3cr3t", preset: "slack", status: 400, body: "no_service", reason: reasonRejected, verdict: atFault, advice: "make a new one", followed: "nothing is dead-lettered"},
		{name: "HubSpot with its preset: no property", url: "http://api.hubapi.com/crm/s3cr3t", preset: "hubspot", status: 400, body: `{"category":"VALIDATION_ERROR","errors":[{"code":"PROPERTY_DOESNT_EXIST"}]}`, reason: reasonRejected, verdict: atFault, advice: "create the contact property", followed: "nothing is dead-lettered"},
		// Others.
		{name: "a fault of the endpoint", url: own, status: 503, reason: reasonFailing, verdict: transient, advice: "look at its log", followed: "try it again, after 0.5 s to 60 s"},
		{name: "no answer", url: own, hang: true, reason: reasonTimeout, verdict: transient, advice: "raise it if the endpoint is slow", followed: "nothing is dead-lettered"},
		{name: "a row that does not fit", url: own, status: 422, body: `{"error":"unknown column"}`, reason: reasonRefused, verdict: refused, advice: "Compare the row above", followed: "dead-letter it, if"},
		{name: "a row where Slack wants a message", url: "http://hooks.slack.com/services/T/B/s3cr3t", status: 400, body: "no_text", reason: reasonRefused, verdict: refused, advice: "set sink.preset to slack", followed: "dead-letter it, if"},
	}
}

// The answer to one attempt is explained, without retries, and no part of the URL is in any word.
func TestEveryMisconfigurationIsExplained(t *testing.T) {
	secure, _ := tlsConfigs()
	for _, m := range misconfigurations(secure) {
		synctest.Test(t, func(t *testing.T) {
			e := &endpoint{secure: m.secure}
			e.serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
				if m.hang {
					<-r.Context().Done()
					return
				}
				if name, value, ok := strings.Cut(m.header, ": "); ok {
					w.Header().Set(name, value)
				}
				w.WriteHeader(m.status)
				_, _ = io.WriteString(w, m.body)
			})
			s := e.sink(t, func(c *Config) {
				c.URL, c.Preset, c.AllowHTTP = m.url, m.preset, true
				c.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
					if m.dial != nil {
						return nil, m.dial
					}
					return e.DialContext(ctx, "tcp", "127.0.0.1:80")
				}
			})
			a, err := s.Try(t.Context(), row("1"))
			if err != nil {
				t.Fatalf("%s: %v", m.name, err)
			}
			if a.Accepted != (m.reason == "") || a.Reason != m.reason || a.Verdict != string(m.verdict) {
				t.Errorf("%s: %s, %s", m.name, a.Verdict, a.Reason)
			}
			if !strings.Contains(a.Advice, m.advice) {
				t.Errorf("%s: the advice is: %s", m.name, a.Advice)
			}
			if !strings.Contains(a.Consequence, m.followed) {
				t.Errorf("%s: the consequence is: %s", m.name, a.Consequence)
			}
			all := a.Words + a.Response + a.Advice + a.Consequence + strings.Join(a.RequestIDs, "") + s.logs.String()
			if strings.Contains(all, "s3cr3t") {
				t.Errorf("%s: a secret is shown: %s", m.name, all)
			}
			if n := len(e.requests()); n > 1 {
				t.Errorf("%s: %d requests", m.name, n)
			}
		})
	}
}

// What Google answers to the script's redirect is told, but not from where it was fetched.
func TestTrialTellsWhatTheScriptSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newInternet(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Host == "script.google.com" {
				w.Header().Set("Location", "https://script.googleusercontent.com/macros/echo?user_content_key=s3cr3t")
				w.WriteHeader(http.StatusFound)
				return
			}
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(w, `<html><head><title>Error</title></head><body>TypeError: sheet is null (line 5, file "Code")
				<a href="https://script.google.com/s3cr3t">https://script.googleusercontent.com/macros/echo?user_content_key=s3cr3t</a></body></html>`)
		})
		s := i.sink(t, "apps-script")
		a, err := s.Try(t.Context(), row("1"))
		const want = `Error TypeError: sheet is null (line 5, file "Code") https://script.googleusercontent.com/[masked]`
		if err != nil || a.Accepted || a.Reason != reasonUnconfirmed || a.Response != want || !strings.Contains(a.Advice, "the script failed") {
			t.Errorf("%+v, %v", a, err)
		}
	})
}

// Hazard 22: an endpoint that repeats the request, in head and body, gets none of its secrets shown.
func TestTrialShowsNoSecretOfTheEndpoint(t *testing.T) {
	const url = "http://us3r:passw0rd@127.0.0.1/hooks/t0ken-7f/x?apikey=qu3ry"
	private := []string{"us3r", "passw0rd", "t0ken", "qu3ry", "hooks", "apikey", "dXMzcjpwYXNzdzByZA"}
	for status := 200; status <= 599; status++ {
		synctest.Test(t, func(t *testing.T) {
			e := newEndpoint(t, func(_ int, w http.ResponseWriter, r *http.Request) {
				for _, field := range []string{"Location", "X-Request-Id", "Cf-Ray", "Www-Authenticate", "Retry-After"} {
					w.Header().Set(field, url)
				}
				if status%2 == 0 {
					w.Header().Set("Content-Type", "text/html")
				}
				w.WriteHeader(status)
				_, _ = io.WriteString(w, `<p id="`+url+`">{"id":"`+r.URL.String()+`","error":"`+r.Header.Get("Authorization")+` `+r.URL.EscapedPath()+`"}</p>`)
			})
			s := e.sink(t, func(c *Config) { c.URL = url })
			a, err := s.Try(t.Context(), row("1"))
			if err != nil || status > 299 && status != 304 && !strings.Contains(a.Response, "error") {
				t.Errorf("%d: %+v, %v", status, a, err)
			}
			all := strings.ToLower(fmt.Sprintf("%+v", a) + s.logs.String())
			for _, p := range private {
				if at := strings.Index(all, strings.ToLower(p)); at >= 0 {
					t.Errorf("%d: %s appears: …%s…", status, p, all[max(0, at-60):min(len(all), at+60)])
				}
			}
		})
	}
}

// There is advice for everything that can happen, and what it names exists.
func TestThereIsAdviceForEveryAnswer(t *testing.T) {
	s := new(endpoint).sink(t)
	for status := 100; status <= 599; status++ {
		if adviceOn(event{target: s.webhook.Load().access.target, of: generic, status: status, class: s.table.ofStatus(status)}) == "" {
			t.Errorf("no advice on %d", status)
		}
	}
	for _, reason := range holdReasons() {
		if adviceOn(event{target: s.webhook.Load().access.target, of: generic, class: class{atFault, reason}}) == "" {
			t.Errorf("no advice on %s", reason)
		}
	}
	settings, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hints() {
		for _, name := range regexp.MustCompile(`\b(?:sink|agify|kafka|event)\.[a-z][a-z_.]*[a-z]`).FindAllString(h.advice, -1) {
			if !strings.Contains(string(settings), "| `"+name+"` |") {
				t.Errorf("there is no setting %s: %s", name, h.advice)
			}
		}
	}
}

// The words of a page are what is shown of it.
func TestWordsOfAPageAreShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html><head><title>Error</title><style>\nbody {}\n</style><script>var a='<b>'</script></head>\n<body>\n<p>TypeError:&nbsp;sheet is <b>null</b></p><!-- x --></body></html>")
		})
		s := e.sink(t)
		a, err := s.Try(t.Context(), row("1"))
		if err != nil || a.Response != "Error TypeError:\u00a0sheet is null" {
			t.Errorf("%q, %v", a.Response, err)
		}
	})
}
