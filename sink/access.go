package sink

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// rereadAfter is how long what was read from files is taken for what is in them.
const rereadAfter = 3 * time.Second

// rereadPause is the least time between two readings, when something speaks for a change.
const rereadPause = 200 * time.Millisecond

// access is where the endpoint is and how it knows us, as files have it at some moment.
type access struct {
	url          string   // as it was written
	target       *url.URL // of it, without the user
	user         *url.Userinfo
	token        string
	password     string
	clientSecret string
	signing      []string
	pool         *x509.CertPool
	pair         *tls.Certificate
}

// equal reports whether nothing has changed.
func (a access) equal(b access) bool {
	return a.url == b.url && a.token == b.token && a.password == b.password && a.clientSecret == b.clientSecret &&
		slices.Equal(a.signing, b.signing) && a.sameConnections(b)
}

// sameConnections reports whether connections made by a serve b.
func (a access) sameConnections(b access) bool {
	return a.target.Scheme == b.target.Scheme && a.target.Host == b.target.Host && a.pool.Equal(b.pool) && samePair(a.pair, b.pair)
}

// samePair compares certificates only: each has one key.
func samePair(a, b *tls.Certificate) bool {
	if a == nil || b == nil {
		return a == b
	}
	return slices.EqualFunc(a.Certificate, b.Certificate, bytes.Equal)
}

// source is a file, or are some that belong together, that may change at any time.
type source struct {
	setting string                 // that names it
	read    func(to *access) error // leaves it alone if there is an error
	failing bool
	warned  time.Time
}

// sourcesOf returns all files that say how to call the endpoint.
func sourcesOf(cfg Config) []source {
	var sources []source
	if cfg.URLFile != "" {
		sources = append(sources, source{setting: "sink.url_file", read: func(to *access) error {
			lines, err := cfg.URLFile.Lines()
			if err != nil {
				return err
			}
			if len(lines) > 1 {
				return errors.New("the file holds more than one line of text")
			}
			if err := to.locate(lines[0], cfg); err != nil {
				return fmt.Errorf("the URL in the file %w", err)
			}
			return nil
		}})
	}
	sources = append(sources, cfg.Auth.sources()...)
	if cfg.TLSFiles.Authorities != "" || cfg.TLSFiles.Certificate != "" {
		setting := "sink.tls.certificate_file"
		if cfg.TLSFiles.Certificate == "" {
			setting = "sink.tls.ca_file"
		}
		sources = append(sources, source{setting: setting, read: func(to *access) error {
			pool, pair, err := cfg.TLSFiles.Load()
			if err == nil {
				to.pool, to.pair = pool, pair
			}
			return err
		}})
	}
	return sources
}

// locate sets the URL. Its error holds nothing of it, and follows the name of a setting.
func (a *access) locate(raw string, cfg Config) error {
	if raw == a.url && a.target != nil {
		return nil
	}
	target, err := parseURL(raw, cfg.AllowHTTP)
	if err != nil {
		return err
	}
	if target.User != nil && cfg.Auth.sendsAuthorization() {
		return errors.New("has a user, which would be sent where sink.auth.mechanism sends something else: remove one")
	}
	a.url, a.user = raw, target.User
	target.User = nil
	a.target = target
	return nil
}

// parseURL returns no error of net/url: those print the URL. Its own follow the name of a setting.
func parseURL(raw string, allowHTTP bool) (*url.URL, error) {
	if raw == "" {
		return nil, errors.New("is not set")
	}
	if len(raw) > maxURL {
		return nil, errors.New("is longer than " + strconv.Itoa(maxURL) + " bytes")
	}
	target, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, errors.New("is not a URL") // its own words print the URL
	case target.Scheme != "http" && target.Scheme != "https":
		return nil, errors.New("must begin with https:// or http://")
	case target.Hostname() == "":
		return nil, errors.New("has no host")
	case !allowHTTP && !isPrivate(target):
		return nil, errors.New("begins with http://, so all on the way could read signups and secrets: want https://, or set sink.allow_http")
	}
	target.Fragment, target.RawFragment = "", ""
	return target, nil
}

// isPrivate reports whether nobody on the way can read what is sent.
func isPrivate(target *url.URL) bool {
	host := strings.TrimSuffix(strings.ToLower(target.Hostname()), ".")
	ip := net.ParseIP(host)
	return target.Scheme == "https" || host == "localhost" || ip != nil && ip.IsLoopback()
}

// IsPrivateURL reports whether a URL needs no sink.allow_http: it is encrypted, or its host is this machine.
func IsPrivateURL(raw string) bool {
	target, err := url.Parse(raw)
	return err == nil && isPrivate(target)
}

// SettingError is what is wrong with what a setting names.
type SettingError struct {
	Setting string
	Err     error
}

func (e *SettingError) Error() string { return e.Setting + ": " + e.Err.Error() }

func (e *SettingError) Unwrap() error { return e.Err }

// TryFiles reads the files that cfg names, and returns everything that is wrong with what
// is in them, without any of it. What no setting gives is not tried.
func TryFiles(cfg Config) []*SettingError {
	var found []*SettingError
	var unused access
	if cfg.URL != "" && cfg.URLFile == "" {
		if err := unused.locate(cfg.URL, cfg); err != nil {
			found = append(found, &SettingError{"sink.url", err})
		}
	}
	for _, s := range sourcesOf(cfg) {
		if err := s.read(&unused); err != nil {
			found = append(found, &SettingError{s.setting, err})
		}
	}
	return found
}

// current returns the endpoint for an attempt that begins now.
func (s *Sink) current(ctx context.Context, now time.Time) *webhook {
	if !now.Before(*s.due.Load()) && s.renewing.TryLock() {
		s.renew(ctx, now)
		s.renewing.Unlock()
	}
	return s.webhook.Load()
}

// reconsider reads the files, unless that was done a moment ago, and reports whether
// something else is known now than when old was made.
func (s *Sink) reconsider(ctx context.Context, now time.Time, old *webhook) bool {
	s.renewing.Lock()
	if len(s.sources) > 0 && now.Sub(s.readAt) >= rereadPause {
		s.renew(ctx, now)
	}
	s.renewing.Unlock()
	return s.webhook.Load().version != old.version
}

// renew reads the files and looks at the age of the connections. s.renewing is held.
func (s *Sink) renew(ctx context.Context, now time.Time) {
	old := s.webhook.Load()
	s.readAt = now
	next, changed := s.reread(ctx, old.access, now)
	aged := now.Sub(old.born) >= connectionAge
	if len(changed) > 0 || aged {
		e := s.newWebhook(next, old.version)
		if aged || !next.sameConnections(old.access) {
			e.connections = newConnections(s.cfg, next, now)
		} else {
			e.connections = old.connections
		}
		if len(changed) > 0 {
			e.version++
			s.retired.add(now, old.secrets)
			if s.tokens != nil {
				s.tokens.changeSecret(next.clientSecret)
			}
		}
		s.webhook.Store(e)
		if e.connections != old.connections {
			old.retire()
		}
	}
	if len(changed) > 0 {
		s.metrics.changes.Inc()
		s.log.LogAttrs(ctx, slog.LevelInfo, "what the endpoint is called with has changed", slog.Any("settings", changed))
	}
	s.plan(now)
}

// plan says when to renew again.
func (s *Sink) plan(now time.Time) {
	next := s.webhook.Load().born.Add(connectionAge)
	if soon := now.Add(rereadAfter); len(s.sources) > 0 && soon.Before(next) {
		next = soon
	}
	s.due.Store(&next)
}

// reread returns what is known now, and the settings whose files have other content. What
// cannot be read stays as it was, with a warning.
func (s *Sink) reread(ctx context.Context, last access, now time.Time) (access, []string) {
	next, changed, errs := s.readAll(last)
	if len(changed) > 0 {
		// Of files that change at one moment, as in Kubernetes, some may have been read
		// before it. Now it has passed.
		next, changed, errs = s.readAll(last)
	}
	failing := 0
	for i := range s.sources {
		src := &s.sources[i]
		if src.failing = errs[i] != nil; !src.failing {
			src.warned = time.Time{}
			continue
		}
		failing++
		if src.warned.IsZero() || now.Sub(src.warned) >= logInterval {
			src.warned = now
			s.log.LogAttrs(ctx, slog.LevelWarn, "cannot read a file: what was read before is used on",
				slog.String("setting", src.setting), slog.Any("err", errs[i]))
		}
	}
	s.unreadable.Store(int64(failing))
	return next, changed
}

func (s *Sink) readAll(last access) (next access, changed []string, errs []error) {
	next, errs = last, make([]error, len(s.sources))
	for i, src := range s.sources {
		before := next
		if errs[i] = src.read(&next); !next.equal(before) {
			changed = append(changed, src.setting)
		}
	}
	return next, changed, errs
}

// noteToken counts and tells that an access token was asked for.
func (s *Sink) noteToken(err error) {
	s.metrics.tokens[err == nil].Inc()
	if err != nil {
		s.log.LogAttrs(s.tokens.ctx, slog.LevelDebug, "no access token", slog.String("err", err.Error()))
		return
	}
	s.log.LogAttrs(s.tokens.ctx, slog.LevelDebug, "new access token")
}
