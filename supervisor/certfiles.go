package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/certs"
	"github.com/supervisord/supervisord/supervisor/state"
)

var _ agent.Certifier = (*certKeeper)(nil)

// served is what a host name is served with.
type served struct {
	// fingerprint is of the state's certificate; empty for one of our own.
	fingerprint string
	pair        certs.Pair
	staple      bool
}

// Certify implements agent.Certifier. A certificate of the state comes into the
// configuration only when it may be served; until then, and where it may not,
// what was there before goes on: the last good one, or one of our own that
// nobody trusts.
func (k *certKeeper) Certify(ctx context.Context, c state.Cluster, cfg lbconfig.Config) lbconfig.Config {
	if c.Spec.TLS != nil {
		cfg.Challenge = k.answers.Addr().String()
	}
	now := k.node.replica.Now()
	for n, site := range cfg.Sites {
		if site.Ingress.TLS == "" {
			continue
		}
		if cfg.Fallback.Chain == "" {
			k.listenTLS(ctx, c, &cfg, now)
		}
		for _, h := range site.Ingress.Hosts {
			s, err := k.choose(ctx, c, strings.ToLower(h), now)
			if err != nil {
				k.log.WarnContext(ctx, "a site has no certificate at all and keeps its last form", "host", h, "err", err)
				continue
			}
			cfg.Sites[n].Certificates = append(cfg.Sites[n].Certificates, lbconfig.Certificate{
				Hosts: []string{strings.ToLower(h)}, Chain: s.pair.Chain, Key: s.pair.Key, Staple: s.staple,
			})
		}
	}
	return cfg
}

// listenTLS fills in where TLS is listened for, and what strangers get.
func (k *certKeeper) listenTLS(ctx context.Context, c state.Cluster, cfg *lbconfig.Config, now time.Time) {
	cfg.ListenTLS = k.listen
	if len(c.Spec.Nginx.ListenTLS) > 0 {
		cfg.ListenTLS = c.Spec.Nginx.ListenTLS
	}
	p, err := k.files.SelfSigned("", now)
	if err != nil {
		k.log.WarnContext(ctx, "cannot make a certificate for unknown names", "err", err)
		return
	}
	cfg.Fallback = lbconfig.Certificate{Chain: p.Chain, Key: p.Key}
}

// choose finds what a host name is served with: its own certificate, or that
// of the wildcard above it, where one of them may be served.
func (k *certKeeper) choose(ctx context.Context, c state.Cluster, host string, now time.Time) (served, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	last, had := k.served[host]
	why := ""
	for _, name := range []string{host, wildcardOf(host)} {
		cert, ok := c.Certificates.Get(name)
		if !ok {
			continue
		}
		if had && cert.Fingerprint == last.fingerprint {
			k.solved(host)
			return last, nil
		}
		s, err := k.take(cert, host, now)
		if err == nil {
			k.served[host] = s
			k.solved(host)
			k.log.InfoContext(ctx, "a host name is served with another certificate", "host", host, "of", cert.Name, "issuer", cert.Issuer, "until", cert.NotAfter)
			return s, nil
		}
		why = err.Error()
	}
	if why != k.problems[host] {
		k.solved(host)
		if why != "" {
			k.problems[host] = why
			k.log.WarnContext(ctx, "a certificate is not served, what was before goes on", "host", host, "err", why)
		}
	}
	if had && last.fingerprint != "" {
		return last, nil
	}
	s, err := k.before(host, now)
	if err == nil {
		k.served[host] = s
	}
	return s, err
}

func (k *certKeeper) solved(host string) { delete(k.problems, host) }

func wildcardOf(host string) string {
	_, parent, _ := strings.Cut(host, ".")
	return "*." + parent
}

// take checks a certificate of the state and writes it to files.
func (k *certKeeper) take(cert state.Certificate, host string, now time.Time) (served, error) {
	key, err := k.open(cert.Key, sealedKey(cert.Name))
	if err != nil {
		return served{}, err
	}
	info, err := certs.Check([]byte(cert.Chain), key, host, now)
	if err != nil {
		return served{}, err
	}
	p, err := k.files.Put([]byte(cert.Chain), key)
	if err != nil {
		return served{}, err
	}
	return served{fingerprint: info.Fingerprint, pair: p, staple: info.Staple}, k.files.Remember(host, p)
}

// before is what a host name was served with in an earlier life, though it may
// have expired since, or else a certificate of our own.
func (k *certKeeper) before(host string, now time.Time) (served, error) {
	p, chain, key, err := k.files.Recall(host)
	if err == nil {
		var info certs.Info
		if info, err = certs.Describe(chain); err == nil {
			info, err = certs.Check(chain, key, host, info.NotBefore)
		}
		if err == nil {
			return served{fingerprint: info.Fingerprint, pair: p, staple: info.Staple}, nil
		}
	}
	p, own := k.files.SelfSigned(host, now)
	if own != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return served{}, errors.Join(own, err)
	}
	return served{pair: p}, nil
}

// certProblems are why host names are not served on this host with what the
// state has.
func (k *certKeeper) certProblems() map[string]string {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make(map[string]string, len(k.problems))
	for host, why := range k.problems {
		out[host] = why
	}
	return out
}

// readAll reads the files of a pattern; one that goes meanwhile is left out.
func readAll(pattern string) ([][]byte, error) {
	names, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	var all [][]byte
	for _, name := range names {
		data, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look for certificates that are named: %w", err)
		}
		all = append(all, data)
	}
	return all, nil
}

func named(texts [][]byte, file string) bool {
	for _, text := range texts {
		if bytes.Contains(text, []byte(file)) {
			return true
		}
	}
	return false
}
