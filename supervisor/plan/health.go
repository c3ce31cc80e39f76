package plan

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/supervisord/supervisord/supervisor/state"
)

// heal decides what becomes of the sick instances of a service.
//
// One that is sick among others is given up at once, one after the other: the
// next one only when the one before has been replaced by a well one. When more
// than half are sick it is more likely the check, or something that they share,
// that is at fault, and taking them out would make an outage of it (what Envoy
// and Consul call panic): they go on serving, and each goes only when a new one
// in its place is ready.
func (r *round) heal(s state.Service) {
	ready := 0
	var sick []state.Instance
	for i := range r.Cluster.Stable(s.Name) {
		switch {
		case i.Phase != state.Ready:
			continue
		case i.Sick != "":
			sick = append(sick, i)
		}
		ready++
	}
	panics := !s.Stateful && 2*len(sick) > ready
	r.suspect(s, sick, ready, panics)
	slices.SortFunc(sick, func(a, b state.Instance) int {
		return cmp.Or(a.SickSince.Compare(b.SickSince), cmp.Compare(a.ID, b.ID))
	})
	for _, i := range sick {
		if panics && !r.newInRelease(s, i) {
			r.panics[s.Name] = true
			continue
		}
		if r.replacing(s) {
			return
		}
		// Refused while another one starts.
		r.do(state.Fail{ID: i.ID, Reason: i.Sick, Sick: true}, "sick")
	}
}

// replaceWithin is how long an instance that has failed may take to be replaced
// before the next sick one is given up all the same: there may be no room for
// the new one as long as the sick one has it.
const replaceWithin = 30 * time.Second

// replacing says whether the place of an instance that has just failed is still
// empty.
func (r *round) replacing(s state.Service) bool {
	f, failed := r.Cluster.Failures.Get(s.Name)
	scale, _ := r.Cluster.Scales.Get(s.Name)
	if !failed || r.count(s).active >= scale.Desired {
		return false
	}
	until := f.Last.Add(replaceWithin)
	if r.Now.Before(until) {
		r.wake(until)
		return true
	}
	return false
}

// newInRelease says whether an instance is of a release on its way: then there
// are old ones, and the release is to blame.
func (r *round) newInRelease(s state.Service, i state.Instance) bool {
	ro := r.Cluster.Rollout
	return ro.Active() && !ro.Back && ro.Of(s.Name) && i.Revision == s.Hash
}

// suspect tells when most of several instances become sick at once, and when
// that is over.
func (r *round) suspect(s state.Service, sick []state.Instance, ready int, panics bool) {
	cmd := state.Suspect{Service: s.Name}
	if panics && len(sick) > 1 {
		cmd.Why = fmt.Sprintf("%d of %d instances of %s are sick at once; its health check, or something that they share, is suspected: they go on serving, and each is replaced only by one that is well (%s: %s)",
			len(sick), ready, s.Name, sick[0].Name, sick[0].Sick)
	}
	if _, suspected := r.Cluster.Suspicions.Get(s.Name); suspected != (cmd.Why != "") {
		r.do(cmd, "many are sick at once")
	}
}

// ill says why a sick instance should give way to a new one that comes first;
// "" where it need not.
func (r *round) ill(s state.Service, i state.Instance) string {
	if i.Sick == "" || !r.panics[s.Name] {
		return ""
	}
	return "it is sick: " + i.Sick
}
