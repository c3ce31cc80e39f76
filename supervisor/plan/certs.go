package plan

import (
	"cmp"
	"slices"
	"time"

	"github.com/supervisord/supervisord/supervisor/state"
)

// CertOrder is a certificate that is to be ordered now.
type CertOrder struct {
	Name string
	// Renew says that it replaces one that is good.
	Renew bool
	Why   string
}

// siteWithin is how long the hosts get to have their nginx serve what a new file
// names, before a CA is sent there: it would be told 404, and counts failures.
const siteWithin = 3 * time.Second

// Certificates returns which certificates to order now, the most urgent first,
// and when to look again if nothing happens; zero where only a change of the
// state matters.
//
// A name is due when it has no certificate, when its certificate is to be
// renewed, when the CA that the file names is another one, when an operator
// demands it, or when the end of its last order was never recorded, because who
// ordered has died or lost the leadership meanwhile; not before the pause after
// its last failure is over, which a demand does not wait for, nor the first time
// in the first seconds of a file. Certificates that expire soonest come first, then
// names without one, those with the fewest failures first: so that what works
// goes on working, and wrong names are the last to use up the orders of a day.
func Certificates(c state.Cluster, now time.Time) (due []CertOrder, next time.Time) {
	if c.Spec.TLS == nil {
		return nil, time.Time{}
	}
	look := func(at time.Time) {
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	type candidate struct {
		CertOrder
		expires  time.Time
		failures int
	}
	var all []candidate
	for h := range c.Spec.SecureHosts() {
		if !h.Ordered() {
			continue
		}
		cert, has := c.Certificates.Get(h.Name)
		order, _ := c.CertOrders.Get(h.Name)
		o := candidate{CertOrder: CertOrder{Name: h.Name, Renew: has}, expires: cert.NotAfter, failures: order.Failures}
		at := time.Time{}
		switch {
		case order.Demanded:
			o.Why = "an operator demands it"
		case !has:
			o.Why, at = "it has none", order.Next
			if r, ok := c.Releases.Get(state.ReleaseKey(c.Spec.Revision)); ok && order.Next.IsZero() {
				at = r.At.Add(siteWithin)
			}
		case cert.CA == "":
			continue // an operator has brought it, and brings the next one
		case !order.Began.IsZero() && order.Ended.IsZero():
			o.Why, at = "its last order was left unfinished", order.Next
		case cert.CA != c.Spec.TLS.CA:
			o.Why, at = "the file names another CA", order.Next
		default:
			o.Why, at = "it is to be renewed", cert.RenewAt
			if order.Next.After(at) {
				at = order.Next
			}
		}
		if now.Before(at) {
			look(at)
			continue
		}
		all = append(all, o)
	}
	slices.SortStableFunc(all, func(a, b candidate) int {
		return cmp.Or(
			-cmp.Compare(rank(a.Renew), rank(b.Renew)), a.expires.Compare(b.expires),
			cmp.Compare(a.failures, b.failures), cmp.Compare(a.Name, b.Name))
	})
	for _, o := range all {
		if left, again := c.CertOrdersLeft(o.Name, now); left <= len(due) {
			look(again)
			continue
		}
		due = append(due, o.CertOrder)
	}
	return due, next
}

func rank(first bool) int {
	if first {
		return 1
	}
	return 0
}

// renewalReserve is the part of a certificate's life, one in so many, that is
// left for its renewal.
const renewalReserve = 10

// Renewal is when to renew a certificate whose CA wants that at a time of its
// own choice, zero for none. CAs may choose any until the certificate's end (RFC
// 9773, section 4.2); the last tenth of its life is left for the renewal itself.
// What is later than the end stands for nothing.
func Renewal(cert state.Certificate, wanted time.Time) time.Time {
	latest := cert.NotAfter.Add(-cert.NotAfter.Sub(cert.NotBefore) / renewalReserve)
	switch {
	case wanted.IsZero() || wanted.After(cert.NotAfter):
		return cert.RenewAt.UTC()
	case wanted.After(latest):
		return latest.UTC()
	}
	return wanted.UTC()
}
