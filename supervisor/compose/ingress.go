package compose

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/supervisord/supervisord/lbconfig"
)

// ingress is x-ingress: what the load balancer does, and how long an instance
// that leaves may finish its requests.
type ingress struct {
	lbconfig.Ingress
	// drain is 0 where the file does not say it.
	drain time.Duration
}

// readIngress reads x-ingress:
//
//	hosts: [api.example.com]
//	port: 4000
//	health: {path: /health, every: 30s, timeout: 5s, fall: 3, rise: 2, ignore_errors: false}
//	balance: least_conn
//	sticky: {cookie: session}
//	rate_limit: {rate: 10r/s, burst: 20}
//	cors: {origins: [https://app.example.com], methods: [GET], headers: [X-Id], credentials: true, max_age: 1h}
//	max_body: 10m
//	timeouts: {connect: 2s, read: 60s, send: 60s}
//	static: [{path: /assets/, max_age: 1h}]
//	slow_start: 30s
//	drain: 10s
//	tls: auto
//	hsts: 8760h
//
// All but hosts and port may be absent.
func readIngress(r *report, p place, v *value) *ingress {
	before := len(r.errs)
	var in ingress
	rules{closed: true, known: map[string]shape{
		"hosts":      into(&in.Hosts, readStrings),
		"port":       into(&in.Port, readPort),
		"health":     readHealth(&in.Health),
		"balance":    into(&in.Balance, readBalance),
		"sticky":     readSticky(&in.StickyCookie),
		"rate_limit": readRateLimit(&in.RateLimit),
		"cors":       readCORS(&in.CORS),
		"max_body":   into(&in.MaxBody, readSize),
		"timeouts":   readTimeouts(&in.Timeouts),
		"static":     readStatic(&in.Static),
		"slow_start": into(&in.SlowStart, readDuration),
		"drain":      into(&in.drain, readDuration),
		"tls":        into(&in.TLS, readMode),
		"hsts":       readHSTS(&in.HSTS),
	}}.check(r, p, v)
	wants := map[string]string{"hosts": `a list of server names, or "_" for any`, "port": "the container's port"}
	for _, name := range []string{"hosts", "port"} {
		if v.kind == mapKind && v.get(name) == nil {
			r.path(p.child(name), "missing", wants[name])
		}
	}
	if len(r.errs) > before {
		return nil
	}
	in.Ingress = in.WithDefaults()
	if !r.ingress(p, in.Validate()) {
		return nil
	}
	return &in
}

func readPort(r *report, p place, v *value) int { return int(readInt(r, p, v, 1, 65535)) }

func readText(r *report, p place, v *value) string {
	str(r, p, v)
	return v.text
}

func readStrings(r *report, p place, v *value) []string {
	var out []string
	each(func(r *report, p place, v *value) { out = append(out, readText(r, p, v)) })(r, p, v)
	if v.kind == listKind && len(out) == 0 {
		r.at(p, v, "an empty list is given", "at least one item")
	}
	return out
}

func readBalance(r *report, p place, v *value) string {
	oneOf(lbconfig.BalanceLeastConn, lbconfig.BalanceRoundRobin, lbconfig.BalanceIPHash, lbconfig.BalanceRandom)(r, p, v)
	return v.text
}

func readHealth(h *lbconfig.Health) shape {
	return rules{closed: true, known: map[string]shape{
		"path":    into(&h.Path, readText),
		"every":   into(&h.Every, readDuration),
		"timeout": into(&h.Timeout, readDuration),

		"fall":          func(r *report, p place, v *value) { h.Fall = int(readInt(r, p, v, 1, 100)) },
		"rise":          func(r *report, p place, v *value) { h.Rise = int(readInt(r, p, v, 1, 100)) },
		"ignore_errors": into(&h.IgnoreErrors, readBool),
	}}.check
}

func readSticky(cookie *string) shape {
	return func(r *report, p place, v *value) {
		rules{closed: true, known: map[string]shape{"cookie": into(cookie, readText)}}.check(r, p, v)
		if v.kind == mapKind && v.get("cookie") == nil {
			r.path(p.child("cookie"), "missing", "the name of a cookie")
		}
	}
}

func readRateLimit(at **lbconfig.RateLimit) shape {
	return func(r *report, p place, v *value) {
		limit := &lbconfig.RateLimit{}
		rules{closed: true, known: map[string]shape{
			"rate":  into(&limit.PerSecond, readRate),
			"burst": func(r *report, p place, v *value) { limit.Burst = int(readInt(r, p, v, 0, 1_000_000)) },
		}}.check(r, p, v)
		if v.kind == mapKind && v.get("rate") == nil {
			r.path(p.child("rate"), "missing", wantRate)
		}
		*at = limit
	}
}

const wantRate = "a rate such as 10r/s or 600r/m"

var ratePattern = regexp.MustCompile(`^([0-9]{1,7})r/([sm])$`)

// readRate gives requests per second, from nginx's form.
func readRate(r *report, p place, v *value) float64 {
	if v.kind != scalarKind {
		r.wrongKind(p, v, wantRate)
		return 0
	}
	m := ratePattern.FindStringSubmatch(v.text)
	if m == nil || strings.Trim(m[1], "0") == "" {
		r.at(p, v, v.written(), wantRate)
		return 0
	}
	n, err := strconv.Atoi(m[1])
	if err != nil || n > 1_000_000 {
		r.at(p, v, v.written(), wantRate)
		return 0
	}
	if m[2] == "m" {
		return float64(n) / 60
	}
	return float64(n)
}

func readCORS(at **lbconfig.CORS) shape {
	return func(r *report, p place, v *value) {
		cors := &lbconfig.CORS{}
		rules{closed: true, known: map[string]shape{
			"origins":     into(&cors.Origins, readStrings),
			"methods":     into(&cors.Methods, readStrings),
			"headers":     into(&cors.Headers, readStrings),
			"credentials": into(&cors.Credentials, readBool),
			"max_age":     into(&cors.MaxAge, readDuration),
		}}.check(r, p, v)
		if v.kind == mapKind && v.get("origins") == nil {
			r.path(p.child("origins"), "missing", `a list of origins, or "*"`)
		}
		*at = cors
	}
}

func readTimeouts(t *lbconfig.Timeouts) shape {
	return rules{closed: true, known: map[string]shape{
		"connect": into(&t.Connect, readDuration),
		"read":    into(&t.Read, readDuration),
		"send":    into(&t.Send, readDuration),
	}}.check
}

func readStatic(at *[]lbconfig.Static) shape {
	return each(func(r *report, p place, v *value) {
		var s lbconfig.Static
		rules{closed: true, known: map[string]shape{
			"path":    into(&s.Path, readText),
			"max_age": into(&s.MaxAge, readDuration),
		}}.check(r, p, v)
		for _, name := range []string{"path", "max_age"} {
			if v.kind == mapKind && v.get(name) == nil {
				r.path(p.child(name), "missing", "both path and max_age")
			}
		}
		*at = append(*at, s)
	})
}
