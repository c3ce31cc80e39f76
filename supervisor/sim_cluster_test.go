package supervisor

import (
	"context"
	"time"

	"github.com/supervisord/supervisord/supervisor/agent/agenttest"
	"github.com/supervisord/supervisord/supervisor/state"
)

// clustered is what happens to the hosts of a cluster beside what happens on
// each.
func clustered(x *chaos) []disturbance {
	return append(chaotic(x),
		disturbance{5, func() { x.isolate() }},
		disturbance{3, func() { x.cutLink() }},
		disturbance{4, func() { x.endLeader(agenttest.ErrKilled) }},
		disturbance{2, func() { x.endLeader(nil) }},
		disturbance{3, func() { x.powerCut() }},
		disturbance{1, func() { x.endAll() }},
		disturbance{3, func() { x.drainHost() }},
	)
}

// clusteredPlan is what operators do to the hosts of a cluster: nothing of it
// may cost a request.
func clusteredPlan(x *chaos) []disturbance {
	return append(planned(x),
		disturbance{3, func() { x.endLeader(agenttest.ErrKilled) }},
		disturbance{3, func() { x.endLeader(nil) }},
		disturbance{3, func() { x.drainHost() }},
	)
}

// isolate cuts a host off from all others for a while.
func (x *chaos) isolate() {
	h := x.some()
	lasts := x.between(100*time.Millisecond, 40*time.Second)
	x.tell("%s is cut off for %s", h.name, lasts)
	x.net.isolate(h, true)
	x.later(lasts, func() { x.tell("%s is back", h.name); x.net.isolate(h, false) })
}

// cutLink breaks the way from one host to another, one way or both.
func (x *chaos) cutLink() {
	a, b := x.some(), x.some()
	if a == b {
		return
	}
	lasts, both := x.between(100*time.Millisecond, 30*time.Second), x.dice.Chance("both ways", 0.5)
	x.tell("the way from %s to %s is cut for %s, both ways %v", a.name, b.name, lasts, both)
	x.net.set(a, b, true)
	if both {
		x.net.set(b, a, true)
	}
	x.later(lasts, func() { x.net.set(a, b, false); x.net.set(b, a, false) })
}

// later does something after a while, or not at all where the calm comes
// first: it mends everything itself.
func (x *chaos) later(after time.Duration, f func()) {
	t := time.AfterFunc(after, f)
	x.ends = append(x.ends, func() { t.Stop() })
}

// endLeader ends the daemon that leads and starts it again soon.
func (x *chaos) endLeader(cause error) {
	if l := x.leader(); l != nil {
		l.end(cause)
		time.Sleep(x.between(0, 2*time.Second))
		l.start()
	}
}

// powerCut ends a whole host, with all that runs on it.
func (x *chaos) powerCut() {
	h := x.some()
	outage := x.between(time.Second, 40*time.Second)
	x.tell("%s loses power for %s", h.name, outage)
	x.net.isolate(h, true)
	h.end(agenttest.ErrKilled)
	h.engine.Restart(outage, false)
	time.Sleep(outage)
	x.net.isolate(h, false)
	h.start()
}

// endAll ends all daemons at once.
func (x *chaos) endAll() {
	for _, h := range x.hosts {
		h.end(agenttest.ErrKilled)
	}
	time.Sleep(x.between(0, 5*time.Second))
	for _, h := range x.hosts {
		h.start()
		time.Sleep(x.between(0, time.Second))
	}
}

// drainHost takes a host out for a while, as an operator does before he mends
// it.
func (x *chaos) drainHost() {
	h := x.some()
	x.drain(h, false)
	x.later(x.between(time.Second, time.Minute), func() { x.drain(h, true) })
}

func (x *chaos) drain(h *simHost, off bool) {
	l := x.leader()
	if l == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	refused, err := l.process.Load().node.proposer.Propose(ctx, state.DrainHost{Name: h.name, Off: off})
	x.tell("drain %s, off %v: %v %v", h.name, off, refused, err)
}

// calmHosts gives all hosts back to the cluster.
func (x *chaos) calmHosts() {
	x.net.heal()
	for _, h := range x.hosts {
		if h.process.Load() == nil {
			h.start()
		}
	}
	for range 100 {
		if x.leader() != nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	for _, h := range x.hosts {
		x.drain(h, true)
	}
}
