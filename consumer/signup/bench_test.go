package signup_test

import (
	"testing"

	"signup-sheet/consumer/signup"
	"signup-sheet/internal/allocs"
)

func BenchmarkDecode(b *testing.B) { benchmarkDecode(b, event) }

// Of an event: one for the signup, four for its strings.
func TestAllocationsOfDecoding(t *testing.T) { allocs.AtMost(t, 5, BenchmarkDecode) }

func BenchmarkDecodeWithoutID(b *testing.B) {
	benchmarkDecode(b, `{"email":"maria.gonzalez@example.com"}`)
}

// Without an id of its own an event gets one, which is hashed.
func TestAllocationsOfDecodingWithoutID(t *testing.T) { allocs.AtMost(t, 9, BenchmarkDecodeWithoutID) }

func benchmarkDecode(b *testing.B, value string) {
	b.Helper()
	d := signup.NewDecoder(signup.Limits{})
	r := record(value)
	b.SetBytes(int64(len(r.Value)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Decode(r); err != nil {
			b.Fatal(err)
		}
	}
}
