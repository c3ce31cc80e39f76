package engine

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/mount"

	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/state"
)

// The labels of docker compose, version 1 and 2.
const (
	composeProject = "com.docker.compose.project"
	composeService = "com.docker.compose.service"
	// composeOneOff is "True" on what "run" has started.
	composeOneOff = "com.docker.compose.oneoff"
)

// Found is a container of a docker compose project.
type Found struct {
	state.Foreign
	// Running also says that it is being restarted, or is paused.
	Running bool
}

// Project lists the containers of a docker compose project that no cluster has
// made, in any state, by name. Those of one-off commands are left out.
func (e *Engine) Project(ctx context.Context, project string) ([]Found, error) {
	short, cancel := e.within(ctx)
	defer cancel()
	list, err := e.api().ContainerList(short, container.ListOptions{
		All: true, Filters: filters.NewArgs(filters.Arg("label", composeProject+"="+project)),
	})
	if err != nil {
		return nil, failure(ctx, err, "list the containers of docker compose's project %s", project)
	}
	var all []Found
	for _, c := range list {
		if c.Labels[LabelCluster] != "" || strings.EqualFold(c.Labels[composeOneOff], "true") {
			continue
		}
		all = append(all, Found{
			Foreign: state.Foreign{Container: c.ID, Name: nameOf(c), Service: c.Labels[composeService]},
			Running: alive(c),
		})
	}
	slices.SortFunc(all, func(a, b Found) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Container, b.Container))
	})
	return all, nil
}

func nameOf(c container.Summary) string {
	// A link of another container's is a name too, with two parts.
	for _, name := range c.Names {
		if name = strings.TrimPrefix(name, "/"); !strings.Contains(name, "/") {
			return name
		}
	}
	return c.ID
}

func alive(c container.Summary) bool {
	return c.State == container.StateRunning || c.State == container.StateRestarting || c.State == container.StatePaused
}

// Foreign describes a container that is not ours, by id or name;
// agent.ErrNoContainer where there is none.
func (e *Engine) Foreign(ctx context.Context, ref string) (agent.Foreign, error) {
	c, err := e.look(ctx, ref)
	if err != nil {
		return agent.Foreign{}, failure(ctx, err, "inspect container %s", ref)
	}
	f := foreign(c)
	short, cancel := e.within(ctx)
	defer cancel()
	// An image may be removed while its container runs on.
	if image, err := e.api().ImageInspect(short, c.Image); err == nil && image.Config != nil {
		f.FromImage = agent.Settings{
			Environment: image.Config.Env, Command: image.Config.Cmd, Entrypoint: image.Config.Entrypoint,
			User: image.Config.User, WorkingDir: image.Config.WorkingDir,
		}
	}
	return f, nil
}

func foreign(c container.InspectResponse) agent.Foreign {
	f := agent.Foreign{
		ID: c.ID, Name: strings.TrimPrefix(c.Name, "/"),
		Project: c.Config.Labels[composeProject], Service: c.Config.Labels[composeService],
		Cluster: c.Config.Labels[LabelCluster], Running: c.State.Running,
		AutoRemove: c.HostConfig.AutoRemove, Restart: restartText(c.HostConfig.RestartPolicy), Image: c.Config.Image,
		Own: agent.Settings{
			Environment: c.Config.Env, Command: c.Config.Cmd, Entrypoint: c.Config.Entrypoint,
			User: c.Config.User, WorkingDir: c.Config.WorkingDir,
		},
		Networks: map[string]string{}, CPULimit: cores(c.HostConfig.Resources), Memory: c.HostConfig.Memory,
	}
	switch {
	case c.State.Paused:
		f.Busy = "paused"
	case c.State.Restarting:
		f.Busy = "restarting"
	}
	for _, m := range c.Mounts {
		source := m.Source
		if m.Type == mount.TypeVolume {
			source = m.Name
		}
		f.Mounts = append(f.Mounts, state.Mount{Type: string(m.Type), Source: source, Target: m.Destination, ReadOnly: !m.RW})
	}
	slices.SortFunc(f.Mounts, func(a, b state.Mount) int { return cmp.Compare(a.Target, b.Target) })
	for name, n := range c.NetworkSettings.Networks {
		if n != nil {
			f.Networks[name] = cmp.Or(n.IPAddress, n.GlobalIPv6Address)
		}
	}
	for port, bindings := range c.NetworkSettings.Ports {
		for _, b := range bindings {
			f.Ports = append(f.Ports, state.Port{HostIP: b.HostIP, Published: b.HostPort, Target: uint32(port.Int()), Protocol: port.Proto()})
		}
	}
	slices.SortFunc(f.Ports, func(a, b state.Port) int {
		return cmp.Or(cmp.Compare(a.Target, b.Target), cmp.Compare(a.HostIP, b.HostIP), cmp.Compare(a.Published, b.Published))
	})
	return f
}
