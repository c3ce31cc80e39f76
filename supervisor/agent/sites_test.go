package agent_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/state"
)

func TestSitesServeWhatIsReady(t *testing.T) {
	h := begin(t)
	h.do(state.RegisterHost{Name: "b", Address: "10.0.0.2", CPUs: 4, Memory: 8 << 30, Format: state.Format})
	h.instance("web", 3, state.Ready)
	h.instance("web", 1, state.Ready)
	h.instance("web", 2, state.Starting)
	h.instance("web", 4, state.Draining)
	h.instance("web", 5, state.Failed)
	h.instance("web", 6, state.Assigned)
	h.instance("worker", 1, state.Ready)
	h.do(state.Place{Service: "web", Slot: 10, Host: "b", Revision: "w1"})
	h.do(state.Observe{ID: state.InstanceID("web", 10, h.Index), Phase: state.Ready, Container: "x", Address: "10.0.0.2:4000"})

	want := lbconfig.Config{
		Generation: h.Index, Listen: []string{"80"}, Status: "127.0.0.1:9371",
		Sites: []lbconfig.Site{{Service: "web", Ingress: *shop().Services["web"].Ingress, Servers: []lbconfig.Server{
			{Instance: "web-1", Address: "10.0.0.1:4001"},
			{Instance: "web-10", Address: "10.0.0.2:4000"},
			{Instance: "web-3", Address: "10.0.0.1:4003"},
		}}},
	}
	got, next := agent.Sites(h.Cluster, []string{"80"}, "127.0.0.1:9371", h.Time)
	if !next.IsZero() {
		t.Errorf("it changes with time at %s", next)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestASiteWithoutInstancesIsThereAllTheSame(t *testing.T) {
	h := begin(t)
	got, _ := agent.Sites(h.Cluster, []string{"80"}, "", h.Time)
	if len(got.Sites) != 1 || got.Sites[0].Service != "web" || len(got.Sites[0].Servers) != 0 {
		t.Errorf("got %+v, want the site of web without servers", got.Sites)
	}
}

func TestTheFileSaysWhereToListen(t *testing.T) {
	h := begin(t)
	spec := shop()
	spec.Hash, spec.Nginx.Listen = "s2", []string{"8080", "[::]:8080"}
	h.do(state.SetSpec{Spec: spec, Base: 1})
	got, _ := agent.Sites(h.Cluster, []string{"80"}, "", h.Time)
	if diff := cmp.Diff(spec.Nginx.Listen, got.Listen); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
