package auth_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/segmentio/kafka-go/sasl"

	"signup-sheet/consumer/auth"
)

func TestEachLoginAsksForTheSecretAnew(t *testing.T) {
	for name, make := range map[string]func(auth.Secret) sasl.Mechanism{
		"PLAIN":         func(s auth.Secret) sasl.Mechanism { return auth.Plain("signup", s) },
		"SCRAM-SHA-256": func(s auth.Secret) sasl.Mechanism { return auth.SCRAM256("signup", s) },
		"SCRAM-SHA-512": func(s auth.Secret) sasl.Mechanism { return auth.SCRAM512("signup", s) },
		"OAUTHBEARER":   auth.OAuthBearer,
	} {
		asked, lost := 0, errors.New("lost")
		m := make(func(context.Context) (string, error) {
			if asked++; asked == 3 {
				return "", lost
			}
			return "secret", nil
		})
		if m.Name() != name {
			t.Errorf("%s calls itself %s", name, m.Name())
		}
		for range 2 {
			if _, _, err := m.Start(t.Context()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, _, err := m.Start(t.Context()); !errors.Is(err, lost) || asked != 3 {
			t.Errorf("%s: %v, asked %d times", name, err, asked)
		}
	}
}

// RFC 7628, sections 3.1 and 3.2.
func TestTheDialogueOfOAuthBearer(t *testing.T) {
	start := func() sasl.StateMachine {
		state, message, err := auth.OAuthBearer(fixed("a.b-c_d~e+f/g==")).Start(t.Context())
		if err != nil || string(message) != "n,,\x01auth=Bearer a.b-c_d~e+f/g==\x01\x01" {
			t.Fatalf("%q, %v", message, err)
		}
		return state
	}
	if done, _, err := start().Next(t.Context(), nil); !done || err != nil {
		t.Errorf("accepted: %v, %v", done, err)
	}
	for _, challenge := range []string{`{"status":"invalid_token"}`, " \n{}", "x"} {
		refused := start()
		done, answer, err := refused.Next(t.Context(), []byte(challenge))
		if done || string(answer) != "\x01" || err != nil {
			t.Errorf("refused with %q: %v, %q, %v, want the answer that ends it", challenge, done, answer, err)
		}
		if done, _, err := refused.Next(t.Context(), nil); done || err == nil {
			t.Errorf("refused, and then: %v, %v, want an error", done, err)
		}
	}
}

func TestATextThatIsNoTokenIsNotSent(t *testing.T) {
	for _, text := range []string{"", "a b", "S3CR3T\x01host=x", "S3CR3T\n", `{"access_token":"S3CR3T"}`} {
		if _, _, err := auth.OAuthBearer(fixed(text)).Start(t.Context()); err == nil || strings.Contains(err.Error(), "S3CR3T") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAPasswordThatSCRAMDoesNotAllowIsNotShown(t *testing.T) {
	_, _, err := auth.SCRAM256("signup", fixed("S3CR3T\x07")).Start(t.Context())
	if err == nil || strings.Contains(err.Error(), "S3CR3T") {
		t.Error(err)
	}
}
