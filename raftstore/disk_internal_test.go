package raftstore

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/hashicorp/go-hclog"
)

// TestWhoCannotNoteAVoteGivesNone has the table of contents, which holds the
// term and the vote, fail.
func TestWhoCannotNoteAVoteGivesNone(t *testing.T) {
	rc, err := Config{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)}.raft("a")
	if err != nil {
		t.Fatal(err)
	}
	rc.Logger = hclog.NewNullLogger()
	d, err := openDirectory(Config{Dir: t.TempDir()}, rc)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.meta.Close(); err != nil {
		t.Fatal(err)
	}
	returned, ended := false, make(chan struct{})
	go func() {
		defer close(ended)
		_ = d.Stable.SetUint64([]byte("CurrentTerm"), 7)
		returned = true
	}()
	<-ended
	if returned {
		t.Error("the caller goes on with a term that is nowhere")
	}
	s := &Store{directory: d}
	if err := s.Watch(t.Context()); err == nil || errors.Is(err, t.Context().Err()) {
		t.Errorf("the watch says %v", err)
	}
	if err := errors.Join(d.disk.Close(), d.lock.Close()); err != nil {
		t.Error(err)
	}
}
