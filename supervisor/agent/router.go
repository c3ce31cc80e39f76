package agent

import (
	"context"
	"maps"
	"reflect"
	"slices"
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
	// at is when it was last changed.
	at time.Time
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
		wait := recheck
		if c.ID != "" {
			var err error
			wait, err = r.follow(ctx, c, time.Since(checked) >= recheck)
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
		if !r.known {
			wait = retryAfter
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-changed:
		case <-r.reach.changed:
		case <-t.C:
		}
		t.Stop()
	}
}

// spread is the least time between reloads for servers that are merely added
// to others: the first of a burst is sent to at once, the rest share few
// reloads, each of which costs clients their idle connections.
const spread = 500 * time.Millisecond

// follow applies the state's sites where they changed and confirms them where
// somebody waits for it. It returns when to look again if nothing happens.
func (r *router) follow(ctx context.Context, c state.Cluster, force bool) (wait time.Duration, err error) {
	sites, next := Sites(c, r.Listen, r.Status, r.Now())
	cfg := r.certified(ctx, c, r.reach.reachable(sites))
	wait = recheck
	if !next.IsZero() {
		wait = min(wait, max(time.Millisecond, next.Sub(r.Now())))
	}
	if force || !r.known || !sameSites(cfg, r.applied) {
		if left := spread - time.Since(r.at); left > 0 && r.known && moreOfTheSame(r.applied, cfg) {
			return min(left, wait), nil
		}
		out, err := r.Balance.Apply(ctx, cfg)
		if err != nil {
			return 0, err
		}
		if !r.known || !sameSites(cfg, r.applied) {
			r.at = time.Now()
		}
		r.applied, r.known, r.rejected = cfg, true, out.Rejected
	}
	h, ok := c.Hosts.Get(r.Host)
	if !ok {
		return wait, nil
	}
	if !awaited(c, h) && maps.Equal(h.RejectedSites, r.rejected) {
		return wait, nil
	}
	return wait, r.report(ctx, state.ConfirmRoutes{Host: r.Host, Index: c.Index, Rejected: r.rejected})
}

// moreOfTheSame says whether a configuration differs from another only by more
// servers of sites that have some.
func moreOfTheSame(was, now lbconfig.Config) bool {
	trimmed := now
	trimmed.Sites = slices.Clone(now.Sites)
	for n := range trimmed.Sites {
		if n >= len(was.Sites) || len(was.Sites[n].Servers) == 0 {
			return false
		}
		before := was.Sites[n].Servers
		trimmed.Sites[n].Servers = slices.DeleteFunc(slices.Clone(now.Sites[n].Servers), func(s lbconfig.Server) bool {
			return !slices.Contains(before, s)
		})
	}
	return sameSites(was, trimmed)
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
