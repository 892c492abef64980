package enrich

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

const (
	maxAnswerBytes = 64 << 10         // an answer about one name has about 60
	idleTimeout    = 90 * time.Second // of a connection, as Go's default transport has it
)

// A client asks the agify API. See https://agify.io/documentation/api/reference.
type client struct {
	transport *http.Transport
	url       string
	apiKey    string
	userAgent string
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
		apiKey:    cfg.APIKey,
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

// guess asks for the age of people called k.name in k.country. An error is a [*failure].
//
// The request goes to the transport itself, not through an [http.Client]: nothing follows redirects, which would carry the key and
// the name to another host, and no [*url.Error] is made, which would quote them.
func (c *client) guess(ctx context.Context, k key) (guess, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, http.NoBody)
	if err != nil {
		return guess{}, &failure{reason: reasonNetwork, err: errors.New("the URL is not valid")}
	}
	req.URL.RawQuery = c.query(k)
	req.Header.Set("Accept", "application/json")
	if c.userAgent != "" {
		req.Header.Set("User-Agent", c.userAgent)
	}
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return guess{}, connectionFailure(err)
	}
	defer resp.Body.Close()

	// Read to its end, the body gives the connection back. Of an error only the status counts: its text may quote the name.
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	switch {
	case resp.StatusCode != http.StatusOK:
		return guess{}, statusFailure(resp.StatusCode)
	case err != nil:
		return guess{}, connectionFailure(err)
	case len(body) > maxAnswerBytes:
		return guess{}, &failure{reason: reasonAnswer, err: errors.New("larger than 64 KiB")}
	}
	g, err := decodeAnswer(body)
	if err != nil {
		return guess{}, &failure{reason: reasonAnswer, err: err}
	}
	return g, nil
}

// query has exactly our parameters, whatever the name contains.
func (c *client) query(k key) string {
	q := url.Values{"name": {k.name}}
	if k.country != "" {
		q.Set("country_id", k.country)
	}
	if c.apiKey != "" {
		q.Set("apikey", c.apiKey)
	}
	return q.Encode()
}
