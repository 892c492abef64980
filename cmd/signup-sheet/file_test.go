package main

import (
	"strings"
	"testing"
)

func parse(content string) (*loader, map[string]given) {
	var c config
	l := &loader{settings: settingsOf("run", &c)}
	found := map[string]given{}
	l.parseFile("f.yaml", []byte(content), found)
	return l, found
}

func TestFilesSayWhereAndWhatIsWrong(t *testing.T) {
	for _, c := range []struct{ content, want string }{
		{"", ""},
		{"# nothing\n", ""},
		{"kafka:\n  # topic: x\nsink: {}\n", ""},
		{"base: &b x\n", "f.yaml:1: base: no such key"},
		{"kafka: &k {topic: a}\nsink: *k\n", "f.yaml:1: sink.topic: no such key"},
		{"kafka: {topic: &t a}\ndead_letter: {topic: *t}\n", ""},
		{"kafka: {<<: {topic: a}}\n", "f.yaml:1: kafka.(a name that looks like no setting's): no such key"},
		{"- kafka\n", "f.yaml:1: want keys with values here"},
		{"kafka: [a]\n", "f.yaml:1: kafka: want keys with values here"},
		{"kafka:\n  brokers: [a:1, {b: 1}]\n", "f.yaml:2: kafka.brokers: want a list of texts: put what has a colon in it in quotes"},
		{"kafka:\n  topic: [a]\n", "f.yaml:2: kafka.topic: want one value (topic), not a list or keys"},
		{"kafka:\n  topic: {a: b}\n", "f.yaml:2: kafka.topic: want one value (topic), not a list or keys"},
		{"kafka:\n  topic: true\n", "f.yaml:2: kafka.topic: want text: put it in quotes"},
		{"kafka: {}\nkafka: {}\n", "f.yaml:2: kafka: given twice, first in line 1: remove one"},
		{"kafka: {}\n---\nsink: {}\n", "f.yaml:2: a second document begins here: want one"},
		{"kafka:\n\ttopic: x\n", "f.yaml:2: not YAML: "},
		{"kafka: *k\n", "f.yaml:1: not YAML: a value that begins with * refers to an anchor, and there is none: put it in quotes"},
	} {
		l, _ := parse(c.content)
		got := strings.Join(l.problems, "\n")
		if got != c.want && (!strings.HasSuffix(c.want, ": ") || !strings.HasPrefix(got, c.want)) {
			t.Errorf("%q:\ngot  %s\nwant %s", c.content, got, c.want)
		}
	}
}

// Whatever the file: no panic, every text belongs to a setting, and a problem names the file.
func FuzzFile(f *testing.F) {
	f.Add("kafka:\n  topic: x\n  brokers: [a:1, b:2]\nsink: &s {url: x}\n")
	f.Add("a: &a {b: *a}\n<<: *a\n? [x]\n: y\n")
	f.Add("kafka: {kafka: {topic: x}}\n---\n")
	f.Fuzz(func(t *testing.T, content string) {
		l, found := parse(content)
		for name, given := range found {
			if _, known := l.find(name); !known || given.where == "" {
				t.Errorf("%q (%q) is no setting", name, given.where)
			}
		}
		for _, problem := range l.problems {
			if !strings.HasPrefix(problem, "f.yaml:") {
				t.Errorf("problem %q does not say where", problem)
			}
		}
	})
}
