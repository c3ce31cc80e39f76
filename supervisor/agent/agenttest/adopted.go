package agenttest

import (
	"context"
	"time"
)

// adopted says whether a foreign container is the cluster's by now, and gives it
// what the state says of it. The lock is held.
func (e *Engine) adopted(k *container) bool {
	a, ok := e.o.Adopted()[k.ID]
	k.Adopted, k.Instance, k.Service, k.Revision = ok, a.Instance, a.Service, a.Revision
	return ok
}

// SetRestart implements agent.Runtime.
func (e *Engine) SetRestart(ctx context.Context, id, policy string) error {
	return e.call(ctx, Call{"update", e.nameOf(id)}, time.Millisecond, 5*time.Millisecond, func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		k, err := e.own(id)
		if err == nil {
			k.restart = policy
		}
		return err
	})
}

// RestartPolicy is the restart policy of a container; "" where there is none.
func (e *Engine) RestartPolicy(id string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if k, ok := e.containers[id]; ok {
		return k.restart
	}
	return ""
}
