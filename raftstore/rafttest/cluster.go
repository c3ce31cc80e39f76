// Package rafttest runs clusters of raftstore servers in memory, with cuts and
// crashes, for tests; it works inside testing/synctest. It is the real library
// on its in-memory transport and stores, never a model of it.
package rafttest

import (
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/supervisord/supervisord/raftstore"
)

// Cluster is a number of servers, by index.
type Cluster struct {
	t       testing.TB
	log     *slog.Logger
	servers []*server
	machine func(i int) raftstore.Machine
	cut     map[[2]int]bool
}

// server is one server's disk and network, which survive its crashes.
type server struct {
	id        string
	log       *raft.InmemStore
	snapshots *raft.InmemSnapshotStore
	transport *raft.InmemTransport
	store     *raftstore.Store // nil while crashed
}

// New starts n servers that are all voters of one cluster. The machines are
// made anew at each start of a server. Everything ends with the test's Close,
// which the caller defers inside its synctest bubble.
func New(t testing.TB, n int, machine func(i int) raftstore.Machine) *Cluster {
	c := &Cluster{t: t, log: slog.New(slog.NewTextHandler(io.Discard, nil)), machine: machine, cut: map[[2]int]bool{}}
	var all raft.Configuration
	for i := range n {
		id := fmt.Sprintf("s%d", i)
		c.servers = append(c.servers, &server{id: id, log: raft.NewInmemStore(), snapshots: raft.NewInmemSnapshotStore()})
		all.Servers = append(all.Servers, raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(id)})
	}
	for _, s := range c.servers {
		conf := raft.DefaultConfig()
		conf.LocalID = raft.ServerID(s.id)
		conf.Logger = hclog.NewNullLogger()
		_, trans := raft.NewInmemTransport(raft.ServerAddress(s.id))
		if err := raft.BootstrapCluster(conf, s.log, s.log, s.snapshots, trans, all); err != nil {
			t.Fatalf("bootstrap %s: %v", s.id, err)
		}
	}
	for i := range n {
		c.Restart(i)
	}
	return c
}

// Len is the number of servers, crashed ones too.
func (c *Cluster) Len() int { return len(c.servers) }

// Store is a running server; nil while it is crashed.
func (c *Cluster) Store(i int) *raftstore.Store { return c.servers[i].store }

// Restart starts a server from what its disk holds.
func (c *Cluster) Restart(i int) {
	c.t.Helper()
	s := c.servers[i]
	if s.store != nil {
		c.t.Fatalf("%s runs already", s.id)
	}
	_, s.transport = raft.NewInmemTransportWithTimeout(raft.ServerAddress(s.id), 200*time.Millisecond)
	c.connect()
	store, err := raftstore.Open(c.t.Context(), raftstore.Config{
		ID: s.id, Transport: s.transport, Logger: c.log,
		Stores: &raftstore.Stores{Log: s.log, Stable: s.log, Snapshots: s.snapshots},
	}, c.machine(i))
	if err != nil {
		c.t.Fatalf("open %s: %v", s.id, err)
	}
	s.store = store
}

// Crash ends a server; its disk stays as it is.
func (c *Cluster) Crash(i int) {
	c.t.Helper()
	s := c.servers[i]
	if s.store == nil {
		return
	}
	if err := s.store.Close(c.t.Context()); err != nil {
		c.t.Errorf("close %s: %v", s.id, err)
	}
	s.store = nil
	c.connect()
}

// Close ends all servers.
func (c *Cluster) Close() {
	for i := range c.servers {
		c.Crash(i)
	}
}

// Cut breaks the connection between two servers, both ways.
func (c *Cluster) Cut(a, b int) {
	c.cut[[2]int{min(a, b), max(a, b)}] = true
	c.connect()
}

// Isolate cuts a server off from all others.
func (c *Cluster) Isolate(i int) {
	for other := range c.servers {
		if other != i {
			c.Cut(i, other)
		}
	}
}

// Heal mends all cuts.
func (c *Cluster) Heal() {
	clear(c.cut)
	c.connect()
}

// connect makes the transports what the cuts and crashes say.
func (c *Cluster) connect() {
	for i, a := range c.servers {
		for j, b := range c.servers {
			if i == j || a.transport == nil || b.transport == nil {
				continue
			}
			if c.cut[[2]int{min(i, j), max(i, j)}] {
				a.transport.Disconnect(raft.ServerAddress(b.id))
			} else {
				a.transport.Connect(raft.ServerAddress(b.id), b.transport)
			}
		}
	}
}

// Leader waits until exactly one of the servers that can reach a quorum leads,
// and returns its index.
func (c *Cluster) Leader(within time.Duration) int {
	c.t.Helper()
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		for i, s := range c.servers {
			if s.store != nil && c.reaches(i) && s.store.Stats().IsLeader {
				return i
			}
		}
	}
	c.t.Fatalf("no leader within %s", within)
	return -1
}

// reaches says whether a server can talk to a majority.
func (c *Cluster) reaches(i int) bool {
	n := 0
	for j, s := range c.servers {
		if s.store != nil && (i == j || !c.cut[[2]int{min(i, j), max(i, j)}]) {
			n++
		}
	}
	return 2*n > len(c.servers)
}
