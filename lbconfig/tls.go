package lbconfig

import (
	"cmp"
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// TLS modes of an Ingress.
const (
	// TLSAuto: the cluster obtains and renews the certificates.
	TLSAuto = "auto"
	// TLSManual: an operator brings them.
	TLSManual = "manual"
)

// HSTS is the Strict-Transport-Security header (RFC 6797).
type HSTS struct {
	// MaxAge is how long a browser remembers it.
	MaxAge            time.Duration `json:"max_age"`
	IncludeSubdomains bool          `json:"include_subdomains,omitempty"`
	// Preload allows browsers' makers to put the site on their list.
	Preload bool `json:"preload,omitempty"`
}

// Certificate is what host names are served with: two files that nginx's master
// reads. A renewed certificate has other files, so that a Config says by itself
// when nginx has to read anew.
type Certificate struct {
	// Hosts are host names of the site; the Fallback has none.
	Hosts []string
	// Chain and Key are absolute paths of PEM files.
	Chain, Key string
	// Staple says that the certificate names who tells whether it is revoked.
	Staple bool
}

var fileForm = regexp.MustCompile(`^/[A-Za-z0-9._/+@=, -]{1,999}$`)

func (c Certificate) validate(at string, p *problems) {
	for _, f := range []struct{ name, path string }{{"chain", c.Chain}, {"key", c.Key}} {
		if !fileForm.MatchString(f.path) || path.Clean(f.path) != f.path {
			p.add(at+"."+f.name, "%q is not an absolute path of letters, digits and any of ._+@=,- and space", f.path)
		}
	}
}

// secure says whether a site of the Config has TLS.
func (c Config) secure() bool {
	return slices.ContainsFunc(c.Sites, func(s Site) bool { return s.Ingress.TLS != "" })
}

func (c Config) validateTLS(p *problems) {
	if c.Challenge != "" {
		a, err := netip.ParseAddrPort(c.Challenge)
		if err != nil || !a.Addr().IsLoopback() || a.Addr().Zone() != "" || a.Port() == 0 {
			p.add("challenge", "%q is not a loopback address with a port, such as \"127.0.0.1:9372\"", c.Challenge)
		}
	}
	seen := map[string]bool{}
	for _, l := range c.Listen {
		if addr, err := parseListen(l); err == nil {
			seen[addr] = true
		}
	}
	for i, l := range c.ListenTLS {
		addr, err := parseListen(l)
		switch {
		case err != nil:
			p.add(index("listen_tls", i), "%q: %v", l, err)
		case seen[addr]:
			p.add(index("listen_tls", i), "%q is there twice", l)
		}
		seen[addr] = true
	}
	if !c.secure() {
		return
	}
	if len(c.ListenTLS) == 0 {
		p.add("listen_tls", "no address, and a site has TLS: expected at least one, such as \"443\"")
	}
	c.Fallback.validate("fallback", p)
}

func (i Ingress) validateTLS(p *problems) {
	if i.TLS != "" && i.TLS != TLSAuto && i.TLS != TLSManual {
		p.add("tls", "%q is not one of %s, %s", i.TLS, TLSAuto, TLSManual)
	}
	if i.HSTS != nil {
		within(p, "hsts.max_age", i.HSTS.MaxAge, 0, 10*365*24*time.Hour)
		if i.TLS == "" {
			p.add("hsts", "cannot be without tls: a browser would never come back")
		}
		if i.HSTS.Preload && (!i.HSTS.IncludeSubdomains || i.HSTS.MaxAge < 365*24*time.Hour) {
			p.add("hsts.preload", "cannot be without include_subdomains and a max_age of a year: the list refuses it")
		}
	}
	if i.TLS == "" {
		return
	}
	for n, h := range i.Hosts {
		if problem := Certifiable(h); problem != "" {
			p.add(index("hosts", n), "%q: %s", h, problem)
		}
	}
}

var allDigits = regexp.MustCompile(`^[0-9]+$`)

// Certifiable says why there can be no certificate for a host name; "" where
// there can. It looks at the name alone: at least two labels of which the last
// has a letter, and at most one "*." before (RFC 6125, CA/B BR 3.2.2).
func Certifiable(host string) string {
	host = strings.ToLower(host)
	if host == AnyHost {
		return "\"_\" is no name that a certificate could have; name the hosts"
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return "an IP address is no name for a certificate; name the hosts"
	}
	bare := strings.TrimPrefix(host, "*.")
	if err := hostname(bare); err != nil {
		return err.Error()
	}
	labels := strings.Split(bare, ".")
	if len(labels) < 2 || allDigits.MatchString(labels[len(labels)-1]) {
		return "not a full host name that a certificate could have, such as www.example.com"
	}
	return ""
}

func (s Site) validateCertificates(p *problems) {
	if s.Ingress.TLS == "" {
		if len(s.Certificates) > 0 {
			p.add("certificates", "a site without TLS has none")
		}
		return
	}
	covered := map[string]bool{}
	for i, c := range s.Certificates {
		at := index("certificates", i)
		c.validate(at, p)
		for _, h := range c.Hosts {
			h = strings.ToLower(h)
			if covered[h] {
				p.add(at+".hosts", "%q has two certificates", h)
			}
			if !slices.ContainsFunc(s.Ingress.Hosts, func(own string) bool { return strings.EqualFold(own, h) }) {
				p.add(at+".hosts", "%q is not a host of the site", h)
			}
			covered[h] = true
		}
	}
	for i, h := range s.Ingress.Hosts {
		if !covered[strings.ToLower(h)] {
			p.add(index("hosts", i), "%q has no certificate", h)
		}
	}
}

// secureServer is one server block of a site with TLS.
type secureServer struct {
	Names       []string
	Certificate Certificate
}

func commonViewOf(c Config, listen []string) commonView {
	v := commonView{Generation: c.Generation, Status: c.Status, Listen: listen, KeepIdle: c.KeepIdle, Challenge: c.Challenge, Fallback: c.Fallback}
	if c.Fallback.Chain != "" {
		v.ListenTLS = listenAddresses(c.ListenTLS)
	}
	return v
}

// secured adds to a view what the site has of TLS.
func (v siteView) secured(s Site, c Config) siteView {
	v.Challenge = c.Challenge
	if s.Ingress.TLS == "" {
		return v
	}
	v.ListenTLS = listenAddresses(c.ListenTLS)
	v.Redirect = redirectPort(c.ListenTLS)
	if h := s.Ingress.HSTS; h != nil {
		v.HSTS = h.header()
	}
	byFiles := map[[2]string]*secureServer{}
	for _, cert := range s.Certificates {
		k := [2]string{cert.Chain, cert.Key}
		if byFiles[k] == nil {
			byFiles[k] = &secureServer{Certificate: cert}
		}
		byFiles[k].Names = append(byFiles[k].Names, serverNames(cert.Hosts)...)
	}
	for _, one := range byFiles {
		slices.Sort(one.Names)
		v.Secure = append(v.Secure, *one)
	}
	slices.SortFunc(v.Secure, func(a, b secureServer) int { return slices.Compare(a.Names, b.Names) })
	return v
}

// redirectPort is ":PORT" of where TLS is found; "" where that is 443, which
// nobody has to name.
func redirectPort(listen []string) string {
	port := ""
	for _, l := range listenAddresses(listen) {
		p := l[strings.LastIndex(l, ":")+1:]
		if p == "443" {
			return ""
		}
		port = cmp.Or(port, ":"+p)
	}
	return port
}

func (h HSTS) header() string {
	text := "max-age=" + strconv.FormatInt(int64(h.MaxAge/time.Second), 10)
	if h.IncludeSubdomains {
		text += "; includeSubDomains"
	}
	if h.Preload {
		text += "; preload"
	}
	return text
}

// String is the files of a certificate, for people.
func (c Certificate) String() string { return fmt.Sprintf("%s for %v", c.Chain, c.Hosts) }
