package sink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"signup-sheet/internal/certificates"
)

// Frame types of HTTP/2 (RFC 9113, section 6).
const (
	frameData     = 0
	frameHeaders  = 1
	frameReset    = 3
	frameSettings = 4
	frameGoAway   = 7
)

// http2Endpoint speaks just enough HTTP/2 to misbehave: net/http's server cannot.
type http2Endpoint struct {
	kfake.VirtualNetwork
	heads, bodies atomic.Int32
	onHead        func(stream uint32, n int32) (answer []byte) // may be nil
}

// tlsConfigs returns the two sides of a trusted connection that offers HTTP/2. It is to be
// called outside of a bubble, since it needs the real network.
func tlsConfigs() (server, client *tls.Config) {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	authorities := x509.NewCertPool()
	authorities.AddCert(s.Certificate())
	return &tls.Config{Certificates: s.TLS.Certificates, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12},
		&tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12}
}

func (e *http2Endpoint) handle(conn net.Conn) {
	// A pipe has no buffer: reading must go on while a frame is written.
	out := make(chan []byte, 64)
	var writer sync.WaitGroup
	writer.Go(func() {
		for frame := range out {
			_, _ = conn.Write(frame)
		}
	})
	defer writer.Wait()
	defer close(out)
	defer conn.Close()
	_, _ = io.ReadFull(conn, make([]byte, len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")))
	out <- frame(frameSettings, 0, 0, nil)
	refused := map[uint32]bool{}
	for {
		var head [9]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return
		}
		payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(conn, payload); err != nil {
			return
		}
		kind, flags, stream := head[3], head[4], binary.BigEndian.Uint32(head[5:])
		switch {
		case kind == frameSettings && flags&1 == 0:
			out <- frame(frameSettings, 1, 0, nil)
		case kind == frameHeaders:
			if n := e.heads.Add(1); e.onHead != nil {
				if answer := e.onHead(stream, n); answer != nil {
					refused[stream] = true
					out <- answer
				}
			}
		case kind == frameData && flags&1 == 1 && !refused[stream]: // END_STREAM
			e.bodies.Add(1)
			out <- frame(frameHeaders, 5, stream, []byte{0x88}) // :status 200, the end
		}
	}
}

func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	f := []byte{0, 0, byte(len(payload)), kind, flags}
	f = binary.BigEndian.AppendUint32(f, stream)
	return append(f, payload...)
}

// TestWhatHTTP2DidNotProcessIsRepeatedAtOnce: GOAWAY and REFUSED_STREAM, on a new and on
// a kept connection.
func TestWhatHTTP2DidNotProcessIsRepeatedAtOnce(t *testing.T) {
	server, client := tlsConfigs()
	for name, refuse := range map[string]func(stream uint32) []byte{
		"REFUSED_STREAM": func(stream uint32) []byte {
			return frame(frameReset, 0, stream, []byte{0, 0, 0, 7})
		},
		"GOAWAY": func(stream uint32) []byte {
			payload := binary.BigEndian.AppendUint32(nil, max(stream, 2)-2) // the last one processed
			return frame(frameGoAway, 0, 0, append(payload, 0, 0, 0, 0))
		},
	} {
		for _, at := range []int32{1, 2} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					e := &http2Endpoint{onHead: func(stream uint32, n int32) []byte {
						if n == at {
							return refuse(stream)
						}
						return nil
					}}
					s := e.sink(t, server, client, nil)
					begin := time.Now()
					for range 2 {
						if err := s.Deliver(t.Context(), row("1")); err != nil {
							t.Fatal(err)
						}
					}
					if time.Since(begin) != 0 || e.heads.Load() != 3 || e.bodies.Load() != 2 {
						t.Errorf("%d heads, %d rows in %v", e.heads.Load(), e.bodies.Load(), time.Since(begin))
					}
					if s.metric(t, "signup_sheet_attempts_total") != 3 || s.metric(t, "signup_sheet_connection_repeats_total") != 1 ||
						s.metric(t, "signup_sheet_retries_total") != 0 {
						t.Error("not counted as two rows and a repeat")
					}
					if f, failed := s.LastFailure(); failed {
						t.Errorf("counts as a failure: %+v", f)
					}
				})
			})
		}
	}
}

// TestADeadHTTP2ConnectionIsLeft: nothing comes back on it any more, not even a word that it is closed, and all rows use
// it. A ping finds out; the next connection works.
func TestADeadHTTP2ConnectionIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := certificates.NewAuthority(t)
		e := &endpoint{secure: &tls.Config{NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{a.Issue(t, "server").TLS(t)}}}
		e.serve(t, func(int, http.ResponseWriter, *http.Request) { pause(50 * time.Millisecond) })
		var dead atomic.Pointer[time.Time]
		s := e.sink(t, func(c *Config) {
			c.URL = "https://127.0.0.1:80/hook"
			c.TLS = &tls.Config{RootCAs: a.Pool(), MinVersion: tls.VersionTLS12}
			c.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := e.DialContext(ctx, network, address)
				return &dying{conn, time.Now(), &dead}, err
			}
		})
		began := time.Now()
		crowd := s.keys(t.Context(), 8, 200) // ten seconds
		pause(5 * time.Second)
		now := time.Now()
		dead.Store(&now)
		crowd.running.Wait()
		if accepted, givenUp := crowd.counts(); accepted != 8*200 || givenUp != 0 {
			t.Errorf("%d accepted, %d given up", accepted, givenUp)
		}
		if took := time.Since(began); took > 10*time.Second+17*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// dying is a connection that is black from a moment on, if it is older.
type dying struct {
	net.Conn
	born time.Time
	dead *atomic.Pointer[time.Time]
}

func (c *dying) Write(p []byte) (int, error) {
	if at := c.dead.Load(); at != nil && c.born.Before(*at) {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// TestHTTP2SendsNoHeadWithoutAPermit: it runs out once there is a connection.
func TestHTTP2SendsNoHeadWithoutAPermit(t *testing.T) {
	server, client := tlsConfigs()
	synctest.Test(t, func(t *testing.T) {
		e := &http2Endpoint{}
		p := newPermit(true)
		s := e.sink(t, server, client, p)
		var checks atomic.Int32
		p.checks = func() {
			if checks.Add(1) == 2 {
				p.set(false)
			}
		}
		done := make(chan error, 1)
		go func() { done <- s.Deliver(t.Context(), row("1")) }()
		pause(time.Minute)
		if e.heads.Load() != 0 || checks.Load() < 2 {
			t.Errorf("%d heads on the wire after %d checks", e.heads.Load(), checks.Load())
		}
		p.set(true)
		if err := <-done; err != nil || e.bodies.Load() != 1 {
			t.Errorf("%v after %d rows", err, e.bodies.Load())
		}
	})
}

func (e *http2Endpoint) sink(t *testing.T, server, client *tls.Config, p Permit) *probed {
	t.Helper()
	serveRaw(t, &e.VirtualNetwork, func(conn net.Conn) {
		secure := tls.Server(conn, server)
		e.handle(secure) // its first read shakes hands
	})
	return newSink(t, Config{
		URL: "https://127.0.0.1:80/hook", Concurrency: 4, Timeout: time.Second, Permit: p, TLS: client,
		DialContext: e.DialContext,
	})
}
