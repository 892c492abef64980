package deploy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"signup-sheet/internal/charttest"
)

// image is what the last stage of the Dockerfile makes.
type image struct {
	root       string // a folder with the image's files
	user       string
	entrypoint []string
	command    []string
}

// stage returns the instructions of the Dockerfile's last stage: word and rest of each, joined lines.
func stage(t *testing.T) (instructions [][2]string) {
	t.Helper()
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", " ")) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case word == "" || strings.HasPrefix(word, "#"):
		case word == "FROM":
			instructions = [][2]string{{word, strings.TrimSpace(rest)}}
		default:
			instructions = append(instructions, [2]string{word, strings.TrimSpace(rest)})
		}
	}
	return instructions
}

// build makes the image's files as the Dockerfile does: the program by the same command, and trusted as the certificates to trust.
func build(t *testing.T, trusted []byte) image {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root may run a program in a root of its own")
	}
	bin := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "make", "build", "VERSION=test", "BIN="+bin)
	cmd.Dir = charttest.Root(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make build: %v\n%s", err, out)
	}
	program, err := os.ReadFile(filepath.Join(bin, "signup-sheet"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"/src/bin/signup-sheet": program, "/etc/ssl/certs/ca-certificates.crt": trusted}

	i := image{root: t.TempDir()}
	for _, instruction := range stage(t) {
		switch word, rest := instruction[0], instruction[1]; word {
		case "FROM":
			if rest != "scratch" {
				t.Fatalf("the image is made from %s, want scratch", rest)
			}
		case "COPY":
			var from, to string
			if n, err := fmt.Sscanf(rest, "--from=build %s %s", &from, &to); n != 2 || files[from] == nil {
				t.Fatalf("COPY %s: %v: not known here", rest, err)
			}
			i.write(t, to, files[from], 0o755)
		case "USER":
			i.user = rest
		case "ENTRYPOINT":
			i.entrypoint = words(t, rest)
		case "CMD":
			i.command = words(t, rest)
		case "ARG", "LABEL", "EXPOSE":
		default:
			t.Fatalf("%s: not known here", word)
		}
	}
	if !regexp.MustCompile(`^[1-9][0-9]*:[1-9][0-9]*$`).MatchString(i.user) {
		t.Fatalf("USER %s: want numbers, so that Kubernetes can tell that it is not root", i.user)
	}
	return i
}

// words reads the form of an instruction that needs no shell.
func words(t *testing.T, text string) (list []string) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return list
}

// write puts a file into the image's root.
func (i image) write(t *testing.T, path string, content []byte, mode os.FileMode) {
	t.Helper()
	path = filepath.Join(i.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, mode); err != nil {
		t.Fatal(err)
	}
}

// container is the image's program, running.
type container struct {
	ended chan struct{} // closed when it has ended
	cmd   *exec.Cmd

	mu  sync.Mutex
	out bytes.Buffer
}

func (c *container) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Write(p)
}

func (c *container) output() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.String()
}

// run starts the image's program as its user, in its root, which is read-only, with no variables but env.
func (i image) run(t *testing.T, env, args []string) *container {
	t.Helper()
	if args == nil {
		args = i.command
	}
	const script = `mount --bind --options ro "$0" "$0" && exec chroot --userspec="$1" "$0" "${@:2}"`
	c := &container{ended: make(chan struct{})}
	c.cmd = exec.CommandContext(t.Context(), "unshare", append(append([]string{"--mount", "bash", "-c", script, i.root, i.user}, i.entrypoint...), args...)...)
	c.cmd.Env = env
	c.cmd.Path = absolute(t, "unshare")
	c.cmd.Stdout, c.cmd.Stderr = c, c
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.ended)
		_ = c.cmd.Wait() // its state is looked at
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill() // it may have ended
		<-c.ended
		if t.Failed() {
			t.Logf("the container wrote:\n%s", c.output())
		}
	})
	return c
}

func absolute(t *testing.T, tool string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		t.Skipf("%s is not here", tool)
	}
	return path
}

// end waits until the program has ended and returns its exit code.
func (c *container) end(t *testing.T) int {
	t.Helper()
	select {
	case <-c.ended:
	case <-time.After(time.Minute):
		t.Fatal("not ended within a minute")
	}
	return c.cmd.ProcessState.ExitCode()
}

// stop asks the program to stop and requires that it says that all is fine.
func (c *container) stop(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := c.end(t); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
}
