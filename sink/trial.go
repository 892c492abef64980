package sink

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"time"
)

// Answer is what came of one attempt, for a person to read.
type Answer struct {
	// Status is the endpoint's HTTP status; 0 if there was no answer.
	Status int
	// Words say what it answered, or why it did not, in no words of its own.
	Words string
	// Response is at most 1 KiB of what it said, in valid UTF-8 and with our secrets
	// masked; the words of a page, if it sent one.
	Response string
	// RequestIDs are what it calls the request, if it says so.
	RequestIDs []string
	// Took is how long the attempt was.
	Took time.Duration
	// Accepted says that a row which gets this answer is delivered.
	Accepted bool
	// Verdict is accepted, refused, transient or endpoint, and Reason a word for a
	// failure: see Rule and Hold.
	Verdict, Reason string
	// Consequence says what becomes of a row that gets this answer, and Advice what to do.
	Consequence, Advice string
}

// Try makes one attempt to deliver row, whatever has happened before, and explains the
// answer. Only the endpoint's secrets are masked in it: the row is to be nobody's. An error
// says why there was no attempt: a *GivenUp, if the row is too large.
func (s *Sink) Try(ctx context.Context, row Row) (Answer, error) {
	if tooLarge := s.tooLarge(row); tooLarge != nil {
		return Answer{}, tooLarge
	}
	a := s.look(ctx, row, true, false)
	if a.withheld {
		return Answer{}, stopped(ctx, errors.New("no attempt may start"))
	}
	e := event{
		target: s.webhook.Load().access.target, of: s.preset.Name, status: a.status, class: a.class, location: a.header.Get("Location"),
		body: a.body, isPage: isHTML(a.header, a.body),
	}
	said, words := a.body, a.words()
	if e.isPage {
		said = wordsOf(said)
	}
	if challenge := a.header.Get("WWW-Authenticate"); challenge != "" {
		// Where some say all that they say.
		e.body = slices.Concat(e.body, []byte(challenge))
		said = slices.Concat(said, []byte(" "+challenge))
	}
	if a.err != nil {
		e.words = words
	}
	if to, err := url.Parse(e.location); err == nil && to.Host != "" {
		words += ", to " + to.Scheme + "://" + to.Host
	}
	said = withoutAddresses(bytes.TrimSpace(said))
	return Answer{
		Status: a.status, Words: words, Response: excerpt(said, s.secrets()), RequestIDs: requestIDs(a.header, a.body, s.secrets()),
		Took: a.at.Sub(a.began), Accepted: a.verdict == accepted,
		Verdict: string(a.verdict), Reason: a.reason,
		Consequence: consequence(a), Advice: adviceOn(e),
	}, nil
}

// wordsOf are those that a page shows, title included.
func wordsOf(page []byte) []byte {
	page = regexp.MustCompile(`(?is)<(script|style)\b.*?(</(script|style)\s*>|$)|<!--.*?-->`).ReplaceAll(page, []byte(" "))
	page = regexp.MustCompile(`<[^>]*>`).ReplaceAll(page, []byte(" "))
	return bytes.Join(bytes.Fields(page), []byte(" "))
}

// withoutAddresses masks the URLs in what an endpoint said, but for their hosts: what an
// answer was fetched from may be as secret as what the row was sent to.
func withoutAddresses(text []byte) []byte {
	text = regexp.MustCompile(`(https?://[^/\s"'<>?#]+)[/?#][^\s"'<>]*`).ReplaceAll(text, []byte("$1/"+maskText))
	return regexp.MustCompile(`[^\s"'<>]*user_content_key[^\s"'<>]*`).ReplaceAll(text, []byte(maskText))
}
