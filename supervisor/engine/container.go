package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"slices"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/go-connections/nat"
	"golang.org/x/sync/errgroup"

	"github.com/supervisord/supervisord/supervisor/agent"
)

// parallel is how many containers are looked at side by side.
const parallel = 8

// List returns this cluster's containers in any state, sorted by id. Each is
// inspected: the engine's list is stale for some hundred milliseconds after a
// death, and knows neither processes, limits nor exit codes.
func (e *Engine) List(ctx context.Context) ([]agent.Container, error) {
	short, cancel := e.within(ctx)
	defer cancel()
	list, err := e.api().ContainerList(short, container.ListOptions{All: true, Filters: e.ours()})
	if err != nil {
		return nil, failure(ctx, err, "list containers")
	}
	ids := slices.Collect(maps.Keys(e.adoptedHere()))
	for _, c := range list {
		ids = append(ids, c.ID)
	}
	found := make([]agent.Container, len(ids))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, id := range ids {
		g.Go(func() error {
			c, err := e.Inspect(gctx, id)
			if errors.Is(err, agent.ErrNoContainer) {
				// Removed since it was listed.
				return nil
			}
			found[i] = c
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, failure(ctx, err, "list containers")
	}
	found = slices.DeleteFunc(found, func(c agent.Container) bool { return c.ID == "" })
	slices.SortFunc(found, func(a, b agent.Container) int { return cmp.Compare(a.ID, b.ID) })
	return found, nil
}

func (e *Engine) ours() filters.Args {
	return filters.NewArgs(filters.Arg("label", LabelCluster+"="+e.cluster))
}

// Inspect returns one container as it is now, by id or name. It is
// agent.ErrNoContainer when there is none, or none of ours.
func (e *Engine) Inspect(ctx context.Context, id string) (agent.Container, error) {
	c, err := e.find(ctx, id)
	if err != nil {
		return agent.Container{}, failure(ctx, err, "inspect container %s", id)
	}
	return e.describe(c)
}

// find returns a container of ours; agent.ErrNoContainer where there is none.
// What acts on a container does so on the full id that comes from here.
func (e *Engine) find(ctx context.Context, ref string) (container.InspectResponse, error) {
	c, err := e.look(ctx, ref)
	if err == nil && !e.owns(c) {
		return container.InspectResponse{}, fmt.Errorf("%w of cluster %s", agent.ErrNoContainer, e.cluster)
	}
	return c, err
}

// look returns a container whosever it is.
func (e *Engine) look(ctx context.Context, ref string) (container.InspectResponse, error) {
	short, cancel := e.within(ctx)
	defer cancel()
	c, err := e.api().ContainerInspect(short, ref)
	switch {
	case cerrdefs.IsNotFound(err):
		return container.InspectResponse{}, agent.ErrNoContainer
	case err != nil:
		return container.InspectResponse{}, err
	case c.ContainerJSONBase == nil || c.State == nil || c.HostConfig == nil || c.Config == nil || c.NetworkSettings == nil:
		return container.InspectResponse{}, errors.New("the engine's answer lacks a part")
	}
	return c, nil
}

// Start starts a container of ours that has ended; ErrNoContainer where there
// is none.
func (e *Engine) Start(ctx context.Context, id string) error {
	c, err := e.find(ctx, id)
	if err != nil {
		return failure(ctx, err, "start container %s", id)
	}
	limited, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	if err := e.api().ContainerStart(limited, c.ID, container.StartOptions{}); err != nil {
		return failure(ctx, err, "start container %s", id)
	}
	return nil
}

// Stop sends the container's stop signal, kills it after grace (rounded up to
// whole seconds), and returns when it has ended. A container that is not
// there, or not ours, has stopped.
func (e *Engine) Stop(ctx context.Context, id string, grace time.Duration) error {
	c, err := e.find(ctx, id)
	if errors.Is(err, agent.ErrNoContainer) {
		return nil
	}
	if err != nil {
		return failure(ctx, err, "stop container %s", id)
	}
	seconds := e.graceOf(c, int(math.Ceil(max(0, grace).Seconds())))
	limited, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second+e.timeout)
	defer cancel()
	err = e.api().ContainerStop(limited, c.ID, container.StopOptions{Timeout: &seconds})
	if err != nil && !cerrdefs.IsNotFound(err) {
		return failure(ctx, err, "stop container %s", id)
	}
	return nil
}

// Remove deletes a container and its anonymous volumes, killing it if it runs.
// Those of an adopted one stay: docker compose keeps data in them.
// A container that is not there, or not ours, has been removed.
func (e *Engine) Remove(ctx context.Context, id string) error {
	c, err := e.find(ctx, id)
	if errors.Is(err, agent.ErrNoContainer) {
		return nil
	}
	if err == nil {
		err = e.deleteWith(ctx, c.ID, e.labelled(c))
	}
	if err != nil {
		return failure(ctx, err, "remove container %s", id)
	}
	return nil
}

// delete removes a container that was seen to be ours, by its full id. If
// somebody else removes it at the same time, it waits until it is gone.
func (e *Engine) delete(ctx context.Context, id string) error { return e.deleteWith(ctx, id, true) }

// deleteWith is delete, with the container's anonymous volumes or without.
func (e *Engine) deleteWith(ctx context.Context, id string, volumes bool) error {
	short, cancel := e.within(ctx)
	defer cancel()
	err := e.api().ContainerRemove(short, id, container.RemoveOptions{Force: true, RemoveVolumes: volumes})
	if cerrdefs.IsConflict(err) && strings.Contains(err.Error(), "already in progress") {
		removed, failed := e.api().ContainerWait(short, id, container.WaitConditionRemoved)
		select {
		case <-removed:
			return nil
		case err = <-failed:
		}
	}
	if cerrdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// describe puts the engine's description into the agent's form.
func describe(c container.InspectResponse) (agent.Container, error) {
	started, err := instant(c.State.StartedAt)
	if err != nil {
		return agent.Container{}, fmt.Errorf("inspect container %s: start: %w", c.ID, err)
	}
	ended, err := instant(c.State.FinishedAt)
	if err != nil {
		return agent.Container{}, fmt.Errorf("inspect container %s: end: %w", c.ID, err)
	}
	d := agent.Container{
		ID:          c.ID,
		Name:        strings.TrimPrefix(c.Name, "/"),
		Instance:    c.Config.Labels[LabelInstance],
		Service:     c.Config.Labels[LabelService],
		Revision:    c.Config.Labels[LabelRevision],
		Running:     c.State.Running,
		Health:      health(c.State.Health),
		Address:     address(c),
		IP:          firstIP(c),
		CPULimit:    cores(c.HostConfig.Resources),
		MemoryLimit: c.HostConfig.Memory,
		StartedAt:   started,
	}
	if d.Running {
		d.PID = c.State.Pid
		return d, nil
	}
	d.ExitCode, d.OOMKilled, d.EndedAt = c.State.ExitCode, c.State.OOMKilled, ended
	return d, nil
}

// instant reads a time; the engine's "never" is the zero time.
func instant(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	return time.Parse(time.RFC3339Nano, text)
}

func health(h *container.Health) agent.HealthStatus {
	if h == nil {
		return agent.HealthNone
	}
	switch s := agent.HealthStatus(h.Status); s {
	case agent.HealthStarting, agent.HealthHealthy, agent.HealthUnhealthy:
		return s
	}
	return agent.HealthNone
}

// address is where the ingress port is published. It is the first binding of
// that port, because Launch puts ours before those of the operator.
func address(c container.InspectResponse) string {
	port := c.Config.Labels[LabelPort]
	if port == "" {
		return ""
	}
	bindings := c.HostConfig.PortBindings[nat.Port(port+"/tcp")]
	if len(bindings) == 0 {
		return ""
	}
	return net.JoinHostPort(bindings[0].HostIP, bindings[0].HostPort)
}

// firstIP is the address on the network that the container was created on.
func firstIP(c container.InspectResponse) string {
	networks := c.NetworkSettings.Networks
	name := c.HostConfig.NetworkMode.NetworkName()
	if name == network.NetworkDefault {
		name = network.NetworkBridge
	}
	if n := networks[name]; n != nil {
		return cmp.Or(n.IPAddress, n.GlobalIPv6Address)
	}
	for _, name := range slices.Sorted(maps.Keys(networks)) {
		if n := networks[name]; n != nil && cmp.Or(n.IPAddress, n.GlobalIPv6Address) != "" {
			return cmp.Or(n.IPAddress, n.GlobalIPv6Address)
		}
	}
	return ""
}

func cores(r container.Resources) float64 {
	switch {
	case r.NanoCPUs > 0:
		return float64(r.NanoCPUs) / 1e9
	case r.CPUQuota > 0:
		return float64(r.CPUQuota) / float64(cmp.Or(r.CPUPeriod, 100_000))
	}
	return 0
}
