package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v4"
)

// file reads the settings of the YAML file that from names, none if it names none.
func (l *loader) file(from given) map[string]given {
	found := map[string]given{}
	if from.text == "" {
		return found
	}
	shown := from.text
	if strings.Contains(shown, "://") {
		shown = "the file" // it may be the webhook's URL
	}
	content, err := readSmall(from.text, shown)
	if err != nil {
		l.problem("%s: %v", from.where, err)
		return found
	}
	l.parseFile(from.text, content, found)
	return found
}

// parseFile adds the settings of the file called name to found.
func (l *loader) parseFile(name string, content []byte, found map[string]given) {
	documents, err := yaml.NewLoader(bytes.NewReader(content))
	if err != nil {
		l.problem("%s: %v", name, err)
		return
	}
	var root, second yaml.Node
	switch err := documents.Load(&root); {
	case errors.Is(err, io.EOF):
		return
	case err != nil:
		l.problem("%s", syntaxProblem(name, err))
		return
	}
	switch err := documents.Load(&second); {
	case err == nil:
		l.problem("%s:%d: a second document begins here: want one", name, second.Line)
	case !errors.Is(err, io.EOF):
		l.problem("%s", syntaxProblem(name, err))
	}
	l.walk(fileLevel{file: name, found: found}, root.Content[0])
}

// syntaxProblem never repeats the file's text, which may hold secrets. The library's messages do so in one case only.
func syntaxProblem(name string, err error) string {
	detail, ok := errors.AsType[*yaml.LoadError](err)
	if !ok {
		return name + ": not YAML"
	}
	message := detail.Message
	if strings.Contains(message, "unknown anchor") {
		message = "a value that begins with * refers to an anchor, and there is none: put it in quotes"
	}
	return fmt.Sprintf("%s:%d: not YAML: %s", name, detail.Mark.Line, message)
}

// fileLevel is where in the file walk is.
type fileLevel struct {
	file  string
	path  string // "" at the root, else "kafka." or the like
	found map[string]given
}

func (l *loader) walk(at fileLevel, node *yaml.Node) {
	node = resolve(node)
	if node.ShortTag() == "!!null" {
		return // a group with all its keys commented out
	}
	if node.Kind != yaml.MappingNode {
		where := fmt.Sprintf("%s:%d: ", at.file, node.Line)
		if at.path != "" {
			where += strings.TrimSuffix(at.path, ".") + ": "
		}
		l.problem("%swant keys with values here", where)
		return
	}
	lines := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, child := node.Content[i], node.Content[i+1]
		if first, twice := lines[key.Value]; twice {
			l.problem("%s:%d: %s: given twice, first in line %d: remove one", at.file, key.Line, safeName(at.path, key.Value), first)
			continue
		}
		lines[key.Value] = key.Line
		l.key(at, key, child)
	}
}

// key takes one key of the file and what is below it.
func (l *loader) key(at fileLevel, key, child *yaml.Node) {
	name := at.path + key.Value
	where := fmt.Sprintf("%s:%d: %s", at.file, key.Line, safeName(at.path, key.Value))
	child = resolve(child)
	s, known := l.find(name)
	switch {
	case strings.Contains(key.Value, "."):
		hint := ": want each part of a name on a level of its own"
		if _, known := l.find(name); known {
			group, rest, _ := strings.Cut(name, ".")
			hint = fmt.Sprintf(": write %s: below %s:", rest, group)
		}
		l.problem("%s%s", where, hint)
	case known && s.only != "":
		l.problem("%s: cannot be set in the file: want %s", where, s.flag())
	case known && s.fileless:
		l.problem("%s: cannot be set in the file: want %s or %s", where, s.flag(), s.env())
	case known:
		if text, err := scalar(s, child); err != nil {
			l.problem("%s: %v", where, err)
		} else {
			at.found[name] = given{where, text}
		}
	case l.isGroup(name):
		l.walk(fileLevel{at.file, name + ".", at.found}, child)
	default:
		l.problem("%s: no such key%s", where, didYouMean("", name, append(l.names(), l.groups()...)))
	}
}

// scalar is the text that node gives to s.
func scalar(s setting, node *yaml.Node) (string, error) {
	switch {
	case node.ShortTag() == "!!null":
		return "", errors.New("has no value: give it one or remove the key")
	case node.Kind == yaml.SequenceNode && s.value.split != nil:
		items := make([]string, len(node.Content))
		for i, item := range node.Content {
			if item = resolve(item); item.Kind != yaml.ScalarNode {
				return "", errors.New("want a list of texts: put what has a colon in it in quotes")
			}
			items[i] = item.Value
		}
		return strings.Join(items, ","), nil
	case node.Kind != yaml.ScalarNode && s.value.split != nil:
		return "", errors.New("want a list of texts, not keys")
	case node.Kind != yaml.ScalarNode:
		return "", fmt.Errorf("want one value (%s), not a list or keys", s.value.unit)
	case s.value.words && node.ShortTag() != "!!str":
		return "", errors.New("want text: put it in quotes")
	}
	return node.Value, nil
}

// resolve follows an alias (*name) to what it stands for.
func resolve(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}

func (l *loader) isGroup(name string) bool {
	for _, s := range l.settings {
		if strings.HasPrefix(s.name, name+".") {
			return true
		}
	}
	return false
}

// groups lists the first parts of the names, each once.
func (l *loader) groups() []string {
	var groups []string
	for _, s := range l.settings {
		if len(groups) == 0 || groups[len(groups)-1] != s.group() {
			groups = append(groups, s.group())
		}
	}
	return groups
}
