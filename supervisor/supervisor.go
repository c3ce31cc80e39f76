package supervisor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/supervisord/supervisord/lbconfig/nginx"
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
	return s, s.assemble(ctx, replica)
}

func (s *Supervisor) openStore(ctx context.Context, r *replica) error {
	fresh, err := raftstore.HasState(s.options.StateDir)
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	fresh = !fresh
	s.store, err = raftstore.Open(ctx, raftstore.Config{Dir: s.options.StateDir, Logger: s.options.Log.With("part", "raft")}, r)
	if err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	if fresh {
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

func (s *Supervisor) assemble(ctx context.Context, r *replica) error {
	o := s.options
	balance, err := balancer(o, s.engine, r)
	if err != nil {
		return err
	}
	if s.sampler, err = sample.New(sample.Options{Source: s.engine}); err != nil {
		return fmt.Errorf("sampler: %w", err)
	}
	p := probe.New()
	s.node = newNode(parts{
		host: o.Host, address: o.Address, listen: o.Nginx.Listen, status: o.Nginx.Status,
		store: s.store, replica: r, engine: s.engine, balance: balance,
		prober: prober{p}, sampler: s.sampler, connections: sample.Connections, log: o.Log,
	})
	s.physician = &physician{
		replica: r, containers: s.node.agent.Containers, status: o.Nginx.Status,
		engine: s.engine.Ping, raft: s.raft,
		probe: func(ctx context.Context, c probe.Check) error {
			_, err := p.Probe(ctx, c)
			return err
		},
		machine: s.machine,
	}
	return nil
}
