package lbconfig

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// commonView is what common.tmpl is filled with.
type commonView struct {
	Generation uint64
	Status     string
	Listen     []string
	KeepIdle   time.Duration
	ListenTLS  []string // where a site has certificates
	Fallback   Certificate
	Challenge  string
}

// siteView is what site.tmpl is filled with. All of it has been validated.
type siteView struct {
	Service string
	// ID is the service's name in the alphabet of nginx's variables.
	ID           string
	Listen       []string
	Names        []string
	Balance      string
	Cookie       string
	Zone         int // KiB of the upstream's shared memory
	Servers      []Server
	Rate         string
	Burst        int
	CORS         *corsView
	MaxBody      int64
	Timeouts     Timeouts
	Locations    []location
	StaticMaxAge []int64 // seconds, by index of location.Static
	// Of a site with TLS: its listeners, one server for each certificate, the
	// port that plain requests are sent to, and the header for browsers.
	ListenTLS []string
	Secure    []secureServer
	Redirect  string
	HSTS      string
	Challenge string
	// Fallback is the common file's.
	Fallback Certificate
}

type corsView struct {
	Any         bool
	Origins     []string
	Methods     string
	Headers     string
	Credentials bool
	MaxAge      int64 // seconds
}

// location is one location block. Static is the index of its rule, -1 for
// none.
type location struct {
	Modifier, Path string
	Static         int
	MaxAge         time.Duration
}

func viewOf(site Site, listen []string) siteView {
	ingress := site.Ingress.WithDefaults()
	v := siteView{
		Service:  site.Service,
		ID:       identifier(site.Service),
		Listen:   listen,
		Names:    serverNames(ingress.Hosts),
		Balance:  ingress.Balance,
		Cookie:   ingress.StickyCookie,
		Zone:     zoneSize(len(site.Servers)),
		Servers:  sortedServers(site.Servers),
		MaxBody:  ingress.MaxBody,
		Timeouts: ingress.Timeouts,
	}
	if r := ingress.RateLimit; r != nil {
		v.Rate, v.Burst = rate(r.PerSecond), r.Burst
	}
	if c := ingress.CORS; c != nil {
		v.CORS = viewOfCORS(*c)
	}
	rules := slices.SortedFunc(slices.Values(ingress.Static), func(a, b Static) int { return cmp.Compare(a.Path, b.Path) })
	for _, s := range rules {
		v.StaticMaxAge = append(v.StaticMaxAge, int64(s.MaxAge/time.Second))
	}
	v.Locations = locations(rules)
	return v
}

// serverNames sorts host names. "_" becomes an expression that matches any
// name, because expressions come after all exact and wildcard names: so the
// site needs no say in which server is the default one, and its file can come
// and go without touching the common file.
func serverNames(hosts []string) []string {
	var names []string
	for _, h := range hosts {
		if h == AnyHost {
			names = append(names, "", "~.")
			continue
		}
		names = append(names, strings.ToLower(h))
	}
	slices.Sort(names)
	return names
}

// sortedServers normalises what servers say and orders them by name.
func sortedServers(servers []Server) []Server {
	var all []Server
	for _, s := range servers {
		if ap, err := netip.ParseAddrPort(s.Address); err == nil {
			s.Address = ap.String()
		}
		s.Weight = max(s.Weight, 1)
		all = append(all, s)
	}
	slices.SortStableFunc(all, func(a, b Server) int {
		return cmp.Or(cmp.Compare(a.Instance, b.Instance), cmp.Compare(a.Address, b.Address))
	})
	return all
}

// zoneSize is ample: a server takes less than 1 KiB. It grows in steps of
// 64 KiB.
func zoneSize(servers int) int { return 64 * (2 + servers/32) }

// rate writes requests a second as nginx can: in whole numbers a second or
// else a minute.
func rate(perSecond float64) string {
	if perSecond == math.Trunc(perSecond) {
		return strconv.FormatInt(int64(perSecond), 10) + "r/s"
	}
	return strconv.FormatInt(int64(math.Round(perSecond*60)), 10) + "r/m"
}

func viewOfCORS(c CORS) *corsView {
	v := &corsView{
		Methods:     strings.Join(c.Methods, ", "),
		Headers:     strings.Join(c.Headers, ", "),
		Credentials: c.Credentials,
		MaxAge:      int64(c.MaxAge / time.Second),
	}
	for _, o := range c.Origins {
		if o == "*" {
			v.Any = true
			continue
		}
		v.Origins = append(v.Origins, strings.ToLower(o))
	}
	slices.Sort(v.Origins)
	return v
}

// locations are the blocks for the rules, in the order of their paths. A rule for "/assets" covers "/assets" and
// all below, not "/assets-old"; one for "/assets/" only what is below, and
// "/assets" itself gets its own block, as nginx would otherwise redirect it.
func locations(rules []Static) []location {
	var all []location
	root := location{Path: "/", Static: -1}
	for n, s := range rules {
		base := strings.TrimSuffix(s.Path, "/")
		if base == "" {
			root.Static, root.MaxAge = n, s.MaxAge
			continue
		}
		exact := location{Modifier: "= ", Path: base, Static: -1}
		if s.Path == base {
			exact.Static, exact.MaxAge = n, s.MaxAge
		}
		all = append(all, exact, location{Modifier: "^~ ", Path: base + "/", Static: n, MaxAge: s.MaxAge})
	}
	return append([]location{root}, all...)
}

// identifier maps a name to letters, digits and "_", and no two names to the
// same text.
func identifier(name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			b.WriteByte(c)
			continue
		}
		b.WriteString("_" + strconv.FormatUint(uint64(c), 16))
	}
	return b.String()
}

// locationView is a location with the site that it is in.
type locationView struct {
	Site     siteView
	Location location
}

func in(s siteView, l location) locationView { return locationView{s, l} }
