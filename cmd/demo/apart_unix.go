//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// apart keeps the terminal's Ctrl-C from the process: the demo decides when it stops.
func apart(process *exec.Cmd) { process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
