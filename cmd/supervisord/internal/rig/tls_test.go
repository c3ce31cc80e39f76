package rig_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/certs/certstest"
	"github.com/supervisord/supervisord/supervisor/state"
)

// secure makes the site of the backend one with TLS.
func (s *site) secure(image string, p *certstest.Pebble, hosts string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.Dir, "ca.pem"), []byte(p.Roots), 0o644); err != nil {
		s.t.Fatal(err)
	}
	text := strings.Replace(s.file(image, `WORK_MS: "1"`, "    deploy: {replicas: 2}"), "hosts: [_]", "hosts: ["+hosts+"]\n      tls: auto\n      hsts: 1h", 1)
	text += "x-supervisor:\n  tls: {email: ops@example.com, ca: \"" + p.Directory + "\", staging: \"" + p.Directory + "\", ca_root: ca.pem}\n"
	if err := s.WriteCompose(text); err != nil {
		s.t.Fatal(err)
	}
}

// get asks over TLS, on a connection of its own.
func (s *site) get(host string, trust *x509.CertPool) (body string, leaf *x509.Certificate, err error) {
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{ServerName: host, RootCAs: trust}, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, s.Secure)
		},
	}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(s.ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/", nil)
	if err != nil {
		return "", nil, err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 || resp.Header.Get("Strict-Transport-Security") != "max-age=3600") {
		err = fmt.Errorf("%s %s %v: %s", resp.Proto, resp.Status, resp.Header, data)
	}
	return string(data), resp.TLS.PeerCertificates[0], err
}

// Certificates that live for less than a minute are renewed under load by the real
// daemon, and no fresh connection fails.
func TestShortLivedCertificatesUnderLoad(t *testing.T) {
	t.Parallel()
	s := start(t, "    deploy: {replicas: 2}")
	image := built.image
	s.ready(2)
	_, port, err := net.SplitHostPort(s.Public)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	p := certstest.Start(t, certstest.Options{HTTPPort: n, Life: 50 * time.Second, NonceReject: 5})
	s.secure(image, p, "www.example.com")
	trust := p.Trust()
	s.eventually("wait for the first certificate", func() string {
		if _, _, err := s.get("www.example.com", trust); err != nil {
			return err.Error()
		}
		return ""
	})

	serials := sync.Map{}
	ctx, stop := context.WithCancel(s.ctx)
	var load sync.WaitGroup
	var made, failed atomic.Int64
	for range 4 {
		load.Go(func() {
			for ctx.Err() == nil {
				_, leaf, err := s.get("www.example.com", trust)
				made.Add(1)
				if err != nil {
					failed.Add(1)
					t.Log(err)
					continue
				}
				serials.Store(leaf.SerialNumber.String(), true)
				// As fast as they can they would starve all else here.
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	s.event(state.EventCertRenewed, "www.example.com")
	// For longer than the first one has lived.
	select {
	case <-time.After(15 * time.Second):
	case <-s.ctx.Done():
	}
	stop()
	load.Wait()
	certificates := 0
	serials.Range(func(any, any) bool { certificates++; return true })
	t.Logf("%d requests on fresh connections, %d failed, %d certificates", made.Load(), failed.Load(), certificates)
	if failed.Load() > 0 || certificates < 2 {
		t.Errorf("%d of %d requests failed, %d certificates were seen", failed.Load(), made.Load(), certificates)
	}

	t.Run("a rehearsal uses up no order", func(t *testing.T) {
		before, err := s.Client.Certs(s.ctx)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Client.Rehearse(s.ctx, nil)
		if err != nil || len(got.Results) != 1 || got.Results[0] != (api.Rehearsal{Host: "demo", Name: "www.example.com"}) {
			t.Errorf("rehearsed %+v: %v", got, err)
		}
		after, err := s.Client.Certs(s.ctx)
		if err != nil || after.OrdersToday > before.OrdersToday+1 { // one may be a renewal
			t.Errorf("%d orders after %d: %v", after.OrdersToday, before.OrdersToday, err)
		}
	})
	t.Run("what an operator brings is checked, and served", func(t *testing.T) {
		if _, err := s.Client.ImportCert(s.ctx, "www.example.com", api.ImportCert{Cert: p.Roots, Key: "no key"}); err == nil || !strings.Contains(err.Error(), "certificate and key") {
			t.Errorf("what is wrong: %v", err)
		}
		own := certstest.NewAuthority(t)
		cert, key := own.Issue(t, "www.example.com")
		if _, err := s.Client.ImportCert(s.ctx, "www.example.com", api.ImportCert{Cert: cert, Key: key}); err != nil {
			t.Fatal(err)
		}
		s.eventually("wait for the imported one", func() string {
			if _, _, err := s.get("www.example.com", own.Pool()); err != nil {
				return err.Error()
			}
			return ""
		})
		// A restart changes nothing.
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := s.Start(s.ctx); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.get("www.example.com", own.Pool()); err != nil {
			t.Error(err)
		}
	})
}
