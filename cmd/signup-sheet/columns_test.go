package main

import (
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"signup-sheet/consumer"
	"signup-sheet/sink"
)

func TestColumnsAreAListInTheFileAndATextElsewhere(t *testing.T) {
	want := []string{"event_id", "when=record.timestamp|date('Jan 2, 2006', UTC)", "Customer's=signup.plan"}
	want[2] = `"Customer's"=signup.plan`
	file := write(t, "sink:\n  columns:\n    - event_id\n    - when=record.timestamp|date('Jan 2, 2006', UTC)\n    - '\"Customer''s\"=signup.plan'\n")
	line := "event_id, when=record.timestamp|date('Jan 2, 2006', UTC) ,\"Customer's\"=signup.plan"
	for name, c := range map[string]struct {
		args []string
		env  map[string]string
	}{
		"file":        {[]string{"--config", file}, nil},
		"environment": {nil, map[string]string{"SIGNUP_SHEET_SINK_COLUMNS": line}},
		"flag":        {[]string{"--sink.columns", line}, nil},
	} {
		got, err := load("run", append(c.args, "--sink.url", testURL), c.env)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got.Sink.Columns, want) {
			t.Errorf("%s: %q, want %q", name, got.Sink.Columns, want)
		}
	}
	got, err := load("run", []string{"--sink.url", testURL}, nil)
	if err != nil || !reflect.DeepEqual(got.Sink.Columns, sink.DefaultColumns()) || !got.Sink.SheetSafe {
		t.Errorf("by default: %v, %q, safe %t", err, got.Sink.Columns, got.Sink.SheetSafe)
	}
}

func TestEveryMistakeInColumnsIsAProblemOfItsOwn(t *testing.T) {
	short := write(t, "short\n")
	_, err := load("run", []string{"--sink.url", testURL, "--sink.columns", "mail,when=signup.timestamp|data,b=", "--sink.hash_key_file", short}, nil)
	want := `4 problems:
  --sink.columns: column 1 ("mail"), at character 1: there is no mail: paths begin with signup, age, age_status or record, and a text is put in quotes
  --sink.columns: column 2 ("when"), at character 23: there is no function "data": want default, lower, date, mask, hash, sha256, json, raw or safe
  --sink.columns: column 3 ("b"), at character 3: want a path such as signup.plan, a number, or a text in quotes
  --sink.hash_key_file: the content of the file: want at least 16 characters, such as those of openssl rand -hex 32`
	if err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	_, err = load("run", []string{"--sink.url", testURL, "--sink.columns", "email|hash,who=email|hash"}, nil)
	want = `2 problems:
  --sink.columns: column "email" has the function hash, which needs a key: set sink.hash_key_file, or use sha256
  --sink.columns: column "who" has the function hash, which needs a key: set sink.hash_key_file, or use sha256`
	if err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
}

func TestThePresetDecidesWhetherFormulasAreNeutralised(t *testing.T) {
	for preset, want := range map[string]bool{"generic": true, "zapier": true, "make": true, "n8n": true, "apps-script": true, "slack": false, "hubspot": false} {
		cfg, err := load("run", []string{"--sink.url", testURL, "--sink.preset", preset}, nil)
		if err != nil || cfg.Sink.SheetSafe != want {
			t.Errorf("%s: %v, safe %t", preset, err, cfg.Sink.SheetSafe)
		}
		cfg, err = load("run", []string{"--sink.url", testURL, "--sink.preset", preset, fmt.Sprintf("--sink.sheet_safe=%t", !want)}, nil)
		if err != nil || cfg.Sink.SheetSafe == want {
			t.Errorf("%s, and the opposite set: %v, safe %t", preset, err, cfg.Sink.SheetSafe)
		}
	}
	_, err := load("run", []string{"--sink.url", testURL, "--sink.preset", "hubspot", "--sink.columns", "mail=email"}, nil)
	if err == nil || err.Error() != "--sink.columns: want a column called email, by which HubSpot finds a contact: sink.preset is hubspot" {
		t.Error(err)
	}
}

// What is set reaches the consumer, and what is unsafe has to be asked for.
func TestColumnsReachTheConsumer(t *testing.T) {
	key := write(t, "0123456789abcdef\n")
	for _, raw := range []bool{false, true} {
		args := []string{"--sink.url", testURL, "--sink.columns", "who=email|hash", "--sink.hash_key_file", key}
		if raw {
			args = append(args, "--sink.sheet_safe=false")
		}
		cfg, err := load("run", args, nil)
		if err != nil {
			t.Fatal(err)
		}
		c := consumerOf(cfg, slog.New(slog.DiscardHandler))
		if !reflect.DeepEqual(c.Columns, []string{"who=email|hash"}) || c.RawCells != raw || string(c.HashKey) != "0123456789abcdef" {
			t.Errorf("columns %q, raw %t, key %q", c.Columns, c.RawCells, c.HashKey)
		}
	}
}

func TestColumnsThatAreNoListOfTextsAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"sink:\n  columns:\n    plan: signup.plan\n":                 ":2: sink.columns: want a list of texts, not keys",
		"sink:\n  columns:\n    - plan: signup.plan\n":               ":2: sink.columns: want a list of texts: put what has a colon in it in quotes",
		"sink:\n  columns: []\n":                                     ":2: sink.columns: column 1, at character 1: is empty: want " + sink.ColumnSyntax,
		"sink:\n  columns:\n    - email\n    - plan=signup.plan|x\n": `:2: sink.columns: column 2 ("plan"), at character 18: there is no function "x": want default, lower, date, mask, hash, sha256, json, raw or safe`,
	} {
		file := write(t, text)
		_, err := load("run", []string{"--config", file, "--sink.url", testURL}, nil)
		if err == nil || err.Error() != file+want {
			t.Errorf("%s: %v\nwant %s", text, err, file+want)
		}
	}
}

// The tables of docs/columns.md are those of the program. UPDATE=1 writes them.
func TestColumnsDocHasEveryPathAndFunction(t *testing.T) {
	const doc = "../../docs/columns.md"
	text, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	var paths, functions strings.Builder
	paths.WriteString("| path | |\n|---|---|\n")
	for _, p := range consumer.ColumnPaths() {
		fmt.Fprintf(&paths, "| `%s` | %s |\n", p.Path, p.Help)
	}
	functions.WriteString("| function | gives |\n|---|---|\n")
	for _, f := range sink.Functions() {
		fmt.Fprintf(&functions, "| `%s` | %s |\n", f.Usage, f.Help)
	}
	want := string(text)
	for place, table := range map[string]string{"paths": paths.String(), "functions": functions.String()} {
		section := regexp.MustCompile("(?s)<!-- " + place + " -->\n.*?<!-- end -->")
		if !section.MatchString(want) {
			t.Fatalf("%s has no place for the %s", doc, place)
		}
		want = section.ReplaceAllLiteralString(want, "<!-- "+place+" -->\n"+table+"<!-- end -->")
	}
	if os.Getenv("UPDATE") == "1" {
		if err := os.WriteFile(doc, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if want != string(text) {
		t.Errorf("%s is not what the program has: UPDATE=1 go test -run ColumnsDoc ./cmd/signup-sheet", doc)
	}
}
