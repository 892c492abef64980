package main

import (
	"slices"
	"strings"

	"signup-sheet/credentials"
	"signup-sheet/sink"
)

// The settings that have to go together.
const (
	settingURL     = "sink.url"
	settingURLFile = "sink.url_file"

	settingSinkCA          = "sink.tls.ca_file"
	settingSinkCertificate = "sink.tls.certificate_file"
	settingSinkKey         = "sink.tls.key_file"

	settingSinkMechanism    = "sink.auth.mechanism"
	settingSinkToken        = "sink.auth.token_file" //nolint:gosec // a setting's name
	settingSinkHeader       = "sink.auth.header"
	settingSinkUsername     = "sink.auth.username"
	settingSinkPassword     = "sink.auth.password_file" //nolint:gosec // a setting's name
	settingSinkTokenURL     = "sink.auth.token_url"     //nolint:gosec // a setting's name
	settingSinkClientID     = "sink.auth.client_id"
	settingSinkClientSecret = "sink.auth.client_secret_file" //nolint:gosec // a setting's name
	settingSinkScopes       = "sink.auth.scopes"
	settingSinkSecrets      = "sink.auth.secrets_file" //nolint:gosec // a setting's name
)

// auth is what a sink is told.
func (c sinkAuthConfig) auth() sink.Auth {
	return sink.Auth{
		Mechanism:        c.Mechanism,
		TokenFile:        credentials.Text(c.TokenFile),
		Header:           c.Header,
		Username:         c.Username,
		PasswordFile:     credentials.Text(c.PasswordFile),
		TokenURL:         c.TokenURL,
		ClientID:         c.ClientID,
		ClientSecretFile: credentials.Text(c.ClientSecretFile),
		Scopes:           c.Scopes,
		SecretsFile:      credentials.Text(c.SecretsFile),
	}
}

// urlSetting is the setting that gives the webhook's URL.
func (l *loader) urlSetting() string {
	if l.given(settingURLFile) {
		return settingURLFile
	}
	return settingURL
}

// judgeSinkTLS holds what must be true of sink.tls and the URL together, and tries its files.
func (l *loader) judgeSinkTLS(c sinkConfig) {
	if l.broken[settingURL] {
		return
	}
	if c.URL != "" && !c.AllowHTTP && !l.broken["sink.allow_http"] && !sink.IsPrivateURL(string(c.URL)) {
		l.problem("%s: the URL begins with http://, so all on the way could read signups and secrets: want https://, or set sink.allow_http to true", l.origin[l.urlSetting()].where)
	}
	if c.URL != "" && strings.HasPrefix(strings.ToLower(string(c.URL)), "http:") && !l.given(settingURLFile) {
		for _, name := range []string{settingSinkCA, settingSinkCertificate, settingSinkKey} {
			if l.given(name) {
				l.problem("%s has no effect with a URL that begins with http://: change %s, or remove it", l.origin[name].where, l.origin[settingURL].where)
			}
		}
		return
	}
	l.tryTLS(c.TLS, settingSinkCA, settingSinkCertificate, settingSinkKey)
}

// judgeSinkAuth holds what must be true of sink.auth, and tries its files.
func (l *loader) judgeSinkAuth(c sinkConfig) {
	if l.broken[settingSinkMechanism] {
		return
	}
	var needed, possible []string
	switch c.Auth.Mechanism {
	case sink.AuthBearer:
		needed = []string{settingSinkToken}
	case sink.AuthAPIKey:
		needed = []string{settingSinkToken, settingSinkHeader}
	case sink.AuthBasic:
		needed = []string{settingSinkUsername, settingSinkPassword}
	case sink.AuthOAuth2:
		needed, possible = []string{settingSinkTokenURL, settingSinkClientID, settingSinkClientSecret}, []string{settingSinkScopes}
	case sink.AuthHMAC:
		needed = []string{settingSinkSecrets}
	}
	for _, name := range needed {
		if !l.given(name) && !l.broken[name] {
			l.problem("%s needs %s: set it", l.describe(settingSinkMechanism), name)
		}
	}
	for _, name := range []string{
		settingSinkToken, settingSinkHeader, settingSinkUsername, settingSinkPassword, settingSinkTokenURL, settingSinkClientID,
		settingSinkClientSecret, settingSinkScopes, settingSinkSecrets,
	} {
		if l.given(name) && !slices.Contains(needed, name) && !slices.Contains(possible, name) {
			l.problem("%s has no effect here: remove it, or change %s", l.origin[name].where, l.describe(settingSinkMechanism))
		}
	}
	if c.Auth.TokenURL != "" && !l.broken[settingSinkTokenURL] && slices.Contains(needed, settingSinkTokenURL) && !c.AllowHTTP && !sink.IsPrivateURL(c.Auth.TokenURL) {
		l.problem("%s: the URL begins with http://, so all on the way could read the client's secret: want https://, or set sink.allow_http to true", l.origin[settingSinkTokenURL].where)
	}
	l.trySinkFiles(c)
}

// trySinkFiles tries the files of sink.auth, each that is named, and what the URL has to do with them.
func (l *loader) trySinkFiles(c sinkConfig) {
	tried := sink.Config{URL: string(c.URL), AllowHTTP: true, Auth: c.Auth.auth()}
	for _, wrong := range sink.TryFiles(tried) {
		if wrong.Setting == settingURL {
			wrong.Setting = l.urlSetting()
		}
		if l.given(wrong.Setting) && !l.broken[wrong.Setting] {
			l.problem("%s: %v", l.origin[wrong.Setting].where, wrong.Err)
		}
	}
}
