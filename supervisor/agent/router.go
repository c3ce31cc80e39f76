package agent

import (
	"context"
	"maps"
	"reflect"
	"time"

	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/supervisor/state"
)

// router keeps this host's nginx in step with the state. While one
// configuration is being applied newer states pile up, and the next one takes
// them all in: a burst of changes costs few reloads.
type router struct {
	*Agent
	// applied is what nginx is known to serve, as of the index served;
	// known is false until the first success.
	applied  lbconfig.Config
	known    bool
	rejected map[string]string
}

func newRouter(a *Agent) *router { return &router{Agent: a} }

// recheck is how often an unchanged configuration is applied again: a reload
// by another hand or a lost file is mended then. Apply does nothing where all
// is as it should be.
const recheck = 30 * time.Second

func (r *router) run(ctx context.Context) error {
	var checked time.Time
	for {
		c, changed := r.Replica.Current()
		if c.ID != "" {
			err := r.follow(ctx, c, time.Since(checked) >= recheck)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err != nil:
				r.known = false
				r.Log.WarnContext(ctx, "nginx is not up to date, trying again", "err", err)
				changed = nil
			case time.Since(checked) >= recheck:
				checked = time.Now()
			}
		}
		wait := recheck
		if !r.known {
			wait = retryAfter
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-changed:
		case <-t.C:
		}
		t.Stop()
	}
}

// follow applies the state's sites where they changed and confirms them where
// somebody waits for it.
func (r *router) follow(ctx context.Context, c state.Cluster, force bool) error {
	cfg := Sites(c, r.Listen, r.Status)
	if force || !r.known || !sameSites(cfg, r.applied) {
		out, err := r.Balance.Apply(ctx, cfg)
		if err != nil {
			return err
		}
		r.applied, r.known, r.rejected = cfg, true, out.Rejected
	}
	h, ok := c.Hosts.Get(r.Host)
	if !ok {
		return nil
	}
	if !awaited(c, h) && maps.Equal(h.RejectedSites, r.rejected) {
		return nil
	}
	return r.report(ctx, state.ConfirmRoutes{Host: r.Host, Index: c.Index, Rejected: r.rejected})
}

// awaited says whether an instance that leaves waits for this host's word.
func awaited(c state.Cluster, h state.Host) bool {
	for i := range c.Instances.Values() {
		if !i.Active() && h.Routes < i.PhaseIndex {
			return true
		}
	}
	return false
}

func sameSites(a, b lbconfig.Config) bool {
	a.Generation, b.Generation = 0, 0
	return reflect.DeepEqual(a, b)
}
