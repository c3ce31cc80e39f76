package state

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// TaskKind is what a host is to do with the backups of a service.
type TaskKind string

// The kinds of tasks.
const (
	// TaskBackup takes a backup.
	TaskBackup TaskKind = "backup"
	// TaskDrill restores a backup into a container of its own and looks at it.
	TaskDrill TaskKind = "drill"
	// TaskRestore restores a backup.
	TaskRestore TaskKind = "restore"
	// TaskPrune removes backups from their targets.
	TaskPrune TaskKind = "prune"
)

// Task is work of one host that takes its time. A service has one at the most,
// so that none ever overlap. It is there as long as it is to be done; the host
// that has done it says how it went by FinishTask.
type Task struct {
	// ID is unique for all time.
	ID      string   `json:"id"`
	Kind    TaskKind `json:"kind"`
	Service string   `json:"service"`
	Host    string   `json:"host"`
	// Backup is the id of the backup to be made, or to be worked with; Backups
	// are those to be removed.
	Backup  string   `json:"backup,omitempty"`
	Backups []string `json:"backups,omitempty"`
	// To is where a restore goes: "" in the place of the database in use,
	// "database:NAME" beside it, "file:PATH" of the host as a plain dump.
	To    string    `json:"to,omitempty"`
	By    string    `json:"by"`
	Began time.Time `json:"began"`
	// Before is the revision that a backup is taken for.
	Before uint64 `json:"before,omitempty"`
}

// TaskResult is how a task went. The last ones are kept.
type TaskResult struct {
	Task
	Ended time.Time `json:"ended"`
	// Error is empty where it succeeded; Detail says more in words.
	Error  string `json:"error,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// maxTaskResults is how many results are kept.
const maxTaskResults = 100

// BeginTask gives a host a task. It is refused while the service has one.
type BeginTask struct {
	second
	Kind    TaskKind `json:"kind"`
	Service string   `json:"service"`
	Host    string   `json:"host"`
	Backup  string   `json:"backup,omitempty"`
	Backups []string `json:"backups,omitempty"`
	To      string   `json:"to,omitempty"`
	By      string   `json:"by"`
	Before  uint64   `json:"before,omitempty"`
	// Due is the due time of a scheduled run, and Next the one after it. It is
	// refused where a run was begun for it already, so that there is one for
	// each, whoever leads.
	Due  time.Time `json:"due,omitzero"`
	Next time.Time `json:"next,omitzero"`
}

// FinishTask says how a task went.
type FinishTask struct {
	second
	ID      string `json:"id"`
	Service string `json:"service"`
	Error   string `json:"error,omitempty"`
	Detail  string `json:"detail,omitempty"`
	// Record is the backup that was made.
	Record *BackupRecord `json:"record,omitempty"`
	// Removed are backups that are no longer in any target, Gone the targets
	// that others are no longer in, while their removal elsewhere failed.
	Removed []string            `json:"removed,omitempty"`
	Gone    map[string][]string `json:"gone,omitempty"`
	// Damaged says that the error of a drill is the backup's. Bad are copies
	// that are damaged, by target, where another one is not.
	Damaged bool              `json:"damaged,omitempty"`
	Bad     map[string]string `json:"bad,omitempty"`
	Seconds float64           `json:"seconds,omitempty"`
}

func (BeginTask) kind() string  { return "begin_task" }
func (FinishTask) kind() string { return "finish_task" }

// TaskResultOf returns the result of a task that has ended.
func (c Cluster) TaskResultOf(id string) (TaskResult, bool) {
	for r := range c.TaskResults.Values() {
		if r.ID == id {
			return r, true
		}
	}
	return TaskResult{}, false
}

func (cmd BeginTask) apply(ch *change) error {
	h, err := ch.host(cmd.Host)
	if err != nil {
		return err
	}
	if h.IsLost() {
		return refuse("host %s is lost", h.Name)
	}
	if t, busy := ch.Tasks.Get(cmd.Service); busy {
		return refuse("a %s of %s is under way (%s)", t.Kind, t.Service, t.ID)
	}
	t := Task{
		ID: fmt.Sprintf("%s.%d", cmd.Service, ch.index), Kind: cmd.Kind, Service: cmd.Service, Host: cmd.Host,
		Backup: cmd.Backup, Backups: cmd.Backups, To: cmd.To, By: cmd.By, Before: cmd.Before, Began: ch.now,
	}
	line, _ := ch.BackupLines.Get(cmd.Service)
	line.Service = cmd.Service
	switch cmd.Kind {
	case TaskBackup:
		if ch.Spec.BackupOf(cmd.Service) == nil {
			return refuse("%s has no x-backup", cmd.Service)
		}
		if !cmd.Due.IsZero() {
			if line.Next.IsZero() || cmd.Due.Before(line.Next) {
				return refuse("the backup of %s that was due at %s has been begun", cmd.Service, cmd.Due.UTC().Format(time.RFC3339))
			}
			line.Next = cmd.Next
		}
		t.Backup = BackupID(cmd.Service, ch.now, ch.index)
	case TaskDrill, TaskRestore:
		if _, ok := ch.FindBackup(cmd.Backup); !ok {
			return refuse("there is no backup %s", cmd.Backup)
		}
		if cmd.Kind == TaskDrill && !cmd.Due.IsZero() {
			if line.VerifyNext.IsZero() || cmd.Due.Before(line.VerifyNext) {
				return refuse("the drill of %s that was due at %s has been begun", cmd.Service, cmd.Due.UTC().Format(time.RFC3339))
			}
			line.VerifyNext = cmd.Next
		}
	case TaskPrune:
		if len(cmd.Backups) == 0 {
			return refuse("there is nothing to remove")
		}
	default:
		return refuse("a task of kind %q is not known", cmd.Kind)
	}
	ch.BackupLines = ch.BackupLines.Put(line.Service, line)
	ch.Tasks = ch.Tasks.Put(t.Service, t)
	if t.Kind == TaskRestore {
		ch.event(Event{Kind: EventRestoreBegun, Service: t.Service, Host: t.Host, Message: fmt.Sprintf("%s restores %s to %s", t.By, t.Backup, t.Place())})
	}
	return nil
}

// Place is in words where a restore goes.
func (t Task) Place() string {
	if t.To == "" {
		return "the place of " + t.Service + "'s database"
	}
	return t.To
}

func (cmd FinishTask) apply(ch *change) error {
	t, ok := ch.Tasks.Get(cmd.Service)
	if !ok || t.ID != cmd.ID {
		return refuse("the task %s is not to be done any more", cmd.ID)
	}
	ch.Tasks = ch.Tasks.Delete(t.Service)
	ch.TaskResults = ch.TaskResults.Put(eventKey(ch.index)+t.ID, TaskResult{Task: t, Ended: ch.now, Error: cmd.Error, Detail: cmd.Detail})
	for ch.TaskResults.Len() > maxTaskResults {
		oldest, _, _ := ch.TaskResults.First()
		ch.TaskResults = ch.TaskResults.Delete(oldest)
	}
	line, _ := ch.BackupLines.Get(t.Service)
	line.Service = t.Service
	switch t.Kind {
	case TaskBackup:
		line = cmd.backup(ch, t, line)
	case TaskDrill:
		line = cmd.drill(ch, t, line)
	case TaskRestore:
		cmd.restore(ch, t)
	case TaskPrune:
		line = cmd.prune(ch, t, line)
	}
	ch.BackupLines = ch.BackupLines.Put(line.Service, line)
	return nil
}

func (cmd FinishTask) backup(ch *change, t Task, line BackupLine) BackupLine {
	line.Runs++
	took := Brief(ch.now.Sub(t.Began))
	if cmd.Error != "" || cmd.Record == nil {
		line.Failed++
		line.Backup = line.Backup.failed(ch.now, cmd.Error)
		ch.event(Event{Kind: EventBackupFailed, Service: t.Service, Host: t.Host,
			Message: fmt.Sprintf("the backup of %s failed: %s; failure %d in a row, next attempt in %s", t.Service, cmd.Error, line.Backup.Count, Brief(line.Backup.Retry.Sub(ch.now)))})
		return line
	}
	r := *cmd.Record
	r.ID, r.Service, r.Host, r.By, r.Before = t.Backup, t.Service, t.Host, t.By, t.Before
	ch.record(r)
	line.Backup, line.LastSuccess = Streak{}, ch.now
	if len(r.Missing) == 0 {
		ch.event(Event{Kind: EventBackupDone, Service: t.Service, Host: t.Host,
			Message: fmt.Sprintf("%s is backed up as %s in %s: %d bytes of %d, %d rows", t.Service, r.ID, took, r.Size, r.DumpSize, r.Rows)})
		return line
	}
	var missing []string
	for target, why := range r.Missing {
		missing = append(missing, target+": "+why)
	}
	slices.Sort(missing)
	ch.event(Event{Kind: EventBackupPartial, Service: t.Service, Host: t.Host,
		Message: fmt.Sprintf("%s is backed up as %s in part only, it is missing in %s", t.Service, r.ID, strings.Join(missing, "; "))})
	return line
}

func (cmd FinishTask) drill(ch *change, t Task, line BackupLine) BackupLine {
	r, ok := ch.Backups.Get(BackupKey(t.Service, t.Backup))
	switch {
	case cmd.Error == "":
		line.Drill = Streak{}
		r.Verified, r.Damaged, r.DrillSeconds = ch.now, "", cmd.Seconds
		ch.event(Event{Kind: EventDrillPassed, Service: t.Service, Host: t.Host, Message: fmt.Sprintf("%s restores: %s", t.Backup, cmd.Detail)})
	case cmd.Damaged:
		line.Drill = line.Drill.failed(ch.now, cmd.Error)
		r.Damaged = cmd.Error
		ch.event(Event{Kind: EventDrillFailed, Service: t.Service, Host: t.Host, Message: fmt.Sprintf("%s does not restore: %s", t.Backup, cmd.Error)})
	default:
		line.Drill = line.Drill.failed(ch.now, cmd.Error)
		ch.event(Event{Kind: EventDrillFailed, Service: t.Service, Host: t.Host, Message: fmt.Sprintf("whether %s restores could not be found out: %s", t.Backup, cmd.Error)})
	}
	if !ok {
		return line
	}
	for _, target := range slices.Sorted(maps.Keys(cmd.Bad)) {
		r = r.without(target, cmd.Bad[target])
		ch.event(Event{Kind: EventDrillFailed, Service: t.Service, Host: t.Host, Message: fmt.Sprintf("the copy of %s in %s is no good: %s", t.Backup, target, cmd.Bad[target])})
	}
	ch.Backups = ch.Backups.Put(BackupKey(t.Service, t.Backup), r)
	return line
}

func (cmd FinishTask) restore(ch *change, t Task) {
	if cmd.Error != "" {
		ch.event(Event{Kind: EventRestoreFailed, Service: t.Service, Host: t.Host, Message: fmt.Sprintf("the restore of %s to %s failed: %s", t.Backup, t.Place(), cmd.Error)})
		return
	}
	ch.event(Event{Kind: EventRestored, Service: t.Service, Host: t.Host, Message: fmt.Sprintf("%s is restored to %s: %s", t.Backup, t.Place(), cmd.Detail)})
}

func (cmd FinishTask) prune(ch *change, t Task, line BackupLine) BackupLine {
	for _, id := range cmd.Removed {
		if slices.Contains(t.Backups, id) {
			ch.Backups = ch.Backups.Delete(BackupKey(t.Service, id))
		}
	}
	for _, id := range t.Backups {
		r, ok := ch.Backups.Get(BackupKey(t.Service, id))
		if !ok || len(cmd.Gone[id]) == 0 {
			continue
		}
		for _, target := range cmd.Gone[id] {
			r = r.without(target, "the retention has removed it")
		}
		ch.Backups = ch.Backups.Put(BackupKey(t.Service, id), r)
	}
	if cmd.Error == "" {
		line.Prune = Streak{}
		return line
	}
	if line.Prune.Reason != cmd.Error {
		ch.event(Event{Kind: EventPruneFailed, Service: t.Service, Host: t.Host, Message: fmt.Sprintf("old backups of %s cannot be removed: %s", t.Service, cmd.Error)})
	}
	line.Prune = line.Prune.failed(ch.now, cmd.Error)
	return line
}
