package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/compose"
	"github.com/supervisord/supervisord/supervisor/state"
)

// edit is what became of the operator's file: a project or what is wrong.
type edit struct {
	project *compose.Project
	err     error
}

// follower brings the operator's file into force.
type follower struct {
	host    string
	replica agent.Replica
	report  agent.Reporter
	log     *slog.Logger
}

// run takes the edits and commits them. One that cannot be committed now is
// tried again until it is, or until a newer one replaces it.
func (f *follower) run(ctx context.Context, edits <-chan edit) error {
	var pending *edit
	for {
		var retry <-chan time.Time
		if pending != nil {
			err := f.commit(ctx, *pending)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err == nil:
				pending = nil
			default:
				f.log.WarnContext(ctx, "the edit is not committed yet, trying again", "err", err)
				retry = time.After(time.Second)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-edits:
			pending = &e
		case <-retry:
		}
	}
}

func (f *follower) commit(ctx context.Context, e edit) error {
	c, _ := f.replica.Current()
	var cmd state.Command
	if e.err != nil {
		f.log.ErrorContext(ctx, "the compose file is not in force, the last good one goes on", "err", e.err)
		cmd = state.ReportSpecError{Host: f.host, Problem: e.err.Error()}
	} else {
		for _, w := range e.project.Warnings {
			f.log.WarnContext(ctx, "compose file", "warning", w)
		}
		cmd = state.SetSpec{Spec: e.project.Spec, Base: c.Spec.Revision, Host: f.host}
	}
	refused, err := f.report.Propose(ctx, cmd)
	if err != nil {
		return err
	}
	return refused[0]
}

// watch turns the file's changes into edits until the context ends.
func watchSpec(ctx context.Context, o Options, edits chan<- edit) error {
	err := compose.Watch(ctx, o.Config, compose.Options{Environ: o.Environ}, func(p *compose.Project, err error) {
		select {
		case edits <- edit{p, err}:
		case <-ctx.Done():
		}
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		err = errors.New("the watch ended")
	}
	return fmt.Errorf("watch %s: %w", o.Config, err)
}
