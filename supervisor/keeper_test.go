package supervisor

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/supervisord/supervisord/backup"
	"github.com/supervisord/supervisord/backup/dump/dbtest"
	"github.com/supervisord/supervisord/backup/sink"
	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/state"
)

var soakLeaders = flag.Int("soak.leaders", 4, "how many leaders end in the midst of scheduled backups")

// shop is a real database outside, and the directory that its backups go to.
type shop struct {
	t    *testing.T
	db   *dbtest.DB
	rows int64
	to   string
	spec state.Spec
	// armed counts the due times that were given.
	armed uint64
	// marks is a directory: "running" is there while a pg_dump runs, "begun" has
	// a line for each, "overlaps" one for each that met another.
	marks string
	// deaf hosts cannot tell how their tasks went; unheard counts what they tried.
	deaf    atomic.Bool
	unheard atomic.Int64
}

// newShop has no runs of its own accord for a day: what is due is armed.
func newShop(t *testing.T, rows int64) *shop {
	t.Helper()
	s := &shop{t: t, db: dbtest.Postgres(t), rows: rows, to: t.TempDir(), marks: t.TempDir()}
	s.db.Must(fmt.Sprintf("CREATE TABLE sales AS SELECT n AS id, repeat(md5(n::text), 8) || md5(random()::text) AS what FROM generate_series(1, %d) n;", rows), "psql", "-d", "shop")
	credentials := filepath.Join(t.TempDir(), "pgpass")
	if err := os.WriteFile(credentials, []byte("*:*:*:"+s.db.User+":"+dbtest.Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.spec = state.Spec{Hash: "1", Project: "shop", Databases: []state.Database{{
		Name: "shop", Engine: "postgres", Address: s.db.Address,
		Backup: &state.Backup{Engine: "postgres", Database: "shop", Schedule: "@every 24h", To: []string{s.to}, Keep: backup.Retention{Last: 4}},
		Login:  state.Login{User: s.db.User, Credentials: credentials},
	}}}
	// The redirections are the shell's own: a program could be ended instead.
	script := `#!/bin/sh
trap 'trap "" TERM; kill "$tool" 2>/dev/null; wait "$tool"; rm -f running; exit 143' TERM
cd ` + s.marks + `
set -C; { echo $$ >running; } 2>/dev/null || echo overlap >>overlaps
echo begun >>begun
` + dbtest.Program(t, "/usr/lib/postgresql/*/bin/pg_dump") + ` "$@" & tool=$!
wait "$tool"; code=$?
rm -f running
exit $code
`
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "pg_dump"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	return s
}

// keptBy gives a host's daemon a keeper, and a short grace to the others.
func (s *shop) keptBy(h *testHost, e backupEngine) *testHost {
	h.equip = func(p *parts) func(context.Context) error {
		p.grace = 5 * time.Second
		return func(ctx context.Context) error {
			n, log := h.member.node, slog.New(slog.DiscardHandler)
			if testing.Verbose() {
				log = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("host", h.name)
			}
			k := &keeper{
				host: h.name, replica: n.replica, report: voice{n.proposer, s}, engine: e, settled: n.settled.Load,
				getenv: os.Getenv, notes: filepath.Join(h.dir, "tasks"), now: n.replica.Now, log: log,
			}
			return k.run(ctx)
		}
	}
	return h
}

// voice is how a keeper tells; nobody hears that of a deaf shop. The answer comes
// later than the host's own copy of the state has it, as it may.
type voice struct {
	agent.Reporter
	shop *shop
}

func (v voice) Propose(ctx context.Context, cmds ...state.Command) ([]error, error) {
	if v.shop.deaf.Load() {
		v.shop.unheard.Add(1)
		return nil, errors.New("nobody hears")
	}
	refused, err := v.Reporter.Propose(ctx, cmds...)
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(50 * time.Millisecond):
	}
	return refused, err
}

// noContainers is an engine of a host without any.
type noContainers struct{ backupEngine }

func (noContainers) Scratches(context.Context) (map[string]string, error) { return nil, nil }

func (h *testHost) state() state.Cluster {
	c, _ := h.member.replica.Current()
	return c
}

// unless is what eventually is told while something is not yet so.
func unless(so bool, why string) string {
	if so {
		return ""
	}
	return why
}

// mark returns the lines of a mark.
func (s *shop) mark(name string) int {
	text, err := os.ReadFile(filepath.Join(s.marks, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.t.Fatal(err)
	}
	return bytes.Count(text, []byte("\n"))
}

// arm makes a backup due now, and waits until it is begun.
func (s *shop) arm(h *testHost) (task state.Task) {
	s.t.Helper()
	b := s.spec.BackupOf("shop")
	eventually(s.t, "the leader has its own times", func() string {
		line, _ := h.state().BackupLines.Get("shop")
		return unless(!line.Next.IsZero(), "none")
	})
	due := h.member.replica.Now().UTC()
	propose(s.t, h, state.ArmBackup{Service: "shop", Schedule: b.Schedule, Verify: b.Verify, Timezone: b.Timezone, Next: due})
	s.armed++
	eventually(s.t, "what is due is begun", func() string {
		c := h.state()
		if task, _ = c.Tasks.Get("shop"); task.Kind == state.TaskBackup {
			return ""
		}
		for r := range c.TaskResults.Values() {
			if task = r.Task; task.Kind == state.TaskBackup && !task.Began.Before(due) {
				return ""
			}
		}
		return fmt.Sprintf("the next is due at %s", due)
	})
	return task
}

// result waits until a task is over.
func (s *shop) result(h *testHost, task state.Task) (r state.TaskResult) {
	s.t.Helper()
	over := false
	eventually(s.t, "task "+task.ID+" of "+task.Host, func() string {
		r, over = h.state().TaskResultOf(task.ID)
		return unless(over, "under way")
	})
	return r
}

// stored returns the names of the files in the directory, and those that the
// backups in the state have; each of them must be whole.
func (s *shop) stored(c state.Cluster) (there, known []string, err error) {
	place := backup.Place{Cluster: c.ID, Service: "shop"}
	for r := range c.BackupsOf("shop") {
		target := sink.NewDir(s.to)
		m, err := backup.ReadManifest(s.t.Context(), target, place, r.ID)
		if err == nil {
			err = backup.Verify(s.t.Context(), target, place, m, nil, nil)
		}
		if err == nil && (r.Rows != s.rows || m.Content.Rows() != s.rows || len(r.Copies) != 1) {
			err = fmt.Errorf("%s has %d rows, want %d: %+v", r.ID, m.Content.Rows(), s.rows, r)
		}
		if err != nil {
			return nil, nil, err
		}
		known = append(known, m.ID+".json", m.File)
	}
	slices.Sort(known)
	err = filepath.WalkDir(s.to, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			there = append(there, filepath.Base(path))
		}
		return err
	})
	slices.Sort(there)
	return there, known, err
}

// A soakRound is one leader's end: when it comes, whose the task is then, and
// whether the leader comes back in time.
type soakRound struct {
	// moment is "dump" for the midst of a dump, "untold" for when the backup is
	// there and nobody knows of it yet, "" for any.
	moment string
	// own says that the leader has the task itself, away that it does not come
	// back before it is lost.
	own, away bool
}

// nextRound has what must not be missed first, and then anything.
func nextRound(n int) soakRound {
	first := []soakRound{{"dump", true, false}, {"dump", true, true}, {"untold", true, true}, {"dump", false, false}}
	if n < len(first) {
		return first[n]
	}
	moments := []string{"dump", "untold", "", "", "", ""}
	return soakRound{moments[rand.IntN(len(moments))], rand.IntN(2) == 0, rand.IntN(4) == 0}
}

func TestScheduledBackupsOutliveTheirLeaders(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a real database, and takes real time")
	}
	s := newShop(t, 60_000)
	var hosts []*testHost
	for _, name := range []string{"a", "b", "c"} {
		hosts = append(hosts, s.keptBy(newTestHost(t, name), noContainers{}))
	}
	formOf(t, hosts...)
	propose(t, hosts[0], state.SetSpec{Spec: s.spec, Host: "a"})
	leader, _ := leading(t, hosts)
	quiet := s.result(leader, s.arm(leader))
	if quiet.Error != "" {
		t.Fatal(quiet.Error)
	}
	usual := quiet.Ended.Sub(quiet.Began)
	t.Logf("a backup takes %s", usual)

	begun, done, anew, lost := time.Now(), 1, 0, 0
	for n := range *soakLeaders {
		leader, others := leading(t, hosts)
		r := nextRound(n)
		worker := leader
		if !r.own {
			worker = others[rand.IntN(len(others))]
		}
		// The first host by name that is not drained takes the backups.
		for _, h := range hosts {
			propose(t, leader, state.DrainHost{Name: h.name, Off: h == worker})
		}
		s.unheard.Store(0)
		s.deaf.Store(r.moment == "untold")
		task := s.arm(leader)
		if task.Host != worker.name {
			t.Fatalf("round %d: %s has the task, want %s", n, task.Host, worker.name)
		}
		switch r.moment {
		case "dump":
			eventually(t, "a dump is under way", func() string { return unless(s.mark("running") > 0, "none is") })
		case "untold":
			eventually(t, "the backup is there, and untold", func() string { return unless(s.unheard.Load() > 0, "under way") })
		default:
			time.Sleep(rand.N(usual * 6 / 5))
		}
		leader.stop()
		if r.own && s.mark("running") > 0 {
			t.Errorf("round %d: the daemon of %s has ended, and its pg_dump runs", n, leader.name)
		}
		s.deaf.Store(false)
		next, _ := leading(t, others)
		_, before := next.state().Tasks.Get("shop")
		if r.away {
			eventually(t, leader.name+" is lost", func() string {
				h, _ := next.state().Hosts.Get(leader.name)
				return unless(h.IsLost(), "not yet")
			})
		} else {
			leader.start()
		}
		for _, h := range hosts {
			propose(t, next, state.DrainHost{Name: h.name, Off: true})
		}
		got := s.result(next, task)
		switch cutOff := r.own && before; {
		case got.Error == "":
			done++
			if cutOff {
				anew++
			}
		case cutOff && r.away && strings.Contains(got.Error, "its host "+leader.name+" is lost"):
			// That run has none, and a later one does: another is made due, as the
			// back-off would.
			lost++
			if again := s.result(next, s.arm(next)); again.Error != "" {
				t.Errorf("round %d: the run after the one of a lost host: %s", n, again.Error)
			}
			done++
		default:
			t.Errorf("round %d, %+v: the run on %s failed when the leader %s ended: %s", n, r, task.Host, leader.name, got.Error)
		}
		if r.away {
			leader.start()
		}
		eventually(t, "all backups are whole", func() string {
			c := next.state()
			if line, _ := c.BackupLines.Get("shop"); line.Runs != s.armed || line.Runs-line.Failed != uint64(done) {
				t.Fatalf("round %d, %+v: %d due times, %d runs, %d failed, want %d done", n, r, s.armed, line.Runs, line.Failed, done)
			}
			if _, _, err := s.stored(c); err != nil {
				return err.Error() // one that is on its way out
			}
			return ""
		})
	}
	// The next run cleans up after those that were cut off.
	leader, _ = leading(t, hosts)
	if last := s.result(leader, s.arm(leader)); last.Error != "" {
		t.Error(last.Error)
	}
	eventually(t, "nothing is left but the backups that are known", func() string {
		there, known, err := s.stored(leader.state())
		if err != nil || !slices.Equal(there, known) {
			return fmt.Sprintf("there %q, known %q: %v", there, known, err)
		}
		return ""
	})
	if *soakLeaders > 0 && anew == 0 {
		t.Error("no task was begun anew on its host")
	}
	if n := s.mark("overlaps"); n > 0 {
		t.Errorf("%d dumps ran beside another", n)
	}
	t.Logf("%d leaders ended in %s: %d due times, %d backups, %d begun anew on their host, %d failed with theirs; %d dumps begun, %d overlaps",
		*soakLeaders, time.Since(begun).Round(time.Second), s.armed, done+1, anew, lost, s.mark("begun"), s.mark("overlaps"))
}
