package raftstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// Member is one server of the cluster. Voters decide; the others only follow.
type Member struct {
	ID      string
	Address string
	Voter   bool
}

// changeWithin bounds the wait for a busy leader to take a change of members.
const changeWithin = 5 * time.Second

// Members returns the servers of the newest configuration that this server
// knows, in the order in which they came.
func (s *Store) Members(ctx context.Context) ([]Member, error) {
	var f raft.ConfigurationFuture
	if err := s.await(ctx, func() raft.Future { f = s.raft.GetConfiguration(); return f }); err != nil {
		return nil, fmt.Errorf("members: %w", err)
	}
	var out []Member
	for _, k := range f.Configuration().Servers {
		out = append(out, Member{ID: string(k.ID), Address: string(k.Address), Voter: k.Suffrage == raft.Voter})
	}
	return out, nil
}

func (s *Store) member(ctx context.Context, id string) (m Member, known bool, err error) {
	members, err := s.Members(ctx)
	for _, m := range members {
		if m.ID == id {
			return m, true, err
		}
	}
	return Member{}, false, err
}

// AddNonvoter makes a server a follower of the log; Tend may make it a voter.
// A server that is known stays what it is, with the address given. Only the
// leader can do it.
func (s *Store) AddNonvoter(ctx context.Context, id, address string) error {
	m, known, err := s.member(ctx, id)
	if err != nil {
		return err
	}
	if known && m.Address == address {
		// The leader's word is needed for that too: this may be an old one.
		return s.Barrier(ctx)
	}
	err = s.await(ctx, func() raft.Future {
		if m.Voter {
			return s.raft.AddVoter(raft.ServerID(id), raft.ServerAddress(address), 0, changeWithin)
		}
		return s.raft.AddNonvoter(raft.ServerID(id), raft.ServerAddress(address), 0, changeWithin)
	})
	if err != nil {
		return fmt.Errorf("add server %s: %w", id, err)
	}
	return nil
}

// Remove takes a server out of the cluster; it is no error that it is not in
// it. Only the leader can do it, and the last voter stays.
func (s *Store) Remove(ctx context.Context, id string) error {
	members, err := s.Members(ctx)
	if err != nil {
		return err
	}
	known, others := false, 0
	for _, m := range members {
		switch {
		case m.ID == id:
			known = true
		case m.Voter:
			others++
		}
	}
	switch {
	case !known:
		return s.Barrier(ctx)
	case others == 0:
		return fmt.Errorf("remove server %s: %w", id, ErrAlone)
	}
	if err := s.await(ctx, func() raft.Future { return s.raft.RemoveServer(raft.ServerID(id), 0, changeWithin) }); err != nil {
		return fmt.Errorf("remove server %s: %w", id, err)
	}
	return nil
}

// HandOver gives the leadership to the voter that has most of the log. It is
// no error where this server does not lead; ErrAlone where no other can.
func (s *Store) HandOver(ctx context.Context) error {
	if s.raft.State() != raft.Leader {
		return nil
	}
	members, err := s.Members(ctx)
	if err != nil {
		return err
	}
	voters := 0
	for _, m := range members {
		if m.Voter && m.ID != s.id {
			voters++
		}
	}
	if voters == 0 {
		return ErrAlone
	}
	err = s.await(ctx, func() raft.Future { return s.raft.LeadershipTransfer() })
	if err != nil && s.raft.State() == raft.Leader {
		return fmt.Errorf("hand over: %w", err)
	}
	return nil
}

// readdress gives this server the address in the configuration that it has
// now. Until then the others could not reach it: it was alone so far, or the
// operator has moved it.
func (s *Store) readdress(ctx context.Context) error {
	m, known, err := s.member(ctx, s.id)
	if err != nil || !known || m.Address == string(s.address) {
		return err
	}
	return s.AddNonvoter(ctx, s.id, string(s.address))
}

// Recover makes the given servers the members of the cluster whose log is in
// the directory, for when a quorum is lost for good. The machine gets all that
// the log holds, committed or not: nobody is left who could tell. No server
// may have the directory open, and none of the servers that are given up may
// ever come back.
func Recover(ctx context.Context, c Config, m Machine, members []Member) (err error) {
	if err := c.validate(); err != nil {
		return err
	}
	rc, err := c.raft("unknown")
	if err != nil {
		return err
	}
	d, err := openDirectory(c, rc)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if rc, err = c.raft(d.id); err != nil {
		return err
	}
	var all raft.Configuration
	for _, k := range members {
		suffrage := raft.Nonvoter
		if k.Voter {
			suffrage = raft.Voter
		}
		all.Servers = append(all.Servers, raft.Server{ID: raft.ServerID(k.ID), Address: raft.ServerAddress(k.Address), Suffrage: suffrage})
	}
	_, transport := raft.NewInmemTransport(raft.ServerAddress(d.id))
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := raft.RecoverCluster(rc, fsm{m}, d.Log, d.Stable, d.Snapshots, transport, all); err != nil {
		return fmt.Errorf("rewrite the configuration: %w", err)
	}
	return nil
}

// Peek tells how far the log in a directory goes: of several servers the one
// with the later term, and in one term the higher index, has more. No server
// may have the directory open.
func Peek(c Config) (lastIndex, lastTerm uint64, err error) {
	if err := c.validate(); err != nil {
		return 0, 0, err
	}
	rc, err := c.raft("unknown")
	if err != nil {
		return 0, 0, err
	}
	d, err := openDirectory(c, rc)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if lastIndex, err = d.Log.LastIndex(); err != nil {
		return 0, 0, fmt.Errorf("read the log: %w", err)
	}
	var last raft.Log
	if lastIndex > 0 {
		if err := d.Log.GetLog(lastIndex, &last); err != nil {
			return 0, 0, fmt.Errorf("read the log: %w", err)
		}
	}
	return lastIndex, last.Term, nil
}
