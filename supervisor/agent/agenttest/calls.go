package agenttest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/state"
)

// List implements agent.Runtime. It is stale for a while after a death.
func (e *Engine) List(ctx context.Context) (list []agent.Container, err error) {
	err = e.call(ctx, Call{"list", ""}, time.Millisecond, 10*time.Millisecond, func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, k := range e.containers {
			switch {
			case k.foreign && !e.adopted(k):
			case !k.Running && time.Now().Before(k.staleUntil):
				list = append(list, k.was)
			default:
				list = append(list, k.Container)
			}
		}
		return nil
	})
	slices.SortFunc(list, func(a, b agent.Container) int { return cmp.Compare(a.ID, b.ID) })
	if err != nil {
		return nil, err
	}
	// As in an engine's own list, the process is not in it.
	for n := range list {
		list[n].PID = 0
	}
	return list, nil
}

// Inspect implements agent.Runtime.
func (e *Engine) Inspect(ctx context.Context, id string) (c agent.Container, err error) {
	err = e.call(ctx, Call{"inspect", e.nameOf(id)}, time.Millisecond, 4*time.Millisecond, func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		k, err := e.own(id)
		if err == nil {
			c = k.Container
		}
		return err
	})
	return c, err
}

// Launch implements agent.Runtime, in the steps of a real one: what is left of
// an earlier attempt is removed, then create, start, inspect. A killed caller
// leaves behind what it had come to.
func (e *Engine) Launch(ctx context.Context, l agent.Launch) (agent.Container, error) {
	if err := e.clean(ctx, l.Name); err != nil {
		return agent.Container{}, err
	}
	id, err := e.create(ctx, l)
	if err == nil {
		err = e.call(ctx, Call{"start", l.Name}, 50*time.Millisecond, 200*time.Millisecond, func() error { return e.start(id) })
	}
	var c agent.Container
	if err == nil {
		c, err = e.Inspect(ctx, id)
	}
	if err == nil {
		return c, nil
	}
	if !errors.Is(context.Cause(ctx), ErrKilled) && id != "" {
		err = errors.Join(err, e.remove(context.WithoutCancel(ctx), id, ByUndo))
	}
	return agent.Container{}, err
}

// clean removes a leftover of ours with the name.
func (e *Engine) clean(ctx context.Context, name string) error {
	e.mu.Lock()
	id := ""
	for _, k := range e.containers {
		if k.Name == name && !k.foreign {
			id = k.ID
		}
	}
	e.mu.Unlock()
	if id == "" {
		return nil
	}
	return e.remove(ctx, id, ByClean)
}

func (e *Engine) create(ctx context.Context, l agent.Launch) (id string, err error) {
	err = e.call(ctx, Call{"create", l.Name}, 20*time.Millisecond, 80*time.Millisecond, func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, k := range e.containers {
			if k.Name == l.Name {
				return fmt.Errorf("create %s: %w", l.Name, agent.ErrNameTaken)
			}
		}
		if e.o.Images != nil && !slices.Contains(e.o.Images, l.Spec.Image) {
			return fmt.Errorf("create %s: %w: %s", l.Name, agent.ErrNoImage, l.Spec.Image)
		}
		e.made++
		id = fmt.Sprintf("%s%06d", e.o.Host, e.made)
		k := &container{
			Container: agent.Container{
				ID: id, Name: l.Name, Instance: l.Instance, Service: l.Service, Revision: l.Revision,
				IP:       fmt.Sprintf("172.17.%d.%d", e.made>>8&0xff, e.made&0xff),
				CPULimit: l.Spec.Resources.CPULimit, MemoryLimit: l.Spec.Resources.MemoryLimit,
			},
			behave: e.o.Behave(l), checked: l.Spec.Healthcheck != nil,
		}
		if l.ContainerPort != 0 {
			k.Address = net.JoinHostPort(l.HostIP, strconv.Itoa(l.HostPort))
		}
		e.containers[id] = k
		e.o.Watch(Deed{Kind: Created, At: time.Now(), Container: k.Container, By: ByLaunch})
		return nil
	})
	return id, err
}

// start binds the port, as engines do no earlier.
func (e *Engine) start(id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	k, err := e.own(id)
	if err != nil {
		return err
	}
	if k.Running {
		return nil
	}
	for _, other := range e.containers {
		if k.Address != "" && other != k && other.Running && other.Address == k.Address {
			return fmt.Errorf("start %s: %s: %w", k.Name, k.Address, agent.ErrPortTaken)
		}
	}
	if e.foreignPorts[k.Address] {
		return fmt.Errorf("start %s: %s: %w", k.Name, k.Address, agent.ErrPortTaken)
	}
	e.begin(k, ByLaunch)
	return nil
}

// Start implements agent.Runtime.
func (e *Engine) Start(ctx context.Context, id string) error {
	return e.call(ctx, Call{"start", e.nameOf(id)}, 30*time.Millisecond, 90*time.Millisecond, func() error { return e.start(id) })
}

// Stop implements agent.Runtime.
func (e *Engine) Stop(ctx context.Context, id string, grace time.Duration) error {
	ended := make(chan struct{})
	err := e.call(ctx, Call{"stop", e.nameOf(id)}, 2*time.Millisecond, 8*time.Millisecond, func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		k, err := e.own(id)
		if err != nil || !k.Running {
			close(ended)
			return ignoreGone(err)
		}
		ended = k.ended
		e.o.Watch(Deed{Kind: Stopping, At: time.Now(), Container: k.Container, By: ByStop})
		code := 0
		if k.behave.StopTakes > grace {
			code = 137
		}
		e.later(k, min(k.behave.StopTakes, grace), func() { e.end(k, code, false, ByStop) })
		return nil
	})
	if err != nil {
		return err
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Remove implements agent.Runtime.
func (e *Engine) Remove(ctx context.Context, id string) error { return e.remove(ctx, id, ByRemove) }

func (e *Engine) remove(ctx context.Context, id string, by Doer) error {
	return e.call(ctx, Call{"remove", e.nameOf(id)}, 10*time.Millisecond, 60*time.Millisecond, func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		k, err := e.own(id)
		if err != nil {
			return ignoreGone(err)
		}
		if k.Running {
			e.o.Watch(Deed{Kind: Stopping, At: time.Now(), Container: k.Container, By: by})
			e.end(k, 137, false, by)
		}
		e.drop(k, by)
		return nil
	})
}

// drop forgets a container. The lock is held.
func (e *Engine) drop(k *container, by Doer) {
	delete(e.containers, k.ID)
	e.o.Watch(Deed{Kind: Removed, At: time.Now(), Container: k.Container, By: by})
	e.emit(k, agent.Event{Kind: agent.Removed})
}

func ignoreGone(err error) error {
	if errors.Is(err, agent.ErrNoContainer) {
		return nil
	}
	return err
}

// Prepare implements agent.Resources: there is nothing to prepare here.
func (e *Engine) Prepare(ctx context.Context, _ state.Spec) error {
	return e.call(ctx, Call{"prepare", ""}, time.Millisecond, 5*time.Millisecond, func() error { return nil })
}

// Tail implements agent.Tailer.
func (e *Engine) Tail(ctx context.Context, id string, n int) (lines []string, err error) {
	err = e.call(ctx, Call{"tail", e.nameOf(id)}, time.Millisecond, 5*time.Millisecond, func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		k, err := e.own(id)
		if err != nil {
			return err
		}
		for i := range min(n, 2) {
			lines = append(lines, fmt.Sprintf("line %d of %s", i+1, k.Name))
		}
		return nil
	})
	return lines, err
}

// Probe implements agent.Prober: what is published is asked at its address, so
// that a wrong address is noticed; nothing else is.
func (e *Engine) Probe(ctx context.Context, s state.Service, c agent.Container) (applies bool, err error) {
	if s.Ingress == nil || c.Address == "" {
		return false, nil
	}
	if err := pause(ctx, e.draw("probe", c.Name, time.Millisecond, 3*time.Millisecond)); err != nil {
		return true, err
	}
	if !e.Serves(c.Address) {
		return true, fmt.Errorf("GET http://%s%s: connection refused", c.Address, s.Ingress.Health.Path)
	}
	return true, nil
}

func (e *Engine) nameOf(id string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if k, ok := e.containers[id]; ok {
		return k.Name
	}
	return id
}

// Limit implements agent.Limiter. A Behaviour may refuse it.
func (e *Engine) Limit(ctx context.Context, id string, to state.Resources) (c agent.Container, err error) {
	err = e.call(ctx, Call{"limit", e.nameOf(id)}, 5*time.Millisecond, 40*time.Millisecond, func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		k, err := e.own(id)
		if err != nil {
			return err
		}
		if k.behave.Unfit {
			return fmt.Errorf("limit %s: %w", k.Name, agent.ErrUnfit)
		}
		k.CPULimit, k.MemoryLimit = to.CPULimit, to.MemoryLimit
		c = k.Container
		return nil
	})
	return c, err
}
