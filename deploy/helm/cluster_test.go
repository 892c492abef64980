package helm_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"signup-sheet/internal/charttest"
)

// cluster is a namespace of a real cluster, in which only restricted pods may run.
type cluster struct{ kubeconfig, namespace string }

// newCluster makes a namespace in the cluster that "make chart-test" was given, and removes it when the test ends.
func newCluster(t *testing.T) cluster {
	t.Helper()
	c := cluster{kubeconfig: os.Getenv("CHART_TEST_KUBECONFIG"), namespace: fmt.Sprintf("chart-test-%d", os.Getpid())}
	if c.kubeconfig == "" {
		t.Skip("no cluster: KUBECONFIG=… make chart-test tries one")
	}
	c.kubectl(t, "", "create", "namespace", c.namespace)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context()) // the test's own has ended
		out, err := exec.CommandContext(ctx, kubectlPath(), "--kubeconfig", c.kubeconfig, "delete", "namespace", c.namespace, "--timeout=2m").CombinedOutput()
		if err != nil {
			t.Errorf("delete the namespace: %v\n%s", err, out)
		}
	})
	for _, mode := range []string{"enforce", "warn", "audit"} {
		c.kubectl(t, "", "label", "namespace", c.namespace, "pod-security.kubernetes.io/"+mode+"=restricted")
	}
	return c
}

func kubectlPath() string {
	if path := os.Getenv("CHART_TEST_KUBECTL"); path != "" {
		return path
	}
	return "kubectl"
}

// run runs a tool on the cluster. What it says beside its output is a failure: a violation of Pod Security in a Deployment is no more than
// a warning.
func (c cluster) run(t *testing.T, stdin, tool string, args ...string) string {
	t.Helper()
	out, err := c.try(t, stdin, tool, args...)
	if err != nil {
		t.Fatalf("%s %s: %v", tool, strings.Join(args, " "), err)
	}
	return out
}

func (c cluster) try(t *testing.T, stdin, tool string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tool, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "KUBECONFIG=" + c.kubeconfig}
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w\n%s%s", err, stdout.String(), stderr.String())
	}
	if warnings := endOfWatch.ReplaceAllString(stderr.String(), ""); warnings != "" {
		return "", fmt.Errorf("it warns: %s", warnings)
	}
	return stdout.String(), nil
}

// endOfWatch is what Kubernetes' client logs now and then when Helm has seen what it waited for: no warning of the server.
var endOfWatch = regexp.MustCompile(`(?m)^E.*"Unexpected error when reading response body" err="context canceled"\n`)

func (c cluster) kubectl(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	return c.run(t, stdin, kubectlPath(), append([]string{"--namespace", c.namespace}, args...)...)
}

func (c cluster) helm(t *testing.T, args ...string) string {
	t.Helper()
	return c.run(t, "", charttest.Tool(t, "helm"), append([]string{"--namespace", c.namespace}, args...)...)
}

// podTemplate is the hash of the pods that the Deployment wants, all of them there and available.
func (c cluster) podTemplate(t *testing.T) string {
	t.Helper()
	c.kubectl(t, "", "rollout", "status", "deployment/signups-signup-sheet", "--timeout=2m")
	var pods struct {
		Items []struct {
			Metadata struct {
				Labels            map[string]string
				DeletionTimestamp *string
			}
		}
	}
	if err := json.Unmarshal([]byte(c.kubectl(t, "", "get", "pods", "-o", "json")), &pods); err != nil {
		t.Fatal(err)
	}
	hashes, running := map[string]bool{}, 0
	for _, p := range pods.Items {
		if p.Metadata.DeletionTimestamp == nil {
			hashes[p.Metadata.Labels["pod-template-hash"]] = true
			running++
		}
	}
	if len(hashes) != 1 || running != 2 {
		t.Fatalf("%d pods of %d templates, want 2 of 1", running, len(hashes))
	}
	for hash := range hashes {
		return hash
	}
	return ""
}

func TestAServerTakesEveryCase(t *testing.T) {
	c := newCluster(t)
	for name, values := range charttest.Cases(t) {
		t.Run(name, func(t *testing.T) {
			manifests := charttest.MustRender(t, "--values", values)
			c.kubectl(t, manifests.Text, "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-")
		})
	}
	t.Run("a misspelt field", func(t *testing.T) {
		broken := strings.Replace(mustRender(t, "").Text, "enableServiceLinks:", "enableServiceLink:", 1)
		if _, err := c.try(t, broken, kubectlPath(), "--namespace", c.namespace, "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"); err == nil {
			t.Error("the server takes a misspelt field: this test finds nothing")
		}
	})
	t.Run("a pod that is not restricted", func(t *testing.T) {
		broken := strings.Replace(mustRender(t, "").Text, "runAsNonRoot: true", "runAsNonRoot: false", 1)
		if _, err := c.try(t, broken, kubectlPath(), "--namespace", c.namespace, "apply", "--server-side", "--dry-run=server", "-f", "-"); err == nil || !strings.Contains(err.Error(), "violate PodSecurity") {
			t.Errorf("the server does not warn: this test finds nothing: %v", err)
		}
	})
}

func TestInstallUpgradeRollbackUninstall(t *testing.T) {
	c := newCluster(t)
	c.kubectl(t, "", "create", "secret", "generic", "sheet-webhook", "--from-literal=url=https://hooks.example.com/x")
	install := append([]string{"--wait", "--timeout", "2m"}, charttest.Values(t, minimal)...)

	notes := c.helm(t, append([]string{"install", "signups", "signup-sheet"}, install...)...)
	if want := "2 member(s) of the consumer group signups-signup-sheet"; !strings.Contains(notes, want) {
		t.Errorf("the notes do not say %q:\n%s", want, notes)
	}
	first := c.podTemplate(t)

	c.helm(t, append([]string{"upgrade", "signups", "signup-sheet", "--set", "config.sink.concurrency=8"}, install...)...)
	if second := c.podTemplate(t); second == first {
		t.Error("another setting did not replace the pods")
	}
	c.helm(t, "rollback", "signups", "1", "--wait", "--timeout", "2m")
	if third := c.podTemplate(t); third != first {
		t.Error("the rollback did not bring back the pods' template")
	}

	// A drain asks for evictions: the budget gives one at a time, and is never a reason for none.
	c.helm(t, append([]string{"upgrade", "signups", "signup-sheet", "--set", "replicas=1"}, install...)...)
	c.kubectl(t, "", "wait", "poddisruptionbudget/signups-signup-sheet", "--for=jsonpath={.status.expectedPods}=1", "--timeout=1m")
	c.kubectl(t, "", "wait", "poddisruptionbudget/signups-signup-sheet", "--for=jsonpath={.status.disruptionsAllowed}=1", "--timeout=1m")
	pod := strings.TrimSpace(c.kubectl(t, "", "get", "pods", "-o", "jsonpath={.items[0].metadata.name}"))
	eviction := fmt.Sprintf(`{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":%q,"namespace":%q}}`, pod, c.namespace)
	c.kubectl(t, eviction, "create", "--raw", "/api/v1/namespaces/"+c.namespace+"/pods/"+pod+"/eviction", "-f", "-")

	c.helm(t, "uninstall", "signups", "--wait", "--timeout", "2m")
	c.kubectl(t, "", "wait", "pods", "--all", "--for=delete", "--timeout=1m")
	if left := c.kubectl(t, "", "get", "all,configmaps,serviceaccounts,poddisruptionbudgets", "-l", "app.kubernetes.io/instance=signups", "-o", "name"); left != "" {
		t.Errorf("uninstalling leaves\n%s", left)
	}
}
