package auth

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/segmentio/kafka-go/sasl"
	"golang.org/x/oauth2"

	"signup-sheet/credentials"
)

// ClientCredentials asks an authorization server for tokens by OAuth's client credentials (RFC 6749, section 4.4).
type ClientCredentials struct {
	TokenURL     string
	ClientID     string
	ClientSecret Secret
	Scopes       []string
	// DialContext opens connections to the server. nil: net.Dialer's.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
}

// patience is how long a token that a broker refused is tried on: the broker may not know its key yet, and an
// authorization server is not to be asked at each of many logins that fail.
const patience = 10 * time.Second

// Login is the mechanism OAUTHBEARER with tokens of the server. One is asked for when the last one has less than a fifth
// of its time left or was refused, and is used on while there is no other; one without a time is used once. The client
// secret is read then.
func (c ClientCredentials) Login() sasl.Mechanism {
	s := &tokenSource{secret: c.ClientSecret, client: credentials.NewClient(c.TokenURL, c.ClientID, c.Scopes, c.DialContext)}
	return bearer{s.token, s.refused}
}

type tokenSource struct {
	secret Secret

	mu     sync.Mutex // held during a request: whoever comes then waits for its token
	client *credentials.Client
	last   *oauth2.Token
	asked  time.Time // when last was asked for
	renew  time.Time // when last is too old
}

func (s *tokenSource) token(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return "", context.Cause(ctx) // it was waited for too long
	}
	if s.last != nil && time.Now().Before(s.renew) {
		return s.last.AccessToken, nil
	}
	token, err := s.ask(ctx)
	switch {
	case err == nil:
	case s.last != nil && time.Now().Before(s.last.Expiry):
		return s.last.AccessToken, nil
	default:
		return "", err
	}
	s.last, s.asked = token, time.Now()
	s.renew = time.Now().Add(time.Until(token.Expiry) / 5 * 4) // in the past if the server does not say when the token ends
	return token.AccessToken, nil
}

// refused is told of a token that a broker did not take: it may have been revoked.
func (s *tokenSource) refused(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil && s.last.AccessToken == token && time.Since(s.asked) >= patience {
		s.last = nil
	}
}

func (s *tokenSource) ask(ctx context.Context) (*oauth2.Token, error) {
	secret, err := s.secret(ctx)
	if err != nil {
		return nil, err
	}
	return s.client.Token(ctx, secret)
}
