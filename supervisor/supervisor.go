package supervisor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/supervisord/supervisord/raftstore"
	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/compose"
	"github.com/supervisord/supervisord/supervisor/engine"
	"github.com/supervisord/supervisord/supervisor/probe"
	"github.com/supervisord/supervisord/supervisor/sample"
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
	physician *physician
	listeners *listeners
	notify    *systemd.Notifier
	started   time.Time
}

// startWithin bounds how long the start waits for its own place in the
// cluster. One host alone leads within a second.
const startWithin = 30 * time.Second

// New opens the state, begins a cluster where there is none, and binds the
// API's addresses. Nothing runs yet and no container is touched. The caller
// must Close it.
func New(ctx context.Context, o Options) (s *Supervisor, err error) {
	if err := o.Validate(); err != nil {
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
	if err := s.openStore(ctx, replica); err != nil {
		return s, err
	}
	c, err := s.settle(ctx, replica)
	if err != nil {
		return s, err
	}
	if err := s.refuseNoSpec(ctx, c); err != nil {
		return s, err
	}
	if s.engine, err = engine.Dial(ctx, engine.Options{Host: o.Docker, Cluster: c.ID, Log: o.Log.With("part", "engine")}); err != nil {
		return s, fmt.Errorf("container engine: %w", err)
	}
	return s, s.assemble(replica)
}

func (s *Supervisor) openStore(ctx context.Context, r *replica) error {
	var err error
	s.store, err = raftstore.Open(ctx, raftstore.Config{Dir: s.options.StateDir, Logger: s.options.Log.With("part", "raft")}, r)
	if err != nil {
		return fmt.Errorf("state directory (--state-dir): %w", err)
	}
	if s.store.Fresh() {
		if err := s.store.Bootstrap(ctx); err != nil {
			return fmt.Errorf("begin a cluster: %w", err)
		}
	}
	return nil
}

// settle waits until this host has applied all that was ever committed, gives
// a new cluster its id, and makes the host known. Before that the agent must
// not look: to an empty state every container of ours would be a stranger's.
func (s *Supervisor) settle(ctx context.Context, r *replica) (state.Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	if err := s.store.WaitLeading(ctx); err != nil {
		return state.Cluster{}, fmt.Errorf("wait for the replicated state: %w", err)
	}
	c, _ := r.Current()
	host, err := s.self(ctx)
	if err != nil {
		return c, err
	}
	cmds := []state.Command{host}
	if c.ID == "" {
		cmds = append([]state.Command{state.Found{ID: strings.ToLower(rand.Text())[:12]}}, cmds...)
	}
	refused, err := proposer{s.store}.Propose(ctx, cmds...)
	if err != nil {
		return c, err
	}
	if err := errors.Join(refused...); err != nil {
		return c, err
	}
	c, _ = r.Current()
	return c, nil
}

// self is what the cluster should know of this machine.
func (s *Supervisor) self(ctx context.Context) (state.RegisterHost, error) {
	m, err := sample.Host(ctx, s.options.StateDir)
	if err != nil {
		return state.RegisterHost{}, fmt.Errorf("measure this host: %w", err)
	}
	return state.RegisterHost{
		Name: s.options.Host, Address: s.options.Address, Version: s.options.Version,
		CPUs: m.CPUs, Memory: int64(m.MemoryTotal),
	}, nil
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

func (s *Supervisor) assemble(r *replica) (err error) {
	o := s.options
	s.sampler, err = sample.New(sample.Options{Source: sample.SourceFunc(s.stream)})
	if err != nil {
		return fmt.Errorf("sampler: %w", err)
	}
	p := probe.New()
	s.node = newNode(parts{
		host: o.Host, address: o.Address, listen: o.Nginx.Listen, status: o.Nginx.Status,
		store: s.store, replica: r, engine: s.engine,
		balance: &balancer{options: o.Nginx, engine: s.engine, replica: r, log: o.Log.With("part", "nginx")},
		prober:  prober{p}, sampler: s.sampler, connections: sample.Connections, log: o.Log,
	})
	s.physician = &physician{
		replica: r, containers: s.node.agent.Containers, status: o.Nginx.Status,
		engine: s.engine.Ping, raft: s.raft, machine: newMeter(o.StateDir).measure,
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
	if st.IsLeader {
		leader = s.options.Host
	}
	return api.Raft{IsLeader: st.IsLeader, Leader: leader, Term: st.Term, Commit: st.Commit, Applied: st.Applied}
}

// Run works until the context ends, or until a part cannot go on; it returns
// why. What it runs in the engine and in nginx goes on running.
func (s *Supervisor) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	edits := make(chan edit)
	g.Go(func() error { return s.node.run(ctx, edits) })
	g.Go(func() error { return watchSpec(ctx, s.options, edits) })
	g.Go(func() error { return s.physician.run(ctx) })
	g.Go(func() error { return s.listeners.serve(ctx, backend{s}, s.options) })
	g.Go(func() error { return s.notify.Watchdog(ctx, s.alive) })
	g.Go(func() error { return s.announce(ctx) })
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

// alive says whether the loop makes progress.
func (s *Supervisor) alive() error {
	_, _, round := s.node.leader.latest()
	if round.IsZero() {
		return errors.New("no round has been done yet")
	}
	if age := time.Since(round); age > stuckAfter {
		return fmt.Errorf("the last round was %s ago", age.Round(time.Second))
	}
	return nil
}

// Close ends everything that New opened.
func (s *Supervisor) Close(ctx context.Context) error {
	errs := []error{s.listeners.close()}
	if s.sampler != nil {
		errs = append(errs, s.sampler.Close())
	}
	if s.store != nil {
		errs = append(errs, s.store.Close(ctx))
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
