package plan

import (
	"fmt"
	"time"

	"github.com/supervisord/supervisord/supervisor/state"
)

// DefaultGrace is how long a host may be without contact before its instances
// are replaced elsewhere.
const DefaultGrace = 10 * time.Second

// contact gives up the hosts that have not been heard of for the grace period,
// and takes back those that have been.
func (r *round) contact() {
	if r.Contact == nil {
		return
	}
	for h := range r.View.Cluster.Hosts.Values() {
		last, known := r.Contact[h.Name]
		if !known {
			// Whoever watches has not begun to watch this one.
			continue
		}
		silent := r.Now.Sub(last)
		switch {
		case h.IsLost() && silent < r.Grace:
			r.do(state.FindHost{Name: h.Name}, "it is in contact")
		case !h.IsLost() && silent >= r.Grace:
			r.do(state.LoseHost{Name: h.Name, Why: fmt.Sprintf("no contact for %s", silent.Round(100*time.Millisecond))}, "no contact")
		case !h.IsLost():
			r.wake(last.Add(r.Grace))
		}
	}
}
