package plan_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/supervisor/plan"
	"github.com/supervisord/supervisord/supervisor/state"
)

func (w *world) host(name string) {
	w.must(state.RegisterHost{Name: name, Address: name, CPUs: 4, Memory: 8 << 30, Format: state.Format})
}

// spread is where the instances are, as "a:2 b:1".
func (w *world) spread() string {
	on := map[string]int{}
	for i := range w.Instances.Values() {
		on[i.Host]++
	}
	var out []string
	for h := range w.Hosts.Values() {
		out = append(out, h.Name+":"+string(rune('0'+on[h.Name])))
	}
	return strings.Join(out, " ")
}

func TestAHostThatJoinsTakesItsShareOneAtATime(t *testing.T) {
	w := newWorld(t, web("v1", 6))
	w.round()
	w.ready()
	w.host("b")
	w.host("c")
	w.wants(w.round()) // all have just become ready
	most := 0
	for range 60 {
		w.now = w.now.Add(2 * time.Second)
		w.round()
		most = max(most, count(w.Cluster, state.Assigned, state.Starting, state.Ready))
		if ready := count(w.Cluster, state.Ready); ready < 6 {
			t.Fatalf("%d are ready", ready)
		}
		w.ready()
		w.gone()
	}
	if got := w.spread(); got != "a:2 b:2 c:2" || most != 7 {
		t.Errorf("spread %s, %d at once", got, most)
	}
	w.wants(w.round())
}

func TestNothingMovesWhereItWouldGainNothing(t *testing.T) {
	big := web("v1", 3)
	big.Container.Resources = state.Resources{MemoryLimit: 2 << 30}
	pinned := web("v1", 3)
	pinned.Placement.Constraints = []state.Constraint{{Value: "a"}}
	for _, tc := range []struct {
		name    string
		service state.Service
		join    func(*world)
	}{
		{"one more than the other", web("v1", 1), func(w *world) { w.host("b") }},
		{"the other has no memory", big, func(w *world) {
			w.must(state.RegisterHost{Name: "b", Address: "b", CPUs: 64, Memory: 1 << 30, Format: state.Format})
		}},
		{"it may not be elsewhere", pinned, func(w *world) { w.host("b") }},
		{"the other is drained", web("v1", 3), func(w *world) { w.host("b"); w.must(state.DrainHost{Name: "b"}) }},
		{"the other is lost", web("v1", 3), func(w *world) { w.host("b"); w.must(state.LoseHost{Name: "b"}) }},
		{"it owns data", state.Service{Name: "web", Hash: "v1", Replicas: 1, Stateful: true}, func(w *world) { w.host("b") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, tc.service)
			w.round()
			w.ready()
			tc.join(w)
			for range 5 {
				w.now = w.now.Add(time.Minute)
				w.wants(w.round())
			}
		})
	}
}

func TestAHostThatIsSilentIsGivenUpAfterTheGraceAndTakenBack(t *testing.T) {
	db := state.Service{Name: "db", Hash: "d", Replicas: 1, Stateful: true}
	w := newWorld(t, db, web("v1", 2))
	w.host("b")
	w.round()
	w.ready()
	if got := w.spread(); got != "a:2 b:1" {
		t.Fatalf("spread %s", got)
	}
	seen := w.now
	round := func(silent string) (kinds []string) {
		v := plan.View{Now: w.now, Cluster: w.Cluster, Grace: plan.DefaultGrace, Contact: map[string]time.Time{"a": w.now, "b": w.now}}
		v.Frames = func(string) []autoscale.Frame { return nil }
		v.Contact[silent] = seen
		var cmds []state.Command
		for _, s := range plan.Round(v).Steps {
			cmds = append(cmds, s.Command)
			kinds = append(kinds, w.say(s.Command))
		}
		if len(cmds) > 0 {
			w.must(cmds...)
		}
		return kinds
	}
	// The database is on a.
	w.now = seen.Add(plan.DefaultGrace - 1)
	w.wants(round("a"))
	w.now = seen.Add(plan.DefaultGrace)
	w.wants(round("a"), "state.LoseHost", "place web-3 v1 on b")
	if i, _ := w.Instances.Get("db-1.4"); i.Phase != state.Ready || i.Host != "a" {
		t.Errorf("the database is %s on %s; its data is on a", i.Phase, i.Host)
	}
	w.ready()
	seen = w.now.Add(time.Second)
	w.now = seen
	w.wants(round("a"), "state.FindHost")
	w.gone()
	if diff := cmp.Diff(1, count(w.Cluster, state.Ready)-2); diff != "" {
		t.Errorf("instances after its return: %s", diff)
	}
}
