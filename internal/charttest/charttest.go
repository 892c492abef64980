// Package charttest renders the Helm chart for tests.
package charttest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// Chart is the chart's folder, from the repository's root.
const Chart = "deploy/helm/signup-sheet"

// Root is the folder of the repository.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test's folder")
		}
		dir = parent
	}
}

// Tool is the path of a program that "make chart-test" builds. Without it the test is skipped.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(Root(t), ".tools", "bin", name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("%s is not built: make chart-test builds it", name)
	}
	return path
}

// Object is an object of Kubernetes as Helm writes it.
type Object map[string]any

// At is what is found by keys and by indices of lists; nil if it is not there.
func (o Object) At(path ...any) any {
	node := any(map[string]any(o))
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := node.(map[string]any)
			node = m[step]
		case int:
			l, _ := node.([]any)
			if step >= len(l) {
				return nil
			}
			node = l[step]
		}
	}
	return node
}

// Manifests is what Helm writes for a release.
type Manifests struct {
	Text    string
	Objects map[string]Object // by kind: there is one of each
}

// Render renders the chart as release "signups" in the namespace "sales", with more arguments for "helm template". The error is what Helm
// says.
func Render(t testing.TB, args ...string) (Manifests, error) {
	t.Helper()
	args = append([]string{"template", "signups", filepath.Join(Root(t), Chart), "--namespace", "sales", "--kube-version", "1.37.0"}, args...)
	cmd := exec.CommandContext(t.Context(), Tool(t, "helm"), args...)
	// Nothing of the user's: neither plugins nor a cluster.
	home := t.TempDir()
	cmd.Env = []string{"HOME=" + home, "KUBECONFIG=" + filepath.Join(home, "none")}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return Manifests{}, fmt.Errorf("%w: %s", err, stderr.String())
	}
	m := Manifests{Text: stdout.String(), Objects: map[string]Object{}}
	documents, err := yaml.NewLoader(&stdout)
	if err != nil {
		t.Fatal(err)
	}
	for {
		var o map[string]any
		if err := documents.Load(&o); errors.Is(err, io.EOF) {
			return m, nil
		} else if err != nil {
			t.Fatalf("helm wrote what is no YAML: %v\n%s", err, m.Text)
		}
		kind, _ := o["kind"].(string)
		if m.Objects[kind] != nil {
			t.Fatalf("helm wrote two objects of kind %s:\n%s", kind, m.Text)
		}
		m.Objects[kind] = o
	}
}

// MustRender renders the chart and ends the test if that fails.
func MustRender(t testing.TB, args ...string) Manifests {
	t.Helper()
	m, err := Render(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Config is the program's YAML in the ConfigMap.
func (m Manifests) Config(t testing.TB) string {
	t.Helper()
	text, _ := m.Objects["ConfigMap"].At("data", "config.yaml").(string)
	if text == "" {
		t.Fatalf("no config.yaml in the ConfigMap:\n%s", m.Text)
	}
	return text
}

// Values writes a values file and returns the arguments of Helm that name it.
func Values(t testing.TB, text string) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(path, []byte(strings.TrimPrefix(text, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"--values", path}
}

// Cases are values files that must work, by name.
func Cases(t testing.TB) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(Root(t), "deploy/helm/testdata/cases/*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	cases := map[string]string{}
	for _, path := range paths {
		cases[strings.TrimSuffix(filepath.Base(path), ".yaml")] = path
	}
	return cases
}
