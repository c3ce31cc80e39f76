package supervisor

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/lbconfig/accesslog"
	"github.com/supervisord/supervisord/supervisor/plan"
	"github.com/supervisord/supervisord/supervisor/state"
)

func TestTrafficIsSummedUpForAWhile(t *testing.T) {
	var tr traffic
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := state.New()
	sums := func(at time.Time) map[string]uint64 {
		all, _ := tr.look(c, at)
		got := map[string]uint64{}
		for id, counts := range all {
			got[id] = counts.Requests*100 + counts.Errors
		}
		return got
	}
	tr.add(begin, map[string]accesslog.Counts{"a": {Requests: 3, Errors: 1}})
	tr.add(begin.Add(time.Second), map[string]accesslog.Counts{"a": {Requests: 1}, "b": {Requests: 2}})
	tr.add(begin.Add(time.Second), nil)
	if diff := cmp.Diff(map[string]uint64{"a": 401, "b": 200}, sums(begin.Add(2*time.Second))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]uint64{"a": 100, "b": 200}, sums(begin.Add(plan.TrafficWindow+time.Second))); diff != "" {
		t.Errorf("one is old (-want +got):\n%s", diff)
	}
	if got := sums(begin.Add(time.Hour)); len(got) != 0 || len(tr.recent) != 0 {
		t.Errorf("all is old: %v", got)
	}
}

// Errors of a canary count from its first request, times when it is warm.
func TestATrialBeginsWithTheCanary(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := state.New()
	do := func(cmds ...state.Command) {
		t.Helper()
		var errs []error
		c, errs = state.Apply(c, c.Index+1, state.Proposal{At: now, Commands: cmds})
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	web := func(hash string) state.Spec {
		return state.Spec{Hash: hash, Services: map[string]state.Service{
			"web": {Name: "web", Hash: hash, Replicas: 1, Ingress: &lbconfig.Ingress{Hosts: []string{"_"}, Port: 80}},
		}}
	}
	do(state.Found{ID: "c"}, state.RegisterHost{Name: "a", Format: state.Format}, state.SetSpec{Spec: web("v1")})
	do(state.Place{Service: "web", Slot: 1, Host: "a", Revision: "v1"})
	do(state.Observe{ID: "web-1.2", Phase: state.Ready})
	var tr traffic
	report := func() plan.Trial {
		now = now.Add(time.Second)
		one := accesslog.Counts{}
		one.Add(accesslog.Attempt{Status: 500, Took: time.Millisecond})
		tr.add(now, map[string]accesslog.Counts{"web-1.2": one, "web-2.5": one})
		_, trials := tr.look(c, now)
		return trials["web"]
	}
	if got := report(); got.Canary.Requests+got.Stable.Requests != 0 {
		t.Errorf("there is no canary: %+v", got)
	}
	do(state.StartCanary{Spec: web("v2"), Base: 1, Share: .1})
	do(state.PlaceCanary{Canary: 4, Service: "web", Slot: 2, Host: "a", Revision: "v2"})
	if got := report(); got.Canary.Requests+got.Stable.Requests != 0 {
		t.Errorf("it does not serve yet: %+v", got)
	}
	do(state.Observe{ID: "web-2.5", Phase: state.Ready})
	if got := report(); got.Canary.Errors != 1 || got.Stable.Errors != 1 || got.Canary.Timed() != 0 {
		t.Errorf("its first request: %+v", got)
	}
	now = now.Add(canaryWarmUp)
	if got := report(); got.Canary.Errors != 2 || got.Stable.Errors != 2 || got.Canary.Timed() != 1 || got.Stable.Timed() != 1 {
		t.Errorf("it is warm: %+v", got)
	}
	do(state.EndCanary{Canary: 4})
	if got := report(); got.Canary.Requests+got.Stable.Requests != 0 {
		t.Errorf("it has ended: %+v", got)
	}
}
