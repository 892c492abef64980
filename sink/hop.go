package sink

import (
	"context"
	"net/http"
	"net/url"
)

// lead returns where an answer sends us to learn what became of the row, for a preset
// whose endpoints answer so, and nil for all others: the one redirect that is followed. A
// redirect to a login makes a the answer of an endpoint that lets nobody in.
func (s *Sink) lead(a *answer, res *http.Response) *url.URL {
	if s.preset.answersAt == "" || res.StatusCode != http.StatusFound {
		return nil
	}
	target, err := res.Location()
	switch {
	case err != nil:
		return nil
	case target.Hostname() == s.preset.loginAt:
		a.class = class{atFault, reasonUnauthorised}
		return nil
	case target.Scheme != "https" || target.Host != s.preset.answersAt || target.User != nil:
		return nil
	}
	return target
}

// hop fetches what became of a row that was taken in, within the time that the attempt has
// left. The request has nothing of the one before it: no body, no header of ours but the
// User-Agent, no Referer, no cookie. Nothing is followed from there.
//
// If it fails the row may have been written or not, and is sent again: what receives it
// tells by its event id.
func (s *Sink) hop(a *answer, target *url.URL, kept bool) {
	ctx, cancel := context.WithDeadline(context.Background(), a.began.Add(s.cfg.Timeout)) //nolint:forbidigo // an attempt outlives the end of its delivery
	defer cancel()
	req := (&http.Request{
		Method: http.MethodGet, URL: target, Host: target.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"User-Agent": {s.cfg.UserAgent}},
	}).WithContext(ctx)
	res, err := a.webhook.transport.RoundTrip(req)
	if err != nil {
		*a = answer{began: a.began, webhook: a.webhook, token: a.token, err: err, class: class{transient, classOfError(err).reason}}
		return
	}
	*a = answer{began: a.began, webhook: a.webhook, token: a.token}
	s.read(a, res, kept)
	if a.status/100 != 2 {
		a.verdict = transient
		if a.reason != reasonRateLimited {
			a.reason = reasonUnconfirmed
		}
	}
	if a.verdict != refused && !kept {
		a.body = nil // it may be a page that repeats its address, which is nobody's business
	}
}
