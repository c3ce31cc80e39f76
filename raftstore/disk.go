package raftstore

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"syscall"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

// needed is how much of the disk must be free to begin with: the log takes its
// next segment in one piece, and its table of contents needs a little.
const needed = segmentSize + segmentSize/8

// disk is the log on the disk. The first write that fails is the last one: the
// log does not mend itself once a segment could not be begun, and the server
// must not go on with a term or a vote that it may forget.
type disk struct {
	*wal.WAL
	dir    string
	once   sync.Once
	failed chan struct{}
	err    error // once failed is closed
}

func newDisk(w *wal.WAL, dir string) *disk {
	return &disk{WAL: w, dir: dir, failed: make(chan struct{})}
}

// StoreLog implements raft.LogStore.
func (d *disk) StoreLog(l *raft.Log) error { return d.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (d *disk) StoreLogs(l []*raft.Log) error { return d.fail(d.WAL.StoreLogs(l)) }

// DeleteRange implements raft.LogStore.
func (d *disk) DeleteRange(low, high uint64) error { return d.fail(d.WAL.DeleteRange(low, high)) }

// Set implements raft.StableStore.
func (d *disk) Set(key, value []byte) error { return d.end(d.WAL.Set(key, value)) }

// SetUint64 implements raft.StableStore.
func (d *disk) SetUint64(key []byte, value uint64) error { return d.end(d.WAL.SetUint64(key, value)) }

// fail notes the first error.
func (d *disk) fail(err error) error {
	if err == nil || errors.Is(err, wal.ErrClosed) {
		return err
	}
	d.once.Do(func() {
		d.err = fmt.Errorf("the log in %s cannot be written: %w", d.dir, err)
		if full := room(d.dir, needed); full != nil {
			d.err = fmt.Errorf("the log cannot be written: %w (%w)", full, err)
		}
		close(d.failed)
	})
	return err
}

// end is fail for the term and the vote. The library's answer to an error there
// is a panic. Its goroutine that asks ends instead, and with it all that the
// server says to others, until it is closed.
func (d *disk) end(err error) error {
	if d.fail(err) != nil && !errors.Is(err, wal.ErrClosed) {
		runtime.Goexit()
	}
	return err
}

// room says when a directory's disk has less free than is needed.
func room(dir string, need uint64) error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return fmt.Errorf("look at the disk of %s: %w", dir, err)
	}
	// Blocks that root alone may take count: the daemon is root.
	if free := st.Bfree * uint64(st.Bsize); free < need {
		return fmt.Errorf("%w: %s has %.1f MiB free, %.1f MiB are needed", ErrDiskFull, dir, float64(free)/(1<<20), float64(need)/(1<<20))
	}
	return nil
}

// Watch waits until the log can no longer be written, and says why; the server
// is of no use then but to be closed and opened again. It returns the
// context's error when that ends first.
func (s *Store) Watch(ctx context.Context) error {
	var failed chan struct{}
	if s.directory != nil {
		failed = s.directory.disk.failed
	}
	select {
	case <-failed:
		return s.directory.disk.err
	case <-ctx.Done():
		return ctx.Err()
	}
}
