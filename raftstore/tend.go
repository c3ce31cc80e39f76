package raftstore

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	autopilot "github.com/hashicorp/raft-autopilot"

	"github.com/supervisord/supervisord/raftstore/internal/raftlog"
)

// Health is what the application knows of a server.
type Health int

// The healths. A server that merely does not answer is Alive; how its log
// stands tells the rest.
const (
	// Alive: it belongs to the cluster.
	Alive Health = iota
	// Failed: it is given up, and may be removed.
	Failed
	// Left: it was removed by its operator.
	Left
)

// ServerInfo is what the application knows of a server.
type ServerInfo struct {
	Address string
	Health  Health
}

// ServerStats is where a server's log stands, as it says itself.
type ServerStats struct {
	// LastContact is how long ago it heard of the leader.
	LastContact time.Duration
	LastTerm    uint64
	LastIndex   uint64
}

// Steward is what Tend needs to know of the servers.
type Steward struct {
	// Servers are those that the application knows, by id, those that have
	// left too.
	Servers func() map[string]ServerInfo
	// Stats asks servers where their logs stand; who does not answer in time
	// is not in the result.
	Stats func(ctx context.Context, ids []string) map[string]ServerStats
	// Stable is how long a server must be well before it becomes a voter, and
	// not well before it is one no longer. 5 s where zero.
	Stable time.Duration
	// MaxVoters is an odd number; 5 where zero.
	MaxVoters int
}

const (
	defaultStable = 5 * time.Second
	defaultVoters = 5
	// maxBehind is how many entries a server may lack and still be well.
	maxBehind = 1000
	// silent is, to autopilot, the last contact of a server that has had none.
	silent = -1
)

// Tend chooses the voters while this server leads: an odd number of those that
// are well, see the package's voting; and takes those out that have left or
// are given up, never so that a quorum is lost. It does it with
// hashicorp/raft-autopilot, and returns when the context ends.
func (s *Store) Tend(ctx context.Context, w Steward) error {
	if w.Stable == 0 {
		w.Stable = defaultStable
	}
	if w.MaxVoters == 0 {
		w.MaxVoters = defaultVoters
	}
	return s.WhileLeader(ctx, func(ctx context.Context) error {
		t := &tender{store: s, Steward: w, ctx: ctx}
		pilot := autopilot.New(guarded{s.raft, s}, t,
			autopilot.WithPromoter(promoter{t}),
			autopilot.WithUpdateInterval(w.Stable/5),
			autopilot.WithReconcileInterval(w.Stable/2),
			autopilot.WithLogger(raftlog.New(s.log)))
		pilot.Start(ctx)
		t.dismiss(ctx)
		<-pilot.Stop()
		t.wg.Wait()
		return ctx.Err()
	})
}

// tender is the application to autopilot.
type tender struct {
	Steward
	store *Store
	// ctx is that of the leadership, for what autopilot asks without one.
	ctx context.Context
	wg  sync.WaitGroup

	mu    sync.Mutex
	state []candidate
}

// AutopilotConfig implements autopilot.ApplicationIntegration.
func (t *tender) AutopilotConfig() *autopilot.Config {
	return &autopilot.Config{
		CleanupDeadServers: true, LastContactThreshold: t.Stable / 2, MaxTrailingLogs: maxBehind,
		ServerStabilizationTime: t.Stable,
	}
}

// KnownServers implements autopilot.ApplicationIntegration.
func (t *tender) KnownServers() map[raft.ServerID]*autopilot.Server {
	all := map[raft.ServerID]*autopilot.Server{}
	for id, k := range t.Servers() {
		status := map[Health]autopilot.NodeStatus{Alive: autopilot.NodeAlive, Failed: autopilot.NodeFailed, Left: autopilot.NodeLeft}[k.Health]
		all[raft.ServerID(id)] = &autopilot.Server{
			ID: raft.ServerID(id), Name: id, Address: raft.ServerAddress(k.Address), NodeStatus: status,
			NodeType: autopilot.NodeVoter, IsLeader: id == t.store.id, RaftVersion: 3,
		}
	}
	return all
}

// FetchServerStats implements autopilot.ApplicationIntegration.
func (t *tender) FetchServerStats(ctx context.Context, servers map[raft.ServerID]*autopilot.Server) map[raft.ServerID]*autopilot.ServerStats {
	var ids []string
	for id := range servers {
		ids = append(ids, string(id))
	}
	all := map[raft.ServerID]*autopilot.ServerStats{}
	for _, id := range ids {
		// Who does not answer is not well. Left out, it would be to autopilot
		// what it was when it last answered.
		all[raft.ServerID(id)] = &autopilot.ServerStats{LastContact: silent}
	}
	for id, k := range t.Stats(ctx, ids) {
		all[raft.ServerID(id)] = &autopilot.ServerStats{LastContact: k.LastContact, LastTerm: k.LastTerm, LastIndex: k.LastIndex}
	}
	return all
}

// NotifyState implements autopilot.ApplicationIntegration.
func (t *tender) NotifyState(s *autopilot.State) {
	all := candidates(s, time.Now(), t.Stable)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state = all
}

// RemoveFailedServer implements autopilot.ApplicationIntegration. It must not
// wait.
func (t *tender) RemoveFailedServer(k *autopilot.Server) {
	t.wg.Go(func() {
		ctx, cancel := context.WithTimeout(t.ctx, changeWithin)
		defer cancel()
		t.remove(ctx, string(k.ID))
	})
}

// candidates are the servers that autopilot knows.
func candidates(s *autopilot.State, now time.Time, stable time.Duration) []candidate {
	var all []candidate
	for id, k := range s.Servers {
		since := now.Sub(k.Health.StableSince)
		all = append(all, candidate{
			id: string(id), voter: k.HasVotingRights(), leader: k.State == autopilot.RaftLeader || id == s.Leader,
			well: k.Health.Healthy, stable: k.Health.Healthy && since >= stable, lost: !k.Health.Healthy && since >= stable,
			left: k.Server.NodeStatus == autopilot.NodeLeft,
		})
	}
	return all
}

func (t *tender) remove(ctx context.Context, id string) {
	err := t.store.Remove(ctx, id)
	if err != nil && ctx.Err() == nil && !errors.Is(err, ErrClosed) {
		t.store.log.WarnContext(ctx, "cannot remove a server from the log's cluster, trying again", "server", id, "err", err)
	}
}

// dismiss takes out the servers that their operator has removed, until the
// context ends.
func (t *tender) dismiss(ctx context.Context) {
	tick := time.NewTicker(t.Stable / 5)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		members, err := t.store.Members(ctx)
		if err != nil {
			continue
		}
		known := t.Servers()
		t.mu.Lock()
		state := t.state
		t.mu.Unlock()
		for _, m := range members {
			if known[m.ID].Health == Left && m.ID != t.store.id && (!m.Voter || removable(state, m.ID)) {
				t.remove(ctx, m.ID)
			}
		}
	}
}

// promoter is autopilot's way to ask who should vote.
type promoter struct{ *tender }

// GetServerExt implements autopilot.Promoter.
func (promoter) GetServerExt(*autopilot.Config, *autopilot.ServerState) any { return nil }

// GetStateExt implements autopilot.Promoter.
func (promoter) GetStateExt(*autopilot.Config, *autopilot.State) any { return nil }

// GetNodeTypes implements autopilot.Promoter: any server may become a voter.
func (promoter) GetNodeTypes(_ *autopilot.Config, s *autopilot.State) map[raft.ServerID]autopilot.NodeType {
	all := map[raft.ServerID]autopilot.NodeType{}
	for id := range s.Servers {
		all[id] = autopilot.NodeVoter
	}
	return all
}

// IsPotentialVoter implements autopilot.Promoter.
func (promoter) IsPotentialVoter(k autopilot.NodeType) bool { return k == autopilot.NodeVoter }

// FilterFailedServerRemovals implements autopilot.Promoter. A server that the
// application does not know has just come and is not registered yet, or is
// none of its business: it stays.
func (promoter) FilterFailedServerRemovals(_ *autopilot.Config, _ *autopilot.State, f *autopilot.FailedServers) *autopilot.FailedServers {
	keep := *f
	keep.StaleNonVoters, keep.StaleVoters = nil, nil
	return &keep
}

// CalculatePromotionsAndDemotions implements autopilot.Promoter.
func (p promoter) CalculatePromotionsAndDemotions(_ *autopilot.Config, s *autopilot.State) autopilot.RaftChanges {
	var changes autopilot.RaftChanges
	promote, demote := voting(candidates(s, time.Now(), p.Stable), p.MaxVoters)
	for _, id := range promote {
		changes.Promotions = append(changes.Promotions, raft.ServerID(id))
	}
	for _, id := range demote {
		changes.Demotions = append(changes.Demotions, raft.ServerID(id))
	}
	return changes
}

// guarded is the library as autopilot sees it. Its futures are waited for by
// Close as the Store's own are: once the library is shut down it may forget
// some.
type guarded struct {
	*raft.Raft
	store *Store
}

func (g guarded) ask(f func() raft.IndexFuture) raft.IndexFuture {
	a := &answered{done: make(chan struct{})}
	if !g.store.begin() {
		a.err = ErrClosed
		close(a.done)
		return a
	}
	future := f()
	go func() {
		defer g.store.answers.Done()
		if a.err = future.Error(); a.err == nil {
			a.index = future.Index()
		}
		close(a.done)
	}()
	return a
}

// answered is a future that any number may wait for; the library's can be
// waited for by one alone.
type answered struct {
	done  chan struct{}
	err   error
	index uint64
}

// Error implements raft.Future.
func (a *answered) Error() error { <-a.done; return a.err }

// Index implements raft.IndexFuture.
func (a *answered) Index() uint64 { <-a.done; return a.index }

// AddNonvoter implements autopilot.Raft.
func (g guarded) AddNonvoter(id raft.ServerID, a raft.ServerAddress, prev uint64, within time.Duration) raft.IndexFuture {
	return g.ask(func() raft.IndexFuture { return g.Raft.AddNonvoter(id, a, prev, within) })
}

// AddVoter implements autopilot.Raft.
func (g guarded) AddVoter(id raft.ServerID, a raft.ServerAddress, prev uint64, within time.Duration) raft.IndexFuture {
	return g.ask(func() raft.IndexFuture { return g.Raft.AddVoter(id, a, prev, within) })
}

// DemoteVoter implements autopilot.Raft.
func (g guarded) DemoteVoter(id raft.ServerID, prev uint64, within time.Duration) raft.IndexFuture {
	return g.ask(func() raft.IndexFuture { return g.Raft.DemoteVoter(id, prev, within) })
}

// RemoveServer implements autopilot.Raft.
func (g guarded) RemoveServer(id raft.ServerID, prev uint64, within time.Duration) raft.IndexFuture {
	return g.ask(func() raft.IndexFuture { return g.Raft.RemoveServer(id, prev, within) })
}
