package auth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"signup-sheet/consumer/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// authorizationServer hands out tokens token-1, token-2, … to who knows its secret.
type authorizationServer struct {
	mu      sync.Mutex
	secret  string
	expires int // seconds
	inBody  bool
	answer  func(w http.ResponseWriter) bool // true: it has answered
	asked   []string                         // the scopes of each successful request
}

func (s *authorizationServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answer != nil && s.answer(w) {
		return
	}
	id, secret, ok := r.BasicAuth()
	if s.inBody {
		id, secret, ok = r.PostFormValue("client_id"), r.PostFormValue("client_secret"), !ok
	}
	w.Header().Set("Content-Type", "application/json")
	if !ok || id != "signup" || secret != s.secret || r.PostFormValue("grant_type") != "client_credentials" {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"error":"invalid_client","error_description":"no client with secret %s"}`, secret)
		return
	}
	s.asked = append(s.asked, r.PostFormValue("scope"))
	fmt.Fprintf(w, `{"access_token":"token-%d","token_type":"Bearer","expires_in":%d}`, len(s.asked), s.expires)
}

func (s *authorizationServer) serve(t *testing.T) (url string) {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return server.URL + "/token?tenant=T3N4NT"
}

// serveVirtually serves in the bubble that the test runs in, for what takes a time: in real time a machine that stands still for a moment
// would decide what is seen of it.
func (s *authorizationServer) serveVirtually(t *testing.T) auth.ClientCredentials {
	t.Helper()
	var network kfake.VirtualNetwork
	listener, err := network.Listen("tcp", "localhost:80")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: s, ReadHeaderTimeout: time.Second}
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		_ = server.Close() // of no interest
		served.Wait()
	})
	return auth.ClientCredentials{TokenURL: "http://localhost:80/token", ClientID: "signup", ClientSecret: fixed(s.secret), DialContext: network.DialContext}
}

func (s *authorizationServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

func fixed(secret string) auth.Secret {
	return func(context.Context) (string, error) { return secret, nil }
}

// tokensOf returns what would be sent to a broker.
func tokensOf(c auth.ClientCredentials) auth.Secret {
	login := c.Login()
	return func(ctx context.Context) (string, error) {
		_, message, err := login.Start(ctx)
		token := strings.TrimPrefix(string(message), "n,,\x01auth=Bearer ")
		return strings.TrimSuffix(token, "\x01\x01"), err
	}
}

func TestATokenIsKeptUntilAFifthOfItsTimeIsLeft(t *testing.T) {
	for _, inBody := range []bool{false, true} {
		s := &authorizationServer{secret: "s1", expires: 3600, inBody: inBody}
		secret := "s1"
		tokens := tokensOf(auth.ClientCredentials{
			TokenURL: s.serve(t), ClientID: "signup", Scopes: []string{"kafka", "read"},
			ClientSecret: func(context.Context) (string, error) { return secret, nil },
		})
		for range 3 {
			if got, err := tokens(t.Context()); got != "token-1" || err != nil {
				t.Fatalf("%q, %v, want the first token", got, err)
			}
		}
		if s.asked[0] != "kafka read" || s.count() != 1 {
			t.Errorf("asked for %q", s.asked)
		}
	}
}

func TestATokenThatEndsIsReplacedWithTheSecretOfThatMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &authorizationServer{secret: "s1", expires: 100}
		secret := "s1"
		source := s.serveVirtually(t)
		source.ClientSecret = func(context.Context) (string, error) { return secret, nil }
		tokens := tokensOf(source)
		if got, err := tokens(t.Context()); got != "token-1" || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
		s.mu.Lock()
		s.secret = "s2"
		s.mu.Unlock()
		secret = "s2"
		for _, want := range []struct {
			after time.Duration
			token string
		}{{79 * time.Second, "token-1"}, {2 * time.Second, "token-2"}} {
			<-time.After(want.after)
			if got, err := tokens(t.Context()); got != want.token || err != nil {
				t.Errorf("%q, %v, want %s", got, err, want.token)
			}
		}
	})
}

func TestATokenWithoutATimeIsNotKept(t *testing.T) {
	n := 0
	s := &authorizationServer{answer: func(w http.ResponseWriter) bool {
		n++
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":"token-%d","token_type":"Bearer"}`, n)
		return true
	}}
	tokens := tokensOf(auth.ClientCredentials{TokenURL: s.serve(t), ClientID: "signup", ClientSecret: fixed("s1")})
	for i := 1; i < 3; i++ {
		if got, err := tokens(t.Context()); got != fmt.Sprint("token-", i) || err != nil {
			t.Fatalf("%q, %v, want token-%d: nobody says how long the one before is good", got, err, i)
		}
	}
}

func TestATokenThatIsGoodIsUsedWhileThereIsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &authorizationServer{secret: "s1", expires: 100}
		tokens := tokensOf(s.serveVirtually(t))
		if got, err := tokens(t.Context()); got != "token-1" || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
		asked := 0
		s.mu.Lock()
		s.answer = func(w http.ResponseWriter) bool { w.WriteHeader(503); asked++; return true }
		s.mu.Unlock()
		for range 9 {
			<-time.After(10 * time.Second)
			if got, err := tokens(t.Context()); got != "token-1" || err != nil {
				t.Fatalf("%q, %v, want the token, which has time left", got, err)
			}
		}
		s.mu.Lock()
		if asked == 0 {
			t.Error("no other is asked for in the last fifth of its time")
		}
		s.mu.Unlock()
		<-time.After(11 * time.Second)
		if got, err := tokens(t.Context()); err == nil {
			t.Errorf("%q is used after its time", got)
		}
	})
}

// A broker refuses a token that was revoked early. Another one is asked for, but not at each login that fails.
func TestATokenThatIsRefusedIsReplacedAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &authorizationServer{secret: "s1", expires: 3600}
		login := s.serveVirtually(t).Login()
		begin := time.Now()
		for s.count() < 2 {
			state, _, err := login.Start(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := state.Next(t.Context(), []byte(`{"status":"invalid_token"}`)); err != nil {
				t.Fatal(err)
			}
			if time.Since(begin) > 11*time.Second {
				t.Fatal("the refused token is still used")
			}
			<-time.After(50 * time.Millisecond)
		}
		if took := time.Since(begin); took < 9*time.Second {
			t.Errorf("asked for another one after %s, want some patience", took)
		}
	})
}

// Hazard 22: a server may repeat what it was sent, and its URL may hold a key.
func TestNoSecretIsInTheErrorsOfAnAuthorizationServer(t *testing.T) {
	says := func(status int, body string) func(http.ResponseWriter) bool {
		return func(w http.ResponseWriter) bool {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			fmt.Fprint(w, body)
			return true
		}
	}
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter) bool
		want   string
	}{
		"wrong secret":     {nil, "the authorization server answered 401 (invalid_client)"},
		"a secret as code": {says(400, `{"error":"S3CR3T"}`), "the authorization server answered 400"},
		"no JSON":          {says(200, "S3CR3T"), "the authorization server's answer holds no token"},
		"no token":         {says(200, `{"token":"S3CR3T"}`), "the authorization server's answer holds no token"},
		"an error page":    {says(503, "<html>S3CR3T"), "the authorization server answered 503"},
		"another place": {func(w http.ResponseWriter) bool {
			w.Header().Set("Location", "/S3CR3T")
			w.WriteHeader(302)
			return true
		}, "answered 302"},
		"a cut connection":  {func(http.ResponseWriter) bool { panic(http.ErrAbortHandler) }, "ask for a token: EOF"},
		"a secret unread":   {nil, "no such file"},
		"an unknown server": {nil, "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &authorizationServer{secret: "right", answer: c.answer}
			source := auth.ClientCredentials{TokenURL: s.serve(t), ClientID: "signup", ClientSecret: fixed("S3CR3T")}
			switch name {
			case "a secret unread":
				source.ClientSecret = func(context.Context) (string, error) { return "", errors.New("no such file") }
			case "an unknown server":
				source.TokenURL = "http://127.0.0.1:1/token?tenant=T3N4NT"
			}
			token, err := tokensOf(source)(t.Context())
			if err == nil || token != "" || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%q, %v, want %q", token, err, c.want)
			}
			if strings.Contains(err.Error(), "S3CR3T") || strings.Contains(err.Error(), "T3N4NT") {
				t.Errorf("a secret is in %v", err)
			}
		})
	}
}
