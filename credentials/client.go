package credentials

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// tokenTimeout bounds one request for a token.
const tokenTimeout = 10 * time.Second

// Client asks an authorization server for tokens by OAuth's client credentials (RFC 6749, section 4.4). It is not safe for
// concurrent use.
type Client struct {
	// One for all requests: it remembers in which way the server takes the secret.
	config clientcredentials.Config
	http   *http.Client
}

// NewClient asks nothing yet. A nil dial is TCP.
func NewClient(tokenURL, id string, scopes []string, dial func(ctx context.Context, network, addr string) (net.Conn, error)) *Client {
	return &Client{
		config: clientcredentials.Config{ClientID: id, TokenURL: tokenURL, Scopes: scopes},
		http: &http.Client{
			Timeout:       tokenTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			// A request an hour keeps no connection.
			Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: dial, DisableKeepAlives: true, ForceAttemptHTTP2: true},
		},
	}
}

// Token asks for a token with the client's secret of this moment. Its errors hold no secret, whatever the server says.
func (c *Client) Token(ctx context.Context, secret string) (*oauth2.Token, error) {
	c.config.ClientSecret = secret
	token, err := c.config.Token(context.WithValue(ctx, oauth2.HTTPClient, c.http))
	if err != nil {
		return nil, fmt.Errorf("ask for a token: %w", withoutSecrets(err))
	}
	return token, nil
}

// RefusedError says that an authorization server answered, but with no token.
type RefusedError struct {
	Status int
	Code   string // invalid_client and the like (RFC 6749, section 5.2); may be empty
}

func (e *RefusedError) Error() string {
	switch {
	case e.Status == 0:
		return "the authorization server's answer holds no token"
	case e.Code == "":
		return fmt.Sprintf("the authorization server answered %d", e.Status)
	}
	return fmt.Sprintf("the authorization server answered %d (%s)", e.Status, e.Code)
}

// codePattern is what an error code of an authorization server looks like (RFC 6749, section 5.2).
var codePattern = regexp.MustCompile(`^[a-z_]{1,64}$`)

// withoutSecrets leaves of an error what cannot hold a secret: a server may repeat anything in its answer, and a URL
// may hold a key.
func withoutSecrets(err error) error {
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok && refused.Response != nil {
		code := ""
		if codePattern.MatchString(refused.ErrorCode) {
			code = refused.ErrorCode
		}
		return &RefusedError{refused.Response.StatusCode, code}
	}
	if failed, ok := errors.AsType[*url.Error](err); ok {
		return failed.Err
	}
	return &RefusedError{}
}
