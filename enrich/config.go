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
	APIKey      string        // a secret, sent in the query; empty for none
	UserAgent   string        // empty for Go's own
	Concurrency int           // connections kept open between requests; as many as rows are delivered at a time

	// DialContext connects to the API, or to the proxy before it. Nil dials the network. A dial is given Timeout.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Validate says all that is wrong with c at once, naming the settings as operators write them and never their values.
func (c Config) Validate() error {
	var errs []error
	if !plainURL(c.URL) {
		errs = append(errs, errors.New("agify.url: want an http or https URL without user, query and fragment (a key goes into a file: agify.api_key_file)"))
	}
	if c.Timeout <= 0 {
		errs = append(errs, errors.New("agify.timeout: want more than 0s"))
	}
	if c.CacheSize < 1 {
		errs = append(errs, errors.New("agify.cache_size: want at least 1"))
	}
	if c.Concurrency < 1 {
		errs = append(errs, errors.New("concurrency of age lookups: want at least 1"))
	}
	return errors.Join(errs...)
}

func plainURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" &&
		u.User == nil && u.RawQuery == "" && !u.ForceQuery && u.Fragment == ""
}
