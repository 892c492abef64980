//go:build race

package signup_test

// maxAllocs is higher under the race detector, where pools forget on purpose.
const maxAllocs = 20
