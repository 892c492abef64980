package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// peakRSS is the largest resident set that a process has had, in bytes. It is VmHWM of /proc/PID/status: ru_maxrss, which wait
// reports, begins with that of the process that forked.
func peakRSS(pid int) (int64, error) {
	text, err := os.ReadFile(procFile(pid, "status"))
	if err != nil {
		return 0, err
	}
	return parsePeak(text)
}

func procFile(pid int, name string) string { return filepath.Join("/proc", strconv.Itoa(pid), name) }

func parsePeak(status []byte) (int64, error) {
	for line := range bytes.Lines(status) {
		if rest, ok := bytes.CutPrefix(line, []byte("VmHWM:")); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(string(bytes.TrimSpace(rest)), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("no VmHWM in %q", status)
}

// cpuSoFar is the processor time, in user mode and in the system, of a process that runs.
func cpuSoFar(pid int) (time.Duration, error) {
	text, err := os.ReadFile(procFile(pid, "stat"))
	if err != nil {
		return 0, err
	}
	return parseCPU(text)
}

// tick is the unit of times in /proc/PID/stat: USER_HZ, which is 100 wherever Go runs.
const tick = time.Second / 100

// parseCPU adds utime and stime, the fields 14 and 15 of /proc/PID/stat. The second field is the program's name in parentheses, and
// may have blanks and parentheses itself.
func parseCPU(stat []byte) (time.Duration, error) {
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("no times in %q", stat)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("no times in %q", stat)
	}
	return time.Duration(user+system) * tick, nil
}

// connections is the number of established connections that a process has to one of so many ports.
func connections(pid int, ports map[int]bool) (int, error) {
	fds, err := filepath.Glob(procFile(pid, "fd/*"))
	if err != nil {
		return 0, err
	}
	own := map[string]bool{} // socket inodes
	for _, fd := range fds {
		target, err := os.Readlink(fd)
		if inode, ok := strings.CutPrefix(target, "socket:["); ok && err == nil {
			own[strings.TrimSuffix(inode, "]")] = true
		}
	}
	table, err := os.ReadFile(procFile(pid, "net/tcp"))
	if err != nil {
		return 0, err
	}
	n := 0
	for _, c := range parseTCP(table) {
		if own[c.inode] && ports[c.port] {
			n++
		}
	}
	return n, nil
}

// connection is an established one: the port at its other end, and the inode of its socket.
type connection struct {
	port  int
	inode string
}

// parseTCP reads /proc/PID/net/tcp: the number, the addresses of both ends (hexadecimal, with port), the state, …, the inode in the
// tenth field.
func parseTCP(table []byte) (found []connection) {
	const established = "01"
	lines := bufio.NewScanner(bytes.NewReader(table))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || fields[3] != established {
			continue
		}
		_, hex, _ := strings.Cut(fields[2], ":")
		if port, err := strconv.ParseInt(hex, 16, 32); err == nil {
			found = append(found, connection{int(port), fields[9]})
		}
	}
	return found
}
