package seal_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/supervisord/supervisord/supervisor/seal"
)

func TestWhatIsSealedOpensWithTheSameKeyAsTheSameThing(t *testing.T) {
	dir := t.TempDir()
	r := seal.New(dir)
	id, err := r.Make()
	if err != nil {
		t.Fatal(err)
	}
	plain := []byte("-----BEGIN PRIVATE KEY-----")
	sealed, err := r.Seal(id, plain, "certificate/example.com")
	if err != nil || bytes.Contains(sealed, plain[:10]) {
		t.Fatalf("%q: %v", sealed, err)
	}
	if again, _ := r.Seal(id, plain, "certificate/example.com"); bytes.Equal(again, sealed) {
		t.Error("sealed twice, it is the same")
	}
	if got, err := r.Open(id, sealed, "certificate/example.com"); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("opened %q: %v", got, err)
	}
	if _, err := r.Open(id, sealed, "certificate/example.org"); !errors.Is(err, seal.ErrAltered) {
		t.Errorf("as another thing: %v", err)
	}
	sealed[len(sealed)-1]++
	if _, err := r.Open(id, sealed, "certificate/example.com"); !errors.Is(err, seal.ErrAltered) {
		t.Errorf("altered: %v", err)
	}
	for path, mode := range map[string]os.FileMode{filepath.Join(dir, seal.Dir): 0o700, filepath.Join(dir, seal.Dir, id): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: mode %v, want %v: %v", path, info.Mode(), mode, err)
		}
	}
}

func TestAnotherHostHasTheSameKeyOrSaysThatItHasNot(t *testing.T) {
	a, b := seal.New(t.TempDir()), seal.New(t.TempDir())
	id, err := a.Make()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := a.Seal(id, []byte("x"), "it")
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Open(id, sealed, "it")
	if missing, ok := errors.AsType[*seal.MissingKeyError](err); !ok || missing.ID != id || b.Has(id) {
		t.Errorf("without the key: %v", err)
	}
	key, err := a.Key(id)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := b.Add(key); err != nil || got != id {
		t.Fatalf("added as %s: %v", got, err)
	}
	if got, err := b.Open(id, sealed, "it"); err != nil || string(got) != "x" {
		t.Errorf("opened %q: %v", got, err)
	}
}

func TestWhatIsNoKeyIsRefused(t *testing.T) {
	dir := t.TempDir()
	r := seal.New(dir)
	if _, err := r.Add([]byte("short")); err == nil {
		t.Error("a short key is kept")
	}
	if _, err := r.Key("../../etc/shadow"); err == nil || !strings.Contains(err.Error(), "is no id") {
		t.Errorf("a path is read: %v", err)
	}
	id, err := r.Make()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, seal.Dir, id), []byte("cut off"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Seal(id, nil, "it"); err == nil || !strings.Contains(err.Error(), "has 7 bytes, want 32") {
		t.Errorf("a key that was cut off: %v", err)
	}
}
