package sink

import (
	"encoding/base64"
	"html"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
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
		`{"message":"rejected:\nKowalska\tgold"}`:                   "{\"message\":\"rejected:\n[masked]\t[masked]\"}",
		`init("email\x3dzofia.k\x40example.com")`:                   `init("email=[masked].[masked]@[masked].com")`,
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

// Values have escapes of their own, which are undone in an answer that repeats them, once or twice.
func TestAnExcerptHoldsNoValueThatHasEscapes(t *testing.T) {
	for _, value := range []string{`https://example.com/?name=Zofia%20Kowalska`, `CORP\nkowalska`, `AT&amp;Kowalska`, `%25%32%30Kowalska`, `\\\\tkowalska`} {
		row, _ := json.Marshal(map[string]any{"metadata": map[string]string{"x": value}})
		quoted, _ := json.Marshal(string(row))
		twice, _ := json.Marshal(string(quoted))
		for name, echo := range map[string]string{
			"plain": value, "row": string(row), "quoted": string(quoted), "twice": string(twice),
			"percent": url.QueryEscape(value), "page": html.EscapeString(string(row)),
			"base64": base64.StdEncoding.EncodeToString(row),
		} {
			got := excerpt([]byte("bad: "+echo), valuesOf(row))
			decoded, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(got, "bad: "))
			if !strings.Contains(got, maskText) || strings.Contains(strings.ToLower(got+string(decoded)), "kowalska") {
				t.Errorf("%s, %s: %s", value, name, got)
			}
		}
	}
}

// Some echo a request in base64. What is decoded is what it is searched for, wherever it begins in what looks like base64.
func TestAnExcerptHoldsNoValueInBase64(t *testing.T) {
	private := valuesOf([]byte(privateRow))
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding} {
		for pad := range 4 {
			for _, echo := range []string{privateRow, "zofia.k@example.org", `{"n":"M\u00fcller, Zofia Kowalska-M\u00fcller"}`} {
				text := strings.Repeat("x", pad) + "/" + encoding.EncodeToString([]byte(strings.Repeat(" ", pad)+echo))
				if got := excerpt([]byte(`{"body":"`+text+`","of":"base64"}`), private); got != `{"body":"[masked]","of":"base64"}` && len(text) < maxExcerpt {
					t.Errorf("%q", got)
				}
			}
		}
	}
	const id = "7f3kQ0pVb2R5LzEyMzQ1Njc4OTA-request_0123456789abcdef"
	if got := excerpt([]byte(id), private); got != id {
		t.Errorf("%q, want what is private in no way", got)
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
