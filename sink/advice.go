package sink

import (
	"bytes"
	"net/url"
	"strings"
	"time"
)

// event is what is known when advice is asked for.
type event struct {
	target   *url.URL
	of       string // whose endpoint it is: a preset's name
	status   int    // 0 without an answer
	class    class
	words    string // why there is no answer
	location string // where a redirect leads
	body     []byte
	isPage   bool // the body is for a browser
}

// hint is a line of the table that says what to do about an answer: the last one that
// matches counts. What is left empty matches everything.
type hint struct {
	reason   string // of the verdict's
	verdict  verdict
	from, to int    // statuses
	words    string // in why there is no answer
	of       string // whose endpoint it is
	scheme   string // of the address
	host     string // of the address, but for www.
	path     string // in the path of the address
	location string // in the address that a redirect leads to, without its query
	same     bool   // that address is at the same host
	says     string // in the body, whatever the case of ASCII letters
	page     bool   // the body is a page for a browser

	advice string
}

// hints is the whole table: what answers are called, then what single answers mean, then
// what they mean at single vendors, then addresses that cannot be right. What vendors
// answer, and where that is written, is in docs/destinations.
func hints() []hint {
	return []hint{
		{verdict: accepted, advice: "Nothing. The status is all that is believed: look once whether the row is in the sheet."},
		{reason: reasonRefused, advice: "Compare the row above with what the endpoint expects: it does not take this one, and would hardly take others of the same columns."},
		{reason: reasonUnauthorised, advice: "The endpoint answers, but not to us: check what it wants (sink.auth.mechanism: a token, a key, a password, a signature), that ours is the right one, and who may call it."},
		{reason: reasonNotFound, advice: "The host answers, but has nothing at this address: copy the whole URL once more into sink.url. If it is right, the hook was deleted or switched off."},
		{reason: reasonRedirected, advice: "Redirects are never followed, because they leak the row and turn a POST into something else: set sink.url to the final address."},
		{reason: reasonRejected, advice: "Check that sink.url is the address of a webhook, and that it takes POST requests with a JSON body."},
		{reason: reasonRateLimited, advice: "Nothing, if it passes: rows wait as long as the endpoint asks. If it comes back, set sink.rate below the endpoint's limit, and look who else uses it."},
		{reason: reasonFailing, advice: "The endpoint has a fault of its own, or what is behind it: look at its log, and try again later."},
		{reason: reasonUnconfirmed, advice: "The status says success, and the body does not: something else than the endpoint answers there. Check sink.url, and sink.preset."},
		{reason: reasonTimeout, advice: "No answer within sink.timeout: raise it if the endpoint is slow, or let a firewall pass this connection."},
		{reason: reasonNetwork, advice: "Check host and port in sink.url, that something listens there, and that a firewall lets this connection pass."},
		{reason: reasonTLS, advice: "Check the endpoint's certificate, and that the scheme in sink.url is what the port speaks."},
		{reason: reasonDNS, advice: "There is no such host, as far as the name server here knows: correct the host in sink.url, or the name server."},
		{reason: reasonToken, advice: "No row was sent, because there is no access token: check sink.auth.token_url, sink.auth.client_id, the secret in sink.auth.client_secret_file, and sink.auth.scopes."},
		{reason: reasonProxy, advice: "The proxy between does not let the request through: check HTTPS_PROXY, HTTP_PROXY and NO_PROXY, and what the proxy allows."},

		{reason: reasonNetwork, words: "refused", advice: "Nothing listens at this host and port: correct them in sink.url, or start the endpoint."},
		{reason: reasonNetwork, words: "reset", advice: "The connection was cut: is it a port for https:// that sink.url calls with http://? Else look at the endpoint's log, or for a firewall."},
		{reason: reasonTLS, words: "is not TLS", advice: "The port speaks plain HTTP: correct the port, or begin sink.url with http:// (with sink.allow_http; the row then goes over the network for all to read)."},
		{reason: reasonTLS, words: "unknown authority", advice: "The certificate is self-signed, or of an authority of your own: name its PEM file in sink.tls.ca_file, or get one that everybody trusts. Verification cannot be switched off."},
		{reason: reasonTLS, words: "another host", advice: "The certificate is for another name: write the host in sink.url as the certificate has it, or renew the certificate."},
		{reason: reasonTLS, words: "expired", advice: "Renew the endpoint's certificate, and see that the clock of this machine is right."},
		{reason: reasonTLS, words: "remote error", advice: "The endpoint broke the handshake off: it may want a certificate of ours (sink.tls.certificate_file), or a newer TLS."},

		{from: 301, to: 308, location: "accounts.google.com", advice: "Google asks for a login: deploy the script once more with access for \"Anyone\", and take its new URL."},
		{from: 301, to: 308, location: "login", advice: "It leads to a login: sink.url is the address of a page, not of a webhook, or the endpoint is not public."},
		{from: 301, to: 308, location: "signin", advice: "It leads to a login: sink.url is the address of a page, not of a webhook, or the endpoint is not public."},
		{from: 301, to: 308, scheme: "http", location: "https://", same: true, advice: "The endpoint wants TLS: begin sink.url with https://."},
		{from: 400, to: 400, says: "HTTP request to an HTTPS server", advice: "The port wants TLS: begin sink.url with https://."},
		{from: 400, to: 400, says: "HTTP request was sent to HTTPS port", advice: "The port wants TLS: begin sink.url with https://."},
		{from: 426, to: 426, advice: "The endpoint wants TLS, or a newer protocol: begin sink.url with https://."},
		{from: 402, to: 402, advice: "The endpoint wants to be paid: look at the plan there, and at what is used of it."},
		{from: 405, to: 405, advice: "Something answers there, but takes no POST: the URL is probably that of a page, or the hook is set to another method."},
		{from: 413, to: 413, advice: "The row is larger than the endpoint takes: raise the limit there (nginx: client_max_body_size), or send fewer columns; metadata is most often what is large."},
		{from: 414, to: 414, advice: "The URL itself is too long for the endpoint: sink.url has something in it that does not belong there."},
		{from: 415, to: 415, advice: "The endpoint takes no JSON: set it to application/json."},
		{from: 401, to: 401, says: "invalid_token", advice: "The token is not valid, or not any more: put a new one where the old one is; it is read without a restart."},
		{from: 401, to: 401, says: "expired", advice: "The token has expired: put a new one where the old one is; it is read without a restart."},
		{from: 400, to: 403, says: "signature", advice: "The signature is not the one that the endpoint computes: use the same secret on both sides, whole, with its prefix whsec_ (sink.auth.secrets_file). The endpoint has to verify the body byte for byte, before anything parses it."},
		{from: 400, to: 403, says: "timestamp too", advice: "The time in the signature is too far from the endpoint's: set the clocks of both machines."},
		{from: 404, to: 404, says: "is not registered", advice: "n8n has no active workflow for this address: publish (activate) the workflow, and take the production URL of its Webhook node, not the test URL."},
		{from: 404, to: 404, says: "did you mean to make a", advice: "The Webhook node is there for another method: set its HTTP Method to POST."},
		{from: 400, to: 400, says: "queue is full", advice: "Make's queue for the webhook is full: look why the scenario does not run, or runs too slowly. Rows wait meanwhile."},
		{verdict: accepted, page: true, advice: "Mind that the answer is a page for a browser, as no webhook gives it: sink.url is probably the address of a page, and rows that it \"accepts\" are nowhere. With a sink.preset that would be a failure."},

		{of: "zapier", verdict: accepted, advice: "Accepted does not mean written: Zapier also takes rows for a Zap that is off or was deleted. Look for the row in the sheet; if it is not there, look whether the Zap is on, and at its history."},
		{of: "zapier", page: true, advice: "sink.url is a page of Zapier's: copy the Webhook URL from the Zap's trigger step; it begins with https://hooks.zapier.com/."},
		{of: "zapier", reason: reasonRateLimited, advice: "Zapier takes 30 requests a second for each hook, and thousands in five minutes for all of a user: keep sink.rate at 20 or below, as the preset has it, and look who else uses the account."},
		{of: "zapier", reason: reasonNotFound, advice: "Zapier does not know the hook: copy the Webhook URL from the Zap's trigger step. It changes when the Zap is copied or gets another owner."},
		{of: "make", verdict: accepted, advice: "Accepted does not mean written: Make also takes rows while the scenario is off, and keeps them in its queue. Look for the row in the sheet; if it is not there, look whether the scenario is on, and at its history."},
		{of: "make", page: true, advice: "sink.url is a page of Make's: copy the address from the webhook module; it begins with https://hook."},
		{of: "make", reason: reasonNotFound, advice: "The webhook was deleted, or no scenario has used it for five days: use it in a scenario that is on, and copy its URL once more."},
		{of: "make", reason: reasonNotFound, says: "no scenario listening", advice: "The webhook is there, but no scenario listens to it: switch the scenario on."},
		{of: "make", reason: reasonUnauthorised, advice: "The webhook wants an API key (sink.auth.mechanism api-key, sink.auth.header x-make-apikey), or has a list of addresses that may call it."},
		{of: "make", reason: reasonRefused, advice: "The row does not fit the webhook's data structure: determine it anew with this row, or remove it."},
		{of: "make", from: 400, to: 400, says: "queue is full", advice: "Make's queue for the webhook is full: look why the scenario does not run, or runs too slowly. Rows wait meanwhile."},
		{of: "n8n", verdict: accepted, advice: "Look for the row in the sheet: a Webhook node that responds immediately says nothing about the workflow. With \"When Last Node Finishes\" an acceptance means that it was written."},
		{of: "n8n", reason: reasonUnauthorised, advice: "The Webhook node wants authentication, or has a list of addresses that may call it: give signup-sheet the same credentials."},
		{of: "n8n", from: 413, to: 413, advice: "The row is larger than n8n takes (16 MiB; N8N_PAYLOAD_SIZE_MAX), or than the proxy before it does (nginx: client_max_body_size)."},
		{of: "apps-script", verdict: accepted, advice: "Nothing. The script says that the row is in the sheet."},
		{of: "apps-script", reason: reasonUnauthorised, advice: "Google does not let us in: deploy the script once more as a web app with access for \"Anyone\", and take its new URL."},
		{of: "apps-script", reason: reasonNotFound, advice: "The deployment does not exist any more: take the URL of one that does from Deploy, Manage deployments."},
		{of: "apps-script", from: 301, to: 308, location: "script.googleusercontent.com", advice: "The script ran, and answers by a redirect, which is followed for it only: set sink.preset to apps-script."},
		{of: "apps-script", from: 301, to: 308, location: "accounts.google.com", advice: "The script is not public: Google asks for a login. Deploy it once more as a web app with access for \"Anyone\", and take its new URL."},
		{of: "apps-script", page: true, from: 200, to: 299, advice: "Google answers with a page instead of the script's word: the script failed (its own words are above), or it is not the one of docs/destinations. Deploy a new version after each change of it."},
		{of: "apps-script", reason: reasonUnconfirmed, advice: "The script did not say that it wrote the row: its own words are above. If it is busy, that passes; else paste the script of docs/destinations once more and deploy a new version."},
		{of: "apps-script", reason: reasonUnconfirmed, page: true, advice: "Google answers with a page instead of the script's word: the script failed (its own words are above), or it is not the one of docs/destinations. Deploy a new version after each change of it."},
		{of: "apps-script", reason: reasonRefused, advice: "The script does not take the row, and says why above."},
		{of: "slack", reason: reasonRejected, advice: "Slack does not take messages for this webhook any more, or its channel is gone or archived: make a new one in the app's settings."},
		{of: "slack", reason: reasonNotFound, advice: "Slack does not know the webhook any more, or its channel is gone or archived: make a new one in the app's settings."},
		{of: "slack", reason: reasonUnauthorised, advice: "The workspace does not let the app post there: look at the app's settings, and at who may post in the channel."},
		{of: "slack", says: "invalid_payload", advice: "Slack takes messages, not rows: set sink.preset to slack."},
		{of: "slack", says: "no_text", advice: "Slack takes messages, not rows: set sink.preset to slack."},
		{of: "slack", reason: reasonRateLimited, advice: "Slack takes one message a second for each webhook, and may cut off who goes on: leave sink.rate as the preset has it."},
		{of: "hubspot", reason: reasonUnauthorised, advice: "HubSpot does not know the token, or it lacks the scope crm.objects.contacts.write: look at the private app."},
		{of: "hubspot", from: 401, to: 401, says: "expired", advice: "The token has expired: put a new one where the old one is; it is read without a restart."},
		{of: "hubspot", reason: reasonRefused, advice: "HubSpot does not take a value of the row for its property, and says which above: correct the property's type, or what is sent for it."},
		{of: "hubspot", says: "PROPERTY_DOESNT_EXIST", advice: "The account lacks a property that the row has, and says which above: create the contact property."},

		{host: "docs.google.com", advice: "sink.url is the address of the sheet itself, which takes no rows: put a webhook before it, such as the Apps Script of docs/destinations."},
		{of: "apps-script", path: "/edit", advice: "sink.url is the address of the script's editor: take the URL of the web app, which ends with /exec."},
		{of: "apps-script", path: "/dev", advice: "sink.url is the script's test address, which wants a login: take the URL of the web app, which ends with /exec."},
		{host: "zapier.com", advice: "sink.url is a page of Zapier's: copy the Webhook URL from the Zap's trigger step; it begins with https://hooks.zapier.com/."},
		{path: "/webhook-test/", advice: "sink.url is the test URL of an n8n Webhook node, which takes one request after a click on \"Execute workflow\": take the production URL, and publish (activate) the workflow."},
	}
}

// addressOf is a URL in lower case, without its query, or empty.
func addressOf(location string) string {
	u, err := url.Parse(location)
	if err != nil || location == "" {
		return ""
	}
	return strings.ToLower(u.Scheme + "://" + u.Host + u.Path)
}

// adviceOn is what to do about an answer.
func adviceOn(e event) string {
	advice := ""
	host, body := strings.ToLower(e.target.Hostname()), bytes.ToLower(e.body)
	if e.of == generic {
		e.of = PresetOf(host)
	}
	for _, h := range hints() {
		if (h.reason == "" || h.reason == e.class.reason) &&
			(h.verdict == "" || h.verdict == e.class.verdict) &&
			(h.to == 0 || h.from <= e.status && e.status <= h.to) &&
			strings.Contains(e.words, h.words) &&
			(h.of == "" || h.of == e.of) &&
			(h.scheme == "" || h.scheme == e.target.Scheme) &&
			(h.host == "" || h.host == strings.TrimPrefix(host, "www.")) &&
			strings.Contains(e.target.Path, h.path) &&
			strings.Contains(addressOf(e.location), h.location) &&
			(!h.same || strings.HasPrefix(addressOf(e.location), "https://"+host)) &&
			bytes.Contains(body, []byte(strings.ToLower(h.says))) &&
			(!h.page || e.isPage) {
			advice = h.advice
		}
	}
	return advice
}

// consequence says what becomes of a row that gets an answer like this.
func consequence(a answer) string {
	switch {
	case a.verdict == accepted:
		return "count it as delivered"
	case a.verdict == refused:
		return "dead-letter it, if the endpoint takes other rows meanwhile; as long as it refuses every row, all wait and none is dead-lettered (hold: " + a.reason + ")"
	case a.unsent:
		return "send nothing until there is a token: all rows wait with an error in the log (hold: " + a.reason + "), and nothing is dead-lettered for that"
	case a.wait > 0:
		return "send nothing for " + a.wait.Round(time.Second).String() + ", as the endpoint asks, then try again (hold: " + a.reason + "); nothing is dead-lettered"
	case a.verdict == transient:
		return "try it again, after 0.5 s to 60 s, while others go on; if others fail too, all wait and one row after the other tries (hold: " + a.reason + "); nothing is dead-lettered for that"
	}
	return "try it again, after 0.5 s to 60 s; if others fail too, all wait with an error in the log (hold: " + a.reason + "), and deliver when the endpoint takes rows again; nothing is dead-lettered for that"
}
