package signup_test

import (
	"testing"

	"signup-sheet/consumer/signup"
)

func BenchmarkDecode(b *testing.B) {
	d := signup.NewDecoder(signup.Limits{})
	r := record(event)
	b.SetBytes(int64(len(r.Value)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Decode(r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeWithoutID(b *testing.B) {
	d := signup.NewDecoder(signup.Limits{})
	r := record(`{"email":"maria.gonzalez@example.com"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Decode(r); err != nil {
			b.Fatal(err)
		}
	}
}

// TestDecodingAllocatesLittle holds the number of allocations: one for the signup, three for its strings, the others
// for parsing the email.
func TestDecodingAllocatesLittle(t *testing.T) {
	d := signup.NewDecoder(signup.Limits{})
	r := record(event)
	got := testing.AllocsPerRun(1000, func() {
		if _, err := d.Decode(r); err != nil {
			t.Fatal(err)
		}
	})
	if got > maxAllocs {
		t.Errorf("%v allocations for an event, want at most %d", got, maxAllocs)
	}
}
