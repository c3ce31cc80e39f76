package plan

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/supervisord/supervisord/lbconfig/accesslog"
	"github.com/supervisord/supervisord/supervisor/state"
)

// TrafficWindow is the time over which a View's Traffic is summed up.
const TrafficWindow = 10 * time.Second

const (
	// passiveLeast is how many requests an instance, and the others together,
	// must have had to tell.
	passiveLeast = 20
	// passiveErrors is the share of errors from which an instance is not well,
	// passiveOthers the share that the others may have: where they have more,
	// it is not the instance that is at fault.
	passiveErrors = 0.5
	passiveOthers = 0.1
)

// listen takes what clients get from the instances into account: one that
// mostly answers with errors, or not at all, while the others do not, is sick
// whatever its health check says.
func (r *round) listen(s state.Service) {
	if s.Ingress == nil || s.Stateful || s.Ingress.Health.IgnoreErrors {
		return
	}
	var all accesslog.Counts
	mine := map[string]accesslog.Counts{}
	for i := range r.Cluster.Stable(s.Name) {
		c, seen := r.Traffic[i.ID]
		if !seen {
			continue
		}
		all.Merge(c)
		// What has just begun had its errors before.
		if i.Phase == state.Ready && i.Sick == "" {
			mine[i.ID] = c
		}
	}
	for _, id := range slices.Sorted(maps.Keys(mine)) {
		c := mine[id]
		others := accesslog.Counts{Requests: all.Requests - c.Requests, Errors: all.Errors - c.Errors}
		if c.Requests < passiveLeast || c.ErrorRate() < passiveErrors || others.Requests < passiveLeast || others.ErrorRate() > passiveOthers {
			continue
		}
		if r.replacing(s) {
			return
		}
		r.do(state.Fail{ID: id, Sick: true, Reason: fmt.Sprintf("%d of %d requests within %s went wrong, %d of %d at the others",
			c.Errors, c.Requests, TrafficWindow, others.Errors, others.Requests)}, "errors")
	}
}
