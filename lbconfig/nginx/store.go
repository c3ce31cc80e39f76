package nginx

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
)

// tree is the files of one generation by name; number 0 is no generation.
type tree struct {
	number uint64
	files  map[string][]byte
}

// store is the directory of generations.
type store struct{ root string }

const (
	currentLink = "current"
	// nextLink becomes currentLink by a rename, the one step that makes a
	// generation live.
	nextLink = "current.next"
	dirForm  = "gen-"
)

func (s store) dir(n uint64) string { return filepath.Join(s.root, dirForm+strconv.FormatUint(n, 10)) }

// current reads the generation that the link points to.
func (s store) current() (tree, error) {
	target, err := os.Readlink(filepath.Join(s.root, currentLink))
	if errors.Is(err, fs.ErrNotExist) {
		return tree{}, nil
	}
	if err != nil {
		return tree{}, fmt.Errorf("reading which generation is current: %w", err)
	}
	n, ok := generationOf(target)
	if !ok {
		return tree{}, fmt.Errorf("%s points to %q: expected %sN beside it", filepath.Join(s.root, currentLink), target, dirForm)
	}
	t := tree{number: n, files: map[string][]byte{}}
	names, err := filepath.Glob(filepath.Join(s.dir(n), "*.conf"))
	if err != nil {
		return tree{}, fmt.Errorf("listing generation %d: %w", n, err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return tree{}, fmt.Errorf("reading generation %d: %w", n, err)
		}
		t.files[filepath.Base(name)] = data
	}
	return t, nil
}

// generationOf reads "gen-7".
func generationOf(name string) (uint64, bool) {
	digits, ok := strings.CutPrefix(name, dirForm)
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, ok && err == nil && n > 0 && dirForm+strconv.FormatUint(n, 10) == name
}

// stage makes the directory of a generation that is not live, from nothing.
func (s store) stage(t tree, live tree) error {
	dir := s.dir(t.number)
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("clearing %s: %w", dir, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making generation %d: %w", t.number, err)
	}
	for name, data := range t.files {
		if err := s.put(t.number, name, data, live); err != nil {
			return err
		}
	}
	return nil
}

// put replaces one file of a generation that is not live; nil removes it. What
// equals the live file becomes another link to it, which saves writing and
// syncing it: files of generations are never written to again.
func (s store) put(n uint64, name string, data []byte, live tree) error {
	file := filepath.Join(s.dir(n), name)
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("replacing a file of generation %d: %w", n, err)
	}
	if data == nil {
		return nil
	}
	if old, ok := live.files[name]; ok && bytes.Equal(old, data) {
		if os.Link(filepath.Join(s.dir(live.number), name), file) == nil {
			return nil
		}
		// Not every file system has hard links: write it instead.
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		return fmt.Errorf("writing generation %d: %w", n, err)
	}
	return nil
}

// syncers bounds the files that are synced at once; a file system writes them
// in one go where it can.
const syncers = 8

// sync makes a staged generation survive a power cut. Files that are links to
// live ones have been synced with those.
func (s store) sync(t tree, live tree) error {
	var g errgroup.Group
	g.SetLimit(syncers)
	for name, data := range t.files {
		if old, ok := live.files[name]; ok && bytes.Equal(old, data) {
			continue
		}
		g.Go(func() error { return syncFile(filepath.Join(s.dir(t.number), name)) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return syncFile(s.dir(t.number))
}

// syncFile works for directories too.
func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("syncing: %w", err)
	}
	err = errors.Join(f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("syncing %s: %w", name, err)
	}
	return nil
}

// point makes a generation live; 0 leaves none.
func (s store) point(n uint64) error {
	current := filepath.Join(s.root, currentLink)
	if n == 0 {
		if err := os.Remove(current); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("taking the current generation away: %w", err)
		}
		return nil
	}
	next := filepath.Join(s.root, nextLink)
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("making generation %d current: %w", n, err)
	}
	if err := os.Symlink(filepath.Base(s.dir(n)), next); err != nil {
		return fmt.Errorf("making generation %d current: %w", n, err)
	}
	if err := os.Rename(next, current); err != nil {
		return fmt.Errorf("making generation %d current: %w", n, err)
	}
	return nil
}

// clean removes what an interrupted run has left, and old generations: all but
// the live one, the one before it, and those to keep besides.
func (s store) clean(live uint64, keep ...uint64) error {
	entries, err := os.ReadDir(s.root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for old generations: %w", err)
	}
	before := uint64(0)
	for _, e := range entries {
		if n, ok := generationOf(e.Name()); ok && n < live {
			before = max(before, n)
		}
	}
	var errs []error
	for _, e := range entries {
		n, ok := generationOf(e.Name())
		stale := ok && n != live && n != before
		for _, k := range keep {
			stale = stale && n != k
		}
		if stale || e.Name() == nextLink {
			errs = append(errs, os.RemoveAll(filepath.Join(s.root, e.Name())))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("removing old generations: %w", err)
	}
	return nil
}

// has says whether there is a directory of a generation.
func (s store) has(n uint64) bool {
	info, err := os.Stat(s.dir(n))
	return n != 0 && err == nil && info.IsDir()
}
