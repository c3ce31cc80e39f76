package raftstore

import (
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/raft"
)

// fsm is a Machine in the library's terms, apart so that its methods are not
// the Store's.
type fsm struct{ Machine }

func (f fsm) Apply(l *raft.Log) any {
	return f.Machine.Apply(Entry{Index: l.Index, Term: l.Term, Data: l.Data})
}

func (f fsm) Snapshot() (raft.FSMSnapshot, error) {
	w, err := f.Machine.Snapshot()
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	return snapshot{w}, nil
}

func (f fsm) Restore(from io.ReadCloser) error {
	return errors.Join(f.Machine.Restore(from), from.Close())
}

type snapshot struct{ io.WriterTo }

// Persist implements raft.FSMSnapshot: the sink keeps all or nothing.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := s.WriteTo(sink); err != nil {
		return errors.Join(fmt.Errorf("write snapshot: %w", err), sink.Cancel())
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (snapshot) Release() {}
