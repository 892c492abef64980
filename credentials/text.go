// Package credentials reads secrets and certificates from files at the moment they are used, so that a rotation needs
// neither a watcher nor a restart, and asks for tokens with them. It does not know what they are for. Its errors name
// files, never what is in them.
package credentials

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// maxSize is how much of a file is read, in bytes.
const maxSize = 1 << 20

// Text is the path of a file that holds one line of text: a password, a token, a URL.
type Text string

// Read returns the line that is in the file now, without the line break at its end, and without the mark of UTF-8 that
// editors on Windows put before it. No line, or more than one, is an
// error: the file is being written, or is another one than was meant.
func (t Text) Read() (string, error) {
	content, err := read(string(t))
	if err != nil {
		return "", err
	}
	line := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	switch {
	case line == "":
		return "", fmt.Errorf("%s is empty", shown(string(t)))
	case strings.ContainsAny(line, "\r\n\x00"):
		return "", fmt.Errorf("%s holds more than one line of text", shown(string(t)))
	}
	return line, nil
}

// Lines returns the lines that are in the file now, each without the blanks around it, and without those that are empty.
// No line at all is an error.
func (t Text) Lines() ([]string, error) {
	content, err := read(string(t))
	if err != nil {
		return nil, err
	}
	var lines []string
	for line := range strings.Lines(string(content)) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	switch {
	case len(lines) == 0:
		return nil, fmt.Errorf("%s is empty", shown(string(t)))
	case strings.ContainsRune(string(content), 0):
		return nil, fmt.Errorf("%s does not hold text", shown(string(t)))
	}
	return lines, nil
}

// read returns what is in a small file, behind a byte order mark.
func read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file that can be read again and again", shown(path)) // a pipe, even for ever
	}
	file, err := os.Open(path) //nolint:gosec // the operator names the file
	if err == nil {
		defer file.Close()
		var content []byte
		if content, err = io.ReadAll(io.LimitReader(file, maxSize+1)); err == nil {
			if len(content) > maxSize {
				return nil, fmt.Errorf("%s is larger than %d bytes", shown(path), maxSize)
			}
			return bytes.TrimPrefix(content, []byte("\ufeff")), nil
		}
	}
	if detail, ok := errors.AsType[*fs.PathError](err); ok {
		err = detail.Err // the path is shown only if it is one
	}
	return nil, fmt.Errorf("read %s: %w", shown(path), err)
}

// shown is a path as errors show it. What does not begin like one may be the secret itself, in the wrong place.
func shown(path string) string {
	if strings.HasPrefix(path, "/") || strings.HasPrefix(path, ".") {
		return path
	}
	return "the file"
}
