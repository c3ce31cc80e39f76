package agent

import (
	"context"

	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/supervisor/state"
)

// Certifier knows what this host serves names over TLS with.
type Certifier interface {
	// Certify fills in what a configuration has of TLS: addresses,
	// certificates, and who answers a CA. A name for which nothing can be had
	// is left out, so that its site alone keeps its last form.
	Certify(ctx context.Context, c state.Cluster, cfg lbconfig.Config) lbconfig.Config
}

// certified is a configuration with what it has of TLS.
func (r *router) certified(ctx context.Context, c state.Cluster, cfg lbconfig.Config) lbconfig.Config {
	if r.Certify == nil {
		return cfg
	}
	return r.Certify.Certify(ctx, c, cfg)
}
