//go:build unix

package ports_test

import (
	"net"
	"runtime"
	"testing"

	"signup-sheet/internal/ports"
)

func connects(t *testing.T, address string) bool {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err == nil {
		conn.Close()
	}
	return err == nil
}

func TestAReservedPortRefusesConnectionsAndIsGivenToNobody(t *testing.T) {
	p := ports.Reserve(t)
	if connects(t, p.Address()) {
		t.Error("somebody listens")
	}
	for range 1000 {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if l.Addr().String() == p.Address() {
			t.Fatal("it was given to somebody else")
		}
	}
	l, err := p.Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if !connects(t, p.Address()) {
		t.Error("nobody listens")
	}
}

// A program is told the port, and listens on it by itself.
func TestAReservedPortCanBeListenedOnByWhoKnowsIt(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux lets a port be shared so")
	}
	p := ports.Reserve(t)
	for range 2 {
		for _, host := range []string{"127.0.0.1:", ":"} {
			_, port, _ := net.SplitHostPort(p.Address())
			l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", host+port)
			if err != nil {
				t.Fatal(err)
			}
			if !connects(t, p.Address()) {
				t.Error("nobody listens")
			}
			l.Close()
		}
	}
}
