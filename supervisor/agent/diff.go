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
	// OpMeet: the container of an adopted instance was not seen yet; look at it.
	OpMeet OpKind = "meet"
	// OpFail: the container of an active instance has ended; report it.
	OpFail OpKind = "fail"
	// OpHealth: a ready instance has become sick, or well again; report it.
	OpHealth OpKind = "health"
	// OpRelimit: an instance has a new definition that differs only in limits;
	// change them while it runs.
	OpRelimit OpKind = "relimit"
	// OpRetire: an instance that drains gets no requests any more; let it
	// finish, stop it, remove it, report it gone.
	OpRetire OpKind = "retire"
	// OpClear: an instance has failed; remove what is left and report it gone.
	OpClear OpKind = "clear"
	// OpOrphan: a container of ours that the state does not know; remove it.
	OpOrphan OpKind = "orphan"
	// OpInspect: a container runs and its process is not known yet.
	OpInspect OpKind = "inspect"
	// OpRevive: this host is cut off, and the container of an instance that
	// should serve has ended; start it again.
	OpRevive OpKind = "revive"
)

// Op is one piece of work. Container is zero where there is none.
type Op struct {
	Kind      OpKind
	Instance  state.Instance
	Container Container
	// Why is the reason of OpFail, or that of OpHealth: "" for well again.
	Why string
	// End is when a container is stopped whatever it still does.
	End time.Time
}

// Key names what the work is about: no two pieces with one key run at once.
func (o Op) Key() string { return cmp.Or(o.Instance.ID, o.Container.Instance, o.Container.ID) }

// Local is what an agent knows of its own host.
type Local struct {
	Host       string
	Containers []Container
	// Sick are ready instances that do not answer their health check, and why;
	// Well those that have answered it in this life of the daemon.
	Sick map[string]string
	Well map[string]bool
	// Seen is when this agent first saw an instance of this host in its
	// present phase, by id, on this host's clock: that of the state is
	// another's. While no agent ran, nobody told nginx, so that an agent that
	// has just begun sees all phases begin.
	Seen map[string]time.Time
	Now  time.Time
	// Time is the cluster's.
	Time time.Time
	// CutOff is for how long this host has been cut off from the cluster; 0
	// while it is not.
	CutOff time.Duration
}

// reviveAfter is how long a host must have been cut off before it helps
// itself: an election is no cut.
const reviveAfter = 3 * time.Second

// Diff is the work that is left on a host: what the state wants there, against
// the containers that are there. It is pure, and its answer is in the order
// of the keys.
//
// A host that is cut off does nothing that takes anything away or adds
// anything: the state that it has may be an old one.
func Diff(want state.Cluster, here Local) []Op {
	if here.CutOff > 0 {
		return diffAlone(want, here)
	}
	host := here.Host
	byInstance := make(map[string]Container, len(here.Containers))
	var ops []Op
	for _, c := range here.Containers {
		i, known := want.Instances.Get(c.Instance)
		if c.Adopted && !known {
			// It was given back; it is nothing to us.
			continue
		}
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
	for i := range want.Instances.Values() {
		if i.Host != host {
			continue
		}
		c, exists := byInstance[i.ID]
		op, needed := diffOne(want, here, i, c, exists)
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
	op, host := Op{Instance: i, Container: c}, here.Host
	if i.IsAdopted() && (!exists || i.Phase == state.Assigned) {
		op.Kind = OpMeet
		return op, true
	}
	switch i.Phase {
	case state.Assigned:
		switch {
		case !exists, !c.Running && c.StartedAt.IsZero():
			// One that was made and never started is what is left of a launch
			// that was cut off; the next one clears it away.
			op.Kind, op.Container = OpLaunch, Container{}
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
		if i.Relimiting && want.Spec.Services[i.Service].Hash == i.Revision {
			op.Kind = OpRelimit
			return op, true
		}
		if why := sickness(here, c); i.Phase == state.Ready && (why != "" && i.Sick == "" || why == "" && i.Sick != "" && here.Well[i.ID]) {
			op.Kind, op.Why = OpHealth, why
			return op, true
		}
	case state.Draining:
		op.Kind, op.End = OpRetire, drainEnd(want, here, i)
		// Without a container there is nothing to wait for; with one, it is
		// stopped only when no nginx sends to it, or its time is up.
		return op, !exists || !c.Running || want.Unrouted(i, host) || !here.Now.Before(op.End)
	case state.Failed:
		// A sick instance may still be busy; it gets the same time.
		op.Kind, op.End = OpClear, drainEnd(want, here, i)
		return op, !exists || !c.Running || want.Unrouted(i, host) || !here.Now.Before(op.End)
	}
	return op, false
}

// sickness says why an instance does not answer its health checks; "" where
// that is not known.
func sickness(here Local, c Container) string {
	if c.Health == HealthUnhealthy {
		return "its container's own health check fails"
	}
	return here.Sick[c.Instance]
}

// drainEnd is when a draining instance is stopped whatever it still does.
func drainEnd(c state.Cluster, here Local, i state.Instance) time.Time {
	seen, ok := here.Seen[i.ID]
	if !ok {
		seen = here.Now
	}
	return seen.Add(DrainTime(c, i.Service))
}

// DrainTime is how long a draining instance of a service may go on.
func DrainTime(c state.Cluster, service string) time.Duration {
	return cmp.Or(c.Spec.Services[service].Drain, state.DefaultDrain)
}

// diffAlone is the work of a host that is cut off: what should run and has
// ended is started again, the same container on the same host, so that there
// are never two of it. Nothing else is known well enough.
func diffAlone(want state.Cluster, here Local) []Op {
	var ops []Op
	for _, c := range here.Containers {
		i, known := want.Instances.Get(c.Instance)
		serves := known && i.Host == here.Host && i.Container == c.ID && (i.Phase == state.Starting || i.Phase == state.Ready)
		switch op := (Op{Instance: i, Container: c}); {
		case !serves:
		case c.Running && c.PID == 0:
			op.Kind = OpInspect
			ops = append(ops, op)
		case !c.Running && here.CutOff >= reviveAfter:
			op.Kind, op.Why = OpRevive, ending(c)
			ops = append(ops, op)
		}
	}
	return ops
}

// ending says how a container ended.
func ending(c Container) string {
	if c.OOMKilled {
		return fmt.Sprintf("killed for lack of memory (exit code %d)", c.ExitCode)
	}
	return fmt.Sprintf("its container ended with exit code %d", c.ExitCode)
}
