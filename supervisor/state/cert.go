package state

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Certificate is what a host name is served with, on all hosts.
type Certificate struct {
	// Name is the host name that it was ordered or imported for, in lower case.
	Name string `json:"name"`
	// Chain is in PEM, the leaf first. Key is its private key in PEM, sealed.
	Chain string `json:"chain"`
	Key   Sealed `json:"key"`
	// Names, Issuer, Fingerprint (SHA-256 of the leaf, in hex) and the times
	// are the leaf's.
	Names       []string  `json:"names"`
	Issuer      string    `json:"issuer"`
	Fingerprint string    `json:"fingerprint"`
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
	// CA is the directory that issued it; empty for one that an operator has
	// brought, which nobody renews. Meta is what the CA's client keeps of it.
	CA   string `json:"ca,omitempty"`
	Meta []byte `json:"meta,omitempty"`
	// RenewAt is when it is to be renewed; Looked when that was last asked.
	RenewAt time.Time `json:"renew_at,omitzero"`
	Looked  time.Time `json:"looked,omitzero"`
	// Since is when it came into the state.
	Since time.Time `json:"since"`
}

// CertOrder is what came of the orders of a host name's certificate.
type CertOrder struct {
	Name string `json:"name"`
	// Began is when the last one began, on Host; Ended when its end was
	// recorded, which is never where the host died with it.
	Began time.Time `json:"began,omitzero"`
	Ended time.Time `json:"ended,omitzero"`
	Host  string    `json:"host,omitempty"`
	// Failures counts those that failed since the last success; Error is the
	// reason of the last one, Challenge and At what failed and on which host.
	Failures  int    `json:"failures,omitempty"`
	Error     string `json:"error,omitempty"`
	Challenge string `json:"challenge,omitempty"`
	At        string `json:"at,omitempty"`
	// Next is the earliest time of the next one.
	Next time.Time `json:"next,omitzero"`
	// Demanded says that an operator wants one now.
	Demanded bool `json:"demanded,omitempty"`
}

// The kinds of events of certificates.
const (
	EventCertIssued   EventKind = "cert_issued"
	EventCertRenewed  EventKind = "cert_renewed"
	EventCertImported EventKind = "cert_imported"
	EventCertFailed   EventKind = "cert_failed"
)

// Fence names a lock and the token with which something was begun.
type Fence struct {
	Lock  string `json:"lock"`
	Token uint64 `json:"token"`
}

// BeginCertOrder says that a host orders a certificate now. It is refused when
// the orders of 24 hours are used up, which all hosts count alike.
type BeginCertOrder struct {
	second
	Name string `json:"name"`
	Host string `json:"host"`
}

// FailCertOrder says that an order has failed.
type FailCertOrder struct {
	second
	Name      string `json:"name"`
	Host      string `json:"host"`
	Challenge string `json:"challenge"`
	// At is the host whose answer was wrong, where that is known.
	At    string `json:"at,omitempty"`
	Error string `json:"error"`
	// Unreachable: the CA did not answer or could not work, so that nothing
	// was ordered.
	Unreachable bool `json:"unreachable,omitempty"`
	// Limited: the CA wants fewer orders.
	Limited bool `json:"limited,omitempty"`
}

// KeepCertificate puts a certificate in force. With a Fence it is refused where
// the lock has another owner by now.
type KeepCertificate struct {
	second
	Certificate Certificate `json:"certificate"`
	Fence       *Fence      `json:"fence,omitempty"`
}

// DemandCertificate has a certificate renewed now, whatever it waits for but
// the orders of the day.
type DemandCertificate struct {
	second
	Name string `json:"name"`
}

// PlanRenewal says when a certificate is to be renewed, as the CA wants it
// (RFC 9773). Fingerprint is the one it is said of.
type PlanRenewal struct {
	second
	Name        string    `json:"name"`
	Fingerprint string    `json:"fingerprint"`
	RenewAt     time.Time `json:"renew_at"`
}

func (BeginCertOrder) kind() string    { return "begin_cert_order" }
func (FailCertOrder) kind() string     { return "fail_cert_order" }
func (KeepCertificate) kind() string   { return "keep_certificate" }
func (DemandCertificate) kind() string { return "demand_certificate" }
func (PlanRenewal) kind() string       { return "plan_renewal" }

// String keeps the chain and the key out of logs.
func (cmd KeepCertificate) String() string {
	return "certificate " + cmd.Certificate.Fingerprint + " of " + cmd.Certificate.Name
}

// certDay is the time over which orders are counted.
const certDay = 24 * time.Hour

// CertOrdersLeft is how many orders may begin now, and when one more may where
// that is none. A fifth of the day's is for names that have a certificate:
// however many wrong names the file has, what works is renewed.
func (c Cluster) CertOrdersLeft(name string, now time.Time) (left int, again time.Time) {
	most := c.CertOrdersPerDay()
	if _, has := c.Certificates.Get(name); !has {
		most -= most / 5
	}
	recent := c.recentOrders(now)
	if left = most - len(recent); left > 0 {
		return left, time.Time{}
	}
	return 0, recent[len(recent)-most].Add(certDay)
}

// CertOrdersPerDay is how many orders may begin within 24 hours.
func (c Cluster) CertOrdersPerDay() int {
	if c.Spec.TLS != nil && c.Spec.TLS.OrdersPerDay > 0 {
		return c.Spec.TLS.OrdersPerDay
	}
	return DefaultOrdersPerDay
}

// RecentCertOrders is how many have begun within the last 24 hours.
func (c Cluster) RecentCertOrders(now time.Time) int { return len(c.recentOrders(now)) }

// recentOrders are the times of those that count, oldest first.
func (c Cluster) recentOrders(now time.Time) []time.Time {
	first := slices.IndexFunc(c.CertOrderTimes, func(at time.Time) bool { return now.Sub(at) < certDay })
	if first < 0 {
		return nil
	}
	return c.CertOrderTimes[first:]
}

// certBackoff are the pauses after one failure, two and so on. Public CAs allow
// five failures of a name in an hour.
func certBackoff() []time.Duration {
	return []time.Duration{time.Minute, 5 * time.Minute, 30 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour}
}

const (
	// unreachableAgain bounds the pause where nothing was ordered.
	unreachableAgain = 10 * time.Minute
	// limitedAgain is the least pause after the CA's own limit.
	limitedAgain = time.Hour
)

// CertBackoff is the pause after the n-th failure in a row.
func CertBackoff(n int) time.Duration {
	all := certBackoff()
	if n < 1 {
		return 0
	}
	return all[min(n, len(all))-1]
}

func (cmd BeginCertOrder) apply(ch *change) error {
	if left, again := ch.CertOrdersLeft(cmd.Name, ch.now); left == 0 {
		return refuse("the orders of 24 hours are used up; the next may begin at %s", again.UTC().Format(time.RFC3339))
	}
	o, _ := ch.CertOrders.Get(cmd.Name)
	o.Name, o.Host, o.Began, o.Ended, o.Demanded = cmd.Name, cmd.Host, ch.now, time.Time{}, false
	ch.CertOrders = ch.CertOrders.Put(cmd.Name, o)
	ch.CertOrderTimes = append(slices.Clone(ch.recentOrders(ch.now)), ch.now)
	ch.forgetCertificates()
	return nil
}

func (cmd FailCertOrder) apply(ch *change) error {
	o, ok := ch.CertOrders.Get(cmd.Name)
	if !ok || o.Host != cmd.Host || !o.Ended.IsZero() {
		return refuse("no order of a certificate for %s is under way on %s", cmd.Name, cmd.Host)
	}
	o.Failures++
	o.Ended, o.Error, o.Challenge, o.At = ch.now, cmd.Error, cmd.Challenge, cmd.At
	wait := CertBackoff(o.Failures)
	switch {
	case cmd.Unreachable:
		// Nothing was ordered, so it does not count.
		wait = min(wait, unreachableAgain)
		if n := slices.IndexFunc(ch.CertOrderTimes, o.Began.Equal); n >= 0 {
			ch.CertOrderTimes = slices.Delete(slices.Clone(ch.CertOrderTimes), n, n+1)
		}
	case cmd.Limited:
		wait = max(wait, limitedAgain)
	}
	o.Next = ch.now.Add(wait)
	ch.CertOrders = ch.CertOrders.Put(cmd.Name, o)
	ch.event(Event{Kind: EventCertFailed, Host: cmd.Host, Message: ch.certFailure(o)})
	return nil
}

// certFailure says what failed, where, what it means and what comes next.
func (ch *change) certFailure(o CertOrder) string {
	what := fmt.Sprintf("no certificate for %s could be had", o.Name)
	if c, has := ch.Certificates.Get(o.Name); has {
		what = fmt.Sprintf("the certificate of %s could not be renewed, it expires in %s", o.Name, days(c.NotAfter.Sub(ch.now)))
		if !ch.now.Before(c.NotAfter) {
			what = fmt.Sprintf("the certificate of %s could not be renewed and has expired", o.Name)
		}
	}
	where := "ordered by " + o.Host
	if o.At != "" {
		where = "asked was " + o.At
	}
	return fmt.Sprintf("%s: %s failed (%s): %s; failure %d in a row, next attempt in %s", what, o.Challenge, where, o.Error, o.Failures, Brief(o.Next.Sub(ch.now)))
}

// days prints a long time in days, a shorter one as it is.
func days(d time.Duration) string {
	if d < 48*time.Hour {
		return Brief(d)
	}
	return fmt.Sprintf("%d days", int(d/(24*time.Hour)))
}

func (cmd KeepCertificate) apply(ch *change) error {
	c := cmd.Certificate
	if c.Name == "" || c.Name != strings.ToLower(c.Name) || c.Chain == "" || c.Key.Key == "" || c.Fingerprint == "" {
		return refuse("a certificate has a name, a chain and a sealed key")
	}
	if f := cmd.Fence; f != nil {
		if l, held := ch.Locks.Get(f.Lock); !held || l.Token != f.Token {
			return refuse("the lock %s has been lost", f.Lock)
		}
	}
	old, renewed := ch.Certificates.Get(c.Name)
	if renewed && old.Fingerprint == c.Fingerprint {
		return nil
	}
	c.Since = ch.now
	ch.Certificates = ch.Certificates.Put(c.Name, c)
	o, ordered := ch.CertOrders.Get(c.Name)
	if ordered {
		ch.CertOrders = ch.CertOrders.Put(c.Name, CertOrder{Name: c.Name, Began: o.Began, Ended: ch.now, Host: o.Host})
	}
	kind, message := EventCertIssued, fmt.Sprintf("%s has a certificate of %s, good until %s", c.Name, c.Issuer, c.NotAfter.UTC().Format(time.DateOnly))
	switch {
	case c.CA == "":
		kind, message = EventCertImported, fmt.Sprintf("%s has a certificate that an operator has brought, of %s, good until %s", c.Name, c.Issuer, c.NotAfter.UTC().Format(time.DateOnly))
	case renewed:
		kind, message = EventCertRenewed, fmt.Sprintf("the certificate of %s is renewed, good until %s", c.Name, c.NotAfter.UTC().Format(time.DateOnly))
	}
	ch.event(Event{Kind: kind, Host: o.Host, Message: message})
	ch.forgetCertificates()
	return nil
}

// forgetCertificates drops expired certificates and old orders of names that
// the file no longer has.
func (ch *change) forgetCertificates() {
	wanted := map[string]bool{}
	for h := range ch.Spec.SecureHosts() {
		wanted[h.Name] = true
	}
	for name, c := range ch.Certificates.All() {
		if !wanted[name] && ch.now.After(c.NotAfter) {
			ch.Certificates = ch.Certificates.Delete(name)
		}
	}
	for name, o := range ch.CertOrders.All() {
		if !wanted[name] && ch.now.Sub(o.Began) > certDay {
			ch.CertOrders = ch.CertOrders.Delete(name)
		}
	}
}

func (cmd DemandCertificate) apply(ch *change) error {
	mode := ""
	for h := range ch.Spec.SecureHosts() {
		if h.Name == cmd.Name {
			mode = h.Mode
		}
	}
	switch mode {
	case "":
		return refuse("the file has no host %q with tls", cmd.Name)
	case "manual":
		return refuse("the certificate of %s is yours to bring (tls: manual)", cmd.Name)
	}
	o, _ := ch.CertOrders.Get(cmd.Name)
	o.Name, o.Demanded = cmd.Name, true
	ch.CertOrders = ch.CertOrders.Put(cmd.Name, o)
	return nil
}

func (cmd PlanRenewal) apply(ch *change) error {
	c, ok := ch.Certificates.Get(cmd.Name)
	if !ok || c.Fingerprint != cmd.Fingerprint {
		return refuse("%s has another certificate", cmd.Name)
	}
	c.RenewAt, c.Looked = cmd.RenewAt, ch.now
	ch.Certificates = ch.Certificates.Put(c.Name, c)
	return nil
}
