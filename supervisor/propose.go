package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/supervisord/supervisord/raftstore"
	"github.com/supervisord/supervisord/supervisor/peer"
	"github.com/supervisord/supervisord/supervisor/state"
)

// log is where proposals are committed.
type log interface {
	// Propose commits an entry and returns what Apply made of it.
	Propose(ctx context.Context, data []byte) (result any, index uint64, err error)
}

// proposer puts commands into the log: this host's when it leads, the
// leader's otherwise.
type proposer struct {
	log     log
	replica *replica
	// leader is the address of the host that leads, "" when none is known;
	// nil in a cluster of one.
	leader func() string
	peers  peers
}

const (
	// proposeWithin bounds the wait for a commit: without a quorum a caller
	// gets an error it can act on, not silence.
	proposeWithin = 5 * time.Second
	// leaderAgain is the pause before a proposal that no leader took is made
	// again.
	leaderAgain = 25 * time.Millisecond
	// appliedWithin is how long a proposer waits for its own host to have what
	// the leader has committed.
	appliedWithin = time.Second
)

// Propose implements agent.Reporter and api.Backend's method. What no leader
// has taken is proposed again until the time is up; what may have been
// committed is not.
func (p proposer) Propose(ctx context.Context, cmds ...state.Command) ([]error, error) {
	refused, index, err := p.propose(ctx, cmds...)
	if err != nil {
		return nil, err
	}
	// Who proposes looks at this host's state next, and should find it there;
	// it is committed in any case.
	ctx, cancel := context.WithTimeout(ctx, appliedWithin)
	defer cancel()
	_ = p.replica.await(ctx, index)
	return refused, nil
}

// register proposes what the cluster should know of this host, and returns
// where that stands in the log.
func (p proposer) register(ctx context.Context, self state.RegisterHost) (index uint64, err error) {
	refused, index, err := p.propose(ctx, self)
	return index, errors.Join(append(refused, err)...)
}

func (p proposer) propose(ctx context.Context, cmds ...state.Command) (refused []error, index uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, proposeWithin)
	defer cancel()
	c, _ := p.replica.Current()
	for _, cmd := range cmds {
		if err := c.Knows(cmd); err != nil {
			return nil, 0, err
		}
	}
	for {
		data, err := state.Encode(state.Proposal{At: p.replica.Now(), Commands: cmds})
		if err != nil {
			return nil, 0, err
		}
		refused, index, err := p.once(ctx, data)
		if err == nil {
			return refused, index, nil
		}
		if !nobodyTook(err) || p.leader == nil {
			return nil, 0, fmt.Errorf("commit: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil, 0, fmt.Errorf("commit: no leader took it: %w", errors.Join(err, ctx.Err()))
		case <-time.After(leaderAgain):
		}
	}
}

// nobodyTook says whether an error means that the proposal is not on its way.
func nobodyTook(err error) bool {
	if errors.Is(err, raftstore.ErrNotLeader) || errors.Is(err, peer.ErrNotLeader) {
		return true
	}
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

func (p proposer) once(ctx context.Context, data []byte) (refused []error, index uint64, err error) {
	refused, index, err = commit(ctx, p.log, data)
	if !errors.Is(err, raftstore.ErrNotLeader) || p.leader == nil {
		return refused, index, err
	}
	address := p.leader()
	if address == "" {
		return nil, 0, err
	}
	receipt, err := p.peers.Propose(ctx, address, data)
	return refusals(receipt), receipt.Index, err
}

// commit proposes to this host's own log.
func commit(ctx context.Context, l log, data []byte) (refused []error, index uint64, err error) {
	result, index, err := l.Propose(ctx, data)
	if err != nil {
		return nil, 0, err
	}
	a, ok := result.(applied)
	if !ok {
		return nil, 0, fmt.Errorf("unexpected answer %T of the state", result)
	}
	return a.refused, index, a.err
}

// refusal is one that another host has told of.
type refusal string

func (r refusal) Error() string { return string(r) }

// Is makes errors.Is find state.ErrRefused.
func (r refusal) Is(target error) bool { return target == state.ErrRefused }

func refusals(r peer.Receipt) []error {
	errs := make([]error, len(r.Refused))
	for n, why := range r.Refused {
		if why != "" {
			errs[n] = refusal(why)
		}
	}
	return errs
}

func receiptOf(index uint64, refused []error) peer.Receipt {
	r := peer.Receipt{Index: index, Refused: make([]string, len(refused))}
	for n, err := range refused {
		if err != nil {
			r.Refused[n] = err.Error()
		}
	}
	return r
}
