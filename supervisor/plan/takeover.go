package plan

import (
	"fmt"
	"strings"

	"github.com/supervisord/supervisord/supervisor/state"
)

// undecided says why nothing may be started of a service yet: what another tool
// runs of it is not known, or nobody has decided what becomes of that. "" when
// it may.
func (r *round) undecided(s state.Service) string {
	t, _ := r.Cluster.Takeovers.Get(s.Name)
	switch hosts, found := r.Cluster.ForeignOf(s.Name); {
	case t.State == state.TakeoverReturned:
		return fmt.Sprintf("its containers were given back; take them over again (supervisord adopt), or start beside them (supervisord adopt --ignore %s)", s.Name)
	case t.State == state.TakeoverWaiting && len(found) > 0:
		var names []string
		for n, f := range found {
			names = append(names, f.Name+" on "+hosts[n])
		}
		return fmt.Sprintf("docker compose runs it: %s; take that over (supervisord adopt), or start beside it (supervisord adopt --ignore %s)", strings.Join(names, ", "), s.Name)
	}
	for range r.Cluster.Of(s.Name) {
		// It has been running here for a while.
		return ""
	}
	if r.Cluster.Knows(state.Survey{}) != nil {
		// No host can tell, until the last one has been upgraded.
		return ""
	}
	for h := range r.Cluster.Hosts.Values() {
		if h.Surveys && h.Surveyed != r.Cluster.Spec.Project && !h.IsLost() {
			return fmt.Sprintf("waits until host %s has looked what docker compose runs on it", h.Name)
		}
	}
	return ""
}

// settled says that an instance serves, or did before it was ours: nothing is
// gained by taking it out before the one in its place is there.
func settled(i state.Instance) bool { return i.Phase == state.Ready || i.IsAdopted() }

// adopted says whether a service has adopted instances. They are moved by
// nobody but who asks for it.
func (r *round) adopted(service string) bool {
	for i := range r.Cluster.Of(service) {
		if i.Active() && i.IsAdopted() {
			return true
		}
	}
	return false
}
