package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"sync"
	"time"

	"github.com/segmentio/kafka-go/sasl"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// ClientCredentials asks an authorization server for tokens by OAuth's client credentials (RFC 6749, section 4.4).
type ClientCredentials struct {
	TokenURL     string
	ClientID     string
	ClientSecret Secret
	Scopes       []string
}

// tokenTimeout bounds one request for a token.
const tokenTimeout = 10 * time.Second

// patience is how long a token that a broker refused is tried on: the broker may not know its key yet, and an
// authorization server is not to be asked at each of many logins that fail.
const patience = 10 * time.Second

// Login is the mechanism OAUTHBEARER with tokens of the server. One is asked for when the last one has less than a fifth
// of its time left or was refused, and is used on while there is no other; one without a time is used once. The client
// secret is read then.
func (c ClientCredentials) Login() sasl.Mechanism {
	s := &tokenSource{
		secret: c.ClientSecret,
		// One for all requests: it remembers in which way the server takes the secret.
		config: &clientcredentials.Config{ClientID: c.ClientID, TokenURL: c.TokenURL, Scopes: c.Scopes},
		client: &http.Client{
			Timeout:       tokenTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			// A request an hour keeps no connection.
			Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, ForceAttemptHTTP2: true},
		},
	}
	return bearer{s.token, s.refused}
}

type tokenSource struct {
	secret Secret
	client *http.Client

	mu     sync.Mutex // held during a request: whoever comes then waits for its token
	config *clientcredentials.Config
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

func (s *tokenSource) ask(ctx context.Context) (token *oauth2.Token, err error) {
	if s.config.ClientSecret, err = s.secret(ctx); err != nil {
		return nil, err
	}
	if token, err = s.config.Token(context.WithValue(ctx, oauth2.HTTPClient, s.client)); err != nil {
		return nil, fmt.Errorf("ask for a token: %w", withoutSecrets(err))
	}
	return token, nil
}

// codePattern is what an error code of an authorization server looks like (RFC 6749, section 5.2).
var codePattern = regexp.MustCompile(`^[a-z_]{1,64}$`)

// withoutSecrets leaves of an error what cannot hold a secret: a server may repeat anything in its answer, and a URL
// may hold a key.
func withoutSecrets(err error) error {
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok && refused.Response != nil {
		said := ""
		if codePattern.MatchString(refused.ErrorCode) {
			said = " (" + refused.ErrorCode + ")"
		}
		return fmt.Errorf("the authorization server answered %d%s", refused.Response.StatusCode, said)
	}
	if failed, ok := errors.AsType[*url.Error](err); ok {
		return failed.Err
	}
	return errors.New("the authorization server's answer holds no token")
}
