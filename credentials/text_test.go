package credentials_test

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"signup-sheet/credentials"
	"signup-sheet/internal/certificates"
)

func TestATextIsReadAnewWithoutItsLineBreak(t *testing.T) {
	dir := t.TempDir()
	for content, want := range map[string]string{
		"secret": "secret", "secret\n": "secret", "secret\r\n": "secret", " a b \n": " a b ", "\ufeffsecret\r\n": "secret", "ünï": "ünï",
	} {
		path := certificates.Write(t, dir, "password", []byte(content))
		got, err := credentials.Text(path).Read()
		if err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", content, got, err, want)
		}
	}
}

func TestATextThatCannotBeUsedIsAnErrorWithoutIt(t *testing.T) {
	const marker = "S3CR3T"
	dir := t.TempDir()
	pipe := dir + "/pipe"
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	file := func(content string) string { return certificates.Write(t, dir, "password", []byte(content)) }
	for _, c := range []struct{ name, path, content, want string }{
		{"empty", "", "", " is empty"},
		{"only a byte order mark", "", "\ufeff\r\n", " is empty"},
		{"only a line break", "", "\n", " is empty"},
		{"two lines", "", marker + "\n" + marker, " holds more than one line of text"},
		{"a second line break", "", marker + "\n\n", " holds more than one line of text"},
		{"binary", "", marker + "\x00", " holds more than one line of text"},
		{"too large", "", strings.Repeat(marker, 200_000), " is larger than 1048576 bytes"},
		{"missing", dir + "/missing", "", "read " + dir + "/missing: no such file or directory"},
		{"a directory", dir, "", dir + " is no file that can be read again and again"},
		{"a pipe that nobody writes to", pipe, "", "read again and again"},
		{"a password instead of its file", marker + "/x", "", "read the file: no such file or directory"},
		{"a secret instead of its file", "https://example.com/" + marker, "", "read the file: no such file or directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := c.path
			if path == "" {
				path = file(c.content)
			}
			got, err := credentials.Text(path).Read()
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), marker) {
				t.Errorf("%q, %v, want an error with %q", got, err, c.want)
			}
		})
	}
}

func TestATextThatMayNotBeReadIsNamed(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may read everything")
	}
	path := certificates.Write(t, t.TempDir(), "password", []byte("x"))
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := credentials.Text(path).Read(); err == nil || !strings.HasSuffix(err.Error(), path+": permission denied") {
		t.Error(err)
	}
}
