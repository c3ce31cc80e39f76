package apitest

import (
	"context"
	"net/http"

	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/state"
)

// BeginTask commits a task for the first host, and does nothing of it.
func (b *Backend) BeginTask(ctx context.Context, o api.TaskOrder) (state.Task, error) {
	c, _ := b.State()
	cmd := state.BeginTask{Kind: o.Kind, Service: o.Service, Backup: o.Backup, To: o.To, By: o.By, Before: o.Before}
	if r, ok := c.FindBackup(o.Backup); ok {
		cmd.Service = r.Service
	}
	if cmd.Service == "" {
		return state.Task{}, &api.Error{Status: http.StatusNotFound, Message: "there is no backup " + o.Backup}
	}
	cmd.Host, _, _ = c.Hosts.First()
	refused, err := b.Propose(ctx, cmd)
	if err == nil {
		err = refused[0]
	}
	if err != nil {
		return state.Task{}, err
	}
	c, _ = b.State()
	t, _ := c.Tasks.Get(cmd.Service)
	return t, nil
}

// TaskProgress says that every task is halfway.
func (b *Backend) TaskProgress(_ context.Context, host string) []api.TaskProgress {
	c, _ := b.State()
	var out []api.TaskProgress
	for t := range c.Tasks.Values() {
		if t.Host == host {
			out = append(out, api.TaskProgress{ID: t.ID, Kind: string(t.Kind), Service: t.Service, Host: host, Backup: t.Backup, Phase: "dump", Dumped: 50 << 20, Stored: 7 << 20, Seconds: 2})
		}
	}
	return out
}
