package certstest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Options say how the CA behaves.
type Options struct {
	// HTTPPort is where it asks for http-01, on the address of the name.
	HTTPPort int
	// Life is that of its certificates; 90 days where zero.
	Life time.Duration
	// NonceReject is the share of good nonces that it refuses, in percent.
	NonceReject int
	// AuthzReuse is the share of authorizations that it uses again, in percent.
	AuthzReuse int
	// DNS is the "IP:port" of a name server; empty for one of its own.
	DNS string
}

// Pebble is a CA that runs until the test ends.
type Pebble struct {
	// Directory is its URL, Roots what its connection is trusted by, in PEM.
	Directory, Roots string

	t          testing.TB
	options    Options
	dir        string
	address    string
	management string
	names      string // the name server's management
	cmd        *exec.Cmd
	log        *journal
}

// journal keeps what a process prints.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// Start starts a CA.
func Start(t testing.TB, o Options) *Pebble {
	t.Helper()
	binary := program(t, "pebble")
	p := &Pebble{t: t, options: o, dir: t.TempDir(), address: FreeAddress(t), management: FreeAddress(t), log: &journal{}}
	if o.DNS == "" {
		p.startNames()
	}
	p.Directory = "https://" + p.address + "/dir"
	p.certify()
	p.configure()
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			text := p.log.String()
			t.Logf("%s says at last:\n%s", binary, text[max(0, len(text)-8000):])
		}
	})
	p.Resume()
	return p
}

// FreeAddress is a loopback address that nobody listens on at the moment.
func FreeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (p *Pebble) startNames() {
	p.t.Helper()
	p.names, p.options.DNS = FreeAddress(p.t), FreeAddress(p.t)
	p.spawn(program(p.t, "pebble-challtestsrv"), nil,
		"-dnsserver", p.options.DNS, "-management", p.names, "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "",
		"-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "")
	p.await("the name server", func(ctx context.Context) error { return p.dns(ctx, "clear-txt", map[string]any{"host": "none."}) })
}

// spawn runs a program until the test ends, or this process does.
func (p *Pebble) spawn(binary string, env []string, args ...string) *exec.Cmd {
	p.t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, p.log, p.log
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		// It fails only where it has ended.
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// certify makes the CA's own certificate, which its clients have to trust.
func (p *Pebble) certify() {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "pebble"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		p.t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		p.t.Fatal(err)
	}
	p.Roots = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	p.write("cert.pem", []byte(p.Roots))
	p.write("key.pem", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}))
}

func (p *Pebble) write(name string, data []byte) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), data, 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *Pebble) configure() {
	p.t.Helper()
	life := p.options.Life
	if life == 0 {
		life = 90 * 24 * time.Hour
	}
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": p.address, "managementListenAddress": p.management, "certificate": "cert.pem", "privateKey": "key.pem",
		"httpPort": p.options.HTTPPort, "tlsPort": 1, "ocspResponderURL": "", "keyAlgorithm": "ecdsa",
		"retryAfter": map[string]int{"authz": 1, "order": 1},
		"profiles":   map[string]any{"default": map[string]any{"description": "default", "validityPeriod": int(life.Seconds())}},
	}})
	if err != nil {
		p.t.Fatal(err)
	}
	p.write("config.json", config)
}

// Stop ends the CA, as a power cut would; Resume starts it anew, with other
// keys and without any memory of accounts.
func (p *Pebble) Stop() {
	if p.cmd == nil {
		return
	}
	// It fails only where it has ended.
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	p.cmd = nil
}

// Resume starts the CA where it does not run.
func (p *Pebble) Resume() {
	p.t.Helper()
	p.cmd = p.spawn(program(p.t, "pebble"), []string{
		"PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=" + strconv.Itoa(p.options.NonceReject), "PEBBLE_AUTHZREUSE=" + strconv.Itoa(p.options.AuthzReuse),
	}, "-config", "config.json", "-dnsserver", p.options.DNS, "-strict")
	p.await("the CA", func(ctx context.Context) error {
		_, err := p.get(ctx, p.Directory)
		return err
	})
}

func (p *Pebble) await(what string, is func(context.Context) error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 30*time.Second)
	defer cancel()
	for {
		err := is(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			p.t.Fatalf("%s does not start: %v: %s", what, err, p.log)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// get asks the CA for what it shows everybody.
func (p *Pebble) get(ctx context.Context, url string) ([]byte, error) {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(p.Roots))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %s", url, resp.Status, data)
	}
	return data, err
}

// Trust is what clients of the sites trust: the root that the CA has now.
func (p *Pebble) Trust() *x509.CertPool {
	p.t.Helper()
	root, err := p.get(p.t.Context(), "https://"+p.management+"/roots/0")
	if err != nil {
		p.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(root) {
		p.t.Fatalf("the CA's root is no certificate: %s", root)
	}
	return pool
}

// Point makes a name lead to addresses.
func (p *Pebble) Point(name string, addresses ...string) {
	p.t.Helper()
	ctx := p.t.Context()
	if err := p.dns(ctx, "clear-a", map[string]any{"host": name + "."}); err != nil {
		p.t.Fatal(err)
	}
	if err := p.dns(ctx, "add-a", map[string]any{"host": name + ".", "addresses": addresses}); err != nil {
		p.t.Fatal(err)
	}
}

// Names is the URL at which records are set: see SetTXT.
func (p *Pebble) Names() string { return "http://" + p.names }

func (p *Pebble) dns(ctx context.Context, call string, body map[string]any) error {
	return post(ctx, p.Names()+"/"+call, body)
}

// SetTXT sets a record at a name server's management URL, or with an empty
// value clears it; it is what a hook does.
func SetTXT(ctx context.Context, names, record, value string) error {
	if value == "" {
		return post(ctx, names+"/clear-txt", map[string]any{"host": record + "."})
	}
	return post(ctx, names+"/set-txt", map[string]any{"host": record + ".", "value": value})
}

func post(ctx context.Context, url string, body map[string]any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(data))
	if err != nil {
		return err
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}

// Orders is how many orders the CA has been asked for since it runs or was
// resumed.
func (p *Pebble) Orders() int { return strings.Count(p.log.String(), " orders in the db") }
