package raftstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// look is how often leadership is looked at beside the library's notices,
// which may be dropped.
const look = time.Second

// WaitLeading returns when this server leads and its Machine has applied
// everything that was ever committed.
func (s *Store) WaitLeading(ctx context.Context) error {
	changes, stop := s.observe()
	defer stop()
	_, err := s.lead(ctx, changes)
	return err
}

// WhileLeader runs f whenever this server leads, from the moment when its
// Machine has applied all that earlier leaders committed. The context of f
// ends with ErrLeadershipLost as its cause when leadership does; leadership
// that was lost and won again counts as lost. F has always returned before it
// is run again.
//
// WhileLeader returns when the context ends, with its error, and when f
// returns by itself, with f's.
func (s *Store) WhileLeader(ctx context.Context, f func(context.Context) error) error {
	changes, stop := s.observe()
	defer stop()
	for {
		term, err := s.lead(ctx, changes)
		if err != nil {
			return err
		}
		lost, err := s.duty(ctx, term, changes, f)
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), ignoreCanceled(err))
		}
		if !lost {
			return err
		}
	}
}

// lead waits until this server leads and has caught up; it returns the term.
func (s *Store) lead(ctx context.Context, changes <-chan raft.Observation) (term uint64, err error) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		// The term is read first: if leadership changes in between, the term
		// is an old one, and duty ends at once.
		term := s.raft.CurrentTerm()
		if s.raft.State() == raft.Leader {
			err := s.Barrier(ctx)
			if err == nil {
				err = s.readdress(ctx)
			}
			if err == nil {
				return term, nil
			}
			if errors.Is(err, ErrClosed) {
				return 0, err
			}
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("wait for leadership: %w", ctx.Err())
		case <-changes:
		case <-tick.C:
		}
	}
}

// duty runs f until it returns or until this server no longer leads the term.
func (s *Store) duty(ctx context.Context, term uint64, changes <-chan raft.Observation, f func(context.Context) error) (lost bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan error, 1)
	s.waits.Go(func() { done <- f(ctx) })
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		if s.raft.State() != raft.Leader || s.raft.CurrentTerm() != term {
			cancel(ErrLeadershipLost)
			return true, <-done
		}
		select {
		case err := <-done:
			return false, err
		case <-changes:
		case <-tick.C:
		}
	}
}

// observe subscribes to what may mean a change of leadership.
func (s *Store) observe() (changes <-chan raft.Observation, stop func()) {
	// Full or not, the library goes on; one notice is as good as many.
	c := make(chan raft.Observation, 1)
	o := raft.NewObserver(c, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.RaftState, raft.LeaderObservation:
			return true
		}
		return false
	})
	s.raft.RegisterObserver(o)
	return c, func() { s.raft.DeregisterObserver(o) }
}

func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
