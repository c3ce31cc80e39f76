package plan_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/supervisord/supervisord/supervisor/plan"
	"github.com/supervisord/supervisord/supervisor/state"
)

func TestChoose(t *testing.T) {
	room := func(name string, cpus float64, memory int64, of int) *plan.Room {
		return &plan.Room{Host: state.Host{Name: name}, CPUs: cpus, Memory: memory << 20, Instances: map[string]int{"web": of}}
	}
	labelled := func(r *plan.Room, zone string) *plan.Room {
		r.Host.Labels = map[string]string{"zone": zone}
		return r
	}
	lost := func(r *plan.Room) *plan.Room { r.Host.Lost = time.Unix(1, 0); return r }
	draining := func(r *plan.Room) *plan.Room { r.Host.Draining = true; return r }
	east := state.Placement{Constraints: []state.Constraint{{Label: "zone", Value: "east"}}}
	for _, tc := range []struct {
		name        string
		rooms       []*plan.Room
		placement   state.Placement
		home, avoid string
		want, why   string
	}{
		{name: "no host", why: "no host has joined"},
		{name: "none has the memory", rooms: []*plan.Room{room("a", 4, 99, 0), room("b", 4, 0, 0)},
			why: "no host fits: a has 99 MiB of memory free, 100 MiB are needed, b has 0 MiB of memory free, 100 MiB are needed"},
		{name: "fewest of the service", rooms: []*plan.Room{room("a", 8, 900, 1), room("b", 1, 100, 0)}, want: "b"},
		{name: "most free CPU", rooms: []*plan.Room{room("a", 1, 900, 1), room("b", 2, 100, 1)}, want: "b"},
		{name: "most free memory", rooms: []*plan.Room{room("a", 1, 100, 1), room("b", 1, 900, 1)}, want: "b"},
		{name: "by name", rooms: []*plan.Room{room("b", 1, 100, 1), room("a", 1, 100, 1)}, want: "a"},
		{name: "CPU may be overcommitted", rooms: []*plan.Room{room("a", -3, 100, 9)}, want: "a"},
		{name: "never on a lost host", rooms: []*plan.Room{lost(room("a", 9, 900, 0)), room("b", 1, 100, 5)}, want: "b"},
		{name: "never on a draining host", rooms: []*plan.Room{draining(room("a", 9, 900, 0))}, why: "no host fits: a is being drained"},
		{name: "back to its data even while the host is drained", home: "a", rooms: []*plan.Room{draining(room("a", 9, 900, 0)), room("b", 9, 900, 0)}, want: "a"},
		{name: "never away from its data", home: "a", rooms: []*plan.Room{lost(room("a", 9, 900, 0)), room("b", 9, 900, 0)},
			why: "no host fits: a is lost, b does not hold its data"},
		{name: "where the constraint holds", placement: east, rooms: []*plan.Room{room("a", 9, 900, 0), labelled(room("b", 1, 100, 5), "east")}, want: "b"},
		{name: "nowhere without the label", placement: east, rooms: []*plan.Room{room("a", 9, 900, 0), labelled(room("b", 1, 100, 5), "west")},
			why: "no host fits: a does not meet node.labels.zone == east, b does not meet node.labels.zone == east"},
		{name: "not on the named host", placement: state.Placement{Constraints: []state.Constraint{{Not: true, Value: "a"}}},
			rooms: []*plan.Room{room("a", 9, 900, 0), room("b", 1, 100, 5)}, want: "b"},
		{name: "at most so many a host", placement: state.Placement{MaxPerHost: 2}, rooms: []*plan.Room{room("a", 9, 900, 2)},
			why: "no host fits: a has 2 of it, max_replicas_per_node is 2"},
		{name: "over the zones first", placement: state.Placement{Spread: []string{"zone"}},
			rooms: []*plan.Room{labelled(room("a", 9, 900, 1), "east"), labelled(room("b", 9, 900, 0), "east"), labelled(room("c", 1, 100, 0), "west")}, want: "c"},
		{name: "rather not where it has just failed", avoid: "a", rooms: []*plan.Room{room("a", 9, 900, 0), room("b", 1, 100, 5)}, want: "b"},
		{name: "where it has just failed rather than nowhere", avoid: "a", rooms: []*plan.Room{room("a", 9, 900, 0)}, want: "a"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := state.Service{Name: "web", Placement: tc.placement,
				Container: state.Container{Resources: state.Resources{CPULimit: 1, MemoryLimit: 100 << 20}}}
			rooms := plan.Rooms{}
			for _, r := range tc.rooms {
				rooms[r.Host.Name] = r
			}
			got, why := rooms.Choose(s, tc.home, tc.avoid)
			if tc.want != "" {
				tc.why = why
			}
			if diff := cmp.Diff([]string{tc.want, tc.why}, []string{got, why}); diff != "" || why == "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
