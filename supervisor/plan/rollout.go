package plan

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/supervisord/supervisord/supervisor/state"
)

// rollout looks how the release on its way does: it is brought to an end when
// all that it changes has served for long enough, and stopped or taken back
// when too much of it has failed. The instances themselves are reconcile's.
func (r *round) rollout() {
	ro := r.Cluster.Rollout
	if ro.Revision == 0 {
		return
	}
	for _, name := range ro.Services {
		// The way back goes on whatever fails on it.
		s, ok := r.Cluster.Spec.Services[name]
		if ok && ro.Active() && !ro.Back && r.tooManyFailed(s) {
			r.giveUp(s)
			return
		}
	}
	// One that is paused may have come right by itself: what it needed is there
	// now, and there was nothing old to keep.
	if r.rolledOut() {
		r.do(state.FinishRollout{Revision: ro.Revision}, "all of it has served for long enough")
	}
}

func (r *round) tooManyFailed(s state.Service) bool {
	failed := r.Cluster.Rollout.Failed[s.Name]
	scale, _ := r.Cluster.Scales.Get(s.Name)
	return s.Update.OnFailure != state.OnFailureContinue &&
		float64(failed) > s.Update.MaxFailureRatio*float64(scale.Desired)
}

// giveUp takes a release back, or stops it where the file says so or where
// there is nothing to go back to.
func (r *round) giveUp(s state.Service) {
	ro := r.Cluster.Rollout
	if s.Update.OnFailure == state.OnFailurePause {
		r.do(state.PauseRollout{Revision: ro.Revision, Why: ro.Last}, "failed")
		return
	}
	if _, kept := r.Cluster.Releases.Get(state.ReleaseKey(ro.Good)); ro.Good == 0 || !kept {
		why := ro.Last + "; there is no healthy revision to go back to"
		r.do(state.PauseRollout{Revision: ro.Revision, Why: why}, "failed")
		return
	}
	r.do(state.RollBack{Revision: ro.Revision, To: ro.Good, By: "supervisord", Failed: true, Why: ro.Last}, "failed")
}

// rolledOut says whether every instance of every service that the release
// changes is of it, and has served for as long as is watched.
func (r *round) rolledOut() bool {
	for _, name := range r.Cluster.Rollout.Services {
		s, ok := r.Cluster.Spec.Services[name]
		if !ok {
			continue
		}
		if !r.replaced(s) {
			return false
		}
		scale, _ := r.Cluster.Scales.Get(name)
		var newest time.Time
		ready := 0
		for i := range r.Cluster.Stable(name) {
			if !i.Active() {
				continue
			}
			if i.Sick != "" {
				return false
			}
			ready++
			if at := since(i); at.After(newest) {
				newest = at
			}
		}
		if ready < scale.Desired {
			return false
		}
		if until := newest.Add(cmp.Or(s.Update.Monitor, state.DefaultMonitor)); ready > 0 && r.Now.Before(until) {
			r.wake(until)
			return false
		}
	}
	return true
}

// replaced says whether all that serves of a service, or will, is of its
// current definition and there: the rest of a release may take longer.
func (r *round) replaced(s state.Service) bool {
	for i := range r.Cluster.Stable(s.Name) {
		if i.Active() && (i.Phase != state.Ready || i.Revision != s.Hash || i.Relimiting || i.Unfit != "") {
			return false
		}
	}
	return true
}

// surge is how many instances more than wanted there may be while outdated
// ones are replaced: as many as are replaced at once, the new ones first.
func (r *round) surge(s state.Service, outdated int) int {
	if outdated == 0 || s.Stateful || s.Update.StopFirst || r.stopped(s) {
		return 0
	}
	return min(outdated, r.atOnce(s))
}

// atOnce is how many instances of a service may be replaced at once: one, while
// most of it is sick and nobody knows why.
func (r *round) atOnce(s state.Service) int {
	if r.panics[s.Name] {
		return 1
	}
	return max(1, s.Update.Parallelism)
}

// stopped says that no instance of a service is replaced now because its
// release is paused.
func (r *round) stopped(s state.Service) bool {
	return r.Cluster.Rollout.Paused && r.Cluster.Rollout.Of(s.Name)
}

// pausing says whether the pause between two replacements goes on.
func (r *round) pausing(s state.Service) bool {
	if s.Update.Delay == 0 {
		return false
	}
	for i := range r.Cluster.Stable(s.Name) {
		if i.Phase != state.Ready || i.Revision != s.Hash || since(i).Before(r.Cluster.Rollout.Began) {
			continue
		}
		if until := since(i).Add(s.Update.Delay); r.Now.Before(until) {
			r.wake(until)
			return true
		}
	}
	return false
}

// stopFirst drains outdated instances that serve, where the operator wants the
// new ones in their places: as many at once as are replaced at once.
func (r *round) stopFirst(s state.Service, want int) {
	if !s.Update.StopFirst || s.Stateful || r.stopped(s) || r.pausing(s) {
		return
	}
	var outdated []state.Instance
	missing := want
	for i := range r.Cluster.Stable(s.Name) {
		if i.Phase != state.Ready {
			continue
		}
		missing--
		if r.unwanted(s, i) != "" {
			outdated = append(outdated, i)
		}
	}
	n := min(len(outdated), r.atOnce(s)-max(0, missing))
	slices.SortFunc(outdated, func(a, b state.Instance) int { return cmp.Compare(a.Slot, b.Slot) })
	for _, i := range outdated[:max(0, n)] {
		r.do(state.Drain{ID: i.ID, Why: r.unwanted(s, i)}, "outdated")
	}
}

// Short says, by service, why a spec could not be rolled out: there is no room
// for the first instance of a new definition. Those in place keep theirs until
// the new one serves, but where the old one is stopped first.
func Short(c state.Cluster, next state.Spec) map[string]string {
	short := map[string]string{}
	free := RoomsOf(c)
	for _, name := range slices.Sorted(maps.Keys(next.Services)) {
		s, old := next.Services[name], c.Spec.Services[name]
		scale, known := c.Scales.Get(name)
		switch {
		case s.Hash == old.Hash, known && scale.Desired == 0, !known && s.Replicas == 0:
			continue
		case known && (s.Stateful || s.Update.StopFirst || growInPlace(c, next, name)):
			continue
		}
		host, why := free.Choose(s, c.HomeOf(s), "")
		if host == "" {
			short[name] = why
			continue
		}
		free[host].take(name, s)
	}
	return short
}
