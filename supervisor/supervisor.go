package supervisor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/supervisord/supervisord/raftstore"
	"github.com/supervisord/supervisord/raftstore/pki"
	"github.com/supervisord/supervisord/raftstore/wire"
	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/compose"
	"github.com/supervisord/supervisord/supervisor/engine"
	"github.com/supervisord/supervisord/supervisor/peer"
	"github.com/supervisord/supervisord/supervisor/probe"
	"github.com/supervisord/supervisord/supervisor/sample"
	"github.com/supervisord/supervisord/supervisor/seal"
	"github.com/supervisord/supervisord/supervisor/state"
	"github.com/supervisord/supervisord/systemd"
)

// Supervisor is the daemon of one host as a value: New opens everything that
// can fail, Run works until its context ends.
type Supervisor struct {
	options   Options
	node      *node
	store     *raftstore.Store
	engine    *engine.Engine
	sampler   *sample.Sampler
	access    *sample.AccessLog
	physician *physician
	certs     *certKeeper
	keeper    *keeper
	listeners *listeners
	// member and wire are nil in a cluster of one that no host can join.
	member  *member
	wire    *wire.Wire
	notify  *systemd.Notifier
	started time.Time
}

// startWithin bounds how long the start waits for its own place in a cluster
// that this host makes. One host alone leads within a second.
const startWithin = 30 * time.Second

// New opens the state, begins a cluster where there is none, and binds all
// addresses. Nothing runs yet and no container is touched. The caller must
// Close it.
func New(ctx context.Context, o Options) (s *Supervisor, err error) {
	m, err := readMembership(o.StateDir)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(o.complete(m), o.Validate()); err != nil {
		return nil, fmt.Errorf("options: %w", err)
	}
	s = &Supervisor{options: o, started: time.Now(), notify: systemd.FromEnv(o.Getenv)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close(context.WithoutCancel(ctx)))
			s = nil
		}
	}()
	if s.listeners, err = listen(o); err != nil {
		return s, err
	}
	replica := newReplica()
	door := &gate{ctx: context.WithoutCancel(ctx), replica: replica}
	if err := s.openWire(m, door); err != nil {
		return s, err
	}
	if err := s.openStore(ctx, m, replica); err != nil {
		return s, err
	}
	door.store.Store(s.store)
	cluster, err := s.cluster(ctx, m, replica)
	if err != nil {
		return s, err
	}
	if s.engine, err = engine.Dial(ctx, engine.Options{Host: o.Docker, Cluster: cluster, Obtain: s.obtain, Adopted: adoptedOn(replica, o.Host), Log: o.Log.With("part", "engine")}); err != nil {
		return s, fmt.Errorf("container engine: %w", err)
	}
	return s, s.assemble(ctx, m, replica)
}

// openWire binds the address for the other hosts, where there can be some.
func (s *Supervisor) openWire(m *membership, door *gate) error {
	if m == nil {
		return nil
	}
	identity, err := pki.LoadIdentity(identityPath(s.options.StateDir))
	if err != nil {
		return fmt.Errorf("this host's certificate: %w", err)
	}
	s.wire, err = wire.Listen(wire.Options{
		Listen: s.options.PeerListen, Advertise: m.Advertise, Identity: identity,
		Denied: door.denied,
		Log:    s.options.Log.With("part", "wire"),
	})
	if err != nil {
		return fmt.Errorf("address for the other hosts (--peer-listen): %w", err)
	}
	return nil
}

func (s *Supervisor) openStore(ctx context.Context, m *membership, r *replica) error {
	c := raftstore.Config{Dir: s.options.StateDir, Logger: s.options.Log.With("part", "raft")}
	if s.wire != nil {
		c.Transport = s.wire.Transport()
	}
	if s.options.WAN {
		c.Timing = raftstore.WAN()
	}
	var err error
	if s.store, err = raftstore.Open(ctx, c, r); err != nil {
		return fmt.Errorf("state directory (--state-dir): %w", err)
	}
	if s.store.Fresh() && m.first() {
		if err := s.store.Bootstrap(ctx); err != nil {
			return fmt.Errorf("begin a cluster: %w", err)
		}
	}
	return nil
}

// cluster returns the id of this host's cluster. Where this host makes it, it
// waits until it leads, because nothing of ours can be told from a stranger's
// before.
func (s *Supervisor) cluster(ctx context.Context, m *membership, r *replica) (string, error) {
	if m != nil && m.Cluster != "" {
		return m.Cluster, nil
	}
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	if err := s.store.WaitLeading(ctx); err != nil {
		return "", fmt.Errorf("wait for the replicated state: %w", err)
	}
	c, _ := r.Current()
	if err := s.refuseNoSpec(ctx, c); err != nil {
		return "", err
	}
	if c.ID == "" {
		found := state.Found{ID: strings.ToLower(rand.Text())[:12]}
		refused, err := proposer{log: s.store, replica: r}.Propose(ctx, found)
		if err = errors.Join(append(refused, err)...); err != nil {
			return "", err
		}
		c, _ = r.Current()
	}
	if m == nil {
		return c.ID, nil
	}
	m.Cluster = c.ID
	return c.ID, m.write(s.options.StateDir)
}

// self is what the cluster should know of this machine.
func (s *Supervisor) self(ctx context.Context, m *membership) (state.RegisterHost, error) {
	use, err := sample.Host(ctx, s.options.StateDir)
	if err != nil {
		return state.RegisterHost{}, fmt.Errorf("measure this host: %w", err)
	}
	h := state.RegisterHost{
		Name: s.options.Host, Address: s.options.Address, Version: s.options.Version, Server: s.store.ID(),
		CPUs: use.CPUs, Memory: int64(use.MemoryTotal), Labels: s.options.Labels, Format: state.Format, Surveys: true,
	}
	if m != nil {
		h.Peer = m.Advertise
	}
	return h, nil
}

// refuseNoSpec fails a first start without a usable file, where there is
// nothing to go on with. Later starts go on with the last good spec.
func (s *Supervisor) refuseNoSpec(ctx context.Context, c state.Cluster) error {
	if c.Spec.Revision > 0 {
		return nil
	}
	_, err := compose.Load(ctx, s.options.Config, compose.Options{Environ: s.options.Environ})
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("there is no compose file yet, write one there or name another with --config: %w", err)
	}
	return err
}

func (s *Supervisor) assemble(ctx context.Context, m *membership, r *replica) (err error) {
	o := s.options
	s.sampler, err = sample.New(sample.Options{Source: sample.SourceFunc(s.stream)})
	if err != nil {
		return fmt.Errorf("sampler: %w", err)
	}
	s.access = sample.NewAccessLog(o.Nginx.AccessLog)
	self, err := s.self(ctx, m)
	if err != nil {
		return err
	}
	p := probe.New()
	all := parts{
		self: self, listen: o.Nginx.Listen, status: o.Nginx.Status, grace: o.HostGrace,
		store: s.store, replica: r, engine: s.engine, logs: s.logsHere, images: s.engine, foreigners: s.engine,
		balance: &balancer{options: o.Nginx, engine: s.engine, replica: r, log: o.Log.With("part", "nginx")},
		prober:  prober{p}, sampler: s.sampler, access: s.access.Read, connections: sample.Connections,
		file: newSpecFile(o.Config, o.StateDir), log: o.Log,
	}
	s.certs = newCertKeeper(seal.New(o.StateDir), o.Nginx.Dir, o.Nginx.ListenTLS, s.listeners.challenge, o.Log.With("part", "certs"))
	all.certs = s.certs
	if s.wire != nil {
		all.peers = peer.NewClient(s.wire.Client())
	}
	all.tasks = s.tasksHere
	s.node = newNode(all)
	s.keeper = &keeper{
		host: o.Host, replica: r, report: s.node.proposer, engine: s.engine, settled: s.node.settled.Load,
		getenv: o.Getenv, notes: filepath.Join(o.StateDir, "tasks"), now: r.Now, log: o.Log.With("part", "backup"),
	}
	if s.wire != nil {
		s.member = &member{node: s.node, stateDir: o.StateDir, membership: *m, store: s.store, wire: s.wire}
	}
	s.physician = &physician{
		replica: r, containers: s.node.agent.Containers, status: o.Nginx.Status,
		now: r.Now, certProblems: s.certs.certProblems, engine: s.engine.Ping, raft: s.raft, machine: newMeter(o.StateDir).measure,
		probe: func(ctx context.Context, c probe.Check) error {
			_, err := p.Probe(ctx, c)
			return err
		},
	}
	return nil
}

// stream is the engine's own measurement, for containers whose control groups
// cannot be read.
func (s *Supervisor) stream(ctx context.Context, container string, f func(sample.Reading)) error {
	return s.engine.StatsStream(ctx, container, func(r engine.Stat) { f(sample.Reading(r)) })
}

// raft is this host's place in the cluster.
func (s *Supervisor) raft() api.Raft {
	st := s.store.Stats()
	leader := st.Leader
	c, _ := s.node.replica.Current()
	if h, ok := c.HostOfServer(leader); ok {
		leader = h.Name
	}
	return api.Raft{IsLeader: st.IsLeader, Leader: leader, Term: st.Term, Commit: st.Commit, Applied: st.Applied}
}

// Run works until the context ends, or until a part cannot go on; it returns
// why. What it runs in the engine and in nginx goes on running.
func (s *Supervisor) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	edits := make(chan edit)
	g.Go(func() error { return s.node.run(ctx, edits) })
	g.Go(func() error { return watchSpec(ctx, s.options, s.node.file, edits) })
	g.Go(func() error { return s.physician.run(ctx) })
	g.Go(func() error { return s.keeper.run(ctx) })
	g.Go(func() error { return s.listeners.serve(ctx, backend{s, ctx}, s.options) })
	g.Go(func() error { return s.certs.run(ctx) })
	g.Go(func() error { return s.notify.Watchdog(ctx, s.alive) })
	g.Go(func() error { return s.announce(ctx) })
	g.Go(func() error { return s.store.Watch(ctx) })
	g.Go(func() error {
		return (&janitor{replica: s.node.replica, remove: s.engine.RemoveImage, log: s.options.Log.With("part", "janitor")}).run(ctx)
	})
	if s.member != nil {
		g.Go(func() error { return s.member.run(ctx) })
		// The leadership goes before the rest ends, which may take a while.
		g.Go(func() error {
			<-ctx.Done()
			if err := handOver(context.WithoutCancel(ctx), s.store); err != nil {
				s.options.Log.WarnContext(ctx, "the others have to miss this host before they go on", "err", err)
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}

// announce tells systemd that the daemon is ready when the loop has done its
// first round, and that it stops when it does.
func (s *Supervisor) announce(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for s.alive() != nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	s.options.Log.InfoContext(ctx, "supervisord is ready", "host", s.options.Host, "api", s.listeners.addr(), "socket", s.options.Socket())
	if err := s.notify.Ready(); err != nil {
		s.options.Log.WarnContext(ctx, "cannot tell systemd", "err", err)
	}
	<-ctx.Done()
	if err := s.notify.Stopping(); err != nil {
		s.options.Log.WarnContext(ctx, "cannot tell systemd", "err", err)
	}
	return ctx.Err()
}

// stuckAfter is how old the last round may be before the loop counts as
// stuck: rounds come once a second at the least, and a commit may take a
// while on a busy disk.
const stuckAfter = 20 * time.Second

// alive says whether the loops make progress: the one of this host, and the
// one of the cluster while this host leads.
func (s *Supervisor) alive() error {
	observed := s.node.observer.observed()
	_, _, round := s.node.leader.latest()
	if round.IsZero() {
		return recent("look at this host", observed)
	}
	err := recent("round of planning", round)
	if !observed.IsZero() {
		err = errors.Join(err, recent("look at this host", observed))
	}
	return err
}

func recent(what string, at time.Time) error {
	if at.IsZero() {
		return fmt.Errorf("no %s has been done yet", what)
	}
	if age := time.Since(at); age > stuckAfter {
		return fmt.Errorf("the last %s was %s ago", what, age.Round(time.Second))
	}
	return nil
}

// Close ends everything that New opened.
func (s *Supervisor) Close(ctx context.Context) error {
	errs := []error{s.listeners.close()}
	if s.certs != nil {
		errs = append(errs, s.certs.close())
	}
	if s.sampler != nil {
		errs = append(errs, s.sampler.Close())
	}
	if s.access != nil {
		errs = append(errs, s.access.Close())
	}
	if s.store != nil {
		errs = append(errs, s.store.Close(ctx))
	}
	if s.wire != nil {
		errs = append(errs, s.wire.Close())
	}
	if s.engine != nil {
		errs = append(errs, s.engine.Close())
	}
	return errors.Join(errs...)
}

// Run opens a Supervisor and works until the context ends.
func Run(ctx context.Context, o Options) error {
	s, err := New(ctx, o)
	if err != nil {
		return err
	}
	err = s.Run(ctx)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, s.Close(context.WithoutCancel(ctx)))
}
