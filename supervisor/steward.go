package supervisor

import (
	"context"
	"sync"
	"time"

	"github.com/supervisord/supervisord/raftstore"
)

const (
	// forgetAfter is how long a host may be lost before the log's cluster goes
	// on without it; it enters again when it comes back.
	forgetAfter = 72 * time.Hour
	// standingWithin bounds the question where a server's log stands.
	standingWithin = time.Second
)

// steward is what the log needs to know of the servers to choose its voters.
func (n *node) steward() raftstore.Steward {
	return raftstore.Steward{
		Servers: func() map[string]raftstore.ServerInfo {
			c, _ := n.replica.Current()
			all := map[string]raftstore.ServerInfo{}
			for h := range c.Hosts.Values() {
				if h.Server == "" {
					continue
				}
				health := raftstore.Alive
				if h.IsLost() && n.replica.Now().Sub(h.Lost) >= forgetAfter {
					health = raftstore.Failed
				}
				all[h.Server] = raftstore.ServerInfo{Address: h.Peer, Health: health}
			}
			for d := range c.Denied.Values() {
				all[d.Server] = raftstore.ServerInfo{Health: raftstore.Left}
			}
			return all
		},
		Stats: n.standings,
	}
}

// standings asks servers where their logs stand; who does not answer is not in
// the result.
func (n *node) standings(ctx context.Context, ids []string) map[string]raftstore.ServerStats {
	c, _ := n.replica.Current()
	ctx, cancel := context.WithTimeout(ctx, standingWithin)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	all := make(map[string]raftstore.ServerStats, len(ids))
	for _, id := range ids {
		if id == n.self.Server {
			s := n.store.Stats()
			mu.Lock()
			all[id] = raftstore.ServerStats{LastTerm: s.LastTerm, LastIndex: s.LastIndex}
			mu.Unlock()
			continue
		}
		h, ok := c.HostOfServer(id)
		if !ok || h.Peer == "" {
			continue
		}
		wg.Go(func() {
			s, err := n.peers.Standing(ctx, h.Peer)
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			all[id] = raftstore.ServerStats{LastContact: s.LastContact, LastTerm: s.LastTerm, LastIndex: s.LastIndex}
		})
	}
	wg.Wait()
	return all
}
