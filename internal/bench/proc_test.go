package main

import (
	"net"
	"os"
	"testing"
	"time"
)

func TestProcFilesAreParsed(t *testing.T) {
	peak, err := parsePeak([]byte("Name:\tsignup-sheet\nVmPeak:\t 1234567 kB\nVmHWM:\t   40960 kB\nVmRSS:\t   30000 kB\n"))
	if err != nil || peak != 40<<20 {
		t.Error(peak, err)
	}
	if _, err := parsePeak([]byte("Name:\tx\n")); err == nil {
		t.Error("no error without VmHWM")
	}
	// A name with a blank and a parenthesis; utime 150, stime 50.
	used, err := parseCPU([]byte("4711 (a )b) S 1 4711 4711 0 -1 4194560 100 0 0 0 150 50 7 8 20 0 9 0 12345 0 0\n"))
	if err != nil || used != 2*time.Second {
		t.Error(used, err)
	}
	if _, err := parseCPU([]byte("4711 (x) S 1")); err == nil {
		t.Error("no error without times")
	}
	table := "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n" +
		"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0 0 10 0\n" +
		"   1: 0100007F:C350 0100007F:2384 01 00000000:00000000 00:00000000 00000000     0        0 222 1 0 20 4 30 10 -1\n"
	if got := parseTCP([]byte(table)); len(got) != 1 || got[0] != (connection{9092, "222"}) {
		t.Errorf("%+v", got)
	}
}

func TestOwnConnectionsAreCounted(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	for range 3 {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	if n, err := connections(os.Getpid(), map[int]bool{port: true}); err != nil || n != 3 {
		t.Error(n, err)
	}
	if n, err := connections(os.Getpid(), map[int]bool{port + 1: true}); err != nil || n != 0 {
		t.Error(n, err)
	}
}
