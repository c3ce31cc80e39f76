package state

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/supervisord/supervisord/backup"
)

// Backup is the x-backup key of a service, or the backup key of a database
// outside.
type Backup struct {
	// Engine is "postgres", "mysql", "mariadb" or "redis", Database the name of
	// the one to back up where the container's environment does not say it.
	Engine   string `json:"engine"`
	Database string `json:"database,omitempty"`
	// Schedule and Verify are in backup.ParseSchedule's form; empty for never.
	// Timezone is theirs, and that of Keep's days.
	Schedule string           `json:"schedule,omitempty"`
	Verify   string           `json:"verify,omitempty"`
	Timezone string           `json:"timezone,omitempty"`
	Keep     backup.Retention `json:"keep,omitzero"`
	// To are directories of the host that takes the backups and s3:// URLs.
	To []string `json:"to"`
	// EncryptTo are age public keys.
	EncryptTo []string `json:"encrypt_to,omitempty"`
	// BeforeDeploy takes a backup before a new revision comes into force.
	BeforeDeploy bool `json:"before_deploy,omitempty"`
	// LowPriority lets everything else on the host go first.
	LowPriority bool `json:"low_priority,omitempty"`
}

// BackupSettings is the x-supervisor.backup key: where the hosts find what is
// no part of the state. The files are on the hosts, and never read into it.
type BackupSettings struct {
	// S3Endpoint is the URL of a server that is not AWS's.
	S3Endpoint string `json:"s3_endpoint,omitempty"`
	S3Region   string `json:"s3_region,omitempty"`
	// S3Credentials is the path of a file; empty for the daemon's environment.
	S3Credentials string `json:"s3_credentials,omitempty"`
	// Identity is the path of a file of age private keys, for drills and
	// restores of encrypted backups.
	Identity string `json:"identity,omitempty"`
}

// BackupRecord is one backup that exists.
type BackupRecord struct {
	ID      string `json:"id"`
	Service string `json:"service"`
	Engine  string `json:"engine"`
	Version string `json:"version,omitempty"`
	// Host is the one that took it; its directories are there.
	Host  string    `json:"host"`
	Began time.Time `json:"began"`
	Ended time.Time `json:"ended"`
	// Size is that of the archive in bytes, DumpSize of the dump in it.
	Size     int64 `json:"size"`
	DumpSize int64 `json:"dump_size"`
	Tables   int   `json:"tables"`
	Rows     int64 `json:"rows"`
	// Copies are the targets that have it, Missing those that should and do
	// not, with the reason: a partial backup.
	Copies    []string          `json:"copies"`
	Missing   map[string]string `json:"missing,omitempty"`
	Encrypted bool              `json:"encrypted,omitempty"`
	// By says why it was taken: "schedule", or who asked. Before is the
	// revision that came into force after it, where it was taken for that.
	By     string `json:"by"`
	Before uint64 `json:"before,omitempty"`
	// Verified is when a drill last restored it, in DrillSeconds; zero where
	// none has. Damaged is what a drill found wrong with it since.
	Verified     time.Time `json:"verified,omitzero"`
	DrillSeconds float64   `json:"drill_seconds,omitempty"`
	Damaged      string    `json:"damaged,omitempty"`
}

// Restorable says whether it is known to restore.
func (r BackupRecord) Restorable() bool { return !r.Verified.IsZero() && r.Damaged == "" }

// without is the record of a backup that a target has no longer.
func (r BackupRecord) without(target, why string) BackupRecord {
	r.Copies = slices.DeleteFunc(slices.Clone(r.Copies), func(c string) bool { return c == target })
	r.Missing = maps.Clone(r.Missing)
	if r.Missing == nil {
		r.Missing = map[string]string{}
	}
	r.Missing[target] = why
	return r
}

// BackupLine is how the backups of one service stand.
type BackupLine struct {
	Service string `json:"service"`
	// Schedule, Verify and Timezone are those that the times are of.
	Schedule string `json:"schedule,omitempty"`
	Verify   string `json:"verify,omitempty"`
	Timezone string `json:"timezone,omitempty"`
	// Next and VerifyNext are the first due times that no run was begun for;
	// zero for never.
	Next       time.Time `json:"next,omitzero"`
	VerifyNext time.Time `json:"verify_next,omitzero"`
	// Backup, Drill and Prune are the streaks of what failed.
	Backup Streak `json:"backup,omitzero"`
	Drill  Streak `json:"drill,omitzero"`
	Prune  Streak `json:"prune,omitzero"`
	// LastSuccess is when the last backup that at least one target has was done.
	LastSuccess time.Time `json:"last_success,omitzero"`
	// Runs and Failed count backups that have ended, and those that failed.
	Runs   uint64 `json:"runs"`
	Failed uint64 `json:"failed"`
}

// Streak counts failures in a row.
type Streak struct {
	Count  int       `json:"count"`
	Last   time.Time `json:"last,omitzero"`
	Retry  time.Time `json:"retry,omitzero"`
	Reason string    `json:"reason,omitempty"`
}

// The back-off between attempts at what failed on its way: after the n-th
// failure in a row taskBackoffBase × 2^(n-1), at most taskBackoffMax.
const (
	taskBackoffBase = time.Minute
	taskBackoffMax  = time.Hour
)

func (s Streak) failed(now time.Time, reason string) Streak {
	d := taskBackoffBase
	for n := 0; n < s.Count && d < taskBackoffMax; n++ {
		d *= 2
	}
	return Streak{Count: s.Count + 1, Last: now, Retry: now.Add(min(d, taskBackoffMax)), Reason: reason}
}

// The kinds of events of backups.
const (
	EventBackupDone    EventKind = "backup_done"
	EventBackupPartial EventKind = "backup_partial"
	EventBackupFailed  EventKind = "backup_failed"
	EventDrillPassed   EventKind = "drill_passed"
	EventDrillFailed   EventKind = "drill_failed"
	EventPruneFailed   EventKind = "prune_failed"
	EventRestoreBegun  EventKind = "restore_begun"
	EventRestored      EventKind = "restored"
	EventRestoreFailed EventKind = "restore_failed"
)

// maxBackups is how many backups of one service are known at the most; without
// a retention the oldest would make the state grow for ever. Those that are
// forgotten stay where they are.
const maxBackups = 1000

// BackupKey is the key of a backup among the records.
func BackupKey(service, id string) string { return service + "/" + id }

// BackupsOf walks the backups of a service, oldest first.
func (c Cluster) BackupsOf(service string) iter.Seq[BackupRecord] {
	return func(yield func(BackupRecord) bool) {
		for _, r := range c.Backups.Prefix(service + "/") {
			if !yield(r) {
				return
			}
		}
	}
}

// FindBackup returns a backup by its id alone.
func (c Cluster) FindBackup(id string) (BackupRecord, bool) {
	for r := range c.Backups.Values() {
		if r.ID == id {
			return r, true
		}
	}
	return BackupRecord{}, false
}

// KnownToRestore is the newest backup of a service that a drill has restored.
func (c Cluster) KnownToRestore(service string) (BackupRecord, bool) {
	var newest BackupRecord
	for r := range c.BackupsOf(service) {
		if r.Restorable() && !r.Began.Before(newest.Began) {
			newest = r
		}
	}
	return newest, newest.ID != ""
}

// ArmBackup sets when the runs of a service are due next; the texts are those
// that the times were worked out from.
type ArmBackup struct {
	second
	Service    string    `json:"service"`
	Schedule   string    `json:"schedule,omitempty"`
	Verify     string    `json:"verify,omitempty"`
	Timezone   string    `json:"timezone,omitempty"`
	Next       time.Time `json:"next,omitzero"`
	VerifyNext time.Time `json:"verify_next,omitzero"`
}

func (ArmBackup) kind() string { return "arm_backup" }

func (cmd ArmBackup) apply(ch *change) error {
	b := ch.Spec.BackupOf(cmd.Service)
	if b == nil {
		return refuse("%s has no x-backup", cmd.Service)
	}
	if b.Schedule != cmd.Schedule || b.Verify != cmd.Verify || b.Timezone != cmd.Timezone {
		return refuse("%s has another schedule", cmd.Service)
	}
	line, _ := ch.BackupLines.Get(cmd.Service)
	line.Service = cmd.Service
	line.Schedule, line.Verify, line.Timezone = cmd.Schedule, cmd.Verify, cmd.Timezone
	line.Next, line.VerifyNext = cmd.Next, cmd.VerifyNext
	ch.BackupLines = ch.BackupLines.Put(line.Service, line)
	return nil
}

// record adds a backup, and forgets the oldest where there are too many: never
// the one that is known to restore.
func (ch *change) record(r BackupRecord) {
	ch.Backups = ch.Backups.Put(BackupKey(r.Service, r.ID), r)
	n := 0
	for range ch.BackupsOf(r.Service) {
		n++
	}
	good, _ := ch.KnownToRestore(r.Service)
	for old := range ch.BackupsOf(r.Service) {
		if n <= maxBackups {
			return
		}
		if old.ID != good.ID && old.ID != r.ID {
			ch.Backups = ch.Backups.Delete(BackupKey(old.Service, old.ID))
			n--
		}
	}
}

// BackupID is the id of the backup that a task makes: it sorts by time.
func BackupID(service string, at time.Time, index uint64) string {
	return fmt.Sprintf("%s-%s-%d", service, at.UTC().Format("20060102-150405"), index)
}
