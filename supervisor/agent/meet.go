package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/supervisord/supervisord/supervisor/state"
)

// noRestart is the restart policy of what the supervisor restarts: two must not.
const noRestart = "no"

// meet looks at the container of an adopted instance, which this agent has not
// seen yet, and takes its restarts over.
func (a *Agent) meet(ctx context.Context, op Op) error {
	i := op.Instance
	c, err := a.Engine.Inspect(ctx, i.Container)
	switch {
	case errors.Is(err, ErrNoContainer) && i.Active():
		return a.commit(ctx, state.Fail{ID: i.ID, Reason: "its container is gone; somebody else removed it"})
	case errors.Is(err, ErrNoContainer):
		return a.commit(ctx, state.Gone{ID: i.ID})
	case err != nil:
		return fmt.Errorf("look at %s: %w", i.Adopted.Name, err)
	}
	if !i.Adopted.Return {
		if err := a.Engine.SetRestart(ctx, c.ID, noRestart); err != nil {
			return fmt.Errorf("take over the restarts of %s: %w", i.Adopted.Name, err)
		}
	}
	a.view.put(c, time.Now())
	switch {
	case i.Phase != state.Assigned:
		return nil
	case !c.Running:
		return a.commit(ctx, state.Fail{ID: i.ID, Reason: ending(c)})
	}
	return a.commit(ctx, state.Observe{ID: i.ID, Phase: state.Starting, Container: c.ID, Address: c.Address})
}

// giveBack lets go of an adopted container, which runs on as it was.
func (a *Agent) giveBack(ctx context.Context, op Op) error {
	i := op.Instance
	if i.Adopted.Restart != "" {
		err := a.Engine.SetRestart(ctx, i.Container, i.Adopted.Restart)
		if err != nil && !errors.Is(err, ErrNoContainer) {
			return fmt.Errorf("give %s its restart policy back: %w", i.Adopted.Name, err)
		}
	}
	a.view.remove(i.Container, time.Now())
	a.view.mark(i.ID, "")
	return a.commit(ctx, state.Gone{ID: i.ID})
}
