package supervisor

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/engine"
	"github.com/supervisord/supervisord/supervisor/state"
)

// janitor removes images from this host that only releases had which are no
// longer kept. What this cluster never ran it does not touch.
type janitor struct {
	replica agent.Replica
	remove  func(ctx context.Context, image string) error
	log     *slog.Logger
	// done are those that were removed, or were not there.
	done map[string]bool
}

// cleanAgain is the pause before what could not be removed is tried again: its
// last container may be gone by then.
const cleanAgain = 10 * time.Minute

// run cleans up when there is something to until the context ends.
func (j *janitor) run(ctx context.Context) error {
	j.done = map[string]bool{}
	// Changes come more often than this; they must not put it off.
	again := time.NewTicker(cleanAgain)
	defer again.Stop()
	var seen []string
	for {
		c, changed := j.replica.Current()
		if !slices.Equal(c.Retired, seen) {
			seen = c.Retired
			j.clean(ctx, c)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-again.C:
			seen = nil
		}
	}
}

func (j *janitor) clean(ctx context.Context, c state.Cluster) {
	for image := range j.done {
		// It may be deployed again, and given up again.
		if c.Keeps(image) {
			delete(j.done, image)
		}
	}
	for _, image := range c.Retired {
		if j.done[image] || c.Keeps(image) {
			continue
		}
		err := j.remove(ctx, image)
		switch {
		case err == nil:
			j.done[image] = true
			j.log.InfoContext(ctx, "removed the image of releases that are no longer kept", "image", image)
		case ctx.Err() != nil:
			return
		case errors.Is(err, engine.ErrImageUsed):
			j.log.DebugContext(ctx, "an image of releases that are no longer kept is still used", "image", image)
		default:
			j.log.WarnContext(ctx, "cannot remove an image, trying again", "image", image, "err", err)
		}
	}
}
