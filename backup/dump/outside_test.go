package dump_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/supervisord/supervisord/backup/dump"
	"github.com/supervisord/supervisord/backup/dump/dbtest"
)

// TestRealDatabasesOutside: a database is reached by its address alone, with a
// password that is in a file of the tools' own form.
func TestRealDatabasesOutside(t *testing.T) {
	for name, c := range map[string]struct {
		start func(*testing.T) kind
		file  string
	}{
		"postgres": {postgres, "*:*:*:boss:" + dbtest.Password + "\n"},
		"mariadb":  {mariadb, "[client]\npassword=\"" + dbtest.Password + "\"\n"},
		"redis":    {redisKind, dbtest.Password + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := c.start(t)
			k.fill()
			file := filepath.Join(t.TempDir(), "with a space")
			if err := os.WriteFile(file, []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
			o := dump.Options{Engine: name}
			if name != "redis" {
				o.Database = "shop"
			}
			at, err := dump.NewOutside(o, dump.Outside{Address: k.db.Address, User: k.db.User, File: file})
			if err != nil {
				t.Fatal(err)
			}
			if err := at.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			var text bytes.Buffer
			content, err := at.Dump(t.Context(), &text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(k.want, sorted(content.Tables)); diff != "" {
				t.Errorf("tables (-want +got):\n%s", diff)
			}
			if name == "redis" {
				return
			}
			before := k.read()
			const into = dump.RestorePrefix + "7"
			if err := at.Load(t.Context(), bytes.NewReader(text.Bytes()), content, into); err != nil {
				t.Fatal(err)
			}
			got, err := at.Count(t.Context(), into)
			if err == nil {
				err = dump.Compare(content.Tables, got)
			}
			if err != nil {
				t.Fatal(err)
			}
			k.spoil()
			if _, err := at.Swap(t.Context(), into, content); err != nil {
				t.Fatal(err)
			}
			if after := k.read(); after != before {
				t.Errorf("after the restore:\n%s\nbefore:\n%s", after, before)
			}
		})
	}
}

func TestACredentialsFileMustBePrivate(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for file, want := range map[string]string{
		filepath.Join(dir, "gone"):       "no such file",
		dir:                              "is no file",
		write("empty", "", 0o600):        "is empty",
		write("open", "geheim\n", 0o640): "can be read by others (mode 0640): chmod 600",
	} {
		_, err := dump.NewOutside(dump.Options{Engine: "postgres"}, dump.Outside{Address: "127.0.0.1:1", User: "u", File: file})
		if !errors.Is(err, dump.ErrCredentials) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: error %v, want one with %q", file, err, want)
		}
	}
}
