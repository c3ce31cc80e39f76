package state_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/supervisord/supervisord/supervisor/state"
)

func TestWhatIsBackedUpHasOneSpaceOfNames(t *testing.T) {
	inside, outside := &state.Backup{Engine: "redis"}, &state.Backup{Engine: "postgres"}
	s := state.Spec{
		Services: map[string]state.Service{"cache": {Name: "cache", Backup: inside}, "web": {Name: "web"}},
		Databases: []state.Database{
			{Name: "cache", Backup: outside}, {Name: "billing", Backup: outside}, {Name: "web"}, {Name: "watched"},
		},
	}
	if diff := cmp.Diff([]string{"billing", "cache"}, s.BackedUp()); diff != "" {
		t.Errorf("backed up (-want +got):\n%s", diff)
	}
	for name, want := range map[string]*state.Backup{"cache": inside, "billing": outside, "web": nil, "watched": nil, "nobody": nil} {
		if got := s.BackupOf(name); got != want {
			t.Errorf("%s is backed up by %v, want %v", name, got, want)
		}
	}
	// A service goes first: its backups were there before.
	if _, ok := s.OutsideOf("cache"); ok {
		t.Error("cache is outside")
	}
}

// keepOutsideLog commits backups of a database outside.
func keepOutsideLog(t *testing.T, commit func(...state.Command), now func() state.Cluster) {
	t.Helper()
	s := spec("1")
	s.Databases = []state.Database{{
		Name: "billing", Engine: "postgres", Address: "10.0.0.9:5432",
		Backup: &state.Backup{Engine: "postgres", Database: "bills", Schedule: "0 3 * * *", Verify: "@weekly", To: []string{"/b"}},
		Login:  state.Login{User: "backup", Credentials: "/etc/pass", Host: "a", Image: "postgres:16"},
	}}
	a := host("a")
	a.Format = 2
	next := epoch.Add(24 * time.Hour)
	commit(state.Found{ID: "c1"}, a, state.SetSpec{Spec: s, Host: "a"})
	commit(state.ArmBackup{Service: "billing", Schedule: "0 3 * * *", Verify: "@weekly", Next: epoch, VerifyNext: next})
	commit(state.BeginTask{Kind: state.TaskBackup, Service: "billing", Host: "a", By: "schedule", Due: epoch, Next: next})
	task, _ := now().Tasks.Get("billing")
	commit(state.FinishTask{ID: task.ID, Service: "billing", Record: &state.BackupRecord{
		Engine: "postgres", Began: epoch, Ended: epoch, Size: 1, DumpSize: 2, Tables: 3, Rows: 4, Copies: []string{"/b"}}})
}
