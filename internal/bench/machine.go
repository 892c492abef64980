package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// machine is where and how the cells were measured. It names no host.
type machine struct {
	cpu, memory, kernel string
	load                string // average of a minute, before the start
	cores               int
	goVersion           string
	version             string // of the program
	date                time.Time
	options
}

func readMachine(ctx context.Context, o options) (machine, error) {
	m := machine{cores: runtime.NumCPU(), goVersion: runtime.Version(), date: time.Now(), options: o}
	for _, f := range []struct {
		path string
		to   *string
		find func([]byte) string
	}{
		{"/proc/cpuinfo", &m.cpu, func(text []byte) string { return field(text, "model name") }},
		{"/proc/meminfo", &m.memory, func(text []byte) string { return gibibytes(field(text, "MemTotal")) }},
		{"/proc/sys/kernel/osrelease", &m.kernel, func(text []byte) string { return string(bytes.TrimSpace(text)) }},
		{"/proc/loadavg", &m.load, func(text []byte) string { first, _, _ := strings.Cut(string(text), " "); return first }},
	} {
		text, err := os.ReadFile(f.path)
		if err != nil {
			return m, fmt.Errorf("read the machine (this needs Linux): %w", err)
		}
		*f.to = f.find(text)
	}
	version, err := exec.CommandContext(ctx, o.program, "version").Output()
	if err != nil {
		return m, fmt.Errorf("%s version: %w (make build builds it)", o.program, err)
	}
	first, _, _ := strings.Cut(string(version), "\n")
	m.version = strings.TrimPrefix(first, "signup-sheet ")
	return m, nil
}

// field is the value of the first "name : value" in a text.
func field(text []byte, name string) string {
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// gibibytes turns what /proc/meminfo says into GiB.
func gibibytes(text string) string {
	kib, err := strconv.ParseFloat(strings.TrimSuffix(text, " kB"), 64)
	if err != nil {
		return text
	}
	return fmt.Sprintf("%.0f GiB", kib/(1<<20))
}

// command is what makes the same report.
func (m machine) command() string {
	text := "make bench"
	if cells := m.cells.String(); cells != "" {
		text += " CELLS='" + cells + "'"
	}
	if m.pairs != defaultPairs {
		text += fmt.Sprintf(" PAIRS=%d", m.pairs)
	}
	return text
}
