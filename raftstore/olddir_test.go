package raftstore_test

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/supervisord/supervisord/raftstore"
)

var writeOldDir = flag.Bool("write-old-dir", false, "write the directory of this version, which must be readable for ever")

// TestOldDirectoriesAreRead opens directories as earlier versions left them:
// 100 entries, of which a snapshot holds the first 60. None is ever edited; a
// version that writes another format adds its own.
func TestOldDirectoriesAreRead(t *testing.T) {
	if *writeOldDir {
		keepOldDir(t, filepath.Join("testdata", "v1.tar.gz"))
	}
	archives, err := filepath.Glob("testdata/v*.tar.gz")
	if err != nil || len(archives) == 0 {
		t.Fatalf("archives %v: %v", archives, err)
	}
	for _, path := range archives {
		t.Run(filepath.Base(path), func(t *testing.T) {
			dir := t.TempDir()
			unpack(t, path, dir)
			j := &journal{}
			s := open(t, dir, j)
			defer closeStore(t, s)
			if s.ID() != "old" || s.Fresh() {
				t.Errorf("it is %q, fresh %v", s.ID(), s.Fresh())
			}
			lines := strings.Split(j.text(), "\n")
			if len(lines) != 100 {
				t.Fatalf("%d entries, want 100", len(lines))
			}
			for n, line := range lines {
				if line != strconv.Itoa(n) {
					t.Fatalf("entry %d is %q", n, line)
				}
			}
			propose(t, s, "goes on")
		})
	}
}

func unpack(t *testing.T, path, dir string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		to := filepath.Join(dir, filepath.Clean("/"+h.Name))
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func keepOldDir(t *testing.T, path string) {
	t.Helper()
	dir := t.TempDir()
	s, err := raftstore.Open(t.Context(), raftstore.Config{Dir: dir, ID: "old", Logger: quiet()}, &journal{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Bootstrap(t.Context()), s.WaitLeading(t.Context())); err != nil {
		t.Fatal(err)
	}
	for n := range 100 {
		propose(t, s, fmt.Sprint(n))
		if n == 59 {
			if err := s.Snapshot(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	closeStore(t, s)
	if err := pack(dir, path); err != nil {
		t.Fatal(err)
	}
}

func pack(dir, path string) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	z := gzip.NewWriter(f)
	w := tar.NewWriter(z)
	return errors.Join(w.AddFS(os.DirFS(dir)), w.Close(), z.Close(), f.Close())
}
