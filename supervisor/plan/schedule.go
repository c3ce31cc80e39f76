package plan

import (
	"fmt"
	"slices"
	"time"

	"github.com/supervisord/supervisord/backup"
	"github.com/supervisord/supervisord/supervisor/state"
)

// backups begins what is due of backups, drills and clean-ups, and ends the
// tasks of hosts that are lost.
func (r *round) backups() {
	if !r.Cluster.Speaks(2) {
		// Older hosts could not apply it.
		return
	}
	for t := range r.Cluster.Tasks.Values() {
		if h, ok := r.Cluster.Hosts.Get(t.Host); !ok || h.IsLost() {
			r.do(state.FinishTask{ID: t.ID, Service: t.Service, Error: "its host " + t.Host + " is lost"}, "host lost")
		}
	}
	for _, name := range r.Cluster.Spec.BackedUp() {
		r.backup(subject{name, *r.Cluster.Spec.BackupOf(name)})
	}
}

// subject is a database that is backed up.
type subject struct {
	Name string
	state.Backup
}

func (r *round) backup(s subject) {
	line, armed := r.Cluster.BackupLines.Get(s.Name)
	if b := s.Backup; !armed || line.Schedule != b.Schedule || line.Verify != b.Verify || line.Timezone != b.Timezone {
		r.arm(s, line)
		line, _ = r.Cluster.BackupLines.Get(s.Name)
	}
	for _, begin := range []func(subject, state.BackupLine) bool{r.take, r.drill, r.prune} {
		if _, busy := r.Cluster.Tasks.Get(s.Name); busy {
			// What is due meanwhile is begun when it has ended.
			return
		}
		begin(s, line)
	}
}

// arm works out the next due times of a schedule that is new. One that has not
// changed keeps its time, so that what was missed is caught up.
func (r *round) arm(s subject, line state.BackupLine) {
	b := s.Backup
	cmd := state.ArmBackup{
		Service: s.Name, Schedule: b.Schedule, Verify: b.Verify, Timezone: b.Timezone,
		Next: line.Next, VerifyNext: line.VerifyNext,
	}
	zoneChanged := line.Timezone != b.Timezone
	if line.Schedule != b.Schedule || zoneChanged {
		cmd.Next = next(b.Schedule, b.Timezone, r.Now)
	}
	if line.Verify != b.Verify || zoneChanged {
		cmd.VerifyNext = next(b.Verify, b.Timezone, r.Now)
	}
	r.do(cmd, "schedule")
}

// next is zero where there is no schedule, or none that this version reads.
func next(text, zone string, after time.Time) time.Time {
	if text == "" {
		return time.Time{}
	}
	s, err := backup.ParseSchedule(text, zone)
	if err != nil {
		return time.Time{}
	}
	return s.Next(after).UTC()
}

// due is the latest due time that has come and no run was begun for, and the
// one after it: whatever was missed is caught up once.
func due(text, zone string, waiting, now time.Time) (at, then time.Time, ok bool) {
	if waiting.IsZero() || now.Before(waiting) {
		return at, then, false
	}
	s, err := backup.ParseSchedule(text, zone)
	if err != nil {
		return at, then, false
	}
	at = waiting
	if last, later := s.Last(waiting, now); later {
		at = last
	}
	return at.UTC(), s.Next(at).UTC(), true
}

// ServingHost is where backups of a database are taken and restored: the host of
// a service's ready instance, or the one for a database outside; "" where there
// is none.
func ServingHost(c state.Cluster, service string) string {
	if db, ok := c.Spec.OutsideOf(service); ok {
		return outsideHost(c, db.Login.Host)
	}
	for i := range c.Of(service) {
		if h, ok := c.Hosts.Get(i.Host); i.Phase == state.Ready && ok && !h.IsLost() {
			return i.Host
		}
	}
	return ""
}

// outsideHost is the host that takes the backups of a database outside: the one
// that the file names, or the first by name that can work.
func outsideHost(c state.Cluster, only string) string {
	for h := range c.Hosts.Values() {
		if !h.IsLost() && (h.Name == only || only == "" && !h.Draining) {
			return h.Name
		}
	}
	return ""
}

// take begins a backup that is due, or that has failed and whose pause is over.
func (r *round) take(s subject, line state.BackupLine) bool {
	at, then, isDue := due(s.Backup.Schedule, s.Backup.Timezone, line.Next, r.Now)
	retry := line.Backup.Count > 0 && !r.Now.Before(line.Backup.Retry)
	if !isDue && !retry {
		r.wakeFor(line.Next, line.Backup)
		return false
	}
	host := ServingHost(r.Cluster, s.Name)
	if host == "" {
		// It is begun when there is one.
		r.pend(s.Name, "its backup is due and waits for "+r.wanted(s.Name))
		return false
	}
	cmd := state.BeginTask{Kind: state.TaskBackup, Service: s.Name, Host: host, By: "schedule"}
	why := "another attempt"
	if isDue {
		cmd.Due, cmd.Next, why = at, then, "due"
	}
	return r.do(cmd, why)
}

// wanted is in words what a backup needs.
func (r *round) wanted(name string) string {
	db, ok := r.Cluster.Spec.OutsideOf(name)
	switch {
	case !ok:
		return "an instance that is ready"
	case db.Login.Host != "":
		return "host " + db.Login.Host
	}
	return "a host"
}

func (r *round) pend(service, why string) {
	if _, said := r.Pending[service]; !said {
		r.Pending[service] = why
	}
}

func (r *round) wakeFor(at time.Time, s state.Streak) {
	for _, t := range []time.Time{at, s.Retry} {
		if t.After(r.Now) {
			r.wake(t)
		}
	}
}

// drill begins a drill of the newest backup that is due. One that could not be
// done is tried again; one that has found damage waits for the next time, or
// for a newer backup.
func (r *round) drill(s subject, line state.BackupLine) bool {
	at, then, isDue := due(s.Backup.Verify, s.Backup.Timezone, line.VerifyNext, r.Now)
	newest, ok := newestBackup(r.Cluster, s.Name)
	retry := s.Backup.Verify != "" && line.Drill.Count > 0 && !r.Now.Before(line.Drill.Retry) && newest.Damaged == "" && newest.Began.After(time.Time{})
	first := s.Backup.Verify != "" && line.Drill.Count == 0 && ok && r.neverDrilled(s.Name)
	if !ok || !isDue && !retry && !first {
		r.wakeFor(line.VerifyNext, line.Drill)
		return false
	}
	host := r.reader(newest)
	if host == "" {
		return false
	}
	cmd := state.BeginTask{Kind: state.TaskDrill, Service: s.Name, Host: host, Backup: newest.ID, By: "schedule"}
	why := "another attempt"
	if isDue {
		cmd.Due, cmd.Next, why = at, then, "due"
	}
	return r.do(cmd, why)
}

// neverDrilled says that none of a service's backups was tried: the first is
// not left unknown until the week is over.
func (r *round) neverDrilled(service string) bool {
	for b := range r.Cluster.BackupsOf(service) {
		if !b.Verified.IsZero() || b.Damaged != "" {
			return false
		}
	}
	return true
}

func newestBackup(c state.Cluster, service string) (newest state.BackupRecord, ok bool) {
	for b := range c.BackupsOf(service) {
		if !ok || b.Began.After(newest.Began) {
			newest, ok = b, true
		}
	}
	return newest, ok
}

// Reader is a host that can read a backup: the one that took it, or any where a
// copy is in a bucket; "" where there is none now.
func Reader(c state.Cluster, b state.BackupRecord) string {
	if h, ok := c.Hosts.Get(b.Host); ok && !h.IsLost() {
		return b.Host
	}
	if !slices.ContainsFunc(b.Copies, func(target string) bool { return target != "" && target[0] != '/' }) {
		return ""
	}
	for h := range c.Hosts.Values() {
		if !h.IsLost() {
			return h.Name
		}
	}
	return ""
}

func (r *round) reader(b state.BackupRecord) string { return Reader(r.Cluster, b) }

// mostPruned is how many backups one task removes.
const mostPruned = 50

// prune begins the removal of what the retention no longer keeps.
func (r *round) prune(s subject, line state.BackupLine) bool {
	if line.Prune.Count > 0 && r.Now.Before(line.Prune.Retry) {
		r.wake(line.Prune.Retry)
		return false
	}
	cmd := state.BeginTask{Kind: state.TaskPrune, Service: s.Name, By: "schedule"}
	for _, old := range expired(r.Cluster, s) {
		host := r.reader(old)
		if host == "" || cmd.Host != "" && host != cmd.Host || len(cmd.Backups) == mostPruned {
			continue
		}
		cmd.Host = host
		cmd.Backups = append(cmd.Backups, old.ID)
	}
	if cmd.Host == "" {
		return false
	}
	return r.do(cmd, fmt.Sprintf("%d backups are older than what is kept", len(cmd.Backups)))
}

// expired are the backups of a database that its retention does not keep, the
// newest first.
func expired(c state.Cluster, s subject) []state.BackupRecord {
	zone, err := time.LoadLocation(s.Backup.Timezone)
	if err != nil {
		return nil
	}
	var all []backup.Kept
	for b := range c.BackupsOf(s.Name) {
		all = append(all, backup.Kept{ID: b.ID, At: b.Began, Restorable: b.Restorable(), Whole: len(b.Missing) == 0 && b.Damaged == ""})
	}
	if s.Backup.Keep == (backup.Retention{}) || len(all) < 2 {
		return nil
	}
	_, drop := backup.Retain(all, s.Backup.Keep, zone)
	var out []state.BackupRecord
	for _, k := range drop {
		b, _ := c.Backups.Get(state.BackupKey(s.Name, k.ID))
		out = append(out, b)
	}
	return out
}
