package certs_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/supervisord/supervisord/supervisor/certs"
)

// certmagic has a rate limiter for each CA and email, for as long as the process
// lives.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*RingBufferRateLimiter).loop"))
}

// issued is a certificate and its key in PEM; it can issue others.
type issued struct {
	chain, key []byte
	cert       *x509.Certificate
	secret     *ecdsa.PrivateKey
}

func issue(t testing.TB, by *issued, change func(*x509.Certificate)) issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"www.example.com"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(89 * time.Hour), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if by == nil {
		template.IsCA, template.DNSNames, template.KeyUsage = true, nil, x509.KeyUsageCertSign
	}
	if change != nil {
		change(template)
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.secret
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	out := issued{secret: key, chain: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
	if out.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	out.key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	return out
}

func TestCheck(t *testing.T) {
	root := issue(t, nil, nil)
	other := issue(t, nil, nil)
	leaf := issue(t, &root, nil)
	now := time.Now()
	full := append(slices.Clone(leaf.chain), root.chain...)
	wild := issue(t, &root, func(c *x509.Certificate) { c.DNSNames = []string{"*.example.com"} })
	for name, tc := range map[string]struct {
		chain, key []byte
		host       string
		now        time.Time
		want       string // empty where it may be served
	}{
		"in order":                   {full, leaf.key, "www.example.com", now, ""},
		"without its issuer":         {leaf.chain, leaf.key, "WWW.example.com", now, ""},
		"a wildcard for itself":      {wild.chain, wild.key, "*.example.com", now, ""},
		"a wildcard for a name":      {wild.chain, wild.key, "api.example.com", now, ""},
		"a clock that is behind":     {full, leaf.key, "www.example.com", now.Add(-90 * time.Minute), ""},
		"a name for a wildcard":      {leaf.chain, leaf.key, "*.example.com", now, "is for www.example.com, not for *.example.com"},
		"another's key":              {full, other.key, "www.example.com", now, "private key does not match"},
		"expired":                    {full, leaf.key, "www.example.com", now.Add(90 * time.Hour), "has expired at"},
		"not yet in force":           {full, leaf.key, "www.example.com", now.Add(-3 * time.Hour), "is not in force before"},
		"for another name":           {full, leaf.key, "api.example.com", now, "is for www.example.com, not for api.example.com"},
		"a chain that does not hold": {append(slices.Clone(leaf.chain), other.chain...), leaf.key, "www.example.com", now, "certificate 1 of the chain is not issued by the next one"},
		"no PEM":                     {[]byte("hello"), leaf.key, "www.example.com", now, "certificate and key"},
		"no key":                     {full, nil, "www.example.com", now, "certificate and key"},
		"cut off":                    {full[:len(leaf.chain)/2], leaf.key, "www.example.com", now, "certificate and key"},
	} {
		t.Run(name, func(t *testing.T) {
			info, err := certs.Check(tc.chain, tc.key, tc.host, tc.now)
			if tc.want == "" {
				if err != nil || info.Fingerprint == "" || info.Issuer != "test" {
					t.Errorf("%+v: %v", info, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if err != nil && len(tc.key) > 0 && strings.Contains(err.Error(), string(tc.key[40:60])) {
				t.Error("the key is in the error")
			}
		})
	}
	info, err := certs.Describe(full)
	if err != nil || !certs.RenewAt(info).Equal(info.NotBefore.Add(60*time.Hour)) {
		t.Errorf("renewed at %s of %s to %s: %v", certs.RenewAt(info), info.NotBefore, info.NotAfter, err)
	}
}

func TestFilesAreForRootAloneAndNeverChange(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	f := certs.NewFiles(dir)
	root := issue(t, nil, nil)
	one, two := issue(t, &root, nil), issue(t, &root, nil)
	a, err := f.Put(one.chain, one.key)
	if err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]fs.FileMode{dir: 0o700, a.Key: 0o600, a.Chain: 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: mode %v, want %v: %v", path, info.Mode(), mode, err)
		}
	}
	before, err := os.Stat(a.Chain)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := f.Put(one.chain, one.key); err != nil || again != a {
		t.Errorf("the same certificate again: %+v: %v", again, err)
	}
	if after, err := os.Stat(a.Chain); err != nil || !os.SameFile(before, after) {
		t.Errorf("it was written again: %v", err)
	}
	b, err := f.Put(two.chain, two.key)
	if err != nil || b == a {
		t.Fatalf("another certificate is at %+v: %v", b, err)
	}
	if err := f.Remember("www.example.com", a); err != nil {
		t.Fatal(err)
	}
	if p, chain, key, err := f.Recall("www.example.com"); err != nil || p != a || !bytes.Equal(chain, one.chain) || !bytes.Equal(key, one.key) {
		t.Errorf("recalled %+v: %v", p, err)
	}
	if _, _, _, err := f.Recall("other.example.com"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("recalled what was never there: %v", err)
	}
	// Half a pair, as a kill between two renames leaves it, is made whole.
	if err := os.Remove(b.Chain); err != nil {
		t.Fatal(err)
	}
	if again, err := f.Put(two.chain, two.key); err != nil || again != b {
		t.Errorf("%+v: %v", again, err)
	}
	if err := f.Clean(func(string) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(a.Key); err != nil {
		t.Errorf("what is remembered was removed: %v", err)
	}
	if _, err := os.Stat(b.Key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what nobody wants is still there: %v", err)
	}
}

func TestSelfSigned(t *testing.T) {
	f := certs.NewFiles(t.TempDir())
	for _, name := range []string{"www.example.com", "*.example.com", strings.Repeat("a", 60) + "." + strings.Repeat("b", 60) + ".example.com"} {
		p, err := f.SelfSigned(name, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		chain, err := os.ReadFile(p.Chain)
		if err != nil {
			t.Fatal(err)
		}
		key, err := os.ReadFile(p.Key)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := certs.Check(chain, key, name, time.Now()); err != nil || info.Issuer != "supervisord no certificate yet" {
			t.Errorf("%s: %+v: %v", name, info, err)
		}
		if again, err := f.SelfSigned(name, time.Now()); err != nil || again != p {
			t.Errorf("%s: made again: %v", name, err)
		}
		if now, err := os.ReadFile(p.Chain); err != nil || !bytes.Equal(now, chain) {
			t.Errorf("%s: another one each time: %v", name, err)
		}
	}
}

// shelf is a Store in memory.
type shelf struct {
	mu     sync.Mutex
	files  map[string][]byte
	locks  map[string]string
	tokens map[string]uint64
	// changed is closed when something is put.
	changed chan struct{}
	kept    map[string]certs.Bundle
	// lose says that locks are lost as soon as they are had.
	lose bool
}

func newShelf() *shelf {
	return &shelf{changed: make(chan struct{}), files: map[string][]byte{}, locks: map[string]string{}, tokens: map[string]uint64{}, kept: map[string]certs.Bundle{}}
}

func (s *shelf) Load(key string) (certs.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok := s.files[key]
	if !ok {
		return certs.File{}, fmt.Errorf("%s: %w", key, fs.ErrNotExist)
	}
	return certs.File{Data: data}, nil
}

func (s *shelf) List(dir string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for key := range s.files {
		if strings.HasPrefix(key, dir+"/") {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

func (s *shelf) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *shelf) Put(_ context.Context, key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[key] = value
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

func (s *shelf) Delete(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.files {
		if k == key || strings.HasPrefix(k, key+"/") {
			delete(s.files, k)
		}
	}
	return nil
}

func (s *shelf) Lock(_ context.Context, name, owner string, _ time.Duration) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if by, held := s.locks[name]; held && by != owner {
		return 0, certs.ErrHeld
	}
	if s.locks[name] == "" {
		s.tokens[name]++
	}
	s.locks[name] = owner
	return s.tokens[name], nil
}

func (s *shelf) Unlock(_ context.Context, name, owner string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.locks[name] == owner {
		delete(s.locks, name)
	}
	return nil
}

func (s *shelf) Certificate(name string) (certs.Bundle, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.kept[name]
	if !ok {
		return b, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return b, nil
}

var errLost = errors.New("the lock has been lost")

func (s *shelf) Keep(_ context.Context, name string, b certs.Bundle, lock string, token uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.locks[lock] == "" || token != s.tokens[lock] || s.lose {
		return errLost
	}
	s.kept[name] = b
	return nil
}

// The CA may ask a host before that has heard of the order.
func TestAnAnswerIsWaitedFor(t *testing.T) {
	s := newShelf()
	m := certs.NewManager(certs.Options{Store: s, Challenge: "127.0.0.1:1", Log: slog.New(slog.DiscardHandler)})
	defer m.Close()
	ask := func(method, path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		m.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, nil))
		return w
	}
	const path = "/.well-known/acme-challenge/tok"
	asked := make(chan *httptest.ResponseRecorder)
	go func() { asked <- ask(http.MethodGet, path) }()
	if err := s.Put(t.Context(), "acme/other/x", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "acme/ca/challenge_tokens/a.json", []byte(`{"token":"tok","keyAuthorization":"tok.print"}`)); err != nil {
		t.Fatal(err)
	}
	if w := <-asked; w.Code != http.StatusOK || w.Body.String() != "tok.print" {
		t.Errorf("answered with %d %q", w.Code, w.Body)
	}
	if w := ask(http.MethodPost, path); w.Code != http.StatusNotFound {
		t.Errorf("POST is answered with %d", w.Code)
	}
	for _, other := range []string{"/", "/.well-known/acme-challenge/", "/.well-known/acme-challenge"} {
		if w := ask(http.MethodGet, other); w.Code != http.StatusNotFound {
			t.Errorf("%s is answered with %d", other, w.Code)
		}
	}
}
