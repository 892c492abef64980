package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the linker in a release (-ldflags "-X main.version=1.2.3"), which can set nothing but a variable of a package; else the
// version that the build recorded is shown.
var version string

// build is what the binary was built from.
type build struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	Commit  string `json:"commit"`
}

// readBuild reads what the Go toolchain recorded in the binary.
func readBuild() build {
	b := build{Version: version, Go: runtime.Version(), Commit: "unknown"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	if b.Version == "" {
		b.Version = info.Main.Version
	}
	if b.Version == "" || b.Version == "(devel)" {
		b.Version = "devel"
	}
	modified := false
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			modified = s.Value == "true"
		}
	}
	if modified {
		b.Commit += " with changes"
	}
	return b
}

func (b build) String() string {
	return fmt.Sprintf("signup-sheet %s\ngo           %s\ncommit       %s\n", b.Version, b.Go, b.Commit)
}
