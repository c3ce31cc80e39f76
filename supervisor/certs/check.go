package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Info is what a certificate says of itself.
type Info struct {
	Names               []string
	Issuer              string
	Fingerprint         string
	NotBefore, NotAfter time.Time
	// Staple says that it names who tells whether it is revoked.
	Staple bool
}

// skew is how far a CA's clock may be ahead of ours.
const skew = time.Hour

// Check says whether a certificate and a key, both in PEM, may be served for a
// host name: the key is the certificate's, the name is one of its names, it is
// in force, and each certificate of the chain is issued by the next. Whether a
// client will trust the end of the chain is not known here.
func Check(chain, key []byte, name string, now time.Time) (Info, error) {
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		// It names no part of the key.
		return Info{}, fmt.Errorf("certificate and key: %w", err)
	}
	all := make([]*x509.Certificate, len(pair.Certificate))
	for n, der := range pair.Certificate {
		if all[n], err = x509.ParseCertificate(der); err != nil {
			return Info{}, fmt.Errorf("certificate %d of the chain: %w", n+1, err)
		}
	}
	leaf := all[0]
	switch {
	case !now.Before(leaf.NotAfter):
		return Info{}, fmt.Errorf("the certificate has expired at %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Add(skew).Before(leaf.NotBefore):
		return Info{}, fmt.Errorf("the certificate is not in force before %s", leaf.NotBefore.UTC().Format(time.RFC3339))
	case !covers(leaf, name):
		return Info{}, fmt.Errorf("the certificate is for %s, not for %s", strings.Join(leaf.DNSNames, ", "), name)
	}
	for n := 1; n < len(all); n++ {
		if err := all[n-1].CheckSignatureFrom(all[n]); err != nil {
			return Info{}, fmt.Errorf("certificate %d of the chain is not issued by the next one: %w", n, err)
		}
	}
	return infoOf(leaf), nil
}

// covers says whether a certificate is for a host name; a wildcard is for
// itself.
func covers(leaf *x509.Certificate, name string) bool {
	if strings.HasPrefix(name, "*.") {
		return slices.ContainsFunc(leaf.DNSNames, func(n string) bool { return strings.EqualFold(n, name) })
	}
	return leaf.VerifyHostname(name) == nil
}

func infoOf(leaf *x509.Certificate) Info {
	sum := sha256.Sum256(leaf.Raw)
	issuer := leaf.Issuer.CommonName
	if len(leaf.Issuer.Organization) > 0 {
		issuer = strings.TrimSpace(leaf.Issuer.Organization[0] + " " + issuer)
	}
	return Info{
		Names: leaf.DNSNames, Issuer: issuer, Fingerprint: hex.EncodeToString(sum[:]),
		NotBefore: leaf.NotBefore.UTC(), NotAfter: leaf.NotAfter.UTC(), Staple: len(leaf.OCSPServer) > 0,
	}
}

// Describe is what the leaf of a chain says of itself.
func Describe(chain []byte) (Info, error) {
	leaf, err := leafOf(chain)
	if err != nil {
		return Info{}, err
	}
	return infoOf(leaf), nil
}

func leafOf(chain []byte) (*x509.Certificate, error) {
	for rest := bytes.TrimSpace(chain); len(rest) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			leaf, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("certificate: %w", err)
			}
			return leaf, nil
		}
	}
	return nil, errors.New("there is no certificate in PEM")
}

// RenewAt is two thirds of a certificate's life, after which it is renewed
// where the CA says nothing of it.
func RenewAt(i Info) time.Time {
	return i.NotBefore.Add(i.NotAfter.Sub(i.NotBefore) / 3 * 2)
}
