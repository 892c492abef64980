package main

import (
	"io"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// asProgram makes the test's binary the program itself: tests start it so, as a process of its own, and with the race detector where they have it.
const asProgram = "START_AS_SIGNUP_SHEET"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) == "" {
		goleak.VerifyTestMain(m) // exits
	}
	// The test holds the other end: not even a test that is killed leaves a process behind.
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(exitFailed)
	}()
	main()
}
