package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

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
