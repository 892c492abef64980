// Package deploy_test runs what the image holds, where there is nothing but what the image holds.
package deploy_test

import (
	"context"
	"debug/elf"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"signup-sheet/internal/charttest"
	"signup-sheet/internal/kafkatest"
	"signup-sheet/internal/ports"
	"signup-sheet/internal/receiver"
)

// scene is what a container needs to see: a Kafka with a signup, and a webhook.
type scene struct {
	brokers string
	topic   string
	sheet   *receiver.Receiver
	webhook string
	trusted []byte // the certificate of the webhook, PEM
}

func newScene(t *testing.T) scene {
	t.Helper()
	cluster := kafkatest.Start(t)
	s := scene{brokers: strings.Join(cluster.Addrs(), ","), topic: kafkatest.UniqueName(t), sheet: receiver.New()}
	cluster.CreateTopic(t, s.topic, 1, nil)
	cluster.CreateTopic(t, s.topic+".dlq", 1, nil)
	cluster.Produce(t, s.topic, &kgo.Record{Value: []byte(`{"id":"one","email":"ann@example.com"}`)})
	server := httptest.NewTLSServer(s.sheet)
	t.Cleanup(server.Close)
	s.webhook = server.URL + "/rows"
	s.trusted = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return s
}

// delivered waits until the row is in the sheet.
func (s scene) delivered(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("a minute is over"))
	defer cancel()
	if err := s.sheet.Wait(ctx, receiver.Rows(1)); err != nil {
		t.Fatal(err)
	}
}

func TestImageDeliversWithNothingButItself(t *testing.T) {
	s := newScene(t)
	i := build(t, s.trusted)

	program, err := elf.Open(filepath.Join(i.root, i.entrypoint[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("the program has a segment %v: it is not static", p.Type)
		}
	}

	version := i.run(t, nil, []string{"version"})
	if code := version.end(t); code != 0 || !strings.Contains(version.output(), "signup-sheet test\n") {
		t.Errorf("version: exit code %d: %s", code, version.output())
	}
	c := i.run(t, []string{
		"SHEETS_WEBHOOK_URL=" + s.webhook, "SIGNUP_SHEET_KAFKA_BROKERS=" + s.brokers, "SIGNUP_SHEET_KAFKA_TOPIC=" + s.topic,
		"SIGNUP_SHEET_ADMIN_LISTEN=127.0.0.1:0", "SIGNUP_SHEET_AGIFY_ENABLED=false",
	}, nil)
	s.delivered(t)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	user, _, _ := strings.Cut(i.user, ":")
	if err != nil || !strings.Contains(string(status), "\nUid:\t"+strings.Join([]string{user, user, user, user}, "\t")+"\n") {
		t.Errorf("the program does not run as user %s: %v\n%s", user, err, status)
	}
	c.stop(t)
}

// The pod that the chart describes: arguments, variables and mounted files.
func TestPodDelivers(t *testing.T) {
	s := newScene(t)
	port := ports.Reserve(t).Number
	values := charttest.Values(t, fmt.Sprintf(`
config:
  kafka: {brokers: %q, topic: %s}
  admin: {listen: ":%d"}
  agify: {enabled: false}
secrets: {sink: {url_file: {existingSecret: sheet-webhook}}}
`, s.brokers, s.topic, port))
	m := charttest.MustRender(t, values...)
	i := build(t, s.trusted)

	pod := func(path ...any) any {
		return m.Objects["Deployment"].At(append([]any{"spec", "template", "spec"}, path...)...)
	}
	secrets := map[string]string{"sheet-webhook/url": s.webhook + "\n"}
	mounts, _ := pod("containers", 0, "volumeMounts").([]any)
	for n := range mounts {
		path, _ := pod("containers", 0, "volumeMounts", n, "mountPath").(string)
		if name := pod("volumes", n, "name"); name != pod("containers", 0, "volumeMounts", n, "name") {
			t.Fatalf("volumes and mounts in different orders: %v", name)
		}
		if pod("volumes", n, "configMap", "name") == m.Objects["ConfigMap"].At("metadata", "name") {
			i.write(t, filepath.Join(path, "config.yaml"), []byte(m.Config(t)), 0o644)
		}
		sources, _ := pod("volumes", n, "projected", "sources").([]any)
		for k := range sources {
			secret := func(path ...any) any {
				return pod(append([]any{"volumes", n, "projected", "sources", k, "secret"}, path...)...)
			}
			content := secrets[fmt.Sprintf("%v/%v", secret("name"), secret("items", 0, "key"))]
			i.write(t, filepath.Join(path, fmt.Sprint(secret("items", 0, "path"))), []byte(content), 0o644)
		}
	}
	var args, env []string
	for _, arg := range pod("containers", 0, "args").([]any) {
		args = append(args, fmt.Sprint(arg))
	}
	variables, _ := pod("containers", 0, "env").([]any)
	for n := range variables {
		env = append(env, fmt.Sprintf("%v=%v", pod("containers", 0, "env", n, "name"), pod("containers", 0, "env", n, "value")))
	}

	c := i.run(t, env, args)
	s.delivered(t)
	for _, probe := range []string{"startupProbe", "livenessProbe", "readinessProbe"} {
		path, _ := pod("containers", 0, probe, "httpGet", "path").(string)
		if status, body := get(t, fmt.Sprintf("http://127.0.0.1:%v%s", pod("containers", 0, "ports", 0, "containerPort"), path)); status != http.StatusOK {
			t.Errorf("%s: status %d: %s", probe, status, body)
		}
	}
	c.stop(t)
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// Releases build with the Go that go.mod asks for, and the Dockerfile's user is the one that the chart counts on: a number.
func TestDockerfileBuildsWithTheGoOfTheModule(t *testing.T) {
	module, err := os.ReadFile(filepath.Join(charttest.Root(t), "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	docker, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	minor := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(module)
	if want := fmt.Sprintf("golang:%s AS build", minor[1]); !strings.Contains(string(docker), want) {
		t.Errorf("the Dockerfile has no %q, the Go of go.mod", want)
	}
}
