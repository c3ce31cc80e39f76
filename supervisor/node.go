package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/supervisord/supervisord/lbconfig/accesslog"
	"github.com/supervisord/supervisord/raftstore"
	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/history"
	"github.com/supervisord/supervisord/supervisor/peer"
	"github.com/supervisord/supervisord/supervisor/state"
)

// store is the replicated log as a node uses it.
type store interface {
	log
	// WhileLeader runs f whenever this host leads; f's context ends with the
	// leadership, and f has returned before it is run again.
	WhileLeader(ctx context.Context, f func(context.Context) error) error
	Stats() raftstore.Stats
}

// parts are what a node is made of: the log, this host's copy of the state,
// the other hosts, and this host's engine, nginx and meters.
type parts struct {
	// self is what the cluster should know of this host.
	self    state.RegisterHost
	listen  []string
	status  string
	store   store
	replica *replica
	// peers are nil in a cluster of one that no host can join.
	peers   peers
	grace   time.Duration
	engine  agent.Engine
	balance agent.LoadBalancer
	prober  agent.Prober
	sampler sampler
	// access reads what nginx has seen since the last call, by address; nil where
	// nobody tells.
	access      func() (map[string]accesslog.Counts, error)
	connections func(address string) (int, error)
	// dial connects to an instance of another host; nil for TCP.
	dial func(ctx context.Context, address string) error
	file specFile
	// logs writes the log of an instance on this host.
	logs   func(ctx context.Context, q peer.LogQuery, stdout, stderr io.Writer) error
	images images
	// foreigners are what others run on this host; nil where nobody looks.
	foreigners foreigners
	// certs keeps certificates; nil where there are none, in simulations.
	certs *certKeeper
	// tasks are those with backups that this host does; nil where it does none.
	tasks func() []peer.TaskProgress
	log   *slog.Logger
}

// node is the part of one host in the cluster, without the edges that only a
// real machine has: sockets, signals, certificates. A simulation runs many of
// them.
type node struct {
	parts
	proposer proposer
	history  *history.Store
	agent    *agent.Agent
	observer *observer
	leader   *leader
	follower *follower
	// surveyor is nil where nobody looks what others run.
	surveyor *surveyor
	// reports has room for one: the newest that the leader has not got.
	reports chan peer.Report
	// settled is set once this host has applied all that was committed before
	// this life of the daemon.
	settled atomic.Bool
}

func newNode(p parts) *node {
	if p.access == nil {
		p.access = func() (map[string]accesslog.Counts, error) { return nil, nil }
	}
	n := &node{parts: p, history: history.New(), reports: make(chan peer.Report, 1)}
	local := proposer{log: p.store, replica: p.replica}
	n.proposer = local
	o := agent.Options{
		Host: p.self.Name, Address: p.self.Address, Listen: p.listen, Status: p.status,
		Engine: p.engine, Balance: p.balance, Prober: p.prober, Connections: p.connections,
		Replica: p.replica, Connected: n.connected, Now: p.replica.Now,
		Log: p.log.With("part", "agent"),
	}
	if p.peers != nil {
		n.proposer.leader, n.proposer.peers = n.leaderAddress, p.peers
		o.Ping = func(ctx context.Context, h state.Host) error { return p.peers.Ping(ctx, h.Peer) }
		o.Dial = p.dial
	}
	o.Report = n.proposer
	if p.certs != nil {
		p.certs.join(n)
		o.Certify = p.certs
	}
	n.agent = agent.New(o)
	n.leader = &leader{
		host: p.self.Name, replica: p.replica, peers: p.peers, grace: p.grace,
		// What another leader's rounds have found is not for this one to commit.
		report: local, collect: newCollector(p.replica.Now),
		sampled: make(chan struct{}, 1), log: p.log.With("part", "leader"),
	}
	n.leader.frames = n.leader.collect.framesOf
	n.observer = &observer{
		host: p.self.Name, replica: p.replica, containers: n.agent.Containers, sampler: p.sampler, access: p.access, suspect: n.agent.Suspect, history: n.history,
		tell: n.tell, framedAt: map[string]time.Time{}, log: p.log.With("part", "observer"),
	}
	n.follower = &follower{host: p.self.Name, replica: p.replica, report: n.proposer, file: p.file, ready: n.settled.Load, log: p.log.With("part", "follower")}
	if p.foreigners != nil {
		n.surveyor = &surveyor{
			host: p.self.Name, replica: p.replica, report: n.proposer, connected: n.connected, project: p.foreigners.Project,
			log: p.log.With("part", "surveyor"),
		}
	}
	return n
}

// run does a node's work until the context ends or a part of it cannot go on.
func (n *node) run(ctx context.Context, edits <-chan edit) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.replica.watch(ctx) })
	g.Go(func() error { return n.agent.Run(ctx) })
	g.Go(func() error { return n.observer.run(ctx) })
	g.Go(func() error { return n.deliver(ctx) })
	g.Go(func() error { return n.register(ctx) })
	g.Go(func() error { return n.follower.run(ctx, edits) })
	if n.surveyor != nil {
		g.Go(func() error { return n.surveyor.run(ctx) })
	}
	g.Go(func() error { return n.store.WhileLeader(ctx, n.leader.lead) })
	return g.Wait()
}

// connected says whether this host's copy of the state can be trusted to be
// the cluster's: it has caught up since the start, a leader is known, and what
// is known to be committed is here.
func (n *node) connected() bool {
	s := n.store.Stats()
	return n.settled.Load() && s.Leader != "" && s.Applied >= s.Commit
}

// leaderAddress is where the leader's daemon is reached; "" when none is
// known.
func (n *node) leaderAddress() string {
	s := n.store.Stats()
	if s.Leader == "" {
		return ""
	}
	c, _ := n.replica.Current()
	if h, ok := c.HostOfServer(s.Leader); ok && h.Peer != "" {
		return h.Peer
	}
	return s.LeaderAddress
}

// tell hands a report to the leader: to this host's own at once, to another's
// when the one before it is on its way.
func (n *node) tell(_ context.Context, r peer.Report) {
	if n.store.Stats().IsLeader {
		n.leader.heard(r)
		return
	}
	select {
	case <-n.reports:
	default:
	}
	n.reports <- r
}

// reportWithin bounds a report: the next one is newer.
const reportWithin = time.Second

// deliver sends the reports on.
func (n *node) deliver(ctx context.Context) error {
	failing := false
	for {
		var r peer.Report
		select {
		case <-ctx.Done():
			return ctx.Err()
		case r = <-n.reports:
		}
		if n.peers == nil {
			continue
		}
		err := n.deliverOne(ctx, r)
		if err != nil && !failing && ctx.Err() == nil {
			n.log.InfoContext(ctx, "the leader does not get this host's reports", "err", err)
		}
		failing = err != nil
	}
}

func (n *node) deliverOne(ctx context.Context, r peer.Report) error {
	address := n.leaderAddress()
	if address == "" {
		return errors.New("no leader is known")
	}
	ctx, cancel := context.WithTimeout(ctx, reportWithin)
	defer cancel()
	return n.peers.Report(ctx, address, r)
}

// registerAgain is how often a host looks whether the cluster knows it right.
const registerAgain = time.Second

// register makes this host known to the cluster at each start, and again when
// what is known of it is not true. Having applied its own entry, the host has
// applied all before it: until then, what it knows may be as old as its last
// snapshot, and it must not act on that.
func (n *node) register(ctx context.Context) error {
	failing := false
	for {
		c, changed := n.replica.Current()
		var again <-chan time.Time
		if h, _ := c.Hosts.Get(n.self.Name); !n.settled.Load() || !n.self.Describes(h) {
			err := n.registerOnce(ctx)
			if err != nil && !failing && ctx.Err() == nil {
				n.log.WarnContext(ctx, "the cluster does not take this host as it is, trying again", "err", err)
			}
			failing = err != nil
			again, changed = time.After(registerAgain), nil
			if err == nil {
				continue
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-again:
		}
	}
}

func (n *node) registerOnce(ctx context.Context) error {
	index, err := n.proposer.register(ctx, n.self)
	if err != nil {
		return fmt.Errorf("register: %w", err)
	}
	if err := n.replica.await(ctx, index); err != nil {
		return err
	}
	n.settled.Store(true)
	return nil
}
