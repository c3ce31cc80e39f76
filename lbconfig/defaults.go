package lbconfig

import (
	"slices"
	"time"
)

// Defaults of an Ingress.
const (
	DefaultHealthEvery   = 30 * time.Second
	DefaultHealthTimeout = 5 * time.Second
	DefaultConnect       = 2 * time.Second
	DefaultRead          = 60 * time.Second
	DefaultSend          = 60 * time.Second
	DefaultMaxBody       = 1 << 20
	DefaultCORSMaxAge    = 10 * time.Minute
)

// WithDefaults fills in what was left out. It changes nothing that was said,
// shares no memory that it writes to, and applying it twice is the same as
// applying it once.
func (i Ingress) WithDefaults() Ingress {
	if i.Balance == "" && i.StickyCookie == "" {
		i.Balance = BalanceLeastConn
	}
	orDefault(&i.Health.Every, DefaultHealthEvery)
	orDefault(&i.Health.Timeout, DefaultHealthTimeout)
	orDefault(&i.Timeouts.Connect, DefaultConnect)
	orDefault(&i.Timeouts.Read, DefaultRead)
	orDefault(&i.Timeouts.Send, DefaultSend)
	orDefault(&i.MaxBody, DefaultMaxBody)
	if i.CORS != nil {
		c := *i.CORS
		if len(c.Methods) == 0 {
			c.Methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}
		}
		if len(c.Headers) == 0 {
			c.Headers = []string{"Authorization", "Content-Type", "X-Requested-With"}
		}
		orDefault(&c.MaxAge, DefaultCORSMaxAge)
		c.Methods, c.Headers = slices.Clone(c.Methods), slices.Clone(c.Headers)
		i.CORS = &c
	}
	return i
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
