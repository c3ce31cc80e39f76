package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/supervisord/supervisord/supervisor"
	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/state"
)

// watch is what a deploy and a way back have in common: their progress.
type watch struct {
	env
	detach  bool
	asJSON  bool
	timeout time.Duration
}

const (
	defaultDeployTimeout = 30 * time.Minute
	// lookEvery is how often the progress is looked at.
	lookEvery = 300 * time.Millisecond
	// mostEvents is how many events are asked for at once.
	mostEvents = 200
)

func (w *watch) register(c *cobra.Command) {
	c.Flags().BoolVar(&w.detach, "detach", false, "do not wait for the end")
	c.Flags().BoolVar(&w.asJSON, "json", false, "print the release in the end as JSON")
	c.Flags().DurationVar(&w.timeout, "timeout", defaultDeployTimeout, "how long to wait for the end; the rollout goes on after it")
}

func newDeploy(e env) *cobra.Command {
	w := &watch{env: e}
	var file string
	var images []string
	var build, noCache, noBackup bool
	var canary string
	c := &cobra.Command{
		Use:   "deploy",
		Short: "Put a compose file or new images in force, and see it through",
		Long: `deploy puts a compose file in force (-f), or the one that is with other images
(--image), and waits until all of it serves. Before, it sees that the file is in
order, that every host has the images or can pull them, and that there is room.

The instances are replaced as deploy.update_config says, a new one first by
default; counts that the load has found stay. Where new instances fail, the
release is taken back to the last one that was healthy, by itself, and the exit
code is 1. An edit of the file on a host is rolled out in the same way.

With --canary 10% some instances of what is new come beside those that are, and
get that share of the requests. They are judged by their errors and by how long
they take against the others, and taken out when they are worse. What else is
new waits. supervisord promote puts it in force, supervisord abort takes it out.

With --build the images of the services with a build key are built first, on
this host's engine; the other hosts get them from this one. Each gets a tag of
its own, so that an earlier one can be gone back to.`,
		Example: `  supervisord deploy --image backend=acme/backend:1.5
  supervisord deploy -f docker-compose.prod.yml
  supervisord deploy -f docker-compose.prod.yml --build
  supervisord deploy --image backend=acme/backend:1.5 --canary 10%`,
		Args: want(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := api.Deploy{By: "a deploy by " + e.user(), NoBackup: noBackup}
			var err error
			if d.Text, err = e.composeText(file); err != nil {
				return wrongUsage(cmd, err)
			}
			if d.Images, err = parseImages(images); err != nil {
				return wrongUsage(cmd, err)
			}
			if d.Canary, err = parseShare(canary); err != nil {
				return wrongUsage(cmd, err)
			}
			if build && (file == "" || file == "-") {
				return wrongUsage(cmd, errors.New("--build wants the file (-f) whose build keys say what to build"))
			}
			if d.Text == "" && len(d.Images) == 0 {
				return wrongUsage(cmd, errors.New("want a file (-f) or an image (--image)"))
			}
			if build {
				if err := e.build(cmd.Context(), file, noCache, d.Images); err != nil {
					return fmt.Errorf("deploy: %w", err)
				}
			}
			return e.withClient(func(client *api.Client) error {
				begun, err := client.Deploy(cmd.Context(), d)
				if err != nil {
					return fmt.Errorf("deploy: %w", err)
				}
				if begun.Canary != nil {
					return w.canary(cmd.Context(), client, begun)
				}
				if begun.Unchanged {
					e.screen().printf("revision %d is in force and has all of it already\n", begun.Release.Revision)
					return nil
				}
				return w.through(cmd.Context(), client, begun)
			})
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "the compose file, or - for standard input; paths in it begin at the daemon's own file")
	c.Flags().StringArrayVar(&images, "image", nil, "SERVICE=IMAGE; may be given again")
	c.Flags().BoolVar(&build, "build", false, "build the images first, as the build keys of the file say")
	c.Flags().BoolVar(&noBackup, "no-backup", false, "leave out the backups that x-backup.before_deploy asks for")
	c.Flags().BoolVar(&noCache, "no-cache", false, "with --build, build every step anew")
	c.Flags().StringVar(&canary, "canary", "", "try it out with this share of the requests, as 10%")
	w.register(c)
	return c
}

// build builds the images of a file and adds them to those to be deployed.
func (e env) build(ctx context.Context, file string, noCache bool, images map[string]string) error {
	built, err := supervisor.Build(ctx, supervisor.BuildOptions{
		File: file, Environ: e.vars, NoCache: noCache,
		Tell: func(service, text string) {
			if text = strings.TrimSpace(text); text != "" {
				fmt.Fprintf(e.err, "%s | %s\n", service, text)
			}
		},
	})
	if err != nil {
		return err
	}
	for service, image := range built {
		if _, given := images[service]; !given {
			images[service] = image
		}
	}
	return nil
}

func newRollback(e env) *cobra.Command {
	w := &watch{env: e}
	var withData, yes bool
	c := &cobra.Command{
		Use:   "rollback [REVISION]",
		Short: "Go back to an earlier revision",
		Long: `rollback puts an earlier revision in force again, by default the last healthy one
before that in force, and waits until all of it serves. Live counts stay.

With --with-data the databases, too, go back to the backups that were taken
before the first deploy after that revision (x-backup.before_deploy); it asks
before.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("want a revision or nothing, got %s", counted(len(args), "argument"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			body := api.Rollback{By: e.user()}
			if len(args) > 0 {
				var err error
				if body.Revision, err = parseRevision(args[0]); err != nil {
					return wrongUsage(cmd, err)
				}
			}
			return e.withClient(func(client *api.Client) error {
				var data []api.Backup
				if withData {
					var err error
					if data, err = e.dataOf(cmd.Context(), client, &body, yes); err != nil {
						return fmt.Errorf("rollback: %w", err)
					}
				}
				begun, err := client.Rollback(cmd.Context(), body)
				if err != nil {
					return fmt.Errorf("rollback: %w", err)
				}
				if err := w.through(cmd.Context(), client, begun); err != nil {
					return err
				}
				return e.restoreAll(cmd.Context(), client, data)
			})
		},
	}
	c.Flags().BoolVar(&withData, "with-data", false, "restore the backups from before the deploy that followed")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "with --with-data, do not ask")
	w.register(c)
	return c
}

// user is who sits at the terminal, also behind sudo.
func (e env) user() string {
	for _, name := range []string{"SUDO_USER", "USER", "LOGNAME"} {
		if v, ok := e.lookup(name); ok && v != "" {
			return v
		}
	}
	return fmt.Sprintf("user %d", os.Getuid())
}

// maxCompose bounds what is read of a compose file.
const maxCompose = 1 << 20

// composeText reads a file, or standard input.
func (e env) composeText(file string) (string, error) {
	var data []byte
	var err error
	switch file {
	case "":
		return "", nil
	case "-":
		data, err = io.ReadAll(io.LimitReader(e.in, maxCompose))
	default:
		data, err = os.ReadFile(file)
	}
	if err == nil && strings.TrimSpace(string(data)) == "" {
		err = fmt.Errorf("%s is empty", file)
	}
	return string(data), err
}

func parseImages(all []string) (map[string]string, error) {
	return parsePairs("--image", "SERVICE=IMAGE", all)
}

// parsePairs reads the values of a flag that is given once for each key.
func parsePairs(flag, form string, all []string) (map[string]string, error) {
	pairs := map[string]string{}
	for _, text := range all {
		key, value, ok := strings.Cut(text, "=")
		if !ok || key == "" || value == "" {
			return nil, fmt.Errorf("%s %q: want %s", flag, text, form)
		}
		if _, twice := pairs[key]; twice {
			return nil, fmt.Errorf("%s: %s is given twice", flag, key)
		}
		pairs[key] = value
	}
	return pairs, nil
}

// through tells what happens to a release until its end, and fails when that is
// not a good one.
func (w *watch) through(ctx context.Context, client *api.Client, begun api.Deployed) error {
	r := begun.Release
	fmt.Fprintf(w.err, "revision %d: %s\n", r.Revision, r.Change)
	if !w.detach {
		ctx, cancel := context.WithTimeout(ctx, w.timeout)
		defer cancel()
		p := &progress{watch: w, client: client, after: begun.LastEvent}
		var err error
		if r, err = p.end(ctx, r.Revision); err != nil {
			return fmt.Errorf("revision %d: %w; the rollout goes on, supervisord revisions shows how it ends", begun.Release.Revision, err)
		}
		if r.State == state.ReleaseFailed {
			return errors.Join(p.wayBack(ctx, r), w.result(r))
		}
	}
	return w.result(r)
}

// result prints how a release stands and fails where that is not well.
func (w *watch) result(r api.Release) error {
	if w.asJSON {
		if err := printJSON(w.out, r); err != nil {
			return err
		}
	}
	switch r.State {
	case state.ReleaseFailed:
		return fmt.Errorf("revision %d failed and was taken back: %s", r.Revision, r.Why)
	case state.ReleasePaused:
		return fmt.Errorf("revision %d is paused: %s; deploy another one, or go back: supervisord rollback", r.Revision, r.Why)
	case state.ReleaseSuperseded:
		return fmt.Errorf("revision %d was superseded by another one before it was done", r.Revision)
	}
	if !w.asJSON {
		w.screen().printf("revision %d is %s\n", r.Revision, r.State)
	}
	return nil
}

// progress follows a release, whichever host leads meanwhile and though this
// host's daemon may be started anew.
type progress struct {
	*watch
	client *api.Client
	after  uint64
}

// end waits until a release is no longer on its way.
func (p *progress) end(ctx context.Context, revision uint64) (api.Release, error) {
	for {
		r, err := p.client.Release(ctx, revision)
		if err == nil {
			// What has happened until then is told first.
			err = p.tell(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return r, ctx.Err()
		case errors.Is(err, api.ErrUnreachable), errors.Is(err, api.ErrUnavailable):
		case err != nil:
			return r, err
		case r.State != state.ReleaseRolling:
			return r, nil
		}
		select {
		case <-ctx.Done():
			return r, ctx.Err()
		case <-time.After(lookEvery):
		}
	}
}

// tell prints the events since the last call.
func (p *progress) tell(ctx context.Context) error {
	events, err := p.client.EventsAfter(ctx, p.after, mostEvents)
	if err != nil {
		return err
	}
	for _, e := range events.Events {
		p.after = e.Seq
		fmt.Fprintf(p.err, "  %s  %s\n", e.At.Local().Format("15:04:05"), e.Message)
	}
	return nil
}

// wayBack waits until what a failed release was replaced by serves.
func (p *progress) wayBack(ctx context.Context, failed api.Release) error {
	all, err := p.client.Releases(ctx)
	if err != nil {
		return err
	}
	for _, r := range all.Releases {
		if r.Back == 0 || r.Revision != failed.Revision+1 {
			continue
		}
		end, err := p.end(ctx, r.Revision)
		if err != nil {
			return fmt.Errorf("revision %d, which brings back revision %d: %w", r.Revision, r.Back, err)
		}
		fmt.Fprintf(p.err, "revision %d, which brings back revision %d, is %s\n", end.Revision, end.Back, end.State)
	}
	return nil
}
