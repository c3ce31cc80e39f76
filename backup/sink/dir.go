package sink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/supervisord/supervisord/backup"
)

// Dir is a directory of this host, local or mounted. Files are for their owner
// only.
type Dir struct{ path string }

// NewDir is the target in an absolute directory. It is made when it is first
// written to.
func NewDir(path string) *Dir { return &Dir{filepath.Clean(path)} }

func (d *Dir) String() string { return d.path }

// partial is the ending of what has no name yet.
const partial = ".partial"

func (d *Dir) at(name string) (string, error) {
	if !filepath.IsLocal(name) {
		return "", fmt.Errorf("%q leads out of the directory", name)
	}
	return filepath.Join(d.path, filepath.FromSlash(name)), nil
}

// Create implements backup.Target.
func (d *Dir) Create(ctx context.Context, name string) (backup.Upload, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	at, err := d.at(name)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(at+partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &file{File: f, name: at}, nil
}

// file is a file on its way.
type file struct {
	*os.File
	name string
	// unsynced counts what the kernel was not yet told to write; syncing gets
	// the end of what it was told, nil where that is nothing.
	unsynced int
	syncing  chan error
	ended    bool
}

// syncEvery bounds how much waits in memory to be written at once: twice this.
const syncEvery = 64 << 20

// Write writes on while the kernel makes durable what came before.
func (f *file) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	if f.unsynced += n; err != nil || f.unsynced < syncEvery {
		return n, err
	}
	// A full disk or a dying one shows here and not in the end.
	if err := f.synced(); err != nil {
		return n, err
	}
	f.unsynced, f.syncing = 0, make(chan error, 1)
	go func() { f.syncing <- f.Sync() }()
	return n, nil
}

// synced waits for what was begun to be made durable.
func (f *file) synced() error {
	if f.syncing == nil {
		return nil
	}
	err := <-f.syncing
	f.syncing = nil
	return err
}

func (f *file) Commit(context.Context) error {
	f.ended = true
	err := errors.Join(f.synced(), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.name+partial, f.name)
	}
	if err != nil {
		return errors.Join(err, absent(os.Remove(f.name+partial)))
	}
	return syncDir(filepath.Dir(f.name))
}

func (f *file) Abort(context.Context) error {
	if f.ended {
		return nil
	}
	f.ended = true
	// Whether it became durable is of no interest any more.
	_ = f.synced()
	return errors.Join(f.Close(), absent(os.Remove(f.name+partial)))
}

func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Put implements backup.Target.
func (d *Dir) Put(ctx context.Context, name string, data []byte) error {
	at, err := d.at(name)
	if err != nil {
		return err
	}
	// A leftover of an earlier Put; an archive on its way has another name.
	if err := absent(os.Remove(at + partial)); err != nil {
		return err
	}
	u, err := d.Create(ctx, name)
	if err != nil {
		return err
	}
	if _, err := u.Write(data); err != nil {
		return errors.Join(err, u.Abort(ctx))
	}
	return u.Commit(ctx)
}

// Open implements backup.Target.
func (d *Dir) Open(_ context.Context, name string) (io.ReadCloser, error) {
	at, err := d.at(name)
	if err != nil {
		return nil, err
	}
	return os.Open(at)
}

// Names implements backup.Target.
func (d *Dir) Names(_ context.Context, dir string) ([]string, error) {
	at, err := d.at(dir)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(at)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Remove implements backup.Target.
func (d *Dir) Remove(_ context.Context, name string) error {
	at, err := d.at(name)
	if err != nil {
		return err
	}
	if err := errors.Join(absent(os.Remove(at)), absent(os.Remove(at+partial))); err != nil {
		return err
	}
	return absent(syncDir(filepath.Dir(at)))
}
