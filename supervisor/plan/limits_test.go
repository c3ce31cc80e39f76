package plan_test

import (
	"strings"
	"testing"
	"time"

	"github.com/supervisord/supervisord/supervisor/plan"
	"github.com/supervisord/supervisord/supervisor/state"
)

// limited is web with limits.
func limited(hash string, replicas int, cpus float64, memory int64) state.Service {
	s := web(hash, replicas)
	s.Container = state.Container{Image: "web", Resources: state.Resources{CPULimit: cpus, MemoryLimit: memory << 20}}
	return s
}

// relimited carries out what the hosts have to do.
func (w *world) relimited(problem string) (n int) {
	w.t.Helper()
	for id, i := range w.Instances.All() {
		if i.Relimiting {
			n++
			w.must(state.Relimited{ID: id, Revision: i.Revision, Problem: problem})
		}
	}
	return n
}

func TestOnlyLimits(t *testing.T) {
	was := limited("v1", 2, 1, 256)
	for _, tc := range []struct {
		name string
		edit func(*state.Service)
		want bool
	}{
		{"more of both", func(s *state.Service) { s.Container.Resources.CPULimit, s.Container.Resources.MemoryLimit = 2, 1<<30 }, true},
		{"less of both", func(s *state.Service) { s.Container.Resources.CPULimit, s.Container.Resources.MemoryLimit = .5, 1<<20 }, true},
		{"one more limit", func(s *state.Service) { s.Container.Resources.PidsLimit = 100 }, true},
		{"a limit taken away, which engines cannot", func(s *state.Service) { s.Container.Resources.CPULimit = 0 }, false},
		{"another image besides", func(s *state.Service) { s.Container.Resources.CPULimit, s.Container.Image = 2, "web:2" }, false},
		{"another variable", func(s *state.Service) { s.Container.Environment = []string{"A=1"} }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			now := was
			tc.edit(&now)
			if got := state.OnlyLimits(was, now); got != tc.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestNewLimitsAreGivenOneAfterTheOtherWithoutARestart(t *testing.T) {
	w := healthy(t, limited("v1", 3, 1, 256))
	w.release(limited("v2", 3, 2, 512))
	for range 3 {
		w.wants(w.round(), "state.Relimit")
		w.wants(w.round())
		if n := w.relimited(""); n != 1 {
			t.Fatalf("%d at once", n)
		}
	}
	w.wants(w.round())
	if s, _ := w.stands(3); s != state.ReleaseRolling {
		t.Fatalf("it is %s before it was watched", s)
	}
	w.now = w.now.Add(state.DefaultMonitor)
	w.wants(w.round(), "state.FinishRollout")
	if w.last(state.EventInstanceDraining) != "" || w.Instances.Len() != 3 {
		t.Error("instances were replaced")
	}
}

func TestWhatCannotGetItsLimitsWhileItRunsIsReplaced(t *testing.T) {
	w := healthy(t, limited("v1", 2, 1, 256))
	w.release(limited("v2", 2, 1, 128))
	w.wants(w.round(), "state.Relimit")
	w.relimited("it uses 200 MiB")
	w.wants(w.round(), "state.Relimit", "place web-3 v2 on a")
	w.relimited("")
	w.ready()
	w.wants(w.round(), "drain web-1 v2")
}

func TestLimitsGoBackWithoutARestartToo(t *testing.T) {
	w := healthy(t, limited("v1", 1, 1, 256))
	w.release(limited("v2", 1, 1, 128))
	w.round()
	w.relimited("")
	w.failNew("v2", "killed for lack of memory")
	said := strings.Join(w.round(), "; ")
	if !strings.HasPrefix(said, "state.RollBack") {
		t.Fatalf("it says %s", said)
	}
}

// A stateful service keeps running: it would have to be stopped first else.
func TestADatabaseGetsMoreMemoryWithoutARestart(t *testing.T) {
	db := limited("v1", 1, 1, 256)
	db.Stateful = true
	w := healthy(t, db)
	db.Hash, db.Container.Resources.MemoryLimit = "v2", 1<<30
	w.release(db)
	w.wants(w.round(), "state.Relimit")
}

func TestLimitsGrowInPlaceOnlyWhereTheHostHasTheMemory(t *testing.T) {
	w := healthy(t, limited("v1", 2, 1, 3<<10))
	more := limited("v2", 2, 1, 4<<10)
	if short := plan.Short(w.Cluster, state.Spec{Services: map[string]state.Service{"web": more}}); len(short) != 0 {
		t.Errorf("the host has 8 GiB: %v", short)
	}
	more = limited("v3", 2, 1, 5<<10)
	if short := plan.Short(w.Cluster, state.Spec{Services: map[string]state.Service{"web": more}}); len(short) != 1 {
		t.Errorf("10 GiB of 8: %v", short)
	}
	w.release(more)
	w.now = w.now.Add(time.Second)
	for _, said := range w.round() {
		if said == "state.Relimit" {
			t.Error("memory is promised twice")
		}
	}
}
