package wire

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/supervisord/supervisord/raftstore/pki"
)

// trust is an identity in the form of connections.
type trust struct {
	identity pki.Identity
	pair     tls.Certificate
	roots    *x509.CertPool
}

// Identity is the one in force.
func (w *Wire) Identity() pki.Identity { return w.trust.Load().identity }

// SetIdentity puts another one in force, from the next handshake on.
func (w *Wire) SetIdentity(i pki.Identity) error {
	pair, roots, err := i.TLS()
	if err != nil {
		return fmt.Errorf("wire: %w", err)
	}
	w.trust.Store(&trust{i, pair, roots})
	return nil
}

// server is the configuration of a connection that somebody else begins.
func (t *trust) server(denied func(string) bool) *tls.Config {
	conf := &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{t.pair},
		SessionTicketsDisabled: true,
		ClientAuth:             tls.RequireAndVerifyClientCert, ClientCAs: t.roots,
		NextProtos:       []string{protoRaft, protoRPC},
		VerifyConnection: func(s tls.ConnectionState) error { return welcome(s, denied) },
	}
	conf.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		switch {
		case slices.Equal(hello.SupportedProtos, []string{protoJoin}):
			open := conf.Clone()
			open.GetConfigForClient, open.ClientAuth, open.ClientCAs, open.VerifyConnection = nil, tls.NoClientCert, nil, nil
			open.NextProtos = []string{protoJoin}
			return open, nil
		case !slices.ContainsFunc(hello.SupportedProtos, func(p string) bool { return p == protoRaft || p == protoRPC }):
			return nil, errors.New("it speaks none of our protocols")
		}
		return nil, nil
	}
	return conf
}

// client is the configuration of a connection to another server. Servers are
// known by their certificates, not by names.
func (t *trust) client(proto string, denied func(string) bool) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{t.pair}, NextProtos: []string{proto},
		InsecureSkipVerify: true, // VerifyConnection does it, without a name.
		VerifyConnection: func(s tls.ConnectionState) error {
			if err := chain(s.PeerCertificates, t.roots, x509.ExtKeyUsageServerAuth); err != nil {
				return err
			}
			return welcome(s, denied)
		},
	}
}

// chain checks that a certificate is one of the authority's.
func chain(certs []*x509.Certificate, roots *x509.CertPool, use x509.ExtKeyUsage) error {
	if len(certs) == 0 {
		return errors.New("it has no certificate")
	}
	_, err := certs[0].Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{use}})
	return err
}

// welcome checks that the other side is a server that was not removed.
func welcome(s tls.ConnectionState, denied func(string) bool) error {
	id, err := pki.ServerOf(s.PeerCertificates[0])
	if err != nil {
		return err
	}
	if denied(id) {
		return removedError(id)
	}
	return nil
}

// admission is the configuration of a host that has no certificate yet: it
// trusts only a server of the authority that its token names.
func admission(fingerprint string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{protoJoin},
		InsecureSkipVerify: true, // VerifyConnection does it, against the fingerprint.
		VerifyConnection: func(s tls.ConnectionState) error {
			for _, c := range s.PeerCertificates {
				if c.IsCA && pki.FingerprintOf(c.Raw) == fingerprint {
					roots := x509.NewCertPool()
					roots.AddCert(c)
					return chain(s.PeerCertificates, roots, x509.ExtKeyUsageServerAuth)
				}
			}
			return errors.New("it is not of the cluster that the token is for")
		},
	}
}

// strangers are connections that were turned away. They are logged seldom,
// because there may be many.
type strangers struct {
	log *slog.Logger

	mu    sync.Mutex
	count int
	told  time.Time
}

const tellStrangers = 10 * time.Second

func (s *strangers) turnedAway(from net.Addr, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	if time.Since(s.told) < tellStrangers {
		return
	}
	s.log.Info("a connection was turned away", "from", from, "err", err, "since_last_told", s.count)
	s.count, s.told = 0, time.Now()
}
