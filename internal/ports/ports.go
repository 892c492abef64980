//go:build unix

// Package ports gives tests ports of the loopback interface on which nobody listens, and that stay the test's: one that
// is looked up and let go can be given to anybody else before it is used, by tests that run beside this one too.
package ports

import (
	"net"
	"os"
	"strconv"
	"syscall"
	"testing"
)

// Port is one that is taken, but on which nobody listens: connections to it are refused. On Linux a program that is told to may
// listen on it.
type Port struct {
	Number int
	socket *os.File
}

// Reserve takes a port until the test ends.
func Reserve(t testing.TB) *Port {
	t.Helper()
	syscall.ForkLock.RLock() // no process that is started now gets it
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatalf("open a socket: %v", err)
	}
	p := &Port{socket: os.NewFile(uintptr(fd), "a reserved port")}
	t.Cleanup(func() { _ = p.socket.Close() })
	// As all listeners of Go have it: that lets one of them listen on the port.
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		t.Fatalf("set up a socket: %v", err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatalf("take a port: %v", err)
	}
	at, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatalf("look up the port: %v", err)
	}
	p.Number = at.(*syscall.SockaddrInet4).Port
	return p
}

// Address is the port's, host:port.
func (p *Port) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Number)) }

// Listen begins to listen on the port, once.
func (p *Port) Listen() (net.Listener, error) {
	if err := syscall.Listen(int(p.socket.Fd()), syscall.SOMAXCONN); err != nil {
		return nil, os.NewSyscallError("listen", err)
	}
	defer p.socket.Close()
	return net.FileListener(p.socket) // with a descriptor of its own
}
