package agent_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/state"
)

// weights are those of web's servers at a time, by instance.
func (h *history) weights(at time.Time) (map[string]int, time.Time) {
	cfg, next := agent.Sites(h.Cluster, []string{"80"}, "", at)
	got := map[string]int{}
	for _, s := range cfg.Sites[0].Servers {
		got[s.Instance] = s.Weight
	}
	return got, next
}

// edited puts a spec in force in which web is changed.
func (h *history) edited(edit func(*state.Service)) {
	spec := shop()
	web := spec.Services["web"]
	in := *web.Ingress
	web.Ingress = &in
	edit(&web)
	spec.Services["web"], spec.Hash = web, spec.Hash+"e"
	h.do(state.SetSpec{Spec: spec, Base: h.Spec.Revision})
}

func TestAFreshInstanceComesToItsShareInSteps(t *testing.T) {
	h := begin(t)
	h.edited(func(s *state.Service) { s.Ingress.SlowStart = 40 * time.Second })
	h.instance("web", 1, state.Ready)
	h.late = time.Hour
	begun := h.Time
	h.instance("web", 2, state.Ready)
	ready := h.Time
	for _, step := range []struct {
		after time.Duration
		want  map[string]int
		next  time.Duration
	}{
		{0, map[string]int{"web-1": 4, "web-2": 1}, 10 * time.Second},
		{9 * time.Second, map[string]int{"web-1": 4, "web-2": 1}, 10 * time.Second},
		{10 * time.Second, map[string]int{"web-1": 2, "web-2": 1}, 20 * time.Second},
		{20 * time.Second, map[string]int{"web-1": 4, "web-2": 3}, 30 * time.Second},
		{30 * time.Second, map[string]int{"web-1": 0, "web-2": 0}, 0},
	} {
		got, next := h.weights(ready.Add(step.after))
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("after %s (-want +got):\n%s", step.after, diff)
		}
		want := time.Time{}
		if step.next > 0 {
			want = ready.Add(step.next)
		}
		if !next.Equal(want) {
			t.Errorf("after %s the next change is at %s, want %s", step.after, next.Sub(begun), step.next)
		}
	}
}

func TestThoseThatAreAllFreshShareEvenly(t *testing.T) {
	h := begin(t)
	h.edited(func(s *state.Service) { s.Ingress.SlowStart = 40 * time.Second })
	h.instance("web", 1, state.Ready)
	h.instance("web", 2, state.Ready)
	got, _ := h.weights(h.Time)
	if diff := cmp.Diff(map[string]int{"web-1": 0, "web-2": 0}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The instances of a canary together get the share that was asked for, however
// many there are on either side.
func TestACanaryGetsItsShare(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := begin(t)
		sticky := rapid.Bool().Draw(rt, "sticky")
		h.edited(func(s *state.Service) {
			if sticky {
				s.Ingress.StickyCookie = "session"
			}
		})
		stable := rapid.IntRange(0, 12).Draw(rt, "stable")
		for slot := range stable {
			h.instance("web", slot+1, state.Ready)
		}
		next := h.Spec
		next.Services = map[string]state.Service{}
		for name, s := range h.Spec.Services {
			next.Services[name] = s
		}
		web := next.Services["web"]
		web.Hash, web.Container.Image = "w2", "web:2"
		next.Services["web"], next.Hash = web, "next"
		share := float64(rapid.IntRange(1, 50).Draw(rt, "percent")) / 100
		h.do(state.StartCanary{Spec: next, Base: h.Spec.Revision, Share: share})
		canaries := rapid.IntRange(1, 4).Draw(rt, "canaries")
		for n := range canaries {
			slot := stable + 1 + n
			h.do(state.PlaceCanary{Canary: h.Canary.ID, Service: "web", Slot: slot, Host: "a", Revision: "w2"})
			h.do(state.Observe{ID: state.InstanceID("web", slot, h.Index), Phase: state.Ready, Container: "k", Address: fmt.Sprintf("10.0.0.1:%d", 4000+slot)})
		}
		got, _ := h.weights(h.Time)
		all, theirs := 0, 0
		for name, weight := range got {
			weight = max(1, weight)
			all += weight
			for i := range h.Instances.Values() {
				if i.Name == name && i.Canary {
					theirs += weight
				}
			}
		}
		if stable == 0 {
			if theirs != all {
				rt.Fatalf("nobody else serves: %v", got)
			}
			return
		}
		off := .005
		if sticky {
			// The sum of weights is small there, and an instance has 4 at least.
			off = .10
		}
		if is := float64(theirs) / float64(all); math.Abs(is-share) > off {
			rt.Fatalf("the canary gets %.3f of the requests, %.3f were asked for: %v", is, share, got)
		}
	})
}
