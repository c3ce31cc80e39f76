package wire_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/supervisord/supervisord/raftstore/pki"
	"github.com/supervisord/supervisord/raftstore/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func authority(t testing.TB) pki.Authority {
	t.Helper()
	a, err := pki.NewAuthority("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func identity(t testing.TB, a pki.Authority, id string, at time.Time) pki.Identity {
	t.Helper()
	key, request, err := pki.NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := a.Issue(request, id, "host-"+id, at)
	if err != nil {
		t.Fatal(err)
	}
	return pki.Identity{CA: a.Cert, Cert: cert, Key: key}
}

// journal is a log that a test can read.
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

// removals are the servers that were removed.
type removals struct {
	mu  sync.Mutex
	ids map[string]bool
}

func (r *removals) remove(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ids == nil {
		r.ids = map[string]bool{}
	}
	r.ids[id] = true
}

func (r *removals) has(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ids[id]
}

// freeAddress is one that nobody has bound.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// server is a port whose handlers tell who calls.
type server struct {
	*wire.Wire
	address string
	log     *journal
	removed *removals
	served  chan error
	stop    context.CancelFunc
}

func listen(t testing.TB, i pki.Identity) *server {
	t.Helper()
	s := &server{address: freeAddress(t), log: &journal{}, removed: &removals{}}
	var err error
	s.Wire, err = wire.Listen(wire.Options{
		Listen: s.address, Advertise: s.address, Identity: i, Denied: s.removed.has,
		Log: slog.New(slog.NewTextHandler(s.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func serve(t testing.TB, i pki.Identity) *server {
	t.Helper()
	s := listen(t, i)
	ctx, cancel := context.WithCancel(t.Context())
	s.stop, s.served = cancel, make(chan error, 1)
	tell := func(what string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			_, _ = fmt.Fprintf(w, "%s of %q: %s", what, wire.Peer(r), body)
		})
	}
	go func() { s.served <- s.Serve(ctx, tell("rpc"), tell("join")) }()
	t.Cleanup(func() {
		cancel()
		if err := <-s.served; !errors.Is(err, context.Canceled) {
			t.Errorf("serve: %v, want the context's error", err)
		}
	})
	return s
}

// call posts a text and returns the answer.
func call(t testing.TB, c *http.Client, address, body string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/path", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(r)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

func want(t testing.TB, c *http.Client, address, text string) {
	t.Helper()
	got, err := call(t, c, address, "hello")
	if err != nil || got != text {
		t.Errorf("got %q, %v, want %q", got, err, text)
	}
}

func TestServersCallEachOtherAndKnowWhoCalls(t *testing.T) {
	ca := authority(t)
	a, b := serve(t, identity(t, ca, "a", time.Now())), serve(t, identity(t, ca, "b", time.Now()))
	client := a.Client()
	for range 3 { // over one connection
		want(t, client, b.address, `rpc of "a": hello`)
	}
	want(t, b.Client(), a.address, `rpc of "b": hello`)
	if a.Addr().String() != a.address {
		t.Errorf("bound %s, want %s", a.Addr(), a.address)
	}
}

func TestAHostThatJoinsTalksOnlyToTheClusterOfItsToken(t *testing.T) {
	ca, other := authority(t), authority(t)
	s := serve(t, identity(t, ca, "a", time.Now()))
	print, err := pki.Fingerprint(ca.Cert)
	if err != nil {
		t.Fatal(err)
	}
	want(t, wire.AdmissionClient(print), s.address, `join of "": hello`)
	wrong, err := pki.Fingerprint(other.Cert)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := call(t, wire.AdmissionClient(wrong), s.address, "secret"); err == nil || !strings.Contains(err.Error(), "not of the cluster") {
		t.Errorf("another cluster answered %q, %v", got, err)
	}
	// Who shows the authority's certificate without being of it is refused.
	thief := identity(t, other, "a", time.Now())
	thief.CA = ca.Cert
	fake := serve(t, thief)
	if got, err := call(t, wire.AdmissionClient(print), fake.address, "secret"); err == nil {
		t.Errorf("a thief answered %q", got)
	}
}

func TestAStrangerGetsNothing(t *testing.T) {
	ca, other := authority(t), authority(t)
	s := serve(t, identity(t, ca, "a", time.Now()))
	member := identity(t, ca, "m", time.Now())
	for name, conf := range map[string]*tls.Config{
		"without a certificate":          {NextProtos: []string{"supervisord-rpc/1"}},
		"without one, to the log":        {NextProtos: []string{"supervisord-raft/1"}},
		"with another cluster's":         {NextProtos: []string{"supervisord-rpc/1"}, Certificates: pair(t, identity(t, other, "m", time.Now()))},
		"with one that has expired":      {NextProtos: []string{"supervisord-rpc/1"}, Certificates: pair(t, identity(t, ca, "m", time.Now().Add(-91*24*time.Hour)))},
		"with one of the future":         {NextProtos: []string{"supervisord-rpc/1"}, Certificates: pair(t, identity(t, ca, "m", time.Now().Add(48*time.Hour)))},
		"with no protocol":               {Certificates: pair(t, member)},
		"with an unknown protocol":       {NextProtos: []string{"h2"}, Certificates: pair(t, member)},
		"with old TLS":                   {NextProtos: []string{"supervisord-rpc/1"}, Certificates: pair(t, member), MaxVersion: tls.VersionTLS12},
		"that joins and calls as one":    {NextProtos: []string{"supervisord-join/1", "supervisord-rpc/1"}},
		"with the authority as a server": {NextProtos: []string{"supervisord-rpc/1"}, Certificates: pair(t, pki.Identity{CA: ca.Cert, Cert: ca.Cert, Key: ca.Key})},
	} {
		t.Run(name, func(t *testing.T) {
			conf.InsecureSkipVerify = true
			if got, err := say(t, s.address, conf); err == nil {
				t.Errorf("got %q", got)
			}
		})
	}
	t.Run("in plain text", func(t *testing.T) {
		resp, err := http.Post("http://"+s.address+"/path", "", strings.NewReader("hello"))
		if err == nil {
			_ = resp.Body.Close()
			t.Errorf("got %s", resp.Status)
		}
	})
	// The same with everything right, so that the above is not refused for
	// another reason.
	got, err := say(t, s.address, &tls.Config{NextProtos: []string{"supervisord-rpc/1"}, Certificates: pair(t, member), InsecureSkipVerify: true})
	if err != nil || !strings.Contains(got, `rpc of "m"`) {
		t.Errorf("a member got %q, %v", got, err)
	}
	if n := strings.Count(s.log.String(), "turned away"); n != 1 {
		t.Errorf("%d lines for a crowd of strangers, want one:\n%s", n, s.log)
	}
}

func pair(t *testing.T, i pki.Identity) []tls.Certificate {
	t.Helper()
	c, err := tls.X509KeyPair(i.Cert, i.Key)
	if err != nil {
		t.Fatal(err)
	}
	return []tls.Certificate{c}
}

// say does one call over a connection of one's own making.
func say(t *testing.T, address string, conf *tls.Config) (string, error) {
	t.Helper()
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", address, conf)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, "POST /path HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"); err != nil {
		return "", err
	}
	text, err := io.ReadAll(c)
	if err == nil && len(text) == 0 {
		err = io.EOF
	}
	return string(text), err
}

func TestAServerRefusesToCallAStranger(t *testing.T) {
	ca, other := authority(t), authority(t)
	a := serve(t, identity(t, ca, "a", time.Now()))
	stranger := serve(t, identity(t, other, "b", time.Now()))
	_, err := call(t, a.Client(), stranger.address, "secret")
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); !ok {
		t.Errorf("got %v, want that the authority is unknown", err)
	}
}

func TestAServerThatWasRemovedIsRefusedBothWaysAndLosesItsConnections(t *testing.T) {
	ca := authority(t)
	a, b := serve(t, identity(t, ca, "a", time.Now())), serve(t, identity(t, ca, "b", time.Now()))
	fromB, fromA := b.Client(), a.Client()
	want(t, fromB, a.address, `rpc of "b": hello`)
	want(t, fromA, b.address, `rpc of "a": hello`)
	a.removed.remove("b")
	if got, err := call(t, fromB, a.address, "hello"); err == nil {
		t.Errorf("over the connection that it has: %q", got)
	}
	if got, err := call(t, b.Client(), a.address, "hello"); err == nil {
		t.Errorf("over a new connection: %q", got)
	}
	for name, c := range map[string]*http.Client{"known": fromA, "new": a.Client()} {
		if got, err := call(t, c, b.address, "hello"); err == nil || !strings.Contains(err.Error(), "server b was removed") {
			t.Errorf("calling it over a %s connection: %q, %v", name, got, err)
		}
	}
}

func TestARenewedCertificateIsUsedFromTheNextHandshakeOn(t *testing.T) {
	ca := authority(t)
	old := identity(t, ca, "a", time.Now().Add(-90*24*time.Hour+time.Second))
	a, b := serve(t, old), serve(t, identity(t, ca, "b", time.Now()))
	want(t, a.Client(), b.address, `rpc of "a": hello`)
	time.Sleep(time.Until(time.Now().Add(1500 * time.Millisecond)))
	if got, err := call(t, a.Client(), b.address, "hello"); err == nil {
		t.Fatalf("with an expired certificate: %q", got)
	}
	renewed := identity(t, ca, "a", time.Now())
	if err := a.SetIdentity(renewed); err != nil {
		t.Fatal(err)
	}
	if got := a.Identity(); !bytes.Equal(got.Cert, renewed.Cert) {
		t.Error("the identity is not the one that was set")
	}
	want(t, a.Client(), b.address, `rpc of "a": hello`)
	want(t, b.Client(), a.address, `rpc of "b": hello`)
	if err := a.SetIdentity(pki.Identity{}); err == nil {
		t.Error("took an empty identity")
	}
	want(t, a.Client(), b.address, `rpc of "a": hello`)
}

func TestErrorsOfDialingAreTheNetworks(t *testing.T) {
	ca := authority(t)
	a := serve(t, identity(t, ca, "a", time.Now()))
	_, err := call(t, a.Client(), freeAddress(t), "hello")
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody there: %v, want ECONNREFUSED", err)
	}
	// One that takes connections and never says a word.
	mute, errListen := net.Listen("tcp", "127.0.0.1:0")
	if errListen != nil {
		t.Fatal(errListen)
	}
	defer func() { _ = mute.Close() }()
	begin := time.Now()
	_, err = call(t, a.Client(), mute.Addr().String(), "hello")
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() || errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a mute server: %v, want a timeout", err)
	}
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("a mute server held the caller for %s", took)
	}
}

func TestThoseWhoSayNothingKeepNobodyOut(t *testing.T) {
	ca := authority(t)
	a, b := serve(t, identity(t, ca, "a", time.Now())), serve(t, identity(t, ca, "b", time.Now()))
	closed := 0
	for range 40 {
		c, err := net.Dial("tcp", a.address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		if err := c.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			closed++
		}
	}
	if closed != 8 {
		t.Errorf("%d of 40 silent connections were turned away, want those beyond 32", closed)
	}
	// They come from the same address as b here, which waits for its turn.
	for end := time.Now().Add(8 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if _, err := call(t, b.Client(), a.address, "hello"); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatalf("after their time was up: %v", err)
		}
	}
}

func TestHostsThatJoinAreServedAFewAtATime(t *testing.T) {
	ca := authority(t)
	s := serve(t, identity(t, ca, "a", time.Now()))
	conf := &tls.Config{NextProtos: []string{"supervisord-join/1"}, InsecureSkipVerify: true}
	open := 0
	for range 40 {
		c, err := tls.Dial("tcp", s.address, conf)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
			open++
		}
	}
	if open != 32 {
		t.Errorf("%d of 40 are being served, want 32", open)
	}
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

func TestBadOptionsAreRefused(t *testing.T) {
	i := identity(t, authority(t), "a", time.Now())
	log := slog.New(slog.DiscardHandler)
	taken := serve(t, i)
	for name, o := range map[string]wire.Options{
		"no logger":        {Listen: "127.0.0.1:0", Advertise: "127.0.0.1:1", Identity: i},
		"no identity":      {Listen: "127.0.0.1:0", Advertise: "127.0.0.1:1", Log: log},
		"any address":      {Listen: "127.0.0.1:0", Advertise: "0.0.0.0:1", Identity: i, Log: log},
		"no port":          {Listen: "127.0.0.1:0", Advertise: "127.0.0.1", Identity: i, Log: log},
		"port zero":        {Listen: "127.0.0.1:0", Advertise: "127.0.0.1:0", Identity: i, Log: log},
		"an address taken": {Listen: taken.address, Advertise: taken.address, Identity: i, Log: log},
	} {
		if w, err := wire.Listen(o); err == nil {
			t.Errorf("%s: taken", name)
			_ = w.Close()
		}
	}
}

func TestClosingEndsEverything(t *testing.T) {
	ca := authority(t)
	a, b := serve(t, identity(t, ca, "a", time.Now())), serve(t, identity(t, ca, "b", time.Now()))
	want(t, a.Client(), b.address, `rpc of "a": hello`)
	silent, err := net.Dial("tcp", a.address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	a.stop()
	begin := time.Now()
	for range 2 {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("took %s", took)
	}
	if _, err := call(t, b.Client(), a.address, "hello"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after the end: %v, want ECONNREFUSED", err)
	}
	if _, err := call(t, a.Client(), b.address, "hello"); err == nil {
		t.Error("a closed port still calls")
	}
}
