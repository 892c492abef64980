package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
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

func TestSettingsOfTheProgramAreNotInherited(t *testing.T) {
	got := foreign([]string{"PATH=/bin", "SIGNUP_SHEET_KAFKA_TOPIC=x", "SHEETS_WEBHOOK_URL=http://x"})
	if len(got) != 1 || got[0] != "PATH=/bin" {
		t.Error(got)
	}
}

// TestBothSidesAreMeasured goes all the way: broker, webhook, loop and program as processes, with poison and ages.
func TestBothSidesAreMeasured(t *testing.T) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("no /proc")
	}
	program := filepath.Join(t.TempDir(), "signup-sheet")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "signup-sheet/cmd/signup-sheet")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	var progress bytes.Buffer
	l := &lab{program: program, dir: t.TempDir(), progress: &progress}
	r, err := l.measure(t.Context(), cell{
		inFlight: 4, latency: time.Millisecond, show: []quantity{rate},
		yardstick: bareLoop(load{records: 500}),
		measured:  side{name: "pipeline", load: load{records: 500, poisonEvery: 100}, agify: true},
	}, 2)
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
