package sink

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

const privateRow = `{"event_id":"ev-9f3","timestamp":"2026-11-25T12:00:00Z","email":"zofia.k@example.org",` +
	`"name":"Zofia Kowalska-Müller","plan":"gold","age_guess":34,` +
	`"metadata":{"phone":48123456789,"note":"a \"quote\" <b>","家":"山田太郎","secretkey":[true,"deepvalue"]}}`

func TestAnExcerptHoldsNoValueOfTheRowAndNoSecret(t *testing.T) {
	target, err := url.Parse("https://me:passw0rd@hooks.example.com/catch/t0ken-abc/x?sig=s1gnature")
	if err != nil {
		t.Fatal(err)
	}
	private := slices.Concat(valuesOf([]byte(privateRow)), secretsOf(target))
	for answer, want := range map[string]string{
		"":                               "",
		"age is missing":                 "age is missing",
		"finally, no such column":        "finally, no such column",
		"bad email ZOFIA.K@EXAMPLE.ORG!": "bad email [masked]!",
		`{"error":"\u006d\u00FCller"}`:   `{"error":"[masked]"}`,
		"hello Zofia, dear KOWALSKA":     "hello [masked], dear [masked]",
		"xzofia.k@example.orgx":          "x[masked]x",
		"zofia.k%40example.org":          "[masked]",
		"M&uuml;ller, M%C3%BCller, Mu&#x308;ller M\\u00fcller":      "[masked], [masked], Mü[masked] [masked]",
		`a \"quote\" &lt;b&gt; and a &quot;quote&quot; <b>`:         "[masked] and [masked]",
		"拝啓山田太郎様":                                                   "拝啓[masked]様",
		"call 48123456789":                                          "call [masked]",
		"posted to /catch/t0ken-abc/x?sig=s1gnature by me:passw0rd": "posted to [masked] by [masked]:[masked]",
		"token t0ken is unknown":                                    "token [masked] is unknown",
		"deepvalue or secretkey":                                    "[masked] or [masked]",
		"bad \xff\xfe bytes":                                        "bad \uFFFD bytes",
		`\ud800 \u12 100% \`:                                        "\uFFFD \\u12 100% \\",
	} {
		got := excerpt([]byte(answer), private)
		if answer == "M&uuml;ller, M%C3%BCller, Mu&#x308;ller M\\u00fcller" {
			// The decomposed form is another spelling, and stays.
			want = "[masked], [masked], Mu\u0308ller [masked]"
		}
		if got != want {
			t.Errorf("%q: %q, want %q", answer, got, want)
		}
	}
}

func TestAnExcerptIsShortAndValidAndCutsNoWordInHalf(t *testing.T) {
	value := strings.Repeat("Wolfeschlegelsteinhausenbergerdorff", 2)
	for pad := range len(value) + 5 { // so that the limit falls everywhere in the value
		got := excerpt([]byte(strings.Repeat("x", pad)+" "+strings.Repeat(value+" ", 200)), []string{value})
		if strings.Contains(got, "W") {
			t.Fatalf("%d: %q", pad, got)
		}
	}
	for size := range 8 {
		got := excerpt([]byte(strings.Repeat("a", size)+strings.Repeat("€", 1000)), nil)
		if len(got) > maxExcerpt || len(got) < maxExcerpt-4 || !utf8.ValidString(got) {
			t.Errorf("%d bytes, valid %v", len(got), utf8.ValidString(got))
		}
	}
}

func TestRequestIDsComeFromHeaderAndBody(t *testing.T) {
	header := http.Header{}
	header.Set("X-Request-Id", "one")
	header.Set("CF-Ray", "two")
	header.Set("X-Amzn-RequestId", "one")
	header.Set("Request-Id", strings.Repeat("x", 129))
	body := `{"id":"three","request_id":"four","attempt":5,"status":"success"}`
	if got := requestIDs(header, []byte(body), []string{"private"}); !slices.Equal(got, []string{"one", "two", "four", "three"}) {
		t.Error(got)
	}
	for _, body := range []string{
		"", "not JSON", `["id"]`, `{"id":"my private id"}`, `{"id":"private"}`, `{"id":"PRIVATE-1"}`, `{"id":"a\nb"}`, `{"id":"ü"}`,
		`{"id":""}`, `{"id":null}`, `{"id":{"id":"x"}}`,
	} {
		if got := requestIDs(http.Header{}, []byte(body), []string{"private"}); len(got) != 0 {
			t.Errorf("%s: %q", body, got)
		}
	}
}

func FuzzMaskedNeverShowsAWord(f *testing.F) {
	f.Add("bad email jane@example.com", "jane@example.com")
	f.Add(`\u0041%41&amp;`, "A")
	f.Add("İx", "İx")
	f.Add("name ", "😀")
	f.Fuzz(func(t *testing.T, text, value string) {
		if len(value) < 4 || !utf8.ValidString(value) || strings.Contains(maskText, strings.ToLower(value)) ||
			strings.ContainsAny(value, `\%&[]`) || strings.Contains(value, "\uFFFD") {
			t.Skip()
		}
		got := masked(text+value, []string{value})
		if strings.Contains(got, value) || !utf8.ValidString(got) {
			t.Errorf("%q in %q", value, got)
		}
	})
}
