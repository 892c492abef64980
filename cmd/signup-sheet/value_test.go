package main

import (
	"math/big"
	"strings"
	"testing"
	"time"
)

func TestSizesHaveUnits(t *testing.T) {
	for text, want := range map[string]int{
		"0": 0, "1024": 1024, "512B": 512, "1kB": 1000, "1KB": 1000, "1MB": 1_000_000, "2GB": 2_000_000_000,
		"1KiB": 1 << 10, "1MiB": 1 << 20, "32 MiB": 32 << 20, "1GiB": 1 << 30, "512Ki": 512 << 10, "1Mi": 1 << 20, "1Gi": 1 << 30,
	} {
		if got, ok := parseSize(text); !ok || got != want {
			t.Errorf("%s: %d, %t, want %d", text, got, ok, want)
		}
	}
	for _, text := range []string{
		"", "MiB", "-1", "+1", "1.5MiB", "1TB", "1m", "1kb", "1MiBB", "1 K iB", "1  MiB", "0x10", "1_000", "9223372036854775808", "9223372036854775807GiB", "١MiB",
	} {
		if got, ok := parseSize(text); ok {
			t.Errorf("%q was taken for %d", text, got)
		}
	}
}

func TestSizesAndDurationsAreShownAsTheyAreWritten(t *testing.T) {
	for n, want := range map[int]string{0: "0", 1: "1", 1023: "1023", 1024: "1KiB", 1536: "1536", 3 << 20: "3MiB", 64 << 30: "64GiB"} {
		if got := formatSize(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0s", 50 * time.Millisecond: "50ms", 10 * time.Second: "10s", 10 * time.Minute: "10m", time.Hour: "1h", 61 * time.Second: "1m1s", 90 * time.Minute: "1h30m",
	} {
		if got := short(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

// A size is its digits times its unit, and what formatSize writes is read back.
func FuzzSize(f *testing.F) {
	for _, text := range []string{"1MiB", "512 KiB", "7", "9007199254740993kB", "-1", "8589934592GiB"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, ok := parseSize(text)
		if !ok {
			return
		}
		digits := strings.TrimRight(text, "BGKMik ")
		unit := map[string]int64{
			"": 1, "B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9,
			"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30,
		}[strings.TrimSpace(text[len(digits):])]
		want, isNumber := new(big.Int).SetString(digits, 10)
		if !isNumber || want.Mul(want, big.NewInt(unit)).Cmp(big.NewInt(int64(n))) != 0 {
			t.Fatalf("%q was taken for %d, want %v", text, n, want)
		}
		if again, ok := parseSize(formatSize(n)); !ok || again != n {
			t.Fatalf("%d is shown as %s, which is %d", n, formatSize(n), again)
		}
	})
}

func TestNearestFindsTyposButNoStrangers(t *testing.T) {
	var c config
	l := loader{settings: settingsOf("run", &c)}
	for name, want := range map[string]string{
		"kafka.broker": "kafka.brokers", "kafak.topic": "kafka.topic", "brokers": "kafka.brokers", "sink.ulr": "sink.url",
		"Kafka.SessionTimeout": "kafka.session_timeout", "deadletter.topic": "dead_letter.topic", "postgres.dsn": "", "x": "", "": "",
	} {
		if got, _ := nearest(name, l.names()); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
