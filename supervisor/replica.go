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
	// at is when this host got the cluster's latest time.
	at      time.Time
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

// Now is the cluster's time: this host's clock, or, where that is behind, the
// latest time of the log and what has passed here since. So time goes on at
// its pace and never back, whichever host leads and however wrong its clock is.
func (r *replica) Now() time.Time {
	r.mu.RLock()
	defer r.mu.RUnlock()
	now := time.Now()
	if cluster := r.cluster.Time.Add(now.Sub(r.at)); cluster.After(now) {
		return cluster
	}
	return now
}

// await returns when the state is that of an index of the log, or a later one.
func (r *replica) await(ctx context.Context, index uint64) error {
	for {
		c, changed := r.Current()
		if c.Index >= index {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for entry %d of the log: %w", index, ctx.Err())
		}
	}
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
	if !c.Time.Equal(r.cluster.Time) {
		r.at = time.Now()
	}
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
