package plan

import (
	"fmt"
	"time"

	"github.com/supervisord/supervisord/supervisor/state"
)

// settledFor is how long all instances of a service must have been as they are
// before one is moved.
const settledFor = 5 * time.Second

// spread looks whether an instance should move because one host has at least
// two more of its service than another that could have it: a host that has
// just joined, or is back, takes its share, so that no host's end takes the
// service with it. One moves at a time, and only while nothing else does.
func (r *round) spread(s state.Service, want int) {
	if s.Stateful || r.Cluster.Hosts.Len() < 2 || r.adopted(s.Name) {
		return
	}
	serving := map[string]int{}
	var starting []state.Instance
	active := 0
	for i := range r.Cluster.Stable(s.Name) {
		if i.Active() && r.unwanted(s, i) != "" {
			return
		}
		switch {
		case i.Phase == state.Ready:
			serving[i.Host]++
			active++
			if r.Now.Sub(i.PhaseAt) < settledFor {
				return
			}
		case i.Active():
			starting = append(starting, i)
			active++
		}
	}
	most := r.most(s, serving)
	if most.ID == "" {
		return
	}
	to := ""
	switch {
	case active == want && len(starting) == 0:
		to, _ = r.choose(s)
	case active == want+1 && len(starting) == 1:
		// The one in its place is on its way.
		to = starting[0].Host
	}
	if to != "" && serving[to]+2 <= serving[most.Host] {
		r.moving[most.ID] = fmt.Sprintf("its host %s has %d of %s and %s has %d", most.Host, serving[most.Host], s.Name, to, serving[to])
	}
}

// most is the youngest serving instance on the host that has the most of a
// service; the zero Instance where there is none.
func (r *round) most(s state.Service, serving map[string]int) state.Instance {
	var best state.Instance
	for i := range r.Cluster.Stable(s.Name) {
		if i.Phase != state.Ready {
			continue
		}
		switch a, b := serving[i.Host], serving[best.Host]; {
		case best.ID == "", a > b, a == b && i.Host < best.Host, i.Host == best.Host && i.PlacedAt.After(best.PlacedAt):
			best = i
		}
	}
	return best
}
