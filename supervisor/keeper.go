package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/supervisord/supervisord/backup"
	"github.com/supervisord/supervisord/backup/dump"
	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/engine"
	"github.com/supervisord/supervisord/supervisor/state"
)

// keeper does the tasks with backups that the state gives to this host. It
// remembers nothing: a task that a life of the daemon has left is begun anew by
// the next one, which first cleans up after it.
type keeper struct {
	host    string
	replica agent.Replica
	report  agent.Reporter
	engine  backupEngine
	// settled says that the state can be trusted to be no older than this life.
	settled func() bool
	getenv  func(string) string
	// notes is a directory of this host for what must not be done twice.
	notes string
	now   func() time.Time
	log   *slog.Logger

	mu      sync.Mutex
	working map[string]*work
	// told are tasks whose end is committed, and that this host's copy of the
	// state may still have.
	told map[string]bool
}

// backupEngine is the container engine as the keeper needs it.
type backupEngine interface {
	Run(ctx context.Context, id string, c engine.Command) (exitCode int, err error)
	StartScratch(ctx context.Context, s engine.Scratch) (id string, err error)
	RemoveScratch(ctx context.Context, id string) error
	Scratches(ctx context.Context) (map[string]string, error)
}

var _ backupEngine = (*engine.Engine)(nil)

// work is a task that is being done.
type work struct {
	task     state.Task
	progress *backup.Progress
	begun    time.Time
	cancel   context.CancelFunc
}

const (
	// keepAgain is how often the keeper looks when nothing happens.
	keepAgain = 2 * time.Second
	// tellAgain is the pause before a result that could not be committed is
	// told again.
	tellAgain = time.Second
)

// run works until the context ends, and returns when all that it has begun has
// ended.
func (k *keeper) run(ctx context.Context) error {
	k.working, k.told = map[string]*work{}, map[string]bool{}
	var wg sync.WaitGroup
	defer wg.Wait()
	again := time.NewTicker(keepAgain)
	defer again.Stop()
	swept := false
	for {
		c, changed := k.replica.Current()
		if k.settled() {
			if !swept {
				// Tasks of this host are begun again below, with new ones.
				swept = k.removeScratches(ctx, "")
			}
			k.begin(ctx, c, &wg)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-again.C:
		}
	}
}

// begin starts the tasks of this host that are not being done, and ends those
// that are no longer to be done.
func (k *keeper) begin(ctx context.Context, c state.Cluster, wg *sync.WaitGroup) {
	k.mu.Lock()
	defer k.mu.Unlock()
	wanted := map[string]bool{}
	for t := range c.Tasks.Values() {
		if t.Host != k.host {
			continue
		}
		wanted[t.ID] = true
		if k.working[t.ID] != nil || k.told[t.ID] {
			continue
		}
		whileWanted, cancel := context.WithCancel(ctx)
		w := &work{task: t, progress: &backup.Progress{}, begun: k.now(), cancel: cancel}
		k.working[t.ID] = w
		wg.Go(func() {
			defer cancel()
			cmd, ended := k.do(whileWanted, c, w)
			// Once it is committed the task is not wanted any more, and this host
			// may see that before it has the answer.
			told := ended && k.tell(ctx, c, w, cmd)
			k.mu.Lock()
			defer k.mu.Unlock()
			delete(k.working, t.ID)
			if told {
				k.told[t.ID] = true
			}
		})
	}
	for id, w := range k.working {
		if !wanted[id] {
			w.cancel()
		}
	}
	for id := range k.told {
		if !wanted[id] {
			delete(k.told, id)
		}
	}
}

// progress returns how far this host is with its tasks.
func (k *keeper) progress() []api.TaskProgress {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := []api.TaskProgress{}
	for _, w := range k.working {
		out = append(out, api.TaskProgress{
			ID: w.task.ID, Kind: string(w.task.Kind), Service: w.task.Service, Host: k.host, Backup: w.task.Backup,
			Phase: w.progress.Phase(), Dumped: w.progress.Dumped.Load(), Stored: w.progress.Stored.Load(), Seconds: k.now().Sub(w.begun).Seconds(),
		})
	}
	return out
}

// do does a task and returns how it went. When the context ends there is nothing
// to tell: either nobody waits for it any more, or the next life does it.
func (k *keeper) do(ctx context.Context, c state.Cluster, w *work) (cmd state.FinishTask, ended bool) {
	t := w.task
	log := k.log.With("task", t.ID, "kind", t.Kind, "service", t.Service)
	log.InfoContext(ctx, "task begins", "backup", t.Backup)
	cmd = state.FinishTask{ID: t.ID, Service: t.Service}
	var err error
	switch t.Kind {
	case state.TaskBackup:
		err = k.backup(ctx, c, w, &cmd)
	case state.TaskDrill:
		err = k.drill(ctx, c, w, &cmd)
	case state.TaskRestore:
		err = k.restore(ctx, c, w, &cmd)
	case state.TaskPrune:
		err = k.prune(ctx, c, w, &cmd)
	default:
		err = fmt.Errorf("this version knows no task of kind %q", t.Kind)
	}
	if ctx.Err() != nil {
		log.InfoContext(ctx, "task is cut off", "err", err)
		return cmd, false
	}
	if err != nil {
		cmd.Error = brief(err)
		log.WarnContext(ctx, "task failed", "err", err)
	} else {
		log.InfoContext(ctx, "task is done", "detail", cmd.Detail)
	}
	return cmd, true
}

// brief is an error as it enters the state: on one line, and not without end.
func brief(err error) string {
	const most = 800
	text := strings.Join(strings.Fields(strings.ToValidUTF8(err.Error(), "?")), " ")
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return text
}

// tell commits how a task went, as long as it takes. Where the task is not this
// host's any more, a backup that it has made is none.
func (k *keeper) tell(ctx context.Context, c state.Cluster, w *work, cmd state.FinishTask) (told bool) {
	for {
		refused, err := k.report.Propose(ctx, cmd)
		if err == nil && w.task.Kind == state.TaskRestore {
			if err := os.Remove(filepath.Join(k.notes, w.task.ID)); err != nil && !errors.Is(err, os.ErrNotExist) {
				k.log.WarnContext(ctx, "cannot remove the note of a restore", "err", err)
			}
		}
		if err == nil && (len(refused) == 0 || refused[0] == nil) {
			k.release(ctx, c, cmd.Record)
			return true
		}
		if err == nil {
			now, _ := k.replica.Current()
			_, known := now.FindBackup(w.task.Backup)
			switch {
			case known:
				k.release(ctx, c, cmd.Record)
			case cmd.Record != nil:
				k.log.WarnContext(ctx, "a backup came too late and is removed", "backup", w.task.Backup, "err", refused[0])
				if err := k.discard(ctx, c, w.task); err != nil {
					k.log.WarnContext(ctx, "it could not be removed", "backup", w.task.Backup, "err", err)
				}
			}
			return true
		}
		k.log.WarnContext(ctx, "the end of a task cannot be told, trying again", "task", w.task.ID, "err", err)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(tellAgain):
		}
	}
}

// release ends the hold of a backup that the state has now. Until then the next
// backup removes it: it would be there for ever where this host ended before it
// was told, and was lost.
func (k *keeper) release(ctx context.Context, c state.Cluster, r *state.BackupRecord) {
	if r == nil {
		return
	}
	for _, t := range k.targets(c, r.Copies) {
		if err := backup.Release(ctx, t, place(c, r.Service), r.ID); err != nil {
			k.log.WarnContext(ctx, "the note of a backup stays until the next one", "backup", r.ID, "target", t.String(), "err", err)
		}
	}
}

func (k *keeper) discard(ctx context.Context, c state.Cluster, t state.Task) error {
	var errs []error
	b := c.Spec.BackupOf(t.Service)
	if b == nil {
		return nil
	}
	for _, target := range k.targets(c, b.To) {
		errs = append(errs, backup.Remove(ctx, target, place(c, t.Service), t.Backup))
	}
	return errors.Join(errs...)
}

// removeScratches removes the scratch containers of a task, of all with "".
func (k *keeper) removeScratches(ctx context.Context, task string) bool {
	all, err := k.engine.Scratches(ctx)
	if err == nil {
		for id, of := range all {
			if task == "" || of == task {
				err = errors.Join(err, k.engine.RemoveScratch(ctx, id))
			}
		}
	}
	if err != nil && ctx.Err() == nil {
		k.log.WarnContext(ctx, "cannot remove the containers of drills that were cut off, trying again", "err", err)
	}
	return err == nil
}

func place(c state.Cluster, service string) backup.Place {
	return backup.Place{Cluster: c.ID, Service: service}
}

// execer runs the tools of a database in a container.
type execer struct {
	engine    backupEngine
	container string
}

func (e execer) Exec(ctx context.Context, c dump.Command) (int, error) {
	return e.engine.Run(ctx, e.container, engine.Command(c))
}

// database is the tools of a service's database in a container.
func (k *keeper) database(s state.Service, container string) (dump.Engine, error) {
	if s.Backup == nil {
		return nil, notBacked(s.Name)
	}
	return dump.New(dump.Options{
		Engine: s.Backup.Engine, Database: s.Backup.Database, LowPriority: s.Backup.LowPriority,
		Password: passwordOf(s.Container.Command), Config: configOf(s.Container.Command),
	}, execer{k.engine, container})
}

// passwordOf finds what redis-server was given on its command line, since that
// image has no variable for it. It goes to the tools in their environment.
func passwordOf(command []string) string {
	words := command
	if len(command) == 1 || len(command) == 3 && strings.HasSuffix(command[0], "sh") {
		words = strings.Fields(command[len(command)-1])
	}
	for i, w := range words {
		if w == "--requirepass" && i+1 < len(words) {
			return strings.Trim(words[i+1], `"'`)
		}
	}
	return ""
}

// configOf is the configuration file that redis-server is started with.
func configOf(command []string) string {
	for _, w := range command {
		if strings.HasPrefix(w, "/") && strings.HasSuffix(w, ".conf") {
			return w
		}
	}
	return ""
}

// serving is the container of a service's ready instance on this host.
func (k *keeper) serving(c state.Cluster, service string) (string, error) {
	for i := range c.Of(service) {
		if i.Phase == state.Ready && i.Host == k.host && i.Container != "" {
			return i.Container, nil
		}
	}
	return "", fmt.Errorf("no instance of %s is ready on %s", service, k.host)
}

// current is the newest state: the one that a task was seen in may be old.
func (k *keeper) current() state.Cluster {
	c, _ := k.replica.Current()
	return c
}
