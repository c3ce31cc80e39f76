package plan

import (
	"time"

	"github.com/supervisord/supervisord/supervisor/state"
)

// relimit lets instances go on whose new definition differs only in limits:
// their hosts change them while they run, as many at once as would be replaced.
func (r *round) relimit(s state.Service) {
	if r.stopped(s) || r.pausing(s) {
		return
	}
	var waiting []state.Instance
	busy := 0
	for i := range r.Cluster.Stable(s.Name) {
		switch {
		case i.Relimiting:
			busy++
		case r.adjustable(s, i):
			waiting = append(waiting, i)
		}
	}
	for n := 0; n < len(waiting) && busy < r.atOnce(s); n++ {
		if i := waiting[n]; r.do(state.Relimit{ID: i.ID, Was: i.Revision, Revision: s.Hash}, "only limits differ") {
			busy++
		}
	}
}

// adjustable says whether an instance can become one of the current definition
// while it runs: where its host has the memory for that. What was adopted keeps
// its limits, to be given back as it was.
func (r *round) adjustable(s state.Service, i state.Instance) bool {
	if i.Revision == s.Hash || i.Phase != state.Ready || i.IsAdopted() || r.Cluster.Knows(state.Relimit{}) != nil {
		return false
	}
	if room, ok := r.free[i.Host]; !ok || room.Memory < 0 {
		return false
	}
	key := [2]string{i.Revision, s.Hash}
	fits, known := r.fits[key]
	if !known {
		was, ok := r.Cluster.Definition(s.Name, i.Revision)
		fits = ok && state.OnlyLimits(was, s)
		r.fits[key] = fits
	}
	return fits
}

// since is when an instance last became what it is.
func since(i state.Instance) time.Time {
	if i.RelimitedAt.After(i.PhaseAt) {
		return i.RelimitedAt
	}
	return i.PhaseAt
}

// growInPlace says whether a service whose new definition differs only in
// limits can have them where its instances are.
func growInPlace(c state.Cluster, next state.Spec, name string) bool {
	if !state.OnlyLimits(c.Spec.Services[name], next.Services[name]) {
		return false
	}
	c.Spec = next
	rooms := RoomsOf(c)
	for i := range c.Stable(name) {
		if room, ok := rooms[i.Host]; ok && room.Memory < 0 {
			return false
		}
	}
	return true
}
