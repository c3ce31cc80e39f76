package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"

	"github.com/supervisord/supervisord/supervisor/agent"
)

// settleFor is how long a launch goes on after its context has ended, to learn
// what it has made and to remove it.
const settleFor = 10 * time.Second

// Launch creates and starts a container, and returns it as it is then. A
// leftover of ours that has the name is removed first, an image that is not on
// the host is pulled. On any error nothing stays behind, and the error is
// agent.ErrPortTaken, ErrNameTaken or ErrNoImage where one of them fits.
//
// The engine makes a container even if nobody waits for its answer any more.
// So the single steps do not end with the context; Launch looks at it between
// them, and a context that ends makes it remove what it has made.
func (e *Engine) Launch(ctx context.Context, l agent.Launch) (agent.Container, error) {
	if l.Cluster != e.cluster {
		return agent.Container{}, fmt.Errorf("launch %s: it is of cluster %q, this engine serves %q", l.Name, l.Cluster, e.cluster)
	}
	c, err := translate(l)
	if err != nil {
		return agent.Container{}, fmt.Errorf("launch %s: %w", l.Name, err)
	}
	if err := e.alone(ctx, l); err != nil {
		return agent.Container{}, failure(ctx, err, "launch %s", l.Name)
	}
	late, cancel := outlive(ctx, settleFor)
	defer cancel()
	id, err := e.create(ctx, late, l, c)
	if err != nil {
		return agent.Container{}, failure(ctx, err, "launch %s", l.Name)
	}
	launched, err := e.start(ctx, late, l, c, id)
	if err == nil {
		return launched, nil
	}
	err = failure(ctx, err, "launch %s", l.Name)
	if cleanup := e.delete(late, id); cleanup != nil {
		err = errors.Join(err, fmt.Errorf("remove container %s that did not start: %w", id, cleanup))
	}
	return agent.Container{}, err
}

// outlive returns a context that ends a while after its parent.
func outlive(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			cancel()
		case <-late.Done():
		}
	})
	return late, func() { stop(); cancel() }
}

// create makes the container, after it has made room for it and fetched its
// image where that is needed: each of the two once.
func (e *Engine) create(ctx, late context.Context, l agent.Launch, c creation) (id string, err error) {
	var cleared, pulled bool
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		id, err := e.createOnce(late, l.Name, c)
		switch {
		case err == nil:
			return id, nil
		case cerrdefs.IsConflict(err) && !cleared:
			cleared = true
			if err := e.clearName(late, l.Name); err != nil {
				return "", err
			}
		case cerrdefs.IsConflict(err):
			return "", fmt.Errorf("%w: %w", agent.ErrNameTaken, err)
		case noImage(err) && !pulled:
			pulled = true
			if err := e.obtain(ctx, l.Spec.Image); err != nil {
				return "", err
			}
		case noImage(err):
			return "", fmt.Errorf("%w: %w", agent.ErrNoImage, err)
		default:
			return "", err
		}
	}
}

func (e *Engine) createOnce(ctx context.Context, name string, c creation) (string, error) {
	short, cancel := e.within(ctx)
	defer cancel()
	made, err := e.api().ContainerCreate(short, c.config, c.host, c.network, nil, name)
	return made.ID, err
}

// clearName removes the container of ours that has the name.
func (e *Engine) clearName(ctx context.Context, name string) error {
	c, err := e.look(ctx, name)
	switch {
	case errors.Is(err, agent.ErrNoContainer):
		// It went away by itself.
		return nil
	case err != nil:
		return fmt.Errorf("look who has the name: %w", err)
	case !e.labelled(c):
		return fmt.Errorf("%w: %s has the id %s", agent.ErrNameTaken, name, c.ID)
	}
	e.log.InfoContext(ctx, "removing a leftover that has the name", "name", name, "container", c.ID, "instance", c.Config.Labels[LabelInstance])
	if err := e.delete(ctx, c.ID); err != nil {
		return fmt.Errorf("remove leftover %s: %w", c.ID, err)
	}
	return nil
}

// start connects the container to its other networks, starts it and looks at
// it.
func (e *Engine) start(ctx, late context.Context, l agent.Launch, c creation, id string) (agent.Container, error) {
	for _, n := range c.more {
		if err := e.connect(late, id, n.Network, n.Aliases); err != nil {
			return agent.Container{}, fmt.Errorf("connect to network %s: %w", n.Network, err)
		}
	}
	if err := ctx.Err(); err != nil {
		return agent.Container{}, err
	}
	short, cancel := e.within(late)
	defer cancel()
	if err := e.api().ContainerStart(short, id, container.StartOptions{}); err != nil {
		if l.ContainerPort != 0 && portTaken(err, l.HostIP, l.HostPort) {
			return agent.Container{}, fmt.Errorf("%w: %w", agent.ErrPortTaken, err)
		}
		if bindFailed(err) {
			if held := e.holder(late, l); held != nil {
				return agent.Container{}, fmt.Errorf("start: %w", held)
			}
		}
		return agent.Container{}, fmt.Errorf("start: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return agent.Container{}, err
	}
	made, err := e.find(late, id)
	if err != nil {
		return agent.Container{}, fmt.Errorf("look at it: %w", err)
	}
	if err := published(l, made); err != nil {
		return agent.Container{}, err
	}
	return describe(made)
}

// published says whether a running container has its port where it was asked
// for. The engine starts a container all of whose networks are internal
// without publishing anything, and says nothing.
func published(l agent.Launch, c container.InspectResponse) error {
	if l.ContainerPort == 0 || !c.State.Running {
		return nil
	}
	for port, bindings := range c.NetworkSettings.Ports {
		if port.Proto() != "tcp" || port.Int() != l.ContainerPort {
			continue
		}
		for _, b := range bindings {
			if b.HostPort == strconv.Itoa(l.HostPort) && net.ParseIP(b.HostIP).Equal(net.ParseIP(l.HostIP)) {
				return nil
			}
		}
	}
	return fmt.Errorf("the engine did not publish port %d on %s: at least one network of the service must not be internal",
		l.ContainerPort, net.JoinHostPort(l.HostIP, strconv.Itoa(l.HostPort)))
}

func (e *Engine) connect(ctx context.Context, id, name string, aliases []string) error {
	short, cancel := e.within(ctx)
	defer cancel()
	return e.api().NetworkConnect(short, name, id, &network.EndpointSettings{Aliases: aliases})
}

// Pull downloads an image, without credentials. Its error is agent.ErrNoImage
// with the registry's words, unless the caller's context has ended.
func (e *Engine) Pull(ctx context.Context, ref string) error {
	limited, cancel := context.WithTimeout(ctx, e.pullTimeout)
	defer cancel()
	e.log.InfoContext(ctx, "pulling an image that is not on this host", "image", ref)
	err := e.pullWithin(limited, ref)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil:
		return fmt.Errorf("%w: pulling %s took longer than %s", agent.ErrNoImage, ref, e.pullTimeout)
	}
	return fmt.Errorf("%w: pull %s: %w", agent.ErrNoImage, ref, err)
}

func (e *Engine) pullWithin(ctx context.Context, ref string) (err error) {
	progress, err := e.api().ImagePull(ctx, ref, image.PullOptions{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, progress.Close()) }()
	return readProgress(progress, nil)
}
