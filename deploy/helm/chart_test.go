// Package helm_test holds the chart to what it promises.
package helm_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"signup-sheet/internal/charttest"
)

// kubernetesVersions are those whose schemas are in testdata: the oldest that Chart.yaml allows, and the newest.
func kubernetesVersions() []string { return []string{"1.32.0", "1.37.2"} }

// minimal is the least that an installation needs.
const minimal = `
config: {kafka: {brokers: ["kafka-1:9092"]}}
secrets: {sink: {url_file: {existingSecret: sheet-webhook}}}
`

// render renders the minimal installation with more values.
func render(t *testing.T, values string, args ...string) (charttest.Manifests, error) {
	t.Helper()
	return charttest.Render(t, slices.Concat(charttest.Values(t, minimal), charttest.Values(t, values), args)...)
}

func mustRender(t *testing.T, values string, args ...string) charttest.Manifests {
	t.Helper()
	m, err := render(t, values, args...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// command runs a tool and returns what it wrote, in the order in which it did.
func command(t *testing.T, stdin, path string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// The values of the chart alone are no installation, but nothing is wrong with them either.
func TestLintFindsNothing(t *testing.T) {
	helm, chart := charttest.Tool(t, "helm"), filepath.Join(charttest.Root(t), charttest.Chart)
	cases := charttest.Cases(t)
	cases["defaults"] = filepath.Join(chart, "values.yaml")
	for name, values := range cases {
		t.Run(name, func(t *testing.T) {
			out, err := command(t, "", helm, "lint", "--strict", "--quiet", "--kube-version", "1.37.0", "--values", values, chart)
			if err != nil || strings.Contains(out, "[WARNING]") {
				t.Errorf("helm lint: %v\n%s", err, out)
			}
		})
	}
}

// conform judges manifests by the schemas of a version of Kubernetes.
func conform(t *testing.T, version, manifests string) (string, error) {
	t.Helper()
	return command(t, manifests, charttest.Tool(t, "kubeconform"), "-strict", "-summary", "-kubernetes-version", version,
		"-schema-location", "testdata/schemas/{{.NormalizedKubernetesVersion}}/{{.ResourceKind}}{{.KindSuffix}}.json", "-")
}

func TestManifestsConformToKubernetes(t *testing.T) {
	for name, values := range charttest.Cases(t) {
		manifests := charttest.MustRender(t, "--values", values)
		for _, version := range kubernetesVersions() {
			t.Run(name+"/"+version, func(t *testing.T) {
				out, err := conform(t, version, manifests.Text)
				if err != nil || !strings.Contains(out, fmt.Sprintf("Valid: %d, Invalid: 0, Errors: 0, Skipped: 0", len(manifests.Objects))) {
					t.Errorf("kubeconform: %v\n%s", err, out)
				}
			})
		}
	}
}

// The schemas find what the server would only ignore.
func TestAMisspeltFieldDoesNotConform(t *testing.T) {
	text := mustRender(t, "").Text
	for right, wrong := range map[string]string{
		"enableServiceLinks:":          "enableServiceLink:",
		"replicas: 2":                  `replicas: "2"`,
		"unhealthyPodEvictionPolicy:":  "unhealthyPodsEvictionPolicy:",
		"publishNotReadyAddresses:":    "publishNotReadyAddress:",
		"automountServiceAccountToken": "automountServiceAccountTokens",
	} {
		broken := strings.Replace(text, right, wrong, 1)
		if broken == text {
			t.Fatalf("the manifests have no %q", right)
		}
		for _, version := range kubernetesVersions() {
			if out, err := conform(t, version, broken); err == nil {
				t.Errorf("%s: %q is not found:\n%s", version, wrong, out)
			}
		}
	}
}

// pod returns what is at a path in the pod's spec.
func pod(m charttest.Manifests, path ...any) any {
	return m.Objects["Deployment"].At(slices.Concat([]any{"spec", "template", "spec"}, path)...)
}

func container(m charttest.Manifests, path ...any) any {
	return pod(m, slices.Concat([]any{"containers", 0}, path)...)
}

// equal compares as fmt prints, so that a number is a number, whatever its type in Go.
func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted and what it does not ask for.
func TestPodsAreRestricted(t *testing.T) {
	for name, values := range charttest.Cases(t) {
		t.Run(name, func(t *testing.T) {
			m := charttest.MustRender(t, "--values", values)
			equal(t, "runAsNonRoot", pod(m, "securityContext", "runAsNonRoot"), true)
			equal(t, "seccompProfile", pod(m, "securityContext", "seccompProfile", "type"), "RuntimeDefault")
			equal(t, "allowPrivilegeEscalation", container(m, "securityContext", "allowPrivilegeEscalation"), false)
			equal(t, "capabilities", container(m, "securityContext", "capabilities"), "map[drop:[ALL]]")
			equal(t, "readOnlyRootFilesystem", container(m, "securityContext", "readOnlyRootFilesystem"), true)
			equal(t, "automountServiceAccountToken", pod(m, "automountServiceAccountToken"), false)
			equal(t, "enableServiceLinks", pod(m, "enableServiceLinks"), false)
			// A platform that assigns users refuses a fixed one.
			equal(t, "runAsUser", pod(m, "securityContext", "runAsUser"), nil)
		})
	}
}

func TestSecretsAreFilesThatFollowTheirSecret(t *testing.T) {
	m := charttest.MustRender(t, "--values", charttest.Cases(t)["mutual-tls"])
	var got []string
	sources, _ := pod(m, "volumes", 1, "projected", "sources").([]any)
	for i := range sources {
		at := func(path ...any) any {
			return pod(m, slices.Concat([]any{"volumes", 1, "projected", "sources", i, "secret"}, path)...)
		}
		got = append(got, fmt.Sprintf("%v/%v as %v", at("name"), at("items", 0, "key"), at("items", 0, "path")))
	}
	equal(t, "files", strings.Join(got, "\n"), strings.Join([]string{
		"agify/key as agify.api_key_file",
		"signup-sheet-kafka/ca.crt as kafka.tls.ca_file",
		"signup-sheet-kafka/tls.crt as kafka.tls.certificate_file",
		"signup-sheet-kafka/tls.key as kafka.tls.key_file",
		"sheet-webhook/url as sink.url_file",
	}, "\n"))
	equal(t, "mount", container(m, "volumeMounts", 1), "map[mountPath:/etc/signup-sheet/secrets name:secrets readOnly:true]")
	if strings.Contains(m.Text, "subPath:") {
		t.Error("a file that is mounted with subPath does not follow its Secret")
	}
	if config := m.Config(t); !strings.Contains(config, "key_file: /etc/signup-sheet/secrets/kafka.tls.key_file\n") {
		t.Errorf("the program is not told of its files:\n%s", config)
	}
}

func TestAChangedSettingReplacesThePods(t *testing.T) {
	template := func(values string) string {
		return fmt.Sprint(mustRender(t, values).Objects["Deployment"].At("spec", "template"))
	}
	before := template("")
	for what, values := range map[string]string{
		"setting": "config: {sink: {concurrency: 8}}",
		"Secret":  "secrets: {sink: {url_file: {existingSecret: other}}}",
		"image":   "image: {tag: other}",
	} {
		if template(values) == before {
			t.Errorf("another %s does not replace the pods", what)
		}
	}
	if template("replicas: 7") != before {
		t.Error("another number of replicas replaces the pods that are there")
	}
}

func TestTwoReleasesAreTwoGroups(t *testing.T) {
	for args, want := range map[string]string{
		"":                                "signups-signup-sheet",
		"fullnameOverride=sheet":          "sheet",
		"config.kafka.group=sheet-of-all": "sheet-of-all",
	} {
		m := mustRender(t, "", "--set", args)
		if config := m.Config(t); !strings.Contains(config, "\n  group: "+want+"\n") {
			t.Errorf("--set %q: want the group %s in\n%s", args, want, config)
		}
	}
}

func TestProbesFollowTheAdminServer(t *testing.T) {
	for values, port := range map[string]int{"": 8080, `config: {admin: {listen: ":9090"}}`: 9090, `config: {admin: {listen: "0.0.0.0:81"}}`: 81} {
		m := mustRender(t, values)
		equal(t, "container's port", container(m, "ports", 0), fmt.Sprintf("map[containerPort:%d name:http]", port))
		equal(t, "Service's port", m.Objects["Service"].At("spec", "ports", 0), fmt.Sprintf("map[name:http port:%d targetPort:http]", port))
		equal(t, "liveness", container(m, "livenessProbe", "httpGet"), "map[path:/livez port:http]")
		equal(t, "startup", container(m, "startupProbe", "httpGet"), "map[path:/livez port:http]")
		equal(t, "readiness", container(m, "readinessProbe", "httpGet"), "map[path:/readyz port:http]")
	}
}

func TestGoKeepsBelowTheMemoryLimit(t *testing.T) {
	for limit, want := range map[string]string{
		"256Mi": "241591910", "1Gi": "966367641", "1.5Gi": "1449551462", "200M": "180000000", "300000k": "270000000",
		"268435456": "241591910", `"268435456"`: "241591910",
	} {
		m := mustRender(t, "resources: {limits: {memory: "+limit+"}}")
		equal(t, limit, container(m, "env", 0), "map[name:GOMEMLIMIT value:"+want+"]")
	}
	equal(t, "without limit", container(mustRender(t, "resources: {limits: null}"), "env"), nil)
}

// A budget that allows no disruption blocks node drains for ever.
func TestADrainIsNeverBlocked(t *testing.T) {
	m := mustRender(t, "replicas: 1")
	equal(t, "maxUnavailable", m.Objects["PodDisruptionBudget"].At("spec", "maxUnavailable"), 1)
	equal(t, "minAvailable", m.Objects["PodDisruptionBudget"].At("spec", "minAvailable"), nil)
	equal(t, "members that are not ready", m.Objects["PodDisruptionBudget"].At("spec", "unhealthyPodEvictionPolicy"), "AlwaysAllow")
}

// Names of a release and overrides meet Kubernetes' bounds.
func TestLongNamesAreCut(t *testing.T) {
	m := mustRender(t, "", "--set", "fullnameOverride="+strings.Repeat("long-", 20))
	for kind, object := range m.Objects {
		name, _ := object.At("metadata", "name").(string)
		if len(name) > 63 || strings.HasSuffix(name, "-") {
			t.Errorf("%s is called %q", kind, name)
		}
	}
}

func TestParentChartsMayUseIt(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("Chart.yaml", "apiVersion: v2\nname: parent\nversion: 1.0.0\ndependencies:\n  - {name: signup-sheet, version: '*', condition: signup-sheet.enabled}\n")
	write("values.yaml", `
global: {region: eu}
signup-sheet:
  enabled: true
  config: {kafka: {brokers: ["kafka-1:9092"]}}
  secrets: {sink: {url_file: {existingSecret: sheet-webhook}}}
`)
	if err := os.CopyFS(filepath.Join(dir, "charts", "signup-sheet"), os.DirFS("signup-sheet")); err != nil {
		t.Fatal(err)
	}
	if out, err := command(t, "", charttest.Tool(t, "helm"), "template", dir, "--kube-version", "1.37.0"); err != nil || !strings.Contains(out, "kind: Deployment") {
		t.Errorf("%v\n%s", err, out)
	}
}
