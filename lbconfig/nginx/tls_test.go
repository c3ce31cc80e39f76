package nginx_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/supervisord/supervisord/lbconfig"
)

// certificate writes a self-signed certificate for names and returns it with
// what trusts it.
func (p *private) certificate(file string, names ...string) (lbconfig.Certificate, *x509.CertPool) {
	p.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: file}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		p.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		p.Fatal(err)
	}
	c := lbconfig.Certificate{Hosts: names, Chain: p.path(file + ".crt"), Key: p.path(file + ".key")}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, data := range map[string][]byte{c.Chain: chain, c.Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			p.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(chain)
	return c, pool
}

// secureSite has one host with TLS.
func secureSite(service string, c lbconfig.Certificate, backends ...string) lbconfig.Site {
	s := site(service, backends...)
	s.Ingress.Hosts, s.Ingress.TLS = c.Hosts, lbconfig.TLSAuto
	s.Ingress.HSTS = &lbconfig.HSTS{MaxAge: time.Hour}
	s.Certificates = []lbconfig.Certificate{c}
	return s
}

func TestTLS(t *testing.T) {
	p := startNginx(t)
	secure := freeAddress(t)
	fallback, _ := p.certificate("fallback")
	cert, pool := p.certificate("one", "www.shop.test")
	asked := make(chan string, 1)
	ca := backend(t, "", func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Host + r.URL.Path
		_, _ = io.WriteString(w, "authorized")
	})
	config := func(sites ...lbconfig.Site) lbconfig.Config {
		c := p.config(sites...)
		c.ListenTLS, c.Fallback, c.Challenge = []string{secure}, fallback, ca
		return c
	}
	apply := func(c lbconfig.Config) lbconfig.Outcome {
		t.Helper()
		out, err := p.applier().Apply(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	shop := secureSite("shop", cert, backend(t, "shop"))
	apply(config(shop, site("plain", backend(t, "plain"))))

	dial := func(change func(*tls.Config)) (tls.ConnectionState, error) {
		cfg := &tls.Config{ServerName: "www.shop.test", RootCAs: pool, NextProtos: []string{"h2", "http/1.1"}}
		if change != nil {
			change(cfg)
		}
		d := tls.Dialer{Config: cfg}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		conn, err := d.DialContext(ctx, "tcp", secure)
		if err != nil {
			return tls.ConnectionState{}, err
		}
		defer conn.Close()
		return conn.(*tls.Conn).ConnectionState(), nil
	}
	t.Run("it speaks TLS 1.3 and HTTP/2, with the site's certificate", func(t *testing.T) {
		s, err := dial(nil)
		if err != nil || s.Version != tls.VersionTLS13 || s.NegotiatedProtocol != "h2" {
			t.Errorf("version %x, protocol %q: %v", s.Version, s.NegotiatedProtocol, err)
		}
	})
	t.Run("TLS 1.2 only with forward secrecy and authenticated ciphers", func(t *testing.T) {
		if s, err := dial(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }); err != nil || s.CipherSuite != tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 {
			t.Errorf("cipher %s: %v", tls.CipherSuiteName(s.CipherSuite), err)
		}
		if _, err := dial(func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
		}); err == nil {
			t.Error("CBC is spoken")
		}
		if _, err := dial(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS11, tls.VersionTLS11 }); err == nil {
			t.Error("TLS 1.1 is spoken")
		}
	})
	t.Run("a name without a site gets a certificate that nobody trusts", func(t *testing.T) {
		s, err := dial(func(c *tls.Config) { c.ServerName, c.InsecureSkipVerify = "other.test", true })
		if err != nil || s.PeerCertificates[0].Subject.CommonName != "fallback" {
			t.Errorf("certificate of %v: %v", s.PeerCertificates, err)
		}
	})
	t.Run("requests are answered, with HSTS", func(t *testing.T) {
		transport := &http.Transport{TLSClientConfig: &tls.Config{ServerName: "www.shop.test", RootCAs: pool}, ForceAttemptHTTP2: true}
		defer transport.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+secure+"/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "www.shop.test"
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if string(body) != "shop" || err != nil || resp.ProtoMajor != 2 || resp.Header.Get("Strict-Transport-Security") != "max-age=3600" {
			t.Errorf("%s %q %v: %v", resp.Proto, body, resp.Header, err)
		}
	})
	t.Run("plain requests are sent on", func(t *testing.T) {
		a := p.do("POST /a?b=c", "Host: www.shop.test")
		_, port, _ := strings.Cut(secure, ":")
		if want := "https://www.shop.test:" + port + "/a?b=c"; a.StatusCode != http.StatusPermanentRedirect || a.Header.Get("Location") != want {
			t.Errorf("%d to %q, want 308 to %q", a.StatusCode, a.Header.Get("Location"), want)
		}
	})
	t.Run("a CA is answered whatever name it asks for", func(t *testing.T) {
		for _, host := range []string{"www.shop.test", "plain.test", "not-yet.test"} {
			a := p.do("GET /.well-known/acme-challenge/token", "Host: "+host)
			if got := <-asked; a.body != "authorized" || got != host+"/.well-known/acme-challenge/token" {
				t.Errorf("%s: %d %q, asked was %q", host, a.StatusCode, a.body, got)
			}
		}
	})
	t.Run("what is renewed costs one reload, what is not none", func(t *testing.T) {
		if out := apply(config(shop, site("plain"))); !out.Changed {
			t.Fatal("the plain site has lost its backend and nginx was not reloaded")
		}
		if out := apply(config(shop, site("plain"))); out.Changed {
			t.Error("nothing is new and nginx was reloaded")
		}
		renewed, trust := p.certificate("two", "www.shop.test")
		if out := apply(config(secureSite("shop", renewed), site("plain"))); !out.Changed {
			t.Error("the certificate is new and nginx was not reloaded")
		}
		if _, err := dial(func(c *tls.Config) { c.RootCAs = trust }); err != nil {
			t.Error(err)
		}
		t.Run("a key of another certificate is refused, and the last good form goes on", func(t *testing.T) {
			bad := renewed
			bad.Key = cert.Key
			if out := apply(config(secureSite("shop", bad), site("plain"))); !strings.Contains(out.Rejected["shop"], "key values mismatch") {
				t.Errorf("rejected %v", out.Rejected)
			}
			if _, err := dial(func(c *tls.Config) { c.RootCAs = trust }); err != nil {
				t.Error(err)
			}
		})
	})
}
