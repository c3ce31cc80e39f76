package apitest

import (
	"bytes"
	"context"
	"net/http"
	"time"

	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/state"
)

// Certify gives the example sites with TLS: one certificate is good, one
// overdue as its renewals fail, one an operator has brought, and two host names
// have none.
func (b *Backend) Certify() {
	c, _ := b.State()
	spec := ExampleSpec()
	spec.Hash = "f00d-tls"
	spec.TLS = &state.TLS{Email: "ops@example.com", CA: "https://ca.example.com/directory", Staging: "https://staging.ca.example.com/directory", OrdersPerDay: 5}
	site := func(name, mode string, hosts ...string) {
		spec.Services[name] = state.Service{Name: name, Hash: name, Replicas: 0, Ingress: &lbconfig.Ingress{Hosts: hosts, Port: 80, TLS: mode}}
	}
	site("shop", lbconfig.TLSAuto, "www.example.com", "old.example.com", "wrong.example.com")
	site("office", lbconfig.TLSManual, "own.example.com", "missing.example.com")
	b.Must(state.SetSpec{Spec: spec, Base: c.Spec.Revision, Host: "alpha"})
	now := b.Now()
	keep := func(name, ca string, life, age time.Duration) {
		cert := state.Certificate{
			Name: name, Names: []string{name}, Chain: "chain", Key: state.Sealed{Key: "k1", Data: []byte(Secret)}, CA: ca,
			Issuer: "Example CA", Fingerprint: "f0" + name, NotBefore: now.Add(-age), NotAfter: now.Add(life - age),
		}
		if ca != "" {
			cert.RenewAt = cert.NotBefore.Add(life / 3 * 2)
		}
		b.Must(state.KeepCertificate{Certificate: cert})
	}
	const day = 24 * time.Hour
	keep("www.example.com", spec.TLS.CA, 90*day, 10*day)
	keep("old.example.com", spec.TLS.CA, 90*day, 75*day)
	keep("own.example.com", "", 365*day, 100*day)
	fail := func(name string, n int, f state.FailCertOrder) {
		for range n {
			f.Name, f.Host, f.Challenge = name, "alpha", "http-01"
			b.Must(state.BeginCertOrder{Name: name, Host: "alpha"}, f)
		}
	}
	fail("old.example.com", 2, state.FailCertOrder{At: "alpha", Error: "unauthorized: 10.0.0.1: Invalid response: 404"})
	fail("wrong.example.com", 2, state.FailCertOrder{Error: "dns: NXDOMAIN looking up A for wrong.example.com"})
}

// ImportCertificate implements api.CertStore: what begins with "wrong" is.
func (b *Backend) ImportCertificate(ctx context.Context, name string, cert, key []byte) error {
	if bytes.HasPrefix(cert, []byte("wrong")) {
		return &api.Error{Status: http.StatusUnprocessableEntity, Message: "the certificate is for other.example.com, not for " + name, Hint: "nothing was changed"}
	}
	refused, err := b.Propose(ctx, state.KeepCertificate{Certificate: state.Certificate{
		Name: name, Names: []string{name}, Chain: string(cert), Key: state.Sealed{Key: "k1", Data: key}, Issuer: "Own CA", Fingerprint: "f1" + name,
		NotBefore: b.Now(), NotAfter: b.Now().Add(365 * 24 * time.Hour),
	}})
	if err != nil {
		return err
	}
	return refused[0]
}

// Rehearse implements api.CertStore: names that begin with "wrong" fail.
func (b *Backend) Rehearse(_ context.Context, names []string) ([]api.Rehearsal, error) {
	var out []api.Rehearsal
	for _, name := range names {
		r := api.Rehearsal{Host: "alpha", Name: name}
		if name[0] == 'w' && name[1] == 'r' {
			r.Error = "dns: NXDOMAIN looking up A for " + name
		}
		out = append(out, r)
	}
	return out, nil
}
