package pki

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
	"math/big"
	"net/url"
	"time"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	serverLife    = 90 * 24 * time.Hour
	// early is how long before its making a certificate is good: the clock of
	// who looks at it may be behind.
	early = 24 * time.Hour
)

// Authority issues the certificates of one cluster's servers; PEM.
type Authority struct{ Cert, Key []byte }

// NewAuthority makes the authority of a cluster, for ten years.
func NewAuthority(cluster string, now time.Time) (Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Authority{}, fmt.Errorf("make a key: %w", err)
	}
	serial, err := serialNumber()
	if err != nil {
		return Authority{}, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "supervisord " + cluster},
		NotBefore: now.Add(-early), NotAfter: now.Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return Authority{}, fmt.Errorf("make the authority's certificate: %w", err)
	}
	keyPEM, err := encodeKey(key)
	return Authority{Cert: encode("CERTIFICATE", der), Key: keyPEM}, err
}

// Issue makes the certificate of a server, for ninety days. Of the request
// only the public key is taken over, and that it is signed with it.
func (a Authority) Issue(request []byte, id, host string, now time.Time) ([]byte, error) {
	if id == "" {
		return nil, errors.New("a server has an id")
	}
	der, err := decode("CERTIFICATE REQUEST", request)
	if err != nil {
		return nil, err
	}
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("read the request: %w", err)
	}
	if err := r.CheckSignature(); err != nil {
		return nil, fmt.Errorf("the request is not signed with its own key: %w", err)
	}
	ca, err := parseCertificate(a.Cert)
	if err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	key, err := parseKey(a.Key)
	if err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: host}, URIs: []*url.URL{serverURI(id)},
		NotBefore: now.Add(-early), NotAfter: now.Add(serverLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, t, ca, r.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate: %w", err)
	}
	return encode("CERTIFICATE", cert), nil
}

// Fingerprint identifies an authority: the SHA-256 of its certificate in hex.
func Fingerprint(ca []byte) (string, error) {
	der, err := decode("CERTIFICATE", ca)
	if err != nil {
		return "", err
	}
	return FingerprintOf(der), nil
}

// FingerprintOf is Fingerprint of a certificate in DER.
func FingerprintOf(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

func serverURI(id string) *url.URL {
	return &url.URL{Scheme: "supervisord", Host: "server", Path: "/" + id}
}

// ServerOf is the id of the server that a certificate is for.
func ServerOf(c *x509.Certificate) (string, error) {
	for _, u := range c.URIs {
		if u.Scheme == "supervisord" && u.Host == "server" && len(u.Path) > 1 {
			return u.Path[1:], nil
		}
	}
	return "", errors.New("the certificate is not a server's")
}

func serialNumber() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	return n, nil
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func decode(kind string, text []byte) ([]byte, error) {
	for {
		var b *pem.Block
		b, text = pem.Decode(text)
		if b == nil {
			return nil, fmt.Errorf("there is no %s in PEM", kind)
		}
		if b.Type == kind {
			return b.Bytes, nil
		}
	}
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return encode("PRIVATE KEY", der), nil
}

func parseKey(text []byte) (*ecdsa.PrivateKey, error) {
	der, err := decode("PRIVATE KEY", text)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("read a key: %w", err)
	}
	k, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("a key of kind %T; want ECDSA", key)
	}
	return k, nil
}

func parseCertificate(text []byte) (*x509.Certificate, error) {
	der, err := decode("CERTIFICATE", text)
	if err != nil {
		return nil, err
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read a certificate: %w", err)
	}
	return c, nil
}
