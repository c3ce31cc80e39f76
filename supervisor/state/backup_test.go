package state_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/supervisord/supervisord/supervisor/state"
)

// withBackup is a log with a database that is backed up.
func withBackup(t testing.TB) *log {
	l := founded(t)
	s := spec("b")
	db := s.Services["web"]
	db.Backup = &state.Backup{Engine: "postgres", Schedule: "0 3 * * *", To: []string{"/b", "s3://b"}}
	s.Services["web"] = db
	s.Hash = "with backup"
	if err := errors.Join(l.apply(state.SetSpec{Spec: s, Base: l.Spec.Revision, Host: "a"})...); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestTasksThatDoNotFitAreRefused(t *testing.T) {
	due := epoch.Add(time.Hour)
	next := due.Add(24 * time.Hour)
	begin := state.BeginTask{Kind: state.TaskBackup, Service: "web", Host: "a", By: "schedule"}
	for _, c := range []struct {
		name   string
		before []state.Command
		cmd    state.Command
		want   string
	}{
		{"no such host", nil, state.BeginTask{Kind: state.TaskBackup, Service: "web", Host: "x"}, `host "x"`},
		{"no such service", nil, state.BeginTask{Kind: state.TaskBackup, Service: "x", Host: "a"}, "x has no x-backup"},
		{"no such kind", nil, state.BeginTask{Kind: "dance", Service: "web", Host: "a"}, "not known"},
		{"two at once", []state.Command{begin}, begin, "under way"},
		{"not armed", nil, state.BeginTask{Kind: state.TaskBackup, Service: "web", Host: "a", Due: due}, "has been begun"},
		{"begun before", []state.Command{
			state.ArmBackup{Service: "web", Schedule: "0 3 * * *", Next: next},
		}, state.BeginTask{Kind: state.TaskBackup, Service: "web", Host: "a", Due: due, Next: next}, "has been begun"},
		{"another schedule", nil, state.ArmBackup{Service: "web", Schedule: "@daily"}, "another schedule"},
		{"no such backup", nil, state.BeginTask{Kind: state.TaskRestore, Service: "web", Host: "a", Backup: "web-1"}, "no backup web-1"},
		{"nothing to prune", nil, state.BeginTask{Kind: state.TaskPrune, Service: "web", Host: "a"}, "nothing to remove"},
		{"a result of nothing", nil, state.FinishTask{ID: "web.9", Service: "web"}, "not to be done"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := withBackup(t)
			if err := errors.Join(l.apply(c.before...)...); err != nil {
				t.Fatal(err)
			}
			tasks := l.Tasks.Len()
			errs := l.apply(c.cmd)
			if !errors.Is(errs[0], state.ErrRefused) || !strings.Contains(errs[0].Error(), c.want) {
				t.Errorf("error %v, want one about %q", errs[0], c.want)
			}
			if l.Tasks.Len() != tasks {
				t.Error("it has changed something")
			}
		})
	}
}

// backUp takes a backup of web and returns its record.
func (l *log) backUp(t testing.TB, missing map[string]string) state.BackupRecord {
	t.Helper()
	if err := errors.Join(l.apply(state.BeginTask{Kind: state.TaskBackup, Service: "web", Host: "a", By: "schedule"})...); err != nil {
		t.Fatal(err)
	}
	task, _ := l.Tasks.Get("web")
	if err := errors.Join(l.apply(state.FinishTask{ID: task.ID, Service: "web", Record: &state.BackupRecord{Began: l.Time, Ended: l.Time, Copies: []string{"/b"}, Missing: missing}})...); err != nil {
		t.Fatal(err)
	}
	r, ok := l.FindBackup(task.Backup)
	if !ok {
		t.Fatalf("no record of %s", task.Backup)
	}
	return r
}

func TestAPartialBackupIsNeverCalledDone(t *testing.T) {
	l := withBackup(t)
	l.backUp(t, map[string]string{"s3://b": "no route to host"})
	for e := range l.Events.Values() {
		if e.Kind == state.EventBackupDone {
			t.Errorf("event %q", e.Message)
		}
		if e.Kind == state.EventBackupPartial && !strings.Contains(e.Message, "no route to host") {
			t.Errorf("event %q does not say why", e.Message)
		}
	}
}

func TestABackupThatIsRemovedInPartIsCalledPartial(t *testing.T) {
	l := withBackup(t)
	r := l.backUp(t, nil)
	if err := errors.Join(l.apply(state.BeginTask{Kind: state.TaskPrune, Service: "web", Host: "a", Backups: []string{r.ID}})...); err != nil {
		t.Fatal(err)
	}
	task, _ := l.Tasks.Get("web")
	if err := errors.Join(l.apply(state.FinishTask{ID: task.ID, Service: "web", Error: "no route to host", Gone: map[string][]string{r.ID: {"/b"}, "other": {"/b"}}})...); err != nil {
		t.Fatal(err)
	}
	got, ok := l.FindBackup(r.ID)
	if !ok || len(got.Copies) != 0 || got.Missing["/b"] == "" || l.Backups.Len() != 1 {
		t.Errorf("%+v, %d backups", got, l.Backups.Len())
	}
}

// keepPruneLog has one backup that could be removed in part only.
func keepPruneLog(t *testing.T, commit func(...state.Command), now func() state.Cluster) {
	t.Helper()
	keepOutsideLog(t, commit, now)
	r, _, _ := now().Backups.First()
	_, id, _ := strings.Cut(r, "/")
	commit(state.BeginTask{Kind: state.TaskPrune, Service: "billing", Host: "a", By: "schedule", Backups: []string{id}})
	task, _ := now().Tasks.Get("billing")
	commit(state.FinishTask{ID: task.ID, Service: "billing", Error: "no route to host", Gone: map[string][]string{id: {"/b"}}})
}

func TestTheStateOfBackupsIsBounded(t *testing.T) {
	l := withBackup(t)
	first := l.backUp(t, nil)
	if err := errors.Join(l.apply(state.BeginTask{Kind: state.TaskDrill, Service: "web", Host: "a", Backup: first.ID, By: "root"})...); err != nil {
		t.Fatal(err)
	}
	task, _ := l.Tasks.Get("web")
	if err := errors.Join(l.apply(state.FinishTask{ID: task.ID, Service: "web", Detail: "in 3s", Seconds: 3})...); err != nil {
		t.Fatal(err)
	}
	for range 1100 {
		l.backUp(t, nil)
	}
	if n := l.Backups.Len(); n != 1000 {
		t.Errorf("%d backups are known", n)
	}
	if n := l.TaskResults.Len(); n > 100 {
		t.Errorf("%d results are known", n)
	}
	if good, ok := l.KnownToRestore("web"); !ok || good.ID != first.ID {
		t.Errorf("the one that is known to restore was forgotten: %v", good)
	}
}
