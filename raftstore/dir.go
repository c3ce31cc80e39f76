package raftstore

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
)

// The files of a directory. The snapshots are in "snapshots", by the library.
const (
	idFile   = "server-id"
	lockFile = "lock"
	logDir   = "log"
)

// segmentSize is how much disk the log takes ahead of its entries.
const segmentSize = 8 << 20

// directory is an open data directory of one server.
type directory struct {
	Stores
	id   string
	lock *os.File
	disk *disk
	// meta is the log's table of contents. The log does not close it by
	// itself, and it keeps its file locked until then.
	meta *metadb.BoltMetaDB
}

func openDirectory(c Config, rc *raft.Config) (d *directory, err error) {
	d = &directory{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open %s: %w", c.Dir, err), d.close())
			d = nil
		}
	}()
	if err := os.MkdirAll(filepath.Join(c.Dir, logDir), 0o700); err != nil {
		return d, err
	}
	// A directory that somebody made in advance may be open to others.
	if err := os.Chmod(c.Dir, 0o700); err != nil {
		return d, err
	}
	if d.lock, err = lock(filepath.Join(c.Dir, lockFile)); err != nil {
		return d, err
	}
	if d.id, err = serverID(filepath.Join(c.Dir, idFile), c.ID); err != nil {
		return d, err
	}
	if err := room(c.Dir, needed); err != nil {
		return d, err
	}
	d.meta = &metadb.BoltMetaDB{}
	w, err := wal.Open(filepath.Join(c.Dir, logDir), wal.WithSegmentSize(segmentSize), wal.WithMetaStore(d.meta), wal.WithLogger(rc.Logger))
	if err != nil {
		return d, fmt.Errorf("the log cannot be read (restore the directory, or begin anew in an empty one): %w", err)
	}
	d.disk = newDisk(w, c.Dir)
	d.Log, d.Stable = d.disk, d.disk
	d.Snapshots, err = raft.NewFileSnapshotStoreWithLogger(c.Dir, snapshotsKept, rc.Logger)
	if err != nil {
		return d, fmt.Errorf("snapshots: %w", err)
	}
	return d, nil
}

func (d *directory) close() error {
	var errs []error
	if d.disk != nil {
		errs = append(errs, d.disk.Close())
	}
	if d.meta != nil {
		errs = append(errs, d.meta.Close())
	}
	if d.lock != nil {
		errs = append(errs, d.lock.Close())
	}
	return errors.Join(errs...)
}

// lock takes the directory for this process; the kernel gives it back however
// the process ends.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrLocked
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f, nil
}

// serverID reads the id, or keeps a new one: an id is made once and for all,
// because the others would take a server with another one for a stranger.
func serverID(path, wanted string) (string, error) {
	data, err := os.ReadFile(path)
	id := strings.TrimSpace(string(data))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if wanted == "" {
			wanted = strings.ToLower(rand.Text())[:16]
		}
		return wanted, writeDurable(path, []byte(wanted+"\n"))
	case err != nil:
		return "", err
	case id == "":
		return "", fmt.Errorf("%s is empty: want the id of this server", path)
	case wanted != "" && wanted != id:
		return "", fmt.Errorf("%s says %q, the configuration %q: a server's id never changes", path, id, wanted)
	}
	return id, nil
}

// writeDurable makes a file complete or absent, whatever happens.
func writeDurable(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
