package main

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// agifyLatency is how long the fake agify thinks.
const agifyLatency = 3 * time.Millisecond

// agify answers like https://api.agify.io for the names that have an age in ages, and "unknown" for all others.
type agify struct {
	ages     map[string]int // by name in lower case
	requests atomic.Int64
}

// guess is what the API says of a name.
type guess struct {
	Count   int    `json:"count"`
	Name    string `json:"name"`
	Age     *int   `json:"age"`
	Country string `json:"country_id,omitempty"`
}

// ServeHTTP answers name=x with an object and name[]=x with an array, even of one.
func (a *agify) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	remaining := max(0, 25_000-a.requests.Add(1))
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("X-Rate-Limit-Limit", "25000")
	w.Header().Set("X-Rate-Limit-Remaining", strconv.FormatInt(remaining, 10))
	w.Header().Set("X-Rate-Limit-Reset", "1314000")
	select {
	case <-time.After(agifyLatency):
	case <-r.Context().Done():
		return
	}
	query := r.URL.Query()
	country := strings.ToUpper(query.Get("country_id"))
	switch {
	case query.Has("name[]"):
		guesses := make([]guess, 0, 10)
		for _, name := range query["name[]"] {
			guesses = append(guesses, a.guess(name, country))
		}
		encode(w, guesses)
	case query.Has("name"):
		encode(w, a.guess(query.Get("name"), country))
	default:
		w.WriteHeader(http.StatusUnprocessableEntity)
		encode(w, map[string]string{"error": "Missing 'name' parameter"})
	}
}

func (a *agify) guess(name, country string) guess {
	g := guess{Name: name, Country: country}
	if age, known := a.ages[strings.ToLower(name)]; known {
		g.Age, g.Count = &age, 1000*age
	}
	return g
}

func encode(w http.ResponseWriter, answer any) {
	_ = json.NewEncoder(w).Encode(answer) // the client has gone
}
