package compose

import (
	"crypto/x509"
	"net"
	"net/mail"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/supervisor/state"
)

// The directories of the CA that is asked where the file names none.
const (
	letsEncrypt        = "https://acme-v02.api.letsencrypt.org/directory"
	letsEncryptStaging = "https://acme-staging-v02.api.letsencrypt.org/directory"
)

// readTLS reads x-supervisor.tls:
//
//	email: ops@example.com
//	ca: letsencrypt          # or letsencrypt-staging, or the URL of a directory
//	ca_root: ./ca.pem        # what the CA's own connection is trusted by
//	staging: https://…       # where certs rehearse orders from another CA
//	orders_per_day: 50
//	dns: {exec: [/usr/local/bin/dns-hook], wait: 30s}
//	dns: {rfc2136: {server: "10.0.0.53:53", zone: example.com, key_name: svd, key_algorithm: hmac-sha256, key_file: /etc/supervisord/tsig}}
//
// Only email must be there.
func (b *builder) readTLS(p place, v *value) *state.TLS {
	if v == nil {
		return nil
	}
	t := &state.TLS{CA: letsEncrypt, Staging: letsEncryptStaging}
	rules{closed: true, known: map[string]shape{
		"email":          into(&t.Email, readEmail),
		"ca":             readCA(t),
		"ca_root":        b.readRoots(&t.Roots),
		"staging":        into(&t.Staging, readDirectory),
		"orders_per_day": func(r *report, p place, v *value) { t.OrdersPerDay = int(readInt(r, p, v, 1, 10_000)) },
		"dns":            b.readDNS(&t.DNS),
	}}.check(b.report, p, v)
	if v.kind != mapKind {
		return nil
	}
	if v.get("email") == nil {
		b.path(p.child("email"), "missing", "the address that the CA writes to when something is wrong")
	}
	// Whichever of the two keys comes first.
	if s := v.get("staging"); s != nil {
		t.Staging = s.text
	}
	return t
}

func readEmail(r *report, p place, v *value) string {
	const want = "an email address such as ops@example.com"
	if !isScalar(r, p, v, want) {
		return ""
	}
	if a, err := mail.ParseAddress(v.text); err != nil || a.Address != v.text {
		r.at(p, v, v.written(), want)
	}
	return v.text
}

// readCA sets the staging directory, too: another CA has none that is known.
func readCA(t *state.TLS) shape {
	return func(r *report, p place, v *value) {
		switch {
		case v.kind == scalarKind && v.text == "letsencrypt":
		case v.kind == scalarKind && v.text == "letsencrypt-staging":
			t.CA = letsEncryptStaging
		default:
			t.CA, t.Staging = readDirectory(r, p, v), ""
		}
	}
}

// readDirectory is the URL of an ACME directory.
func readDirectory(r *report, p place, v *value) string {
	const want = "letsencrypt, letsencrypt-staging or the https URL of an ACME directory"
	if !isScalar(r, p, v, want) {
		return ""
	}
	u, err := url.Parse(v.text)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" || strings.ContainsAny(v.text, " \"'") {
		r.at(p, v, v.written(), want)
	}
	return v.text
}

// readRoots puts the content of the file into the spec, so that no other host
// needs it: certificates are public.
func (b *builder) readRoots(at *string) shape {
	return func(r *report, p place, v *value) {
		file(r, p, v)
		if r.isBad(p) {
			return
		}
		name := v.text
		if !filepath.IsAbs(name) {
			name = filepath.Join(b.dir, name)
		}
		data, err := b.files.read(name)
		if err != nil {
			r.at(p, v, v.written()+": "+reason(err), "a file with certificates in PEM")
			return
		}
		if !x509.NewCertPool().AppendCertsFromPEM(data) {
			r.at(p, v, v.written()+" has no certificate", "a file with certificates in PEM")
			return
		}
		*at = string(data)
	}
}

func (b *builder) readDNS(at **state.DNS) shape {
	return func(r *report, p place, v *value) {
		d := &state.DNS{}
		rules{closed: true, known: map[string]shape{
			"exec":    readCommand(&d.Exec),
			"rfc2136": readRFC2136(&d.RFC2136),
			"wait":    into(&d.Wait, readDuration),
		}}.check(r, p, v)
		if v.kind == mapKind && (v.get("exec") == nil) == (v.get("rfc2136") == nil) {
			r.path(p, "there must be one way to set records", "exec or rfc2136")
		}
		if d.Wait > 10*time.Minute {
			r.path(p.child("wait"), d.Wait.String()+" is too long", "10m at the most")
		}
		*at = d
	}
}

func readCommand(at *[]string) shape {
	return func(r *report, p place, v *value) {
		*at = readStrings(r, p, v)
		if len(*at) > 0 && !filepath.IsAbs((*at)[0]) {
			r.path(p.child(index(0)), quote((*at)[0]), "the absolute path of a program")
		}
	}
}

func readRFC2136(at **state.RFC2136) shape {
	return func(r *report, p place, v *value) {
		u := &state.RFC2136{Algorithm: "hmac-sha256"}
		rules{closed: true, known: map[string]shape{
			"server":   into(&u.Server, readServer),
			"zone":     into(&u.Zone, readZone),
			"key_name": into(&u.KeyName, readZone),
			"key_algorithm": into(&u.Algorithm, func(r *report, p place, v *value) string {
				oneOf("hmac-sha256", "hmac-sha512", "hmac-sha384", "hmac-sha224")(r, p, v)
				return v.text
			}),
			"key_file": into(&u.KeyFile, func(r *report, p place, v *value) string {
				target(r, p, v)
				return v.text
			}),
		}}.check(r, p, v)
		for _, name := range []string{"server", "zone", "key_name", "key_file"} {
			if v.kind == mapKind && v.get(name) == nil {
				r.path(p.child(name), "missing", "server, zone, key_name and key_file")
			}
		}
		*at = u
	}
}

// readServer is an address with the port of DNS where there is none.
func readServer(r *report, p place, v *value) string {
	if v.kind == scalarKind && !strings.Contains(v.text, ":") {
		with := *v
		with.text = net.JoinHostPort(v.text, "53")
		return readAddress(r, p, &with)
	}
	return readAddress(r, p, v)
}

// zoneLabel allows the underscores that names of zones and keys may have.
var zoneLabel = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$`)

func readZone(r *report, p place, v *value) string {
	const want = "a name such as example.com"
	if !isScalar(r, p, v, want) {
		return ""
	}
	name := strings.ToLower(strings.TrimSuffix(v.text, "."))
	for label := range strings.SplitSeq(name, ".") {
		if !zoneLabel.MatchString(label) {
			r.at(p, v, v.written(), want)
			break
		}
	}
	return name
}

// readMode reads x-ingress.tls; "off" is the same as no key.
func readMode(r *report, p place, v *value) string {
	oneOf(lbconfig.TLSAuto, lbconfig.TLSManual, "off")(r, p, v)
	if v.text == "off" {
		return ""
	}
	return v.text
}

// readHSTS reads x-ingress.hsts: a duration, or
// {max_age: 8760h, include_subdomains: true, preload: true}.
func readHSTS(at **lbconfig.HSTS) shape {
	return func(r *report, p place, v *value) {
		h := &lbconfig.HSTS{}
		forms{
			scalar: into(&h.MaxAge, readDuration),
			mapping: rules{closed: true, known: map[string]shape{
				"max_age":            into(&h.MaxAge, readDuration),
				"include_subdomains": into(&h.IncludeSubdomains, readBool),
				"preload":            into(&h.Preload, readBool),
			}}.check,
			want: wantDuration + ", or a mapping with max_age",
		}.check(r, p, v)
		if v.kind == mapKind && v.get("max_age") == nil {
			r.path(p.child("max_age"), "missing", wantDuration)
		}
		*at = h
	}
}

// checkTLS looks at what services want of TLS and what x-supervisor gives.
func (b *builder) checkTLS(spec state.Spec) {
	for _, name := range b.serviceNames() {
		in := spec.Services[name].Ingress
		if in == nil || in.TLS != lbconfig.TLSAuto {
			continue
		}
		at := place{"services", name, "x-ingress"}
		if spec.TLS == nil {
			b.path(at.child("tls"), "nothing says where certificates come from", "x-supervisor.tls with an email, or tls: manual")
			continue
		}
		for i, h := range in.Hosts {
			if strings.HasPrefix(h, "*.") && spec.TLS.DNS == nil {
				b.path(at.child("hosts", index(i)), quote(h)+": a wildcard is proven by DNS alone", "x-supervisor.tls.dns, or tls: manual")
			}
		}
	}
	b.checkListeners(spec)
}

// checkListeners refuses one address for plain and for TLS.
func (b *builder) checkListeners(spec state.Spec) {
	plain := map[string]bool{}
	for _, l := range spec.Nginx.Listen {
		plain[strings.TrimPrefix(l, "*:")] = true
	}
	for i, l := range spec.Nginx.ListenTLS {
		if plain[strings.TrimPrefix(l, "*:")] {
			b.path(place{"x-supervisor", "nginx", "listen_tls", index(i)}, quote(l)+" is in listen, too", "another port")
		}
	}
	if len(spec.Nginx.ListenTLS) > 0 || !plain["443"] {
		return
	}
	for range spec.SecureHosts() {
		b.path(place{"x-supervisor", "nginx", "listen"}, "443 is for TLS, which a service has", "another port, or listen_tls")
		return
	}
}
