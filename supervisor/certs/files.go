package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
)

// Files are the certificates that nginx reads, in one directory that only root
// may enter. A file is never changed: another certificate has other files.
type Files struct{ dir string }

// Pair are the paths of a certificate and its key.
type Pair struct{ Chain, Key string }

// NewFiles is the files of a directory; it need not exist yet.
func NewFiles(dir string) *Files { return &Files{dir: dir} }

const (
	chainEnd = ".crt"
	keyEnd   = ".key"
)

// Put writes a certificate and its key, where they are not there, and returns
// where they are. It does not look at what they are; see Check.
func (f *Files) Put(chain, key []byte) (Pair, error) {
	sum := sha256.New()
	for _, part := range [][]byte{chain, key} {
		fmt.Fprintf(sum, "%d\n", len(part))
		sum.Write(part)
	}
	return f.put(hex.EncodeToString(sum.Sum(nil)[:16]), chain, key)
}

func (f *Files) pair(name string) Pair {
	return Pair{Chain: filepath.Join(f.dir, name+chainEnd), Key: filepath.Join(f.dir, name+keyEnd)}
}

func (f *Files) put(name string, chain, key []byte) (Pair, error) {
	p := f.pair(name)
	if f.whole(p) {
		return p, nil
	}
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return Pair{}, fmt.Errorf("write a certificate: %w", err)
	}
	// The chain comes last: what has one is whole.
	for _, w := range []struct {
		path string
		data []byte
	}{{p.Key, key}, {p.Chain, chain}} {
		if err := renameio.WriteFile(w.path, w.data, 0o600); err != nil {
			return Pair{}, fmt.Errorf("write a certificate: %w", err)
		}
	}
	return p, nil
}

func (f *Files) whole(p Pair) bool {
	for _, path := range []string{p.Chain, p.Key} {
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			return false
		}
	}
	return true
}

// Remember notes the files that a host name is served with, for a later start
// at which they cannot be had otherwise.
func (f *Files) Remember(name string, p Pair) error {
	link := filepath.Join(f.dir, lastPrefix+safe(name))
	target := filepath.Base(p.Chain)
	if now, err := os.Readlink(link); err == nil && now == target {
		return nil
	}
	if err := renameio.Symlink(target, link); err != nil {
		return fmt.Errorf("note the certificate of %s: %w", name, err)
	}
	return nil
}

// Recall returns the files that were last remembered for a host name, with
// their content; fs.ErrNotExist wrapped where there are none.
func (f *Files) Recall(name string) (p Pair, chain, key []byte, err error) {
	target, err := os.Readlink(filepath.Join(f.dir, lastPrefix+safe(name)))
	if err != nil {
		return Pair{}, nil, nil, fmt.Errorf("last certificate of %s: %w", name, err)
	}
	p = f.pair(strings.TrimSuffix(filepath.Base(target), chainEnd))
	chain, err = os.ReadFile(p.Chain)
	if err == nil {
		key, err = os.ReadFile(p.Key)
	}
	if err != nil {
		return Pair{}, nil, nil, fmt.Errorf("last certificate of %s: %w", name, err)
	}
	return p, chain, key, nil
}

const (
	lastPrefix = "last-"
	selfPrefix = "self-"
	// selfLife is that of what nobody trusts anyway.
	selfLife = 10 * 365 * 24 * time.Hour
)

// safe is a host name as part of a file's name.
func safe(name string) string { return strings.ReplaceAll(strings.ToLower(name), "*", "_wildcard") }

// SelfSigned returns a certificate for a host name that nobody trusts, for when
// there is no other; it is made once. An empty name is for all others.
func (f *Files) SelfSigned(name string, now time.Time) (Pair, error) {
	file := selfPrefix + safe(name)
	p := f.pair(file)
	if f.whole(p) {
		return p, nil
	}
	chain, key, err := selfSigned(name, now)
	if err != nil {
		return Pair{}, fmt.Errorf("make a certificate of our own for %s: %w", name, err)
	}
	return f.put(file, chain, key)
}

func selfSigned(name string, now time.Time) (chain, key []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "no certificate yet", Organization: []string{"supervisord"}},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(selfLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	if name != "" {
		t.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, k.Public(), k)
	if err != nil {
		return nil, nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), nil
}

// Clean removes the certificates whose chain keep does not want. What is
// remembered is always kept.
func (f *Files) Clean(keep func(chain string) bool) error {
	entries, err := os.ReadDir(f.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for old certificates: %w", err)
	}
	remembered := map[string]bool{}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), lastPrefix) {
			if target, err := os.Readlink(filepath.Join(f.dir, e.Name())); err == nil {
				remembered[filepath.Base(target)] = true
			}
		}
	}
	var errs []error
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), chainEnd)
		if !ok || strings.HasPrefix(name, lastPrefix) || remembered[e.Name()] {
			continue
		}
		if p := f.pair(name); !keep(p.Chain) {
			errs = append(errs, os.Remove(p.Chain), os.Remove(p.Key))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove old certificates: %w", err)
	}
	return nil
}
