package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// documents returns the text of every Markdown file by its path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && path != ".." && (strings.HasPrefix(name, ".") || name == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".md" {
			return nil
		}
		text, err := os.ReadFile(path)
		found[path] = string(text)
		return err
	})
	if err != nil || len(found) < 5 {
		t.Fatalf("%d documents: %v", len(found), err)
	}
	return found
}

// TestLinksLeadSomewhere follows the links between files, and to their headings.
func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for path, text := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			file, heading, _ := strings.Cut(m[1], "#")
			target := path
			if file != "" {
				target = filepath.Join(filepath.Dir(path), file)
			}
			there, err := os.ReadFile(target)
			switch info, statErr := os.Stat(target); {
			case statErr != nil:
				t.Errorf("%s: (%s) leads nowhere", path, m[1])
			case info.IsDir() || heading == "":
			case err != nil:
				t.Error(err)
			case !hasHeading(string(there), heading):
				t.Errorf("%s: (%s) has no such heading", path, m[1])
			}
		}
	}
}

// hasHeading reports whether a document has a heading with this anchor, made as GitHub makes it.
func hasHeading(text, anchor string) bool {
	dropped := regexp.MustCompile(`[^\p{L}\p{N}\- _]`)
	for line := range strings.Lines(text) {
		if heading, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && strings.HasPrefix(line, "#") {
			made := strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(strings.TrimSpace(heading)), ""), " ", "-")
			if made == anchor {
				return true
			}
		}
	}
	return false
}

// TestDocumentsNameTargetsThatExist: "make something" at the start of a line of code, or in back quotes.
func TestDocumentsNameTargetsThatExist(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	use := regexp.MustCompile("(?m)(?:^    |`)make ([a-z][a-z-]*)")
	for path, text := range documents(t) {
		for _, m := range use.FindAllStringSubmatch(text, -1) {
			if !regexp.MustCompile(`(?m)^` + m[1] + `:`).Match(makefile) {
				t.Errorf("%s: the Makefile has no target %s", path, m[1])
			}
		}
	}
}
