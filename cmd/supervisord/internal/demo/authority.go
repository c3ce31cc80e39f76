package demo

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// Authority is a CA of the demo's own, which nobody else trusts. It lives in
// memory and for as long as the demo.
type Authority struct {
	// Pool is what trusts it.
	Pool *x509.CertPool
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// authorityLife is longer than any demo.
const authorityLife = 24 * time.Hour

// NewAuthority makes one.
func NewAuthority(now time.Time) (*Authority, error) {
	a := &Authority{Pool: x509.NewCertPool()}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("the demo's CA: %w", err)
	}
	t := &x509.Certificate{
		Subject: pkix.Name{CommonName: "supervisord demo CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert = t
	if a.cert, err = a.sign(t, &a.key.PublicKey, now); err != nil {
		return nil, fmt.Errorf("the demo's CA: %w", err)
	}
	a.Pool.AddCert(a.cert)
	return a, nil
}

func (a *Authority) sign(t *x509.Certificate, key *ecdsa.PublicKey, now time.Time) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	t.SerialNumber, t.NotBefore, t.NotAfter = serial, now.Add(-time.Hour), now.Add(authorityLife)
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, key, a.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// Issue makes a certificate for a host name, with its chain, and its key, both
// in PEM.
func (a *Authority) Issue(name string, now time.Time) (chain, key string, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("issue a certificate: %w", err)
	}
	leaf, err := a.sign(&x509.Certificate{DNSNames: []string{name}, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature}, &k.PublicKey, now)
	if err != nil {
		return "", "", fmt.Errorf("issue a certificate: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return "", "", fmt.Errorf("issue a certificate: %w", err)
	}
	for _, c := range []*x509.Certificate{leaf, a.cert} {
		chain += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return chain, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})), nil
}
