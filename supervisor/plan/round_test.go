package plan_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/supervisor/plan"
	"github.com/supervisord/supervisord/supervisor/state"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// world is a cluster whose rounds are carried out at once.
type world struct {
	t testing.TB
	state.Cluster
	now time.Time
}

func newWorld(t testing.TB, services ...state.Service) *world {
	w := &world{t: t, Cluster: state.New(), now: epoch}
	w.must(state.Found{ID: "c1"}, state.RegisterHost{Name: "a", Address: "10.0.0.1", CPUs: 4, Memory: 8 << 30, Format: state.Format})
	w.spec(services...)
	return w
}

func (w *world) must(cmds ...state.Command) {
	w.t.Helper()
	var errs []error
	w.Cluster, errs = state.Apply(w.Cluster, w.Index+1, state.Proposal{At: w.now, Commands: cmds})
	if err := errors.Join(errs...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) spec(services ...state.Service) {
	s := state.Spec{Hash: fmt.Sprint(services), Services: map[string]state.Service{}}
	for _, service := range services {
		s.Services[service.Name] = service
	}
	w.must(state.SetSpec{Spec: s, Base: w.Spec.Revision})
}

// round plans and commits, and says what it did in short.
func (w *world) round() []string {
	w.t.Helper()
	r := plan.Round(plan.View{Now: w.now, Cluster: w.Cluster, Frames: func(string) []autoscale.Frame { return nil }})
	var said []string
	var cmds []state.Command
	for _, s := range r.Steps {
		cmds = append(cmds, s.Command)
		said = append(said, w.say(s.Command))
	}
	if len(cmds) > 0 {
		w.must(cmds...)
	}
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range r.Pending {
			if !yield(name) {
				return
			}
		}
	}) {
		said = append(said, "pending "+name+": "+r.Pending[name])
	}
	return said
}

func (w *world) say(cmd state.Command) string {
	switch c := cmd.(type) {
	case state.Place:
		return fmt.Sprintf("place %s-%d %s on %s", c.Service, c.Slot, c.Revision, c.Host)
	case state.PlaceCanary:
		return fmt.Sprintf("place canary %s-%d %s on %s", c.Service, c.Slot, c.Revision, c.Host)
	case state.Drain:
		i, _ := w.Instances.Get(c.ID)
		return fmt.Sprintf("drain %s %s", i.Name, i.Revision)
	case state.ScaleTo:
		return fmt.Sprintf("scale %s to %d: %s", c.Service, c.Decision.To, c.Decision.Reason)
	}
	return fmt.Sprintf("%T", cmd)
}

// each calls f with the id of every instance in a phase.
func (w *world) each(p state.Phase, f func(id string) state.Command) {
	for id, i := range w.Instances.All() {
		if i.Phase == p {
			w.must(f(id))
		}
	}
}

func (w *world) ready() {
	w.each(state.Assigned, func(id string) state.Command {
		return state.Observe{ID: id, Phase: state.Ready, Container: id}
	})
}

func (w *world) gone() {
	w.each(state.Draining, func(id string) state.Command { return state.Gone{ID: id} })
	w.each(state.Failed, func(id string) state.Command { return state.Gone{ID: id} })
}

func (w *world) wants(said []string, want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, said); diff != "" {
		w.t.Fatalf("round (-want +got):\n%s", diff)
	}
}

func web(hash string, replicas int) state.Service {
	return state.Service{Name: "web", Hash: hash, Replicas: replicas, Container: state.Container{Image: "web:" + hash}}
}

func TestMissingInstancesArePlacedInTheLowestFreeSlots(t *testing.T) {
	w := newWorld(t, web("v1", 2))
	w.wants(w.round(), "place web-1 v1 on a", "place web-2 v1 on a")
	w.wants(w.round())
	w.ready()
	w.must(state.Fail{ID: "web-1.3", Reason: "exit 1"})
	// web-1's container is not gone yet, so its name is not free.
	w.wants(w.round(), "place web-3 v1 on a")
	w.gone()
	w.ready()
	w.must(state.Hold{Service: "web", Count: ptr(3)})
	w.wants(w.round(), "place web-1 v1 on a")
}

func TestTooManyInstancesDrainTheYoungestFirst(t *testing.T) {
	w := newWorld(t, web("v1", 3))
	w.round()
	w.ready()
	w.now = w.now.Add(time.Minute)
	w.must(state.Hold{Service: "web", Count: ptr(5)})
	w.round()
	w.must(state.Observe{ID: fmt.Sprintf("web-4.%d", w.Index), Phase: state.Ready})
	// web-5 does not serve yet: it is missed least, then the younger one.
	w.must(state.Hold{Service: "web", Count: ptr(2)})
	w.wants(w.round(), "drain web-5 v1", "drain web-4 v1", "drain web-3 v1")
	w.wants(w.round())
}

func TestAnOutdatedServiceIsReplacedStartFirstOneAtATime(t *testing.T) {
	w := newWorld(t, web("v1", 2))
	w.round()
	w.ready()
	w.spec(web("v2", 2))
	w.wants(w.round(), "place web-3 v2 on a")
	w.wants(w.round()) // nothing leaves before the new one serves
	w.ready()
	w.wants(w.round(), "drain web-2 v1", "place web-4 v2 on a")
	w.ready()
	w.gone()
	w.wants(w.round(), "drain web-1 v1")
	w.gone()
	w.wants(w.round())
}

func TestADefinitionThatNeverGetsReadyLeavesTheOldOnesServing(t *testing.T) {
	w := newWorld(t, web("v1", 2))
	w.round()
	w.ready()
	w.spec(web("v2", 2))
	for attempt := 1; attempt <= 3; attempt++ {
		w.wants(w.round(), "place web-3 v2 on a")
		w.must(state.Fail{ID: fmt.Sprintf("web-3.%d", w.Index), Reason: "exit 1"})
		w.gone()
		f, _ := w.Failures.Get("web")
		if attempt > 1 {
			w.wants(w.round(), fmt.Sprintf("pending web: failure %d in a row, next attempt at %s: exit 1", attempt, f.Retry.Format("15:04:05")))
		}
		w.now = f.Retry
	}
	// The operator goes back: nothing has happened to the old ones.
	w.spec(web("v1", 2))
	w.wants(w.round())
}

func TestAServiceWithDataIsReplacedStopFirst(t *testing.T) {
	db := state.Service{Name: "db", Hash: "v1", Replicas: 1, Stateful: true}
	w := newWorld(t, db)
	w.wants(w.round(), "place db-1 v1 on a")
	w.ready()
	db.Hash = "v2"
	w.spec(db)
	w.wants(w.round(), "drain db-1 v1", "pending db: waits until the instance before it is gone")
	w.gone()
	w.wants(w.round(), "place db-1 v2 on a")
}

func TestAServiceThatLeftTheFileIsDrained(t *testing.T) {
	w := newWorld(t, web("v1", 1), state.Service{Name: "web-admin", Hash: "v1", Replicas: 1})
	w.round()
	w.ready()
	w.spec(web("v1", 1))
	w.wants(w.round(), "drain web-admin-1 v1")
}

func TestDependenciesComeUpFirst(t *testing.T) {
	db := state.Service{Name: "db", Hash: "v1", Replicas: 1, Stateful: true}
	app := web("v1", 2)
	app.DependsOn = []state.Dependency{{Service: "db", Healthy: true}}
	w := newWorld(t, db, app)
	w.wants(w.round(), "place db-1 v1 on a", "pending web: waits for db, which is not ready")
	w.ready()
	w.wants(w.round(), "place web-1 v1 on a", "place web-2 v1 on a")
	w.ready()
	// The database's trouble must not keep the rest from being repaired.
	w.must(state.Fail{ID: "db-1.3", Reason: "exit 1"}, state.Fail{ID: "web-1.5", Reason: "exit 1"})
	w.wants(w.round(), "place web-3 v1 on a", "pending db: waits until the instance before it is gone")
}

func TestANameThatBelongsToAStrangerIsPassedOver(t *testing.T) {
	w := newWorld(t, web("v1", 1))
	w.round()
	w.must(state.Fail{ID: "web-1.3", Reason: "name taken", NameTaken: true})
	w.gone()
	w.wants(w.round(), "place web-2 v1 on a")
}

func TestMemoryIsNotOvercommitted(t *testing.T) {
	s := web("v1", 5)
	s.Container.Resources = state.Resources{MemoryLimit: 3 << 30}
	w := newWorld(t, s)
	w.wants(w.round(), "place web-1 v1 on a", "place web-2 v1 on a",
		"pending web: no host fits: a has 2048 MiB of memory free, 3072 MiB are needed")
}

func ptr(n int) *int { return &n }

// TestRoundsKeepTheServiceUp drives a service through edits, failures, holds
// and what happens to its hosts, in any order, and looks after every step that
// nothing of our own doing takes it below what serves and is wanted, or above
// the count and its surge, that looking again soon changes nothing more, and
// that left alone it settles.
func TestRoundsKeepTheServiceUp(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, web("v1", 3))
		for n := range rapid.IntRange(0, 3).Draw(rt, "more hosts") {
			w.host(string(rune('b' + n)))
		}
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			readyBefore := well(w.Cluster)
			said := w.round()
			scale, _ := w.Scales.Get("web")
			if ready := well(w.Cluster); ready < readyBefore && ready < scale.Desired {
				rt.Fatalf("%v took ready instances from %d to %d, %d are wanted", said, readyBefore, ready, scale.Desired)
			}
			if active := count(w.Cluster, state.Assigned, state.Starting, state.Ready); active > scale.Desired+max(1, w.Spec.Services["web"].Update.Parallelism) {
				rt.Fatalf("%v left %d active instances of %d", said, active, scale.Desired)
			}
			w.calms(rt, said)
			w.disturb(rt)
		}
		w.settle(rt)
	})
}

// calms wants rounds at one moment to come to an end: a step that the next
// round takes back would be taken for ever.
func (w *world) calms(t *rapid.T, said []string) {
	all := [][]string{said}
	for range 3 {
		before := w.Index
		all = append(all, w.round())
		if w.Index == before {
			return
		}
	}
	t.Fatalf("rounds at one moment do not come to an end: %q", all)
}

func count(c state.Cluster, phases ...state.Phase) int {
	n := 0
	for i := range c.Instances.Values() {
		if slices.Contains(phases, i.Phase) {
			n++
		}
	}
	return n
}

// well counts the instances that serve and answer.
func well(c state.Cluster) int {
	n := 0
	for i := range c.Instances.Values() {
		if i.Phase == state.Ready && i.Sick == "" {
			n++
		}
	}
	return n
}

func (w *world) disturb(t *rapid.T) {
	var ids []string
	for id := range w.Instances.All() {
		ids = append(ids, id)
	}
	try := func(cmd state.Command) {
		w.Cluster, _ = state.Apply(w.Cluster, w.Index+1, state.Proposal{At: w.now, Commands: []state.Command{cmd}})
	}
	switch kind := rapid.IntRange(0, 13).Draw(t, "disturbance"); {
	case kind >= 11 && len(ids) > 0:
		i, _ := w.Instances.Get(rapid.SampledFrom(ids).Draw(t, "id"))
		try(rapid.SampledFrom([]state.Command{
			state.ReportHealth{ID: i.ID, Sick: "drawn"}, state.ReportHealth{ID: i.ID},
			state.Relimited{ID: i.ID, Revision: i.Revision}, state.Relimited{ID: i.ID, Revision: i.Revision, Problem: "drawn"},
		}).Draw(t, "news"))
	case kind >= 8:
		w.disturbHost(t, try)
	case kind == 0:
		s := rapid.SampledFrom([]state.Service{
			web("v1", 3), web("v2", 3), web("v3", 3), limited("m1", 3, 1, 128), limited("m2", 3, 2, 256),
		}).Draw(t, "definition")
		s.Update.Parallelism = rapid.IntRange(0, 4).Draw(t, "parallelism")
		s.Update.Delay = time.Duration(rapid.IntRange(0, 20).Draw(t, "delay")) * time.Second
		s.Update.OnFailure = rapid.SampledFrom([]state.OnFailure{"", state.OnFailureContinue}).Draw(t, "on failure")
		w.release(s)
	case kind == 1:
		try(state.Hold{Service: "web", Count: ptr(rapid.IntRange(0, 6).Draw(t, "hold"))})
	case kind == 2:
		w.now = w.now.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "seconds")) * time.Second)
	case len(ids) == 0:
	case kind == 3:
		try(state.Fail{ID: rapid.SampledFrom(ids).Draw(t, "id"), Reason: "drawn"})
	case kind == 4:
		try(state.Gone{ID: rapid.SampledFrom(ids).Draw(t, "id")})
	default:
		try(state.Observe{ID: rapid.SampledFrom(ids).Draw(t, "id"), Phase: state.Ready})
	}
}

func (w *world) disturbHost(t *rapid.T, try func(state.Command)) {
	var names []string
	for h := range w.Hosts.Values() {
		names = append(names, h.Name)
	}
	name := rapid.SampledFrom(names).Draw(t, "host")
	try(rapid.SampledFrom([]state.Command{
		state.DrainHost{Name: name}, state.DrainHost{Name: name, Off: true},
		state.LoseHost{Name: name}, state.FindHost{Name: name},
	}).Draw(t, "happening"))
}

// settle lets the world go on by itself.
func (w *world) settle(t *rapid.T) {
	var said []string
	for h := range w.Hosts.Values() {
		if h.IsLost() {
			w.must(state.FindHost{Name: h.Name})
		}
		if h.Draining {
			w.must(state.DrainHost{Name: h.Name, Off: true})
		}
	}
	for range 50 {
		w.now = w.now.Add(2 * time.Minute)
		said = w.round()
		w.ready()
		w.gone()
		w.relimited("")
		w.recover()
	}
	if len(said) > 0 {
		t.Fatalf("it does not settle: %v", said)
	}
	scale, _ := w.Scales.Get("web")
	for i := range w.Instances.Values() {
		if i.Phase != state.Ready || i.Revision != w.Spec.Services["web"].Hash {
			t.Fatalf("settled with %s %s of %s", i.Name, i.Phase, i.Revision)
		}
	}
	if n := w.Instances.Len(); n != scale.Desired {
		t.Fatalf("settled with %d instances, %d are wanted: %s", n, scale.Desired, strings.Join(said, "; "))
	}
}
