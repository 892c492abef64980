// Kubeschemas writes JSON schemas of the kinds that the chart uses, for kubeconform, from Kubernetes' own OpenAPI:
//
//	go run ./internal/kubeschemas -o deploy/helm/testdata/schemas v1.32.0 v1.37.2
//
// Each version is that of the module k8s.io/kubernetes, which is downloaded. The schemas say what kubectl would: fields that are not
// there are an error. Descriptions are left out.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// kinds is what the chart uses: the definition in the OpenAPI by the name that kubeconform gives to its schema.
func kinds() map[string]string {
	return map[string]string{
		"configmap-v1":                  "io.k8s.api.core.v1.ConfigMap",
		"service-v1":                    "io.k8s.api.core.v1.Service",
		"serviceaccount-v1":             "io.k8s.api.core.v1.ServiceAccount",
		"deployment-apps-v1":            "io.k8s.api.apps.v1.Deployment",
		"poddisruptionbudget-policy-v1": "io.k8s.api.policy.v1.PodDisruptionBudget",
	}
}

func main() {
	out := flag.String("o", "", "folder to write to")
	flag.Parse()
	if *out == "" || flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	for _, version := range flag.Args() {
		if err := write(*out, version); err != nil {
			fmt.Fprintln(os.Stderr, "kubeschemas:", err)
			os.Exit(1)
		}
	}
}

// write writes the schemas of one version below out.
func write(out, version string) error {
	definitions, err := openAPI(version)
	if err != nil {
		return err
	}
	dir := filepath.Join(out, version)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, definition := range kinds() {
		used := map[string]any{}
		if err := reach(definitions, definition, used); err != nil {
			return err
		}
		text, err := json.Marshal(map[string]any{"$ref": "#/definitions/" + definition, "definitions": used})
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name+".json"), append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// openAPI is the definitions of a version of Kubernetes.
func openAPI(version string) (map[string]any, error) {
	cmd := exec.Command("go", "mod", "download", "-json", "k8s.io/kubernetes@"+version) //nolint:noctx // interrupted with this program
	cmd.Stderr = os.Stderr
	cmd.Dir = os.TempDir() // outside of our module, whose go.sum is not for this
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("download k8s.io/kubernetes@%s: %w", version, err)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(text, &module); err != nil {
		return nil, err
	}
	text, err = os.ReadFile(filepath.Join(module.Dir, "api", "openapi-spec", "swagger.json"))
	if err != nil {
		return nil, err
	}
	var swagger struct{ Definitions map[string]any }
	if err := json.Unmarshal(text, &swagger); err != nil {
		return nil, err
	}
	return swagger.Definitions, nil
}

// reach copies the definition called name, and all that it refers to, into used.
func reach(all map[string]any, name string, used map[string]any) error {
	if used[name] != nil {
		return nil
	}
	definition, ok := all[name].(map[string]any)
	if !ok {
		return errors.New("no definition " + name)
	}
	schema := strip(definition).(map[string]any)
	switch name {
	case "io.k8s.apimachinery.pkg.util.intstr.IntOrString":
		schema = map[string]any{"type": []string{"integer", "string"}}
	case "io.k8s.apimachinery.pkg.api.resource.Quantity":
		schema = map[string]any{"type": []string{"number", "string"}}
	}
	if schema["properties"] != nil {
		schema["additionalProperties"] = false
	}
	used[name] = schema
	for _, next := range references(schema) {
		if err := reach(all, next, used); err != nil {
			return err
		}
	}
	return nil
}

// strip copies a schema without what does not judge.
func strip(node any) any {
	switch node := node.(type) {
	case map[string]any:
		kept := map[string]any{}
		for key, value := range node {
			_, isText := value.(string)
			switch {
			case key == "description" && isText, key == "default", key == "format" && isText, strings.HasPrefix(key, "x-kubernetes-"):
			default:
				kept[key] = strip(value)
			}
		}
		return kept
	case []any:
		kept := make([]any, len(node))
		for i, value := range node {
			kept[i] = strip(value)
		}
		return kept
	}
	return node
}

// references is the names of the definitions that a schema refers to.
func references(node any) (names []string) {
	switch node := node.(type) {
	case map[string]any:
		for key, value := range node {
			if text, ok := value.(string); ok && key == "$ref" {
				names = append(names, strings.TrimPrefix(text, "#/definitions/"))
				continue
			}
			names = append(names, references(value)...)
		}
	case []any:
		for _, value := range node {
			names = append(names, references(value)...)
		}
	}
	return names
}
