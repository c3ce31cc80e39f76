package supervisor

import (
	"context"
	"fmt"
	"time"

	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/agent/agenttest"
	"github.com/supervisord/supervisord/supervisor/state"
)

// chaos draws what happens to a cluster.
type chaos struct {
	*sim
	// ends undo what is still in force when the rage is over.
	ends  []func()
	edits int
}

// disturbance is one kind of thing that happens, and how often.
type disturbance struct {
	weight int
	happen func()
}

func newChaos(s *sim) *chaos { return &chaos{sim: s} }

func (x *chaos) between(low, high time.Duration) time.Duration {
	return x.dice.Between("chaos", low, high)
}

// rage disturbs the cluster for a while and then puts everything right that
// does not mend itself: an engine stays up, a file is right, a hold is taken
// back.
func (x *chaos) rage(of func(*chaos) []disturbance) {
	all, total := of(x), 0
	for _, d := range all {
		total += d.weight
	}
	if x.dice.Chance("faulty", 0.5) && !x.cfg.planned {
		x.onAll(func(h *simHost) { h.faults.calls.Store(true); h.faults.samples.Store(true) })
	}
	for end := time.Now().Add(x.between(20*time.Second, 100*time.Second)); time.Now().Before(end) && !x.broken(); {
		pick := x.dice.Int("chaos", total)
		for _, d := range all {
			if pick -= d.weight; pick < 0 {
				d.happen()
				break
			}
		}
		// Often a moment after the last one, in the midst of its answer.
		pause := x.between(0, 8*time.Second)
		if x.dice.Chance("chaos", 0.4) {
			pause = x.between(0, 400*time.Millisecond)
		}
		time.Sleep(pause)
	}
	x.calm()
}

func (x *chaos) onAll(f func(*simHost)) {
	for _, h := range x.hosts {
		f(h)
	}
}

func (x *chaos) calm() {
	x.tell("calm")
	x.onAll(func(h *simHost) {
		h.faults.calls.Store(false)
		h.faults.samples.Store(false)
		h.faults.blind.Store(false)
		h.faults.nginxBroken.Store(false)
		h.faults.siteRejected.Store(false)
	})
	for _, end := range x.ends {
		end()
	}
	x.calmHosts()
	x.load.set(0.5 + 3.5*x.dice.Float("demand"))
	x.lastEdit(x.hosts[0])
	x.hold(nil)
}

// lastEdit is what is to be in force in the end. An edit that crosses another
// one is kept aside; its operator sees that and makes it again.
func (x *chaos) lastEdit(h *simHost) {
	for range 10 {
		x.inStep(h)
		f := h.current()
		f.webImage, f.dbImage, f.workerImage = "web:last", "db:last", "worker:last"
		x.edit(h, f.good())
		for range 100 {
			if l := x.leader(); l != nil {
				if c, _ := l.process.Load().node.replica.Current(); c.Spec.Services["web"].Container.Image == "web:last" {
					return
				}
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
}

// planned is what operators and the load do.
func planned(x *chaos) []disturbance {
	return []disturbance{
		{5, func() { x.setLoad() }},
		{3, func() { x.editImage("web") }},
		{1, func() { x.editImage("worker") }},
		{1, func() { x.editImage("db") }},
		{2, func() { x.editLimits() }},
		{2, func() { x.editPolicy() }},
		{2, func() { x.editWorkers() }},
		{2, func() { x.editWrong() }},
		{4, func() { x.canary() }},
		{2, func() { n := x.dice.Int("hold", 8); x.hold(&n) }},
		{2, func() { x.hold(nil) }},
		{3, func() { x.bounce(agenttest.ErrKilled) }},
		{1, func() { x.bounce(nil) }},
	}
}

// chaotic is everything.
func chaotic(x *chaos) []disturbance {
	return append(planned(x),
		disturbance{6, func() { x.accident() }},
		disturbance{2, func() { x.sicken(0.3) }},
		disturbance{1, func() { x.sicken(1) }},
		disturbance{1, func() { x.startByHand() }},
		disturbance{1, func() { x.editBad() }},
		disturbance{1, func() { x.hosts[x.dice.Int("host", len(x.hosts))].restartEngine(x) }},
		disturbance{1, func() { x.some().engine.BreakStreams() }},
		disturbance{1, func() { h := x.some(); x.flag(&h.faults.nginxBroken, "nginx broken on "+h.name) }},
		disturbance{1, func() { h := x.some(); x.flag(&h.faults.siteRejected, "site rejected on "+h.name) }},
		disturbance{1, func() { h := x.some(); x.flag(&h.faults.blind, "no samples on "+h.name) }},
		disturbance{1, func() { x.orphan() }},
	)
}

func (x *chaos) some() *simHost { return x.hosts[x.dice.Int("host", len(x.hosts))] }

func (x *chaos) setLoad() {
	demand := 6 * x.dice.Float("demand")
	x.tell("load %.2f", demand)
	x.load.set(demand)
}

func (x *chaos) edit(h *simHost, f simFile) {
	x.edits++
	x.tell("edit %d: %+v", x.edits, editOf{f})
	h.write(f)
}

type editOf struct{ simFile }

func (e editOf) String() string {
	return fmt.Sprintf("web %s %d to %d, worker %s × %d, db %s, wrong: %v", e.webImage, e.min, e.max, e.workerImage, e.worker, e.dbImage, e.wrong)
}

// inStep waits until a host's file is the cluster's, or one with a problem, so
// that the next edit is made from that.
func (x *chaos) inStep(h *simHost) {
	for range 1000 {
		if l := x.leader(); l != nil && h.process.Load() != nil {
			c, _ := l.process.Load().node.replica.Current()
			s, err := simSpecFile{h}.Synced()
			if f := h.current(); err == nil && s.Revision == c.Spec.Revision && (f.text == c.Spec.Source || f.wrong != nil) {
				return
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// editor is the host whose file is edited: one that has a file.
func (x *chaos) editor() *simHost {
	if h := x.some(); h.current().last != nil {
		return h
	}
	return x.hosts[0]
}

func (x *chaos) editImage(service string) {
	h := x.editor()
	f, image := h.current(), fmt.Sprintf("%s:%d", service, x.dice.Int("image", 3))
	switch service {
	case "web":
		f.webImage = image
	case "worker":
		f.workerImage = image
	case "db":
		f.dbImage = image
	}
	x.edit(h, f.good())
}

// editLimits is an edit that needs no new containers.
func (x *chaos) editLimits() {
	h := x.editor()
	f := h.current()
	f.memory = []int64{64, 96, 128}[x.dice.Int("memory", 3)]
	x.edit(h, f.good())
}

func (x *chaos) editPolicy() {
	h := x.editor()
	f := h.current()
	f.min = 1 + x.dice.Int("min", 3)
	f.max = f.min + x.dice.Int("max", 6)
	x.edit(h, f.good())
}

func (x *chaos) editWorkers() {
	h := x.editor()
	f := h.current()
	f.worker = x.dice.Int("workers", 4)
	x.edit(h, f.good())
}

func (x *chaos) editWrong() {
	h := x.editor()
	x.edit(h, h.current().bad(x.edits))
}

// editBad is a right edit to an image that never serves.
func (x *chaos) editBad() {
	h := x.editor()
	f := h.current()
	f.webImage = []string{"bad", "mute"}[x.dice.Int("bad", 2)]
	x.edit(h, f.good())
}

// hold asks the leader for a count of web, or gives it back.
func (x *chaos) hold(n *int) {
	l := x.leader()
	if l == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	refused, err := l.process.Load().node.proposer.Propose(ctx, state.Hold{Service: "web", Count: n})
	x.tell("hold: %v %v", refused, err)
}

// canary tries another image of web out, or ends what is being tried.
func (x *chaos) canary() {
	l := x.leader()
	if l == nil {
		return
	}
	n := l.process.Load().node
	c, _ := n.replica.Current()
	var cmd state.Command = state.EndCanary{Canary: c.Canary.ID, Why: "by a test"}
	switch {
	case !c.Canary.Active():
		f := x.editor().current()
		f.webImage = fmt.Sprintf("web:%d", x.dice.Int("image", 3))
		f = f.good()
		x.wrote(f)
		cmd = state.StartCanary{Spec: f.last.Spec, Base: c.Spec.Revision, Share: 0.05 + 0.4*x.dice.Float("share")}
	case x.dice.Chance("promoted", 0.6):
		cmd = state.Promote{Canary: c.Canary.ID, By: "a test"}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	refused, err := n.proposer.Propose(ctx, cmd)
	x.tell("canary: %s %v %v", state.Kind(cmd), refused, err)
}

// bounce ends the daemon of a host and starts it again a while later.
func (x *chaos) bounce(cause error) {
	h := x.some()
	h.end(cause)
	if x.dice.Chance("stays down", 0.5) {
		time.Sleep(x.between(0, time.Second))
	} else {
		// With others to go on without it, a host that stays away is given up,
		// and that is not what was planned.
		longest := 40 * time.Second
		if x.cfg.planned && len(x.hosts) > 1 {
			longest = 2 * time.Second
		}
		time.Sleep(x.between(0, longest))
	}
	h.start()
}

// any is one of a host's own running containers.
func (x *chaos) any(h *simHost, runs bool) (agent.Container, bool) {
	var some []agent.Container
	for _, k := range h.engine.Own() {
		if k.Running == runs {
			some = append(some, k)
		}
	}
	if len(some) == 0 {
		return agent.Container{}, false
	}
	return some[x.dice.Int("container", len(some))], true
}

// accident ends one container or, now and then, most of them.
func (x *chaos) accident() {
	h := x.some()
	if x.dice.Chance("most", 0.1) {
		for _, k := range h.engine.Own() {
			if x.dice.Chance("of most", 0.7) {
				h.engine.Crash(k.ID, 1)
			}
		}
		return
	}
	k, ok := x.any(h, true)
	if !ok {
		return
	}
	switch x.dice.Int("accident", 5) {
	case 0:
		h.engine.OOM(k.ID)
	case 1:
		h.engine.RemoveByHand(k.ID)
	default:
		h.engine.Crash(k.ID, 2)
	}
}

// sicken makes a share of the containers stop answering for a while.
func (x *chaos) sicken(share float64) {
	h := x.some()
	lasts := x.between(100*time.Millisecond, 90*time.Second)
	for _, k := range h.engine.Own() {
		if !k.Running || share < 1 && !x.dice.Chance("sicken", share) {
			continue
		}
		x.tell("sick for %s: %s", lasts, k.ID)
		x.check.trouble(k.ID, time.Now().Add(lasts))
		h.engine.SetSick(k.ID, true)
		recover := func() {
			if h.engine.SetSick(k.ID, false) {
				x.check.trouble(k.ID, time.Now())
			}
		}
		t := time.AfterFunc(lasts, recover)
		x.ends = append(x.ends, func() {
			if t.Stop() {
				recover()
			}
		})
	}
}

func (x *chaos) startByHand() {
	h := x.some()
	if k, ok := x.any(h, false); ok {
		h.engine.StartByHand(k.ID)
	}
}

func (h *simHost) restartEngine(x *chaos) {
	live := x.dice.Chance("live restore", 0.6)
	outage := x.between(100*time.Millisecond, 20*time.Second)
	x.tell("engine %s is down for %s, live-restore %v", h.name, outage, live)
	h.engine.Restart(outage, live)
}

// flag sets a fault for a while.
func (x *chaos) flag(f interface{ Store(bool) }, what string) {
	lasts := x.between(100*time.Millisecond, 40*time.Second)
	x.tell("%s for %s", what, lasts)
	f.Store(true)
	t := time.AfterFunc(lasts, func() { f.Store(false) })
	x.ends = append(x.ends, func() { t.Stop() })
}

// orphan puts a container with our labels on a host that no state knows.
func (x *chaos) orphan() {
	h := x.some()
	n := 900 + x.dice.Int("orphan", 1000)
	h.engine.AddOwn(agent.Launch{Name: fmt.Sprintf("web-%d", n), Instance: fmt.Sprintf("web-%d.1", n), Service: "web"},
		fmt.Sprintf("%s:%d", h.address, 20000+n))
}
