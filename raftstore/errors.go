package raftstore

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// Errors that calls wrap, for callers to branch on.
var (
	// ErrNotLeader: only the leader takes entries. See NotLeaderError.
	ErrNotLeader = errors.New("this server does not lead")
	// ErrLeadershipLost: leadership ended while the entry was under way. It
	// may or may not be committed.
	ErrLeadershipLost = errors.New("leadership was lost; the outcome is unknown")
	// ErrBusy: the leader did not take the entry in time. It is not committed.
	ErrBusy = errors.New("the log takes no more entries now")
	// ErrClosed: the store is closed.
	ErrClosed = errors.New("the store is closed")
	// ErrLocked: another process has the directory open.
	ErrLocked = errors.New("in use by another process")
	// ErrAlone: there is no other server that could do it.
	ErrAlone = errors.New("there is no other voter")
	// ErrDiskFull: there is no room for the log.
	ErrDiskFull = errors.New("the disk is full")
	// ErrHasState: a cluster can begin only where there is none.
	ErrHasState = errors.New("there is a cluster already")
)

// NotLeaderError says who leads instead; Leader is "" when nobody is known.
type NotLeaderError struct {
	Leader  string
	Address string
}

func (e *NotLeaderError) Error() string {
	if e.Leader == "" {
		return "no server is known to lead"
	}
	return fmt.Sprintf("%s at %s leads", e.Leader, e.Address)
}

// Is makes errors.Is find ErrNotLeader.
func (e *NotLeaderError) Is(target error) bool { return target == ErrNotLeader }

// translate turns the library's errors into this package's.
func (s *Store) translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		address, id := s.raft.LeaderWithID()
		return &NotLeaderError{Leader: string(id), Address: string(address)}
	case errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrAbortedByRestore):
		return fmt.Errorf("%w: %w", ErrLeadershipLost, err)
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return fmt.Errorf("%w: %w", ErrBusy, err)
	case errors.Is(err, raft.ErrRaftShutdown):
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return err
}
