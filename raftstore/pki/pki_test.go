package pki_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/supervisord/supervisord/raftstore/pki"
)

var now = time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)

func authority(t *testing.T) pki.Authority {
	t.Helper()
	a, err := pki.NewAuthority("test", now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// identity is a server's, issued by a at a time.
func identity(t *testing.T, a pki.Authority, id string, at time.Time) pki.Identity {
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

func certificate(t *testing.T, text []byte) *x509.Certificate {
	t.Helper()
	b, _ := pem.Decode(text)
	if b == nil {
		t.Fatal("no PEM")
	}
	c, err := x509.ParseCertificate(b.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// verify checks a certificate as the other side of a connection does.
func verify(t *testing.T, a pki.Authority, cert []byte, at time.Time, use x509.ExtKeyUsage) error {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(certificate(t, a.Cert))
	_, err := certificate(t, cert).Verify(x509.VerifyOptions{Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{use}})
	return err
}

func TestACertificateNamesItsServerAndWorksOnBothSides(t *testing.T) {
	a := authority(t)
	i := identity(t, a, "k3f9", now)
	if id, err := i.ID(); err != nil || id != "k3f9" {
		t.Errorf("id %q, %v", id, err)
	}
	c := certificate(t, i.Cert)
	if c.Subject.CommonName != "host-k3f9" || len(c.URIs) != 1 || c.URIs[0].String() != "supervisord://server/k3f9" || c.IsCA {
		t.Errorf("subject %s, URIs %v, authority %v", c.Subject, c.URIs, c.IsCA)
	}
	for name, use := range map[string]x509.ExtKeyUsage{"client": x509.ExtKeyUsageClientAuth, "server": x509.ExtKeyUsageServerAuth} {
		if err := verify(t, a, i.Cert, now, use); err != nil {
			t.Errorf("as a %s: %v", name, err)
		}
	}
	if err := verify(t, authority(t), i.Cert, now, x509.ExtKeyUsageClientAuth); err == nil {
		t.Error("another cluster's authority vouches for it")
	}
}

func TestACertificateIsGoodForNinetyDaysAndForClocksThatAreBehind(t *testing.T) {
	a := authority(t)
	i := identity(t, a, "s", now)
	for _, c := range []struct {
		after time.Duration
		good  bool
	}{
		{-25 * time.Hour, false},
		{-10 * time.Minute, true},
		{0, true},
		{89 * 24 * time.Hour, true},
		{91 * 24 * time.Hour, false},
	} {
		if err := verify(t, a, i.Cert, now.Add(c.after), x509.ExtKeyUsageServerAuth); (err == nil) != c.good {
			t.Errorf("after %s: %v, want good %v", c.after, err, c.good)
		}
	}
	expires, err := i.Expires()
	if err != nil || !expires.Equal(now.Add(90*24*time.Hour)) {
		t.Errorf("expires %s, %v", expires, err)
	}
	renew, err := i.RenewAt()
	if err != nil || !renew.Equal(now.Add(60*24*time.Hour)) {
		t.Errorf("to renew at %s, want after two thirds of its life: %v", renew, err)
	}
}

func TestTheAuthorityLastsTenYears(t *testing.T) {
	a := authority(t)
	late := now.Add(9 * 365 * 24 * time.Hour)
	if err := verify(t, a, identity(t, a, "s", late).Cert, late, x509.ExtKeyUsageServerAuth); err != nil {
		t.Error(err)
	}
}

func TestOfARequestOnlyTheKeyIsTakenOver(t *testing.T) {
	a := authority(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "admin", Organization: []string{"evil"}}, DNSNames: []string{"evil.example"},
		URIs: []*url.URL{{Scheme: "supervisord", Host: "server", Path: "/other"}},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := a.Issue(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), "me", "host", now)
	if err != nil {
		t.Fatal(err)
	}
	c := certificate(t, cert)
	if !key.PublicKey.Equal(c.PublicKey) || c.Subject.String() != "CN=host" || len(c.DNSNames) != 0 || len(c.URIs) != 1 || c.URIs[0].Path != "/me" {
		t.Errorf("subject %s, names %v, URIs %v", c.Subject, c.DNSNames, c.URIs)
	}
}

func TestWhatIsNoGoodRequestGetsNoCertificate(t *testing.T) {
	a := authority(t)
	_, good, err := pki.NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	b, _ := pem.Decode(good)
	b.Bytes[len(b.Bytes)-1] ^= 1
	for name, c := range map[string]struct {
		request []byte
		id      string
	}{
		"empty":            {nil, "s"},
		"no PEM":           {[]byte("hello"), "s"},
		"a certificate":    {a.Cert, "s"},
		"a bad signature":  {pem.EncodeToMemory(b), "s"},
		"a server with no": {good, ""},
	} {
		if cert, err := a.Issue(c.request, c.id, "h", now); err == nil || cert != nil {
			t.Errorf("%s: got a certificate", name)
		}
	}
	if _, err := (pki.Authority{Cert: a.Cert, Key: []byte("lost")}).Issue(good, "s", "h", now); err == nil || !strings.Contains(err.Error(), "authority") {
		t.Errorf("without the authority's key: %v", err)
	}
}

func TestTheFingerprintIsTheAuthoritys(t *testing.T) {
	a, b := authority(t), authority(t)
	one, err := pki.Fingerprint(a.Cert)
	if err != nil || len(one) != 64 || one != pki.FingerprintOf(certificate(t, a.Cert).Raw) {
		t.Errorf("fingerprint %q, %v", one, err)
	}
	if other, err := pki.Fingerprint(b.Cert); err != nil || other == one {
		t.Errorf("another authority has the same: %v", err)
	}
	if _, err := pki.Fingerprint([]byte("nothing")); err == nil {
		t.Error("nothing has a fingerprint")
	}
}

func TestAnIdentityIsSavedAsAWhole(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "identity")
	if _, err := pki.LoadIdentity(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing saved: %v, want fs.ErrNotExist", err)
	}
	a := authority(t)
	for _, i := range []pki.Identity{identity(t, a, "s", now), identity(t, a, "s", now.Add(time.Hour))} {
		if err := i.Save(dir); err != nil {
			t.Fatal(err)
		}
		// What a crash while another was saved leaves behind.
		if err := os.WriteFile(filepath.Join(dir, ".identity.pem123"), i.Key[:20], 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := pki.LoadIdentity(dir)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(i, got); d != "" {
			t.Error(d)
		}
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is open to others: %s", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestADamagedIdentityIsNoneAndSaysSo(t *testing.T) {
	a := authority(t)
	i, other := identity(t, a, "s", now), identity(t, a, "s", now)
	for name, bad := range map[string]pki.Identity{
		"empty":              {},
		"no key":             {CA: i.CA, Cert: i.Cert},
		"no authority":       {Cert: i.Cert, Key: i.Key},
		"another's key":      {CA: i.CA, Cert: i.Cert, Key: other.Key},
		"no server's at all": {CA: i.CA, Cert: a.Cert, Key: a.Key},
	} {
		dir := t.TempDir()
		if err := bad.Save(dir); err != nil {
			t.Fatal(err)
		}
		_, err := pki.LoadIdentity(dir)
		if err == nil || !strings.Contains(err.Error(), dir) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want an error that names the file", name, err)
		}
		if err != nil && len(i.Key) > 0 && strings.Contains(err.Error(), string(i.Key)) {
			t.Errorf("%s: the key is in the error", name)
		}
	}
}
