package agent

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/supervisord/supervisord/supervisor/state"
)

// OpKind is what an agent has to do for one instance or container.
type OpKind string

// The kinds of work, in the order of an instance's life.
const (
	// OpLaunch: create and start the container of an assigned instance.
	OpLaunch OpKind = "launch"
	// OpAdopt: the container of an assigned instance runs already; report it.
	OpAdopt OpKind = "adopt"
	// OpFail: the container of an active instance has ended; report it.
	OpFail OpKind = "fail"
	// OpRetire: an instance that drains gets no requests any more; let it
	// finish, stop it, remove it, report it gone.
	OpRetire OpKind = "retire"
	// OpClear: an instance has failed; remove what is left and report it gone.
	OpClear OpKind = "clear"
	// OpOrphan: a container of ours that the state does not know; remove it.
	OpOrphan OpKind = "orphan"
	// OpInspect: a container runs and its process is not known yet.
	OpInspect OpKind = "inspect"
)

// Op is one piece of work. Container is zero where there is none.
type Op struct {
	Kind      OpKind
	Instance  state.Instance
	Container Container
	// Why is the reason of OpFail; Sick that the container runs all the same.
	Why  string
	Sick bool
}

// Key names what the work is about: no two pieces with one key run at once.
func (o Op) Key() string { return cmp.Or(o.Instance.ID, o.Container.Instance, o.Container.ID) }

// Local is what an agent knows of its own host.
type Local struct {
	Host       string
	Containers []Container
	// Sick are ready instances that do not answer their health check, and why.
	Sick map[string]string
	// Since is when this agent began to look.
	Since time.Time
	Now   time.Time
}

// Diff is the work that is left on a host: what the state wants there, against
// the containers that are there. It is pure, and its answer is in the order
// of the keys.
func Diff(want state.Cluster, here Local) []Op {
	host := here.Host
	byInstance := make(map[string]Container, len(here.Containers))
	var ops []Op
	for _, c := range here.Containers {
		i, known := want.Instances.Get(c.Instance)
		if !known || i.Host != host {
			ops = append(ops, Op{Kind: OpOrphan, Container: c})
			continue
		}
		// A second container of one instance is a leftover of a launch that
		// was cut off: the one that the state names stays, else one that runs,
		// else the first.
		if other, twice := byInstance[c.Instance]; twice {
			if c.ID == i.Container || other.ID != i.Container && c.Running && !other.Running {
				c, other = other, c
				byInstance[c.Instance] = other
			}
			ops = append(ops, Op{Kind: OpOrphan, Container: c})
			continue
		}
		byInstance[c.Instance] = c
	}
	replaced := map[string]bool{}
	for i := range want.Instances.Values() {
		if i.Host != host {
			continue
		}
		c, exists := byInstance[i.ID]
		op, needed := diffOne(want, here, i, c, exists)
		if !needed && mayReplace(want, here, i, c) && !replaced[i.Service] {
			replaced[i.Service] = true
			op, needed = Op{Kind: OpFail, Instance: i, Container: c, Why: sickness(here, c), Sick: true}, true
		}
		if needed {
			ops = append(ops, op)
		}
	}
	slices.SortStableFunc(ops, func(a, b Op) int {
		return cmp.Or(cmp.Compare(a.Key(), b.Key()), cmp.Compare(a.Container.ID, b.Container.ID))
	})
	return ops
}

func diffOne(want state.Cluster, here Local, i state.Instance, c Container, exists bool) (Op, bool) {
	op := Op{Instance: i, Container: c}
	switch i.Phase {
	case state.Assigned:
		switch {
		case !exists:
			op.Kind = OpLaunch
		case c.Running:
			op.Kind = OpAdopt
		default:
			op.Kind, op.Why = OpFail, ending(c)
		}
		return op, true
	case state.Starting, state.Ready:
		switch {
		case !exists:
			op.Kind, op.Why = OpFail, "its container is gone; somebody else removed it"
			return op, true
		case !c.Running:
			op.Kind, op.Why = OpFail, ending(c)
			return op, true
		case c.PID == 0:
			op.Kind = OpInspect
			return op, true
		}
	case state.Draining:
		op.Kind = OpRetire
		// Without a container there is nothing to wait for; with one, it is
		// stopped only when no nginx sends to it, or its time is up.
		return op, !exists || !c.Running || want.Unrouted(i) || !here.Now.Before(DrainEnd(want, i, here.Since))
	case state.Failed:
		// A sick instance may still be busy; it gets the same time.
		op.Kind = OpClear
		return op, !exists || !c.Running || want.Unrouted(i) || !here.Now.Before(DrainEnd(want, i, here.Since))
	}
	return op, false
}

func sickness(here Local, c Container) string {
	if c.Health == HealthUnhealthy {
		return "its container's own health check fails"
	}
	return here.Sick[c.Instance]
}

// mayReplace says whether an instance is sick and may go; state.MayGiveUp says
// why not all at once.
func mayReplace(want state.Cluster, here Local, i state.Instance, c Container) bool {
	return i.Phase == state.Ready && sickness(here, c) != "" && want.MayGiveUp(i.Service, here.Now)
}

// DrainEnd is when a draining instance is stopped whatever it still does. Since
// is when the agent began to look: while no agent ran, nobody told nginx, so
// that time does not count.
func DrainEnd(c state.Cluster, i state.Instance, since time.Time) time.Time {
	if since.Before(i.PhaseAt) {
		since = i.PhaseAt
	}
	return since.Add(cmp.Or(c.Spec.Services[i.Service].Drain, state.DefaultDrain))
}

// ending says how a container ended.
func ending(c Container) string {
	if c.OOMKilled {
		return fmt.Sprintf("killed for lack of memory (exit code %d)", c.ExitCode)
	}
	return fmt.Sprintf("its container ended with exit code %d", c.ExitCode)
}
