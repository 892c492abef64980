package sink

import (
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// contact returns the request by which HubSpot makes or updates one contact, found by
// its email. The other columns are properties, which have to exist in the account, and
// are texts, whatever their type. What is missing or blank is left out, since an empty
// property would delete what HubSpot knows. The email is no property either: the contact may
// have it as a second one, which would become the first.
// https://developers.hubspot.com/docs/api-reference/2026-03/crm/objects/contacts/batch/upsert-contacts
func contact(row Row) []byte {
	email := ""
	properties := []byte(`{`)
	for name, value := range columnsOf(row) {
		text := textOf(value)
		switch {
		case name == "event_id" || value.Kind() == 'n' || strings.TrimSpace(text) == "":
		case name == "email":
			email = text
		default:
			if len(properties) > 1 {
				properties = append(properties, ',')
			}
			properties = appendText(properties, name)
			properties = append(properties, ':')
			properties = appendText(properties, text)
		}
	}
	body := appendText([]byte(`{"inputs":[{"idProperty":"email","id":`), email)
	body = append(body, `,"objectWriteTraceId":`...)
	body = appendText(body, row.EventID)
	body = append(body, `,"properties":`...)
	body = append(body, properties...)
	return append(body, `}}]}`...)
}

// appendText appends a text as JSON, what is not UTF-8 in it replaced.
func appendText(to []byte, text string) []byte {
	quoted, _ := jsontext.AppendQuote(to, text) // the error only says that something was replaced
	return quoted
}
