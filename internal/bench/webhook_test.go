package main

import (
	"bufio"
	"errors"
	"io"
	"math"
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
