package supervisor

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/engine"
	"github.com/supervisord/supervisord/supervisor/state"
)

// backend is the daemon as the API sees it.
type backend struct{ *Supervisor }

var _ api.Backend = backend{}

func (b backend) State() (state.Cluster, <-chan struct{}) { return b.node.replica.Current() }

func (b backend) Propose(ctx context.Context, cmds ...state.Command) ([]error, error) {
	return b.node.proposer.Propose(ctx, cmds...)
}

func (b backend) Health() []api.HealthReport { return b.physician.all() }

func (b backend) Local() api.Local {
	decisions, pending, round := b.node.leader.latest()
	return api.Local{
		Host: b.options.Host, Version: b.options.Version, StartedAt: b.started,
		Raft: b.raft(), Decisions: decisions, Pending: pending, LastRound: round,
		Samples: b.node.observer.samples(), Machine: b.physician.use(),
	}
}

func (b backend) Points(instance string, from, to time.Time) []api.Point {
	points := b.node.history.Points(instance, from, to)
	out := make([]api.Point, len(points))
	for n, p := range points {
		out[n] = api.Point{At: p.At, CPU: p.CPU, Memory: p.Memory}
	}
	return out
}

func (b backend) Logs(ctx context.Context, q api.LogQuery, stdout, stderr io.Writer) error {
	c, _ := b.State()
	i, ok := c.Instances.Get(q.Instance)
	if !ok || i.Container == "" {
		return fmt.Errorf("instance %s has no container", q.Instance)
	}
	return b.engine.Logs(ctx, i.Container, engine.LogOptions{
		Follow: q.Follow, Since: q.Since, Tail: q.Tail, Timestamps: q.Timestamps,
	}, stdout, stderr)
}
