package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/api/apitest"
	"github.com/supervisord/supervisord/supervisor/state"
)

// backedUp is the example with a database that has been backed up twice: a
// drill has restored the first, and the second is partial.
func backedUp(t *testing.T) (b *apitest.Backend, ids []string) {
	t.Helper()
	b = apitest.Example()
	c, _ := b.State()
	s := apitest.ExampleSpec()
	db := s.Services["postgres"]
	db.Backup = &state.Backup{Engine: "postgres", Schedule: "0 3 * * *", Verify: "@weekly", To: []string{"/b", "s3://b"}}
	s.Services["postgres"] = db
	s.Hash = "with backups"
	b.Must(state.SetSpec{Spec: s, Base: c.Spec.Revision})
	host, _, _ := c.Hosts.First()
	b.Must(state.ArmBackup{Service: "postgres", Schedule: "0 3 * * *", Verify: "@weekly", Next: b.Now().Add(time.Hour), VerifyNext: b.Now().Add(24 * time.Hour)})
	for _, missing := range []map[string]string{nil, {"s3://b": "no route to host"}} {
		b.Must(state.BeginTask{Kind: state.TaskBackup, Service: "postgres", Host: host, By: "schedule"})
		c, _ := b.State()
		task, _ := c.Tasks.Get("postgres")
		ids = append(ids, task.Backup)
		b.Must(state.FinishTask{ID: task.ID, Service: "postgres", Record: &state.BackupRecord{Engine: "postgres", Began: b.Now(), Ended: b.Now().Add(3 * time.Second),
			Size: 1 << 20, DumpSize: 7 << 20, Tables: 3, Rows: 1000, Copies: []string{"/b"}, Missing: missing}})
		b.Advance(time.Minute)
		if missing == nil {
			b.Must(state.BeginTask{Kind: state.TaskDrill, Service: "postgres", Host: host, Backup: task.Backup, By: "schedule"})
			c, _ = b.State()
			task, _ = c.Tasks.Get("postgres")
			b.Must(state.FinishTask{ID: task.ID, Service: "postgres", Detail: "3 tables", Seconds: 4.5})
		}
	}
	return b, ids
}

func TestBackups(t *testing.T) {
	b, ids := backedUp(t)
	c := client(t, api.Target{URL: serve(t, handler(b)).URL})
	all, err := c.Backups(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if len(all.Services) != 1 || len(all.Backups) != 2 || all.Backups[0].ID != ids[1] || !all.Backups[0].Partial || all.Backups[0].Restorable {
		t.Fatalf("%+v", all)
	}
	s := all.Services[0]
	if s.KnownToRestore == nil || s.KnownToRestore.ID != ids[0] || s.KnownToRestore.DrillSeconds != 4.5 {
		t.Errorf("known to restore: %+v", s.KnownToRestore)
	}
	if !strings.Contains(s.Problem, "is partial, it is missing in s3://b: no route to host") {
		t.Errorf("problem %q", s.Problem)
	}
	if w := ask(handler(b), http.MethodGet, "/v1/backups?service=backend", ""); w.Code != 404 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// backedUpOutside is the example with a database outside, not backed up yet, and
// what has its first backup fail.
func backedUpOutside() (b *apitest.Backend, fail func()) {
	b = apitest.Example()
	c, _ := b.State()
	s := apitest.ExampleSpec()
	s.Databases = append(s.Databases, state.Database{Name: "orders", Engine: "postgres", Address: "10.0.0.9:5432",
		Backup: &state.Backup{Engine: "postgres", Schedule: "@daily", To: []string{"/b"}}})
	s.Hash = "with a database outside"
	b.Must(state.SetSpec{Spec: s, Base: c.Spec.Revision})
	return b, func() {
		host, _, _ := c.Hosts.First()
		b.Must(state.BeginTask{Kind: state.TaskBackup, Service: "orders", Host: host, By: "schedule"})
		c, _ := b.State()
		task, _ := c.Tasks.Get("orders")
		b.Must(state.FinishTask{ID: task.ID, Service: "orders", Error: "no route to host"})
	}
}

func TestTheStatusTellsOfDatabasesOutside(t *testing.T) {
	b, fail := backedUpOutside()
	c := client(t, api.Target{URL: serve(t, handler(b)).URL})
	problem := func() string {
		got, err := c.Status(t.Context())
		if err != nil || len(got.Outside) != 1 || got.Outside[0].Service != "orders" {
			t.Fatalf("%+v, %v", got.Outside, err)
		}
		return got.Outside[0].Problem
	}
	if p := problem(); p != "" {
		t.Errorf("before the first run: %q", p)
	}
	fail()
	if p := problem(); p != "the last backup failed: no route to host" {
		t.Errorf("after a failure: %q", p)
	}
}

func TestABackupIsOrderedAndFollowed(t *testing.T) {
	b, _ := backedUp(t)
	url := serve(t, handler(b)).URL
	c := client(t, api.Target{URL: url})
	begun, err := c.BackUp(t.Context(), api.BackupNow{Service: "postgres", By: "root"})
	if err != nil || begun.Task.Kind != state.TaskBackup || begun.Task.By != "root" {
		t.Fatalf("%+v, %v", begun, err)
	}
	if _, err := c.BackUp(t.Context(), api.BackupNow{Service: "postgres"}); err == nil || !strings.Contains(err.Error(), "under way") {
		t.Errorf("two at once: %v", err)
	}
	a, err := c.Task(t.Context(), begun.Task.ID)
	if err != nil || a.Ended || a.Progress == nil || a.Progress.Dumped == 0 {
		t.Errorf("%+v, %v", a, err)
	}
	b.Must(state.FinishTask{ID: begun.Task.ID, Service: "postgres", Error: "the disk is full"})
	if a, err = c.Task(t.Context(), begun.Task.ID); err != nil || !a.Ended || a.Result.Error != "the disk is full" || a.Record != nil {
		t.Errorf("%+v, %v", a, err)
	}
	// The stream ends with the task.
	w := ask(handler(b), http.MethodGet, "/v1/tasks/"+begun.Task.ID+"/stream", "")
	if w.Code != 200 || !strings.Contains(w.Body.String(), `"ended":true`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := ask(handler(b), http.MethodGet, "/v1/tasks/none.1", ""); w.Code != 404 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestBackupsAreNotForStrangers(t *testing.T) {
	b, ids := backedUp(t)
	h := handler(b, func(o *api.Options) { o.Trusted = false })
	for _, path := range []string{"/v1/backups", "/v1/backups/" + ids[0] + "/restore", "/v1/backups/" + ids[0] + "/verify"} {
		if w := ask(h, http.MethodPost, path, `{}`); w.Code != 401 && w.Code != 403 {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestBackupMetrics(t *testing.T) {
	b, _ := backedUp(t)
	text := ask(handler(b), http.MethodGet, "/metrics", "").Body.String()
	for _, want := range []string{
		`supervisord_backups{service="postgres"} 2`, `supervisord_backup_partial{service="postgres"} 1`, `supervisord_backup_runs_total{service="postgres"} 2`,
		`supervisord_backup_drill_duration_seconds{service="postgres"} 4.5`, `supervisord_backup_known_to_restore_timestamp_seconds{service="postgres"} 1.7`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
}
