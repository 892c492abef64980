package sink

import "strings"

// maxTraceState is how much a tracestate may have: what everyone has to pass on
// (W3C Trace Context, section 3.3.1.5).
const maxTraceState = 512

// isTraceParent reports whether text is a traceparent of W3C Trace Context (section 3.2)
// in the form that all versions so far have.
func isTraceParent(text string) bool {
	if len(text) != len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01") {
		return false
	}
	for i := range len(text) {
		c := text[i]
		isDash := i == 2 || i == 35 || i == 52
		isHex := '0' <= c && c <= '9' || 'a' <= c && c <= 'f'
		if isDash != (c == '-') || !isDash && !isHex {
			return false
		}
	}
	return text[:2] != "ff" && strings.Trim(text[3:35], "0") != "" && strings.Trim(text[36:52], "0") != ""
}

// isTraceState reports whether text can be passed on as a tracestate (section 3.3): a list
// of key=value in printable ASCII.
func isTraceState(text string) bool {
	if text == "" || len(text) > maxTraceState {
		return false
	}
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	for member := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(member), "=")
		if strings.TrimSpace(member) == "" {
			continue // allowed
		}
		if !ok || value == "" || key == "" || strings.Trim(key, "abcdefghijklmnopqrstuvwxyz0123456789_-*/@") != "" {
			return false
		}
	}
	return strings.TrimSpace(text) == text
}
