package agent

import (
	"time"

	"github.com/supervisord/supervisord/supervisor/state"
)

// phases is when the instances of a host were first seen in their phases.
type phases map[string]phaseSeen

type phaseSeen struct {
	phase state.Phase
	at    time.Time
}

// look takes in the state at a moment, and returns since when each instance
// has been seen in its present phase.
func (p phases) look(c state.Cluster, host string, now time.Time) map[string]time.Time {
	since := make(map[string]time.Time, len(p))
	for _, i := range c.OnHost(host) {
		seen, ok := p[i.ID]
		if !ok || seen.phase != i.Phase {
			seen = phaseSeen{i.Phase, now}
			p[i.ID] = seen
		}
		since[i.ID] = seen.at
	}
	for id := range p {
		if _, still := since[id]; !still {
			delete(p, id)
		}
	}
	return since
}

// revivals is how often containers were started again, by id.
type revivals map[string]revival

type revival struct {
	times int
	last  time.Time
}

const (
	reviveFirst   = time.Second
	reviveLongest = time.Minute
)

// due says whether a container may be started again now, and counts it. The
// pauses double; a container that ran longer than the longest begins anew.
func (r revivals) due(id string, now time.Time) bool {
	was, ok := r[id]
	if ok && now.Sub(was.last) > 2*reviveLongest {
		was = revival{}
	}
	wait := time.Duration(0)
	if was.times > 0 {
		wait = min(reviveFirst<<min(was.times-1, 10), reviveLongest)
	}
	if now.Sub(was.last) < wait {
		return false
	}
	r[id] = revival{was.times + 1, now}
	return true
}
