package sink

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"signup-sheet/credentials"
)

// The ways in which an endpoint knows who calls.
const (
	AuthNone   = "none"
	AuthBearer = "bearer"
	AuthAPIKey = "api-key"
	AuthBasic  = "basic"
	AuthOAuth2 = "oauth2"
	AuthHMAC   = "hmac"
)

// AuthMechanisms returns the values that Auth.Mechanism can have.
func AuthMechanisms() []string {
	return []string{AuthNone, AuthBearer, AuthAPIKey, AuthBasic, AuthOAuth2, AuthHMAC}
}

// Auth says how the endpoint knows who calls. Its files may change at any time.
type Auth struct {
	// Mechanism is one of AuthMechanisms; empty is none.
	Mechanism string
	// TokenFile holds the token (bearer) or the key (api-key).
	TokenFile credentials.Text
	// Header is the field that carries the key (api-key).
	Header string
	// Username and PasswordFile are the user (basic).
	Username     string
	PasswordFile credentials.Text
	// TokenURL is where to ask for tokens by OAuth's client credentials, for Scopes
	// (oauth2). ClientSecretFile holds the client's secret.
	TokenURL, ClientID string
	ClientSecretFile   credentials.Text
	Scopes             []string
	// SecretsFile holds the secrets that requests are signed with, as Standard Webhooks
	// 1.0.0 says, a line each: whsec_ and base64 of 24 to 64 bytes. All of them sign, so
	// that receivers can change from one to the next (hmac).
	SecretsFile credentials.Text
}

const (
	// maxToken bounds what a field of a request's head carries of ours, in bytes.
	maxToken = 8 << 10
	// maxSecrets bounds how many secrets sign: a head has a signature of each.
	maxSecrets = 8
)

// sendsAuthorization reports whether requests have an Authorization field by the mechanism.
func (a Auth) sendsAuthorization() bool {
	switch a.Mechanism {
	case AuthBearer, AuthBasic, AuthOAuth2:
		return true
	case AuthAPIKey:
		return strings.EqualFold(a.Header, "Authorization")
	}
	return false
}

// CheckAuthHeader reports whether an API key can be sent in a field of this name.
func CheckAuthHeader(name string) error {
	const fieldCharacters = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" // RFC 9110, section 5.6.2
	if name == "" || len(name) > 128 || strings.Trim(name, fieldCharacters) != "" {
		return errors.New("want the name of a header field, such as X-Api-Key")
	}
	taken := []string{
		"Connection", "Content-Encoding", "Content-Length", "Content-Type", "Expect", "Host", "Idempotency-Key", "Keep-Alive", "Te", "Trailer",
		"Traceparent", "Tracestate", "Transfer-Encoding", "Upgrade", "User-Agent", "Webhook-Id", "Webhook-Signature", "Webhook-Timestamp",
	}
	canonical := http.CanonicalHeaderKey(name)
	if slices.Contains(taken, canonical) || strings.HasPrefix(canonical, "Proxy-") {
		return fmt.Errorf("%s has a meaning of its own: want a header field for the key alone, such as X-Api-Key", canonical)
	}
	return nil
}

// check returns everything that is wrong with a, but for what is in its files.
func (a Auth) check(allowHTTP bool) error {
	var errs []error
	need := func(ok bool, setting string) {
		if !ok {
			errs = append(errs, fmt.Errorf("sink.auth.%s: is not set", setting))
		}
	}
	switch a.Mechanism {
	case "", AuthNone:
	case AuthBearer:
		need(a.TokenFile != "", "token_file")
	case AuthAPIKey:
		need(a.TokenFile != "", "token_file")
		if err := CheckAuthHeader(a.Header); err != nil {
			errs = append(errs, fmt.Errorf("sink.auth.header: %w", err))
		}
	case AuthBasic:
		need(a.PasswordFile != "", "password_file")
		if err := CheckUsername(a.Username); err != nil {
			errs = append(errs, fmt.Errorf("sink.auth.username: %w", err))
		}
	case AuthOAuth2:
		need(a.ClientID != "", "client_id")
		need(a.ClientSecretFile != "", "client_secret_file")
		if _, err := parseURL(a.TokenURL, allowHTTP); err != nil {
			errs = append(errs, fmt.Errorf("sink.auth.token_url: %w", err))
		}
	case AuthHMAC:
		need(a.SecretsFile != "", "secrets_file")
	default:
		errs = append(errs, fmt.Errorf("sink.auth.mechanism: want one of %s", strings.Join(AuthMechanisms(), ", ")))
	}
	return errors.Join(errs...)
}

// sources returns what is read from the files of a.
func (a Auth) sources() []source {
	switch a.Mechanism {
	case AuthBearer:
		return []source{{setting: "sink.auth.token_file", read: func(to *access) error {
			return readText(a.TokenFile, &to.token, checkWord)
		}}}
	case AuthAPIKey:
		return []source{{setting: "sink.auth.token_file", read: func(to *access) error {
			return readText(a.TokenFile, &to.token, checkFieldValue)
		}}}
	case AuthBasic:
		return []source{{setting: "sink.auth.password_file", read: func(to *access) error {
			return readText(a.PasswordFile, &to.password, checkPassword)
		}}}
	case AuthOAuth2:
		return []source{{setting: "sink.auth.client_secret_file", read: func(to *access) error {
			return readText(a.ClientSecretFile, &to.clientSecret, checkPassword)
		}}}
	case AuthHMAC:
		return []source{{setting: "sink.auth.secrets_file", read: func(to *access) error {
			lines, err := a.SecretsFile.Lines()
			if err != nil {
				return err
			}
			if _, err := signingKeys(lines); err != nil {
				return err
			}
			to.signing = lines
			return nil
		}}}
	}
	return nil
}

// readText reads a file of one line into a text, unless check has something against it.
func readText(file credentials.Text, to *string, check func(string) error) error {
	text, err := file.Read()
	if err != nil {
		return err
	}
	if len(text) > maxToken {
		return fmt.Errorf("the text in the file is longer than %d bytes", maxToken)
	}
	if err := check(text); err != nil {
		return err
	}
	*to = text
	return nil
}

// checkWord is for a bearer token. RFC 6750 has fewer characters, but tokens with others are in use.
func checkWord(text string) error {
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("the text in the file is no token: want the token alone, without Bearer before it, in printable ASCII and without blanks")
	}
	return nil
}

// checkFieldValue is for a text that is to be the value of a header field (RFC 9110, section 5.5).
func checkFieldValue(text string) error {
	if strings.TrimSpace(text) != text || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		return errors.New("no header field can carry the text in the file: want printable ASCII, without a blank before or after it")
	}
	return nil
}

// checkPassword holds RFC 7617, section 2.
func checkPassword(text string) error {
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return errors.New("the text in the file has control characters")
	}
	return nil
}

// CheckUsername reports whether basic authentication can send a user name (RFC 7617, section 2).
func CheckUsername(name string) error {
	if name == "" || len(name) > 1<<10 || checkPassword(name) != nil || strings.Contains(name, ":") {
		return errors.New("want a name without colon and control characters")
	}
	return nil
}

// secretPrefix begins every secret of Standard Webhooks.
const secretPrefix = "whsec_"

// signingKeys returns the keys that are written as lines. Errors hold none of them.
func signingKeys(lines []string) ([][]byte, error) {
	if len(lines) > maxSecrets {
		return nil, fmt.Errorf("the file holds %d lines: want at most %d secrets", len(lines), maxSecrets)
	}
	keys := make([][]byte, len(lines))
	for i, line := range lines {
		text, ok := strings.CutPrefix(line, secretPrefix)
		key, err := base64.StdEncoding.Strict().DecodeString(text)
		if !ok || err != nil || len(key) < 24 || len(key) > 64 {
			return nil, fmt.Errorf("line %d of the file is no secret of Standard Webhooks: want whsec_ and base64 of 24 to 64 random bytes", i+1)
		}
		keys[i] = key
	}
	return keys, nil
}

// header returns the fields that never change while the access does not.
func (a Auth) header(known access) http.Header {
	h := http.Header{}
	switch a.Mechanism {
	case AuthBearer:
		h["Authorization"] = []string{"Bearer " + known.token}
	case AuthAPIKey:
		h[http.CanonicalHeaderKey(a.Header)] = []string{known.token}
	case AuthBasic:
		h["Authorization"] = []string{"Basic " + basic(url.UserPassword(a.Username, known.password))}
	}
	if known.user != nil && !a.sendsAuthorization() {
		h["Authorization"] = []string{"Basic " + basic(known.user)}
	}
	return h
}

// secrets returns what must not appear anywhere.
func (a Auth) secrets(known access) []string {
	secrets := []string{known.token, known.password, known.clientSecret}
	if a.Mechanism == AuthBasic {
		secrets = append(secrets, a.Username, basic(url.UserPassword(a.Username, known.password)))
	}
	for _, line := range known.signing {
		secrets = append(secrets, strings.TrimPrefix(line, secretPrefix))
	}
	return slices.DeleteFunc(secrets, func(s string) bool { return s == "" })
}
