package supervisor

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/lbconfig/nginx"
	"github.com/supervisord/supervisord/supervisor/certs/certstest"
	"github.com/supervisord/supervisord/supervisor/seal"
	"github.com/supervisord/supervisord/supervisor/state"
)

// edge is a test host with an nginx of its own on an address of its own.
type edge struct {
	*testHost
	ip            string
	plain, secure string
	status        string
	nginxDir      string
	applied       atomic.Int64
}

// edges are three hosts on three addresses with the same two ports.
func edges(t *testing.T) (all []*edge, port int) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a real nginx and Pebble")
	}
	_, plain, _ := net.SplitHostPort(certstest.FreeAddress(t))
	_, secure, _ := net.SplitHostPort(certstest.FreeAddress(t))
	for n, name := range []string{"a", "b", "c"} {
		// Each run has addresses of its own, so that runs do not meet.
		ip := fmt.Sprintf("127.%d.%d.%d", 10+os.Getpid()%200, os.Getpid()/200%250, n+1)
		e := &edge{testHost: newTestHost(t, name), ip: ip, plain: ip + ":" + plain, secure: ip + ":" + secure, status: certstest.FreeAddress(t)}
		e.equip = e.parts
		e.startNginx()
		all = append(all, e)
	}
	port, err := strconv.Atoi(plain)
	if err != nil {
		t.Fatal(err)
	}
	return all, port
}

func (e *edge) startNginx() {
	e.t.Helper()
	e.nginxDir = e.t.TempDir()
	base := lbconfig.BaseOptions{
		WorkerProcesses: "1", PIDFile: e.path("nginx.pid"), ErrorLog: e.path("error.log"), MimeTypes: "/etc/nginx/mime.types",
		Root: e.path("root"), CacheDir: e.path("cache"), TempDir: e.path("temp"), ShutdownTimeout: 5 * time.Second,
	}
	if os.Geteuid() == 0 {
		base.User = "root"
	}
	for _, dir := range []string{"root", "cache", "temp"} {
		if err := os.Mkdir(e.path(dir), 0o755); err != nil {
			e.t.Fatal(err)
		}
	}
	if err := os.WriteFile(e.path("nginx.conf"), lbconfig.Base(base), 0o644); err != nil {
		e.t.Fatal(err)
	}
	cmd := exec.Command("nginx", "-e", e.path("error.log"), "-c", e.path("nginx.conf"), "-g", "daemon off;")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	eventually(e.t, "nginx of "+e.name, func() string {
		if _, err := os.Stat(e.path("nginx.pid")); err != nil {
			return err.Error()
		}
		return ""
	})
}

func (e *edge) path(name string) string { return filepath.Join(e.nginxDir, name) }

// Apply counts the reloads.
func (e *edge) Apply(ctx context.Context, cfg lbconfig.Config) (lbconfig.Outcome, error) {
	a := nginx.NewApplier(nginx.Options{Root: e.path("root"), Conf: e.path("nginx.conf"), ErrorLog: e.path("error.log")},
		nginx.Host{PIDFile: e.path("nginx.pid"), Status: e.status}, slog.New(slog.DiscardHandler))
	out, err := a.Apply(ctx, cfg)
	if out.Changed {
		e.applied.Add(1)
	}
	return out, err
}

// parts give a daemon a real nginx and certificates.
func (e *edge) parts(p *parts) func(context.Context) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		e.t.Fatal(err)
	}
	p.listen, p.status, p.balance = []string{e.plain}, e.status, e
	p.self.Address = e.ip
	log := p.log
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("host", e.name)
	}
	p.certs = newCertKeeper(seal.New(e.dir), e.path("root"), []string{e.secure}, l, log)
	keeper := p.certs
	return func(ctx context.Context) error {
		err := keeper.run(ctx)
		return errors.Join(err, keeper.close())
	}
}

// secureSpec has sites with TLS for host names.
func secureSpec(hash string, p *certstest.Pebble, hosts ...string) state.Spec {
	return state.Spec{
		Hash: hash, Project: "shop",
		Services: map[string]state.Service{"shop": {
			Name: "shop", Hash: "s", Replicas: 0,
			Ingress: &lbconfig.Ingress{Hosts: hosts, Port: 80, TLS: lbconfig.TLSAuto, HSTS: &lbconfig.HSTS{MaxAge: time.Hour}},
		}},
		TLS: &state.TLS{Email: "ops@example.com", CA: p.Directory, Staging: p.Directory, Roots: p.Roots},
	}
}

// handshake is one fresh connection.
func handshake(ctx context.Context, address, name string, trust *x509.CertPool) (tls.ConnectionState, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	d := tls.Dialer{Config: &tls.Config{ServerName: name, RootCAs: trust, InsecureSkipVerify: trust == nil, NextProtos: []string{"h2", "http/1.1"}}}
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer c.Close()
	return c.(*tls.Conn).ConnectionState(), nil
}

// serves waits until a host serves a name with a certificate that clients
// trust, and returns it.
func (e *edge) serves(name string, trust *x509.CertPool) *x509.Certificate {
	e.t.Helper()
	var leaf *x509.Certificate
	eventually(e.t, e.name+" serves "+name, func() string {
		s, err := handshake(e.t.Context(), e.secure, name, trust)
		if err != nil {
			return err.Error()
		}
		leaf = s.PeerCertificates[0]
		if s.NegotiatedProtocol != "h2" || s.Version != tls.VersionTLS13 || len(s.VerifiedChains[0]) < 3 {
			return fmt.Sprintf("protocol %q, version %x, a chain of %d", s.NegotiatedProtocol, s.Version, len(s.VerifiedChains[0]))
		}
		return ""
	})
	return leaf
}

func propose(t *testing.T, h *testHost, cmds ...state.Command) {
	t.Helper()
	refused, err := h.member.proposer.Propose(t.Context(), cmds...)
	if err := errors.Join(append(refused, err)...); err != nil {
		t.Fatal(err)
	}
}

func (h *testHost) hasEvent(kind state.EventKind, text string) string {
	c, _ := h.member.replica.Current()
	for e := range c.Events.Values() {
		if e.Kind == kind && strings.Contains(e.Message, text) {
			return ""
		}
	}
	return fmt.Sprintf("no %s with %q", kind, text)
}

func TestCertificatesOnThreeHosts(t *testing.T) {
	all, port := edges(t)
	p := certstest.Start(t, certstest.Options{HTTPPort: port, NonceReject: 10, AuthzReuse: 0})
	hosts := formOf(t, all[0].testHost, all[1].testHost, all[2].testHost)
	p.Point("www.example.com", all[0].ip, all[1].ip, all[2].ip)
	for n, name := range []string{"a.example.com", "b.example.com", "c.example.com"} {
		p.Point(name, all[n].ip) // whichever host leads, others are asked
	}

	// The cluster's time is ten minutes ahead of the CA's.
	leader, _ := leading(t, hosts)
	early, err := state.Encode(state.Proposal{At: time.Now().Add(10 * time.Minute), Commands: []state.Command{state.Note{Event: state.Event{Kind: state.EventClockSkew, Message: "ahead"}}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := leader.member.store.Propose(t.Context(), early); err != nil {
		t.Fatal(err)
	}

	p.Stop()
	names := []string{"www.example.com", "a.example.com", "b.example.com", "c.example.com"}
	propose(t, hosts[0], state.SetSpec{Spec: secureSpec("1", p, names...), Host: "a"})
	for _, e := range all {
		eventually(t, "before there is a certificate, one of our own on "+e.name, func() string {
			s, err := handshake(t.Context(), e.secure, "www.example.com", nil)
			if err != nil {
				return err.Error()
			}
			if cert := s.PeerCertificates[0]; cert.Subject.CommonName != "no certificate yet" || cert.VerifyHostname("www.example.com") != nil {
				return cert.Subject.String()
			}
			return ""
		})
	}
	eventually(t, "a CA that is away is told of", func() string {
		return hosts[1].hasEvent(state.EventCertFailed, "the CA cannot be reached")
	})
	p.Resume()
	for _, name := range names {
		propose(t, hosts[2], state.DemandCertificate{Name: name})
	}
	trust := p.Trust()
	for _, e := range all {
		for _, name := range names {
			e.serves(name, trust)
		}
		e.redirects("www.example.com")
		e.keepsKeysToItself()
	}
	t.Run("nothing is left of the orders", func(t *testing.T) {
		eventually(t, "no lock, no answer", func() string {
			c, _ := hosts[0].member.replica.Current()
			for key := range c.Blobs.All() {
				if strings.Contains(key, "challenge") {
					return key
				}
			}
			if c.Locks.Len() > 0 {
				return "a lock is held"
			}
			return ""
		})
	})
	t.Run("a renewal costs each nginx one reload and no client anything", func(t *testing.T) { renewUnderLoad(t, all, trust) })
	t.Run("a wrong name says what failed on which host", func(t *testing.T) {
		p.Point("gone.example.com", all[1].ip)
		// What answers on b's address is not the cluster's.
		wrong := all[1].ip[:strings.LastIndex(all[1].ip, ".")] + ".99"
		p.Point("gone.example.com", wrong)
		spec := secureSpec("2", p, append(names, "gone.example.com")...)
		c, _ := hosts[0].member.replica.Current()
		propose(t, hosts[0], state.SetSpec{Spec: spec, Base: c.Spec.Revision, Host: "a"})
		eventually(t, "it is told", func() string {
			return hosts[0].hasEvent(state.EventCertFailed, "no certificate for gone.example.com could be had: http-01 failed (ordered by ")
		})
		all[2].serves("www.example.com", trust)
	})
	t.Run("a leader that dies in the midst of an order is followed", func(t *testing.T) { killMidOrder(t, all, hosts, p) })
}

func (e *edge) redirects(name string) {
	e.t.Helper()
	req, err := http.NewRequestWithContext(e.t.Context(), http.MethodGet, "http://"+e.plain+"/x?y=z", nil)
	if err != nil {
		e.t.Fatal(err)
	}
	req.Host = name
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		e.t.Fatal(err)
	}
	defer resp.Body.Close()
	_, port, _ := net.SplitHostPort(e.secure)
	if want := "https://" + name + ":" + port + "/x?y=z"; resp.StatusCode != http.StatusPermanentRedirect || resp.Header.Get("Location") != want {
		e.t.Errorf("%s sends on with %d to %q, want %q", e.name, resp.StatusCode, resp.Header.Get("Location"), want)
	}
}

// keepsKeysToItself looks for the private keys, which nginx has in files, in
// all that this host has of the replicated state.
func (e *edge) keepsKeysToItself() {
	e.t.Helper()
	files, err := filepath.Glob(e.path("root/tls/*.key"))
	if err != nil || len(files) == 0 {
		e.t.Fatalf("no keys: %v", err)
	}
	var secrets []string
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			e.t.Fatal(err)
		}
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
			e.t.Errorf("%s has mode %v: %v", f, info.Mode(), err)
		}
		secrets = append(secrets, strings.Split(string(data), "\n")[2])
	}
	c, _ := e.member.replica.Current()
	if !seal.New(e.dir).Has(c.SealKey) {
		e.t.Errorf("%s does not have the key that seals", e.name)
	}
	var snapshot bytes.Buffer
	if _, err := c.WriteTo(&snapshot); err != nil {
		e.t.Fatal(err)
	}
	look := func(where string, data []byte) {
		for _, s := range secrets {
			if bytes.Contains(data, []byte(s)) {
				e.t.Errorf("a private key is in %s", where)
			}
		}
	}
	look("the snapshot", snapshot.Bytes())
	err = filepath.WalkDir(e.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		look(path, data)
		return err
	})
	if err != nil {
		e.t.Fatal(err)
	}
}

// renewUnderLoad renews while clients connect again and again; as fast as they
// can, they would starve the log on a small machine.
func renewUnderLoad(t *testing.T, all []*edge, trust *x509.CertPool) {
	var before []*x509.Certificate
	var reloads []int64
	for _, e := range all {
		before = append(before, e.serves("www.example.com", trust))
		reloads = append(reloads, e.applied.Load())
	}
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	var made, failed atomic.Int64
	for _, e := range all {
		for range 2 {
			load.Go(func() {
				for ctx.Err() == nil {
					_, err := handshake(t.Context(), e.secure, "www.example.com", trust)
					made.Add(1)
					if err != nil {
						failed.Add(1)
						t.Log(err)
					}
					time.Sleep(3 * time.Millisecond)
				}
			})
		}
	}
	propose(t, all[1].testHost, state.DemandCertificate{Name: "www.example.com"})
	for n, e := range all {
		eventually(t, e.name+" serves the renewed one", func() string {
			if now := e.serves("www.example.com", trust); now.SerialNumber.Cmp(before[n].SerialNumber) == 0 {
				return "the old one"
			}
			return ""
		})
	}
	stop()
	load.Wait()
	t.Logf("%d fresh handshakes during the renewal, %d failed", made.Load(), failed.Load())
	if failed.Load() > 0 {
		t.Errorf("%d of %d handshakes failed", failed.Load(), made.Load())
	}
	for n, e := range all {
		// nginx serves it a moment before its reload counts as done.
		eventually(t, "the reload of "+e.name, func() string {
			if e.applied.Load() == reloads[n] {
				return "none is done"
			}
			return ""
		})
		if got := e.applied.Load() - reloads[n]; got != 1 {
			t.Errorf("nginx of %s was reloaded %d times, want once", e.name, got)
		}
	}
}

// killMidOrder kills the leader while the CA asks, and looks that the next one
// orders again, not before the dead one's lock has expired.
func killMidOrder(t *testing.T, all []*edge, hosts []*testHost, p *certstest.Pebble) {
	leader, others := leading(t, hosts)
	slow := all[0].ip[:strings.LastIndex(all[0].ip, ".")] + ".50"
	_, port, _ := net.SplitHostPort(all[0].plain)
	l, err := net.Listen("tcp", net.JoinHostPort(slow, port))
	if err != nil {
		t.Fatal(err)
	}
	asked, release := make(chan struct{}, 10), make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked <- struct{}{}
		<-release
		w.WriteHeader(http.StatusNotFound)
	})}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	// An operator demands it, and it has a good certificate: nothing but the
	// unfinished order says to the next leader that there is something to do.
	const name = "www.example.com"
	p.Point(name, slow)
	orders := p.Orders()
	c, _ := leader.member.replica.Current()
	before, _ := c.Certificates.Get(name)
	propose(t, leader, state.DemandCertificate{Name: name})
	<-asked
	leader.stop()
	killed := time.Now()
	// A host without its daemon has nobody to answer, though its nginx runs.
	var alive []string
	for _, e := range all {
		if e.testHost != leader {
			alive = append(alive, e.ip)
		}
	}
	p.Point(name, alive...)
	close(release)
	next, _ := leading(t, others)
	eventually(t, "the next leader begins", func() string {
		c, _ := next.member.replica.Current()
		if o, _ := c.CertOrders.Get(name); o.Host != next.name {
			return "ordered by " + o.Host
		}
		return ""
	})
	if now := p.Orders(); now != orders+1 {
		t.Errorf("%d orders while the dead leader's lock is in force, want 1", now-orders)
	}
	trust := p.Trust()
	eventually(t, "the order is gone on with", func() string {
		c, _ := next.member.replica.Current()
		if now, _ := c.Certificates.Get(name); now.Fingerprint == before.Fingerprint {
			return "it has the old one"
		}
		return ""
	})
	t.Logf("the next leader had the certificate %s after the kill, with %d orders", time.Since(killed).Round(time.Second), p.Orders()-orders)
	for _, e := range all {
		if e.testHost != leader {
			e.serves(name, trust)
		}
	}
	// The dead leader's nginx serves what it had all the while.
	leader.start()
	for _, e := range all {
		e.serves(name, trust)
	}
}
