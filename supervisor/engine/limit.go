package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/state"
)

// Limit changes the limits of a container of ours while it runs. It wraps
// agent.ErrUnfit where the engine refuses, and where the container uses too
// much of the memory that it would be left with: control groups of version 2
// kill what does not fit.
func (e *Engine) Limit(ctx context.Context, id string, to state.Resources) (agent.Container, error) {
	c, err := e.find(ctx, id)
	if err == nil {
		err = e.limit(ctx, c, to)
	}
	if err != nil {
		return agent.Container{}, failure(ctx, err, "change the limits of container %s", id)
	}
	return e.Inspect(ctx, c.ID)
}

func (e *Engine) limit(ctx context.Context, c container.InspectResponse, to state.Resources) error {
	if err := e.leavesRoom(ctx, c, to.MemoryLimit); err != nil {
		return err
	}
	r := resources(state.Container{Resources: to})
	if r.Memory > 0 {
		// At creation the engine itself gives as much swap as memory, and keeps
		// that limit when only the other one changes.
		r.MemorySwap = 2 * r.Memory
		if c.HostConfig.MemorySwap < 0 {
			r.MemorySwap = -1
		}
	}
	short, cancel := e.within(ctx)
	defer cancel()
	_, err := e.api().ContainerUpdate(short, c.ID, container.UpdateConfig{Resources: r})
	if err != nil && !gone(err) && ctx.Err() == nil && !cerrdefs.IsNotFound(err) {
		return fmt.Errorf("%w: %w", agent.ErrUnfit, err)
	}
	return err
}

// roomShare is how much of a smaller limit a container may use already.
const roomShare = 0.9

// leavesRoom returns an error where the memory that a container uses hardly
// fits into a smaller limit.
func (e *Engine) leavesRoom(ctx context.Context, c container.InspectResponse, limit int64) (err error) {
	was := cmp.Or(c.HostConfig.Memory, limit+1)
	if limit == 0 || limit >= was {
		return nil
	}
	short, cancel := e.within(ctx)
	defer cancel()
	answer, err := e.api().ContainerStatsOneShot(short, c.ID)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, answer.Body.Close()) }()
	var s container.StatsResponse
	if err := json.NewDecoder(answer.Body).Decode(&s); err != nil {
		return fmt.Errorf("read its use of memory: %w", err)
	}
	if used := reading(s).Memory; float64(used) > roomShare*float64(limit) {
		return fmt.Errorf("%w: it uses %d MiB of memory, the new limit is %d MiB", agent.ErrUnfit, used>>20, limit>>20)
	}
	return nil
}
