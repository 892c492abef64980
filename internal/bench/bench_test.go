package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"signup-sheet/consumer/signup"
)

// The test's binary plays the roles too, when a test starts it so.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		if err := command(ctx, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func TestMedianIsTheMiddle(t *testing.T) {
	for _, c := range []struct {
		of   series
		want float64
	}{
		{nil, 0}, {series{3}, 3}, {series{9, 1, 5}, 5}, {series{4, 1, 2, 100}, 3},
	} {
		if got := c.of.median(); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.of, got, c.want)
		}
	}
}

func TestRatiosAreTakenPairByPair(t *testing.T) {
	// The medians' ratio would be 1.
	got := ratios(series{10, 20, 30}, series{20, 10, 60})
	if len(got) != 3 || got[0] != 0.5 || got[1] != 2 || got[2] != 0.5 || got.median() != 0.5 {
		t.Errorf("%v", got)
	}
	if got := ratios(series{1}, series{0}); got[0] != 0 {
		t.Errorf("%v", got)
	}
}

func TestBoundIsForTheRatiosMedianOrTheHighestValue(t *testing.T) {
	var r row
	r.bounds = []bound{{of: rate, atLeast: 0.97}, {of: memory, atMost: 1.10}, {of: memory, absolute: true, atMost: 64}}
	r.yardsticks[rate], r.values[rate] = series{100, 100, 100}, series{50, 97, 99}
	r.yardsticks[memory], r.values[memory] = series{40, 40, 40}, series{41, 44, 65}
	if required, verdict := judge(r, rate); required != "≥ 0.97" || verdict != "met" {
		t.Error(required, verdict)
	}
	if required, verdict := judge(r, memory); required != "≤ 1.10, ≤ 64 MiB" || verdict != "**not met**" {
		t.Error(required, verdict)
	}
	r.values[memory] = series{41, 44, 45}
	if _, verdict := judge(r, memory); verdict != "met" {
		t.Error(verdict)
	}
	r.values[rate] = series{50, 96, 99}
	if _, verdict := judge(r, rate); verdict != "**not met**" {
		t.Error(verdict)
	}
	if required, verdict := judge(r, cpu); required != "" || verdict != "" {
		t.Error(required, verdict)
	}
}

func TestIdleConnectionsMayNotGrowWithPartitions(t *testing.T) {
	few := idleRun{partitions: 6, brokers: 3, connections: 9}
	for _, c := range []struct {
		connections int
		cpu         float64
		verdict     string
	}{
		{9, 0.3, "met"}, {12, 2.9, "met"}, {13, 0.3, "**not met**"}, {9, 3, "**not met**"},
	} {
		many := idleRun{partitions: 200, brokers: 3, connections: c.connections, cpu: c.cpu}
		if required, verdict := judgeIdle(many, []idleRun{few, many}); required != "< 3 %, ≤ 12 connections" || verdict != c.verdict {
			t.Errorf("%+v: %s %s", c, required, verdict)
		}
	}
}

func TestRateLeavesOutTheLastHundredth(t *testing.T) {
	r := newRun(behaviour{Expect: 1000})
	start := time.Now()
	for i := range 1000 {
		at := start.Add(time.Duration(i) * time.Millisecond)
		if i >= 990 {
			at = at.Add(time.Hour) // stragglers
		}
		r.accept(at)
	}
	select {
	case <-r.complete:
	default:
		t.Error("not complete")
	}
	if got := r.tally(); got.Accepted != 1000 || got.Counted != 990 || math.Abs(got.rate()-1000) > 0.01 {
		t.Errorf("%+v, %.2f a second", got, got.rate())
	}
	r.accept(start) // one too many is counted, and hurts nobody
	if got := r.tally(); got.Accepted != 1001 || got.Counted != 990 {
		t.Errorf("%+v", got)
	}
	for rows, want := range map[int]int{1: 1, 2: 2, 50: 50, 420: 416} {
		if got := counted(rows); got != want {
			t.Errorf("counted(%d) is %d, want %d", rows, got, want)
		}
	}
}

func TestOneRequestInSoManyIsAStraggler(t *testing.T) {
	r := newRun(behaviour{Latency: 1, SlowEvery: 400, Slow: 2})
	slow := 0
	for range 4000 {
		if r.latency() == 2 {
			slow++
		}
	}
	if slow != 10 {
		t.Errorf("%d, want 10", slow)
	}
}

func TestLoadsAreWhatTheySay(t *testing.T) {
	decoder := signup.NewDecoder(signup.Limits{})
	for _, c := range []struct {
		load           load
		poison         int
		onUser         int // at least, records of the first user
		shortest, most int // bytes of a value that is good
	}{
		{load{records: 5000}, 0, 0, 290, 400},
		{load{records: 5000, poisonEvery: 100}, 50, 0, 290, 400},
		{load{records: 2000, spareEvery: 20}, 0, 1900, 290, 400},
		{load{records: 10, bytes: 1<<20 - 4096}, 0, 0, 1<<20 - 4096, 1<<20 - 4096},
	} {
		poison, onUser, total := 0, 0, 0
		keys, ids := map[string]bool{}, map[string]bool{}
		for r := range c.load.all() {
			total++
			keys[string(r.Key)] = true
			if string(r.Key) == "user-000000" {
				onUser++
			}
			s, err := decoder.Decode(signup.Record{Value: r.Value})
			if err != nil {
				poison++
				continue
			}
			ids[s.EventID] = true
			if n := len(r.Value); n < c.shortest || n > c.most {
				t.Errorf("%+v: a value of %d bytes", c.load, n)
			}
		}
		if total != c.load.records || poison != c.poison || c.load.poison() != poison || c.load.good() != total-poison || len(ids) != total-poison {
			t.Errorf("%+v: %d records, %d of them poison, %d event ids", c.load, total, poison, len(ids))
		}
		if onUser < c.onUser {
			t.Errorf("%+v: %d records of one user", c.load, onUser)
		}
		if c.onUser == 0 && len(keys) < total/2 {
			t.Errorf("%+v: %d keys", c.load, len(keys))
		}
	}
}

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

func TestRequestsWithoutALengthAreRefused(t *testing.T) {
	for head, want := range map[string]int{
		"POST / HTTP/1.1\r\nHost: a\r\ncontent-length:  42 \r\n\r\n": 42,
		"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n":               0,
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n":      -1,
		"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n":               -1,
	} {
		n, err := readHead(bufio.NewReader(strings.NewReader(head)))
		if (err != nil) != (want < 0) || err == nil && n != want {
			t.Errorf("%q: %d, %v", head, n, err)
		}
	}
	if _, err := readHead(bufio.NewReader(strings.NewReader(""))); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

func TestSettingsOfTheProgramAreNotInherited(t *testing.T) {
	got := foreign([]string{"PATH=/bin", "SIGNUP_SHEET_KAFKA_TOPIC=x", "SHEETS_WEBHOOK_URL=http://x"})
	if len(got) != 1 || got[0] != "PATH=/bin" {
		t.Error(got)
	}
}

// TestABareLoopIsMeasured goes all the way: broker, webhook and loop as processes.
func TestABareLoopIsMeasured(t *testing.T) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("no /proc")
	}
	var progress bytes.Buffer
	l := &lab{dir: t.TempDir(), progress: &progress}
	side := bareLoop(load{records: 500})
	r, err := l.measure(t.Context(), cell{inFlight: 4, yardstick: side, measured: side, latency: time.Millisecond, show: []quantity{rate}}, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range [][nothing]series{r.values, r.yardsticks} {
		// 4,000 a second is what four requests of a millisecond allow.
		if len(s[rate]) != 2 || s[rate][0] < 50 || s[rate][0] > 4100 || s[cpu][1] <= 0 || s[memory][1] < 5 {
			t.Errorf("%+v", s)
		}
	}
	if !strings.Contains(progress.String(), "pair 2 of 2") {
		t.Error(progress.String())
	}
}

func TestAgifyKnowsEveryName(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(agify), ReadHeaderTimeout: time.Second}
	defer server.Close()
	go func() { _ = server.Serve(l) }()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Addr().String()+"/?name=emma&country_id=US", nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var got struct {
		Name string
		Age  int
	}
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil || got.Name != "emma" || got.Age == 0 {
		t.Error(got, err)
	}
}
