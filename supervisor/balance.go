package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/lbconfig/nginx"
	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/engine"
)

// balancer is this host's nginx: the machine's own service, or the container
// that the compose file names at the moment.
type balancer struct {
	options NginxOptions
	engine  *engine.Engine
	replica agent.Replica
	log     *slog.Logger

	mu        sync.Mutex
	container string
	applier   *nginx.Applier
}

// Apply implements agent.LoadBalancer.
func (b *balancer) Apply(ctx context.Context, cfg lbconfig.Config) (lbconfig.Outcome, error) {
	return b.of().Apply(ctx, cfg)
}

func (b *balancer) of() *nginx.Applier {
	c, _ := b.replica.Current()
	b.mu.Lock()
	defer b.mu.Unlock()
	if name := c.Spec.Nginx.Container; b.applier == nil || name != b.container {
		b.container, b.applier = name, b.make(name)
	}
	return b.applier
}

func (b *balancer) make(container string) *nginx.Applier {
	o := b.options
	var process nginx.Process = nginx.Host{Binary: o.Binary, PIDFile: o.PIDFile, Status: o.Status}
	errorLog := o.ErrorLog
	if container != "" {
		process = nginx.Contained{Container: inContainer{b.engine.NginxContainer(container)}, Status: o.Status}
		errorLog = "" // it is inside
	}
	return nginx.NewApplier(nginx.Options{Root: o.Dir, Conf: o.Conf, ErrorLog: errorLog}, process, b.log)
}

// inContainer gives the engine's errors the meaning that nginx.Container asks
// for: the two packages do not know each other.
type inContainer struct{ *engine.Named }

// Signal implements nginx.Container.
func (c inContainer) Signal(ctx context.Context, signal string) error {
	err := c.Named.Signal(ctx, signal)
	if errors.Is(err, engine.ErrNotRunning) {
		return fmt.Errorf("%w: %w", nginx.ErrNotRunning, err)
	}
	return err
}
