package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
	// text is the file's.
	text string
}

// follower keeps the operator's file on this host and the cluster's spec in
// step: an edit becomes the cluster's, and the cluster's text becomes this
// host's.
//
// An edit is made from the revision that the file was last in step with. When
// the cluster has another one by then, two operators have edited at once, and
// the second edit is not taken over the first one: it is saved beside the
// file, which gets the cluster's text.
type follower struct {
	host    string
	replica agent.Replica
	report  agent.Reporter
	file    specFile
	// ready says whether this host knows the cluster's spec: before that, the
	// state may be as old as the last snapshot.
	ready func() bool
	log   *slog.Logger

	// last is the newest edit that came; nil before the first.
	last *edit
	// complained is what was last reported to be wrong.
	complained string
}

// followAgain is the pause before what could not be done is tried again.
const followAgain = time.Second

// run takes the edits and the cluster's news until the context ends. What
// cannot be committed or written now is tried again until it is, or until a
// newer edit replaces it.
func (f *follower) run(ctx context.Context, edits <-chan edit) error {
	failing := ""
	for {
		c, changed := f.replica.Current()
		var again <-chan time.Time
		if !f.ready() || c.ID == "" {
			again = time.After(followAgain)
		} else if err := f.follow(ctx, c); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if failing != err.Error() {
				failing = err.Error()
				f.log.WarnContext(ctx, "the compose file and the cluster are not in step yet, trying again", "err", err)
			}
			again = time.After(followAgain)
		} else {
			failing = ""
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-edits:
			f.last = &e
		case <-changed:
			// Most changes are none of the spec.
			if now, _ := f.replica.Current(); now.Spec.Revision == c.Spec.Revision && now.Hosts == c.Hosts && again == nil {
				continue
			}
		case <-again:
		}
	}
}

// follow does what is to be done now about the file and the cluster's spec.
func (f *follower) follow(ctx context.Context, c state.Cluster) error {
	was, err := f.file.Synced()
	if err != nil {
		return err
	}
	text, err := f.file.Read()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f.problem(ctx, c, fmt.Errorf("read compose file: %w", err))
	}
	missing := err != nil
	switch {
	case c.Spec.Revision == 0:
		return f.take(ctx, c, text)
	case was == (synced{}) && c.Spec.Source == "":
		// The spec is of a time when its text was not kept: the file is what
		// there is of it.
		return f.take(ctx, c, text)
	case text == was.Text && was.Revision == c.Spec.Revision:
		return f.inStep(ctx, c, was, text)
	case text == c.Spec.Source:
		return f.file.Sync(synced{Revision: c.Spec.Revision, Text: text})
	case !missing && was.Revision > c.Spec.Revision:
		// The cluster was recovered from a host that had less.
		return f.conflict(ctx, c, was, text)
	case text == was.Text, missing && was.Revision != c.Spec.Revision:
		return f.write(ctx, c)
	case missing:
		return f.problem(ctx, c, fmt.Errorf("read compose file: %w", err))
	case !f.seen(text):
		// The watch will bring it when the editor is done.
		return nil
	case was.Revision != c.Spec.Revision:
		return f.conflict(ctx, c, was, text)
	}
	return f.take(ctx, c, text)
}

// seen says whether the newest edit is of a text.
func (f *follower) seen(text string) bool {
	return f.last != nil && f.last.text == text
}

// inStep looks at a file whose text is the cluster's: what it refers to may
// have changed.
func (f *follower) inStep(ctx context.Context, c state.Cluster, was synced, text string) error {
	if !f.seen(text) {
		return nil
	}
	switch p := f.last.project; {
	case p == nil && was.Hash == "":
		// The text came from another host, which has files that this one has
		// not. That matters only to who edits it here.
		return f.well(ctx, c)
	case p == nil:
		return f.problem(ctx, c, f.last.err)
	case was.Hash == "":
		was.Hash = p.Spec.Hash
		return errors.Join(f.file.Sync(was), f.well(ctx, c))
	case was.Hash != p.Spec.Hash:
		return f.take(ctx, c, text)
	}
	return f.well(ctx, c)
}

// take makes an edit the cluster's.
func (f *follower) take(ctx context.Context, c state.Cluster, text string) error {
	if !f.seen(text) {
		return nil
	}
	if f.last.err != nil {
		return f.problem(ctx, c, f.last.err)
	}
	for _, w := range f.last.project.Warnings {
		f.log.WarnContext(ctx, "compose file", "warning", w)
	}
	spec := f.last.project.Spec
	refused, err := f.report.Propose(ctx, state.SetSpec{Spec: spec, Base: c.Spec.Revision, Host: f.host, By: "an edit on " + f.host})
	if err = errors.Join(append(refused, err)...); err != nil {
		return err
	}
	f.complained = ""
	revision := c.Spec.Revision + 1
	if now, _ := f.replica.Current(); now.Spec.Hash == spec.Hash && now.Spec.Source == spec.Source {
		revision = now.Spec.Revision
	}
	return f.file.Sync(synced{Revision: revision, Text: text, Hash: spec.Hash})
}

// write gives the file the cluster's text.
func (f *follower) write(ctx context.Context, c state.Cluster) error {
	if c.Spec.Source == "" {
		return nil
	}
	if err := f.file.Write(c.Spec.Source); err != nil {
		return errors.Join(err, f.problem(ctx, c, err))
	}
	f.last = nil
	f.log.InfoContext(ctx, "the compose file follows the cluster's", "revision", c.Spec.Revision)
	return errors.Join(f.file.Sync(synced{Revision: c.Spec.Revision, Text: c.Spec.Source}), f.well(ctx, c))
}

// conflict saves an edit that was made from another revision than the one in
// force, and gives the file the cluster's text.
func (f *follower) conflict(ctx context.Context, c state.Cluster, was synced, text string) error {
	if c.Spec.Source == "" {
		return f.problem(ctx, c, fmt.Errorf("the edit was made from revision %d, and revision %d is in force; make it again", was.Revision, c.Spec.Revision))
	}
	path, err := f.file.Aside(text, time.Now())
	if err != nil {
		return errors.Join(err, f.problem(ctx, c, err))
	}
	if err := f.write(ctx, c); err != nil {
		return err
	}
	from := fmt.Sprintf("was made from revision %d", was.Revision)
	if was == (synced{}) {
		from = "is of before this host joined"
	}
	message := fmt.Sprintf("the compose file on %s %s, and revision %d is in force: it is saved as %s, and the cluster's is in its place; what you want of it, edit in there", f.host, from, c.Spec.Revision, path)
	f.log.WarnContext(ctx, message)
	_, err = f.report.Propose(ctx, state.Note{Event: state.Event{Kind: state.EventSpecConflict, Host: f.host, Message: message}})
	return err
}

// problem tells the cluster why this host's file is not in force, once.
func (f *follower) problem(ctx context.Context, c state.Cluster, err error) error {
	if f.complained != err.Error() {
		f.log.ErrorContext(ctx, "the compose file is not in force, the last good one goes on", "err", err)
		f.complained = err.Error()
	}
	return f.tell(ctx, c, err.Error())
}

// well takes back what was told.
func (f *follower) well(ctx context.Context, c state.Cluster) error {
	f.complained = ""
	return f.tell(ctx, c, "")
}

func (f *follower) tell(ctx context.Context, c state.Cluster, problem string) error {
	if h, ok := c.Hosts.Get(f.host); !ok || h.SpecError == problem {
		return nil
	}
	refused, err := f.report.Propose(ctx, state.ReportSpecError{Host: f.host, Problem: problem})
	return errors.Join(append(refused, err)...)
}

// watchSpec turns the file's changes into edits until the context ends.
func watchSpec(ctx context.Context, o Options, file specFile, edits chan<- edit) error {
	err := compose.Watch(ctx, o.Config, compose.Options{Environ: o.Environ}, func(p *compose.Project, err error) {
		e := edit{project: p, err: err}
		if p != nil {
			e.text = p.Spec.Source
		} else if e.text, err = file.Read(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			o.Log.WarnContext(ctx, "cannot read the compose file", "err", err)
		}
		select {
		case edits <- e:
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
