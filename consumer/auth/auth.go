// Package auth logs in to Kafka brokers by SASL, with secrets that are asked for anew at each login, so that they may
// change at any time.
package auth

import (
	"context"
	"errors"
	"regexp"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// Secret returns a password or a token as it is now. Its errors do not hold it.
type Secret func(ctx context.Context) (string, error)

// Plain is the mechanism PLAIN (RFC 4616): the password itself is sent, so the connection should be TLS.
func Plain(username string, password Secret) sasl.Mechanism {
	return mechanism{plain.Mechanism{}.Name(), func(ctx context.Context) (sasl.Mechanism, error) {
		secret, err := password(ctx)
		return plain.Mechanism{Username: username, Password: secret}, err
	}}
}

// SCRAM256 is the mechanism SCRAM-SHA-256 (RFC 7677): the password is proven, not sent.
func SCRAM256(username string, password Secret) sasl.Mechanism {
	return salted(scram.SHA256, username, password)
}

// SCRAM512 is the mechanism SCRAM-SHA-512.
func SCRAM512(username string, password Secret) sasl.Mechanism {
	return salted(scram.SHA512, username, password)
}

func salted(algorithm scram.Algorithm, username string, password Secret) sasl.Mechanism {
	return mechanism{algorithm.Name(), func(ctx context.Context) (sasl.Mechanism, error) {
		secret, err := password(ctx)
		if err != nil {
			return nil, err
		}
		m, err := scram.Mechanism(algorithm, username, secret)
		if err != nil {
			// The library's words may repeat what it was given.
			return nil, errors.New("the username or the password has characters that SCRAM does not allow (RFC 4013)")
		}
		return m, nil
	}}
}

// mechanism makes another one for each login.
type mechanism struct {
	name string
	make func(ctx context.Context) (sasl.Mechanism, error)
}

// Name implements sasl.Mechanism.
func (m mechanism) Name() string { return m.name }

// Start implements sasl.Mechanism.
func (m mechanism) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	now, err := m.make(ctx)
	if err != nil {
		return nil, nil, err
	}
	return now.Start(ctx)
}

// OAuthBearer is the mechanism OAUTHBEARER (RFC 7628): the token itself is sent, so the connection should be TLS.
func OAuthBearer(token Secret) sasl.Mechanism { return bearer{token, func(string) {}} }

type bearer struct {
	token   Secret
	refused func(token string) // is told of a token that was refused
}

// Name implements sasl.Mechanism.
func (bearer) Name() string { return "OAUTHBEARER" }

// tokenPattern is what a token may be (RFC 6750, b64token).
var tokenPattern = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// Start implements sasl.Mechanism.
func (b bearer) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	token, err := b.token(ctx)
	if err != nil {
		return nil, nil, err
	}
	if !tokenPattern.MatchString(token) {
		return nil, nil, errors.New("the token is not one: want letters, digits and -._~+/ only")
	}
	return &bearerState{refuse: func() { b.refused(token) }}, []byte("n,,\x01auth=Bearer " + token + "\x01\x01"), nil
}

// bearerState is one login. A broker that refuses it sends why as a challenge, and waits for an answer before it ends
// the exchange with an error.
type bearerState struct {
	refuse  func()
	refused bool
}

// Next implements sasl.StateMachine.
func (s *bearerState) Next(_ context.Context, challenge []byte) (done bool, response []byte, err error) {
	switch {
	case len(challenge) == 0 && !s.refused:
		return true, nil, nil
	case s.refused:
		return false, nil, errors.New("the token is refused")
	}
	s.refused = true
	s.refuse()
	return false, []byte{1}, nil
}
