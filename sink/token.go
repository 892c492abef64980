package sink

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"signup-sheet/credentials"
)

const (
	// A token that the endpoint does not take is replaced at most so often.
	replaceAfter = 10 * time.Second
	// A token that is good still is replaced so long after an attempt to do so failed.
	renewAgain = 5 * time.Second
)

// accessTokens are those of OAuth's client credentials: one at a time for all
// attempts. It asks for the next one while a fifth of the time of the last is left.
type accessTokens struct {
	client *credentials.Client
	note   func(err error) // of each time that was asked
	retire func(text string)
	ctx    context.Context //nolint:containedctx // of all requests for tokens: close ends it
	cancel context.CancelFunc
	asks   sync.WaitGroup

	mu       sync.Mutex
	password string // the client's secret
	changed  int    // how often it did
	token    string // empty: none
	renew    time.Time
	expiry   time.Time // zero: never
	replaced time.Time // when the latest replacement began
	answered time.Time // when it ended
	asking   chan struct{}
	doubted  bool   // the endpoint did not take the token, and another is asked for
	failure  error  // of the latest time that was asked
	taken    bool   // the endpoint has answered a request with the token, and not with 401
	refused  bool   // its latest answer was 401
	trial    *trial // nil: none is under way
}

func newTokens(client *credentials.Client, secret string) *accessTokens {
	t := &accessTokens{client: client, password: secret, note: func(error) {}, retire: func(string) {}}
	t.ctx, t.cancel = context.WithCancel(context.Background()) //nolint:forbidigo // a request for a token serves many deliveries
	return t
}

// get returns a token that is good now, as far as is known. It waits for one if need be,
// and returns why there is none, or context.Cause(ctx).
func (t *accessTokens) get(ctx context.Context) (string, error) {
	t.mu.Lock()
	now := time.Now()
	if t.refused && t.asking == nil && now.Sub(t.replaced) >= replaceAfter {
		// Nothing is known of another one, but that this one is not taken.
		t.replaced, t.doubted = now, true
		t.ask()
	}
	if t.isGood(now) && !t.doubted {
		if t.asking == nil && !t.renew.IsZero() && !now.Before(t.renew) {
			t.ask()
		}
		defer t.mu.Unlock()
		return t.token, nil
	}
	if t.asking == nil {
		t.ask()
	}
	return t.wait(ctx)
}

// replace returns another token than one that the endpoint did not take. It returns that
// one again if there is no other, or if one was asked for a moment ago.
func (t *accessTokens) replace(ctx context.Context, refused string) (string, error) {
	t.mu.Lock()
	now := time.Now()
	if t.token != refused {
		defer t.mu.Unlock()
		return t.token, nil
	}
	if t.asking == nil {
		if now.Sub(t.answered) < replaceAfter {
			defer t.mu.Unlock()
			return t.token, nil
		}
		t.replaced = now
		t.ask()
	}
	t.doubted = true
	return t.wait(ctx)
}

// trial is a request with a fresh token that others wait for.
type trial struct {
	ended    chan struct{} // closed when it has its answer, or the token is taken from another
	withheld bool          // it was not sent
}

// try reports whether to repeat a request, that had another token, with the one that there
// is now. One of those that ask tries a fresh token, and the others wait for what becomes of
// that: an endpoint that takes none gets one more request, not one of each. If it was not
// sent, the next one tries. done is to be called when the request has its answer.
func (t *accessTokens) try(ctx context.Context) (done func(withheld bool), ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for !t.taken && !t.refused {
		now := t.trial
		if now == nil {
			mine := &trial{ended: make(chan struct{})}
			t.trial = mine
			return func(withheld bool) {
				t.mu.Lock()
				defer t.mu.Unlock()
				mine.withheld = withheld
				if t.trial == mine {
					t.endTrial()
				}
			}, true
		}
		t.mu.Unlock()
		select {
		case <-now.ended:
		case <-ctx.Done():
		}
		t.mu.Lock()
		if !now.withheld {
			break
		}
	}
	return func(bool) {}, t.taken
}

// endTrial lets those go on that wait for it. t.mu is held.
func (t *accessTokens) endTrial() {
	close(t.trial.ended)
	t.trial = nil
}

// heard notes with which status the endpoint answered to a token.
// Once it is taken, from whomever, nobody waits for the one that tries it.
func (t *accessTokens) heard(token string, status int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if token == t.token {
		t.refused = status == http.StatusUnauthorized
		t.taken = t.taken || !t.refused
		if t.taken && t.trial != nil {
			t.endTrial()
		}
	}
}

// wait waits for the answer. It is called with t.mu held, and lets go of it.
func (t *accessTokens) wait(ctx context.Context) (string, error) {
	answered := t.asking
	t.mu.Unlock()
	select {
	case <-answered:
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failure != nil && !t.isGood(time.Now()) {
		return "", t.failure
	}
	return t.token, nil
}

func (t *accessTokens) isGood(now time.Time) bool {
	return t.token != "" && (t.expiry.IsZero() || now.Before(t.expiry))
}

// ask asks for a token. t.mu is held.
func (t *accessTokens) ask() {
	answered := make(chan struct{})
	t.asking = answered
	password, changed := t.password, t.changed
	t.asks.Go(func() {
		token, err := t.client.Token(t.ctx, password)
		var text string
		if err == nil {
			text = token.AccessToken
			if !strings.EqualFold(token.Type(), "Bearer") || checkWord(text) != nil || len(text) > maxToken {
				err = &credentials.RefusedError{}
			}
		}
		now := time.Now()
		t.mu.Lock()
		if t.doubted {
			t.answered = now
		}
		t.asking, t.doubted = nil, false
		if t.failure = err; err != nil {
			t.failure = &tokenError{err}
			t.renew = now.Add(renewAgain)
		} else {
			old := t.token
			t.token, t.expiry, t.renew = text, token.Expiry, time.Time{}
			if old != text {
				t.taken, t.refused = false, false
			}
			if !t.expiry.After(now) {
				t.expiry = time.Time{} // some say -1 of a token that does not end
			} else {
				t.renew = now.Add(t.expiry.Sub(now) / 5 * 4)
			}
			if changed != t.changed {
				t.renew = now // it was asked for with a secret that is old already
			}
			if old != "" && old != text {
				t.retire(old)
			}
		}
		t.mu.Unlock()
		close(answered)
		t.note(err)
	})
}

// changeSecret makes the next token one by another secret, and soon.
func (t *accessTokens) changeSecret(password string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if password != t.password {
		t.password = password
		t.changed++
		t.renew = time.Now()
	}
}

// secret returns the token in use.
func (t *accessTokens) secret() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token == "" {
		return nil
	}
	return []string{t.token}
}

func (t *accessTokens) close() {
	t.cancel()
	t.asks.Wait()
}

// tokenError says why there is no token.
type tokenError struct{ err error }

func (e *tokenError) Error() string {
	if refused, ok := errors.AsType[*credentials.RefusedError](e.err); ok {
		return "no token: " + refused.Error()
	}
	return "no token: the authorization server: " + describe(e.err)
}

func (e *tokenError) Unwrap() error { return e.err }
