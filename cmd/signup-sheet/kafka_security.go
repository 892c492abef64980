package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"slices"

	"github.com/segmentio/kafka-go/sasl"

	"signup-sheet/consumer/auth"
	"signup-sheet/credentials"
)

// The settings that have to go together.
const (
	settingCA          = "kafka.tls.ca_file"
	settingCertificate = "kafka.tls.certificate_file"
	settingKey         = "kafka.tls.key_file"

	settingMechanism    = "kafka.sasl.mechanism"
	settingUsername     = "kafka.sasl.username"
	settingPassword     = "kafka.sasl.password_file" //nolint:gosec // a setting's name
	settingToken        = "kafka.sasl.token_file"    //nolint:gosec // a setting's name
	settingTokenURL     = "kafka.sasl.token_url"     //nolint:gosec // a setting's name
	settingClientID     = "kafka.sasl.client_id"
	settingClientSecret = "kafka.sasl.client_secret_file" //nolint:gosec // a setting's name
	settingScopes       = "kafka.sasl.scopes"
)

// given tells whether the operator gave a setting a value.
func (l *loader) given(name string) bool {
	return l.origin[name].where != name && l.origin[name].text != ""
}

// judgeTLS holds what must be true of kafka.tls, and tries its files.
func (l *loader) judgeTLS(c tlsConfig) {
	if !c.Enabled {
		for _, name := range []string{settingCA, settingCertificate, settingKey} {
			if l.given(name) && !l.broken["kafka.tls.enabled"] {
				l.problem("%s has no effect without TLS: set kafka.tls.enabled to true, or remove it", l.origin[name].where)
			}
		}
		return
	}
	l.tryTLS(c, settingCA, settingCertificate, settingKey)
}

// tryTLS tries the files that three settings name.
func (l *loader) tryTLS(c tlsConfig, ca, certificate, key string) {
	if c.CAFile != "" {
		if _, err := credentials.Authorities(c.CAFile); err != nil {
			l.problem("%s: %v", l.origin[ca].where, err)
		}
	}
	switch {
	case c.CertificateFile != "" && c.KeyFile == "":
		l.problem("%s needs its key: set %s", l.origin[certificate].where, key)
	case c.CertificateFile == "" && c.KeyFile != "":
		l.problem("%s needs its certificate: set %s", l.origin[key].where, certificate)
	case c.CertificateFile != "":
		if _, err := credentials.Pair(c.CertificateFile, c.KeyFile); err != nil {
			l.problem("%s, %s: %v", l.origin[certificate].where, l.origin[key].where, err)
		}
	}
}

// judgeSASL holds what must be true of kafka.sasl, and tries its files.
func (l *loader) judgeSASL(c saslConfig) {
	var needed, possible []string
	switch {
	case l.broken[settingMechanism]:
		return
	case c.Mechanism == "none":
	case c.Mechanism != "oauthbearer":
		needed = []string{settingUsername, settingPassword}
	case l.given(settingToken) && l.given(settingTokenURL):
		l.problem("%s and %s are both set: remove one", l.origin[settingToken].where, l.origin[settingTokenURL].where)
		return
	case l.given(settingToken):
		needed = []string{settingToken}
	case l.given(settingTokenURL):
		needed, possible = []string{settingTokenURL, settingClientID, settingClientSecret}, []string{settingScopes}
	default:
		l.problem("%s needs a token: set %s, or %s with %s and %s", l.describe(settingMechanism), settingToken, settingTokenURL, settingClientID, settingClientSecret)
		return
	}
	for _, name := range needed {
		if !l.given(name) && !l.broken[name] {
			l.problem("%s needs %s: set it", l.describe(settingMechanism), name)
		}
	}
	for _, name := range []string{settingUsername, settingPassword, settingToken, settingTokenURL, settingClientID, settingClientSecret, settingScopes} {
		if l.given(name) && !slices.Contains(needed, name) && !slices.Contains(possible, name) {
			l.problem("%s has no effect here: remove it, or change %s", l.origin[name].where, l.describe(settingMechanism))
		}
	}
	for _, file := range []struct{ setting, path string }{
		{settingPassword, c.PasswordFile}, {settingToken, c.TokenFile}, {settingClientSecret, c.ClientSecretFile},
	} {
		if file.path != "" && slices.Contains(needed, file.setting) {
			if _, err := credentials.Text(file.path).Read(); err != nil {
				l.problem("%s: %v", l.origin[file.setting].where, err)
			}
		}
	}
}

// kafkaTLS returns how to secure connections to brokers, nil for not at all.
func kafkaTLS(c tlsConfig, log *slog.Logger) func(context.Context) (*tls.Config, error) {
	if !c.Enabled {
		return nil
	}
	return credentials.NewTLS(c.files(), log).Config
}

func (c tlsConfig) files() credentials.Files {
	return credentials.Files{Authorities: c.CAFile, Certificate: c.CertificateFile, Key: c.KeyFile}
}

// kafkaSASL returns how to log in to brokers, nil for not at all.
func kafkaSASL(c saslConfig) sasl.Mechanism {
	password := secretIn(settingPassword, c.PasswordFile)
	switch c.Mechanism {
	case "plain":
		return auth.Plain(c.Username, password)
	case "scram-sha-256":
		return auth.SCRAM256(c.Username, password)
	case "scram-sha-512":
		return auth.SCRAM512(c.Username, password)
	case "oauthbearer":
		if c.TokenFile != "" {
			return auth.OAuthBearer(secretIn(settingToken, c.TokenFile))
		}
		return auth.ClientCredentials{
			TokenURL: c.TokenURL, ClientID: c.ClientID, ClientSecret: secretIn(settingClientSecret, c.ClientSecretFile), Scopes: c.Scopes,
		}.Login()
	}
	return nil
}

// secretIn reads the file that a setting names, each time.
func secretIn(setting, path string) auth.Secret {
	return func(context.Context) (string, error) {
		text, err := credentials.Text(path).Read()
		if err != nil {
			return "", fmt.Errorf("%s: %w", setting, err)
		}
		return text, nil
	}
}

// sendsSecretInClear tells whether a password or token can be read on its way to the brokers. That is no wrong
// configuration: below us there may be a service mesh or a VPN that encrypts, and many clusters are set up so.
func (c kafkaConfig) sendsSecretInClear() bool {
	if c.TLS.Enabled || c.SASL.Mechanism != "plain" && c.SASL.Mechanism != "oauthbearer" {
		return false
	}
	return slices.ContainsFunc(c.Brokers, func(broker string) bool {
		host, _, err := net.SplitHostPort(broker)
		ip := net.ParseIP(host)
		return err == nil && host != "localhost" && (ip == nil || !ip.IsLoopback())
	})
}
