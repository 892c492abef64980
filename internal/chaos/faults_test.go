package chaos_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

// deliberate is a fault that is built into the program, to see whether the oracle finds it.
type deliberate struct {
	name       string
	file       string // in consumer
	old, wrong string
}

func deliberates() []deliberate {
	return []deliberate{
		{"commit ahead", "window.go", "return w.first.offset\n", "return w.next\n"},
		{"chain broken", "window.go", "if before := w.chains[e.hash]; before != nil {", "if before := w.chains[e.hash]; before != nil && before == e {"},
		{"dead letter not awaited", "session.go", "if err := c.dead.write(ctx, l); err != nil {\n\t\treturn err\n\t}", "go func() { _ = c.dead.write(ctx, l) }()"},
		{"lease ignored", "lease.go", "func newLease() *lease { return &lease{", "func newLease() *lease { return &lease{until: time.Now().Add(24 * time.Hour), "},
		{"lease too long", "committer.go", "c.lease.renew(at.Add(c.cfg.SessionTimeout))", "c.lease.renew(at.Add(10 * c.cfg.SessionTimeout))"},
		{"last commit skipped", "session.go", "err = s.committer.last(last)", "_ = last"},
		{"metadata misapplied", "window.go", "w.restored.add(s.from, s.to)", "w.restored.add(s.from+1, s.to+1)"},
		{"dead letter twice", "session.go", "if err := c.dead.write(ctx, l); err != nil {", "_ = c.dead.write(ctx, l)\n\tif err := c.dead.write(ctx, l); err != nil {"},
		{"one completion a commit", "metadata.go", "end, some = r.to, true", "end, some = r.to, true\n\t\tbreak"},
		{"drain skipped", "session.go", "go func() { s.pool.done.Wait(); close(workers) }()", "close(workers)"},
	}
}

// TestTheOracleFindsDeliberateFaults builds each fault into the program and has chaos find it within 20 seeds. Without
// CHAOS_FAULTS=1, which make chaos-faults sets, it only looks whether the faults can still be built in.
func TestTheOracleFindsDeliberateFaults(t *testing.T) {
	for _, d := range deliberates() {
		t.Run(strings.ReplaceAll(d.name, " ", "-"), func(t *testing.T) {
			file, err := filepath.Abs(filepath.Join("..", "..", "consumer", d.file))
			if err != nil {
				t.Fatal(err)
			}
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(source), d.old); n != 1 {
				t.Fatalf("%s has %d times %q, want once: the fault has to be written anew", d.file, n, d.old)
			}
			if os.Getenv("CHAOS_FAULTS") != "1" {
				return
			}
			wrong := filepath.Join(t.TempDir(), d.file)
			if err := os.WriteFile(wrong, []byte(strings.Replace(string(source), d.old, d.wrong, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			seed, out := find(t, file, wrong)
			if seed == "" {
				t.Errorf("not found within 20 seeds:\n%s", out)
				return
			}
			t.Logf("%s: found by %s: %s", d.name, seed, out)
		})
	}
}

// find runs chaos on the program in which one file is another, and returns what found a fault and what it said.
func find(t *testing.T, file, instead string) (seed, says string) {
	t.Helper()
	overlay := filepath.Join(t.TempDir(), "overlay.json")
	text, err := json.Marshal(map[string]map[string]string{"Replace": {file: instead}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"VirtualTime", "Processes"} {
		cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-failfast", "-timeout", "9m", "-run", "TestChaos.*"+kind, ".")
		cmd.Env = append(os.Environ(), "GOFLAGS=-overlay="+overlay, "CHAOS_SEEDS=20", "CHAOS_SEED=", "CHAOS_FAULTS=")
		out, err := cmd.CombinedOutput()
		if err == nil {
			continue
		}
		found := regexp.MustCompile(`--- FAIL: (TestChaos\w+/seed-\d+)`).FindSubmatch(out)
		wrong := regexp.MustCompile(`(?m)things are wrong:\n\s*(.*)$`).FindSubmatch(out)
		if found == nil || wrong == nil {
			return "", fmt.Sprintf("it did not fail as it should: %s", out[max(0, len(out)-4000):])
		}
		return string(found[1]), string(wrong[1])
	}
	return "", ""
}
