package enrich

import (
	"context"
	"errors"
	"net"
	"net/url"
	"time"
)

// Config is what an [Enricher] needs to know.
type Config struct {
	URL         string        // of the API, such as https://api.agify.io: http or https, without user, query and fragment
	Timeout     time.Duration // the longest that a row waits for its age
	CacheSize   int           // answers kept, each for one name in one country
	CacheTTL    time.Duration // how long an age counts
	UnknownTTL  time.Duration // how long it counts that agify does not know a name
	BatchSize   int           // names in a request, at most
	Linger      time.Duration // how long a name waits for company in its request
	UserAgent   string        // empty for Go's own
	Concurrency int           // connections kept open between requests; as many as rows are delivered at a time

	// MinRemaining is how many names of the quota are left to others.
	MinRemaining int
	// APIKey returns the key, a secret, sent in the query. It is called for every request, so that the key may change. Nil for none.
	APIKey func() (string, error)
	// Store is told what agify answered. Nil for none.
	Store Store
	// Ready is closed when what a store has is known, or when that is not worth waiting for any longer. Nil for no waiting.
	Ready <-chan struct{}
	// DialContext connects to the API, or to the proxy before it. Nil dials the network. A dial is given Timeout.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Validate says all that is wrong with c at once, naming the settings as operators write them and never their values.
func (c Config) Validate() error {
	var errs []error
	want := func(ok bool, setting, what string) {
		if !ok {
			errs = append(errs, errors.New(setting+": want "+what))
		}
	}
	want(plainURL(c.URL), "agify.url", "an http or https URL without user, query and fragment (a key goes into a file: agify.api_key_file)")
	want(c.Timeout > 0, "agify.timeout", "more than 0s")
	want(c.CacheSize >= 1, "agify.cache_size", "at least 1")
	want(c.CacheTTL > 0, "agify.cache_ttl", "more than 0s")
	want(c.UnknownTTL > 0, "agify.unknown_ttl", "more than 0s")
	want(c.BatchSize >= 1 && c.BatchSize <= maxBatch, "agify.batch_size", "1 to 100")
	want(c.Linger >= 0 && c.Linger < max(c.Timeout, 1), "agify.linger", "0s or more, and less than agify.timeout")
	want(c.MinRemaining >= 0, "agify.min_remaining", "0 or more")
	want(c.Concurrency >= 1, "concurrency of age lookups", "at least 1")
	return errors.Join(errs...)
}

// maxBatch is the most names that agify's own clients send in a request.
const maxBatch = 100

func plainURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" &&
		u.User == nil && u.RawQuery == "" && !u.ForceQuery && u.Fragment == ""
}
