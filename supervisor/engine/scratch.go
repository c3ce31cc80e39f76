package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/state"
)

// Command is one to be run in a container.
type Command struct {
	Argv []string
	// Env is added to that of the container, as NAME=value.
	Env []string
	// Stdin nil holds the command's input open and empty as long as the call
	// lasts: when it returns, or this program ends, the command reads its end.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Run runs a command in a container of ours, or in a scratch container, and
// returns its exit code. When the context ends Run returns; the command may go
// on, and can know by its input that nobody waits for it. The error wraps
// ErrNotRunning where the container does not run.
func (e *Engine) Run(ctx context.Context, id string, c Command) (exitCode int, err error) {
	found, err := e.look(ctx, id)
	if err == nil && !e.owns(found) && found.Config.Labels[LabelScratch] != e.cluster {
		err = fmt.Errorf("%w of cluster %s", agent.ErrNoContainer, e.cluster)
	}
	if err == nil && !found.State.Running {
		err = fmt.Errorf("%w: it is %s, its exit code is %d", ErrNotRunning, found.State.Status, found.State.ExitCode)
	}
	if err == nil {
		o := container.ExecOptions{Cmd: c.Argv, Env: c.Env, AttachStdin: true}
		exitCode, err = e.execAs(ctx, found.ID, o, c.Stdin, c.Stdout, c.Stderr)
	}
	if err != nil {
		return 0, failure(ctx, err, "run %q in container %s", first(c.Argv), id)
	}
	return exitCode, nil
}

// Scratch is a container for a restore drill.
type Scratch struct {
	// Task is what it is for; Name is the container's.
	Task, Name string
	Spec       state.Container
}

// scratchSpec is a definition without what belongs to the service: its data,
// its networks and ports. What is mounted read-only stays, as files of secrets,
// but for what an image would run when it begins with no data.
func scratchSpec(s state.Container) state.Container {
	var mounts []state.Mount
	for _, m := range s.Mounts {
		switch {
		case strings.HasPrefix(m.Target, "/docker-entrypoint-initdb.d"):
		case m.ReadOnly || m.Type == "tmpfs":
			mounts = append(mounts, m)
		default:
			// Its data: an empty volume that goes with the container.
			mounts = append(mounts, state.Mount{Type: "volume", Target: m.Target})
		}
	}
	s.Mounts, s.Ports, s.Expose, s.ExtraHosts = mounts, nil, nil, nil
	s.Networks = []state.Attachment{{Network: "none"}}
	s.Healthcheck = &state.Healthcheck{Test: []string{"NONE"}}
	return s
}

// StartScratch creates and starts a container without a network. On an error
// nothing stays behind.
func (e *Engine) StartScratch(ctx context.Context, s Scratch) (id string, err error) {
	c, err := translate(agent.Launch{Spec: scratchSpec(s.Spec)})
	if err != nil {
		return "", fmt.Errorf("start scratch container: %w", err)
	}
	c.config.Labels = map[string]string{LabelScratch: e.cluster, LabelTask: s.Task}
	late, cancel := outlive(ctx, settleFor)
	defer cancel()
	id, err = e.createOnce(late, s.Name, c)
	if noImage(err) {
		if err = e.obtain(ctx, s.Spec.Image); err == nil {
			id, err = e.createOnce(late, s.Name, c)
		}
	}
	if err != nil {
		return "", failure(ctx, err, "start scratch container")
	}
	short, cancelStart := e.within(late)
	defer cancelStart()
	err = e.api().ContainerStart(short, id, container.StartOptions{})
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return "", errors.Join(failure(ctx, err, "start scratch container"), e.delete(late, id))
	}
	return id, nil
}

// RemoveScratch removes a scratch container with its data. One that is not
// there has been removed.
func (e *Engine) RemoveScratch(ctx context.Context, id string) error {
	c, err := e.look(ctx, id)
	if errors.Is(err, agent.ErrNoContainer) {
		return nil
	}
	if err == nil && c.Config.Labels[LabelScratch] != e.cluster {
		err = fmt.Errorf("%w of cluster %s", agent.ErrNoContainer, e.cluster)
	}
	if err == nil {
		err = e.delete(ctx, c.ID)
	}
	if err != nil && !cerrdefs.IsNotFound(err) {
		return failure(ctx, err, "remove scratch container %s", id)
	}
	return nil
}

// Scratches lists the scratch containers of this cluster on this host: the
// task of each by its id.
func (e *Engine) Scratches(ctx context.Context) (map[string]string, error) {
	short, cancel := e.within(ctx)
	defer cancel()
	list, err := e.api().ContainerList(short, container.ListOptions{
		All: true, Filters: filters.NewArgs(filters.Arg("label", LabelScratch+"="+e.cluster)),
	})
	if err != nil {
		return nil, failure(ctx, err, "list scratch containers")
	}
	tasks := map[string]string{}
	for _, c := range list {
		tasks[c.ID] = c.Labels[LabelTask]
	}
	return tasks, nil
}
