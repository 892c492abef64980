package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const configurationDoc = "../../docs/configuration.md"

// The tables of docs/configuration.md are those of the declarations. UPDATE=1 writes them.
func TestConfigurationDocHasEverySetting(t *testing.T) {
	var c config
	tables := map[string][]setting{}
	for _, s := range declare(&c) {
		place := s.group()
		if s.fileless || s.only != "" {
			place = "flags"
		}
		tables[place] = append(tables[place], s)
	}
	text, err := os.ReadFile(configurationDoc)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	section := regexp.MustCompile(`(?s)<!-- settings: (\w+) -->\n.*?<!-- end -->`)
	want := section.ReplaceAllStringFunc(string(text), func(old string) string {
		place := section.FindStringSubmatch(old)[1]
		seen[place] = true
		return fmt.Sprintf("<!-- settings: %s -->\n%s<!-- end -->", place, table(place, tables[place]))
	})
	for place := range tables {
		if !seen[place] {
			t.Errorf("%s has no place for %s: want <!-- settings: %s --> and <!-- end -->", configurationDoc, place, place)
		}
	}
	for place := range seen {
		if tables[place] == nil {
			t.Errorf("%s has a place for %s, which has no settings", configurationDoc, place)
		}
	}
	if os.Getenv("UPDATE") == "1" {
		if err := os.WriteFile(configurationDoc, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if want != string(text) {
		t.Errorf("%s is not what the program has: UPDATE=1 go test -run Configuration ./cmd/signup-sheet", configurationDoc)
	}
}

// table is the table of a group in Markdown.
func table(place string, settings []setting) string {
	var rows strings.Builder
	if place == "flags" {
		rows.WriteString("| flag | environment | commands | meaning |\n|---|---|---|---|\n")
	} else {
		rows.WriteString("| setting | environment | default | unit | meaning |\n|---|---|---|---|---|\n")
	}
	for _, s := range settings {
		env, help := "`"+s.env()+"`", strings.ReplaceAll(s.help, "|", `\|`)
		if s.also != "" {
			env += ", `" + s.also + "`"
		}
		if place == "flags" {
			commands := "all that take settings"
			if s.only != "" {
				env, commands = "", "`"+s.only+"`"
			}
			fmt.Fprintf(&rows, "| `%s` | %s | %s | %s |\n", s.flag(), env, commands, help)
			continue
		}
		fallback := "`" + s.fallback + "`"
		switch {
		case s.derived != "":
			fallback = s.derived
		case s.fallback == "":
			fallback = ""
		}
		fmt.Fprintf(&rows, "| `%s` | %s | %s | %s | %s |\n", s.name, env, fallback, s.value.unit, help)
	}
	return rows.String()
}

// The YAML examples in the documents are settings files that the program takes.
func TestConfigurationExamplesAreTaken(t *testing.T) {
	block := regexp.MustCompile("(?sm)^( *)```yaml\n(.*?)```")
	examples := map[string]bool{}
	for file, text := range documents(t) {
		for _, m := range block.FindAllStringSubmatch(text, -1) {
			example := strings.TrimPrefix(strings.ReplaceAll("\n"+m[2], "\n"+m[1], "\n"), "\n") // those in lists are indented
			if !strings.HasPrefix(example, "kafka:") && !strings.HasPrefix(example, "sink:") {
				continue // a file of something else
			}
			examples[file] = true
			l, found := parse(example)
			for name, given := range found {
				s, _ := l.find(name)
				if err := s.value.set(given.text); err != nil {
					l.problem("%s: %v", given.where, err)
				}
			}
			for _, problem := range l.problems {
				t.Errorf("%s: an example: %s", file, problem)
			}
		}
	}
	for file := range documents(t) {
		if strings.HasPrefix(file, "docs/destinations/") && file != "docs/destinations/README.md" && !examples[file] {
			t.Errorf("%s: no example was found", file)
		}
	}
}

// Settings, flags and variables that the documents speak of exist.
func TestConfigurationNamesInTheDocumentsExist(t *testing.T) {
	var c config
	flags, settings, variables := map[string]bool{"--help": true, "--version": true}, map[string]bool{}, map[string]bool{}
	var groups []string
	for _, s := range declare(&c) {
		flags[s.flag()], settings[s.name], variables[s.env()] = true, true, true
		if strings.Contains(s.name, ".") && !slices.Contains(groups, s.group()) {
			groups = append(groups, s.group())
		}
	}
	either := strings.Join(groups, "|")
	flag := regexp.MustCompile(`--(?:` + either + `)\.[a-z_.]*[a-z]`)
	name := regexp.MustCompile("`((?:" + either + `)\.[a-z_.]*[a-z])` + "[`=: ]")
	variable := regexp.MustCompile(`SIGNUP_SHEET_[A-Z_]*[A-Z]`)
	mentioned := 0
	for file, text := range documents(t) {
		for _, m := range flag.FindAllString(text, -1) {
			mentioned++
			if !flags[m] {
				t.Errorf("%s: there is no flag %s", file, m)
			}
		}
		for _, m := range name.FindAllStringSubmatch(text, -1) {
			mentioned++
			if !settings[m[1]] && !strings.HasSuffix(m[1], ".go") {
				t.Errorf("%s: there is no setting %s", file, m[1])
			}
		}
		for _, m := range variable.FindAllString(text, -1) {
			mentioned++
			if !variables[m] && !isServiceLink(m, "tcp://") {
				t.Errorf("%s: there is no variable %s", file, m)
			}
		}
	}
	if mentioned < 50 {
		t.Errorf("%d names were found: are these the documents?", mentioned)
	}
}

// documents are the repository's, by name.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../docs/destinations/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			texts[strings.TrimPrefix(file, "../../")] = string(text)
		}
	}
	return texts
}
