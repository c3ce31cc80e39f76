package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/supervisord/supervisord/raftstore"
	"github.com/supervisord/supervisord/raftstore/pki"
	"github.com/supervisord/supervisord/raftstore/wire"
	"github.com/supervisord/supervisord/supervisor/peer"
	"github.com/supervisord/supervisord/supervisor/state"
)

// ErrLeft: this host was removed from its cluster, and its daemon has nothing
// left to do.
var ErrLeft = errors.New("this host has left the cluster")

// member keeps this host a member of its cluster: in the log's configuration,
// with a certificate that is good, until it is removed.
type member struct {
	*node
	stateDir   string
	membership membership
	store      *raftstore.Store
	wire       *wire.Wire
}

const (
	memberAgain = time.Second
	// lonelyAfter is how long no leader is known before this host asks around
	// whether it is still expected.
	lonelyAfter = 10 * time.Second
	enterWithin = 5 * time.Second
	retireAgain = 200 * time.Millisecond
	// retireSilence is longer than any election of the others.
	retireSilence = 3 * time.Second
	// renewLook is how often the certificate's age is looked at.
	renewLook = time.Hour
)

func (m *member) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return m.wire.Serve(ctx, peer.Handler(desk{m.node, m.store, m.parts.logs, m.parts.images}, wire.Peer, m.log), porter{m.node})
	})
	g.Go(func() error { return m.enter(ctx) })
	g.Go(func() error { return m.open(ctx) })
	g.Go(func() error { return m.renew(ctx) })
	g.Go(func() error { return m.watchLeave(ctx) })
	g.Go(func() error { return m.store.Tend(ctx, m.steward()) })
	return g.Wait()
}

// enter asks the cluster to take this host in whenever it seems to have no
// place in it.
func (m *member) enter(ctx context.Context) error {
	lonely := time.Now()
	failing := ""
	for {
		s := m.store.Stats()
		if s.Leader != "" {
			lonely = time.Now()
		}
		placed, err := m.placed(ctx)
		if err != nil {
			return err
		}
		if !placed || time.Since(lonely) >= lonelyAfter {
			err := m.enterOnce(ctx)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err != nil && err.Error() != failing:
				failing = err.Error()
				m.log.WarnContext(ctx, "cannot enter the cluster, trying again", "err", err)
			case err == nil:
				failing = ""
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(memberAgain):
		}
	}
}

// placed says whether the log's configuration has this host at its address, as
// far as is known here.
func (m *member) placed(ctx context.Context) (bool, error) {
	members, err := m.store.Members(ctx)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(members, func(k raftstore.Member) bool {
		return k.ID == m.store.ID() && k.Address == m.membership.Advertise
	}), nil
}

// enterOnce goes to every host it knows of until the leader has taken it in.
func (m *member) enterOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, enterWithin)
	defer cancel()
	data, err := state.Encode(state.Proposal{At: m.replica.Now(), Commands: []state.Command{m.self}})
	if err != nil {
		return err
	}
	var errs []error
	asked := map[string]bool{m.membership.Advertise: true}
	for ask := m.candidates(); len(ask) > 0 && ctx.Err() == nil; ask = ask[1:] {
		address := ask[0]
		if asked[address] {
			continue
		}
		asked[address] = true
		receipt, err := m.peers.Propose(ctx, address, data)
		if err == nil {
			err = errors.Join(refusals(receipt)...)
		}
		if err == nil {
			err = m.peers.Enter(ctx, address, peer.Entry{Server: m.self.Server, Address: m.membership.Advertise})
		}
		if err == nil {
			return nil
		}
		if e, ok := errors.AsType[*peer.NotLeaderError](err); ok && e.Address != "" {
			ask = append(ask, e.Address)
		}
		errs = append(errs, err)
	}
	return errors.Join(append(errs, ctx.Err())...)
}

// candidates are the addresses of hosts that may know the leader.
func (m *member) candidates() []string {
	var all []string
	if a := m.leaderAddress(); a != "" {
		all = append(all, a)
	}
	c, _ := m.replica.Current()
	for h := range c.Hosts.Values() {
		if h.Peer != "" {
			all = append(all, h.Peer)
		}
	}
	return append(all, m.membership.Peers...)
}

// open commits what init has prepared, and then forgets it: the authority's
// key is in the state from then on.
func (m *member) open(ctx context.Context) error {
	for m.membership.Opening != nil {
		o := *m.membership.Opening
		_, err := m.proposer.Propose(ctx, state.OpenCluster{Authority: state.Authority{Cert: o.Cert, Key: o.Key}}, o.Token)
		if err == nil {
			// Refused means that it was committed in an earlier life.
			m.membership.Opening = nil
			if err := m.membership.write(m.stateDir); err != nil {
				return err
			}
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(memberAgain):
		}
	}
	return nil
}

// renew issues this host a new certificate in time. The authority is in the
// state, so no other host is needed for it.
func (m *member) renew(ctx context.Context) error {
	for {
		if err := m.renewDue(ctx); err != nil {
			m.log.ErrorContext(ctx, "cannot renew this host's certificate, trying again", "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(renewLook):
		}
	}
}

func (m *member) renewDue(ctx context.Context) error {
	identity := m.wire.Identity()
	at, err := identity.RenewAt()
	c, _ := m.replica.Current()
	now := time.Now()
	if err != nil || now.Before(at) || c.Authority == (state.Authority{}) {
		return err
	}
	key, request, err := pki.NewRequest()
	if err != nil {
		return err
	}
	authority := pki.Authority{Cert: []byte(c.Authority.Cert), Key: []byte(c.Authority.Key)}
	cert, err := authority.Issue(request, m.self.Server, m.self.Name, now)
	if err != nil {
		return err
	}
	identity = pki.Identity{CA: authority.Cert, Cert: cert, Key: key}
	if err := identity.Save(identityPath(m.stateDir)); err != nil {
		return err
	}
	m.log.InfoContext(ctx, "this host has a new certificate")
	return m.wire.SetIdentity(identity)
}

// watchLeave returns ErrLeft when the state says that this host was removed,
// and somebody else leads or could not be found.
func (m *member) watchLeave(ctx context.Context) error {
	for {
		c, changed := m.replica.Current()
		if _, denied := c.Denied.Get(m.self.Server); denied {
			return errors.Join(ErrLeft, m.retire(ctx))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// retire stays until the log's cluster goes on without this host: it gives the
// leadership away, for which the only voter of a small cluster has to wait for
// another, and waits until it is taken out. A voter that just ended could take
// the quorum with it.
func (m *member) retire(ctx context.Context) error {
	const patience = 30 * time.Second
	var err error
	heard := time.Now()
	for begin := time.Now(); time.Since(begin) < patience; {
		if m.store.Stats().Leader != "" {
			heard = time.Now()
		}
		if err = m.store.HandOver(ctx); err == nil {
			// The entry that says so may not reach who is taken out; then it is
			// that nobody talks to it any more.
			if placed, _ := m.placed(ctx); !placed || time.Since(heard) >= retireSilence {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retireAgain):
		}
	}
	return errors.Join(fmt.Errorf("the others have not taken this host out within %s; look at their status", patience), err)
}

// handOver gives the leadership away, so that the others need not miss this
// host before they go on.
func handOver(ctx context.Context, s *raftstore.Store) error {
	const within = 2 * time.Second
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if err := s.HandOver(ctx); err != nil && !errors.Is(err, raftstore.ErrAlone) {
		return fmt.Errorf("hand over the leadership: %w", err)
	}
	return nil
}
