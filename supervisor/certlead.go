package supervisor

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/supervisord/supervisord/supervisor/certs"
	"github.com/supervisord/supervisord/supervisor/plan"
	"github.com/supervisord/supervisord/supervisor/state"
)

const (
	// mostOrders is how many are under way at once.
	mostOrders = 4
	// orderAgain is the pause after an order that could not even begin.
	orderAgain = 2 * time.Second
	// lookOrders is how often the leader looks what is due if nothing happens.
	lookOrders = 10 * time.Second
	// renewalLook is how often a CA is asked when it wants a certificate to be
	// renewed.
	renewalLook = 6 * time.Hour
	// renewalWithin bounds that question.
	renewalWithin = 20 * time.Second
)

// lead orders what is due until the context, which ends with the leadership,
// does.
func (k *certKeeper) lead(ctx context.Context) error {
	var orders sync.WaitGroup
	defer orders.Wait()
	done := make(chan string)
	busy := map[string]bool{}
	var paused <-chan time.Time
	start := func(key string, f func() bool) {
		busy[key] = true
		orders.Go(func() {
			ended := key
			if !f() {
				ended = "-" + key
			}
			select {
			case done <- ended:
			case <-ctx.Done():
			}
		})
	}
	for {
		c, changed := k.node.replica.Current()
		wait := lookOrders
		if c.Spec.TLS != nil && paused == nil {
			now := k.node.replica.Now()
			due, next := plan.Certificates(c, now)
			for _, o := range due {
				if !busy[o.Name] && len(busy) < mostOrders {
					start(o.Name, func() bool { return k.order(ctx, *c.Spec.TLS, o) })
				}
			}
			for cert := range c.Certificates.Values() {
				key := "look " + cert.Name
				if cert.CA == c.Spec.TLS.CA && now.Sub(cert.Looked) >= renewalLook && now.Before(cert.RenewAt) && !busy[key] && len(busy) < mostOrders {
					start(key, func() bool { return k.askRenewal(ctx, *c.Spec.TLS, cert) })
				}
			}
			if !next.IsZero() {
				wait = min(wait, max(next.Sub(now), 0)+time.Millisecond)
			}
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case key := <-done:
			failed, ok := strings.CutPrefix(key, "-")
			if ok {
				paused = time.After(orderAgain)
			}
			delete(busy, failed)
		case <-paused:
			paused = nil
		case <-changed:
		case <-t.C:
		}
		t.Stop()
	}
}

var errNotDue = errors.New("it is not due any more")

// order makes one attempt and records what came of it; false where that could
// not be done.
func (k *certKeeper) order(ctx context.Context, t state.TLS, o plan.CertOrder) bool {
	host := k.node.self.Name
	// Without it what is ordered could not be kept.
	if _, err := k.ensureKey(ctx); err != nil {
		k.log.WarnContext(ctx, "no order of a certificate begins", "name", o.Name, "err", err)
		return false
	}
	if err := k.propose(ctx, state.BeginCertOrder{Name: o.Name, Host: host}); err != nil {
		if ctx.Err() == nil {
			k.log.InfoContext(ctx, "no order of a certificate begins", "name", o.Name, "err", err)
		}
		return false
	}
	k.log.InfoContext(ctx, "ordering a certificate", "name", o.Name, "why", o.Why, "ca", t.CA)
	c, _ := k.node.replica.Current()
	before, _ := c.Certificates.Get(o.Name)
	err := k.manager.Order(ctx, settingsOf(t), o.Name, o.Renew, func() error { return k.stillDue(o.Name, before) })
	if err == nil || errors.Is(err, errNotDue) {
		return true
	}
	if ctx.Err() != nil {
		// The next leader goes on; nothing is known to have failed.
		return false
	}
	fail := state.FailCertOrder{Name: o.Name, Host: host, Challenge: t.Challenge(), Error: err.Error()}
	if f, ok := errors.AsType[*certs.Failure](err); ok {
		c, _ := k.node.replica.Current()
		fail.Error, fail.Unreachable, fail.Limited = f.Detail, f.Unreachable, f.Limited
		if !f.Unreachable {
			fail.At = blamed(c, f.Detail)
		}
	}
	k.log.WarnContext(ctx, "a certificate could not be had", "name", o.Name, "challenge", fail.Challenge, "at", fail.At, "err", fail.Error)
	if err := k.propose(ctx, fail); err != nil && ctx.Err() == nil {
		k.log.WarnContext(ctx, "cannot record that an order failed", "name", o.Name, "err", err)
		return false
	}
	return true
}

// stillDue looks again, with the lock held: another host may have been there
// meanwhile.
func (k *certKeeper) stillDue(name string, before state.Certificate) error {
	c, _ := k.node.replica.Current()
	if now, _ := c.Certificates.Get(name); now.Fingerprint != before.Fingerprint {
		return errNotDue
	}
	return nil
}

// blamed is the host that a CA's words name by its address; empty where they
// name none.
func blamed(c state.Cluster, detail string) string {
	words := map[string]bool{}
	for _, w := range strings.FieldsFunc(detail, func(r rune) bool { return strings.ContainsRune(" \t\n\"'()[],;/", r) }) {
		words[strings.TrimSuffix(w, ":")] = true
		if at, err := netip.ParseAddrPort(w); err == nil {
			words[at.Addr().String()] = true
		}
	}
	for h := range c.Hosts.Values() {
		peer, _, _ := strings.Cut(h.Peer, ":")
		if words[h.Address] || peer != "" && words[peer] {
			return h.Name
		}
	}
	return ""
}

// askRenewal asks the CA when it wants a certificate to be renewed. Where it
// does not say, what was planned stands.
func (k *certKeeper) askRenewal(ctx context.Context, t state.TLS, cert state.Certificate) bool {
	asking, cancel := context.WithTimeout(ctx, renewalWithin)
	at, err := k.manager.RenewalTime(asking, settingsOf(t), []byte(cert.Chain))
	cancel()
	if err != nil {
		k.log.DebugContext(ctx, "the CA does not say when to renew", "name", cert.Name, "err", err)
	}
	if ctx.Err() != nil {
		return false
	}
	return k.propose(ctx, state.PlanRenewal{Name: cert.Name, Fingerprint: cert.Fingerprint, RenewAt: plan.Renewal(cert, at)}) == nil
}
