package supervisor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/supervisord/supervisord/backup"
	"github.com/supervisord/supervisord/backup/dump"
	"github.com/supervisord/supervisord/supervisor/engine"
	"github.com/supervisord/supervisord/supervisor/state"
)

// archive is a copy of a backup that can be read here.
type archive struct {
	target   backup.Target
	manifest backup.Manifest
	place    backup.Place
	keys     backup.Keys
	progress *backup.Progress
}

func (a archive) read(ctx context.Context, f func(io.Reader) error) error {
	return backup.Read(ctx, a.target, a.place, a.manifest, a.keys, a.progress, f)
}

// archives are the copies of a task's backup. Bad are those that are no good,
// by target; an error says that there is none to go on with.
func (k *keeper) archives(ctx context.Context, c state.Cluster, w *work) (all []archive, r state.BackupRecord, bad map[string]string, err error) {
	r, ok := c.FindBackup(w.task.Backup)
	if !ok {
		return nil, r, nil, fmt.Errorf("there is no backup %s any more", w.task.Backup)
	}
	keys, err := k.keys(c, r)
	if err != nil {
		return nil, r, nil, err
	}
	bad = map[string]string{}
	var errs []error
	away := false
	for _, t := range k.reachable(c, r) {
		m, err := backup.ReadManifest(ctx, t, place(c, r.Service), r.ID)
		if err == nil {
			all = append(all, archive{t, m, place(c, r.Service), keys, w.progress})
			continue
		}
		if errs = append(errs, err); gone(err) {
			bad[t.String()] = brief(err)
		} else {
			away = true
		}
	}
	switch {
	case len(all) > 0:
		return all, r, bad, nil
	case len(errs) == 0:
		return nil, r, bad, fmt.Errorf("%s is in directories of %s only, and cannot be read on %s", r.ID, r.Host, k.host)
	case !away:
		return nil, r, bad, fmt.Errorf("%w: %w", backup.ErrDamaged, errors.Join(errs...))
	}
	return nil, r, bad, errors.Join(errs...)
}

const (
	// scratchReady is how long a new database may take until it answers.
	scratchReady = 5 * time.Minute
	// steadyFor is how long it must answer where it listens on no port.
	steadyFor = time.Minute
	readyEach = 250 * time.Millisecond
)

// drill restores the newest backup into a container of its own and compares
// what is there then with what was dumped. The other copies are read to their
// ends.
func (k *keeper) drill(ctx context.Context, c state.Cluster, w *work, cmd *state.FinishTask) (err error) {
	all, r, bad, err := k.archives(ctx, c, w)
	if err != nil {
		cmd.Damaged = errors.Is(err, backup.ErrDamaged)
		return err
	}
	s, err := scratchOf(c.Spec, r.Service)
	if err != nil {
		return err
	}
	begun := k.now()
	restored := ""
	for _, a := range all {
		if restored != "" {
			w.progress.Enter("check")
			if err := backup.Verify(ctx, a.target, a.place, a.manifest, a.keys, w.progress); gone(err) {
				bad[a.target.String()] = brief(err)
			}
			continue
		}
		detail, err := k.tryRestore(ctx, s, w, a)
		switch {
		case err == nil:
			restored = fmt.Sprintf("%s, from %s", detail, a.target)
			cmd.Seconds = k.now().Sub(begun).Seconds()
		case gone(err):
			bad[a.target.String()] = brief(err)
		default:
			cmd.Damaged = ofBackup(err)
			return err
		}
	}
	if restored == "" {
		var words []string
		for target, why := range bad {
			words = append(words, target+": "+why)
		}
		cmd.Damaged = true
		return fmt.Errorf("no copy is whole: %s", strings.Join(words, "; "))
	}
	cmd.Bad, cmd.Detail = bad, restored
	return nil
}

// ofBackup says whether a restore failed for what is in the backup, and not for
// what it was restored with.
func ofBackup(err error) bool {
	_, tool := errors.AsType[*dump.ToolError](err)
	return tool && !errors.Is(err, dump.ErrNotMade) || errors.Is(err, dump.ErrMismatch) || errors.Is(err, backup.ErrDamaged)
}

// tryRestore restores an archive into a scratch container and removes that.
func (k *keeper) tryRestore(ctx context.Context, s state.Service, w *work, a archive) (detail string, err error) {
	k.removeScratches(ctx, w.task.ID)
	w.progress.Enter("start")
	id, err := k.engine.StartScratch(ctx, engine.Scratch{Task: w.task.ID, Name: "svd-drill-" + strings.ToLower(rand.Text()[:10]), Spec: s.Container})
	if err != nil {
		return "", err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, k.engine.RemoveScratch(ctx, id))
	}()
	db, err := k.database(s, id)
	if err != nil {
		return "", err
	}
	if err := k.awaitScratch(ctx, db, id); err != nil {
		return "", err
	}
	w.progress.Enter("restore")
	begun := k.now()
	into := dump.RestorePrefix + serial(w.task)
	err = a.read(ctx, func(plain io.Reader) error { return db.Load(ctx, plain, a.manifest.Content, into) })
	if err != nil {
		return "", err
	}
	w.progress.Enter("check")
	got, err := db.Count(ctx, into)
	if err == nil {
		err = dump.Compare(a.manifest.Content.Tables, got)
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d tables with %d rows in %s", len(a.manifest.Content.Tables), a.manifest.Content.Rows(), k.now().Sub(begun).Round(100*time.Millisecond)), nil
}

// listens says whether the container has a port that is listened on. Images
// make a new database with a server that has none, and start the real one
// after that: what answers before may be gone the next moment.
const listens = `grep -qs ' 0A ' /proc/net/tcp /proc/net/tcp6`

// awaitScratch waits until a new database answers and is the one that stays.
func (k *keeper) awaitScratch(ctx context.Context, db dump.Engine, id string) error {
	ctx, cancel := context.WithTimeout(ctx, scratchReady)
	defer cancel()
	var since time.Time
	for {
		err := db.Ready(ctx)
		if err != nil {
			since = time.Time{}
		} else {
			if since.IsZero() {
				since = k.now()
			}
			code, err := k.engine.Run(ctx, id, engine.Command{Argv: []string{"sh", "-c", listens}})
			if err == nil && code == 0 || k.now().Sub(since) >= steadyFor {
				return nil
			}
		}
		if errors.Is(err, engine.ErrNotRunning) {
			return fmt.Errorf("the scratch container has ended before its database was ready: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the database in the scratch container is not ready: %w", errors.Join(ctx.Err(), err))
		case <-time.After(readyEach):
		}
	}
}

// serial is the part of a task's id that is unique for all time.
func serial(t state.Task) string { return t.ID[strings.LastIndex(t.ID, ".")+1:] }

// restore restores a backup where the task says. It is not done twice: after it
// was cut off, an operator has to look.
func (k *keeper) restore(ctx context.Context, c state.Cluster, w *work, cmd *state.FinishTask) error {
	t := w.task
	to, service := t.To, t.Service
	if other, ok := strings.CutPrefix(to, "service:"); ok {
		to, service = "", other
	}
	if path, ok := strings.CutPrefix(to, "file:"); ok {
		return k.restoreFile(ctx, c, w, path, cmd)
	}
	b := c.Spec.BackupOf(service)
	if b == nil {
		return notBacked(service)
	}
	db, err := k.inUse(c, service)
	if err != nil {
		return err
	}
	into := dump.RestorePrefix + serial(t)
	if fresh, err := k.note(t); err != nil || !fresh {
		if err == nil {
			err = errors.New("the daemon ended in the midst of it: look which data is in use, and restore again where it is the old")
		}
		return errors.Join(err, db.Drop(ctx, into))
	}
	all, r, _, err := k.archives(ctx, c, w)
	if err != nil {
		return err
	}
	if r.Engine != b.Engine && strings.Replace(r.Engine, "mariadb", "mysql", 1) != strings.Replace(b.Engine, "mariadb", "mysql", 1) {
		return fmt.Errorf("%s is of %s, and %s is %s", r.ID, r.Engine, service, b.Engine)
	}
	if name, ok := strings.CutPrefix(to, "database:"); ok {
		into = name
	}
	a, err := k.load(ctx, db, all, into, w)
	if err != nil {
		return err
	}
	if into == strings.TrimPrefix(to, "database:") {
		cmd.Detail = fmt.Sprintf("%d rows are in database %s", a.manifest.Content.Rows(), into)
		return nil
	}
	w.progress.Enter("swap")
	old, err := db.Swap(ctx, into, a.manifest.Content)
	// What is left of it by then is not in use.
	err = errors.Join(err, db.Drop(context.WithoutCancel(ctx), into))
	if err != nil {
		return err
	}
	cmd.Detail = fmt.Sprintf("%d rows; %s", a.manifest.Content.Rows(), old)
	return nil
}

// load restores the first copy that is good into a new database, and sees that
// all is there.
func (k *keeper) load(ctx context.Context, db dump.Engine, all []archive, into string, w *work) (archive, error) {
	var errs []error
	for _, a := range all {
		w.progress.Enter("restore")
		err := a.read(ctx, func(plain io.Reader) error { return db.Load(ctx, plain, a.manifest.Content, into) })
		if err == nil {
			w.progress.Enter("check")
			got, failed := db.Count(ctx, into)
			if err = failed; err == nil {
				err = dump.Compare(a.manifest.Content.Tables, got)
			}
		}
		if err == nil {
			return a, nil
		}
		errs = append(errs, err)
		if errors.Is(err, dump.ErrNotMade) {
			break
		}
		errs = append(errs, db.Drop(context.WithoutCancel(ctx), into))
		if !gone(err) {
			break
		}
	}
	return archive{}, errors.Join(errs...)
}

// note remembers that a task was begun; false where it was before.
func (k *keeper) note(t state.Task) (fresh bool, err error) {
	if err := os.MkdirAll(k.notes, 0o700); err != nil {
		return false, fmt.Errorf("note the restore: %w", err)
	}
	name := filepath.Join(k.notes, t.ID)
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("note the restore: %w", err)
	}
	return true, errors.Join(f.Sync(), f.Close())
}

// restoreFile writes the dump in a backup to a file of this host that is not
// there yet.
func (k *keeper) restoreFile(ctx context.Context, c state.Cluster, w *work, path string, cmd *state.FinishTask) (err error) {
	all, _, _, err := k.archives(ctx, c, w)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is there already", path)
	}
	partial := fmt.Sprintf("%s.%s.partial", path, serial(w.task))
	if err := os.Remove(partial); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(partial, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(partial))
		}
	}()
	w.progress.Enter("restore")
	if err := all[0].read(ctx, func(plain io.Reader) error { _, err := io.Copy(f, plain); return err }); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	// Unlike a rename, a link does not replace what has come meanwhile.
	if err := os.Link(partial, path); err != nil {
		return err
	}
	cmd.Detail = fmt.Sprintf("%d bytes are in %s of %s", all[0].manifest.DumpSize, path, k.host)
	return errors.Join(f.Close(), os.Remove(partial))
}
