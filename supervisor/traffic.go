package supervisor

import (
	"slices"
	"time"

	"github.com/supervisord/supervisord/lbconfig/accesslog"
	"github.com/supervisord/supervisord/supervisor/plan"
	"github.com/supervisord/supervisord/supervisor/state"
)

// traffic is what the leader knows of what clients got from the instances: the
// hosts' reports of the last moments, and the sums since the canary serves.
// The zero traffic is that of a new leadership.
type traffic struct {
	recent []seen
	// canary is the one that trials are about.
	canary uint64
	trials map[string]plan.Trial
	// tried is how many of the recent reports the trials have.
	tried int
}

// seen is one host's report.
type seen struct {
	at time.Time
	by map[string]accesslog.Counts
}

// canaryWarmUp is how long the instances of a canary may take to get warm: how
// long answers took before is not held against it. Errors count at once.
const canaryWarmUp = 10 * time.Second

// add takes in a report.
func (t *traffic) add(at time.Time, by map[string]accesslog.Counts) {
	if len(by) > 0 {
		t.recent = append(t.recent, seen{at, by})
	}
}

// look brings the sums up to date, and returns those of the last TrafficWindow
// by instance, and the trials of the canary by service.
func (t *traffic) look(c state.Cluster, now time.Time) (map[string]accesslog.Counts, map[string]plan.Trial) {
	t.try(c)
	old := 0
	for old < len(t.recent) && now.Sub(t.recent[old].at) > plan.TrafficWindow {
		old++
	}
	t.recent = slices.Delete(t.recent, 0, old)
	t.tried = max(0, t.tried-old)
	sums := map[string]accesslog.Counts{}
	for _, r := range t.recent {
		for id, counts := range r.by {
			sum := sums[id]
			sum.Requests += counts.Requests
			sum.Errors += counts.Errors
			sums[id] = sum
		}
	}
	trials := make(map[string]plan.Trial, len(t.trials))
	for name, trial := range t.trials {
		trials[name] = trial
	}
	return sums, trials
}

// try adds the reports that came since to the trials of the canary.
func (t *traffic) try(c state.Cluster) {
	fresh := t.recent[t.tried:]
	t.tried = len(t.recent)
	if !c.Canary.Active() {
		t.canary, t.trials = 0, nil
		return
	}
	if t.canary != c.Canary.ID {
		t.canary, t.trials = c.Canary.ID, map[string]plan.Trial{}
	}
	for _, name := range c.Canary.Services {
		warm, ok := warmAt(c, name)
		if !ok {
			continue
		}
		trial := t.trials[name]
		for _, r := range fresh {
			for i := range c.Of(name) {
				counts := r.by[i.ID]
				if r.at.Before(warm) {
					counts.Buckets = nil
				}
				if i.Canary {
					trial.Canary.Merge(counts)
				} else {
					trial.Stable.Merge(counts)
				}
			}
		}
		t.trials[name] = trial
	}
}

// warmAt is when the first instance of a canary is warm; false where none
// serves.
func warmAt(c state.Cluster, service string) (at time.Time, ok bool) {
	for i := range c.Of(service) {
		if i.Canary && i.Phase == state.Ready && (!ok || i.PhaseAt.Before(at)) {
			at, ok = i.PhaseAt, true
		}
	}
	return at.Add(canaryWarmUp), ok
}
