package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/peer"
	"github.com/supervisord/supervisord/supervisor/plan"
	"github.com/supervisord/supervisord/supervisor/state"
)

// BeginTask gives a host a task of an operator.
func (b backend) BeginTask(ctx context.Context, o api.TaskOrder) (state.Task, error) {
	c, _ := b.State()
	cmd := state.BeginTask{Kind: o.Kind, Service: o.Service, Backup: o.Backup, To: o.To, By: o.By, Before: o.Before}
	var err error
	switch o.Kind {
	case state.TaskBackup:
		cmd.Host, err = backupHost(c, o.Service)
	case state.TaskDrill:
		cmd.Service, cmd.Host, err = drillHost(c, o.Backup)
	case state.TaskRestore:
		cmd.Service, cmd.Host, err = restoreHost(c, o)
	default:
		err = fmt.Errorf("a task of kind %q cannot be ordered", o.Kind)
	}
	if err != nil {
		return state.Task{}, err
	}
	before := c.Index
	refused, err := b.Propose(ctx, cmd)
	if err := errors.Join(append(refused, err)...); err != nil {
		return state.Task{}, err
	}
	c, _ = b.State()
	if t, ok := c.Tasks.Get(cmd.Service); ok && t.Kind == o.Kind {
		return t, nil
	}
	// It may have ended by now.
	for r := range c.TaskResults.Values() {
		if r.Service == cmd.Service && r.Kind == o.Kind && begunAfter(r.Task, before) {
			return r.Task, nil
		}
	}
	return state.Task{}, &api.Error{Status: http.StatusServiceUnavailable, Message: "the task is committed, and this host does not have it yet", Hint: "supervisord backup list shows it"}
}

// begunAfter says whether a task is newer than an index of the log.
func begunAfter(t state.Task, index uint64) bool {
	var n uint64
	_, err := fmt.Sscanf(serial(t), "%d", &n)
	return err == nil && n > index
}

func conflict(format string, args ...any) error {
	return &api.Error{Status: http.StatusConflict, Message: fmt.Sprintf(format, args...)}
}

func backupHost(c state.Cluster, service string) (string, error) {
	_, ok := c.Spec.Services[service]
	switch backedUp := c.Spec.BackupOf(service) != nil; {
	case !ok && !backedUp:
		return "", &api.Error{Status: http.StatusNotFound, Message: fmt.Sprintf("there is no service %q, and no database outside with backups", service)}
	case !backedUp:
		return "", &api.Error{Status: http.StatusConflict, Message: service + " has no x-backup key", Hint: "the key says which database it is and where its backups go"}
	}
	host := plan.ServingHost(c, service)
	switch _, outside := c.Spec.OutsideOf(service); {
	case host != "":
		return host, nil
	case outside:
		return "", conflict("no host can take the backups of %s now", service)
	}
	return "", conflict("no instance of %s is ready", service)
}

func readingHost(c state.Cluster, id string) (service, host string, err error) {
	r, ok := c.FindBackup(id)
	if !ok {
		return "", "", &api.Error{Status: http.StatusNotFound, Message: fmt.Sprintf("there is no backup %q", id), Hint: "supervisord backup list shows all"}
	}
	if host = plan.Reader(c, r); host == "" {
		return "", "", conflict("%s is in directories of %s only, which is not there", id, r.Host)
	}
	return r.Service, host, nil
}

// drillHost is where a drill is done.
func drillHost(c state.Cluster, id string) (service, host string, err error) {
	if service, host, err = readingHost(c, id); err != nil {
		return "", "", err
	}
	if _, err := scratchOf(c.Spec, service); err != nil {
		return "", "", conflict("%v", err)
	}
	return service, host, nil
}

var databasePattern = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_-]{0,50}$`)

// restoreHost is where a restore is done: at the database that it goes to.
func restoreHost(c state.Cluster, o api.TaskOrder) (service, host string, err error) {
	service, host, err = readingHost(c, o.Backup)
	if err != nil {
		return "", "", err
	}
	into := service
	switch kind, name, _ := strings.Cut(o.To, ":"); {
	case o.To == "":
	case kind == "database" && databasePattern.MatchString(name):
	case kind == "service" && name != "":
		into = name
	case kind == "file" && filepath.IsAbs(name):
		return service, host, nil
	default:
		return "", "", &api.Error{Status: http.StatusBadRequest, Message: fmt.Sprintf("to %q: want database:NAME, service:NAME or file:/PATH", o.To)}
	}
	if db, ok := c.Spec.OutsideOf(into); ok && db.Engine == "redis" {
		return "", "", &api.Error{
			Status: http.StatusConflict, Message: "a Redis outside cannot be restored in its place: that takes a second server beside it",
			Hint: "--to file:/PATH writes the snapshot, --to service:NAME restores into a service",
		}
	}
	at, err := backupHost(c, into)
	if err != nil {
		return "", "", err
	}
	r, _ := c.FindBackup(o.Backup)
	if at != host && at != r.Host {
		for _, copy := range r.Copies {
			if strings.HasPrefix(copy, "s3://") {
				return service, at, nil
			}
		}
		return "", "", conflict("%s is in directories of %s, and %s is on %s", o.Backup, r.Host, into, at)
	}
	return service, at, nil
}

// TaskProgress returns how far a host is with its tasks; nothing where it does
// not tell.
func (b backend) TaskProgress(ctx context.Context, host string) []api.TaskProgress {
	if host == b.options.Host {
		return b.keeper.progress()
	}
	c, _ := b.State()
	h, ok := c.Hosts.Get(host)
	if !ok || h.Peer == "" || b.node.peers == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	theirs, err := b.node.peers.Tasks(ctx, h.Peer)
	if err != nil {
		b.options.Log.DebugContext(ctx, "a host does not tell how far it is", "host", host, "err", err)
		return nil
	}
	out := make([]api.TaskProgress, len(theirs))
	for i, p := range theirs {
		out[i] = api.TaskProgress(p)
	}
	return out
}

// tasksHere is what the other hosts are told.
func (s *Supervisor) tasksHere() []peer.TaskProgress {
	var out []peer.TaskProgress
	for _, p := range s.keeper.progress() {
		out = append(out, peer.TaskProgress(p))
	}
	return out
}

// backUpBefore takes the backups that are wanted before a new revision comes
// into force, and fails when one of them does.
func (b backend) backUpBefore(ctx context.Context, c state.Cluster, by string) error {
	type run struct{ service, task string }
	var runs []run
	for _, name := range c.Spec.BackedUp() {
		if !c.Spec.BackupOf(name).BeforeDeploy {
			continue
		}
		t, err := b.beginWhenFree(ctx, api.TaskOrder{Kind: state.TaskBackup, Service: name, By: by, Before: c.Spec.Revision + 1})
		if err != nil {
			return notBackedUp(name, err.Error())
		}
		runs = append(runs, run{name, t.ID})
	}
	for _, r := range runs {
		result, err := b.awaitTask(ctx, r.service, r.task)
		if err != nil {
			return err
		}
		if result.Error != "" {
			return notBackedUp(r.service, result.Error)
		}
	}
	return nil
}

func notBackedUp(service, why string) error {
	return &api.Error{
		Status: http.StatusConflict, Message: fmt.Sprintf("the backup of %s before the deploy failed, so nothing was changed: %s", service, why),
		Hint: "x-backup.before_deploy asks for it; deploy --no-backup goes on without",
	}
}

// beginWhenFree waits for a task that is under way.
func (b backend) beginWhenFree(ctx context.Context, o api.TaskOrder) (state.Task, error) {
	for {
		c, changed := b.State()
		if _, busy := c.Tasks.Get(o.Service); !busy {
			t, err := b.BeginTask(ctx, o)
			if now, _ := b.State(); err == nil || !errors.Is(err, state.ErrRefused) || now.Tasks.Len() == 0 {
				return t, err
			}
		}
		select {
		case <-ctx.Done():
			return state.Task{}, ctx.Err()
		case <-changed:
		}
	}
}

func (b backend) awaitTask(ctx context.Context, service, id string) (state.TaskResult, error) {
	for {
		c, changed := b.State()
		if r, ok := c.TaskResultOf(id); ok {
			return r, nil
		}
		if t, _ := c.Tasks.Get(service); t.ID != id && c.Time.Sub(t.Began) > time.Minute {
			return state.TaskResult{}, conflict("the result of task %s is not known any more", id)
		}
		select {
		case <-ctx.Done():
			return state.TaskResult{}, ctx.Err()
		case <-changed:
		}
	}
}
