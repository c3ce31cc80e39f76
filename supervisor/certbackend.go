package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/certs"
	"github.com/supervisord/supervisord/supervisor/peer"
	"github.com/supervisord/supervisord/supervisor/state"
)

// ImportCertificate implements api.CertStore.
func (b backend) ImportCertificate(ctx context.Context, name string, cert, key []byte) error {
	if _, err := certs.Check(cert, key, name, b.node.replica.Now()); err != nil {
		return &api.Error{Status: http.StatusUnprocessableEntity, Message: err.Error(), Hint: "nothing was changed"}
	}
	return b.certs.keep(ctx, name, certs.Bundle{Chain: cert, Key: key}, nil)
}

// Rehearse implements api.CertStore: one host after the other, because the
// CA's questions for a name have one answer at a time.
func (b backend) Rehearse(ctx context.Context, names []string) ([]api.Rehearsal, error) {
	c, _ := b.State()
	if c.Spec.TLS != nil && c.Spec.TLS.Staging == "" {
		return nil, &api.Error{Status: http.StatusConflict, Message: errNoStaging.Error()}
	}
	var out []api.Rehearsal
	for h := range c.Hosts.Values() {
		results, err := b.rehearseOn(ctx, h, names)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			out = append(out, api.Rehearsal{Host: h.Name, Error: err.Error()})
		}
		for name, problem := range results {
			out = append(out, api.Rehearsal{Host: h.Name, Name: name, Error: problem})
		}
	}
	return out, nil
}

func (b backend) rehearseOn(ctx context.Context, h state.Host, names []string) (peer.Rehearsal, error) {
	switch {
	case h.Name == b.options.Host:
		return b.certs.rehearse(ctx, names)
	case h.IsLost():
		return nil, errors.New("it is lost")
	case b.node.peers == nil:
		return nil, errors.New("it cannot be reached")
	}
	return b.node.peers.Rehearse(ctx, h.Peer, names)
}

// certificates is the part of a health report on them: how old they are, what
// came of the attempts aside, and whether this host serves them.
func (p *physician) certificates(context.Context) (status, detail string) {
	c, _ := p.replica.Current()
	all := api.CertsOf(c, p.now())
	count := map[string]int{}
	first := ""
	for _, cert := range all.Certs {
		count[cert.State]++
		if cert.State != api.CertGood && first == "" {
			first = fmt.Sprintf("; %s: %s", cert.Name, cert.State)
			if cert.Error != "" {
				first += ": " + cert.Error
			}
		}
	}
	detail = fmt.Sprintf("%d of %d host names have a good one%s", count[api.CertGood], len(all.Certs), first)
	for host, why := range p.certProblems() {
		return api.Degraded, fmt.Sprintf("%s is not served with its certificate on this host: %s", host, why)
	}
	switch {
	case count[api.CertExpired] > 0:
		return api.Unhealthy, detail
	case count[api.CertGood] < len(all.Certs):
		return api.Degraded, detail
	}
	return api.Healthy, detail
}

// secures says whether the file has host names with TLS.
func (p *physician) secures() bool {
	c, _ := p.replica.Current()
	for range c.Spec.SecureHosts() {
		return true
	}
	return false
}
