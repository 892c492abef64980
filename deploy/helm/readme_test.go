package helm_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// row is a line of the table in the chart's README.
type row struct{ path, fallback, text string }

// rows lists the values: each key with a comment "# -- …" above it. Every value is below one.
func rows(t *testing.T, path string, node *yaml.Node) (list []row) {
	t.Helper()
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		name := strings.TrimPrefix(path+"."+key.Value, ".")
		comment := strings.ReplaceAll(strings.TrimSpace(strings.TrimLeft(strings.ReplaceAll(key.HeadComment, "\n#", ""), "# ")), "  ", " ")
		if text, ok := strings.CutPrefix(comment, "-- "); ok {
			var fallback any
			if err := value.Decode(&fallback); err != nil {
				t.Fatal(err)
			}
			list = append(list, row{name, compact(t, fallback), text})
			continue
		}
		if value.Kind != yaml.MappingNode || len(value.Content) == 0 {
			t.Errorf(`values.yaml:%d: %s has no comment "# -- …"`, key.Line, name)
		}
		list = append(list, rows(t, name, value)...)
	}
	return list
}

func compact(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// values is the document of values.yaml.
func values(t *testing.T) *yaml.Node {
	t.Helper()
	text, err := os.ReadFile("signup-sheet/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var document yaml.Node
	if err := yaml.Load(text, &document); err != nil {
		t.Fatal(err)
	}
	return document.Content[0]
}

// TestReadmeListsTheValues compares the table in README.md with values.yaml. With UPDATE=1 in the environment it writes the table.
func TestReadmeListsTheValues(t *testing.T) {
	const file, begin, end = "signup-sheet/README.md", "<!-- values: made by UPDATE=1 go test ./deploy/helm -->\n", "<!-- end of values -->\n"
	var table strings.Builder
	table.WriteString("| value | default | |\n|---|---|---|\n")
	for _, r := range rows(t, "", values(t)) {
		fmt.Fprintf(&table, "| `%s` | `%s` | %s |\n", r.path, r.fallback, r.text)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(content), begin)
	_, tail, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatalf("%s has no place for the table", file)
	}
	want := head + begin + table.String() + end + tail
	switch {
	case want == string(content):
	case os.Getenv("UPDATE") == "1":
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("the table in %s is not that of values.yaml: run UPDATE=1 go test ./deploy/helm", file)
	}
}

// What values.yaml has is in the schema, and the other way round.
func TestSchemaKnowsTheValues(t *testing.T) {
	text, err := os.ReadFile("signup-sheet/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	var listed []string
	var walk func(path string, node map[string]any)
	walk = func(path string, node map[string]any) {
		if ref, ok := node["$ref"].(string); ok {
			node = schema["definitions"].(map[string]any)[strings.TrimPrefix(ref, "#/definitions/")].(map[string]any)
		}
		properties, ok := node["properties"].(map[string]any)
		if !ok || node["additionalProperties"] != false {
			listed = append(listed, path)
			return
		}
		for name, property := range properties {
			walk(strings.TrimPrefix(path+"."+name, "."), property.(map[string]any))
		}
	}
	walk("", schema)
	documented := []string{"enabled", "global"} // of parent charts
	for _, r := range rows(t, "", values(t)) {
		documented = append(documented, r.path)
	}
	// A row may stand for what is below it (strategy), and a schema for what it does not list (resources.limits).
	missing := func(from []string, path string) bool {
		return !slices.ContainsFunc(from, func(other string) bool {
			return other == path || strings.HasPrefix(path, other+".") || strings.HasPrefix(other, path+".")
		})
	}
	for _, path := range listed {
		if missing(documented, path) {
			t.Errorf("%s is in the schema, and not in values.yaml", path)
		}
	}
	for _, path := range documented {
		if missing(listed, path) {
			t.Errorf("%s is in values.yaml, and not in the schema", path)
		}
	}
}
