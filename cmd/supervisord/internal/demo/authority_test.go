package demo

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"
)

func TestTheAuthorityIsTrustedByItsPoolAlone(t *testing.T) {
	now := time.Now()
	a, err := NewAuthority(now)
	if err != nil {
		t.Fatal(err)
	}
	chain, key, err := a.Issue("demo.example.com", now)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair([]byte(chain), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: "demo.example.com", Roots: a.Pool}); err != nil {
		t.Error(err)
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: "demo.example.com"}); err == nil {
		t.Error("everybody trusts it")
	}
}
