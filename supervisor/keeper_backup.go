package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/supervisord/supervisord/backup"
	"github.com/supervisord/supervisord/backup/sink"
	"github.com/supervisord/supervisord/supervisor/state"
)

// targets are the stores of a service, in the order of its file. One that
// cannot be had is there all the same and fails when it is used, so that the
// others go on.
func (k *keeper) targets(c state.Cluster, names []string) []backup.Target {
	out := make([]backup.Target, len(names))
	for i, name := range names {
		out[i] = k.target(c.Spec.Backup, name)
	}
	return out
}

func (k *keeper) target(s state.BackupSettings, name string) backup.Target {
	if !strings.HasPrefix(name, "s3://") {
		return sink.NewDir(name)
	}
	var credentials sink.Credentials
	var err error
	if s.S3Credentials != "" {
		credentials, err = sink.ReadCredentials(s.S3Credentials)
	} else {
		credentials, err = sink.EnvironCredentials(k.getenv)
	}
	if err != nil {
		return unusable{name, err}
	}
	t, err := sink.NewS3(sink.S3Options{URL: name, Endpoint: s.S3Endpoint, Region: s.S3Region, Credentials: credentials})
	if err != nil {
		return unusable{name, err}
	}
	return t
}

// unusable is a target that every call fails of.
type unusable struct {
	name string
	err  error
}

func (u unusable) String() string { return u.name }

func (u unusable) Create(context.Context, string) (backup.Upload, error) { return nil, u.err }

func (u unusable) Put(context.Context, string, []byte) error { return u.err }

func (u unusable) Open(context.Context, string) (io.ReadCloser, error) { return nil, u.err }

func (u unusable) Names(context.Context, string) ([]string, error) { return nil, u.err }

func (u unusable) Remove(context.Context, string) error { return u.err }

// backup takes the backup of a task. Where an earlier life had finished it all
// but telling, that is told now; what others that were cut off have left is
// removed first.
func (k *keeper) backup(ctx context.Context, c state.Cluster, w *work, cmd *state.FinishTask) error {
	b := c.Spec.BackupOf(w.task.Service)
	if b == nil {
		return notBacked(w.task.Service)
	}
	targets := k.targets(c, b.To)
	p := place(c, w.task.Service)
	if m, copies, ok := taken(ctx, targets, p, w.task.Backup); ok {
		cmd.Record = record(m, copies)
		return nil
	}
	for _, t := range targets {
		// The state that has this task has the backups of all before it.
		swept, err := backup.Sweep(ctx, t, p, func(id string) bool {
			_, known := c.Backups.Get(state.BackupKey(w.task.Service, id))
			return known
		})
		if err != nil {
			// The backup itself will say what is wrong with the target.
			k.log.WarnContext(ctx, "cannot clean up", "err", err)
		}
		if len(swept) > 0 {
			k.log.InfoContext(ctx, "removed what backups that were cut off had left", "target", t.String(), "backups", swept)
		}
	}
	db, err := k.inUse(c, w.task.Service)
	if err != nil {
		return err
	}
	m, copies, err := backup.Job{
		Place: p, ID: w.task.Backup, Recipients: b.EncryptTo, Targets: targets, Dumper: db,
		LowPriority: b.LowPriority, Hold: true, Now: k.now, Progress: w.progress,
	}.Run(ctx)
	if err != nil {
		return err
	}
	cmd.Record = record(m, copies)
	cmd.Detail = fmt.Sprintf("%s: %d bytes of %d, %d tables, %d rows", m.ID, m.Size, m.DumpSize, len(m.Content.Tables), m.Content.Rows())
	return nil
}

// taken says whether the backup is there already.
func taken(ctx context.Context, targets []backup.Target, p backup.Place, id string) (found backup.Manifest, copies []backup.Copy, ok bool) {
	for _, t := range targets {
		m, err := backup.ReadManifest(ctx, t, p, id)
		switch {
		case err == nil:
			found, ok = m, true
		case errors.Is(err, fs.ErrNotExist):
			err = errors.New("the daemon was ended before this copy was whole")
		}
		copies = append(copies, backup.Copy{Target: t.String(), Err: err})
	}
	return found, copies, ok
}

func record(m backup.Manifest, copies []backup.Copy) *state.BackupRecord {
	r := &state.BackupRecord{
		ID: m.ID, Service: m.Service, Engine: m.Content.Engine, Version: m.Content.Version, Began: m.Began, Ended: m.Ended,
		Size: m.Size, DumpSize: m.DumpSize, Tables: len(m.Content.Tables), Rows: m.Content.Rows(),
		Encrypted: len(m.Recipients) > 0, Copies: []string{},
	}
	for _, c := range copies {
		if c.Err == nil {
			r.Copies = append(r.Copies, c.Target)
			continue
		}
		if r.Missing == nil {
			r.Missing = map[string]string{}
		}
		r.Missing[c.Target] = brief(c.Err)
	}
	return r
}

// prune removes backups from all targets that have them.
func (k *keeper) prune(ctx context.Context, c state.Cluster, w *work, cmd *state.FinishTask) error {
	var errs []error
	for _, id := range w.task.Backups {
		r, ok := c.Backups.Get(state.BackupKey(w.task.Service, id))
		if !ok {
			cmd.Removed = append(cmd.Removed, id)
			continue
		}
		gone, err := k.removeOne(ctx, c, r)
		if err != nil {
			errs = append(errs, err)
			if len(gone) > 0 {
				if cmd.Gone == nil {
					cmd.Gone = map[string][]string{}
				}
				cmd.Gone[id] = gone
			}
			continue
		}
		cmd.Removed = append(cmd.Removed, id)
		w.progress.Stored.Add(r.Size)
	}
	return errors.Join(errs...)
}

// removeOne removes a backup and returns the targets that it is gone from.
func (k *keeper) removeOne(ctx context.Context, c state.Cluster, r state.BackupRecord) (gone []string, err error) {
	for _, t := range k.reachable(c, r) {
		failed := backup.Remove(ctx, t, place(c, r.Service), r.ID)
		if errors.Is(failed, backup.ErrDamaged) {
			// Nothing says any more that it is ours, so it stays.
			k.log.WarnContext(ctx, "a damaged backup is forgotten and left where it is", "backup", r.ID, "target", t.String(), "err", failed)
			failed = nil
		}
		if failed == nil {
			gone = append(gone, t.String())
		}
		err = errors.Join(err, failed)
	}
	return gone, err
}

// reachable are the copies of a backup that this host can read: the directories
// of another host are not here.
func (k *keeper) reachable(c state.Cluster, r state.BackupRecord) []backup.Target {
	var names []string
	for _, name := range r.Copies {
		if r.Host == k.host || strings.HasPrefix(name, "s3://") {
			names = append(names, name)
		}
	}
	return k.targets(c, names)
}

// keys are the private keys for encrypted backups.
func (k *keeper) keys(c state.Cluster, r state.BackupRecord) (backup.Keys, error) {
	if !r.Encrypted {
		return nil, nil
	}
	file := c.Spec.Backup.Identity
	if file == "" {
		return nil, fmt.Errorf("%w: it is encrypted, and x-supervisor.backup.age_identity_file names no file with a private key", backup.ErrNoKey)
	}
	return backup.Identities(file)
}

// gone says whether an error means that a copy is no good, and not that its
// store cannot be asked.
func gone(err error) bool {
	return errors.Is(err, backup.ErrDamaged) || errors.Is(err, fs.ErrNotExist)
}
