package sink

import (
	"bytes"
	"mime"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
)

// What endpoints of a preset say, with a status of success, of a row that they have
// taken. All that is not understood is transient: it may be the page of something
// between us and the endpoint.

// unlessHTML returns judge for all answers but pages made for people, which no endpoint
// sends that takes rows. A judge of nil accepts the others.
func unlessHTML(judge func(http.Header, []byte) verdict) func(http.Header, []byte) verdict {
	return func(header http.Header, body []byte) verdict {
		switch {
		case isHTML(header, body):
			return transient
		case judge == nil:
			return accepted
		}
		return judge(header, body)
	}
}

// isHTML reports whether an answer is a page. The Content-Type alone does not make one:
// n8n calls every text HTML unless it is told what it is.
func isHTML(header http.Header, body []byte) bool {
	if strings.HasPrefix(http.DetectContentType(bytes.TrimPrefix(body, []byte("\ufeff"))), "text/html") {
		return true
	}
	kind, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	return (kind == "text/html" || kind == "application/xhtml+xml") && bytes.ContainsRune(body, '<')
}

// zapierSays expects {"status":"success",…}, or nothing: a hook may be set to be silent.
func zapierSays(_ http.Header, body []byte) verdict {
	var said struct {
		Status string `json:"status"`
	}
	if len(bytes.TrimSpace(body)) == 0 || json.Unmarshal(body, &said) == nil && said.Status == "success" {
		return accepted
	}
	return transient
}

// scriptSays understands the script of docs/destinations/apps-script, and any other that
// answers {"ok":true}.
func scriptSays(_ http.Header, body []byte) verdict {
	var said struct {
		OK      bool `json:"ok"`
		Refused bool `json:"refused"`
	}
	switch err := json.Unmarshal(body, &said); {
	case err != nil:
		return transient
	case said.OK:
		return accepted
	case said.Refused:
		return refused
	}
	return transient
}

func slackSays(_ http.Header, body []byte) verdict {
	if string(bytes.TrimSpace(body)) == "ok" {
		return accepted
	}
	return transient
}

// noSuchProperty is what HubSpot calls a property that the account does not have.
const noSuchProperty = "PROPERTY_DOESNT_EXIST"

// hubspotSays expects one result and no error. Several statuses at once (207) may say
// that the batch was done while its one contact was not.
func hubspotSays(_ http.Header, body []byte) verdict {
	type failure struct {
		Category string `json:"category"`
	}
	var said struct {
		Status    string     `json:"status"`
		Results   []struct{} `json:"results"`
		NumErrors int        `json:"numErrors"`
		Errors    []failure  `json:"errors"`
	}
	switch err := json.Unmarshal(body, &said); {
	case err != nil:
		return transient
	case len(said.Errors) == 0 && said.NumErrors == 0 && len(said.Results) == 1 && said.Status == "COMPLETE":
		return accepted
	case bytes.Contains(body, []byte(noSuchProperty)):
		return atFault
	case len(said.Errors) > 0 && said.Errors[0].Category == "VALIDATION_ERROR":
		return refused
	}
	return transient
}
