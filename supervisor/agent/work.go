package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/supervisord/supervisord/supervisor/state"
)

// work does one piece of work. An error means: look again after a pause.
func (a *Agent) work(ctx context.Context, c state.Cluster, op Op) error {
	switch op.Kind {
	case OpLaunch:
		return a.launch(ctx, c, op.Instance)
	case OpAdopt:
		return a.commit(ctx, state.Observe{ID: op.Instance.ID, Phase: state.Starting, Container: op.Container.ID, Address: op.Container.Address})
	case OpMeet:
		return a.meet(ctx, op)
	case OpFail:
		return a.commit(ctx, state.Fail{ID: op.Instance.ID, Reason: op.Why})
	case OpHealth:
		return a.commit(ctx, state.ReportHealth{ID: op.Instance.ID, Sick: op.Why})
	case OpRelimit:
		return a.relimit(ctx, c, op)
	case OpRetire:
		return a.end(ctx, c, op)
	case OpClear:
		return a.clear(ctx, c, op)
	case OpOrphan:
		return a.orphan(ctx, op.Container)
	case OpInspect:
		return a.inspect(ctx, op.Container)
	case OpRevive:
		return a.revive(ctx, op)
	}
	return fmt.Errorf("unknown work %q", op.Kind)
}

// commit puts one command into the log. It wraps state.ErrRefused where the
// state has moved on; the next look starts from there.
func (a *Agent) commit(ctx context.Context, cmd state.Command) error {
	refused, err := a.Report.Propose(ctx, cmd)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return refused[0]
}

// report commits a command that nobody minds to be refused.
func (a *Agent) report(ctx context.Context, cmd state.Command) error {
	err := a.commit(ctx, cmd)
	if errors.Is(err, state.ErrRefused) {
		a.Log.DebugContext(ctx, "report not taken", "err", err)
		return nil
	}
	return err
}

// preparer makes the networks and volumes of each spec revision once.
type preparer struct {
	engine Resources
	// turn has room for one: who waits for it can still be cancelled.
	turn     chan struct{}
	mu       sync.Mutex
	revision uint64
}

func (p *preparer) ensure(ctx context.Context, spec state.Spec) error {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if p.prepared() == spec.Revision {
		return nil
	}
	if err := p.engine.Prepare(ctx, spec); err != nil {
		return fmt.Errorf("prepare networks and volumes: %w", err)
	}
	p.set(spec.Revision)
	return nil
}

func (p *preparer) prepared() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.revision
}

func (p *preparer) set(revision uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.revision = revision
}

// again makes the next launch look whether everything is still there.
func (p *preparer) again() { p.set(0) }

var errNewerDefinition = errors.New("the service has a newer definition, the instance will be taken back")

func (a *Agent) launch(ctx context.Context, c state.Cluster, i state.Instance) error {
	s, ok := c.ServiceOf(i)
	if !ok || s.Hash != i.Revision {
		return errNewerDefinition
	}
	done, err := a.launches.turn(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := a.cutOff(); err != nil {
		return err
	}
	container, err := a.create(ctx, c, s, i)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		a.prepare.again()
		return a.commit(ctx, state.Fail{ID: i.ID, Reason: err.Error(), NameTaken: errors.Is(err, ErrNameTaken), Blameless: errors.Is(err, ErrUnavailable) || errors.Is(err, ErrHeld)})
	}
	a.view.put(container, time.Now())
	return a.commit(ctx, state.Observe{ID: i.ID, Phase: state.Starting, Container: container.ID, Address: container.Address})
}

// ensure makes what an instance's spec needs exist.
func (a *Agent) ensure(ctx context.Context, c state.Cluster, i state.Instance) error {
	if !i.Canary {
		return a.prepare.ensure(ctx, c.Spec)
	}
	if err := a.Engine.Prepare(ctx, c.Canary.Spec); err != nil {
		return fmt.Errorf("prepare networks and volumes: %w", err)
	}
	return nil
}

func (a *Agent) create(ctx context.Context, c state.Cluster, s state.Service, i state.Instance) (Container, error) {
	if err := a.ensure(ctx, c, i); err != nil {
		return Container{}, err
	}
	l := Launch{Cluster: c.ID, Instance: i.ID, Name: i.Name, Service: i.Service, Revision: i.Revision, Spec: s.Container, Project: c.Spec.Project, OwnsData: s.Stateful}
	if s.Ingress == nil {
		return a.Engine.Launch(ctx, l)
	}
	l.ContainerPort, l.HostIP = s.Ingress.Port, a.Address
	// Another program may take a port between our choice and the engine's
	// bind; the next port is as good.
	const attempts = 100
	var err error
	for range attempts {
		var port int
		if port, err = a.ports.take(a.portsInUse()); err != nil {
			return Container{}, err
		}
		l.HostPort = port
		var container Container
		container, err = a.Engine.Launch(ctx, l)
		if err == nil {
			a.view.put(container, time.Now())
		}
		a.ports.release(port)
		if !errors.Is(err, ErrPortTaken) {
			return container, err
		}
	}
	return Container{}, fmt.Errorf("%d ports in a row: %w", attempts, err)
}

func (a *Agent) portsInUse() map[int]bool {
	local, _ := a.view.local(a.Host, time.Now())
	used := make(map[int]bool, len(local.Containers))
	for _, c := range local.Containers {
		if c.Address != "" {
			used[portOf(c.Address)] = true
		}
	}
	return used
}

// relimit changes the limits of an instance that runs. Where the engine cannot,
// the plan has it replaced.
func (a *Agent) relimit(ctx context.Context, c state.Cluster, op Op) error {
	if err := a.cutOff(); err != nil {
		return err
	}
	done := state.Relimited{ID: op.Instance.ID, Revision: op.Instance.Revision}
	container, err := a.Engine.Limit(ctx, op.Container.ID, c.Spec.Services[op.Instance.Service].Container.Resources)
	switch {
	case errors.Is(err, ErrUnfit):
		done.Problem = err.Error()
	case err != nil:
		return fmt.Errorf("change the limits of %s: %w", op.Instance.Name, err)
	default:
		a.view.put(container, time.Now())
	}
	return a.commit(ctx, done)
}

// quiet waits until a container has no connections left, or until the end.
func (a *Agent) quiet(ctx context.Context, c Container, end time.Time) error {
	if a.Connections == nil || c.Address == "" {
		return nil
	}
	// nginx's old workers may accept for some 100 ms after the new ones
	// answer, so being without connections must last longer than that.
	const every, enough = 50 * time.Millisecond, 4
	for still := 0; still < enough && time.Now().Before(end); {
		n, err := a.Connections(c.Address)
		if err != nil {
			return fmt.Errorf("count connections of %s: %w", c.Name, err)
		}
		still++
		if n > 0 {
			still = 0
		}
		if err := sleep(ctx, every); err != nil {
			return err
		}
	}
	return nil
}

// end lets an instance's container finish, stops it, removes it and reports it
// gone.
func (a *Agent) end(ctx context.Context, c state.Cluster, op Op) error {
	if op.Instance.Adopted.Return {
		return a.giveBack(ctx, op)
	}
	if op.Container.ID != "" {
		if op.Container.Running {
			if err := a.quiet(ctx, op.Container, op.End); err != nil {
				return err
			}
			// The wait may have been long: a host that was lost may be back, and
			// its nginx may still send to the instance.
			if err := a.cutOff(); err != nil {
				return err
			}
			if err := a.stillUnrouted(op); err != nil {
				return err
			}
			if err := a.Engine.Stop(ctx, op.Container.ID, graceOf(c, op.Instance.Service)); err != nil {
				return fmt.Errorf("stop %s: %w", op.Instance.Name, err)
			}
		}
		if err := a.discard(ctx, op.Container); err != nil {
			return err
		}
	}
	return a.commit(ctx, state.Gone{ID: op.Instance.ID})
}

// stillUnrouted looks again whether an instance may be stopped.
func (a *Agent) stillUnrouted(op Op) error {
	c, _ := a.Replica.Current()
	i, known := c.Instances.Get(op.Instance.ID)
	if known && !c.Unrouted(i, a.Host) && time.Now().Before(op.End) {
		return fmt.Errorf("%s gets requests again from a host that was lost", i.Name)
	}
	return nil
}

func (a *Agent) discard(ctx context.Context, c Container) error {
	if err := a.Engine.Remove(ctx, c.ID); err != nil {
		return fmt.Errorf("remove container %s: %w", c.Name, err)
	}
	a.view.remove(c.ID, time.Now())
	a.view.unmark(c.Instance)
	return nil
}

// clear removes what is left of a failed instance, and keeps its last words.
func (a *Agent) clear(ctx context.Context, c state.Cluster, op Op) error {
	if op.Container.ID != "" {
		const lines, longest = 5, 1000
		tail, err := a.Engine.Tail(ctx, op.Container.ID, lines)
		switch {
		case err != nil:
			a.Log.WarnContext(ctx, "cannot read the last log lines", "instance", op.Instance.Name, "err", err)
		case len(tail) > 0:
			text := strings.ToValidUTF8(strings.Join(tail, " | "), "?")
			if len(text) > longest {
				text = "…" + strings.ToValidUTF8(text[len(text)-longest:], "")
			}
			e := state.Event{Kind: state.EventInstanceLog, Service: op.Instance.Service, Instance: op.Instance.Name,
				Host: a.Host, Message: "last log lines of " + op.Instance.Name + ": " + text}
			if err := a.report(ctx, state.Note{Event: e}); err != nil {
				return err
			}
		}
	}
	return a.end(ctx, c, op)
}

func (a *Agent) orphan(ctx context.Context, c Container) error {
	if c.Running {
		if err := a.Engine.Stop(ctx, c.ID, defaultGrace); err != nil {
			return fmt.Errorf("stop container %s that the state does not know: %w", c.Name, err)
		}
	}
	if err := a.discard(ctx, c); err != nil {
		return err
	}
	return a.report(ctx, state.Note{Event: state.Event{Kind: state.EventOrphanRemoved, Service: c.Service, Host: a.Host,
		Message: fmt.Sprintf("removed container %s (%.12s): it is this cluster's and the state does not know it", c.Name, c.ID)}})
}

func (a *Agent) inspect(ctx context.Context, c Container) error {
	now, err := a.Engine.Inspect(ctx, c.ID)
	if errors.Is(err, ErrNoContainer) {
		a.view.remove(c.ID, time.Now())
		return nil
	}
	if err != nil {
		return fmt.Errorf("inspect %s: %w", c.Name, err)
	}
	a.view.put(now, time.Now())
	if now.Running && now.PID == 0 {
		return fmt.Errorf("the engine does not know the process of %s yet", c.Name)
	}
	return nil
}

// revive starts a container again that has ended while nobody can decide to
// replace it.
func (a *Agent) revive(ctx context.Context, op Op) error {
	a.Log.WarnContext(ctx, "cut off from the cluster: an instance has ended and is started again", "instance", op.Instance.Name, "why", op.Why)
	if err := a.Engine.Start(ctx, op.Container.ID); err != nil {
		return fmt.Errorf("start %s again: %w", op.Instance.Name, err)
	}
	return nil
}

// defaultGrace is docker's own time between stop signal and kill.
const defaultGrace = 10 * time.Second

func graceOf(c state.Cluster, service string) time.Duration {
	if s, ok := c.Spec.Services[service]; ok && s.Container.StopGrace > 0 {
		return s.Container.StopGrace
	}
	return defaultGrace
}
