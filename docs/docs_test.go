// Package docs_test keeps the documents true.
package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// testsByHazard finds in the doc comments of all tests which hazards they hold:
// "// Hazard 7: …" or "// Hazards 5, 19 and 21: …". It also returns the names of
// all tests and fuzz targets.
func testsByHazard(t *testing.T) (byHazard map[int][]string, all map[string]bool) {
	t.Helper()
	comment := regexp.MustCompile(`(?m)^// Hazards? ([0-9]+(?:(?:, | and )[0-9]+)*)[:,.](?:.*\n//)*.*\nfunc ((?:Test|Fuzz)\w+)`)
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	number := regexp.MustCompile(`[0-9]+`)
	byHazard, all = map[int][]string{}, map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range function.FindAllSubmatch(text, -1) {
			all[string(m[1])] = true
		}
		for _, m := range comment.FindAllSubmatch(text, -1) {
			for _, n := range number.FindAllString(string(m[1]), -1) {
				hazard, _ := strconv.Atoi(n) // digits
				byHazard[hazard] = append(byHazard[hazard], string(m[2]))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tests := range byHazard {
		slices.Sort(tests)
	}
	return byHazard, all
}

// TestReliabilityNamesTheTestsThatHoldEachHazard compares the table in
// reliability.md with the doc comments of the tests. With UPDATE=1 in the
// environment it writes the table.
func TestReliabilityNamesTheTestsThatHoldEachHazard(t *testing.T) {
	const file = "reliability.md"
	byHazard, all := testsByHazard(t)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// | 7 | what goes wrong | TestA, TestB | measured |
	row := regexp.MustCompile(`^\| ([0-9]+) \| ([^|]*) \| [^|]* \| ([^|]*) ?\|$`)
	listed := map[int]bool{}
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		m := row.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		hazard, _ := strconv.Atoi(m[1])
		listed[hazard] = true
		tests := "none yet"
		if names := byHazard[hazard]; len(names) > 0 {
			tests = "`" + strings.Join(names, "`, `") + "`"
		}
		lines[i] = "| " + m[1] + " | " + m[2] + " | " + tests + " | " + m[3] + "|"
	}
	for hazard := range byHazard {
		if !listed[hazard] {
			t.Errorf("hazard %d has tests but no row in %s", hazard, file)
		}
	}
	want := strings.Join(lines, "\n")
	if os.Getenv("UPDATE") == "1" {
		if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if string(text) != want {
		t.Errorf("the table in docs/%s is not that of the tests: run UPDATE=1 go test ./docs", file)
	}
	// What the guarantees name must exist.
	for _, name := range regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]+)`").FindAllStringSubmatch(want, -1) {
		if !all[name[1]] {
			t.Errorf("docs/%s names %s, which does not exist", file, name[1])
		}
	}
}
