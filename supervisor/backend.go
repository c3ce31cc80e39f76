package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"time"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/raftstore/pki"
	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/engine"
	"github.com/supervisord/supervisord/supervisor/peer"
	"github.com/supervisord/supervisord/supervisor/state"
)

// backend is the daemon as the API sees it.
type backend struct {
	*Supervisor
	// base is the context of the daemon's run: what the API asks without a
	// context of its own ends with it.
	base context.Context
}

var _ api.Backend = backend{}

func (b backend) State() (state.Cluster, <-chan struct{}) { return b.node.replica.Current() }

func (b backend) Propose(ctx context.Context, cmds ...state.Command) ([]error, error) {
	return b.node.proposer.Propose(ctx, cmds...)
}

func (b backend) Health() []api.HealthReport { return b.physician.all() }

// askWithin bounds the wait for another host's part of an answer.
const askWithin = time.Second

func (b backend) Local() api.Local {
	round := b.node.round()
	raft := b.raft()
	if address := b.node.leaderAddress(); !raft.IsLeader && b.node.peers != nil && address != "" {
		// There is no caller's context here; the answer is bounded by its own.
		ctx, cancel := context.WithTimeout(b.base, askWithin)
		defer cancel()
		if theirs, err := b.node.peers.Round(ctx, address); err == nil {
			round = theirs
		}
	}
	verdicts := map[string]api.Verdict{}
	for name, v := range round.Verdicts {
		verdicts[name] = api.Verdict(v)
	}
	samples := round.Samples
	if samples == nil {
		samples = map[string]autoscale.Sample{}
	}
	// What is measured here needs no detour.
	maps.Copy(samples, b.node.observer.samples())
	return api.Local{
		Host: b.options.Host, Version: b.options.Version, StartedAt: b.started,
		Raft: raft, Decisions: round.Decisions, Pending: round.Pending, Verdicts: verdicts, LastRound: b.lastRound(),
		Samples: samples, Machine: b.physician.use(), Skew: round.Skew, Connected: b.node.connected(), Members: b.members(),
	}
}

// lastRound is when this host's loop last did its whole round.
func (b backend) lastRound() time.Time {
	_, _, round := b.node.leader.latest()
	if observed := b.node.observer.observed(); observed.After(round) {
		return observed
	}
	return round
}

func (b backend) members() []api.Member {
	members, err := b.store.Members(b.base)
	if err != nil {
		return nil
	}
	out := make([]api.Member, len(members))
	for n, m := range members {
		out[n] = api.Member{Server: m.ID, Address: m.Address, Voter: m.Voter}
	}
	return out
}

// elsewhere returns the host that an instance is on, where that is another
// one that can be asked.
func (b backend) elsewhere(instance string) (state.Host, bool) {
	c, _ := b.State()
	i, ok := c.Instances.Get(instance)
	if !ok || i.Host == b.options.Host || b.node.peers == nil {
		return state.Host{}, false
	}
	h, ok := c.Hosts.Get(i.Host)
	return h, ok && h.Peer != ""
}

func (b backend) Points(instance string, from, to time.Time) []api.Point {
	q := peer.PointsQuery{Instance: instance, From: from, To: to}
	points, err := desk{node: b.node}.Points(b.base, q)
	if h, ok := b.elsewhere(instance); ok {
		ctx, cancel := context.WithTimeout(b.base, askWithin)
		defer cancel()
		points, err = b.node.peers.Points(ctx, h.Peer, q)
	}
	if err != nil {
		b.options.Log.InfoContext(b.base, "the use of an instance cannot be had", "instance", instance, "err", err)
		return nil
	}
	out := make([]api.Point, len(points))
	for n, p := range points {
		out[n] = api.Point{At: p.At, CPU: p.CPU, Memory: p.Memory}
	}
	return out
}

func (b backend) Logs(ctx context.Context, q api.LogQuery, stdout, stderr io.Writer) error {
	to := peer.LogQuery{Instance: q.Instance, Follow: q.Follow, Since: q.Since, Tail: q.Tail, Timestamps: q.Timestamps}
	if h, ok := b.elsewhere(q.Instance); ok {
		return b.node.peers.Logs(ctx, h.Peer, to, stdout, stderr)
	}
	return b.logsHere(ctx, to, stdout, stderr)
}

// logsHere writes the log of an instance on this host.
func (s *Supervisor) logsHere(ctx context.Context, q peer.LogQuery, stdout, stderr io.Writer) error {
	c, _ := s.node.replica.Current()
	i, ok := c.Instances.Get(q.Instance)
	if !ok || i.Container == "" {
		return fmt.Errorf("instance %s has no container", q.Instance)
	}
	return s.engine.Logs(ctx, i.Container, engine.LogOptions{
		Follow: q.Follow, Since: q.Since, Tail: q.Tail, Timestamps: q.Timestamps,
	}, stdout, stderr)
}

func (b backend) NewToken(ctx context.Context, ttl time.Duration) (api.NewToken, error) {
	c, _ := b.State()
	if b.member == nil || c.Authority == (state.Authority{}) {
		return api.NewToken{}, api.ErrClosedCluster
	}
	print, err := pki.Fingerprint([]byte(c.Authority.Cert))
	if err != nil {
		return api.NewToken{}, err
	}
	token := pki.NewToken(print)
	expires := b.node.replica.Now().Add(ttl).UTC()
	refused, err := b.Propose(ctx, state.AddToken{ID: token.ID, Hash: token.Hash(), Expires: expires})
	if err = errors.Join(append(refused, err)...); err != nil {
		return api.NewToken{}, err
	}
	return api.NewToken{ID: token.ID, Token: token.String(), Address: b.member.membership.Advertise, Expires: expires}, nil
}
