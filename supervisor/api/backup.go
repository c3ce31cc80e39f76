package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/supervisord/supervisord/supervisor/state"
)

// Backups answers GET /v1/backups?service=NAME.
type Backups struct {
	At time.Time `json:"at"`
	// Services are those with an x-backup key, or with backups, and databases
	// outside that are backed up, by name.
	Services []BackupStatus `json:"services"`
	// Backups are all that are known, the newest first.
	Backups []Backup `json:"backups"`
}

// Backup is one backup.
type Backup struct {
	state.BackupRecord
	// Partial: not all targets have it. Restorable: a drill has restored it.
	Partial    bool `json:"partial,omitzero"`
	Restorable bool `json:"restorable"`
}

// BackupStatus is how the backups of one service stand.
type BackupStatus struct {
	Service string `json:"service"`
	Engine  string `json:"engine"`
	// Scheduled says that backups are taken by themselves, Verified that drills
	// are.
	Scheduled bool `json:"scheduled"`
	Verified  bool `json:"verified"`
	// Next and NextDrill are when they are due; zero for never.
	Next      time.Time `json:"next,omitzero"`
	NextDrill time.Time `json:"next_drill,omitzero"`
	// Count is how many backups are known; Last is the newest, and
	// KnownToRestore the newest that a drill has restored.
	Count          int     `json:"count"`
	Last           *Backup `json:"last,omitempty"`
	KnownToRestore *Backup `json:"known_to_restore,omitempty"`
	// Task is under way.
	Task *state.Task `json:"task,omitempty"`
	// Failures count backups that failed in a row, DrillFailures drills.
	Failures      *Failures `json:"failures,omitempty"`
	DrillFailures *Failures `json:"drill_failures,omitempty"`
	PruneFailures *Failures `json:"prune_failures,omitempty"`
	Runs          uint64    `json:"runs"`
	Failed        uint64    `json:"failed"`
	// Problem is the worst that is to be said of them, in words; empty where
	// all is well.
	Problem string `json:"problem,omitempty"`
}

// TaskOrder asks for a task of backups.
type TaskOrder struct {
	Kind state.TaskKind
	// Service is to be backed up; Backup is the id of that to be worked with.
	Service, Backup string
	// To is where a restore goes; see state.Task.
	To string
	By string
	// Before is the revision that a backup is taken for.
	Before uint64
}

// TaskAnswer answers GET /v1/tasks/{id}, and the calls that begin one.
type TaskAnswer struct {
	// Ended says that it is done; Result is how it went then.
	Ended    bool              `json:"ended"`
	Task     state.Task        `json:"task"`
	Result   *state.TaskResult `json:"result,omitempty"`
	Progress *TaskProgress     `json:"progress,omitempty"`
	// Record is the backup that it has made.
	Record *Backup `json:"record,omitempty"`
}

// TaskProgress is how far a host is with a task.
type TaskProgress struct {
	ID      string `json:"id"`
	Kind    string `json:"kind"`
	Service string `json:"service"`
	Host    string `json:"host"`
	Backup  string `json:"backup,omitempty"`
	// Phase is "dump", "read back", "start", "restore", "check" or "swap".
	Phase string `json:"phase,omitempty"`
	// Dumped are bytes of the dump, Stored of the archive, until now.
	Dumped  int64   `json:"dumped_bytes"`
	Stored  int64   `json:"stored_bytes"`
	Seconds float64 `json:"seconds"`
}

// BackupNow is the body of POST /v1/backups.
type BackupNow struct {
	Service string `json:"service"`
	By      string `json:"by,omitempty"`
}

// BackupUse is the body of POST /v1/backups/{id}/verify and restore.
type BackupUse struct {
	// To is empty for the place of the database in use, "database:NAME" beside
	// it, "service:NAME" in the place of that one's, or "file:PATH" on the host.
	To string `json:"to,omitempty"`
	By string `json:"by,omitempty"`
}

func (v view) backupOf(r state.BackupRecord) Backup {
	return Backup{BackupRecord: r, Partial: len(r.Missing) > 0, Restorable: r.Restorable()}
}

func streak(s state.Streak) *Failures {
	if s.Count == 0 {
		return nil
	}
	return &Failures{Count: s.Count, Last: s.Last, Retry: s.Retry, Reason: s.Reason}
}

// backupStatus is nil for a service that has neither backups nor the key.
func (v view) backupStatus(name string) *BackupStatus {
	b := v.Spec.BackupOf(name)
	line, _ := v.BackupLines.Get(name)
	out := &BackupStatus{
		Service: name, Next: line.Next, NextDrill: line.VerifyNext, Runs: line.Runs, Failed: line.Failed,
		Failures: streak(line.Backup), DrillFailures: streak(line.Drill), PruneFailures: streak(line.Prune),
	}
	for r := range v.BackupsOf(name) {
		out.Count++
		if out.Last == nil || !r.Began.Before(out.Last.Began) {
			last := v.backupOf(r)
			out.Last = &last
		}
	}
	if r, ok := v.KnownToRestore(name); ok {
		known := v.backupOf(r)
		out.KnownToRestore = &known
	}
	if t, ok := v.Tasks.Get(name); ok {
		out.Task = &t
	}
	if b == nil {
		out.Next, out.NextDrill = time.Time{}, time.Time{}
		if out.Count == 0 {
			return nil
		}
		return out
	}
	out.Engine, out.Scheduled, out.Verified = b.Engine, b.Schedule != "", b.Verify != ""
	out.Problem = v.backupProblem(*b, *out)
	return out
}

// backupProblem is the worst that is to be said.
func (v view) backupProblem(b state.Backup, s BackupStatus) string {
	switch {
	case s.Failures != nil:
		return fmt.Sprintf("the last backup failed: %s", s.Failures.Reason)
	case s.Last != nil && s.Last.Damaged != "":
		return fmt.Sprintf("%s does not restore: %s", s.Last.ID, s.Last.Damaged)
	case s.DrillFailures != nil:
		return fmt.Sprintf("the last drill failed: %s", s.DrillFailures.Reason)
	case s.Last != nil && s.Last.Partial:
		for _, target := range slices.Sorted(keysOf(s.Last.Missing)) {
			return fmt.Sprintf("%s is partial, it is missing in %s: %s", s.Last.ID, target, s.Last.Missing[target])
		}
	case s.PruneFailures != nil:
		return fmt.Sprintf("old backups cannot be removed: %s", s.PruneFailures.Reason)
	case s.Scheduled && s.Task == nil && !s.Next.IsZero() && v.now.Sub(s.Next) > overdue:
		return fmt.Sprintf("a backup is overdue since %s", s.Next.UTC().Format(time.RFC3339))
	case len(b.EncryptTo) > 0 && v.Spec.Backup.Identity == "" && s.KnownToRestore == nil:
		return "not known to restore: the backups are encrypted, and no private key for drills is named (x-supervisor.backup.age_identity_file)"
	case s.Count > 0 && s.KnownToRestore == nil && !s.Verified:
		return "not known to restore: no drill is scheduled (verify)"
	}
	return ""
}

// overdue is how late a backup may be before it is told.
const overdue = 15 * time.Minute

func keysOf(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// backupNames are the services and databases outside that backups are to be told of.
func (v view) backupNames() []string {
	seen := map[string]string{}
	for _, name := range v.Spec.BackedUp() {
		seen[name] = ""
	}
	for r := range v.Backups.Values() {
		seen[r.Service] = ""
	}
	return slices.Sorted(keysOf(seen))
}

// outside is how the backups of databases outside stand; a service's are with it.
func (v view) outside() (all []BackupStatus) {
	for _, name := range v.Spec.BackedUp() {
		if _, ok := v.Spec.OutsideOf(name); ok {
			all = append(all, *v.backupStatus(name))
		}
	}
	return all
}

func (s *server) backups(r *http.Request) (any, error) {
	v := s.view()
	only := r.URL.Query().Get("service")
	body := Backups{At: v.now, Services: []BackupStatus{}, Backups: []Backup{}}
	for _, name := range v.backupNames() {
		if only != "" && name != only {
			continue
		}
		st := v.backupStatus(name)
		if st == nil {
			continue
		}
		body.Services = append(body.Services, *st)
		for b := range v.BackupsOf(name) {
			body.Backups = append(body.Backups, v.backupOf(b))
		}
	}
	if only != "" && len(body.Services) == 0 {
		return nil, &Error{Status: http.StatusNotFound, Message: fmt.Sprintf("there is no service %q with backups", only)}
	}
	slices.SortStableFunc(body.Backups, func(a, b Backup) int { return b.Began.Compare(a.Began) })
	return body, nil
}

func (s *server) backupNow(r *http.Request) (any, error) {
	var body BackupNow
	if err := readBody(r, &body); err != nil {
		return nil, err
	}
	return s.order(r, TaskOrder{Kind: state.TaskBackup, Service: body.Service, By: body.By})
}

func (s *server) useBackup(kind state.TaskKind) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		var body BackupUse
		if err := readBody(r, &body); err != nil {
			return nil, err
		}
		return s.order(r, TaskOrder{Kind: kind, Backup: r.PathValue("id"), To: body.To, By: body.By})
	}
}

func (s *server) order(r *http.Request, o TaskOrder) (any, error) {
	if o.By == "" {
		o.By = "an operator"
	}
	s.Log.InfoContext(r.Context(), "an operator orders a task", "kind", o.Kind, "service", o.Service, "backup", o.Backup, "to", o.To, "by", o.By)
	t, err := s.backend.BeginTask(r.Context(), o)
	if err != nil {
		return nil, notCommitted(err)
	}
	return TaskAnswer{Task: t}, nil
}

// taskAnswer says how a task stands; false where it is not known, or no more.
func (s *server) taskAnswer(ctx context.Context, id string) (TaskAnswer, bool) {
	v := s.view()
	if r, ok := v.TaskResultOf(id); ok {
		a := TaskAnswer{Ended: true, Task: r.Task, Result: &r}
		if b, ok := v.FindBackup(r.Backup); ok && r.Error == "" {
			made := v.backupOf(b)
			a.Record = &made
		}
		return a, true
	}
	for t := range v.Tasks.Values() {
		if t.ID != id {
			continue
		}
		a := TaskAnswer{Task: t}
		for _, p := range s.backend.TaskProgress(ctx, t.Host) {
			if p.ID == id {
				a.Progress = &p
			}
		}
		return a, true
	}
	return TaskAnswer{}, false
}

func noTask(id string) error {
	return &Error{Status: http.StatusNotFound, Message: fmt.Sprintf("there is no task %q, or no more", id)}
}

func (s *server) task(r *http.Request) (any, error) {
	a, ok := s.taskAnswer(r.Context(), r.PathValue("id"))
	if !ok {
		return nil, noTask(r.PathValue("id"))
	}
	return a, nil
}

// progressEvery is how often a stream of progress tells how far it is.
const progressEvery = 500 * time.Millisecond

// taskStream serves GET /v1/tasks/{id}/stream: a server-sent event each half
// second with a TaskAnswer as data, the last one with its result.
func (s *server) taskStream(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	a, ok := s.taskAnswer(r.Context(), id)
	if !ok {
		s.fail(w, r, noTask(id))
		return
	}
	out, err := newStreamWriter(w)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("X-Accel-Buffering", "no")
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		text, err := json.Marshal(a)
		if err != nil {
			s.Log.ErrorContext(r.Context(), "cannot encode an answer", "path", r.URL.Path, "err", err)
			return
		}
		out.printf("data: %s\n\n", text)
		if out.flush() != nil || a.Ended || !ok {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-s.Stopping:
			return
		case <-tick.C:
			a, ok = s.taskAnswer(r.Context(), id)
		}
	}
}

func (m metrics) backups() {
	for _, name := range m.backupNames() {
		b := m.backupStatus(name)
		if b == nil {
			continue
		}
		l := labels{"service", name}
		line, _ := m.BackupLines.Get(name)
		m.gauge("backups", "Backups of a service that are known.", float64(b.Count), l...)
		m.gauge("backup_last_success_timestamp_seconds", "When the last backup was done that one target has at least, in Unix time; 0 for never.", unix(line.LastSuccess), l...)
		m.gauge("backup_next_timestamp_seconds", "When the next backup is due, in Unix time; 0 for never.", unix(b.Next), l...)
		m.gauge("backup_running", "Whether a task of a service's backups is under way.", number(b.Task != nil), l...)
		m.counter("backup_runs_total", "Backups of a service that have ended, well or not.", float64(b.Runs), l...)
		m.counter("backup_failures_total", "Backups of a service that have failed.", float64(b.Failed), l...)
		m.gauge("backup_failure_streak", "Backups of a service that have failed in a row.", float64(line.Backup.Count), l...)
		m.gauge("backup_drill_failure_streak", "Restore drills of a service that have failed in a row.", float64(line.Drill.Count), l...)
		known, seconds := time.Time{}, 0.0
		if b.KnownToRestore != nil {
			known, seconds = b.KnownToRestore.Began, b.KnownToRestore.DrillSeconds
		}
		m.gauge("backup_known_to_restore_timestamp_seconds", "When the newest backup was taken that a drill has restored, in Unix time; 0 for none.", unix(known), l...)
		m.gauge("backup_drill_duration_seconds", "How long the drill of that backup took.", seconds, l...)
		if b.Last != nil {
			m.gauge("backup_size_bytes", "Size of the newest backup's archive.", float64(b.Last.Size), l...)
			m.gauge("backup_dump_size_bytes", "Size of the dump in the newest backup.", float64(b.Last.DumpSize), l...)
			m.gauge("backup_duration_seconds", "How long the newest backup took.", b.Last.Ended.Sub(b.Last.Began).Seconds(), l...)
			m.gauge("backup_partial", "Whether a target lacks the newest backup.", number(b.Last.Partial), l...)
		}
	}
}
