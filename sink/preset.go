package sink

import (
	"net/http"
	"strings"
	"time"
)

// Preset is what is known of a kind of endpoint. What an operator sets counts before it.
type Preset struct {
	// Name is how operators call it.
	Name string
	// Concurrency, Timeout, Rate and MaxBodyBytes are defaults of what Config calls so.
	Concurrency  int
	Timeout      time.Duration
	Rate         float64
	MaxBodyBytes int
	// Sheet says that rows usually end in a spreadsheet.
	Sheet bool

	hosts []string // where such endpoints are; a leading * stands for any labels
	rules []Rule   // what answers mean, where not as usual
	// judge says of an answer with the status of success what it means; nil: accepted.
	judge func(header http.Header, body []byte) verdict
	// shape returns the body of a row's request; nil: the row as it is.
	shape func(row Row) []byte
	// answersAt is the host that an answer of 302 leads to when the row has been taken in:
	// what became of it has to be fetched there. An answer of 302 to loginAt says that
	// nobody is let in without logging in.
	answersAt, loginAt string
}

// generic is the preset of endpoints of which nothing is known.
const generic = "generic"

// presets is all that is known of endpoints. The sources of the figures, and more about
// each, are in docs/destinations. A replay may add a quarter to a rate: that has to stay
// within what the endpoint takes.
func presets() []Preset {
	return []Preset{
		{
			Name:        generic,
			Concurrency: 64, Timeout: 5 * time.Second, Sheet: true,
		},
		{
			// 30 requests a second a hook. It answers before the Zap runs, and also when that is
			// switched off.
			Name:        "zapier",
			Concurrency: 16, Timeout: 15 * time.Second, Rate: 20, MaxBodyBytes: 10e6, Sheet: true,
			hosts: []string{"hooks.zapier.com"},
			judge: unlessHTML(zapierSays),
		},
		{
			// 300 requests in 10 seconds a hook. A full queue is a 400, and so is a body that the
			// hook's data structure does not allow.
			Name:        "make",
			Concurrency: 16, Timeout: 30 * time.Second, Rate: 20, MaxBodyBytes: 5 << 20, Sheet: true,
			hosts: []string{"hook.make.com", "hook.*.make.com", "hook.integromat.com"},
			judge: unlessHTML(nil),
			rules: []Rule{{400, 400, "queue is full", string(transient)}},
		},
		{
			// A request may take as long as the workflow runs, and few run at once.
			Name:        "n8n",
			Concurrency: 5, Timeout: 30 * time.Second, MaxBodyBytes: 16e6, Sheet: true,
			hosts: []string{"*.app.n8n.cloud"},
			judge: unlessHTML(nil),
		},
		{
			// Rows are written one after the other, about one a second, and 30 scripts of a user
			// may run at once, on behalf of all members and replays together.
			Name:        "apps-script",
			Concurrency: 4, Timeout: time.Minute, MaxBodyBytes: 2e6, Sheet: true,
			hosts:     []string{"script.google.com"},
			judge:     unlessHTML(scriptSays),
			answersAt: "script.googleusercontent.com",
			loginAt:   "accounts.google.com",
		},
		{
			// A message a second. Who goes on beyond that may lose the hook for good.
			Name:        "slack",
			Concurrency: 1, Timeout: 10 * time.Second, Rate: 0.8,
			hosts: []string{"hooks.slack.com"},
			judge: slackSays,
			shape: message,
			rules: slackRules(),
		},
		{
			// 100 requests in 10 seconds, of all that the account's app does.
			Name:        "hubspot",
			Concurrency: 8, Timeout: 15 * time.Second, Rate: 7,
			hosts: []string{"api.hubapi.com", "api-eu1.hubapi.com"},
			judge: unlessHTML(hubspotSays),
			shape: contact,
			rules: []Rule{
				// The account lacks a property: no row will go until somebody makes it.
				{400, 400, noSuchProperty, string(atFault)},
				{423, 423, "", string(transient)}, // Locked: a large import is under way
				{477, 477, "", string(transient)}, // the account is being moved to another data centre
			},
		},
	}
}

// slackRules returns what Slack says with a 400, as it does about messages, though no
// message would go: the channel, the person or the hook is gone.
func slackRules() []Rule {
	var rules []Rule
	for _, says := range []string{
		"no_service", "no_team", "no_active_hooks", "invalid_token", "team_disabled", "user_not_found", "channel_not_found",
		"channel_is_archived", "action_prohibited", "posting_to_general_channel_denied",
	} {
		rules = append(rules, Rule{400, 400, says, string(atFault)})
	}
	return append(rules, Rule{400, 400, "rate_limited", string(transient)})
}

// PresetNames returns the names that Config.Preset can have.
func PresetNames() []string {
	var names []string
	for _, p := range presets() {
		names = append(names, p.Name)
	}
	return names
}

// PresetNamed returns the preset with this name, the generic one for none.
func PresetNamed(name string) (Preset, bool) {
	if name == "" {
		name = generic
	}
	for _, p := range presets() {
		if p.Name == name {
			return p, true
		}
	}
	return Preset{}, false
}

// PresetOf returns the name of the preset for endpoints at this host (without a port);
// generic, if none is known.
func PresetOf(host string) string {
	host = strings.ToLower(host)
	for _, p := range presets() {
		for _, pattern := range p.hosts {
			before, after, wild := strings.Cut(pattern, "*")
			if host == pattern ||
				wild && len(host) > len(before)+len(after) && strings.HasPrefix(host, before) && strings.HasSuffix(host, after) {
				return p.Name
			}
		}
	}
	return generic
}
