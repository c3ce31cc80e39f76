package lbconfig

import "time"

// Config is everything that the load balancer of one host serves.
type Config struct {
	// Generation is the number that the status server answers with, so that
	// one can tell which configuration serves.
	Generation uint64
	// Listen are the addresses of the public servers in nginx's own form,
	// "80" or "127.0.0.1:8080".
	Listen []string
	// ListenTLS are those for TLS, in the same form. They are listened on where
	// a site has certificates.
	ListenTLS []string
	// Status is the loopback address of the local server with /generation,
	// /status (stub_status) and /health: "127.0.0.1:9371".
	Status string
	// KeepIdle is how long a client's idle connection outlives a reload at the
	// least; 0 leaves it out, for nginx before 1.27.4.
	KeepIdle time.Duration
	// Challenge is the loopback address of who answers a CA's questions under
	// /.well-known/acme-challenge/, for every host name; "" for nobody.
	Challenge string
	// Fallback is served to who asks for a name without a site over TLS.
	Fallback Certificate
	Sites    []Site
}

// Site is one service as the public sees it.
type Site struct {
	// Service names the site, its file and its upstream.
	Service string
	Ingress Ingress
	// Servers may be empty: the site then answers 503.
	Servers []Server
	// Certificates are what its host names are served with where Ingress.TLS
	// is not empty: each name has exactly one.
	Certificates []Certificate
}

// Server is one backend of a site.
type Server struct {
	// Instance is the name of the instance, for people.
	Instance string
	// Address is "IP:port".
	Address string
	// Weight is the share of traffic relative to the other servers; 0 means 1.
	Weight int
}

// Ingress is what the operator says about a site; the value of x-ingress in
// the compose file. It is part of the replicated state, so fields are only
// added, and their zero value keeps the old meaning.
type Ingress struct {
	// Hosts are server names; "_" stands for any.
	Hosts []string `json:"hosts"`
	// Port is the container's port.
	Port   int    `json:"port"`
	Health Health `json:"health,omitzero"`
	// Balance is one of BalanceLeastConn (the zero value too),
	// BalanceRoundRobin, BalanceIPHash, BalanceRandom.
	Balance string `json:"balance,omitempty"`
	// StickyCookie keeps the clients that send this cookie on one instance as
	// long as the set of instances stands.
	StickyCookie string     `json:"sticky_cookie,omitempty"`
	RateLimit    *RateLimit `json:"rate_limit,omitempty"`
	CORS         *CORS      `json:"cors,omitempty"`
	// MaxBody is the largest request body in bytes; 0 means nginx's 1 MiB.
	MaxBody  int64    `json:"max_body,omitzero"`
	Timeouts Timeouts `json:"timeouts,omitzero"`
	// SlowStart is how long a fresh instance takes to come to its full share of
	// the requests; 0 for at once.
	SlowStart time.Duration `json:"slow_start,omitzero"`
	// Static are path prefixes whose answers nginx may keep.
	Static []Static `json:"static,omitempty"`
	// TLS is one of TLSAuto, TLSManual; empty for a site without TLS.
	TLS string `json:"tls,omitempty"`
	// HSTS tells browsers to come by TLS alone from now on; nil does not.
	HSTS *HSTS `json:"hsts,omitempty"`
}

// Balance methods.
const (
	BalanceLeastConn  = "least_conn"
	BalanceRoundRobin = "round_robin"
	BalanceIPHash     = "ip_hash"
	BalanceRandom     = "random"
)

// Health says how an instance of the site is asked whether it is well.
type Health struct {
	// Path is asked by GET; empty means that a TCP connection is enough.
	Path string `json:"path,omitempty"`
	// Every is the interval in steady state; 30 s by default.
	Every time.Duration `json:"every,omitzero"`
	// Timeout is how long one check may take; 5 s by default.
	Timeout time.Duration `json:"timeout,omitzero"`
	// Fall is how many checks in a row must fail until an instance is sick, 3 by
	// default; Rise how many must pass until it is well again, 2 by default.
	Fall int `json:"fall,omitempty"`
	Rise int `json:"rise,omitempty"`
	// IgnoreErrors: answers of 500 and above say nothing of its health.
	IgnoreErrors bool `json:"ignore_errors,omitempty"`
}

// RateLimit bounds the requests of one client address.
type RateLimit struct {
	// PerSecond is the steady rate; fractions are allowed down to 1/60.
	PerSecond float64 `json:"per_second"`
	// Burst requests over the rate are served at once; the rest get 429.
	Burst int `json:"burst"`
}

// CORS are the cross-origin rules of a site.
type CORS struct {
	// Origins are exact origins such as "https://app.example.com"; a lone "*"
	// stands for any and excludes Credentials.
	Origins     []string      `json:"origins"`
	Methods     []string      `json:"methods,omitempty"`
	Headers     []string      `json:"headers,omitempty"`
	Credentials bool          `json:"credentials,omitempty"`
	MaxAge      time.Duration `json:"max_age,omitzero"`
}

// Timeouts of the connection between nginx and an instance; zero means
// connect 2 s, read and send 60 s.
type Timeouts struct {
	Connect time.Duration `json:"connect,omitzero"`
	Read    time.Duration `json:"read,omitzero"`
	Send    time.Duration `json:"send,omitzero"`
}

// Static is a path prefix whose answers are cached by nginx and by clients.
type Static struct {
	Path   string        `json:"path"`
	MaxAge time.Duration `json:"max_age"`
}
