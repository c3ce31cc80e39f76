package plan_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/backup"
	"github.com/supervisord/supervisord/supervisor/plan"
	"github.com/supervisord/supervisord/supervisor/state"
)

func database(change func(*state.Backup)) state.Service {
	b := &state.Backup{Engine: "postgres", Schedule: "0 3 * * *", To: []string{"/backups"}}
	if change != nil {
		change(b)
	}
	return state.Service{Name: "db", Hash: "d1", Replicas: 1, Stateful: true, Backup: b}
}

// backedUp is a world with a database that is ready and armed.
func backedUp(t testing.TB, change func(*state.Backup)) *world {
	t.Helper()
	w := newWorld(t, database(change))
	w.round()
	w.ready()
	w.round()
	return w
}

func (w *world) at(clock string) {
	w.t.Helper()
	now, err := time.Parse("2006-01-02 15:04", clock)
	if err != nil {
		w.t.Fatal(err)
	}
	w.now = now
}

func (w *world) task() state.Task {
	w.t.Helper()
	task, ok := w.Tasks.Get("db")
	if !ok {
		w.t.Fatal("there is no task")
	}
	return task
}

// finish ends the task of the database well, with a record where it is a
// backup.
func (w *world) finish(fault string) {
	w.t.Helper()
	task := w.task()
	cmd := state.FinishTask{ID: task.ID, Service: "db", Error: fault}
	if task.Kind == state.TaskBackup && fault == "" {
		cmd.Record = &state.BackupRecord{Began: w.now, Ended: w.now, Copies: []string{"/backups"}}
	}
	if task.Kind == state.TaskPrune && fault == "" {
		cmd.Removed = task.Backups
	}
	w.must(cmd)
}

func (w *world) line() state.BackupLine {
	line, _ := w.BackupLines.Get("db")
	return line
}

const begin, arm = "state.BeginTask", "state.ArmBackup"

func TestABackupIsBegunOnceWhenItIsDue(t *testing.T) {
	w := backedUp(t, nil)
	w.at("2026-01-03 02:59")
	w.wants(w.round())
	w.at("2026-01-03 03:00")
	w.wants(w.round(), begin)
	if task := w.task(); task.Kind != state.TaskBackup || task.Host != "a" || task.By != "schedule" {
		t.Errorf("task %+v", task)
	}
	// It goes on until after the next is due: they never overlap.
	w.at("2026-01-04 03:30")
	w.wants(w.round())
	w.finish("")
	w.wants(w.round(), begin)
	w.finish("")
	w.wants(w.round())
	if line := w.line(); line.Runs != 2 || line.Failed != 0 || !line.Next.Equal(time.Date(2026, 1, 5, 3, 0, 0, 0, time.UTC)) {
		t.Errorf("line %+v", line)
	}
}

func TestWhatWasMissedIsCaughtUpOnce(t *testing.T) {
	w := backedUp(t, nil)
	w.at("2026-01-09 12:00")
	w.wants(w.round(), begin)
	w.finish("")
	w.wants(w.round())
}

func TestWithoutAReadyInstanceABackupWaits(t *testing.T) {
	w := backedUp(t, nil)
	w.each(state.Ready, func(id string) state.Command { return state.Fail{ID: id, Reason: "exit 1"} })
	w.at("2026-01-03 03:00")
	w.wants(w.round(), "pending db: waits until the instance before it is gone")
	w.gone()
	w.wants(w.round(), "place db-1 d1 on a", "pending db: its backup is due and waits for an instance that is ready")
	w.ready()
	w.wants(w.round(), begin)
}

func TestAFailedBackupIsTriedAgainAfterAPause(t *testing.T) {
	w := backedUp(t, nil)
	w.at("2026-01-03 03:00")
	w.round()
	w.finish("the disk is full")
	w.wants(w.round())
	w.now = w.now.Add(time.Minute)
	w.wants(w.round(), begin)
	w.finish("the disk is full")
	w.now = w.now.Add(time.Minute)
	w.wants(w.round())
	w.now = w.now.Add(time.Minute)
	w.wants(w.round(), begin)
	w.finish("")
	if line := w.line(); line.Runs != 3 || line.Failed != 2 || line.Backup.Count != 0 {
		t.Errorf("line %+v", line)
	}
	w.now = w.now.Add(time.Hour)
	w.wants(w.round())
}

func TestTheTaskOfALostHostFails(t *testing.T) {
	w := backedUp(t, nil)
	w.must(state.RegisterHost{Name: "b", Address: "10.0.0.2", CPUs: 4, Memory: 8 << 30, Format: state.Format})
	w.at("2026-01-03 03:00")
	w.round()
	w.must(state.LoseHost{Name: "a", Why: "no contact"})
	w.round()
	if r, ok := w.TaskResultOf(fmt.Sprintf("db.%d", w.Index-2)); !ok || r.Error != "its host a is lost" {
		t.Errorf("result %+v %v", r, ok)
	}
	if line := w.line(); line.Failed != 1 || line.Backup.Retry.IsZero() {
		t.Errorf("line %+v", line)
	}
	// Its result comes too late.
	_, errs := state.Apply(w.Cluster, w.Index+1, state.Proposal{At: w.now, Commands: []state.Command{
		state.FinishTask{ID: fmt.Sprintf("db.%d", w.Index-2), Service: "db", Record: &state.BackupRecord{}}}})
	if !errors.Is(errs[0], state.ErrRefused) {
		t.Errorf("a late result is taken: %v", errs)
	}
}

func TestAnotherScheduleIsArmedAnew(t *testing.T) {
	w := backedUp(t, nil)
	w.spec(database(func(b *state.Backup) { b.Schedule = "@every 6h"; b.Verify = "@weekly" }))
	w.wants(w.round(), arm)
	if line := w.line(); !line.Next.Equal(epoch.Add(6*time.Hour)) || line.VerifyNext.IsZero() {
		t.Errorf("line %+v", line)
	}
	w.spec(database(func(b *state.Backup) { b.Schedule = ""; b.BeforeDeploy = true }))
	w.wants(w.round(), arm)
	w.now = w.now.AddDate(1, 0, 0)
	w.wants(w.round())
}

func TestDrills(t *testing.T) {
	w := backedUp(t, func(b *state.Backup) { b.Verify = "@weekly"; b.Schedule = "0 3 1 * *" })
	w.at("2026-01-05 00:00")
	w.wants(w.round()) // There is nothing to restore yet.
	w.at("2026-02-01 03:00")
	w.round()
	w.finish("")
	// The first is tried at once, though the week is not over.
	w.wants(w.round(), begin)
	drill := w.task()
	if drill.Kind != state.TaskDrill {
		t.Fatalf("task %+v", drill)
	}
	w.finish("")
	if b, ok := w.KnownToRestore("db"); !ok || b.ID != drill.Backup {
		t.Errorf("known to restore: %+v", b)
	}
	w.at("2026-02-03 00:00")
	w.wants(w.round())
	w.at("2026-02-08 00:00")
	w.wants(w.round(), begin)
	// Not its fault: again after a pause.
	w.finish("there is no image")
	w.now = w.now.Add(time.Minute)
	w.wants(w.round(), begin)
	if _, ok := w.KnownToRestore("db"); !ok {
		t.Error("a drill that could not be done has made it unknown")
	}
	// Damage: there is no use in trying that one again before its time.
	w.must(state.FinishTask{ID: w.task().ID, Service: "db", Error: "a bit has flipped", Damaged: true})
	if _, ok := w.KnownToRestore("db"); ok {
		t.Error("what is damaged is known to restore")
	}
	w.now = w.now.Add(3 * time.Hour)
	w.wants(w.round())
	w.at("2026-02-15 00:00")
	w.wants(w.round(), begin)
}

func TestWhatIsNoLongerKeptIsRemoved(t *testing.T) {
	w := backedUp(t, func(b *state.Backup) { b.Keep = backup.Retention{Last: 2} })
	for day := 3; day < 8; day++ {
		w.at(fmt.Sprintf("2026-01-%02d 03:00", day))
		w.wants(w.round(), begin)
		w.finish("")
		if day < 5 {
			w.wants(w.round())
			continue
		}
		w.wants(w.round(), begin)
		if task := w.task(); task.Kind != state.TaskPrune || len(task.Backups) != 1 {
			t.Fatalf("task %+v", task)
		}
		w.finish("")
		if n := w.Backups.Len(); n != 2 {
			t.Errorf("%d backups are left", n)
		}
	}
	w.at("2026-01-08 03:00")
	w.round()
	w.finish("")
	w.round()
	w.finish("the bucket is away")
	w.now = w.now.Add(30 * time.Second)
	w.wants(w.round())
	w.now = w.now.Add(30 * time.Second)
	w.wants(w.round(), begin)
}

// Whoever leads, with whatever clock, and however tasks end: one run for each
// due time at the most, none overlap, and what is due is begun.
func TestScheduleProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := backedUp(t, func(b *state.Backup) { b.Schedule = "30 2 * * *"; b.Timezone = "Europe/Berlin"; b.Verify = "@weekly" })
		w.at("2026-10-20 00:00")
		begun := map[string]int{}
		for range rapid.IntRange(1, 120).Draw(rt, "steps") {
			w.now = w.now.Add(time.Duration(rapid.IntRange(1, 600).Draw(rt, "minutes")) * time.Minute)
			stale := w.Cluster
			skew := time.Duration(rapid.IntRange(-120, 120).Draw(rt, "skew")) * time.Second
			// Two leaders at once: both plan from what they know, and commit.
			for _, from := range []state.Cluster{stale, w.Cluster} {
				r := plan.Round(plan.View{Now: w.now.Add(skew), Cluster: from, Frames: func(string) []autoscale.Frame { return nil }})
				for _, s := range r.Steps {
					after, errs := state.Apply(w.Cluster, w.Index+1, state.Proposal{At: w.now.Add(skew), Commands: []state.Command{s.Command}})
					if cmd, ok := s.Command.(state.BeginTask); ok && errs[0] == nil && !cmd.Due.IsZero() {
						key := string(cmd.Kind) + cmd.Due.String()
						if begun[key]++; begun[key] > 1 {
							rt.Fatalf("%s was begun twice", key)
						}
					}
					w.Cluster = after
				}
				skew = 0
			}
			if task, ok := w.Tasks.Get("db"); ok && rapid.Bool().Draw(rt, "ends") {
				w.finish(rapid.SampledFrom([]string{"", "", "trouble"}).Draw(rt, "how"))
				_ = task
			}
		}
		if _, busy := w.Tasks.Get("db"); busy {
			w.finish("")
		}
		for range 5 {
			w.round()
			if _, busy := w.Tasks.Get("db"); busy {
				w.finish("")
			}
		}
		if line := w.line(); !line.Next.After(w.now) {
			rt.Fatalf("at %s what was due at %s was not begun", w.now, line.Next)
		}
	})
}

func TestReader(t *testing.T) {
	w := backedUp(t, nil)
	w.must(state.RegisterHost{Name: "b", Address: "10.0.0.2", CPUs: 4, Memory: 8 << 30, Format: state.Format})
	for _, c := range []struct {
		host   string
		copies []string
		want   string
	}{
		{"a", []string{"/backups"}, "a"},
		{"gone", []string{"/backups"}, ""},
		{"gone", []string{"/backups", "s3://b"}, "a"},
	} {
		if got := plan.Reader(w.Cluster, state.BackupRecord{Host: c.host, Copies: c.copies}); got != c.want {
			t.Errorf("%v: %q, want %q", c, got, c.want)
		}
	}
	if !slices.Contains([]string{"a"}, plan.ServingHost(w.Cluster, "db")) {
		t.Error("no host serves")
	}
}

func TestADatabaseOutsideIsBackedUpByOneHost(t *testing.T) {
	for _, c := range []struct {
		name, only string
		before     []state.Command
		want       string
	}{
		{"the first by name", "", nil, "a"},
		{"not one that is drained", "", []state.Command{state.DrainHost{Name: "a"}}, "b"},
		{"not one that is lost", "", []state.Command{state.LoseHost{Name: "a"}}, "b"},
		{"the one that is named", "b", nil, "b"},
		{"the one that is named, though it is drained", "b", []state.Command{state.DrainHost{Name: "b"}}, "b"},
		{"none, if the one that is named is away", "b", []state.Command{state.LoseHost{Name: "b"}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.host("b")
			spec := w.Spec
			spec.Hash = "outside"
			spec.Databases = []state.Database{{
				Name: "db", Engine: "postgres", Address: "10.0.0.9:5432", Login: state.Login{Host: c.only},
				Backup: &state.Backup{Engine: "postgres", Schedule: "0 3 * * *", To: []string{"/backups"}},
			}}
			w.must(state.SetSpec{Spec: spec, Base: w.Spec.Revision, Host: "a"})
			w.wants(w.round(), arm)
			w.must(c.before...)
			w.at("2026-01-03 03:00")
			if c.want == "" {
				w.wants(w.round(), "pending db: its backup is due and waits for host b")
				return
			}
			w.wants(w.round(), begin)
			if got := w.task().Host; got != c.want {
				t.Errorf("it is taken by %q, want %q", got, c.want)
			}
			w.finish("")
			w.wants(w.round())
		})
	}
}
