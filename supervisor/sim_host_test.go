package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/sync/errgroup"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/raftstore"
	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/agent/agenttest"
	"github.com/supervisord/supervisord/supervisor/plan"
	"github.com/supervisord/supervisord/supervisor/state"
)

// simHost is what of a host outlives its daemon, and the daemon while it runs.
type simHost struct {
	sim     *sim
	name    string
	address string
	engine  *agenttest.Engine
	balance *agenttest.Balancer
	disk    raftstore.Stores
	// file is the operator's, aside what was saved beside it, synced what the
	// daemon remembers of it.
	file    simFile
	aside   []string
	synced  synced
	process atomic.Pointer[simProcess]
	// since is when its agent began to look.
	since   atomic.Int64
	foreign []string
	faults  faults
}

// faults are switched on and off by the chaos.
type faults struct {
	// calls says that engine calls fail now and then, samples that some are
	// missing, events that more of them are lost and late.
	calls, samples                   atomic.Bool
	nginxBroken, siteRejected, blind atomic.Bool
}

// simProcess is one life of a daemon.
type simProcess struct {
	node   *node
	store  *raftstore.Store
	wire   *raft.InmemTransport
	edits  chan edit
	cancel context.CancelCauseFunc
	done   chan error
}

func newSimHost(s *sim, n int) *simHost {
	h := &simHost{sim: s, name: string(rune('a' + n)), address: fmt.Sprintf("10.0.0.%d", n+1)}
	if n == 0 {
		// The others get theirs from the cluster.
		h.file = newSimFile()
		s.wrote(h.file)
	}
	log := raft.NewInmemStore()
	h.disk = raftstore.Stores{Log: log, Stable: log, Snapshots: raft.NewInmemSnapshotStore()}
	late := agenttest.EventFaults{Delay: time.Millisecond, Jitter: 5 * time.Millisecond}
	if s.dice.Chance("lossy", 0.5) {
		late = agenttest.EventFaults{Delay: time.Millisecond, Jitter: 300 * time.Millisecond, Lose: 0.02, Double: 0.05}
	}
	h.engine = agenttest.New(agenttest.Options{
		Dice: s.dice, Host: h.name, Behave: h.behave, Fault: h.fault, Events: late,
		Watch: func(d agenttest.Deed) { s.check.deed(h, d) },
	})
	h.balance = agenttest.NewBalancer(agenttest.BalancerOptions{
		Dice: s.dice, Name: h.name, Fail: h.nginxFails, Reject: h.nginxRejects,
		Changed: func() { s.load.changed(h) },
	})
	h.foreign = []string{
		h.engine.AddForeign("web-3", ""),
		h.engine.AddForeign("somebody-else", h.address+":4001"),
	}
	h.engine.TakePort(h.address+":4003", true)
	return h
}

// behave draws what a container does; images named "bad" and "mute" never
// serve.
func (h *simHost) behave(l agent.Launch) agenttest.Behaviour {
	d, name := h.sim.dice, h.name+"/behave/"+l.Name
	b := agenttest.Behaviour{
		AnswersAfter: d.Between(name+"/answers", 10*time.Millisecond, 400*time.Millisecond),
		StopTakes:    d.Between(name+"/stop", time.Millisecond, 200*time.Millisecond),
	}
	switch {
	case l.Spec.Image == "bad":
		b.EndsAfter, b.ExitCode = d.Between(name+"/ends", time.Millisecond, time.Second), 1
	case l.Spec.Image == "mute":
		b.AnswersAfter = 24 * time.Hour
	case d.Chance(name+"/slow", 0.03):
		b.AnswersAfter = d.Between(name+"/answers", time.Second, 40*time.Second)
	}
	if d.Chance(name+"/stubborn", 0.02) {
		b.StopTakes = time.Hour
	}
	b.Unfit = d.Chance(name+"/unfit", 0.1)
	return b
}

var errInjected = errors.New("injected")

func (h *simHost) fault(c agenttest.Call) (f agenttest.Fault) {
	if !h.faults.calls.Load() {
		return f
	}
	d, name := h.sim.dice, h.name+"/fault/"+c.Method+"/"+c.Name
	switch x := d.Float(name); {
	case x < 0.03:
		f.Err = errInjected
	case x < 0.05:
		f.Lost = errInjected
	case x < 0.10:
		f.Delay = d.Between(name+"/delay", 0, 5*time.Second)
	}
	if f.Err != nil || f.Lost != nil {
		h.sim.tell("engine %s: %s %s fails (%+v)", h.name, c.Method, c.Name, f)
	}
	return f
}

func (h *simHost) nginxFails() error {
	if h.faults.nginxBroken.Load() {
		return errInjected
	}
	return nil
}

func (h *simHost) nginxRejects(s lbconfig.Site) string {
	if h.faults.siteRejected.Load() {
		return "injected"
	}
	return ""
}

// peer is where the other hosts reach this one's daemon.
func (h *simHost) peer() string { return h.address + ":7946" }

// transport is that of the running daemon's log.
func (h *simHost) transport() *raft.InmemTransport {
	if p := h.process.Load(); p != nil {
		return p.wire
	}
	return nil
}

// start begins a life of the daemon, as Supervisor does.
func (h *simHost) start() {
	h.sim.tell("%s: the daemon starts", h.name)
	ctx, cancel := context.WithCancelCause(context.Background())
	p := &simProcess{edits: make(chan edit, 64), cancel: cancel, done: make(chan error, 1)}
	r := newReplica()
	quiet := slog.New(slog.DiscardHandler)
	_, p.wire = raft.NewInmemTransportWithTimeout(raft.ServerAddress(h.peer()), 200*time.Millisecond)
	var err error
	p.store, err = raftstore.Open(ctx, raftstore.Config{ID: h.name, Stores: &h.disk, SnapshotEvery: 128, Logger: quiet, Transport: p.wire},
		watchedMachine{r, h})
	if err != nil {
		h.sim.violated("5 restart: %s does not start: %v", h.name, err)
		cancel(nil)
		return
	}
	all := parts{
		self:   state.RegisterHost{Name: h.name, Server: h.name, Peer: h.peer(), Address: h.address, CPUs: 4, Memory: 16 << 30, Format: state.Format},
		listen: []string{"80"}, status: "127.0.0.1:9371", grace: plan.DefaultGrace,
		store: p.store, replica: r, engine: h.engine, balance: h.balance, prober: h.engine,
		sampler: h, connections: h.sim.load.connections, log: quiet,
		peers: simPeers{h.sim.net, h}, file: simSpecFile{h}, dial: h.dial,
	}
	p.node = newNode(all)
	p.node.leader.frames = func(c state.Cluster) func(string) []autoscale.Frame {
		return h.sim.check.remember(p.node.leader.collect.framesOf(c))
	}
	h.process.Store(p)
	h.noticed(h.current())
	h.sim.net.connect()
	h.since.Store(time.Now().UnixNano())
	go func() { p.done <- p.run(ctx) }()
}

// run does what a member's daemon does, wires and files apart.
func (p *simProcess) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.node.run(ctx, p.edits) })
	g.Go(func() error { return p.store.Tend(ctx, p.node.steward()) })
	g.Go(func() error { return p.found(ctx) })
	return g.Wait()
}

// found begins the cluster, once.
func (p *simProcess) found(ctx context.Context) error {
	return p.store.WhileLeader(ctx, func(ctx context.Context) error {
		if c, _ := p.node.replica.Current(); c.ID == "" {
			if _, err := p.node.proposer.Propose(ctx, state.Found{ID: "simulated"}); err != nil && ctx.Err() == nil {
				return err
			}
		}
		<-ctx.Done()
		return ctx.Err()
	})
}

// end ends the daemon: killed with the cause ErrKilled, stopped without.
func (h *simHost) end(cause error) {
	p := h.process.Load()
	if p == nil {
		return
	}
	h.sim.tell("%s: the daemon ends (%v)", h.name, cause)
	if cause == nil {
		// The leadership goes first, as in Supervisor.Run.
		_ = handOver(context.Background(), p.store)
	}
	h.process.Store(nil)
	p.cancel(cause)
	if cause == nil {
		h.ended(<-p.done)
	}
	if err := p.store.Close(context.Background()); err != nil {
		h.sim.violated("5 restart: %s cannot close its log: %v", h.name, err)
	}
	if cause != nil {
		h.ended(<-p.done)
	}
	h.sim.net.connect()
}

func (h *simHost) ended(err error) {
	if !errors.Is(err, context.Canceled) && !errors.Is(err, raftstore.ErrClosed) {
		h.sim.violated("6 liveness: the node of %s ended by itself: %v", h.name, err)
	}
}

// write puts the operator's file in place.
func (h *simHost) write(f simFile) {
	h.sim.wrote(f)
	h.sim.mu.Lock()
	h.file = f
	h.sim.mu.Unlock()
	h.noticed(f)
}

// current is the file as it is now.
func (h *simHost) current() simFile {
	h.sim.mu.Lock()
	defer h.sim.mu.Unlock()
	return h.file
}

// noticed is what the watch does with a file.
func (h *simHost) noticed(f simFile) {
	p := h.process.Load()
	if p == nil {
		return
	}
	e := f.edit()
	if f.last == nil {
		e = edit{err: fs.ErrNotExist}
	}
	p.edits <- e
}

// dial connects to an instance on any host.
func (h *simHost) dial(ctx context.Context, address string) error {
	for _, other := range h.sim.hosts {
		if !strings.HasPrefix(address, other.address+":") {
			continue
		}
		if h.sim.net.broken(h, other) || h.sim.net.broken(other, h) {
			<-ctx.Done()
			return dialError(address, ctx.Err())
		}
		if other.engine.Serves(address) {
			return nil
		}
	}
	return dialError(address, syscall.ECONNREFUSED)
}

// unsettled says what on this host is not as the state wants it.
func (h *simHost) unsettled(c state.Cluster) string {
	var want, have, routes []string
	for i := range c.Instances.Values() {
		if i.Host == h.name {
			want = append(want, i.ID+" "+i.Container)
		}
		if i.Address != "" {
			routes = append(routes, i.Address)
		}
	}
	for _, k := range h.engine.Own() {
		if !k.Running {
			return k.Name + " has ended and is still there"
		}
		if limit := c.Spec.Services[k.Service].Container.Resources.MemoryLimit; k.MemoryLimit != limit {
			return fmt.Sprintf("%s may use %d bytes, its definition says %d", k.Name, k.MemoryLimit, limit)
		}
		have = append(have, k.Instance+" "+k.ID)
	}
	slices.Sort(want)
	slices.Sort(have)
	if !slices.Equal(want, have) {
		return fmt.Sprintf("the containers are %v, the state wants %v", have, want)
	}
	served := h.balance.Served()["web"]
	slices.Sort(served)
	slices.Sort(routes)
	if !slices.Equal(served, routes) {
		return fmt.Sprintf("nginx sends to %v, ready are %v", served, routes)
	}
	if text := h.current().text; text != c.Spec.Source {
		return fmt.Sprintf("the file is %q, the cluster's %q", text, c.Spec.Source)
	}
	if self, _ := c.Hosts.Get(h.name); len(self.RejectedSites) > 0 || self.SpecError != "" && h.current().wrong == nil {
		return fmt.Sprintf("it has rejected sites %v or a wrong file %q", self.RejectedSites, self.SpecError)
	}
	return ""
}

// Sample implements sampler.
func (h *simHost) Sample(_ context.Context, now time.Time, targets []sampleTarget) ([]autoscale.Sample, error) {
	var all []autoscale.Sample
	var missing error
	running := map[string]agent.Container{}
	for _, k := range h.engine.Own() {
		if k.Running {
			running[k.ID] = k
		}
	}
	for _, t := range targets {
		k, ok := running[t.Container]
		if !ok || h.faults.blind.Load() || h.faults.samples.Load() && h.sim.dice.Chance("sample/"+k.Name, 0.1) {
			missing = errInjected
			continue
		}
		all = append(all, h.sim.load.use(now, k))
	}
	return all, missing
}

// watchedMachine shows each entry to the checker as it is applied.
type watchedMachine struct {
	*replica
	host *simHost
}

// Apply implements raftstore.Machine.
func (m watchedMachine) Apply(e raftstore.Entry) any {
	before, _ := m.Current()
	result := m.replica.Apply(e)
	after, _ := m.Current()
	m.host.sim.check.applied(m.host, e, before, after)
	return result
}

// Restore implements raftstore.Machine.
func (m watchedMachine) Restore(from io.Reader) error {
	err := m.replica.Restore(from)
	c, _ := m.Current()
	m.host.sim.check.restored(m.host, c)
	return err
}
