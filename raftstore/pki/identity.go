package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
)

// identityFile holds key, certificate and authority together, so that it is
// complete or absent as a whole.
const identityFile = "identity.pem"

// Identity is who a server is to the others; PEM.
type Identity struct{ CA, Cert, Key []byte }

// NewRequest makes a key and the request for a certificate of it.
func NewRequest() (key, request []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, k)
	if err != nil {
		return nil, nil, fmt.Errorf("make a request: %w", err)
	}
	key, err = encodeKey(k)
	return key, encode("CERTIFICATE REQUEST", der), err
}

// ID is the server's.
func (i Identity) ID() (string, error) {
	c, err := parseCertificate(i.Cert)
	if err != nil {
		return "", err
	}
	return ServerOf(c)
}

// Expires is when the certificate ends.
func (i Identity) Expires() (time.Time, error) {
	c, err := parseCertificate(i.Cert)
	if err != nil {
		return time.Time{}, err
	}
	return c.NotAfter, nil
}

// RenewAt is when two thirds of the certificate's life are over.
func (i Identity) RenewAt() (time.Time, error) {
	c, err := parseCertificate(i.Cert)
	if err != nil {
		return time.Time{}, err
	}
	return c.NotAfter.Add(-serverLife / 3), nil
}

// TLS is the identity in the form that connections take: the certificate, with
// the authority behind it so that a stranger can see whose it is, and the pool
// of that authority alone.
func (i Identity) TLS() (tls.Certificate, *x509.CertPool, error) {
	pair, err := tls.X509KeyPair(append(append([]byte{}, i.Cert...), i.CA...), i.Key)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("certificate and key: %w", err)
	}
	ca, err := parseCertificate(i.CA)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("authority: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return pair, pool, nil
}

// Save writes the identity to a directory that only its owner can read.
func (i Identity) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("save the identity: %w", err)
	}
	var text []byte
	for _, part := range [][]byte{i.Key, i.Cert, i.CA} {
		text = append(text, part...)
	}
	if err := renameio.WriteFile(filepath.Join(dir, identityFile), text, 0o600); err != nil {
		return fmt.Errorf("save the identity: %w", err)
	}
	if err := syncDirectory(dir); err != nil {
		return fmt.Errorf("save the identity: %w", err)
	}
	return nil
}

// syncDirectory makes a rename in a directory survive a power cut.
func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// LoadIdentity reads what Save wrote; it wraps fs.ErrNotExist where there is
// nothing.
func LoadIdentity(dir string) (Identity, error) {
	path := filepath.Join(dir, identityFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return Identity{}, fmt.Errorf("load the identity: %w", err)
	}
	var i Identity
	certs := 0
	for rest := text; ; {
		b, after := nextBlock(rest)
		if b == nil {
			break
		}
		rest = after
		switch {
		case b.kind == "PRIVATE KEY":
			i.Key = b.text
		case b.kind == "CERTIFICATE" && certs == 0:
			i.Cert, certs = b.text, 1
		case b.kind == "CERTIFICATE":
			i.CA = b.text
		}
	}
	if _, _, err := i.TLS(); err != nil {
		return Identity{}, fmt.Errorf("load the identity: %s: want a private key, its certificate and the authority's: %w", path, err)
	}
	if _, err := i.ID(); err != nil {
		return Identity{}, errors.Join(fmt.Errorf("load the identity: %s", path), err)
	}
	return i, nil
}
