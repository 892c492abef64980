package enrich

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

const (
	maxAnswerBytes = 64 << 10         // an answer about one name has about 60, about 100 names about 6,000
	idleTimeout    = 90 * time.Second // of a connection, as Go's default transport has it
)

// A client asks the agify API. See https://agify.io/documentation/api/reference.
type client struct {
	transport *http.Transport
	url       string
	userAgent string

	mu      sync.Mutex
	readKey func() (string, error) // nil for no key
	reading chan struct{}          // closed when it is read; nil when nobody does
	apiKey  string                 // as last read
	account int                    // counts its changes: 0 before it was read
}

func newClient(cfg Config) *client {
	// HTTP/1.1 only: a request that timed out takes its connection with it, so that a dead path heals with the next request.
	// Over HTTP/2 all requests would share one dead connection.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &client{
		transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            boundedDial(cfg),
			TLSHandshakeTimeout:    cfg.Timeout,
			MaxIdleConnsPerHost:    cfg.Concurrency,
			IdleConnTimeout:        idleTimeout,
			MaxResponseHeaderBytes: maxAnswerBytes,
			DisableCompression:     true,
			Protocols:              protocols,
		},
		url:       cfg.URL,
		readKey:   cfg.APIKey,
		userAgent: cfg.UserAgent,
	}
}

// boundedDial gives each dial the timeout itself: the transport lets a dial go on, for later requests, when the one that caused it ends.
func boundedDial(cfg Config) func(ctx context.Context, network, addr string) (net.Conn, error) {
	dial := cfg.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
		defer cancel()
		return dial(ctx, network, addr)
	}
}

// key returns the API key of this moment, empty for none, and its number: another number is another key. A key that cannot be
// read, because its file is being replaced, is the one that it was; a failure is for one that was never read, or not in time: the
// file system may hang. All who wait for it share a reader.
func (c *client) key(ctx context.Context) (string, int, *failure) {
	if c.readKey == nil {
		return "", 0, nil
	}
	c.mu.Lock()
	if c.reading == nil {
		c.reading = make(chan struct{})
		go c.read(c.reading)
	}
	read := c.reading
	c.mu.Unlock()
	var failed *failure
	select {
	case <-read:
	case <-ctx.Done():
		failed = &failure{reason: reasonTimeout, err: errors.New("agify.api_key_file is not read in time")}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if failed == nil && c.account == 0 {
		failed = &failure{reason: reasonNetwork, err: errors.New("agify.api_key_file cannot be read")}
	}
	return c.apiKey, c.account, failed
}

func (c *client) read(done chan struct{}) {
	k, err := c.readKey()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && (k != c.apiKey || c.account == 0) {
		c.apiKey = k
		c.account++
	}
	c.reading = nil
	close(done)
}

// ask asks for the ages of people with names in a country: one name in the form that is answered by an object, more in the form
// that is answered by a list of as many, in their order. The quota is what the answer says of it, whatever else it says.
//
// The request goes to the transport itself, not through an [http.Client]: nothing follows redirects, which would carry the key and
// the name to another host, and no [*url.Error] is made, which would quote them.
func (c *client) ask(ctx context.Context, where country, names []string) ([]answer, quota, *failure) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, http.NoBody)
	if err != nil {
		return nil, quota{}, &failure{reason: reasonNetwork, err: errors.New("the URL is not valid")}
	}
	key, account, failed := c.key(ctx)
	if failed != nil {
		return nil, quota{account: account}, failed
	}
	req.URL.RawQuery = query(where, names, key)
	req.Header.Set("Accept", "application/json")
	if c.userAgent != "" {
		req.Header.Set("User-Agent", c.userAgent)
	}
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, quota{account: account}, connectionFailure(err)
	}
	defer resp.Body.Close()
	q := quotaOf(resp.Header, time.Now())
	q.account = account

	// Read to its end, the body gives the connection back.
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	switch {
	case resp.StatusCode != http.StatusOK:
		return nil, q, statusFailure(resp.StatusCode, body, q.known)
	case err != nil:
		return nil, q, connectionFailure(err)
	case len(body) > maxAnswerBytes:
		return nil, q, &failure{reason: reasonAnswer, err: errors.New("larger than 64 KiB")}
	}
	answers, failed := decode(body, len(names))
	return answers, q, failed
}

// query has exactly our parameters, whatever the names contain.
func query(where country, names []string, key string) string {
	q := url.Values{"name[]": names}
	if len(names) == 1 {
		q = url.Values{"name": names}
	}
	if where != (country{}) {
		q.Set("country_id", where.String())
	}
	if key != "" {
		q.Set("apikey", key)
	}
	return q.Encode()
}
