package agent_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/supervisor/agent/agenttest"
	"github.com/supervisord/supervisord/supervisor/state"
)

// The order of a leave: nginx confirms, connections end, stop signal, removal,
// and only then the report.
func TestADrainGoesInOrder(t *testing.T) {
	onHost(t, agenttest.Options{}, agenttest.BalancerOptions{}, func(r *rig) {
		i, other := r.ready("web", 1), r.ready("web", 2)
		r.connect(i.Address, 3)
		r.state.must(t, state.Drain{ID: i.ID})
		drained := r.instance(i.ID).PhaseIndex
		r.until(time.Second, "confirmed", func() bool {
			c, _ := r.state.Current()
			h, _ := c.Hosts.Get("a")
			return h.Routes >= drained
		})
		if r.routed(i.Address) {
			t.Error("nginx is confirmed and sends to it")
		}
		time.Sleep(5 * time.Second)
		if n := len(r.did(agenttest.Stopping)); n != 0 {
			t.Error("stopped with connections open")
		}
		r.connect(i.Address, 0)
		time.Sleep(agenttest.Overlap)
		if n := len(r.did(agenttest.Stopping)); n != 0 {
			t.Error("stopped while old workers may still accept")
		}
		r.until(time.Second, "gone", func() bool { return r.phase(i.ID) == "" })
		order := r.did(agenttest.Stopping, agenttest.Ended, agenttest.Removed)
		if len(order) != 3 || order[0].Kind != agenttest.Stopping || order[1].Kind != agenttest.Ended || order[2].Kind != agenttest.Removed {
			t.Errorf("done: %+v", order)
		}
		if own := r.engine.Own(); len(own) != 1 || own[0].ID != other.Container {
			t.Errorf("left: %+v", own)
		}
		if f := said[state.Fail](r.state); len(f) != 0 {
			t.Errorf("reported as failed: %+v", f)
		}
	})
}

func TestConnectionsThatNeverEndAreCutWhenTheDrainTimeIsUp(t *testing.T) {
	onHost(t, agenttest.Options{}, agenttest.BalancerOptions{}, func(r *rig) {
		i := r.ready("web", 1)
		r.connect(i.Address, 1)
		r.state.must(t, state.Drain{ID: i.ID})
		time.Sleep(drainTime - 100*time.Millisecond)
		if n := len(r.did(agenttest.Stopping)); n != 0 {
			t.Error("stopped before its time was up")
		}
		r.until(2*time.Second, "gone", func() bool { return r.phase(i.ID) == "" })
	})
}

// While no daemon runs nobody tells nginx, so that time is not the instance's
// to finish in.
func TestADrainThatADaemonWasAwayForStillGoesInOrder(t *testing.T) {
	onHost(t, agenttest.Options{}, agenttest.BalancerOptions{}, func(r *rig) {
		i := r.ready("web", 1)
		r.ready("web", 2)
		r.stop(agenttest.ErrKilled)
		r.state.must(t, state.Drain{ID: i.ID})
		r.connect(i.Address, 1)
		time.Sleep(2 * drainTime)
		r.start()
		time.Sleep(drainTime - 100*time.Millisecond)
		if n := len(r.did(agenttest.Stopping)); n != 0 || r.routed(i.Address) {
			t.Errorf("stopped: %v, routed: %v; its requests are not done", n != 0, r.routed(i.Address))
		}
		r.connect(i.Address, 0)
		r.until(time.Second, "gone", func() bool { return r.phase(i.ID) == "" })
	})
}

func TestADrainEndsEvenWhenNginxIsBroken(t *testing.T) {
	broken := errors.New("nginx: [emerg] bind() failed")
	var fails atomic.Bool
	b := agenttest.BalancerOptions{Fail: func() error {
		if fails.Load() {
			return broken
		}
		return nil
	}}
	onHost(t, agenttest.Options{}, b, func(r *rig) {
		i := r.ready("web", 1)
		r.ready("web", 2)
		fails.Store(true)
		r.state.must(t, state.Drain{ID: i.ID})
		time.Sleep(drainTime - 100*time.Millisecond)
		if n := len(r.did(agenttest.Stopping)); n != 0 || !r.routed(i.Address) {
			t.Error("stopped before nginx has confirmed or the time was up")
		}
		r.until(3*time.Second, "gone", func() bool { return r.phase(i.ID) == "" })
		fails.Store(false)
		r.until(3*time.Second, "nginx up to date", func() bool { return !r.routed(i.Address) })
	})
}

func TestASiteThatNginxRejectsKeepsItsInstancesForTheDrainTime(t *testing.T) {
	var reject atomic.Bool
	b := agenttest.BalancerOptions{Reject: func(lbconfig.Site) string {
		if reject.Load() {
			return "unknown directive"
		}
		return ""
	}}
	onHost(t, agenttest.Options{}, b, func(r *rig) {
		i := r.ready("web", 1)
		reject.Store(true)
		r.state.must(t, state.Drain{ID: i.ID})
		r.until(3*time.Second, "told", func() bool {
			c, _ := r.state.Current()
			h, _ := c.Hosts.Get("a")
			return h.RejectedSites["web"] == "unknown directive"
		})
		time.Sleep(drainTime - 4*time.Second)
		if n := len(r.did(agenttest.Stopping)); n != 0 {
			t.Error("stopped while nginx still sends to it")
		}
		r.until(6*time.Second, "gone", func() bool { return r.phase(i.ID) == "" })
		reject.Store(false)
		r.until(time.Minute, "told again", func() bool {
			c, _ := r.state.Current()
			h, _ := c.Hosts.Get("a")
			return len(h.RejectedSites) == 0
		})
	})
}
