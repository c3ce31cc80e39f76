package supervisor

import (
	"context"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/history"
)

// store is the replicated log as a node uses it.
type store interface {
	log
	// WhileLeader runs f whenever this host leads; f's context ends with the
	// leadership, and f has returned before it is run again.
	WhileLeader(ctx context.Context, f func(context.Context) error) error
}

// parts are what a node is made of: the log, this host's copy of the state,
// and this host's engine, nginx and meters.
type parts struct {
	host        string
	address     string
	listen      []string
	status      string
	store       store
	replica     *replica
	engine      agent.Engine
	balance     agent.LoadBalancer
	prober      agent.Prober
	sampler     sampler
	connections func(address string) (int, error)
	log         *slog.Logger
}

// node is the part of one host in the cluster, without the edges that only a
// real machine has: files, sockets, signals. A simulation runs many of them.
type node struct {
	parts
	proposer proposer
	history  *history.Store
	agent    *agent.Agent
	observer *observer
	leader   *leader
	follower *follower
}

func newNode(p parts) *node {
	n := &node{parts: p, proposer: proposer{p.store}, history: history.New()}
	n.agent = agent.New(agent.Options{
		Host: p.host, Address: p.address, Listen: p.listen, Status: p.status,
		Engine: p.engine, Balance: p.balance, Prober: p.prober, Connections: p.connections,
		Replica: p.replica, Report: n.proposer,
		Log: p.log.With("part", "agent"),
	})
	n.observer = newObserver(p.replica, n.agent.Containers, p.sampler, n.history, p.log.With("part", "observer"))
	n.leader = &leader{
		replica: p.replica, report: n.proposer, frames: n.history.Frames,
		sampled: n.observer.sampled, log: p.log.With("part", "leader"),
	}
	n.follower = &follower{host: p.host, replica: p.replica, report: n.proposer, log: p.log.With("part", "follower")}
	return n
}

// run does a node's work until the context ends or a part of it cannot go on.
func (n *node) run(ctx context.Context, edits <-chan edit) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.replica.watch(ctx) })
	g.Go(func() error { return n.agent.Run(ctx) })
	g.Go(func() error { return n.observer.run(ctx) })
	g.Go(func() error { return n.follower.run(ctx, edits) })
	g.Go(func() error { return n.store.WhileLeader(ctx, n.leader.lead) })
	return g.Wait()
}
