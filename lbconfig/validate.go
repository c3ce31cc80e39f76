package lbconfig

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// FieldError is one thing that is wrong with one field. Validate joins them
// with errors.Join.
type FieldError struct {
	// Service is the site at fault; "" in what Ingress.Validate returns, and
	// where the fault is in no site.
	Service string
	// Field is the place within the site, or within the Config where Service
	// is "", by the names of the compose file: "hosts[1]", "static[0].path".
	Field string
	// Problem says what is wrong and what was expected.
	Problem string
}

func (e *FieldError) Error() string {
	if e.Service == "" {
		return e.Field + ": " + e.Problem
	}
	return fmt.Sprintf("service %q: %s: %s", e.Service, e.Field, e.Problem)
}

// FieldErrors are the FieldErrors inside an error that Validate or Render
// returned, in its order.
func FieldErrors(err error) []*FieldError {
	var one *FieldError
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*FieldError
		for _, e := range joined.Unwrap() {
			all = append(all, FieldErrors(e)...)
		}
		return all
	}
	if errors.As(err, &one) {
		return []*FieldError{one}
	}
	return nil
}

// problems collects FieldErrors of one service.
type problems struct {
	service string
	errs    []error
}

func (p *problems) add(field, format string, args ...any) {
	p.errs = append(p.errs, &FieldError{Service: p.service, Field: field, Problem: fmt.Sprintf(format, args...)})
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)

// Validate says what is wrong with the Config: nil, or joined *FieldErrors.
// A host name that two sites claim, and a name that two sites share but for
// the case of letters, count against the later one in order of service.
func (c Config) Validate() error {
	var errs []error
	p := problems{}
	c.validateListeners(&p)
	c.validateTLS(&p)
	errs = append(errs, p.errs...)
	names, hosts := map[string]string{}, map[string]string{}
	for _, site := range sortedSites(c.Sites) {
		p := problems{service: site.Service}
		if !nameForm.MatchString(site.Service) {
			p.add("service", "%q is not a service name: at most 63 letters, digits, \"_\", \".\" and \"-\", a letter or digit first", site.Service)
		}
		// nginx compares names of upstreams without regard to case.
		if other, taken := names[strings.ToLower(site.Service)]; taken {
			p.add("service", "the name is taken by service %q; the case of letters does not tell them apart", other)
		}
		names[strings.ToLower(site.Service)] = site.Service
		for i, h := range site.Ingress.Hosts {
			h = strings.ToLower(h)
			if other, taken := hosts[h]; taken && other != site.Service {
				p.add(index("hosts", i), "%q is already the host of service %q", h, other)
				continue
			}
			hosts[h] = site.Service
		}
		site.Ingress.validate(&p)
		validateServers(site.Servers, &p)
		site.validateCertificates(&p)
		errs = append(errs, p.errs...)
	}
	return errors.Join(errs...)
}

func (c Config) validateListeners(p *problems) {
	if len(c.Listen) == 0 {
		p.add("listen", "no address: expected at least one, such as \"80\"")
	}
	seen := map[string]bool{}
	for i, l := range c.Listen {
		addr, err := parseListen(l)
		switch {
		case err != nil:
			p.add(index("listen", i), "%q: %v", l, err)
		case seen[addr]:
			p.add(index("listen", i), "%q is there twice", l)
		}
		seen[addr] = true
	}
	status, err := netip.ParseAddrPort(c.Status)
	switch {
	case err != nil || !status.Addr().IsLoopback() || status.Port() == 0:
		p.add("status", "%q is not a loopback address with a port, such as \"127.0.0.1:9371\"", c.Status)
	case status.Addr().Zone() != "":
		p.add("status", "%q: an address with a zone is not supported", c.Status)
	case seen[status.String()]:
		p.add("status", "%q is a public address too", c.Status)
	}
}

// parseListen accepts "80", "*:80", "192.0.2.1:80" and "[2001:db8::1]:80" and
// returns nginx's form of it.
func parseListen(s string) (string, error) {
	want := errors.New(`expected a port, or an IP address and a port such as "127.0.0.1:8080" or "[::]:80"`)
	port, isPort := strings.CutPrefix(s, "*:")
	if isPort || !strings.Contains(s, ":") {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return "", want
		}
		return strconv.FormatUint(n, 10), nil
	}
	ap, err := netip.ParseAddrPort(s)
	if err != nil || ap.Port() == 0 || ap.Addr().Zone() != "" {
		return "", want
	}
	return ap.String(), nil
}

const maxWeight = 10_000

func validateServers(servers []Server, p *problems) {
	for i, s := range servers {
		at := index("servers", i)
		if s.Instance != "" && !nameForm.MatchString(s.Instance) {
			p.add(at+".instance", "%q is not a name of an instance", s.Instance)
		}
		ap, err := netip.ParseAddrPort(s.Address)
		if err != nil || ap.Port() == 0 || ap.Addr().Zone() != "" {
			p.add(at+".address", "%q is not \"IP:port\"", s.Address)
		}
		if s.Weight < 0 || s.Weight > maxWeight {
			p.add(at+".weight", "%d is not between 0 and %d", s.Weight, maxWeight)
		}
	}
}

// Validate says what is wrong with the Ingress by itself: nil, or joined
// *FieldErrors. Zero values that stand for a default are right.
func (i Ingress) Validate() error {
	var p problems
	i.validate(&p)
	return errors.Join(p.errs...)
}

func (i Ingress) validate(p *problems) {
	validateHosts(i.Hosts, p)
	if i.Port < 1 || i.Port > 65535 {
		p.add("port", "%d is not a port: expected the container's port, 1 to 65535", i.Port)
	}
	i.validateHealth(p)
	i.validateBalance(p)
	i.validateRate(p)
	if i.CORS != nil {
		i.CORS.validate(p)
	}
	if i.MaxBody < 0 || i.MaxBody > 1<<40 {
		p.add("max_body", "%d is not between 0 and 1 TiB", i.MaxBody)
	}
	// The kernel gives up connecting after about 75 s whatever nginx is told.
	within(p, "timeouts.connect", i.Timeouts.Connect, time.Millisecond, 75*time.Second)
	within(p, "timeouts.read", i.Timeouts.Read, time.Millisecond, 24*time.Hour)
	within(p, "timeouts.send", i.Timeouts.Send, time.Millisecond, 24*time.Hour)
	i.validateStatic(p)
	within(p, "slow_start", i.SlowStart, 100*time.Millisecond, time.Hour)
	if i.SlowStart != 0 && (i.StickyCookie != "" || i.Balance == BalanceIPHash) {
		p.add("slow_start", "cannot go together with sticky or ip_hash: each of its steps would move clients to other instances")
	}
	i.validateTLS(p)
}

func (i Ingress) validateHealth(p *problems) {
	if i.Health.Path != "" && !healthPathForm.MatchString(i.Health.Path) {
		p.add("health.path", "%q is not a path: expected \"/\" and visible ASCII characters", i.Health.Path)
	}
	within(p, "health.every", i.Health.Every, 100*time.Millisecond, 24*time.Hour)
	within(p, "health.timeout", i.Health.Timeout, 10*time.Millisecond, 10*time.Minute)
	for _, n := range []struct {
		field string
		times int
	}{{"health.fall", i.Health.Fall}, {"health.rise", i.Health.Rise}} {
		if n.times < 0 || n.times > 100 {
			p.add(n.field, "%d is not a number of checks from 1 to 100", n.times)
		}
	}
}

var (
	healthPathForm = regexp.MustCompile(`^/[!-~]{0,999}$`)
	cookieForm     = regexp.MustCompile(`^[A-Za-z0-9_]{1,64}$`)
)

func (i Ingress) validateBalance(p *problems) {
	methods := []string{BalanceLeastConn, BalanceRoundRobin, BalanceIPHash, BalanceRandom}
	if i.Balance != "" && !slices.Contains(methods, i.Balance) {
		p.add("balance", "%q is not one of %s", i.Balance, strings.Join(methods, ", "))
	}
	if i.StickyCookie == "" {
		return
	}
	if !cookieForm.MatchString(i.StickyCookie) {
		p.add("sticky_cookie", "%q is not a name that nginx can look up: at most 64 letters, digits and \"_\"", i.StickyCookie)
	}
	if i.Balance != "" {
		p.add("sticky_cookie", "cannot go together with balance: the cookie chooses the instance")
	}
}

func (i Ingress) validateRate(p *problems) {
	if i.RateLimit == nil {
		return
	}
	// The negation refuses NaN too.
	if r := i.RateLimit.PerSecond; !(r >= 1.0/60 && r <= 1e6) {
		p.add("rate_limit.per_second", "%v is not between 1/60 and 1000000", r)
	}
	if b := i.RateLimit.Burst; b < 0 || b > 1e6 {
		p.add("rate_limit.burst", "%d is not between 0 and 1000000", b)
	}
}

// within refuses a duration outside of [low, high]; 0 stands for a default.
func within(p *problems, field string, d, low, high time.Duration) {
	if d != 0 && (d < low || d > high) {
		p.add(field, "%v is not between %v and %v", d, low, high)
	}
}

func index(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

func sortedSites(sites []Site) []Site {
	return slices.SortedStableFunc(slices.Values(sites), func(a, b Site) int { return cmp.Compare(a.Service, b.Service) })
}
