package supervisor

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/supervisord/supervisord/raftstore"
	"github.com/supervisord/supervisord/supervisor/state"
)

// replica is this host's copy of the state: the machine that the log drives.
type replica struct {
	mu      sync.RWMutex
	cluster state.Cluster
	changed chan struct{}
	// broken is set when the log holds what this daemon cannot apply.
	broken error
	failed chan struct{}
}

func newReplica() *replica {
	return &replica{cluster: state.New(), changed: make(chan struct{}), failed: make(chan struct{})}
}

// Current returns the state and a channel that is closed when there is a
// newer one.
func (r *replica) Current() (state.Cluster, <-chan struct{}) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.cluster, r.changed
}

// applied is what Apply returns through the log to the proposer.
type applied struct {
	refused []error
	err     error
}

// Apply implements raftstore.Machine. An entry that cannot be read stops the
// replica for good: a host that skipped it would hold another state than the
// others.
func (r *replica) Apply(e raftstore.Entry) any {
	p, err := state.Decode(e.Data)
	if err != nil {
		return applied{err: r.fail(fmt.Errorf("log entry %d: %w", e.Index, err))}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken != nil {
		return applied{err: r.broken}
	}
	next, refused := state.Apply(r.cluster, e.Index, p)
	r.set(next)
	return applied{refused: refused}
}

func (r *replica) set(c state.Cluster) {
	r.cluster = c
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *replica) fail(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken == nil {
		r.broken = err
		close(r.failed)
	}
	return err
}

// watch returns when the replica has broken, or when the context ends.
func (r *replica) watch(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-r.failed:
		r.mu.RLock()
		defer r.mu.RUnlock()
		return fmt.Errorf("the replicated state cannot go on: %w", r.broken)
	}
}

// Snapshot implements raftstore.Machine; the cluster is immutable, so its
// snapshot is itself.
func (r *replica) Snapshot() (io.WriterTo, error) {
	c, _ := r.Current()
	return c, nil
}

// Restore implements raftstore.Machine.
func (r *replica) Restore(from io.Reader) error {
	c, err := state.Read(from)
	if err != nil {
		return r.fail(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set(c)
	return nil
}

// log is where proposals are committed.
type log interface {
	// Propose commits an entry and returns what Apply made of it.
	Propose(ctx context.Context, data []byte) (result any, index uint64, err error)
}

// proposer puts commands into the log, with the time of this host.
type proposer struct{ log log }

// proposeWithin bounds the wait for a commit: without a quorum a caller gets
// an error it can act on, not silence.
const proposeWithin = 5 * time.Second

// Propose implements agent.Reporter and api.Backend's method.
func (p proposer) Propose(ctx context.Context, cmds ...state.Command) ([]error, error) {
	data, err := state.Encode(state.Proposal{At: time.Now(), Commands: cmds})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, proposeWithin)
	defer cancel()
	result, _, err := p.log.Propose(ctx, data)
	if err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	a, ok := result.(applied)
	if !ok {
		return nil, fmt.Errorf("commit: unexpected answer %T of the state", result)
	}
	return a.refused, a.err
}
