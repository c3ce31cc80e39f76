package agent_test

import (
	"testing"
	"time"

	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/agent/agenttest"
	"github.com/supervisord/supervisord/supervisor/state"
)

// adopts runs a stranger's container and adopts it for a service; it is ready.
func (r *rig) adopts(service, name, address string) state.Instance {
	r.t.Helper()
	id := r.engine.AddForeign(name, address)
	r.state.must(r.t, state.Adopt{By: "root", Containers: []state.Adoptee{
		{Service: service, Host: "a", Container: id, Name: name, Restart: r.engine.RestartPolicy(id), Address: address},
	}})
	c, _ := r.state.Current()
	i, _ := c.Instances.Get(state.InstanceID(service, 1, c.Index))
	r.until(5*time.Second, "ready "+i.ID, func() bool { return r.phase(i.ID) == state.Ready })
	return r.instance(i.ID)
}

func TestAnAdoptedContainerIsRoutedAndItsRestartsAreOurs(t *testing.T) {
	onHost(t, agenttest.Options{}, agenttest.BalancerOptions{}, func(r *rig) {
		i := r.adopts("web", "shop_web_1", "172.17.0.9:80")
		r.until(time.Second, "routed", func() bool { return r.routed("172.17.0.9:80") })
		if got := r.engine.RestartPolicy(i.Container); got != "no" {
			t.Errorf("its restart policy is %q", got)
		}
		// Our own is beside it, and neither a restart of the daemon nor its look
		// around takes it for a leftover.
		r.ready("web", 2)
		r.stop(agenttest.ErrKilled)
		r.start()
		time.Sleep(2 * time.Minute)
		if r.phase(i.ID) != state.Ready || !r.routed("172.17.0.9:80") || len(r.did(agenttest.Stopping)) > 0 {
			t.Errorf("it is %s: %v\n%s", r.phase(i.ID), r.did(agenttest.Stopping), r.dump())
		}
	})
}

func TestAnAdoptedContainerThatDrainsIsStoppedAndRemoved(t *testing.T) {
	onHost(t, agenttest.Options{}, agenttest.BalancerOptions{}, func(r *rig) {
		i := r.adopts("web", "shop_web_1", "172.17.0.9:80")
		r.ready("web", 2)
		r.connect("172.17.0.9:80", 1)
		r.state.must(t, state.Drain{ID: i.ID})
		r.until(time.Second, "not routed", func() bool { return !r.routed("172.17.0.9:80") })
		time.Sleep(drainTime / 2)
		if len(r.did(agenttest.Stopping)) > 0 {
			t.Error("it is stopped with a connection")
		}
		r.connect("172.17.0.9:80", 0)
		r.until(2*time.Second, "gone", func() bool { return r.phase(i.ID) == "" })
		if got := r.did(agenttest.Removed); len(got) != 1 || got[0].Container.ID != i.Container {
			t.Errorf("removed %v", got)
		}
	})
}

func TestWhatIsGivenBackRunsOnAndIsForgotten(t *testing.T) {
	onHost(t, agenttest.Options{}, agenttest.BalancerOptions{}, func(r *rig) {
		i := r.adopts("web", "shop_web_1", "172.17.0.9:80")
		r.connect("172.17.0.9:80", 1) // its clients have another way to it
		r.until(time.Second, "routed", func() bool { return r.routed("172.17.0.9:80") })
		r.state.must(t, state.ReturnAdopted{By: "root"})
		r.until(5*time.Second, "given back", func() bool { return r.phase(i.ID) == "" })
		if r.routed("172.17.0.9:80") {
			t.Error("nginx sends to it")
		}
		time.Sleep(2 * time.Minute)
		if len(r.did(agenttest.Stopping, agenttest.Removed)) > 0 || r.engine.RestartPolicy(i.Container) != "unless-stopped" {
			t.Errorf("it was touched: %v, restart policy %q", r.did(agenttest.Stopping, agenttest.Removed), r.engine.RestartPolicy(i.Container))
		}
		if notes := said[state.Note](r.state); len(notes) > 0 {
			t.Errorf("it is told of as %v", notes)
		}
		// And again.
		r.state.must(t, state.Adopt{By: "root", Containers: []state.Adoptee{{Service: "web", Host: "a", Container: i.Container, Name: "shop_web_1", Address: i.Address}}})
		r.until(5*time.Second, "routed again", func() bool { return r.routed("172.17.0.9:80") })
	})
}

func TestAnAdoptedContainerThatDiesHasFailed(t *testing.T) {
	onHost(t, agenttest.Options{}, agenttest.BalancerOptions{}, func(r *rig) {
		i := r.adopts("web", "shop_web_1", "172.17.0.9:80")
		r.engine.Crash(i.Container, 3)
		r.until(time.Second, "failed", func() bool { return len(said[state.Fail](r.state)) == 1 })
		if got := said[state.Fail](r.state)[0]; got.Reason != "its container ended with exit code 3" {
			t.Errorf("it failed: %+v", got)
		}
		r.until(5*time.Second, "cleared", func() bool { return r.phase(i.ID) == "" && len(r.engine.Containers()) == 0 })
	})
}

func TestAnAdoptedContainerThatIsNotThereHasFailed(t *testing.T) {
	onHost(t, agenttest.Options{}, agenttest.BalancerOptions{}, func(r *rig) {
		r.state.must(t, state.Adopt{By: "root", Containers: []state.Adoptee{{Service: "db", Host: "a", Container: "nowhere", Name: "shop_db_1"}}})
		r.until(5*time.Second, "gone", func() bool { c, _ := r.state.Current(); return c.Instances.Len() == 0 })
		if got := said[state.Fail](r.state); len(got) != 1 || got[0].Reason != "its container is gone; somebody else removed it" {
			t.Errorf("it failed: %+v", got)
		}
	})
}

func TestAnAdoptedContainerThatNeverAnswersIsLeftAlone(t *testing.T) {
	onHost(t, agenttest.Options{}, agenttest.BalancerOptions{}, func(r *rig) {
		id := r.engine.AddForeign("shop_web_1", "172.17.0.9:80")
		r.engine.SetSick(id, true)
		r.state.must(t, state.Adopt{By: "root", Containers: []state.Adoptee{
			{Service: "web", Host: "a", Container: id, Name: "shop_web_1", Restart: "unless-stopped", Address: "172.17.0.9:80"},
		}})
		r.until(2*time.Minute, "given back", func() bool { c, _ := r.state.Current(); return c.Instances.Len() == 0 })
		if len(r.did(agenttest.Stopping, agenttest.Removed)) > 0 || r.engine.RestartPolicy(id) != "unless-stopped" {
			t.Errorf("it was touched: %v", r.did(agenttest.Stopping, agenttest.Removed))
		}
	})
}

// What is leaving is looked at first where it was not seen: nothing is reported
// gone that runs.
func TestWhatWasAdoptedIsLookedAtFirst(t *testing.T) {
	h := begin(t)
	h.do(state.Adopt{By: "root", Containers: []state.Adoptee{{Service: "db", Host: "a", Container: "k1", Name: "shop_db_1"}}})
	id := state.InstanceID("db", 1, h.Index)
	kinds := func(containers ...agent.Container) (all []agent.OpKind) {
		for _, op := range agent.Diff(h.Cluster, agent.Local{Host: "a", Containers: containers, Now: epoch}) {
			all = append(all, op.Kind)
		}
		return all
	}
	met := running("k1", id)
	met.Adopted = true
	for _, step := range []struct {
		name    string
		cmd     state.Command
		unseen  agent.OpKind
		present int
	}{
		{"assigned", nil, agent.OpMeet, 1},
		{"ready", state.Observe{ID: id, Phase: state.Ready, Container: "k1"}, agent.OpMeet, 0},
		{"draining", state.Drain{ID: id}, agent.OpMeet, 0},
	} {
		if step.cmd != nil {
			h.do(step.cmd)
		}
		if got := kinds(); len(got) != 1 || got[0] != step.unseen {
			t.Errorf("%s, not seen: %v", step.name, got)
		}
		if got := kinds(met); len(got) != step.present {
			t.Errorf("%s, seen: %v", step.name, got)
		}
	}
	h.do(state.Gone{ID: id})
	if got := kinds(met); len(got) > 0 {
		t.Errorf("gone from the state: %v", got)
	}
}
