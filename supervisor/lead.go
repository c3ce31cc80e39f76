package supervisor

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/plan"
	"github.com/supervisord/supervisord/supervisor/state"
)

// leader runs the planning rounds while this host leads.
type leader struct {
	replica agent.Replica
	report  agent.Reporter
	frames  func(service string) []autoscale.Frame
	// sampled gets a value after each round of sampling.
	sampled <-chan struct{}
	log     *slog.Logger

	mu        sync.Mutex
	decisions map[string]autoscale.Decision
	pending   map[string]string
	rounds    time.Time
}

// afterRefusal is the pause after a round that could not be committed whole:
// whatever the reason, it must not be repeated as fast as the log allows.
const afterRefusal = 250 * time.Millisecond

// lead plans until the context, which ends with the leadership, does.
func (l *leader) lead(ctx context.Context) error {
	l.log.InfoContext(ctx, "this host leads")
	defer l.rest()
	for {
		c, changed := l.replica.Current()
		next := time.Now().Add(planAtLeast)
		sampled := l.sampled
		if c.ID != "" {
			r := plan.Round(plan.View{Now: time.Now(), Cluster: c, Frames: l.frames})
			l.keep(r)
			if len(r.Steps) > 0 {
				// What is committed changes the state; the next round starts
				// from there.
				if l.commit(ctx, r.Steps) {
					continue
				}
				next, changed, sampled = time.Now().Add(afterRefusal), nil, nil
			} else if !r.Next.IsZero() && r.Next.Before(next) {
				next = r.Next
			}
		}
		t := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-changed:
		case <-sampled:
		case <-t.C:
		}
		t.Stop()
	}
}

// commit proposes the steps of a round as one entry; false when a pause is
// due.
func (l *leader) commit(ctx context.Context, steps []plan.Step) bool {
	cmds := make([]state.Command, len(steps))
	for i, s := range steps {
		cmds[i] = s.Command
		l.log.InfoContext(ctx, "step", "command", s.Command, "why", s.Why)
	}
	refused, err := l.report.Propose(ctx, cmds...)
	if err != nil {
		if ctx.Err() == nil {
			l.log.WarnContext(ctx, "cannot commit a round", "err", err)
		}
		return false
	}
	ok := true
	for i, err := range refused {
		if err != nil {
			// The state moved between the round and its commit; the next
			// round sees it. Without any news it would only repeat itself.
			l.log.InfoContext(ctx, "step refused", "command", cmds[i], "err", err)
			ok = false
		}
	}
	return ok
}

func (l *leader) keep(r plan.Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.decisions, l.pending, l.rounds = r.Decisions, r.Pending, time.Now()
}

// rest forgets the decisions of a leadership that has ended.
func (l *leader) rest() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.decisions, l.pending = nil, nil
}

// latest returns copies of the last round's decisions and waits.
func (l *leader) latest() (map[string]autoscale.Decision, map[string]string, time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.decisions), maps.Clone(l.pending), l.rounds
}
