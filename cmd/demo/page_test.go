package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// pressed is a page of two buttons that remember what was done to them.
type pressed struct {
	on    bool
	times int
	err   error
	rows  int // that were asked for
}

func (p *pressed) serve(t *testing.T) string {
	t.Helper()
	csv := filepath.Join(t.TempDir(), "sheet.csv")
	if err := os.WriteFile(csv, []byte("event_id\n1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	act := func(on bool) error { p.on = on; p.times++; return p.err }
	server := httptest.NewServer((&page{
		look:    func(rows, _ int, buttons []button) view { p.rows = rows; return view{Buttons: buttonViews(buttons)} },
		buttons: []button{{name: "stays", on: func() bool { return p.on }, press: act}, {name: "once", press: act}},
		csv:     csv,
	}).handler())
	t.Cleanup(server.Close)
	return server.URL
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// send sends a request with headers ("Name: text").
func send(t *testing.T, method, url string, headers ...string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for _, header := range headers {
		name, text, _ := strings.Cut(header, ": ")
		if name == "Host" {
			request.Host = text
		}
		request.Header.Set(name, text)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

func TestEveryAnswerOfThePageHasAStrictPolicy(t *testing.T) {
	url := (&pressed{}).serve(t)
	for path, kind := range map[string]string{
		"/": "text/html; charset=utf-8", "/page.css": "text/css; charset=utf-8", "/page.js": "text/javascript; charset=utf-8",
		"/icon.svg": "image/svg+xml", "/state": "application/json", "/signups.csv": "text/csv; charset=utf-8",
	} {
		got := send(t, http.MethodGet, url+path)
		if got.status != http.StatusOK || got.header.Get("Content-Type") != kind || got.body == "" {
			t.Errorf("%s: %d, %s, %d bytes", path, got.status, got.header.Get("Content-Type"), len(got.body))
		}
		csp := got.header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: policy %q without %s", path, csp, want)
			}
		}
		if strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") {
			t.Errorf("%s: policy %q", path, csp)
		}
		for _, name := range []string{"X-Content-Type-Options", "Referrer-Policy", "Cross-Origin-Resource-Policy"} {
			if got.header.Get(name) == "" {
				t.Errorf("%s: no %s", path, name)
			}
		}
	}
	if got := send(t, http.MethodGet, url+"/run.go"); got.status != http.StatusNotFound {
		t.Errorf("a file that is not of the page: %d", got.status)
	}
}

// Other sites' pages can send a POST to this server, and can make a name of theirs point to it.
func TestOtherSitesNeitherPressButtonsNorReadThePage(t *testing.T) {
	p := &pressed{}
	url := p.serve(t)
	host := strings.TrimPrefix(url, "http://")
	_, port, _ := strings.Cut(host, ":")
	for _, test := range []struct {
		name    string
		method  string
		path    string
		headers []string
		status  int
	}{
		{"another origin", http.MethodPost, "/press/once", []string{"Origin: https://evil.example"}, http.StatusForbidden},
		{"no origin to speak of", http.MethodPost, "/press/once", []string{"Origin: null"}, http.StatusForbidden},
		{"another port is another origin", http.MethodPost, "/press/once", []string{"Origin: http://127.0.0.1:1"}, http.StatusForbidden},
		{"another site", http.MethodPost, "/press/once", []string{"Sec-Fetch-Site: cross-site"}, http.StatusForbidden},
		{"another name of the same site", http.MethodPost, "/press/once", []string{"Sec-Fetch-Site: same-site"}, http.StatusForbidden},
		{"a name that points here", http.MethodPost, "/press/once", []string{"Host: evil.example:" + port, "Origin: http://evil.example:" + port, "Sec-Fetch-Site: same-origin"}, http.StatusMisdirectedRequest},
		{"reading under such a name", http.MethodGet, "/state", []string{"Host: evil.example:" + port}, http.StatusMisdirectedRequest},
		{"a name that only looks like ours", http.MethodGet, "/", []string{"Host: localhost.evil.example"}, http.StatusMisdirectedRequest},
		{"an address of the network", http.MethodGet, "/", []string{"Host: 192.168.0.1:" + port}, http.StatusMisdirectedRequest},
		{"a GET presses nothing", http.MethodGet, "/press/once", nil, http.StatusMethodNotAllowed},
	} {
		if got := send(t, test.method, url+test.path, test.headers...); got.status != test.status {
			t.Errorf("%s: %d, want %d", test.name, got.status, test.status)
		}
	}
	if p.times != 0 {
		t.Fatalf("a button was pressed %d times", p.times)
	}
	for i, headers := range [][]string{
		{"Origin: " + url, "Sec-Fetch-Site: same-origin"},
		{"Origin: http://localhost:" + port, "Host: localhost:" + port},
		{"Origin: http://localhost:9000", "Host: localhost:9000"}, // a forwarded port
		{"Host: [::1]:" + port},
		{"Host: 127.0.0.1"},
	} {
		if got := send(t, http.MethodPost, url+"/press/once", headers...); got.status != http.StatusNoContent || p.times != i+1 {
			t.Errorf("%q: %d %s", headers, got.status, got.body)
		}
	}
}

func TestAButtonBecomesWhatItIsPressedToBe(t *testing.T) {
	p := &pressed{}
	url := p.serve(t)
	press := func(path string, status, times int) {
		t.Helper()
		if got := send(t, http.MethodPost, url+"/press/"+path); got.status != status || p.times != times {
			t.Errorf("%s: %d %s, pressed %d times, want %d and %d", path, got.status, got.body, p.times, status, times)
		}
	}
	press("stays?on=true", http.StatusNoContent, 1)
	press("stays?on=true", http.StatusNoContent, 1) // pressed twice by mistake, or in two tabs
	press("stays", http.StatusBadRequest, 1)
	press("stays?on=false", http.StatusNoContent, 2)
	press("once", http.StatusNoContent, 3)
	press("nothing", http.StatusNotFound, 3)
	p.err = errors.New("not now")
	press("once", http.StatusConflict, 4)
	if got := send(t, http.MethodPost, url+"/press/once"); !strings.Contains(got.body, "not now") {
		t.Errorf("answer %q", got.body)
	}
}

func TestThePageAsksForTheRowsThatItDoesNotHave(t *testing.T) {
	p := &pressed{}
	url := p.serve(t)
	for query, want := range map[string]int{"": -1, "?rows=": -1, "?rows=x": -1, "?rows=-3": -1, "?rows=0": 0, "?rows=17&letters=2": 17} {
		body := send(t, http.MethodGet, url+"/state"+query).body
		var v view
		if err := json.Unmarshal([]byte(body), &v); err != nil || len(v.Buttons) != 2 || !v.Buttons[0].Toggle || v.Buttons[1].Toggle {
			t.Errorf("%s: %v, %s", query, err, body)
		}
		if p.rows != want {
			t.Errorf("%q: asked for rows after %d, want %d", query, p.rows, want)
		}
	}
}
