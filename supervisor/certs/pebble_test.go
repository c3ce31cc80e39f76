package certs_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/supervisord/supervisord/supervisor/certs"
	"github.com/supervisord/supervisord/supervisor/certs/certstest"
)

// host is one host of a cluster: a manager that answers a CA.
type host struct {
	*certs.Manager
	port int
}

func newHost(t *testing.T, s certs.Store) *host {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &host{certs.NewManager(certs.Options{Store: s, Challenge: l.Addr().String(), Log: slog.New(slog.DiscardHandler)}), l.Addr().(*net.TCPAddr).Port}
	server := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		<-done
		h.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return h
}

func settings(p *certstest.Pebble) certs.Settings {
	return certs.Settings{CA: p.Directory, Email: "ops@example.com", Roots: p.Roots}
}

func due() error { return nil }

// kept is a certificate that clients trust.
func kept(t *testing.T, s *shelf, p *certstest.Pebble, name string) certs.Info {
	t.Helper()
	b, err := s.Certificate(name)
	if err != nil {
		t.Fatal(err)
	}
	info, err := certs.Check(b.Chain, b.Key, name, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestOrdersFromARealCA(t *testing.T) {
	s := newShelf()
	// The CA asks another host than the one that orders.
	orders, answers := newHost(t, s), newHost(t, s)
	p := certstest.Start(t, certstest.Options{HTTPPort: answers.port, NonceReject: 20})
	ctx := t.Context()
	if err := orders.Order(ctx, settings(p), "www.example.com", false, due); err != nil {
		t.Fatal(err)
	}
	first := kept(t, s, p, "www.example.com")
	b, _ := s.Certificate("www.example.com")
	if at, err := orders.RenewalTime(ctx, settings(p), b.Chain); err != nil || at.Before(first.NotBefore) || !at.Before(first.NotAfter) {
		t.Errorf("to be renewed at %s: %v", at, err)
	}
	if err := answers.Order(ctx, settings(p), "www.example.com", true, due); err != nil {
		t.Fatal(err)
	}
	if second := kept(t, s, p, "www.example.com"); second.Fingerprint == first.Fingerprint {
		t.Error("renewed, it is the same")
	}
	renewed, _ := s.Certificate("www.example.com")
	if string(renewed.Key) == string(b.Key) {
		t.Error("renewed, it has the same key")
	}
	if left := s.List("acme"); len(left) != 2 || len(s.locks) != 0 {
		t.Errorf("left are the files %v, want the account alone, and the locks %v", left, s.locks)
	}

	t.Run("what another host has done meanwhile is not done again", func(t *testing.T) {
		before := p.Orders()
		errDone := errors.New("it is done")
		if err := orders.Order(ctx, settings(p), "www.example.com", true, func() error { return errDone }); !errors.Is(err, errDone) {
			t.Errorf("got %v", err)
		}
		if p.Orders() != before {
			t.Error("the CA was asked all the same")
		}
	})
	t.Run("who has lost the lock keeps nothing", func(t *testing.T) {
		s.lose = true
		defer func() { s.lose = false }()
		if err := orders.Order(ctx, settings(p), "late.example.com", false, due); err == nil || !strings.Contains(err.Error(), errLost.Error()) {
			t.Errorf("got %v", err)
		}
		if _, err := s.Certificate("late.example.com"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("kept is one: %v", err)
		}
	})
	t.Run("a rehearsal keeps nothing", func(t *testing.T) {
		if err := orders.Rehearse(ctx, settings(p), "www.example.com"); err != nil {
			t.Error(err)
		}
		if now, _ := s.Certificate("www.example.com"); string(now.Chain) != string(renewed.Chain) {
			t.Error("it has replaced the certificate")
		}
	})
	t.Run("what fails is said in the CA's words", func(t *testing.T) {
		p.Point("wrong.example.com", "127.0.0.9")
		err := orders.Order(ctx, settings(p), "wrong.example.com", false, due)
		f, ok := errors.AsType[*certs.Failure](err)
		if !ok || f.Unreachable || f.Limited || !strings.Contains(f.Detail, "127.0.0.9") {
			t.Errorf("got %+v", err)
		}
		if left := s.List("acme"); len(left) != 2 {
			t.Errorf("left are %v", left)
		}
	})
	t.Run("a CA that is away is told from one that refuses", func(t *testing.T) {
		p.Stop()
		err := orders.Order(ctx, settings(p), "new.example.com", false, due)
		if f, ok := errors.AsType[*certs.Failure](err); !ok || !f.Unreachable || !strings.Contains(f.Detail, "cannot be reached") {
			t.Errorf("got %+v", err)
		}
		// It comes back without its memory, and the account is made anew.
		p.Resume()
		err = orders.Order(ctx, settings(p), "new.example.com", false, due)
		if f, ok := errors.AsType[*certs.Failure](err); !ok || !f.Unreachable || !strings.Contains(f.Detail, "another one has been made") {
			t.Errorf("got %+v", err)
		}
		if err := orders.Order(ctx, settings(p), "new.example.com", false, due); err != nil {
			t.Error(err)
		}
	})
}

// hookOf is set in the environment of a hook: this program again.
const hookOf = "SUPERVISORD_TEST_NAMES"

func TestHook(t *testing.T) {
	names := os.Getenv(hookOf)
	if names == "" {
		t.Skip("it is run by the CA's client")
	}
	args := os.Args[len(os.Args)-3:]
	value := args[2]
	if args[0] == "cleanup" {
		value = ""
	}
	if err := certstest.SetTXT(t.Context(), names, args[1], value); err != nil {
		t.Fatal(err)
	}
}

func TestWildcardsAreProvenByAProgram(t *testing.T) {
	p := certstest.Start(t, certstest.Options{HTTPPort: 1})
	t.Setenv(hookOf, p.Names())
	s := newShelf()
	set := settings(p)
	set.DNS = &certs.DNS{Exec: []string{os.Args[0], "-test.run=^TestHook$"}}
	h := newHost(t, s)
	if err := h.Order(t.Context(), set, "*.example.com", false, due); err != nil {
		t.Fatal(err)
	}
	kept(t, s, p, "*.example.com")

	set.DNS = &certs.DNS{Exec: []string{"/bin/sh", "-c", "echo no such zone >&2; exit 3"}}
	if err := h.Order(t.Context(), set, "*.other.example.com", false, due); err == nil || !strings.Contains(err.Error(), "no such zone") {
		t.Errorf("a hook that fails: %v", err)
	}
}

// zone is a name server that takes updates with a key.
type zone struct {
	mu      sync.Mutex
	txt     map[string][]string
	refused int
}

const (
	tsigName   = "svd-key."
	tsigSecret = "c2VjcmV0LXNlY3JldC1zZWNyZXQ="
)

// ServeDNS implements dns.Handler.
func (z *zone) ServeDNS(w dns.ResponseWriter, r *dns.Msg) {
	z.mu.Lock()
	defer z.mu.Unlock()
	m := new(dns.Msg)
	m.SetReply(r)
	switch {
	case r.Opcode == dns.OpcodeUpdate && (r.IsTsig() == nil || w.TsigStatus() != nil):
		z.refused++
		m.Rcode = dns.RcodeRefused
	case r.Opcode == dns.OpcodeUpdate:
		for _, rr := range r.Ns {
			txt, ok := rr.(*dns.TXT)
			switch {
			case ok && rr.Header().Class == dns.ClassINET:
				z.txt[rr.Header().Name] = append(z.txt[rr.Header().Name], strings.Join(txt.Txt, ""))
			case rr.Header().Class != dns.ClassINET:
				delete(z.txt, rr.Header().Name)
			}
		}
		m.SetTsig(tsigName, dns.HmacSHA256, 300, time.Now().Unix())
	case r.Question[0].Qtype == dns.TypeTXT:
		for _, v := range z.txt[strings.ToLower(r.Question[0].Name)] {
			m.Answer = append(m.Answer, &dns.TXT{Hdr: dns.RR_Header{Name: r.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{v}})
		}
	}
	_ = w.WriteMsg(m)
}

// serve answers over UDP and TCP on one port until the test ends.
func (z *zone) serve(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, s := range []*dns.Server{{Listener: l}, {PacketConn: pc}} {
		started := make(chan struct{})
		s.Handler, s.TsigSecret, s.NotifyStartedFunc = z, map[string]string{tsigName: tsigSecret}, func() { close(started) }
		s.MsgAcceptFunc = func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }
		wg.Go(func() { _ = s.ActivateAndServe() })
		<-started
		t.Cleanup(func() {
			if err := s.Shutdown(); err != nil {
				t.Error(err)
			}
		})
	}
	return l.Addr().String()
}

func TestWildcardsAreProvenByUpdates(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Pebble")
	}
	z := &zone{txt: map[string][]string{}}
	server := z.serve(t)
	p := certstest.Start(t, certstest.Options{HTTPPort: 1, DNS: server})
	keyFile := filepath.Join(t.TempDir(), "tsig")
	if err := os.WriteFile(keyFile, []byte(tsigSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newShelf()
	set := settings(p)
	set.DNS = &certs.DNS{Server: server, Zone: "example.com", KeyName: "svd-key", Algorithm: "hmac-sha256", KeyFile: keyFile, Wait: 10 * time.Millisecond}
	h := newHost(t, s)
	if err := h.Order(t.Context(), set, "*.shop.example.com", false, due); err != nil {
		t.Fatal(err)
	}
	kept(t, s, p, "*.shop.example.com")
	z.mu.Lock()
	if len(z.txt) != 0 || z.refused != 0 {
		t.Errorf("left are %v, refused were %d", z.txt, z.refused)
	}
	z.mu.Unlock()

	if err := h.Order(t.Context(), set, "www.example.org", false, due); err == nil || !strings.Contains(err.Error(), "is not in zone example.com") {
		t.Errorf("outside of the zone: %v", err)
	}
	if err := os.WriteFile(keyFile, []byte("YW5vdGhlci1zZWNyZXQ="), 0o600); err != nil {
		t.Fatal(err)
	}
	err := h.Order(t.Context(), set, "*.b.example.com", false, due)
	if err == nil || strings.Contains(err.Error(), "YW5vdGhlci1zZWNyZXQ") {
		t.Errorf("with another key: %v", err)
	}
}

// Two hosts that want the same name at once order it one after the other.
func TestOneHostOrdersAName(t *testing.T) {
	s := newShelf()
	a, b := newHost(t, s), newHost(t, s)
	p := certstest.Start(t, certstest.Options{HTTPPort: a.port})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for n := range errs {
		wg.Go(func() {
			h := []*host{a, b}[n%2]
			errs[n] = h.Order(ctx, settings(p), "one.example.com", false, due)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if n := p.Orders(); n != 1 {
		t.Errorf("the CA has had %d orders, want 1", n)
	}
}
