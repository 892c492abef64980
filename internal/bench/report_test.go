package main

import (
	"testing"
)

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
