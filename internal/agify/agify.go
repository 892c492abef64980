// Package agify stands in for https://api.agify.io in tests, the benchmark and the demo. It answers as
// https://agify.io/documentation/api/reference says, and counts.
package agify

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// DocumentedBatch is the most names that a request may have.
const DocumentedBatch = 10

// A Server is the API. What is set must not change while it serves.
type Server struct {
	// Age is what it knows of a name, as it was sent, in a country, in upper case or empty. Nil: everybody is 42.
	Age func(name, country string) (age int, known bool)
	// Latency is how long it thinks.
	Latency time.Duration
	// Key is the only one that it takes. Empty: none is needed.
	Key string
	// MaxBatch is how many names it takes in a request. 0: DocumentedBatch.
	MaxBatch int
	// Quota is how many names it answers before Reset, an hour from the first request if it is zero. 0: 25,000,000.
	Quota int
	Reset time.Time

	mu       sync.Mutex
	requests int
	names    int
	largest  int
	asked    map[string]int
}

// Counts are what was asked so far.
type Counts struct {
	Requests int // those that failed, too
	Names    int // answered
	Distinct int // of those, by name and country
	Largest  int // names in one request that was answered
}

// Counts returns what was asked so far.
func (s *Server) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Counts{s.requests, s.names, len(s.asked), s.largest}
}

// guess is the answer about a name.
type guess struct {
	Count   int    `json:"count"`
	Name    string `json:"name"`
	Age     *int   `json:"age"`
	Country string `json:"country_id,omitempty"`
}

// ServeHTTP answers name=x with an object and name[]=x with a list, even of one.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.Latency > 0 {
		timer := time.NewTimer(s.Latency)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return
		}
	}
	query := r.URL.Query()
	names, list := query["name[]"], query.Has("name[]")
	if !list {
		names = query["name"]
	}
	country := strings.ToUpper(query.Get("country_id"))
	status, problem := s.charge(w.Header(), names, country, query.Get("apikey"), list)
	if problem != "" {
		w.WriteHeader(status)
		encode(w, map[string]string{"error": problem})
		return
	}
	guesses := make([]guess, len(names))
	for i, name := range names {
		guesses[i] = s.guess(name, country)
	}
	if list {
		encode(w, guesses)
	} else {
		encode(w, guesses[0])
	}
}

// charge counts a request, and says what is wrong with it.
func (s *Server) charge(h http.Header, names []string, country, key string, list bool) (status int, problem string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	if s.Quota == 0 {
		s.Quota = 25_000_000
	}
	now := time.Now()
	if s.Reset.IsZero() {
		s.Reset = now.Add(time.Hour)
	}
	if !now.Before(s.Reset) {
		s.names, s.Reset = 0, now.Add(time.Hour)
	}
	if s.asked == nil {
		s.asked = map[string]int{}
	}
	left := s.Quota - s.names
	largest := s.MaxBatch
	if largest == 0 {
		largest = DocumentedBatch
	}
	switch {
	case s.Key != "" && key != s.Key:
		status, problem = http.StatusUnauthorized, "Invalid API key"
	case len(names) == 0:
		status, problem = http.StatusUnprocessableEntity, "Missing 'name' parameter"
	case len(names) > largest || !list && len(names) > 1:
		status, problem = http.StatusUnprocessableEntity, "Invalid 'name' parameter"
	case left == 0:
		status, problem = http.StatusTooManyRequests, "Request limit reached"
	case left < len(names):
		status, problem = http.StatusTooManyRequests, "Request limit too low to process request"
	default:
		s.names += len(names)
		s.largest = max(s.largest, len(names))
		for _, name := range names {
			s.asked[country+":"+name]++
		}
	}
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("X-Rate-Limit-Limit", strconv.Itoa(s.Quota))
	h.Set("X-Rate-Limit-Remaining", strconv.Itoa(s.Quota-s.names))
	h.Set("X-Rate-Limit-Reset", strconv.Itoa(int(s.Reset.Sub(now).Seconds())))
	return status, problem
}

func (s *Server) guess(name, country string) guess {
	age, known := 42, true
	if s.Age != nil {
		age, known = s.Age(name, country)
	}
	g := guess{Name: name, Country: country}
	if known {
		g.Age, g.Count = &age, 1000*age
	}
	return g
}

func encode(w http.ResponseWriter, answer any) {
	_ = json.NewEncoder(w).Encode(answer) // the client has gone
}
