package api

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/supervisord/supervisord/supervisor/state"
)

// States of a certificate.
const (
	// CertGood: it is in force.
	CertGood = "good"
	// CertNone: there is none; the host name is served with one that nobody
	// trusts.
	CertNone = "none"
	// CertOverdue: it is in force, and should have been renewed by now.
	CertOverdue = "overdue"
	// CertExpired: it is not in force any more.
	CertExpired = "expired"
)

// Certs answers GET /v1/certs, sorted by name.
type Certs struct {
	// At is the daemon's time of the answer.
	At time.Time `json:"at"`
	// CA is the directory that certificates are ordered from, Challenge how
	// names are proven to it; both are absent where nothing is ordered.
	CA        string `json:"ca,omitempty"`
	Challenge string `json:"challenge,omitempty"`
	// OrdersToday are those of the last 24 hours, of OrdersPerDay at the most.
	OrdersToday  int    `json:"orders_today"`
	OrdersPerDay int    `json:"orders_per_day"`
	Certs        []Cert `json:"certs"`
}

// Cert is the certificate of a host name with TLS, and what came of its orders.
type Cert struct {
	Name    string `json:"name"`
	Service string `json:"service"`
	// TLS is "auto" where it is ordered, "manual" where an operator brings it.
	TLS   string `json:"tls"`
	State string `json:"state"`
	// Of the certificate; absent where there is none. Imported says that an
	// operator has brought it.
	Issuer      string    `json:"issuer,omitempty"`
	Names       []string  `json:"names,omitempty"`
	Fingerprint string    `json:"fingerprint,omitempty"`
	NotBefore   time.Time `json:"not_before,omitzero"`
	NotAfter    time.Time `json:"not_after,omitzero"`
	RenewAt     time.Time `json:"renew_at,omitzero"`
	Imported    bool      `json:"imported,omitempty"`
	// LastAttempt is when the last order began, on Host; Ordering says that it
	// is under way.
	LastAttempt time.Time `json:"last_attempt,omitzero"`
	Host        string    `json:"host,omitempty"`
	Ordering    bool      `json:"ordering,omitempty"`
	// Failures counts those that failed since the last success. Error is the
	// last one's, FailedChallenge and FailedAt what failed, and on which host
	// where that is known.
	Failures        int    `json:"failures,omitempty"`
	Error           string `json:"error,omitempty"`
	FailedChallenge string `json:"failed_challenge,omitempty"`
	FailedAt        string `json:"failed_at,omitempty"`
	// NextAttempt is the earliest time of the next order; absent where nothing
	// is ordered.
	NextAttempt time.Time `json:"next_attempt,omitzero"`
	// Waits says what else it waits for, in words.
	Waits string `json:"waits,omitempty"`
}

// ImportCert is the body of POST /v1/certs/{name}/import.
type ImportCert struct {
	// Cert and Key are in PEM; the chain goes with the certificate, which
	// comes first.
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

// String keeps the key out of logs.
func (ImportCert) String() string { return "certificate and key" }

// Rehearse is the body of POST /v1/certs/rehearse. Without names, all that are
// ordered are rehearsed.
type Rehearse struct {
	Names []string `json:"names,omitempty"`
}

// Rehearsed answers POST /v1/certs/rehearse, sorted by host and name.
type Rehearsed struct {
	// CA is the directory that was asked.
	CA      string      `json:"ca"`
	Results []Rehearsal `json:"results"`
}

// Rehearsal is what came of an order for trial from one host.
type Rehearsal struct {
	Host string `json:"host"`
	// Name is empty where the host itself could not be asked.
	Name string `json:"name,omitempty"`
	// Error is empty where it went well.
	Error string `json:"error,omitempty"`
}

// CertStore is the part of a Backend that handles private keys and CAs.
type CertStore interface {
	// ImportCertificate checks a certificate that an operator brings for a host
	// name, and puts it in force on all hosts. An *Error says what is wrong.
	ImportCertificate(ctx context.Context, name string, cert, key []byte) error
	// Rehearse orders certificates for trial from each host.
	Rehearse(ctx context.Context, names []string) ([]Rehearsal, error)
}

// CertsOf is how the certificates of a state stand at a time.
func CertsOf(c state.Cluster, now time.Time) Certs { return view{Cluster: c, now: now.UTC()}.certs() }

func (v view) certs() Certs {
	out := Certs{At: v.now, Certs: []Cert{}, OrdersPerDay: v.CertOrdersPerDay()}
	if t := v.Spec.TLS; t != nil {
		out.CA, out.Challenge = t.CA, t.Challenge()
	}
	out.OrdersToday = v.RecentCertOrders(v.now)
	for h := range v.Spec.SecureHosts() {
		out.Certs = append(out.Certs, v.cert(h))
	}
	slices.SortFunc(out.Certs, func(a, b Cert) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Service, b.Service)) })
	return out
}

func (v view) cert(h state.SecureHost) Cert {
	out := Cert{Name: h.Name, Service: h.Service, TLS: h.Mode, State: CertNone}
	c, has := v.Certificates.Get(h.Name)
	if !has {
		// One that an operator has brought for a wildcard serves the names below.
		_, parent, _ := strings.Cut(h.Name, ".")
		if c, has = v.Certificates.Get("*." + parent); has && h.Ordered() {
			has = false
		}
	}
	if has {
		out.Issuer, out.Names, out.Fingerprint = c.Issuer, c.Names, c.Fingerprint
		out.NotBefore, out.NotAfter, out.RenewAt, out.Imported = c.NotBefore, c.NotAfter, c.RenewAt, c.CA == ""
		out.State = certState(c, v.now)
	}
	o, _ := v.CertOrders.Get(h.Name)
	out.LastAttempt, out.Host, out.Failures = o.Began, o.Host, o.Failures
	out.Error, out.FailedChallenge, out.FailedAt = o.Error, o.Challenge, o.At
	out.Ordering = !o.Began.IsZero() && o.Ended.IsZero()
	if h.Ordered() && !out.Imported && v.Spec.TLS != nil {
		out.NextAttempt = o.Next
		if has && c.RenewAt.After(o.Next) {
			out.NextAttempt = c.RenewAt
		}
		if o.Demanded {
			out.NextAttempt = v.now
		}
		if left, again := v.CertOrdersLeft(h.Name, v.now); left == 0 && !out.Ordering && again.After(out.NextAttempt) {
			out.NextAttempt, out.Waits = again, "the orders of 24 hours are used up"
		}
	}
	if !h.Ordered() && !has {
		out.Waits = "an operator has to bring it: supervisord certs import " + h.Name
	}
	return out
}

// overdueAfter is the share of the time between the planned renewal and the
// end after which a certificate counts as overdue: for one of 90 days, ten
// days after it should have been renewed and twenty before it expires.
const overdueAfter = 3

func certState(c state.Certificate, now time.Time) string {
	switch {
	case !now.Before(c.NotAfter):
		return CertExpired
	case c.RenewAt.IsZero():
		// Nobody renews it but who has brought it: say so while there is time.
		if c.NotAfter.Sub(now) < c.NotAfter.Sub(c.NotBefore)/overdueAfter/2 {
			return CertOverdue
		}
	case now.After(c.RenewAt.Add(c.NotAfter.Sub(c.RenewAt) / overdueAfter)):
		return CertOverdue
	}
	return CertGood
}

func (s *server) certs(*http.Request) (any, error) { return s.view().certs(), nil }

// findCert is a host name with TLS, as the file has it.
func (v view) findCert(name string) (state.SecureHost, error) {
	for h := range v.Spec.SecureHosts() {
		if h.Name == strings.ToLower(name) {
			return h, nil
		}
	}
	return state.SecureHost{}, &Error{Status: http.StatusNotFound, Message: fmt.Sprintf("the file has no host %q with tls", name), Hint: "supervisord certs lists those that it has"}
}

// renewCert has a certificate ordered now, and answers with how it stands.
func (s *server) renewCert(r *http.Request) (any, error) {
	h, err := s.view().findCert(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	if err := s.propose(r, state.DemandCertificate{Name: h.Name}); err != nil {
		return nil, err
	}
	s.Log.InfoContext(r.Context(), "an operator demands a certificate", "name", h.Name)
	return s.view().cert(h), nil
}

// maxCert bounds the body of an import: a chain and a key.
const maxCert = 128 << 10

func (s *server) importCert(r *http.Request) (any, error) {
	h, err := s.view().findCert(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	var body ImportCert
	if err := readBodyOf(r, maxCert, &body); err != nil {
		return nil, err
	}
	if err := s.backend.ImportCertificate(r.Context(), h.Name, []byte(body.Cert), []byte(body.Key)); err != nil {
		return nil, notCommitted(err)
	}
	s.Log.InfoContext(r.Context(), "an operator brings a certificate", "name", h.Name)
	return s.view().cert(h), nil
}

func (s *server) rehearse(r *http.Request) (any, error) {
	var body Rehearse
	if err := readBodyOf(r, maxBody, &body); err != nil {
		return nil, err
	}
	v := s.view()
	if v.Spec.TLS == nil {
		return nil, &Error{Status: http.StatusConflict, Message: "the file has no x-supervisor.tls", Hint: "nothing is ordered, so there is nothing to rehearse"}
	}
	names := []string{}
	for h := range v.Spec.SecureHosts() {
		if len(body.Names) == 0 && h.Ordered() {
			names = append(names, h.Name)
		}
	}
	for _, name := range body.Names {
		h, err := v.findCert(name)
		if err != nil {
			return nil, err
		}
		names = append(names, h.Name)
	}
	slices.Sort(names)
	results, err := s.backend.Rehearse(r.Context(), slices.Compact(names))
	if err != nil {
		return nil, notCommitted(err)
	}
	slices.SortFunc(results, func(a, b Rehearsal) int { return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Name, b.Name)) })
	return Rehearsed{CA: v.Spec.TLS.Staging, Results: results}, nil
}

// certMetrics shows how the certificates stand.
func (m metrics) certMetrics(now time.Time) {
	v := m.view
	v.now = now
	all := v.certs()
	if len(all.Certs) == 0 {
		return
	}
	m.gauge("certificate_orders_today", "Orders of certificates within the last 24 hours.", float64(all.OrdersToday))
	m.gauge("certificate_orders_per_day", "The most orders of certificates within 24 hours.", float64(all.OrdersPerDay))
	for _, c := range all.Certs {
		m.oneOf("certificate_state", "How the certificate of a host name stands: 1 for the state it is in.", "state", c.State,
			[]string{CertGood, CertNone, CertOverdue, CertExpired}, "domain", c.Name)
		m.gauge("certificate_expiry_timestamp_seconds", "When the certificate of a host name expires, in Unix time; 0 where there is none.", unix(c.NotAfter), "domain", c.Name)
		m.gauge("certificate_next_attempt_timestamp_seconds", "When the certificate of a host name is ordered next, in Unix time; 0 where it is not.", unix(c.NextAttempt), "domain", c.Name)
		m.gauge("certificate_failures", "Orders of a host name's certificate that failed since the last success.", float64(c.Failures), "domain", c.Name)
	}
}

// Certs asks how the certificates stand.
func (c *Client) Certs(ctx context.Context) (Certs, error) {
	return get[Certs](ctx, c, "v1/certs", nil)
}

// RenewCert has a certificate ordered now, whatever it waits for.
func (c *Client) RenewCert(ctx context.Context, name string) (Cert, error) {
	return send[Cert](ctx, c, http.MethodPost, "v1/certs/"+url.PathEscape(name)+"/renew", struct{}{})
}

// ImportCert brings a certificate and its key for a host name.
func (c *Client) ImportCert(ctx context.Context, name string, body ImportCert) (Cert, error) {
	return send[Cert](ctx, c, http.MethodPost, "v1/certs/"+url.PathEscape(name)+"/import", body)
}

// Rehearse orders certificates for trial from each host, which takes some
// seconds for each of them.
func (c *Client) Rehearse(ctx context.Context, names []string) (Rehearsed, error) {
	return patiently[Rehearsed](ctx, c, "v1/certs/rehearse", Rehearse{Names: names})
}
