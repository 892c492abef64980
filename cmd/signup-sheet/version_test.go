package main

import (
	"runtime"
	"strings"
	"testing"
)

func TestVersionNamesGoAndNeverIsEmpty(t *testing.T) {
	b := readBuild()
	if b.Version == "" || b.Commit == "" || b.Go != runtime.Version() || strings.Contains(b.Version, "(") {
		t.Errorf("%+v", b)
	}
}
