package sink

import (
	"context"
	"crypto/tls"
	"maps"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"signup-sheet/credentials"
)

// connectionAge is how long connections are used: the endpoint's name may lead elsewhere
// by then. net/http has no such bound, and busy connections are never idle.
const connectionAge = 5 * time.Minute

// webhook is what is known of the webhook, ready for requests. It never changes: when
// something does, another takes its place, and this one ends with its last attempt.
type webhook struct {
	access    access
	version   int           // another if access is
	request   *http.Request // the template of all requests: without header, body and context
	header    http.Header   // the fields that all requests share
	keys      [][]byte      // that sign requests
	secrets   []string      // the texts that must not appear anywhere
	envelopes sync.Pool     // of *envelope
	*connections
}

// connections are those to the webhook, until they are too old or the way to it changes.
type connections struct {
	transport *http.Transport
	fresh     *http.Transport // has a new connection for each request
	born      time.Time

	// The transport has a connection in its pool a moment before it hands over the
	// answer that came on it. Closed then, it would cost the answer, so that it is
	// closed when no attempt is under way.
	mu       sync.Mutex
	attempts int
	retired  bool // others are used now
}

// newConnections returns none yet: they are opened as attempts need them.
func newConnections(cfg Config, known access, now time.Time) *connections {
	c := &connections{transport: newTransport(cfg, known), fresh: newTransport(cfg, known), born: now}
	c.fresh.DisableKeepAlives = true
	return c
}

// begin is called when an attempt begins, and end when it has its answer.
func (c *connections) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempts++
}

func (c *connections) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempts--
	c.closeIfDone()
}

// retire is called when others are used from now on. An attempt that had chosen these may still begin.
func (c *connections) retire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retired = true
	c.closeIfDone()
}

func (c *connections) closeIfDone() {
	if c.retired && c.attempts == 0 {
		c.transport.CloseIdleConnections()
	}
}

// newWebhook returns one without connections.
func (s *Sink) newWebhook(known access, version int) *webhook {
	header := http.Header{
		"Content-Type": {"application/json"},
		"User-Agent":   {s.cfg.UserAgent},
	}
	maps.Copy(header, s.cfg.Auth.header(known))
	keys, _ := signingKeys(known.signing) // checked when they were read
	withUser := *known.target
	withUser.User = known.user
	return &webhook{
		access: known, version: version,
		request: &http.Request{
			Method: http.MethodPost, URL: known.target, Host: known.target.Host,
			Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		},
		header:  header,
		keys:    keys,
		secrets: append(secretsOf(&withUser), s.cfg.Auth.secrets(known)...),
	}
}

func newTransport(cfg Config, known access) *http.Transport {
	dial := cfg.DialContext
	if dial == nil {
		dial = (&net.Dialer{Timeout: min(cfg.Timeout, 5*time.Second)}).DialContext
	}
	security := cfg.TLS.Clone()
	if security == nil {
		security = &tls.Config{}
	}
	security.MinVersion = max(security.MinVersion, tls.VersionTLS12)
	credentials.Apply(security, known.pool, known.pair)
	buffer := headBuffer
	if cfg.Auth.Mechanism != "" && cfg.Auth.Mechanism != AuthNone {
		buffer += maxToken
	}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dial,
		TLSClientConfig:     security,
		TLSHandshakeTimeout: 10 * time.Second,
		// The default of two idle connections a host would close all others after
		// each request.
		MaxIdleConns:           cfg.Concurrency,
		MaxIdleConnsPerHost:    cfg.Concurrency,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 256 << 10,
		DisableCompression:     true,
		// The whole head of a request stays in this buffer until the permit has been
		// asked for the last time: see track.
		WriteBufferSize:   buffer,
		ForceAttemptHTTP2: true,
		HTTP2:             &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 10 * time.Second},
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, res *http.Response) error {
			if res.StatusCode != http.StatusOK {
				return &proxyError{res.StatusCode}
			}
			return nil
		},
	}
}

// retired are texts that were secrets of the endpoint, and may be for a while.
type retired struct {
	mu    sync.Mutex
	until map[string]time.Time
}

// retiredFor is how long a text that is a secret no more is masked.
const retiredFor = time.Hour

func (r *retired) add(now time.Time, texts []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.until == nil {
		r.until = map[string]time.Time{}
	}
	maps.DeleteFunc(r.until, func(_ string, until time.Time) bool { return until.Before(now) })
	for _, text := range texts {
		r.until[text] = now.Add(retiredFor)
	}
}

func (r *retired) texts() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	texts := make([]string, 0, len(r.until))
	for text := range r.until {
		texts = append(texts, text)
	}
	return texts
}

// secrets returns the texts that must not appear anywhere.
func (s *Sink) secrets() []string {
	texts := append(s.retired.texts(), s.webhook.Load().secrets...)
	if s.tokens != nil {
		texts = append(texts, s.tokens.secret()...)
	}
	return texts
}
