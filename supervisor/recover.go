package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/supervisord/supervisord/raftstore"
)

// RecoverOptions say which host is to go on alone.
type RecoverOptions struct {
	StateDir string
	Log      *slog.Logger
}

// Recovered is what Recover kept, or would keep.
type Recovered struct {
	Host string
	// Index and Term are of the last entry of the log that this host had: of
	// several hosts the one with the later term, then the higher index, has
	// most.
	Index, Term uint64
	// Lost are the other hosts that the state names.
	Lost []string
}

// Recoverable says what Recover would keep, and changes nothing.
func Recoverable(o RecoverOptions) (Recovered, error) {
	m, err := readMembership(o.StateDir)
	if err != nil {
		return Recovered{}, err
	}
	if m == nil {
		return Recovered{}, errAlone
	}
	index, term, err := raftstore.Peek(raftstore.Config{Dir: o.StateDir, Logger: o.Log})
	return Recovered{Host: m.Host, Index: index, Term: term}, err
}

var errAlone = errors.New("this host is in no cluster with others; there is nothing to recover from")

// Recover makes this host the only voter of its cluster, for when a quorum is
// lost for good. What this host's log holds becomes the state; what only the
// lost hosts had is gone. The daemon must not run. The other hosts must never
// come back with the state they had: two of them could be a quorum of the old
// cluster, which knows nothing of this.
func Recover(ctx context.Context, o RecoverOptions) (Recovered, error) {
	out, err := Recoverable(o)
	if err != nil {
		return Recovered{}, err
	}
	m, err := readMembership(o.StateDir)
	if err != nil {
		return Recovered{}, err
	}
	id, err := raftstore.ServerID(o.StateDir)
	if err != nil {
		return Recovered{}, err
	}
	r := newReplica()
	alone := []raftstore.Member{{ID: id, Address: m.Advertise, Voter: true}}
	if err := raftstore.Recover(ctx, raftstore.Config{Dir: o.StateDir, Logger: o.Log}, r, alone); err != nil {
		return Recovered{}, fmt.Errorf("recover: %w", err)
	}
	if r.broken != nil {
		return Recovered{}, fmt.Errorf("recover: %w", r.broken)
	}
	c, _ := r.Current()
	for h := range c.Hosts.Values() {
		if h.Name != m.Host {
			out.Lost = append(out.Lost, h.Name)
		}
	}
	return out, nil
}
