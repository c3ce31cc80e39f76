package state

import (
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/supervisord/supervisord/lbconfig"
)

// TLS is the x-supervisor.tls key: where certificates come from.
type TLS struct {
	// Email is the contact that the CA is given.
	Email string `json:"email"`
	// CA is the URL of its directory (RFC 8555, 7.1.1), Staging that of one
	// whose certificates nobody trusts, for rehearsals; empty where there is
	// none.
	CA      string `json:"ca"`
	Staging string `json:"staging,omitempty"`
	// Roots are in PEM and what the CA's own connection is trusted by; empty
	// for what the host trusts.
	Roots string `json:"roots,omitempty"`
	// OrdersPerDay is how many orders are made within 24 hours at the most;
	// DefaultOrdersPerDay where zero.
	OrdersPerDay int `json:"orders_per_day,omitempty"`
	// DNS proves names by records, which wildcards need; nil for HTTP.
	DNS *DNS `json:"dns,omitempty"`
}

// DNS says how records are set: by a program, or by dynamic updates.
type DNS struct {
	// Exec is a program of each host and its first arguments. It is run with
	// "present" or "cleanup", the record's name and its value.
	Exec    []string `json:"exec,omitempty"`
	RFC2136 *RFC2136 `json:"rfc2136,omitempty"`
	// Wait is the time between setting a record and the CA's question.
	Wait time.Duration `json:"wait,omitempty"`
}

// RFC2136 is a name server that takes updates signed with a key (RFC 8945).
type RFC2136 struct {
	// Server is "host:port", Zone the zone that is updated.
	Server string `json:"server"`
	Zone   string `json:"zone"`
	// KeyName and Algorithm ("hmac-sha256") are the key's, KeyFile is where
	// each host has its secret in base64; it never enters the state.
	KeyName   string `json:"key_name"`
	Algorithm string `json:"algorithm"`
	KeyFile   string `json:"key_file"`
}

// DefaultOrdersPerDay is far below what public CAs allow (Let's Encrypt: 300
// in three hours for an account, 50 certificates a week for a domain).
const DefaultOrdersPerDay = 50

// Challenge is how names are proven: "http-01" or "dns-01".
func (t TLS) Challenge() string {
	if t.DNS != nil {
		return "dns-01"
	}
	return "http-01"
}

// SecureHost is a host name that is served over TLS.
type SecureHost struct {
	// Name is in lower case.
	Name    string
	Service string
	// Mode is lbconfig.TLSAuto or TLSManual.
	Mode string
}

// Ordered says whether its certificate is ordered from the CA, not brought.
func (h SecureHost) Ordered() bool { return h.Mode == lbconfig.TLSAuto }

// SecureHosts walks the host names with TLS, by service and in the file's
// order.
func (s Spec) SecureHosts() iter.Seq[SecureHost] {
	return func(yield func(SecureHost) bool) {
		for _, name := range slices.Sorted(maps.Keys(s.Services)) {
			in := s.Services[name].Ingress
			if in == nil || in.TLS != lbconfig.TLSAuto && in.TLS != lbconfig.TLSManual {
				continue
			}
			for _, h := range in.Hosts {
				if !yield(SecureHost{Name: strings.ToLower(h), Service: name, Mode: in.TLS}) {
					return
				}
			}
		}
	}
}
