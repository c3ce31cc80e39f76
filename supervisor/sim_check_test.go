package supervisor

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/raftstore"
	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/agent/agenttest"
	"github.com/supervisord/supervisord/supervisor/state"
)

// checker holds the invariants against every commit and every deed.
type checker struct {
	sim *sim

	mu sync.Mutex
	// latest is the newest state that any host has applied; policies are all
	// that were in force for a service.
	latest   state.Cluster
	policies map[string][]autoscale.Policy
	good     map[string]bool
	// running are the containers that run, by id; troubled are those that had
	// a reason to be taken for failed, and until when.
	running  map[string]agent.Container
	troubled map[string]time.Time
	// frames are what the last rounds were shown, by service: for a moment two
	// hosts may plan.
	frames map[string][][]autoscale.Frame
	// sickSince is when a sick instance of a service was last given up, zero
	// once another one got ready.
	sickSince map[string]time.Time
	scaled    int
	// backAt is when a host was last found again.
	backAt map[string]time.Time
	// lately are a service's placements of the last second.
	lately map[string][]time.Time
}

// framesKept is how many rounds' frames are kept.
const framesKept = 8

// mostPlaced is how many instances of a service may be placed in a second: more
// is a plan that takes back what it has just done.
const mostPlaced = 40

func newChecker(s *sim) *checker {
	return &checker{
		sim: s, latest: state.New(),
		policies: map[string][]autoscale.Policy{}, good: map[string]bool{"": true},
		running: map[string]agent.Container{}, troubled: map[string]time.Time{},
		frames: map[string][][]autoscale.Frame{}, sickSince: map[string]time.Time{}, backAt: map[string]time.Time{},
		lately: map[string][]time.Time{},
	}
}

// remember keeps what a planning round was shown.
func (k *checker) remember(frames func(string) []autoscale.Frame) func(string) []autoscale.Frame {
	return func(service string) []autoscale.Frame {
		f := frames(service)
		k.mu.Lock()
		defer k.mu.Unlock()
		seen := append(k.frames[service], f)
		k.frames[service] = seen[max(0, len(seen)-framesKept):]
		return f
	}
}

// applied looks at an entry that a host has just applied. One that another
// host, or this one in an earlier life, has applied already must give the same
// state again.
func (k *checker) applied(h *simHost, e raftstore.Entry, before, after state.Cluster) {
	p, err := state.Decode(e.Data)
	if err != nil {
		k.sim.violated("7 the log: entry %d: %v", e.Index, err)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case e.Index < k.latest.Index:
		return
	case e.Index == k.latest.Index:
		// All of the state is written out for it: what differs once goes on to.
		if e.Index%compareEvery == 0 && !sameState(after, k.latest) {
			k.sim.violated("7 the log: replayed on %s up to entry %d, it gives another state", h.name, e.Index)
		}
		return
	}
	c := before
	for _, cmd := range p.Commands {
		next, errs := state.Apply(c, e.Index, state.Proposal{At: p.At, Commands: []state.Command{cmd}})
		k.sim.tell("commit %d: %v %v", e.Index, lazyCommand{cmd}, lazyErr{errs[0]})
		if errs[0] == nil {
			k.command(c, next, cmd)
		}
		c = next
	}
	k.latest = after
}

// short leaves out what would fill the trace.
func short(cmd state.Command) string {
	switch cmd := cmd.(type) {
	case state.SetSpec:
		return "SetSpec " + cmd.Spec.Hash
	case state.ScaleTo:
		return "ScaleTo " + cmd.Decision.Sentence(cmd.Service)
	case state.Note:
		return "Note " + cmd.Event.Message
	case state.Hold:
		if cmd.Count != nil {
			return fmt.Sprintf("Hold %s %d", cmd.Service, *cmd.Count)
		}
	}
	return strings.TrimPrefix(fmt.Sprintf("%T %+v", cmd, cmd), "state.")
}

type lazyCommand struct{ state.Command }

func (l lazyCommand) String() string { return short(l.Command) }

type lazyErr struct{ err error }

func (l lazyErr) String() string {
	if l.err == nil {
		return ""
	}
	return "REFUSED: " + l.err.Error()
}

// compareEvery is how many entries are applied between two comparisons of the
// hosts' states.
const compareEvery = 64

func sameState(a, b state.Cluster) bool {
	var one, other bytes.Buffer
	_, errA := a.WriteTo(&one)
	_, errB := b.WriteTo(&other)
	return errA == nil && errB == nil && bytes.Equal(one.Bytes(), other.Bytes())
}

// restored looks at a state that came from a snapshot.
func (k *checker) restored(h *simHost, c state.Cluster) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c.Index == k.latest.Index && !sameState(c, k.latest) {
		k.sim.violated("7 the log: the snapshot of %s at entry %d holds another state", h.name, c.Index)
	}
}

// command checks one command that was carried out.
func (k *checker) command(c, next state.Cluster, cmd state.Command) {
	switch cmd := cmd.(type) {
	case state.SetSpec:
		for name, s := range cmd.Spec.Services {
			if c.Spec.Services[name].Hash != s.Hash {
				delete(k.sickSince, name) // a new definition begins anew
			}
			if s.Autoscale != nil {
				k.policies[name] = append(k.policies[name], *s.Autoscale)
			}
		}
		if !k.good[next.Spec.Hash] {
			k.sim.violated("8 wrong config: a spec that the operator never wrote is in force: %s", next.Spec.Hash)
		}
	case state.Promote:
		for name, s := range next.Spec.Services {
			if c.Spec.Services[name].Hash != s.Hash {
				delete(k.sickSince, name)
			}
			if s.Autoscale != nil {
				k.policies[name] = append(k.policies[name], *s.Autoscale)
			}
		}
	case state.RollBack:
		for name, s := range next.Spec.Services {
			if c.Spec.Services[name].Hash != s.Hash {
				delete(k.sickSince, name)
			}
		}
		to, _ := c.Releases.Get(state.ReleaseKey(cmd.To))
		if to.State != state.ReleaseHealthy {
			k.sim.violated("8 wrong config: revision %d is brought back, which is %s", cmd.To, to.State)
		}
	case state.FinishRollout:
		for name, s := range next.Spec.Services {
			for i := range next.Of(name) {
				if i.Active() && i.Revision != s.Hash {
					k.sim.violated("9 rollouts: revision %d is called healthy, and %s is of another", cmd.Revision, i.Name)
				}
			}
		}
	case state.ReportSpecError:
		if !reflect.DeepEqual(c.Spec, next.Spec) {
			k.sim.violated("8 wrong config: a wrong edit changed the spec from revision %d", c.Spec.Revision)
		}
	case state.ScaleTo:
		k.scaleTo(c, next, cmd)
	case state.Place:
		k.placed(next, cmd)
	case state.Drain:
		k.drained(c, next, cmd)
	case state.Observe:
		if i, _ := next.Instances.Get(cmd.ID); i.Phase == state.Ready {
			delete(k.sickSince, i.Service)
		}
	case state.Fail:
		k.failed(c, next.Time, cmd)
	case state.FindHost:
		k.backAt[cmd.Name] = next.Time
	}
}

func (k *checker) scaleTo(c, next state.Cluster, cmd state.ScaleTo) {
	k.scaled++
	d := cmd.Decision
	policy := next.Spec.Services[cmd.Service].Autoscale
	switch {
	case policy == nil:
		k.sim.violated("1 bounds: %s is scaled and has no policy", cmd.Service)
		return
	case d.To < policy.Min || d.To > policy.Max:
		k.sim.violated("1 bounds: %s is scaled to %d, min is %d, max %d", cmd.Service, d.To, policy.Min, policy.Max)
	case d.Reason == "" || d.Sentence(cmd.Service) == "":
		k.sim.violated("7 explained: %s is scaled without a reason: %+v", cmd.Service, d)
	}
	scale, _ := c.Scales.Get(cmd.Service)
	for _, p := range k.policies[cmd.Service] {
		for _, hold := range []*int{scale.Hold, nil} {
			for _, frames := range k.frames[cmd.Service] {
				again := autoscale.Decide(autoscale.Input{
					Now: d.At, Policy: p, Desired: d.From, Ready: d.Ready, Starting: d.Starting,
					Frames: frames, LastOut: scale.LastOut, LastIn: scale.LastIn, Hold: hold,
				})
				if sameDecision(again, d) {
					return
				}
			}
		}
	}
	k.sim.violated("7 explained: a decision does not come out again of its inputs: %+v", d)
}

// sameDecision compares two decisions of which one went through the log.
func sameDecision(a, b autoscale.Decision) bool {
	if !a.At.Equal(b.At) || !a.Until.Equal(b.Until) || len(a.Limits) != len(b.Limits) {
		return false
	}
	for n := range a.Limits {
		if a.Limits[n] != b.Limits[n] {
			return false
		}
	}
	a.At, a.Until, a.Limits = b.At, b.Until, b.Limits
	return reflect.DeepEqual(a, b)
}

// count of a service's instances: those that count towards the desired
// number, those that serve, and all.
func (k *checker) count(c state.Cluster, service string) (active, ready, all int) {
	for i := range c.Stable(service) {
		all++
		if i.Active() {
			active++
		}
		if i.Phase == state.Ready {
			ready++
		}
	}
	return active, ready, all
}

func (k *checker) placed(next state.Cluster, cmd state.Place) {
	lately := k.lately[cmd.Service]
	for len(lately) > 0 && time.Since(lately[0]) > time.Second {
		lately = lately[1:]
	}
	k.lately[cmd.Service] = append(lately, time.Now())
	if len(lately) == mostPlaced {
		k.sim.violated("stability: the %dth instance of %s within a second is placed", mostPlaced+1, cmd.Service)
	}
	s := next.Spec.Services[cmd.Service]
	scale, _ := next.Scales.Get(cmd.Service)
	active, _, all := k.count(next, cmd.Service)
	// One more while a definition is replaced, unless the file allows more.
	surge := max(1, s.Update.Parallelism)
	switch {
	case s.Stateful && all > 1:
		k.sim.violated("3 stateful: %d instances of %s", all, cmd.Service)
	case active > scale.Desired+surge:
		k.sim.violated("1 bounds: %d instances of %s are placed, %d are wanted", active, cmd.Service, scale.Desired)
	case s.Autoscale != nil && active > s.Autoscale.Max+surge && scale.Desired <= s.Autoscale.Max:
		// An edit has just lowered it otherwise.
		k.sim.violated("1 bounds: %d instances of %s are placed, max is %d", active, cmd.Service, s.Autoscale.Max)
	}
}

func (k *checker) drained(c, next state.Cluster, cmd state.Drain) {
	i, _ := c.Instances.Get(cmd.ID)
	s, wanted := c.Spec.Services[i.Service]
	if i.Phase != state.Ready || !wanted || s.Stateful || i.Canary {
		return
	}
	scale, _ := c.Scales.Get(i.Service)
	floor := scale.Desired
	if s.Autoscale != nil {
		floor = max(floor, s.Autoscale.Min)
	}
	if _, ready, _ := k.count(next, i.Service); ready < floor {
		k.sim.violated("1 bounds: %s is drained, which leaves %d ready of %s; %d are wanted", i.ID, ready, i.Service, floor)
	}
}

// failed checks that an instance that is given up had a reason to be.
func (k *checker) failed(c state.Cluster, now time.Time, cmd state.Fail) {
	i, _ := c.Instances.Get(cmd.ID)
	if i.Phase == state.Assigned {
		return // its launch failed, and the engine has told why
	}
	_, runs := k.running[i.Container]
	until, troubled := k.troubled[i.Container]
	// A slow start has a limit; so has the time for which trouble that has
	// passed may still be held against an instance.
	slow := i.Phase == state.Starting && now.Sub(i.PhaseAt) >= 50*time.Second
	if runs && !slow && (!troubled || time.Since(until) > time.Minute) {
		k.sim.violated("5 nothing is undone: %s runs well and is given up: %s", i.ID, cmd.Reason)
	}
	if runs && i.Phase == state.Ready && !i.Canary {
		scale, _ := c.Scales.Get(i.Service)
		_, ready, _ := k.count(c, i.Service)
		if at, one := k.sickSince[i.Service]; one && time.Since(at) < 30*time.Second && ready < scale.Desired {
			k.sim.violated("1 bounds: %s is given up as sick, and the one before it has not been replaced", i.ID)
		}
		k.sickSince[i.Service] = time.Now()
	}
}

// trouble notes that a container has a reason to be taken for failed until
// then.
func (k *checker) trouble(id string, until time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.troubled[id] = until
}

// deed looks at what an engine does. The engine is locked.
func (k *checker) deed(h *simHost, d agenttest.Deed) {
	k.sim.tell("engine %s: %s %s %s of %s by %s", h.name, d.Kind, d.Container.ID, d.Container.Name, d.Container.Instance, d.By)
	sends, working := k.sim.load.sends(d.Container.Address, func(host string) bool { return k.live(host, d.Container.Instance) })
	if d.Container.Address == "" {
		sends, working = false, false
	}
	k.minority(h, d)
	if (sends || working) && d.Container.Running && (d.Kind == agenttest.Stopping || d.Kind == agenttest.Ended && d.By == agenttest.Outside) {
		k.sim.load.lose("%s ends and gets requests (%v), works on some (%v)", d.Container.Name, sends, working)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch d.Kind {
	case agenttest.Trespass:
		k.sim.violated("4 strangers: an agent acted on %s", d.Container.Name)
	case agenttest.Started:
		k.started(d)
	case agenttest.Ended:
		k.troubled[d.Container.ID] = time.Now()
		delete(k.running, d.Container.ID)
	case agenttest.Stopping:
		k.stopping(h, d, sends, working)
	}
}

// live says whether a host counts for the drain of an instance: not one that
// is given up, or was when the drain began and has not confirmed since.
func (k *checker) live(host, instance string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	h, ok := k.latest.Hosts.Get(host)
	i, _ := k.latest.Instances.Get(instance)
	return ok && !h.IsLost() && !k.backAt[host].After(i.PhaseAt)
}

// minority checks that the agent of a host that has been cut off for a while
// takes nothing away and adds nothing.
func (k *checker) minority(h *simHost, d agenttest.Deed) {
	// A call that was on its way may be held up by the engine for 5 s.
	const notices = 7 * time.Second
	alone := h.sim.net.alone(h)
	if alone < notices || d.By == agenttest.Outside {
		return
	}
	if d.Kind == agenttest.Stopping || d.Kind == agenttest.Created {
		k.sim.violated("10 minority: %s has been without the majority for %s and begins to %s %s", h.name, alone, d.Kind, d.Container.Instance)
	}
}

func (k *checker) started(d agenttest.Deed) {
	for _, other := range k.running {
		if other.Service == d.Container.Service && other.Service == "db" {
			k.sim.violated("3 stateful: %s starts while %s runs", d.Container.Instance, other.Instance)
		}
		if other.Instance == d.Container.Instance {
			k.sim.violated("5 nothing is undone: a second container of %s starts", other.Instance)
		}
	}
	k.running[d.Container.ID] = d.Container
}

// stopping checks that a container that an agent stops may be stopped.
func (k *checker) stopping(h *simHost, d agenttest.Deed, sends, working bool) {
	i, known := k.latest.Instances.Get(d.Container.Instance)
	if !known {
		return // removed as unknown, or its instance has gone
	}
	if i.Active() {
		// A launch that failed halfway takes back what it made.
		if !(i.Phase == state.Assigned && d.By == agenttest.ByUndo) {
			k.sim.violated("5 nothing is undone: %s is %s and is stopped (%s)", i.ID, i.Phase, d.By)
		}
		return
	}
	_, fell := k.troubled[d.Container.ID]
	switch timeUp := !time.Now().Before(laterOf(i.PhaseAt, time.Unix(0, h.since.Load())).Add(agent.DrainTime(k.latest, i.Service))); {
	case timeUp:
	case fell && d.By == agenttest.ByRemove:
		// It had ended, and somebody has started it again under our hands.
	case sends:
		k.sim.violated("2 drain: %s is stopped, nginx still sends to %s, and its time is not up", i.ID, d.Container.Address)
	case working:
		k.sim.violated("2 drain: %s is stopped while it works on requests, and its time is not up", i.ID)
	}
}

// atRest checks what must be true when the cluster has settled.
func (s *sim) atRest() {
	if s.broken() {
		return
	}
	c, _ := s.leader().process.Load().node.replica.Current()
	for _, h := range s.hosts {
		left := map[string]bool{}
		for _, k := range h.engine.Containers() {
			left[k.ID] = k.Running
		}
		for _, id := range h.foreign {
			if !left[id] {
				s.violated("4 strangers: container %s on %s does not run any more", id, h.name)
			}
		}
	}
	web := c.Spec.Services["web"].Autoscale
	scale, _ := c.Scales.Get("web")
	each, n := s.load.get()/float64(scale.Desired), scale.Desired
	switch {
	case scale.Hold != nil:
	case n < web.Min || n > web.Max:
		s.violated("1 bounds: %d of web, min is %d, max %d", n, web.Min, web.Max)
	case each > web.CPU.Above+0.05 && n < web.Max:
		s.violated("6 liveness: %d of web at %.2f each, and no more are added", n, each)
	case n > web.Min && s.load.get()/float64(n-1) < web.CPU.Below-0.05:
		s.violated("6 liveness: %d of web at %.2f each, and none is taken away", n, each)
	}
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
