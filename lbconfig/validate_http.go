package lbconfig

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// AnyHost is the host name that stands for all that no other site claims.
const AnyHost = "_"

var labelForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

func validateHosts(hosts []string, p *problems) {
	if len(hosts) == 0 {
		p.add("hosts", "no host name: expected at least one, or \"_\" for any")
	}
	seen := map[string]bool{}
	for i, h := range hosts {
		at, h := index("hosts", i), strings.ToLower(h)
		if seen[h] {
			p.add(at, "%q is there twice", h)
		}
		seen[h] = true
		if h == AnyHost {
			continue
		}
		if err := hostname(strings.TrimPrefix(h, "*.")); err != nil {
			p.add(at, "%q: %v", h, err)
		}
	}
}

// hostname says whether a lower-case name is one by RFC 1123.
func hostname(h string) error {
	if len(h) > 253 {
		return errors.New("longer than 253 characters")
	}
	for label := range strings.SplitSeq(h, ".") {
		if !labelForm.MatchString(label) {
			return errors.New(`not a host name: expected labels of letters, digits and inner "-" joined by ".", with at most one "*." before`)
		}
	}
	return nil
}

var (
	methodForm = regexp.MustCompile(`^[A-Z][A-Z-]{0,31}$`)
	headerForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)
)

func (c CORS) validate(p *problems) {
	if len(c.Origins) == 0 {
		p.add("cors.origins", "no origin: expected at least one, or \"*\" for any")
	}
	seen := map[string]bool{}
	for i, o := range c.Origins {
		at := index("cors.origins", i)
		if seen[strings.ToLower(o)] {
			p.add(at, "%q is there twice", o)
		}
		seen[strings.ToLower(o)] = true
		if o == "*" {
			c.validateAny(at, p)
			continue
		}
		if err := origin(strings.ToLower(o)); err != nil {
			p.add(at, "%q: %v", o, err)
		}
	}
	for i, m := range c.Methods {
		if !methodForm.MatchString(m) {
			p.add(index("cors.methods", i), "%q is not a method in capital letters, such as \"GET\"", m)
		}
	}
	for i, h := range c.Headers {
		if !headerForm.MatchString(h) {
			p.add(index("cors.headers", i), "%q is not the name of a header", h)
		}
	}
	// Browsers keep a preflight for a day at the most.
	within(p, "cors.max_age", c.MaxAge, time.Second, 24*time.Hour)
}

func (c CORS) validateAny(at string, p *problems) {
	if len(c.Origins) > 1 {
		p.add(at, "\"*\" stands for all origins and must be alone")
	}
	if c.Credentials {
		p.add("cors.credentials", "cannot go together with the origin \"*\": browsers refuse it; name the origins")
	}
}

// origin says whether a lower-case text is a scheme, a host and maybe a port,
// as browsers send it.
func origin(o string) error {
	want := errors.New(`not an origin: expected "https://HOST" or "https://HOST:PORT" (or http) without a path`)
	rest, secure := strings.CutPrefix(o, "https://")
	if !secure {
		var plain bool
		if rest, plain = strings.CutPrefix(o, "http://"); !plain {
			return want
		}
	}
	host, port, hasPort := strings.Cut(rest, ":")
	if hasPort {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || port != strconv.FormatUint(n, 10) {
			return want
		}
	}
	if hostname(host) != nil {
		return want
	}
	return nil
}

var staticForm = regexp.MustCompile(`^/[A-Za-z0-9._~/@:+,-]{0,511}$`)

func (i Ingress) validateStatic(p *problems) {
	seen := map[string]bool{}
	for n, s := range i.Static {
		at := index("static", n)
		key := strings.TrimSuffix(s.Path, "/")
		switch {
		case !staticForm.MatchString(s.Path):
			p.add(at+".path", "%q is not a path prefix: expected \"/\" and letters, digits and any of ._~/@:+,-", s.Path)
		case strings.Contains(s.Path, "//") || hasDotSegment(s.Path):
			// nginx compares with the normalised path, so it would never match.
			p.add(at+".path", "%q can never match: it has an empty, \".\" or \"..\" segment", s.Path)
		case seen[key]:
			p.add(at+".path", "%q is there twice", s.Path)
		}
		seen[key] = true
		if s.MaxAge < time.Second || s.MaxAge > 365*24*time.Hour {
			p.add(at+".max_age", "%v is not between 1s and 8760h", s.MaxAge)
		}
	}
}

func hasDotSegment(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}
