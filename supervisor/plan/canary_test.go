package plan_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/lbconfig/accesslog"
	"github.com/supervisord/supervisord/supervisor/plan"
	"github.com/supervisord/supervisord/supervisor/state"
)

// public is web as the public reaches it.
func public(hash string, replicas int) state.Service {
	s := web(hash, replicas)
	s.Ingress = &lbconfig.Ingress{Hosts: []string{"_"}, Port: 80}
	return s
}

// try begins a canary of services.
func (w *world) try(share float64, services ...state.Service) {
	w.t.Helper()
	s := state.Spec{Hash: fmt.Sprint(services), Services: map[string]state.Service{}}
	for _, service := range services {
		s.Services[service.Name] = service
	}
	w.must(state.StartCanary{Spec: s, Base: w.Spec.Revision, Share: share, By: "a test"})
}

// steps plans with what clients got, commits, and says what was done.
func (w *world) steps(v plan.View) []string {
	w.t.Helper()
	v.Now, v.Cluster = w.now, w.Cluster
	v.Frames = func(string) []autoscale.Frame { return nil }
	var said []string
	for _, s := range plan.Round(v).Steps {
		said = append(said, w.say(s.Command))
		w.must(s.Command)
	}
	return said
}

func TestACanaryComesBesideTheOthers(t *testing.T) {
	w := healthy(t, public("v1", 10))
	w.try(.1, public("v2", 10))
	w.wants(w.round(), "place canary web-11 v2 on a")
	w.wants(w.round())
	w.ready()
	w.wants(w.round())
	// What is in force goes on as if there were none.
	w.must(state.Hold{Service: "web", Count: ptr(20)})
	said := w.round()
	if len(said) != 11 || said[9] != "place web-21 v1 on a" || said[10] != "place canary web-22 v2 on a" {
		t.Errorf("it grows by %q", said)
	}
}

func TestAPromotedCanaryIsRolledOut(t *testing.T) {
	w := healthy(t, public("v1", 3))
	w.try(.1, public("v2", 3))
	w.round()
	w.ready()
	w.must(state.Promote{Canary: w.Canary.ID, By: "a test"})
	// Its instance is the first of the release.
	w.wants(w.round(), "drain web-3 v1", "place web-5 v2 on a")
}

func TestTheInstancesOfAnAbortedCanaryLeave(t *testing.T) {
	w := healthy(t, public("v1", 3))
	w.try(.1, public("v2", 3))
	w.round()
	w.ready()
	w.must(state.EndCanary{Canary: w.Canary.ID, Why: "by a test"})
	w.wants(w.round(), "drain web-4 v2")
	w.gone()
	w.wants(w.round())
}

func TestACanaryThatIsWorseIsTakenOut(t *testing.T) {
	w := healthy(t, public("v1", 3))
	w.try(.1, public("v2", 3))
	w.round()
	w.ready()
	trial := plan.Trial{Stable: counted(450, 0, 0), Canary: counted(50, 0, 0)}
	w.wants(w.steps(plan.View{Trials: map[string]plan.Trial{"web": trial}}))
	trial.Canary = counted(60, 10, 0)
	w.wants(w.steps(plan.View{Trials: map[string]plan.Trial{"web": trial}}), "state.EndCanary", "drain web-4 v2")
	if k := w.Canary; k.State != state.CanaryFailed || !strings.HasPrefix(k.Why, "web: 16.7 % of 60 requests at the canary went wrong") {
		t.Errorf("it is %s: %s", k.State, k.Why)
	}
}

func TestASickCanaryIsTakenOut(t *testing.T) {
	w := healthy(t, public("v1", 3))
	w.try(.1, public("v2", 3))
	w.round()
	w.ready()
	w.sicken("web-4")
	w.wants(w.round(), "state.Fail")
	if w.Canary.State != state.CanaryFailed {
		t.Errorf("it is %s", w.Canary.State)
	}
}

func TestAHostIsDrainedOfItsCanaryToo(t *testing.T) {
	w := healthy(t, public("v1", 1))
	w.host("b")
	w.try(.1, public("v2", 1))
	w.wants(w.round(), "place canary web-2 v2 on b")
	w.ready()
	w.must(state.DrainHost{Name: "b"})
	w.wants(w.round(), "drain web-2 v2", "place canary web-3 v2 on a")
}

func TestAServiceDoesNotShrinkWhileACanaryIsTried(t *testing.T) {
	s := public("v1", 4)
	s.Autoscale = &autoscale.Policy{Min: 1, Max: 8, CPU: autoscale.Band{Above: .7, Below: .3}}
	w := healthy(t, s)
	next := s
	next.Hash = "v2"
	w.try(.1, next)
	w.now = w.now.Add(time.Hour)
	var frames []autoscale.Frame
	for n := range 600 {
		frames = append(frames, autoscale.Frame{At: w.now.Add(time.Duration(n-599) * time.Second), Counted: 4, CPU: .01})
	}
	r := plan.Round(plan.View{Now: w.now, Cluster: w.Cluster, Frames: func(string) []autoscale.Frame { return frames }})
	if d := r.Decisions["web"]; d.Changes() || d.Reason != autoscale.ReasonDeploying {
		t.Errorf("it goes from %d to %d: %s", d.From, d.To, d.Reason)
	}
}

func TestWhatClientsGetCounts(t *testing.T) {
	bad, good := accesslog.Counts{Requests: 30, Errors: 20}, accesslog.Counts{Requests: 100}
	for _, tc := range []struct {
		name    string
		edit    func(*state.Service)
		traffic map[string]accesslog.Counts
		want    string
	}{
		{"one answers with errors, the others do not", nil, map[string]accesslog.Counts{"web-1": bad, "web-2": good, "web-3": good},
			"20 of 30 requests within 10s went wrong, 0 of 200 at the others"},
		{"all do: it is not the instance", nil, map[string]accesslog.Counts{"web-1": bad, "web-2": bad, "web-3": good}, ""},
		{"too few to tell", nil, map[string]accesslog.Counts{"web-1": {Requests: 19, Errors: 19}, "web-2": good, "web-3": good}, ""},
		{"nobody to compare with", nil, map[string]accesslog.Counts{"web-1": bad}, ""},
		{"less than half", nil, map[string]accesslog.Counts{"web-1": {Requests: 100, Errors: 49}, "web-2": good, "web-3": good}, ""},
		{"errors are an answer here", func(s *state.Service) { s.Ingress.Health.IgnoreErrors = true },
			map[string]accesslog.Counts{"web-1": bad, "web-2": good, "web-3": good}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := public("v1", 3)
			if tc.edit != nil {
				tc.edit(&s)
			}
			w := serving(t, s)
			traffic := map[string]accesslog.Counts{}
			for i := range w.Instances.Values() {
				if c, ok := tc.traffic[i.Name]; ok {
					traffic[i.ID] = c
				}
			}
			w.steps(plan.View{Traffic: traffic})
			got := ""
			for i := range w.Instances.Values() {
				if i.Phase == state.Failed {
					got += i.Reason
				}
			}
			if got != tc.want {
				t.Errorf("given up for %q, want %q", got, tc.want)
			}
		})
	}
}

// Whatever becomes of a canary: what is in force has its count all the time, and
// in the end nothing is left of it but what was promoted.
func TestACanaryTakesNothingAway(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := healthy(t, public("v1", 3))
		w.host("b")
		next := 2
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			before := 0
			for i := range w.Stable("web") {
				if i.Phase == state.Ready && i.Revision == w.Spec.Services["web"].Hash {
					before++
				}
			}
			w.round()
			after := 0
			for i := range w.Stable("web") {
				if i.Phase == state.Ready && i.Revision == w.Spec.Services["web"].Hash {
					after++
				}
			}
			if after < min(before, 3) {
				rt.Fatalf("of %d ready instances %d are left", before, after)
			}
			switch rapid.IntRange(0, 6).Draw(rt, "happening") {
			case 0:
				if !w.Canary.Active() && w.Rollout.Revision == 0 {
					w.try(float64(rapid.IntRange(1, 50).Draw(rt, "percent"))/100, public(fmt.Sprint("v", next), 3))
					next++
				}
			case 1:
				if w.Canary.Active() {
					w.must(state.EndCanary{Canary: w.Canary.ID, Why: "drawn"})
				}
			case 2:
				if w.Canary.Active() {
					w.must(state.Promote{Canary: w.Canary.ID, By: "drawn"})
				}
			case 3:
				for id, i := range w.Instances.All() {
					if i.Canary && i.Active() {
						w.must(state.Fail{ID: id, Reason: "drawn", Blameless: rapid.Bool().Draw(rt, "blameless")})
						break
					}
				}
			case 4:
				w.gone()
			default:
				w.ready()
			}
			w.now = w.now.Add(time.Duration(rapid.IntRange(0, 20).Draw(rt, "seconds")) * time.Second)
		}
		if w.Canary.Active() {
			w.must(state.EndCanary{Canary: w.Canary.ID, Why: "the end"})
		}
		w.settle(rt)
	})
}
