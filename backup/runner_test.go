package backup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
	"pgregory.net/rapid"

	"github.com/supervisord/supervisord/backup"
	"github.com/supervisord/supervisord/backup/sink"
)

// dumper writes a text, and then fails where it should.
type dumper struct {
	text []byte
	err  error
}

func (d dumper) Extension() string { return ".sql" }

func (d dumper) Dump(_ context.Context, to io.Writer) (backup.Content, error) {
	if _, err := to.Write(d.text); err != nil {
		return backup.Content{}, err
	}
	return backup.Content{Engine: "postgres", Tables: []backup.Table{{Name: "public.t", Rows: 3}}}, d.err
}

// noise does not compress, so that every byte of the archive counts.
func noise(n int) []byte {
	out := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(out)
	return out
}

var place = backup.Place{Cluster: "c1", Service: "db"}

func job(d dumper, targets ...backup.Target) backup.Job {
	return backup.Job{Place: place, ID: "db-1", Dumper: d, Targets: targets, Now: func() time.Time { return time.Unix(1_800_000_000, 0) }}
}

// files lists a tree.
func files(t testing.TB, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			name, _ := filepath.Rel(dir, p)
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// broken is a target of which one call fails.
type broken struct {
	backup.Target
	create, write, commit, put error
	// cut takes the last bytes off what is written, and says nothing.
	cut int
	// block makes writes wait until the context of the upload ends.
	block bool
}

func (b broken) Create(ctx context.Context, name string) (backup.Upload, error) {
	if b.create != nil {
		return nil, b.create
	}
	u, err := b.Target.Create(ctx, name)
	return &brokenUpload{u, b, ctx}, err
}

func (b broken) Put(ctx context.Context, name string, data []byte) error {
	if b.put != nil && strings.HasSuffix(name, ".json") {
		return b.put
	}
	return b.Target.Put(ctx, name, data)
}

type brokenUpload struct {
	backup.Upload
	b   broken
	ctx context.Context
}

func (u *brokenUpload) Write(p []byte) (int, error) {
	switch {
	case u.b.block:
		<-u.ctx.Done()
		return 0, u.ctx.Err()
	case u.b.write != nil:
		return 0, u.b.write
	case u.b.cut > 0:
		_, err := u.Upload.Write(p[:max(0, len(p)-u.b.cut)])
		return len(p), err
	}
	return u.Upload.Write(p)
}

func (u *brokenUpload) Commit(ctx context.Context) error {
	if u.b.commit != nil {
		return u.b.commit
	}
	return u.Upload.Commit(ctx)
}

func TestBackupAndRestore(t *testing.T) {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, file string
		recipients []string
		keys       []age.Identity
	}{
		{"plain", "db-1.sql.zst", nil, nil},
		{"encrypted", "db-1.sql.zst.age", []string{key.Recipient().String()}, []age.Identity{key}},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := noise(3 << 20)
			one, two := t.TempDir(), t.TempDir()
			j := job(dumper{text: text}, sink.NewDir(one), sink.NewDir(two))
			j.Recipients = c.recipients
			m, copies, err := j.Run(t.Context())
			if err != nil || len(copies) != 2 || copies[0].Err != nil || copies[1].Err != nil {
				t.Fatal(copies, err)
			}
			if m.File != c.file || m.DumpSize != int64(len(text)) || m.Content.Rows() != 3 {
				t.Errorf("manifest %+v", m)
			}
			for _, dir := range []string{one, two} {
				if got, want := files(t, dir), []string{"c1/db/db-1.json", "c1/db/" + c.file}; !slices.Equal(got, want) {
					t.Errorf("files %v, want %v", got, want)
				}
				read, err := backup.ReadManifest(t.Context(), sink.NewDir(dir), place, "db-1")
				if err != nil {
					t.Fatal(err)
				}
				var back bytes.Buffer
				err = backup.Read(t.Context(), sink.NewDir(dir), place, read, c.keys, nil, func(r io.Reader) error {
					_, err := io.Copy(&back, r)
					return err
				})
				if err != nil || !bytes.Equal(back.Bytes(), text) {
					t.Errorf("the dump that comes back is another one (%d bytes): %v", back.Len(), err)
				}
			}
			if c.keys != nil {
				other, _ := age.GenerateX25519Identity()
				for _, keys := range [][]age.Identity{nil, {other}} {
					if err := backup.Verify(t.Context(), sink.NewDir(one), place, m, keys, nil); !errors.Is(err, backup.ErrNoKey) {
						t.Errorf("with %d other keys: %v", len(keys), err)
					}
				}
			}
		})
	}
}

// Whatever goes wrong in one target, the other has the backup and the copies say
// so; where it goes wrong in all of them, or in the dump, there is none and
// nothing is left.
func TestNothingIsLeftOfWhatFailed(t *testing.T) {
	boom := errors.New("boom")
	for _, c := range []struct {
		name  string
		fault broken
	}{
		{"create", broken{create: boom}},
		{"write", broken{write: boom}},
		{"commit", broken{commit: boom}},
		{"manifest", broken{put: boom}},
		{"truncated and not told", broken{cut: 1}},
		{"stands still", broken{block: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad, good := t.TempDir(), t.TempDir()
			c.fault.Target = sink.NewDir(bad)
			j := job(dumper{text: noise(8 << 20)}, c.fault, sink.NewDir(good))
			j.Stall = 100 * time.Millisecond
			_, copies, err := j.Run(t.Context())
			if err != nil || copies[0].Err == nil || copies[1].Err != nil {
				t.Fatalf("copies %v, error %v", copies, err)
			}
			if got := files(t, good); len(got) != 2 {
				t.Errorf("the good target has %v", got)
			}
			if _, err := backup.Sweep(t.Context(), sink.NewDir(bad), place, func(string) bool { return false }); err != nil {
				t.Error(err)
			}
			if got := files(t, bad); len(got) != 0 {
				t.Errorf("left behind: %v", got)
			}

			j = job(dumper{text: noise(8 << 20)}, c.fault)
			j.Stall = 100 * time.Millisecond
			if _, _, err := j.Run(t.Context()); !errors.Is(err, backup.ErrNoTarget) {
				t.Errorf("error %v with no good target", err)
			}
		})
	}
	t.Run("the dump", func(t *testing.T) {
		dir := t.TempDir()
		if _, _, err := job(dumper{text: noise(100), err: boom}, sink.NewDir(dir)).Run(t.Context()); !errors.Is(err, boom) {
			t.Error(err)
		}
		if got := files(t, dir); len(got) != 0 {
			t.Errorf("left behind: %v", got)
		}
	})
	t.Run("canceled", func(t *testing.T) {
		dir := t.TempDir()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := job(dumper{text: noise(8 << 20)}, sink.NewDir(dir)).Run(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if got := files(t, dir); len(got) != 0 {
			t.Errorf("left behind: %v", got)
		}
	})
}

func TestFullDisk(t *testing.T) {
	small := t.TempDir()
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("needs to mount a small disk: %v", err)
	}
	defer func() {
		if err := syscall.Unmount(small, 0); err != nil {
			t.Error(err)
		}
	}()
	_, _, err := job(dumper{text: noise(4 << 20)}, sink.NewDir(small)).Run(t.Context())
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("error %v", err)
	}
	if got := files(t, small); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
}

// A bit that flips anywhere, in the archive or in its manifest, is found.
func TestEveryFlippedBitIsFound(t *testing.T) {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for name, recipients := range map[string][]string{"plain": nil, "encrypted": {key.Recipient().String()}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			j := job(dumper{text: []byte(strings.Repeat("INSERT INTO t VALUES (1);\n", 2000))}, sink.NewDir(dir))
			j.Recipients = recipients
			m, _, err := j.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range []string{m.File, "db-1.json"} {
				p := filepath.Join(dir, "c1", "db", file)
				whole, err := os.ReadFile(p)
				if err != nil {
					t.Fatal(err)
				}
				check := func(what string, text []byte) {
					if err := os.WriteFile(p, text, 0o600); err != nil {
						t.Fatal(err)
					}
					read, err := backup.ReadManifest(t.Context(), sink.NewDir(dir), place, "db-1")
					if err == nil {
						err = backup.Verify(t.Context(), sink.NewDir(dir), place, read, []age.Identity{key}, nil)
					}
					if !errors.Is(err, backup.ErrDamaged) {
						t.Fatalf("%s of %s is not found: %v", what, file, err)
					}
				}
				for i := range whole {
					flipped := slices.Clone(whole)
					flipped[i] ^= 1 << (i % 8)
					check(fmt.Sprintf("a flip at %d", i), flipped)
				}
				for _, n := range []int{0, 1, len(whole) / 2, len(whole) - 1} {
					check(fmt.Sprintf("a cut to %d", n), whole[:n])
				}
				check("a byte more", append(slices.Clone(whole), 'x'))
				if err := os.WriteFile(p, whole, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := backup.Verify(t.Context(), sink.NewDir(dir), place, m, []age.Identity{key}, nil); err != nil {
				t.Errorf("the whole one: %v", err)
			}
		})
	}
}

// crash stops everything at a step, as a kill does: from then on no call does
// anything.
type crash struct {
	backup.Target
	left *int
}

var errKilled = errors.New("killed")

func (c crash) step() error {
	if *c.left--; *c.left < 0 {
		return errKilled
	}
	return nil
}

func (c crash) Create(ctx context.Context, name string) (backup.Upload, error) {
	if err := c.step(); err != nil {
		return nil, err
	}
	u, err := c.Target.Create(ctx, name)
	return crashUpload{u, c}, err
}

func (c crash) Put(ctx context.Context, name string, data []byte) error {
	if err := c.step(); err != nil {
		return err
	}
	return c.Target.Put(ctx, name, data)
}

func (c crash) Remove(ctx context.Context, name string) error {
	if err := c.step(); err != nil {
		return err
	}
	return c.Target.Remove(ctx, name)
}

type crashUpload struct {
	backup.Upload
	c crash
}

func (u crashUpload) Write(p []byte) (int, error) {
	if err := u.c.step(); err != nil {
		return 0, err
	}
	return u.Upload.Write(p)
}

func (u crashUpload) Commit(ctx context.Context) error {
	if err := u.c.step(); err != nil {
		return err
	}
	return u.Upload.Commit(ctx)
}

func (u crashUpload) Abort(ctx context.Context) error {
	if err := u.c.step(); err != nil {
		return err
	}
	return u.Upload.Abort(ctx)
}

// Wherever a run or a removal is killed: a manifest means a whole backup, the
// next Sweep leaves nothing else of it, nor what is held and nobody knows of, and
// files of others stay.
func TestKilledAnywhere(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		target := sink.NewDir(dir)
		others := []string{"c1/db/notes.txt", "c1/db/db-9.sql.zst", "c2/db/db-1.json"}
		for _, name := range others {
			p := filepath.Join(dir, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o700), os.WriteFile(p, []byte("theirs"), 0o600)); err != nil {
				rt.Fatal(err)
			}
		}
		steps := rapid.IntRange(0, 16).Draw(rt, "steps")
		killed := crash{target, &steps}
		j := job(dumper{text: noise(3 << 20)}, killed)
		j.Hold = rapid.Bool().Draw(rt, "hold")
		_, _, err = j.Run(t.Context())
		known := err == nil && rapid.Bool().Draw(rt, "known")
		if known {
			_ = backup.Release(t.Context(), killed, place, "db-1")
		}
		if err == nil && rapid.Bool().Draw(rt, "remove") {
			_ = backup.Remove(t.Context(), killed, place, "db-1")
		}
		for range 2 {
			if _, err := backup.Sweep(t.Context(), target, place, func(string) bool { return known }); err != nil {
				rt.Fatal(err)
			}
		}
		left := files(t, dir)
		if j.Hold && !known && slices.Contains(left, "c1/db/db-1.json") {
			rt.Fatalf("nobody knows of it, and it is left: %v", left)
		}
		m, err := backup.ReadManifest(t.Context(), target, place, "db-1")
		switch {
		case err == nil:
			if err := backup.Verify(t.Context(), target, place, m, nil, nil); err != nil {
				rt.Fatalf("there is a manifest and no backup: %v", err)
			}
			others = append(others, "c1/db/db-1.json", "c1/db/db-1.sql.zst")
		case !errors.Is(err, fs.ErrNotExist):
			rt.Fatal(err)
		}
		slices.Sort(others)
		slices.Sort(left)
		if !slices.Equal(left, others) {
			rt.Fatalf("left %v, want %v", left, others)
		}
	})
}

// What is not of this cluster and service is neither read nor removed.
func TestOthersBackupsAreLeftAlone(t *testing.T) {
	dir := sink.NewDir(t.TempDir())
	if _, _, err := job(dumper{text: noise(10)}, dir).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := dir.Open(t.Context(), "c1/db/db-1.json")
	if err != nil {
		t.Fatal(err)
	}
	manifest, _ := io.ReadAll(text)
	_ = text.Close()
	// A manifest that was copied to another cluster's place is not of it.
	other := backup.Place{Cluster: "c2", Service: "db"}
	if err := dir.Put(t.Context(), "c2/db/db-1.json", manifest); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.ReadManifest(t.Context(), dir, other, "db-1"); err == nil || !strings.Contains(err.Error(), "of cluster c1") {
		t.Errorf("another cluster's manifest is read: %v", err)
	}
	if err := backup.Remove(t.Context(), dir, other, "db-1"); err == nil {
		t.Error("another cluster's backup is removed")
	}
	if err := dir.Put(t.Context(), "c2/db/db-1.begun", manifest); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Sweep(t.Context(), dir, other, func(string) bool { return false }); err == nil {
		t.Error("another cluster's note is swept")
	}
	if _, err := backup.ReadManifest(t.Context(), dir, place, "../../c2/db/db-1"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
