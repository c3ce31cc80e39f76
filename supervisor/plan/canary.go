package plan

import (
	"math"
	"slices"

	"github.com/supervisord/supervisord/supervisor/state"
)

// judge ends a canary that does worse than what it may replace.
func (r *round) judge() {
	k := r.Cluster.Canary
	if !k.Active() {
		return
	}
	for _, name := range k.Services {
		v := Judge(r.Trials[name])
		r.Verdicts[name] = v
		if v.Worse && r.do(state.EndCanary{Canary: k.ID, Failed: true, Why: name + ": " + v.Why}, "worse") {
			return
		}
	}
}

// tryOut gives a canary its instances, beside those that are wanted, and takes
// out those of one that has ended.
func (r *round) tryOut() {
	for i := range r.Cluster.Instances.Values() {
		if why := r.uncalledFor(i); i.Canary && i.Active() && why != "" {
			r.do(state.Drain{ID: i.ID, Why: why}, "canary")
		}
	}
	k := r.Cluster.Canary
	if !k.Active() {
		return
	}
	for _, name := range k.Services {
		r.tryOutOf(k, k.Spec.Services[name])
	}
}

// uncalledFor says why an instance of a canary should leave.
func (r *round) uncalledFor(i state.Instance) string {
	k := r.Cluster.Canary
	h, ok := r.Cluster.Hosts.Get(i.Host)
	switch {
	case !k.Of(i.Service) || k.Spec.Services[i.Service].Hash != i.Revision:
		return "the canary has ended: " + k.Why
	case ok && h.Draining:
		return "its host " + h.Name + " is being drained"
	}
	return ""
}

func (r *round) tryOutOf(k state.Canary, s state.Service) {
	scale, _ := r.Cluster.Scales.Get(s.Name)
	var have []state.Instance
	for i := range r.Cluster.Of(s.Name) {
		if i.Canary && i.Active() {
			have = append(have, i)
		}
	}
	// At least one; more where one could not bear the share.
	want := max(1, int(math.Round(k.Share*float64(scale.Desired))))
	for n := len(have); n < want; n++ {
		f, _ := r.Cluster.Failures.Get(s.Name)
		host, why := r.free.Choose(s, "", f.Host)
		if host == "" {
			r.Pending[s.Name] = "the canary waits: " + why
			return
		}
		cmd := state.PlaceCanary{Canary: k.ID, Service: s.Name, Slot: r.freeSlot(s), Host: host, Revision: s.Hash, Why: "canary"}
		if !r.do(cmd, "canary") {
			return
		}
		r.free[host].take(s.Name, s)
	}
	slices.SortFunc(have, func(a, b state.Instance) int { return b.PlacedAt.Compare(a.PlacedAt) })
	for _, i := range have[:max(0, len(have)-want)] {
		r.do(state.Drain{ID: i.ID, Why: "a smaller canary has the share"}, "canary")
	}
}

// failSick gives up the sick instances of a canary, which ends it.
func (r *round) failSick(service string) {
	for i := range r.Cluster.Of(service) {
		if i.Canary && i.Phase == state.Ready && i.Sick != "" {
			r.do(state.Fail{ID: i.ID, Reason: i.Sick, Sick: true}, "sick")
		}
	}
}
