package raftstore_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/supervisord/supervisord/raftstore"
)

// smallDisk is a file system of its own, of so many bytes.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	if os.Geteuid() != 0 || testing.Short() {
		t.Skip("mounts a file system: needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// fill leaves so much of a disk free; the function it returns gives it back.
func fill(t *testing.T, disk string, leave uint64) (empty func()) {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(disk, &st); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(disk, "somebody-elses")
	if err := os.WriteFile(path, make([]byte, st.Bfree*uint64(st.Bsize)-leave), 0o600); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAFullDiskIsSaidAndNothingAcknowledgedIsLost has another program fill the
// disk while the log grows.
func TestAFullDiskIsSaidAndNothingAcknowledgedIsLost(t *testing.T) {
	disk := smallDisk(t, "64m")
	dir := filepath.Join(disk, "state")
	s := open(t, dir, &journal{})
	empty := fill(t, disk, 1<<20)
	watched := make(chan error, 1)
	go func() { watched <- s.Watch(t.Context()) }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	acknowledged := 0
	for line := strings.Repeat("x", 32<<10); ; acknowledged++ {
		if _, _, err := s.Propose(ctx, []byte(line)); err != nil {
			break
		}
	}
	if err := <-watched; !errors.Is(err, raftstore.ErrDiskFull) || !strings.Contains(err.Error(), dir) {
		t.Errorf("the watch says %v, want that the disk of %s is full", err, dir)
	}
	// It may still want to be elected, which it cannot note.
	time.Sleep(time.Second)
	closeStore(t, s)
	refused, err := raftstore.Open(t.Context(), raftstore.Config{Dir: dir, Logger: quiet()}, &journal{})
	if !errors.Is(err, raftstore.ErrDiskFull) {
		t.Errorf("opened on a full disk: %v", err)
		closeStore(t, refused)
	}
	empty()
	j := &journal{}
	s = open(t, dir, j)
	defer closeStore(t, s)
	// What was under way at the end may be there or not.
	if got := strings.Count(j.text(), "\n") + 1; acknowledged == 0 || got < acknowledged || got > acknowledged+1 {
		t.Errorf("%d entries are there, %d were acknowledged", got, acknowledged)
	}
	propose(t, s, "goes on")
}
