package main

import (
	"embed"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
)

//go:embed page
var pageFiles embed.FS

// page serves the sheet to browsers. It is asked for news instead of sending them: browsers keep six connections to a host at
// most, and a seventh tab would wait for ever.
type page struct {
	look    func(rows, letters int, buttons []button) view
	buttons []button
	csv     string // the file with the whole sheet
}

func (p *page) handler() http.Handler {
	mux := http.NewServeMux()
	for path, file := range map[string]struct{ name, kind string }{
		"GET /{$}":      {"index.html", "text/html; charset=utf-8"},
		"GET /page.css": {"page.css", "text/css; charset=utf-8"},
		"GET /page.js":  {"page.js", "text/javascript; charset=utf-8"},
		"GET /icon.svg": {"icon.svg", "image/svg+xml"},
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			content, err := pageFiles.ReadFile("page/" + file.name)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", file.kind)
			_, _ = w.Write(content) // the browser has gone
		})
	}
	mux.HandleFunc("GET /state", p.state)
	mux.HandleFunc("GET /signups.csv", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/csv; charset=utf-8")
		w.Header().Set("Content-Disposition", `attachment; filename="signups.csv"`)
		http.ServeFile(w, r, p.csv)
	})
	mux.HandleFunc("POST /press/{button}", p.press)
	return guard(mux)
}

// state answers with the view. The parameters rows and letters are the numbers of the last ones that the page has; without one
// there are none in the answer.
func (p *page) state(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(p.look(lineNumber(r, "rows"), lineNumber(r, "letters"), p.buttons)) // the browser has gone
}

func lineNumber(r *http.Request, name string) int {
	n, err := strconv.Atoi(r.URL.Query().Get(name))
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// press presses a button. on=true or on=false says what one that stays pressed is to be.
func (p *page) press(w http.ResponseWriter, r *http.Request) {
	for _, b := range p.buttons {
		if b.name != r.PathValue("button") {
			continue
		}
		on, err := strconv.ParseBool(r.URL.Query().Get("on"))
		if err != nil && b.on != nil {
			http.Error(w, "say on=true or on=false", http.StatusBadRequest)
			return
		}
		if b.on != nil && b.on() == on {
			w.WriteHeader(http.StatusNoContent) // as it is already: somebody else was faster
			return
		}
		if err := b.press(on); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		w.WriteHeader(http.StatusNoContent)
		return
	}
	http.Error(w, "no such button", http.StatusNotFound)
}

// policy lets the page load its own files and talk to this server, and nothing else: no inline script, no markup from data.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// guard keeps other sites out: their pages must neither press buttons (the origin must be ours) nor read what is here under a
// name of theirs that they make point to this machine (the host must be a loopback address).
func guard(next http.Handler) http.Handler {
	next = http.NewCrossOriginProtection().Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLoopback(r.Host) {
			http.Error(w, "this page is served as localhost only", http.StatusMisdirectedRequest)
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// isLoopback tells whether a Host header, whatever its port, names this machine: a forwarded port is another one.
func isLoopback(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.Trim(host, "[]")
	}
	if name == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(name)
	return err == nil && address.IsLoopback()
}
