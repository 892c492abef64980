package sink

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
)

// Rule is a line of the table that says what an answer means.
type Rule struct {
	// From and To are the first and the last status that it is about, 100 to 599.
	From, To int
	// Says is a text that the answer's body has to contain, whatever the case of ASCII
	// letters; empty: any.
	Says string
	// Verdict is accepted, refused, transient or endpoint.
	Verdict string
}

// ParseRule reads a rule as operators write it: a status (404), a range of them (500-599)
// or a class (5xx), then a colon and what the body has to say, if anything, then = and the
// verdict: "404=refused", "400:Queue is full=transient".
func ParseRule(text string) (Rule, error) {
	at := strings.LastIndexByte(text, '=')
	if at < 0 {
		return Rule{}, fmt.Errorf("%q has no verdict: write <status>=<verdict>, such as 404=refused", text)
	}
	r := Rule{Verdict: strings.TrimSpace(text[at+1:])}
	if !slices.Contains(verdictNames(), r.Verdict) {
		return Rule{}, fmt.Errorf("%q: the verdict is one of %s", text, strings.Join(verdictNames(), ", "))
	}
	statuses, says, _ := strings.Cut(text[:at], ":")
	statuses, r.Says = strings.TrimSpace(statuses), strings.TrimSpace(says)
	first, last, isRange := strings.Cut(statuses, "-")
	if class, ok := strings.CutSuffix(statuses, "xx"); ok && len(class) == 1 {
		first, last, isRange = class+"00", class+"99", true
	}
	if !isRange {
		last = first
	}
	var errs [2]error
	r.From, errs[0] = strconv.Atoi(first)
	r.To, errs[1] = strconv.Atoi(last)
	if errors.Join(errs[:]...) != nil || r.From < 100 || r.To > 599 || r.From > r.To {
		return Rule{}, fmt.Errorf("%q: a status is from 100 to 599, a range like 500-599, or a class like 5xx", text)
	}
	return r, nil
}

// String is how an operator writes the rule.
func (r Rule) String() string {
	statuses := strconv.Itoa(r.From)
	if r.To != r.From {
		statuses += "-" + strconv.Itoa(r.To)
	}
	if r.Says != "" {
		statuses += ":" + r.Says
	}
	return statuses + "=" + r.Verdict
}

// line is a rule with the reason for a failure.
type line struct {
	Rule
	reason string
	final  bool // accepted, whatever the preset thinks of the body
}

// standard is what answers mean where nobody says otherwise. The last line that matches
// counts.
func standard() []line {
	return []line{
		{Rule{100, 199, "", string(atFault)}, reasonRejected, false},
		{Rule{200, 299, "", string(accepted)}, reasonNone, false},
		{Rule{300, 399, "", string(atFault)}, reasonRedirected, false},
		{Rule{400, 499, "", string(atFault)}, reasonRejected, false},
		{Rule{500, 599, "", string(transient)}, reasonFailing, false},

		{Rule{400, 400, "", string(refused)}, reasonRefused, false},       // Bad Request
		{Rule{401, 401, "", string(atFault)}, reasonUnauthorised, false},  // Unauthorized
		{Rule{402, 403, "", string(atFault)}, reasonUnauthorised, false},  // Payment Required, Forbidden
		{Rule{404, 404, "", string(atFault)}, reasonNotFound, false},      // Not Found
		{Rule{407, 407, "", string(atFault)}, reasonProxy, false},         // Proxy Authentication Required
		{Rule{408, 408, "", string(transient)}, reasonFailing, false},     // Request Timeout
		{Rule{409, 409, "", string(transient)}, reasonFailing, false},     // Conflict: the same row is being worked on
		{Rule{410, 410, "", string(atFault)}, reasonNotFound, false},      // Gone
		{Rule{413, 415, "", string(refused)}, reasonRefused, false},       // Content Too Large, URI Too Long, Unsupported Media Type
		{Rule{422, 422, "", string(refused)}, reasonRefused, false},       // Unprocessable Content
		{Rule{425, 425, "", string(transient)}, reasonFailing, false},     // Too Early
		{Rule{429, 429, "", string(transient)}, reasonRateLimited, false}, // Too Many Requests
		{Rule{501, 501, "", string(atFault)}, reasonRejected, false},      // Not Implemented
		{Rule{505, 505, "", string(atFault)}, reasonRejected, false},      // HTTP Version Not Supported
	}
}

// table says what answers mean.
type table struct {
	lines  []line
	plain  [600]class                                    // by status, of the lines that look at no body
	final  [600]bool                                     // and whether they are
	bodies [600]bool                                     // whether a line looks at the body
	judge  func(header http.Header, body []byte) verdict // of an accepted row, by its body; nil: accepted it is
}

// newTable returns the standard one, overridden by the preset and then by rules, the last
// of which counts most.
func newTable(p Preset, rules []Rule) *table {
	t := &table{lines: standard(), judge: p.judge}
	for _, r := range p.rules {
		t.lines = append(t.lines, line{r, t.reasonOf(r), false})
	}
	for _, r := range rules {
		t.lines = append(t.lines, line{r, t.reasonOf(r), r.Verdict == string(accepted)})
	}
	for status := range t.plain {
		t.plain[status] = class{atFault, reasonRejected}
	}
	for _, l := range t.lines {
		for status := l.From; status <= l.To; status++ {
			if l.Says == "" {
				t.plain[status], t.final[status] = class{verdict(l.Verdict), l.reason}, l.final
			}
			t.bodies[status] = t.bodies[status] || l.Says != ""
		}
	}
	return t
}

// reasonOf is what a failure by an operator's rule is called: as the standard does, if
// that is a reason for the same verdict.
func (t *table) reasonOf(r Rule) string {
	var reason string
	for _, l := range t.lines {
		if l.From <= r.From && r.From <= l.To && l.Says == "" && l.Verdict == r.Verdict {
			reason = l.reason
		}
	}
	switch {
	case r.Verdict == string(accepted):
		return reasonNone
	case r.Verdict == string(refused):
		return reasonRefused
	case reason != "" && reason != reasonNone:
		return reason
	case r.Verdict == string(transient):
		return reasonFailing
	}
	return reasonRejected
}

// ofStatus judges a status by itself.
func (t *table) ofStatus(status int) class {
	if status < 0 || status >= len(t.plain) {
		return class{atFault, reasonRejected}
	}
	return t.plain[status]
}

// looksInto reports whether the body of an answer with this status matters.
func (t *table) looksInto(status int) bool {
	return status < 0 || status >= len(t.plain) || t.bodies[status] || t.judge != nil && !t.final[status]
}

// of judges an answer.
func (t *table) of(status int, header http.Header, body []byte) class {
	c, final := t.ofStatus(status), false
	if status >= 0 && status < len(t.final) {
		final = t.final[status]
	}
	if status >= 0 && status < len(t.bodies) && t.bodies[status] {
		lower := bytes.ToLower(body)
		for _, l := range t.lines {
			if l.From <= status && status <= l.To && (l.Says == "" || bytes.Contains(lower, []byte(strings.ToLower(l.Says)))) {
				c, final = class{verdict(l.Verdict), l.reason}, l.final
			}
		}
	}
	switch {
	case c.verdict == accepted && t.judge != nil && !final:
		return classOf(t.judge(header, body))
	case status == http.StatusUnprocessableEntity && c.verdict == refused && saysReused(header, body):
		return class{accepted, reasonNone}
	}
	return c
}

// classOf returns what a preset's word on an answer comes to.
func classOf(v verdict) class {
	switch v {
	case accepted:
		return class{accepted, reasonNone}
	case refused:
		return class{refused, reasonRefused}
	case atFault:
		return class{atFault, reasonRejected}
	default:
		return class{transient, reasonUnconfirmed}
	}
}

// saysReused reports whether an answer is a problem (RFC 9457) of the kind that the
// Idempotency-Key draft (section 2.7) gives for a key that came before, with another
// body: the row is there.
func saysReused(header http.Header, body []byte) bool {
	if kind, _, err := mime.ParseMediaType(header.Get("Content-Type")); err != nil || kind != "application/problem+json" {
		return false
	}
	var problem struct {
		Type  string `json:"type"`
		Title string `json:"title"`
	}
	if err := json.Unmarshal(body, &problem); err != nil {
		return false
	}
	for _, text := range []string{problem.Type, problem.Title} {
		letters := strings.Map(func(r rune) rune {
			if 'a' <= r && r <= 'z' {
				return r
			}
			return -1
		}, strings.ToLower(text))
		if strings.Contains(letters, "idempotencykey") && (strings.Contains(letters, "reuse") || strings.Contains(letters, "alreadyused")) {
			return true
		}
	}
	return false
}
