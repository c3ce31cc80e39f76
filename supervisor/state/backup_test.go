package state_test

import (
	"errors"
	"fmt"
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

// keepBackupLog commits every command of backups.
func keepBackupLog(t *testing.T, commit func(...state.Command), now func() state.Cluster) {
	t.Helper()
	s := spec("1")
	web := s.Services["web"]
	web.Backup = &state.Backup{Engine: "postgres", Schedule: "0 3 * * *", Verify: "@weekly", To: []string{"/b", "s3://b"}}
	s.Services["web"] = web
	s.Backup = state.BackupSettings{Identity: "/etc/key"}
	a := host("a")
	a.Format = 2
	commit(state.Found{ID: "c1"}, a, state.SetSpec{Spec: s, Host: "a"})
	next := epoch.Add(24 * time.Hour)
	commit(state.ArmBackup{Service: "web", Schedule: "0 3 * * *", Verify: "@weekly", Next: epoch, VerifyNext: next})
	commit(state.BeginTask{Kind: state.TaskBackup, Service: "web", Host: "a", By: "schedule", Due: epoch, Next: next})
	task := func() state.Task { task, _ := now().Tasks.Get("web"); return task }
	commit(state.FinishTask{ID: task().ID, Service: "web", Error: "the disk is full"})
	for range 2 {
		commit(state.BeginTask{Kind: state.TaskBackup, Service: "web", Host: "a", By: "root", Before: 2})
		commit(state.FinishTask{ID: task().ID, Service: "web", Record: &state.BackupRecord{
			Engine: "postgres", Began: epoch, Ended: epoch, Size: 1, DumpSize: 2, Tables: 3, Rows: 4, Copies: []string{"/b"}, Missing: map[string]string{"s3://b": "away"}}})
	}
	var ids []string
	for b := range now().BackupsOf("web") {
		ids = append(ids, b.ID)
	}
	for n, finish := range []state.FinishTask{{Detail: "in 3s", Seconds: 3}, {Error: "no image"}, {Error: "a bit has flipped", Damaged: true}} {
		commit(state.BeginTask{Kind: state.TaskDrill, Service: "web", Host: "a", By: "schedule", Backup: ids[n%2]})
		finish.ID, finish.Service = task().ID, "web"
		commit(finish)
	}
	for _, fault := range []string{"", "the archive is gone"} {
		commit(state.BeginTask{Kind: state.TaskRestore, Service: "web", Host: "a", By: "root", Backup: ids[1], To: "database:old"})
		commit(state.FinishTask{ID: task().ID, Service: "web", Error: fault, Detail: "done"})
	}
	commit(state.BeginTask{Kind: state.TaskPrune, Service: "web", Host: "a", By: "schedule", Backups: ids})
	commit(state.FinishTask{ID: task().ID, Service: "web", Removed: ids[:1], Error: fmt.Sprintf("%s: away", ids[1])})
}
