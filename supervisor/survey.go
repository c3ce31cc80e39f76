package supervisor

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/engine"
	"github.com/supervisord/supervisord/supervisor/state"
)

// surveyor tells the cluster what docker compose runs of the spec's project on
// this host, so that nothing is started beside it before an operator decides.
type surveyor struct {
	host    string
	replica agent.Replica
	report  agent.Reporter
	// connected says whether the state can be trusted.
	connected func() bool
	project   func(ctx context.Context, name string) ([]engine.Found, error)
	log       *slog.Logger

	// ran is when a container that has stopped was last seen to run, by id.
	ran map[string]time.Time
}

const (
	// surveySoon is how often a host looks while somebody waits for what it
	// sees, surveyEvery otherwise.
	surveySoon  = time.Second
	surveyEvery = 15 * time.Second
	// stoppedFor is how long a container must have been stopped to count as
	// gone: one that is being restarted must not be replaced on its data.
	stoppedFor = 15 * time.Second
)

// run looks until the context ends.
func (s *surveyor) run(ctx context.Context) error {
	failing := false
	var next time.Time
	for {
		c, changed := s.replica.Current()
		wait := surveySoon
		if c.ID != "" && c.Spec.Revision > 0 && s.connected() && c.Knows(state.Survey{}) == nil {
			if wait = time.Until(next); wait <= 0 || s.unknown(c) {
				err := s.look(ctx, c)
				if err != nil && !failing && ctx.Err() == nil {
					s.log.WarnContext(ctx, "cannot look what docker compose runs here", "err", err)
				}
				failing = err != nil
				if wait = surveyEvery; err != nil || waits(c) {
					wait = surveySoon
				}
				next = time.Now().Add(wait)
			}
		}
		if failing {
			changed = nil
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

// unknown says that the cluster does not know what runs here of its project.
func (s *surveyor) unknown(c state.Cluster) bool {
	h, ok := c.Hosts.Get(s.host)
	return ok && h.Surveyed != c.Spec.Project
}

// waits says whether a service waits for a decision, or for its containers to
// be gone.
func waits(c state.Cluster) bool {
	for t := range c.Takeovers.Values() {
		if t.State == state.TakeoverWaiting {
			return true
		}
	}
	return false
}

// look tells what runs here where that is not what the cluster knows.
func (s *surveyor) look(ctx context.Context, c state.Cluster) error {
	found, err := s.project(ctx, c.Spec.Project)
	if err != nil {
		return err
	}
	h, ok := c.Hosts.Get(s.host)
	present := s.present(found, time.Now())
	if !ok || h.Surveyed == c.Spec.Project && slices.Equal(h.Foreign, present) {
		return nil
	}
	_, err = s.report.Propose(ctx, state.Survey{Host: s.host, Project: c.Spec.Project, Foreign: present})
	return err
}

// present are the containers that run, or did a moment ago and are still there.
func (s *surveyor) present(found []engine.Found, now time.Time) []state.Foreign {
	ran := map[string]time.Time{}
	var all []state.Foreign
	for _, f := range found {
		last, known := s.ran[f.Container]
		if f.Running {
			last, known = now, true
		}
		if known {
			ran[f.Container] = last
		}
		if known && now.Sub(last) < stoppedFor {
			all = append(all, f.Foreign)
		}
	}
	s.ran = ran
	return all
}
