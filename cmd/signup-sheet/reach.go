package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"signup-sheet/consumer"
	"signup-sheet/credentials"
)

// reach connects to the host of a URL as a request would, and sends none. The URL's path is in no finding.
func reach(ctx context.Context, what, setting, raw string, files credentials.Files) consumer.Finding {
	f := consumer.Finding{What: what + " " + hostOf(raw)}
	target, err := url.Parse(raw)
	if err != nil {
		f.Err = fmt.Errorf("%s: not a URL", setting) // the error would show it
		return f
	}
	if proxy, err := http.ProxyFromEnvironment(&http.Request{URL: target}); err != nil {
		f.Err = errors.New("the proxy that the environment names is not a URL: correct HTTPS_PROXY or HTTP_PROXY")
		return f
	} else if proxy != nil {
		f.What += " by the proxy " + proxy.Host
		f.Detail, f.Err = connect(ctx, "HTTPS_PROXY or HTTP_PROXY", proxy, files)
		if f.Err == nil {
			f.Detail += " with the proxy; what is behind it was not tried"
		}
		return f
	}
	f.Detail, f.Err = connect(ctx, setting, target, files)
	return f
}

// connect resolves, dials and, for https, shakes hands. The error says what to do.
func connect(ctx context.Context, setting string, target *url.URL, files credentials.Files) (detail string, err error) {
	port := target.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[target.Scheme]
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(target.Hostname(), port))
	if err != nil {
		return "", remedied(err, setting)
	}
	defer conn.Close()
	if target.Scheme != "https" {
		return "connected", nil
	}
	pool, pair, err := files.Load()
	if err != nil {
		return "", err
	}
	config := &tls.Config{ServerName: target.Hostname(), MinVersion: tls.VersionTLS12}
	credentials.Apply(config, pool, pair)
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		return "", remedied(err, setting)
	}
	state := secured.ConnectionState()
	return fmt.Sprintf("connected, %s, certificate valid until %s",
		tls.VersionName(state.Version), state.PeerCertificates[0].NotAfter.UTC().Format(time.DateOnly)), nil
}

// remedied adds to the error of a connection what to do about it.
func remedied(err error, setting string) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
		err = op.Err // without the addresses, which the finding has
	}
	_, isName := errors.AsType[*net.DNSError](err)
	_, isAuthority := errors.AsType[x509.UnknownAuthorityError](err)
	_, isHost := errors.AsType[x509.HostnameError](err)
	_, isCertificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, isPlain := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case isName:
		return fmt.Errorf("%w: correct the host in %s, or see to it that its name can be resolved here", err, setting)
	case isAuthority:
		further := ""
		if setting == "sink.url" {
			further = ", or name its file by sink.tls.ca_file"
		}
		return fmt.Errorf("%w: add the authority to the machine's certificates (SSL_CERT_FILE)%s", err, further)
	case isHost:
		return fmt.Errorf("%w: correct the host in %s, or the certificate", err, setting)
	case isCertificate:
		return fmt.Errorf("%w: renew the certificate, and see that this machine's clock is right", err)
	case isPlain:
		return fmt.Errorf("the port speaks no TLS: correct the port or the scheme in %s", setting)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("no answer in time: correct the host in %s, or let a firewall pass this connection", setting)
	case errors.Is(err, io.EOF):
		return fmt.Errorf("the connection was closed during the TLS handshake: correct the port or the scheme in %s", setting)
	}
	return fmt.Errorf("%w: correct host and port in %s, or start what should listen there", err, setting)
}
