//go:build !race

package signup_test

const maxAllocs = 10
