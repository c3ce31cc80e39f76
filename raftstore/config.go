package raftstore

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"

	"github.com/supervisord/supervisord/raftstore/internal/raftlog"
)

// Entry is one committed entry of the log.
type Entry struct {
	Index uint64
	Term  uint64
	Data  []byte
}

// Machine is what the log drives. Its methods are called from one goroutine.
type Machine interface {
	// Apply carries an entry out and returns what its proposer is to get. It
	// must do the same on every server and at every replay: no clock, no
	// chance, no map order.
	Apply(Entry) any
	// Snapshot returns the state as it is now. It must be cheap; WriteTo runs
	// while later entries are applied, and must not see them.
	Snapshot() (io.WriterTo, error)
	// Restore replaces the state with what a snapshot's WriteTo wrote.
	Restore(io.Reader) error
}

// Config says where a server keeps its data and how it behaves.
type Config struct {
	// Dir holds the log, the snapshots and the server's id; only its owner can
	// read it. Not used where Stores are given.
	Dir string
	// ID is the server's name in the cluster. Empty: the one in Dir, made at
	// the first start.
	ID string
	// Timing is LAN where zero.
	Timing Timing
	// Transport reaches the other servers; nil for a cluster of one.
	Transport raft.Transport
	// Stores replace the files in Dir, for tests.
	Stores *Stores
	// SnapshotEvery is how many entries the log grows between snapshots, and
	// about as many are kept behind the last one. 4096 where zero.
	SnapshotEvery uint64
	Logger        *slog.Logger
}

// Stores are where a server keeps what must survive it.
type Stores struct {
	Log       raft.LogStore
	Stable    raft.StableStore
	Snapshots raft.SnapshotStore
}

// Timing is how fast servers miss each other. All servers of a cluster should
// have the same.
type Timing struct {
	// Heartbeat is how long a follower hears nothing before it stands for
	// election; at random up to twice that.
	Heartbeat time.Duration
	// Election is how long a candidate waits before it tries again.
	Election time.Duration
	// Lease is how long a leader that reaches no quorum goes on as one. At
	// most Heartbeat.
	Lease time.Duration
	// Commit is how long a leader waits before it tells followers of a commit
	// when there is nothing else to send.
	Commit time.Duration
}

// LAN fits servers within a few milliseconds of each other: a dead leader is
// replaced in about half a second.
func LAN() Timing {
	return Timing{
		Heartbeat: 250 * time.Millisecond,
		Election:  250 * time.Millisecond,
		// As long as followers wait: on a busy machine a leader may not be
		// scheduled for a while, and nobody else stands before that is over.
		Lease:  250 * time.Millisecond,
		Commit: 25 * time.Millisecond,
	}
}

// WAN fits servers in different cities: a dead leader is replaced in some
// seconds, and a slow link is not taken for a dead leader.
func WAN() Timing {
	return Timing{
		Heartbeat: 2 * time.Second,
		Election:  2 * time.Second,
		Lease:     time.Second,
		Commit:    50 * time.Millisecond,
	}
}

const (
	defaultSnapshotEvery = 4096
	snapshotCheck        = time.Minute
	snapshotsKept        = 2
	// enqueueWithin bounds the wait for a busy leader to take an entry.
	enqueueWithin = 5 * time.Second
)

func (c Config) validate() error {
	if c.Dir == "" && c.Stores == nil {
		return errors.New("raftstore: a directory is required")
	}
	if c.Stores != nil && c.ID == "" {
		return errors.New("raftstore: stores of one's own need an id")
	}
	if c.Logger == nil {
		return errors.New("raftstore: a logger is required")
	}
	return nil
}

func (c Config) raft(id string) (*raft.Config, error) {
	t := c.Timing
	if t == (Timing{}) {
		t = LAN()
	}
	every := c.SnapshotEvery
	if every == 0 {
		every = defaultSnapshotEvery
	}
	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(id)
	rc.HeartbeatTimeout = t.Heartbeat
	rc.ElectionTimeout = t.Election
	rc.LeaderLeaseTimeout = t.Lease
	rc.CommitTimeout = t.Commit
	rc.SnapshotThreshold = every
	rc.TrailingLogs = every
	rc.SnapshotInterval = snapshotCheck
	rc.Logger = raftlog.New(c.Logger)
	if err := raft.ValidateConfig(rc); err != nil {
		return nil, fmt.Errorf("raftstore: %w", err)
	}
	return rc, nil
}
