package raftstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Store is one server of a cluster. It is safe for concurrent use.
type Store struct {
	id        string
	log       *slog.Logger
	address   raft.ServerAddress
	raft      *raft.Raft
	conf      *raft.Config
	stores    Stores
	transport raft.Transport
	directory *directory // nil with stores of the caller's
	fresh     bool
	// waits are the goroutines that lead.
	waits sync.WaitGroup

	// answers are the goroutines that wait for the library's answers; there
	// are no new ones once closing is set.
	answers sync.WaitGroup
	mu      sync.Mutex
	closing bool
}

// Open reads what the server knew when it ended and starts it: the Machine is
// restored from the newest snapshot, and as much of the log as is known to be
// committed is applied once the server leads or hears of a leader. A server
// that is in no cluster yet waits for Bootstrap. The caller must Close it.
func Open(ctx context.Context, c Config, m Machine) (*Store, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	s := &Store{id: c.ID, transport: c.Transport, log: c.Logger}
	rc, err := c.raft("unknown")
	if err != nil {
		return nil, err
	}
	if c.Stores != nil {
		s.stores = *c.Stores
	} else {
		if s.directory, err = openDirectory(c, rc); err != nil {
			return nil, err
		}
		s.stores, s.id = s.directory.Stores, s.directory.id
	}
	if err := s.start(c, m); err != nil {
		return nil, errors.Join(err, s.closeDirectory())
	}
	if err := ctx.Err(); err != nil {
		return nil, errors.Join(err, s.Close(ctx))
	}
	return s, nil
}

func (s *Store) start(c Config, m Machine) error {
	rc, err := c.raft(s.id)
	if err != nil {
		return err
	}
	s.conf = rc
	if s.transport == nil {
		_, s.transport = raft.NewInmemTransport(raft.ServerAddress(s.id))
	}
	s.address = s.transport.LocalAddr()
	has, err := raft.HasExistingState(s.stores.Log, s.stores.Stable, s.stores.Snapshots)
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	s.fresh = !has
	s.raft, err = raft.NewRaft(rc, fsm{m}, s.stores.Log, s.stores.Stable, s.stores.Snapshots, s.transport)
	if err != nil {
		return fmt.Errorf("start the log: %w", err)
	}
	return nil
}

// ID is this server's name in the cluster.
func (s *Store) ID() string { return s.id }

// Fresh says whether the server was in no cluster when it was opened.
func (s *Store) Fresh() bool { return s.fresh }

// Bootstrap begins a cluster of this one server. ErrHasState where there is
// one already.
func (s *Store) Bootstrap(ctx context.Context) error {
	if !s.fresh {
		return ErrHasState
	}
	err := s.await(ctx, func() raft.Future {
		return s.raft.BootstrapCluster(raft.Configuration{Servers: []raft.Server{
			{ID: raft.ServerID(s.id), Address: s.address},
		}})
	})
	if errors.Is(err, raft.ErrCantBootstrap) {
		return fmt.Errorf("%w: %w", ErrHasState, err)
	}
	return err
}

// Propose commits an entry and returns what the Machine made of it, and where
// it stands in the log. Where the context ends first the outcome is unknown.
func (s *Store) Propose(ctx context.Context, data []byte) (result any, index uint64, err error) {
	var f raft.ApplyFuture
	if err := s.await(ctx, func() raft.Future {
		f = s.raft.Apply(data, enqueueWithin)
		return f
	}); err != nil {
		return nil, 0, fmt.Errorf("propose: %w", err)
	}
	return f.Response(), f.Index(), nil
}

// Barrier returns when the Machine has applied all that was committed before
// the call; a read after it is linearizable. Only the leader can tell.
func (s *Store) Barrier(ctx context.Context) error {
	if err := s.await(ctx, func() raft.Future { return s.raft.Barrier(enqueueWithin) }); err != nil {
		return fmt.Errorf("barrier: %w", err)
	}
	return nil
}

// Snapshot writes a snapshot now. It is no error that there is nothing new.
func (s *Store) Snapshot(ctx context.Context) error {
	err := s.await(ctx, func() raft.Future { return s.raft.Snapshot() })
	if err == nil || errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil
	}
	return fmt.Errorf("snapshot: %w", err)
}

// await asks the library and waits for its answer, or for the context. While
// it runs the library answers each future by itself, at the latest when
// leadership ends; once it is shut down it may forget some. So Close lets no
// new ones begin, and waits for the answers before it shuts the library down.
func (s *Store) await(ctx context.Context, ask func() raft.Future) error {
	if !s.begin() {
		return ErrClosed
	}
	f := ask()
	answer := make(chan error, 1)
	go func() {
		defer s.answers.Done()
		answer <- f.Error()
	}()
	select {
	case err := <-answer:
		return s.translate(err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// begin counts an answer that will be waited for; false once the store closes.
func (s *Store) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.answers.Add(1)
	return true
}

// Stats is where a server stands.
type Stats struct {
	IsLeader bool
	// Leader is the id of the server that leads, "" when none is known.
	Leader string
	// LeaderAddress is where that server is reached.
	LeaderAddress string
	Term          uint64
	// Commit is the last index known to be committed, Applied the last that
	// the Machine has applied.
	Commit  uint64
	Applied uint64
	// LastIndex and LastTerm are of the newest entry that this server has.
	LastIndex uint64
	LastTerm  uint64
	// LastContact is how long ago a follower heard of its leader; 0 on the
	// leader itself, and negative where it never has.
	LastContact time.Duration
}

// Stats tells where this server stands.
func (s *Store) Stats() Stats {
	address, leader := s.raft.LeaderWithID()
	st := Stats{
		IsLeader:      s.raft.State() == raft.Leader,
		Leader:        string(leader),
		LeaderAddress: string(address),
		Term:          s.raft.CurrentTerm(),
		Commit:        s.raft.CommitIndex(),
		Applied:       s.raft.AppliedIndex(),
		LastIndex:     s.raft.LastIndex(),
	}
	// The library keeps the term of the last entry to itself but for this.
	st.LastTerm, _ = strconv.ParseUint(s.raft.Stats()["last_log_term"], 10, 64)
	if !st.IsLeader {
		st.LastContact = -1
		if at := s.raft.LastContact(); !at.IsZero() {
			st.LastContact = time.Since(at)
		}
	}
	return st
}

// Close ends the server and waits for everything it started. The context is
// not needed for a clean end; it is there for those to come.
func (s *Store) Close(context.Context) error {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.answers.Wait()
	err := s.raft.Shutdown().Error()
	s.waits.Wait()
	if closer, ok := s.transport.(raft.WithClose); ok {
		err = errors.Join(err, closer.Close())
	}
	if err = errors.Join(err, s.closeDirectory()); err != nil {
		return fmt.Errorf("close the log: %w", err)
	}
	return nil
}

func (s *Store) closeDirectory() error {
	if s.directory == nil {
		return nil
	}
	return s.directory.close()
}
