package plan

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/supervisord/supervisord/supervisor/state"
)

// reconcile brings the instances of one service to the wanted count and to
// its current definition.
func (r *round) reconcile(s state.Service) {
	scale, ok := r.Cluster.Scales.Get(s.Name)
	if !ok {
		return
	}
	r.relimit(s)
	r.spread(s, scale.Desired)
	r.retireOutdated(s)
	r.stopFirst(s, scale.Desired)
	r.shrink(s, scale.Desired)
	r.grow(s, scale.Desired)
}

// count of a service's instances, the active ones apart by definition.
type count struct {
	active, ready, outdated int
}

func (r *round) count(s state.Service) count {
	var n count
	for i := range r.Cluster.Stable(s.Name) {
		if !i.Active() {
			continue
		}
		n.active++
		if i.Phase == state.Ready {
			n.ready++
		}
		if r.unwanted(s, i) != "" {
			n.outdated++
		}
	}
	return n
}

// unwanted says why an active instance should give way to a new one: an older
// definition, sickness that most of its service shares, a host that is being
// drained or may no longer have it or has too many.
// What owns data stays where the data is. "" when it may stay.
func (r *round) unwanted(s state.Service, i state.Instance) string {
	switch {
	case i.Revision == state.RevisionAdopted:
		return "one of our own takes its place"
	case r.adjustable(s, i):
		return ""
	case i.Revision != s.Hash:
		return "its definition changed"
	case i.Unfit != "":
		return "it cannot get its new limits while it runs: " + i.Unfit
	}
	if why := r.ill(s, i); why != "" {
		return why
	}
	h, ok := r.Cluster.Hosts.Get(i.Host)
	if !ok || s.Stateful {
		return ""
	}
	if h.Draining {
		return "its host " + h.Name + " is being drained"
	}
	if k, against := s.Placement.Against(h); against {
		return "its host " + h.Name + " does not meet " + k.String()
	}
	return r.moving[i.ID]
}

// retireOutdated drains the unwanted instances that nothing is lost with: those
// that do not serve yet, and any that owns data. Grow starts the new one of
// these when the old is gone, so there are never two.
func (r *round) retireOutdated(s state.Service) {
	for i := range r.Cluster.Stable(s.Name) {
		if why := r.unwanted(s, i); why != "" && i.Active() && (s.Stateful && !r.stopped(s) || !settled(i)) {
			r.do(state.Drain{ID: i.ID, Why: why}, "outdated")
		}
	}
}

// shrink drains what is over the wanted count, and of those that serve only
// as many as leave the wanted count serving. While outdated instances are
// being replaced, some more than wanted may be there: the new ones that start.
func (r *round) shrink(s state.Service, want int) {
	for {
		n := r.count(s)
		// Each new one that serves lets an old one go.
		limit := want + min(r.surge(s, n.outdated), n.active-n.ready)
		if n.active <= limit {
			return
		}
		victim := r.victim(s, n.ready > want)
		why := cmp.Or(r.unwanted(s, victim), fmt.Sprintf("%d of %s are wanted", want, s.Name))
		cmd := state.Drain{ID: victim.ID, Why: why}
		if victim.Phase == state.Ready {
			cmd.KeepReady = want
			if r.Cluster.Speaks(2) {
				cmd.Desired = want
			}
		}
		if !r.do(cmd, "over the wanted count") {
			return
		}
	}
}

// victim is the instance that is missed least: unwanted before wanted, not
// serving before serving, sick before well, then from the host with the most of them, the
// youngest first. There must be one.
func (r *round) victim(s state.Service, mayServe bool) state.Instance {
	var candidates []state.Instance
	perHost := map[string]int{}
	for i := range r.Cluster.Stable(s.Name) {
		if i.Active() {
			perHost[i.Host]++
		}
		if i.Active() && (mayServe || i.Phase != state.Ready) {
			candidates = append(candidates, i)
		}
	}
	return slices.MinFunc(candidates, func(a, b state.Instance) int {
		return cmp.Or(
			cmpBool(r.unwanted(s, a) != "", r.unwanted(s, b) != ""),
			cmpBool(!settled(a), !settled(b)),
			cmpBool(a.Sick != "", b.Sick != ""),
			// What is gone cannot be given back.
			cmpBool(!a.IsAdopted(), !b.IsAdopted()),
			cmp.Compare(perHost[b.Host], perHost[a.Host]),
			b.PlacedAt.Compare(a.PlacedAt),
			cmp.Compare(b.Slot, a.Slot),
			cmp.Compare(a.ID, b.ID),
		)
	})
}

// cmpBool orders true before false.
func cmpBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// grow places what is missing, and the surge while outdated instances of a
// service without data are replaced start-first.
func (r *round) grow(s state.Service, want int) {
	n := r.count(s)
	if want > 0 && !r.pausing(s) {
		want += r.surge(s, n.outdated)
	}
	if n.active >= want {
		return
	}
	if why := r.undecided(s); why != "" {
		r.Pending[s.Name] = why
		return
	}
	if f, failing := r.Cluster.Failures.Get(s.Name); failing && r.Now.Before(f.Retry) {
		r.Pending[s.Name] = fmt.Sprintf("failure %d in a row, next attempt at %s: %s", f.Count, f.Retry.Format("15:04:05"), f.Reason)
		r.wake(f.Retry)
		return
	}
	if n.active == 0 {
		if why := r.waitsFor(s); why != "" {
			r.Pending[s.Name] = why
			return
		}
	}
	for ; n.active < want; n.active++ {
		if !r.place(s) {
			return
		}
	}
}

// waitsFor names the dependency that is not up yet; "" when all are.
func (r *round) waitsFor(s state.Service) string {
	for _, d := range s.DependsOn {
		up, word := false, "has not started"
		if d.Healthy {
			word = "is not ready"
		}
		for i := range r.Cluster.Stable(d.Service) {
			up = up || i.Phase == state.Ready || !d.Healthy && i.Phase == state.Starting
		}
		if !up {
			return fmt.Sprintf("waits for %s, which %s", d.Service, word)
		}
	}
	return ""
}

// place puts one instance on the host with the most room.
func (r *round) place(s state.Service) bool {
	host, why := r.choose(s)
	if host == "" {
		r.Pending[s.Name] = why
		return false
	}
	cmd := state.Place{Service: s.Name, Slot: r.freeSlot(s), Host: host, Revision: s.Hash, Why: why}
	if !r.do(cmd, why) {
		// A stateful predecessor is still leaving.
		r.Pending[s.Name] = "waits until the instance before it is gone"
		return false
	}
	r.free[host].take(s.Name, s)
	return true
}

// choose is the host that one more instance of a service would be put on.
func (r *round) choose(s state.Service) (host, why string) {
	f, _ := r.Cluster.Failures.Get(s.Name)
	return r.free.Choose(s, r.Cluster.HomeOf(s), f.Host)
}

// freeSlot is the smallest number that no instance of the service has and no
// stranger's container is named after.
func (r *round) freeSlot(s state.Service) int {
	used := map[int]bool{}
	for i := range r.Cluster.Of(s.Name) {
		used[i.Slot] = true
	}
	f, _ := r.Cluster.Failures.Get(s.Name)
	for _, slot := range f.TakenSlots {
		used[slot] = true
	}
	for slot := 1; ; slot++ {
		if !used[slot] {
			return slot
		}
	}
}
