package supervisor

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/supervisord/supervisord/backup/dump/dbtest"
	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/engine"
	"github.com/supervisord/supervisord/supervisor/engine/enginetest"
	"github.com/supervisord/supervisord/supervisor/state"
)

// alone makes a cluster of one host.
func alone(t *testing.T, h *testHost) *testHost {
	t.Helper()
	if _, err := Init(t.Context(), InitOptions{StateDir: h.dir, Host: h.name, Advertise: freeAddress(t), TokenTTL: time.Hour}); err != nil {
		t.Fatal(err)
	}
	h.start()
	eventually(t, "it leads", func() string { return h.sees(1, 1) })
	return h
}

// serverImage is an image that runs PostgreSQL without being told to, as the
// database's own does.
func serverImage(t *testing.T) string {
	t.Helper()
	name := enginetest.Name("postgres")
	build := exec.CommandContext(t.Context(), "docker", "build", "-q", "-t", name, "-")
	build.Stdin = strings.NewReader("FROM " + dbtest.Image(t) + "\nCMD [\"postgres\"]\n")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("docker build: %v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", name).Run() })
	return name
}

func TestADatabaseOutsideIsBackedUpTriedAndRestored(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a real database and a real container engine")
	}
	s := newShop(t, 20_000)
	containers, err := engine.Dial(t.Context(), engine.Options{Cluster: enginetest.Name("cluster"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = containers.Close() })
	db := &s.spec.Databases[0]
	db.Login.Image, db.Backup.Verify = serverImage(t), "@every 24h"
	h := alone(t, s.keptBy(newTestHost(t, "a"), containers))
	propose(t, h, state.SetSpec{Spec: s.spec, Host: "a"})
	b := backend{Supervisor: &Supervisor{node: h.member.node, options: Options{Host: "a"}}}
	order := func(o api.TaskOrder) state.TaskResult {
		t.Helper()
		o.By = "ops"
		task, err := b.beginWhenFree(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		return s.result(h, task)
	}
	rows := func(database string) string {
		return s.db.Must("SELECT count(*) FROM sales;", "psql", "-X", "-A", "-t", "-d", database)
	}
	all := strconv.FormatInt(s.rows, 10)

	first := s.result(h, s.arm(h))
	if first.Error != "" {
		t.Fatal(first.Error)
	}
	// The first backup is tried at once.
	eventually(t, "the drill in a container", func() string {
		return h.hasEvent(state.EventDrillPassed, fmt.Sprintf("%s restores: 1 tables with %s rows", first.Backup, all))
	})
	if left, err := containers.Scratches(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("containers of the drill are left: %v, %v", left, err)
	}
	if r, _ := h.state().FindBackup(first.Backup); !r.Restorable() || r.By != "schedule" || r.Host != "a" {
		t.Errorf("the record %+v", r)
	}

	t.Run("in the place of the one in use", func(t *testing.T) {
		s.db.Must("DELETE FROM sales WHERE id > 10;", "psql", "-d", "shop")
		if r := order(api.TaskOrder{Kind: state.TaskRestore, Backup: first.Backup}); r.Error != "" || !strings.Contains(r.Detail, "the database that was there is") {
			t.Errorf("%q: %s", r.Detail, r.Error)
		}
		if got := rows("shop"); got != all {
			t.Errorf("%s rows, want %s", got, all)
		}
		// What was there is kept, under another name.
		if old := s.db.Must("SELECT datname FROM pg_database WHERE datname LIKE 'shop\\_before\\_%';", "psql", "-X", "-A", "-t", "-d", "shop"); rows(old) != "10" {
			t.Errorf("%q has %s rows, want those of before", old, rows(old))
		}
	})
	t.Run("beside it", func(t *testing.T) {
		if r := order(api.TaskOrder{Kind: state.TaskRestore, Backup: first.Backup, To: "database:beside"}); r.Error != "" || rows("beside") != all {
			t.Errorf("%s rows, want %s: %s", rows("beside"), all, r.Error)
		}
	})
	t.Run("to a file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "shop.sql")
		r := order(api.TaskOrder{Kind: state.TaskRestore, Backup: first.Backup, To: "file:" + path})
		if text, err := os.ReadFile(path); err != nil || !bytes.Contains(text, []byte("PostgreSQL database dump complete")) || bytes.Count(text, []byte("\n")) < int(s.rows) {
			t.Errorf("%d bytes: %v, %s", len(text), err, r.Error)
		}
		if r := order(api.TaskOrder{Kind: state.TaskRestore, Backup: first.Backup, To: "file:" + path}); !strings.Contains(r.Error, "is there already") {
			t.Errorf("over a file that is there: %q", r.Error)
		}
	})
	eventually(t, "no restore is noted as begun", func() string {
		left, err := filepath.Glob(filepath.Join(h.dir, "tasks", "*"))
		return unless(err == nil && len(left) == 0, fmt.Sprint(left, err))
	})
	t.Run("without its password", func(t *testing.T) {
		hidden := db.Login.Credentials + ".away"
		fails := func(want string) {
			t.Helper()
			if r := order(api.TaskOrder{Kind: state.TaskBackup, Service: "shop"}); !strings.Contains(r.Error, want) {
				t.Errorf("error %q, want %q", r.Error, want)
			}
			if why := h.hasEvent(state.EventBackupFailed, want); why != "" {
				t.Error(why)
			}
			if there, known, err := s.stored(h.state()); err != nil || !slices.Equal(there, known) {
				t.Errorf("there %q, known %q: %v", there, known, err)
			}
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(os.Chmod(db.Login.Credentials, 0o644))
		fails("can be read by others (mode 0644): chmod 600")
		must(os.Rename(db.Login.Credentials, hidden))
		fails("no such file")
		must(os.WriteFile(db.Login.Credentials, []byte("*:*:*:boss:another\n"), 0o600))
		fails("password authentication failed")
		must(os.Rename(hidden, db.Login.Credentials))
		must(os.Chmod(db.Login.Credentials, 0o600))
		if r := order(api.TaskOrder{Kind: state.TaskBackup, Service: "shop"}); r.Error != "" {
			t.Error(r.Error)
		}
	})
	t.Run("with an image that runs no database", func(t *testing.T) {
		c := h.state()
		db.Login.Image, s.spec.Hash = dbtest.Image(t), "2" // it needs to be told which
		propose(t, h, state.SetSpec{Spec: s.spec, Base: c.Spec.Revision, Host: "a"})
		if r := order(api.TaskOrder{Kind: state.TaskDrill, Backup: first.Backup}); !strings.Contains(r.Error, "ended before its database was ready") || !strings.Contains(r.Error, "exit code is 2") {
			t.Errorf("error %q", r.Error)
		}
	})
	t.Run("without an image", func(t *testing.T) {
		c := h.state()
		db.Login.Image, s.spec.Hash = "", "3"
		propose(t, h, state.SetSpec{Spec: s.spec, Base: c.Spec.Revision, Host: "a"})
		const want = "names no verify_image"
		if _, err := b.BeginTask(t.Context(), api.TaskOrder{Kind: state.TaskDrill, Backup: first.Backup, By: "ops"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a drill on demand: %v, want %q", err, want)
		}
		// One that is due finds it out on its host.
		propose(t, h, state.BeginTask{Kind: state.TaskDrill, Service: "shop", Backup: first.Backup, Host: "a", By: "schedule"})
		eventually(t, "a drill that is due", func() string { return h.hasEvent(state.EventDrillFailed, want) })
		if r, _ := h.state().FindBackup(first.Backup); r.Damaged != "" {
			t.Errorf("the backup is no worse for it: %q", r.Damaged)
		}
	})
	var snapshot bytes.Buffer
	if _, err := h.state().WriteTo(&snapshot); err != nil || bytes.Contains(snapshot.Bytes(), []byte("a $ecret")) {
		t.Errorf("the password is in the state: %v", err)
	}
}
