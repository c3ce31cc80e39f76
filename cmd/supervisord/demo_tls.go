package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/supervisord/supervisord/cmd/supervisord/internal/demo"
	"github.com/supervisord/supervisord/cmd/supervisord/internal/rig"
	"github.com/supervisord/supervisord/supervisor/api"
)

// demoHost is the demo's site with TLS. Its certificate is of a CA of the demo's
// own and comes by "certs import": a CA that proves names would need names.
const demoHost = "demo.example.com"

// demoSecure is the service behind it.
const demoSecure = `  secure:
    image: %s
    x-ingress: {hosts: [` + demoHost + `], port: 4000, tls: manual, hsts: 1h}
`

// secureWithin bounds the wait for the site with TLS.
const secureWithin = 30 * time.Second

// showTLS brings a certificate and asks over TLS until the site answers with it.
func showTLS(ctx context.Context, out io.Writer, r *rig.Rig) error {
	ctx, cancel := context.WithTimeout(ctx, secureWithin)
	defer cancel()
	ca, err := demo.NewAuthority(time.Now())
	if err != nil {
		return err
	}
	chain, key, err := ca.Issue(demoHost, time.Now())
	if err != nil {
		return err
	}
	began := time.Now()
	if _, err := r.Client.ImportCert(ctx, demoHost, api.ImportCert{Cert: chain, Key: key}); err != nil {
		return fmt.Errorf("import a certificate: %w", err)
	}
	for {
		proto, err := askTLS(ctx, r.Secure, ca.Pool)
		if err == nil {
			fmt.Fprintf(out, "over TLS: https://%s on %s answers by %s with a certificate of the demo's own CA, %s after its import\n",
				demoHost, r.Secure, proto, time.Since(began).Round(10*time.Millisecond))
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the site with TLS does not answer: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// askTLS makes one request and returns the protocol.
func askTLS(ctx context.Context, address string, trust *x509.CertPool) (string, error) {
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{ServerName: demoHost, RootCAs: trust}, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, address)
		},
	}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+demoHost+"/", nil)
	if err != nil {
		return "", err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("it answers %s", resp.Status)
	}
	return resp.Proto, nil
}
