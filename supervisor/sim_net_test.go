package supervisor

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/supervisord/supervisord/supervisor/peer"
	"github.com/supervisord/supervisord/supervisor/state"
)

// simNet is what connects the hosts: the log's transports and the calls
// between daemons. A cut is one way, from a host to another.
type simNet struct {
	sim *sim

	mu  sync.Mutex
	cut map[[2]string]bool
	// since is when a host lost the majority.
	since map[*simHost]time.Time
}

func newSimNet(s *sim) *simNet {
	return &simNet{sim: s, cut: map[[2]string]bool{}, since: map[*simHost]time.Time{}}
}

// alone is for how long a host has been without a majority; 0 where it has
// one.
func (n *simNet) alone(h *simHost) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	if at := n.since[h]; !at.IsZero() {
		return time.Since(at)
	}
	return 0
}

// count notes who has a majority.
func (n *simNet) count() {
	for _, h := range n.sim.hosts {
		has := n.majority(h)
		n.mu.Lock()
		if has {
			delete(n.since, h)
		} else if n.since[h].IsZero() {
			n.since[h] = time.Now()
		}
		n.mu.Unlock()
	}
}

// set cuts or mends a way.
func (n *simNet) set(from, to *simHost, cut bool) {
	n.mu.Lock()
	n.cut[[2]string{from.name, to.name}] = cut
	n.mu.Unlock()
	n.connect()
}

func (n *simNet) broken(from, to *simHost) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cut[[2]string{from.name, to.name}]
}

// isolate cuts a host off from all others, both ways, or mends that.
func (n *simNet) isolate(h *simHost, cut bool) {
	for _, other := range n.sim.hosts {
		if other != h {
			n.set(h, other, cut)
			n.set(other, h, cut)
		}
	}
}

func (n *simNet) heal() {
	n.mu.Lock()
	clear(n.cut)
	n.mu.Unlock()
	n.connect()
}

// connect makes the log's transports what the cuts and crashes say.
func (n *simNet) connect() {
	n.count()
	for _, a := range n.sim.hosts {
		for _, b := range n.sim.hosts {
			from, to := a.transport(), b.transport()
			if a == b || from == nil || to == nil {
				continue
			}
			if n.broken(a, b) || n.broken(b, a) {
				// The library's in-memory pipes answer on the way they came,
				// so half a cut is a whole one to the log.
				from.Disconnect(to.LocalAddr())
			} else {
				from.Connect(to.LocalAddr(), to)
			}
		}
	}
}

// majority says whether a host can talk to more than half of all.
func (n *simNet) majority(h *simHost) bool {
	with := 0
	for _, other := range n.sim.hosts {
		if other == h || other.process.Load() != nil && !n.broken(h, other) && !n.broken(other, h) {
			with++
		}
	}
	return 2*with > len(n.sim.hosts)
}

// simPeers are the other hosts as one host reaches them.
type simPeers struct {
	net  *simNet
	from *simHost
}

var _ peers = simPeers{}

func dialError(address string, err error) error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("%s: %w", address, err)}
}

// to is the daemon at an address, after the time that a way takes.
func (p simPeers) to(ctx context.Context, address string) (desk, *simHost, error) {
	s := p.net.sim
	for _, h := range s.hosts {
		if h.peer() != address {
			continue
		}
		if p.net.broken(p.from, h) {
			select {
			case <-ctx.Done():
				return desk{}, nil, dialError(address, ctx.Err())
			case <-time.After(time.Second):
				return desk{}, nil, dialError(address, os.ErrDeadlineExceeded)
			}
		}
		time.Sleep(s.dice.Between("call/"+p.from.name, 100*time.Microsecond, 2*time.Millisecond))
		process := h.process.Load()
		if process == nil {
			return desk{}, nil, dialError(address, syscall.ECONNREFUSED)
		}
		return desk{node: process.node, members: process.store}, h, nil
	}
	return desk{}, nil, dialError(address, syscall.EHOSTUNREACH)
}

// back says whether an answer comes home.
func (p simPeers) back(ctx context.Context, from *simHost) error {
	if p.net.broken(from, p.from) {
		<-ctx.Done()
		return ctx.Err()
	}
	if from.faults.calls.Load() && p.net.sim.dice.Chance("answer/"+p.from.name, 0.02) {
		return fmt.Errorf("read: %w", syscall.ECONNRESET)
	}
	return ctx.Err()
}

func simCall[T any](ctx context.Context, p simPeers, address string, f func(desk) (T, error)) (answer T, err error) {
	d, h, err := p.to(ctx, address)
	if err != nil {
		return answer, err
	}
	answer, err = f(d)
	if lost := p.back(ctx, h); lost != nil {
		var none T
		return none, lost
	}
	return answer, err
}

func (p simPeers) Propose(ctx context.Context, address string, proposal []byte) (peer.Receipt, error) {
	return simCall(ctx, p, address, func(d desk) (peer.Receipt, error) { return d.Propose(ctx, proposal) })
}

func (p simPeers) Report(ctx context.Context, address string, r peer.Report) error {
	_, err := simCall(ctx, p, address, func(d desk) (int, error) { return 0, d.Report(ctx, r) })
	return err
}

func (p simPeers) Recall(ctx context.Context, address string, span time.Duration) (peer.Memory, error) {
	return simCall(ctx, p, address, func(d desk) (peer.Memory, error) { return d.Recall(ctx, span) })
}

func (p simPeers) Round(ctx context.Context, address string) (peer.Round, error) {
	return simCall(ctx, p, address, func(d desk) (peer.Round, error) { return d.Round(ctx) })
}

func (p simPeers) Standing(ctx context.Context, address string) (peer.Standing, error) {
	return simCall(ctx, p, address, func(d desk) (peer.Standing, error) { return d.Standing(ctx) })
}

func (p simPeers) Enter(ctx context.Context, address string, e peer.Entry) error {
	_, err := simCall(ctx, p, address, func(d desk) (int, error) { return 0, d.Enter(ctx, e) })
	return err
}

func (p simPeers) Points(ctx context.Context, address string, q peer.PointsQuery) ([]peer.Point, error) {
	return simCall(ctx, p, address, func(d desk) ([]peer.Point, error) { return d.Points(ctx, q) })
}

func (p simPeers) Tasks(ctx context.Context, address string) ([]peer.TaskProgress, error) {
	return simCall(ctx, p, address, func(d desk) ([]peer.TaskProgress, error) { return d.Tasks(ctx) })
}

func (p simPeers) Fetch(context.Context, string, string) error {
	return fmt.Errorf("fetch: %w", os.ErrInvalid)
}

func (p simPeers) Image(context.Context, string, string, io.Writer) error {
	return fmt.Errorf("image: %w", os.ErrInvalid)
}

func (p simPeers) Candidates(context.Context, string, map[string]string) ([]state.Candidate, error) {
	return nil, fmt.Errorf("candidates: %w", os.ErrInvalid)
}

func (p simPeers) Key(context.Context, string, string) ([]byte, error) {
	return nil, fmt.Errorf("key: %w", os.ErrInvalid)
}

func (p simPeers) Rehearse(context.Context, string, []string) (peer.Rehearsal, error) {
	return nil, fmt.Errorf("rehearse: %w", os.ErrInvalid)
}

func (p simPeers) Logs(context.Context, string, peer.LogQuery, io.Writer, io.Writer) error {
	return fmt.Errorf("logs: %w", os.ErrInvalid)
}

func (p simPeers) Ping(ctx context.Context, address string) error {
	_, err := simCall(ctx, p, address, func(desk) (int, error) { return 0, nil })
	return err
}

// bootstrap makes all hosts the first voters of one cluster, on their disks.
func (s *sim) bootstrap() {
	var all raft.Configuration
	for n, h := range s.hosts {
		suffrage := raft.Voter
		if n >= mostVoters(len(s.hosts)) {
			suffrage = raft.Nonvoter
		}
		all.Servers = append(all.Servers, raft.Server{ID: raft.ServerID(h.name), Address: raft.ServerAddress(h.peer()), Suffrage: suffrage})
	}
	for _, h := range s.hosts {
		conf := raft.DefaultConfig()
		conf.LocalID = raft.ServerID(h.name)
		conf.Logger = hclog.NewNullLogger()
		_, transport := raft.NewInmemTransport(raft.ServerAddress(h.peer()))
		if err := raft.BootstrapCluster(conf, h.disk.Log, h.disk.Stable, h.disk.Snapshots, transport, all); err != nil {
			s.violated("5 restart: cannot begin the cluster on %s: %v", h.name, err)
		}
	}
}

// mostVoters is the odd number of voters that so many hosts have.
func mostVoters(hosts int) int { return min(5, hosts-1+hosts%2) }
