package state_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/supervisor/state"
)

// tried is a spec with a web that the public reaches.
func tried(version string) state.Spec {
	s := spec(version)
	s.Hash += "-tried"
	web := s.Services["web"]
	web.Ingress = &lbconfig.Ingress{Hosts: []string{"_"}, Port: 80}
	s.Services["web"] = web
	return s
}

// public is a founded cluster whose web the public reaches.
func public(t *testing.T) *log {
	l := founded(t)
	host := host("a")
	host.Server, host.Peer, host.Address = "", "", "127.0.0.1"
	host.Format = state.Format
	l.apply(host)
	if err := errors.Join(l.apply(state.SetSpec{Spec: tried("1"), Base: l.Spec.Revision, By: "a test"})...); err != nil {
		t.Fatal(err)
	}
	l.apply(state.FinishRollout{Revision: l.Spec.Revision})
	return l
}

func (l *log) begin(t *testing.T, share float64) uint64 {
	t.Helper()
	if err := l.apply(state.StartCanary{Spec: tried("2"), Base: l.Spec.Revision, Share: share, By: "a test"})[0]; err != nil {
		t.Fatal(err)
	}
	return l.Canary.ID
}

func (l *log) canary(t *testing.T, slot int) string {
	t.Helper()
	if err := l.apply(state.PlaceCanary{Canary: l.Canary.ID, Service: "web", Slot: slot, Host: "a", Revision: "w-2"})[0]; err != nil {
		t.Fatal(err)
	}
	return state.InstanceID("web", slot, l.index)
}

func TestWhatCanBeTriedOut(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(l *log) error
		want string
	}{
		{"half of the requests", func(l *log) error {
			return l.apply(state.StartCanary{Spec: tried("2"), Base: l.Spec.Revision, Share: .5})[0]
		}, ""},
		{"more than half", func(l *log) error {
			return l.apply(state.StartCanary{Spec: tried("2"), Base: l.Spec.Revision, Share: .6})[0]
		}, "a share above 0 and at most 50 %"},
		{"none", func(l *log) error {
			return l.apply(state.StartCanary{Spec: tried("2"), Base: l.Spec.Revision})[0]
		}, "a share above 0 and at most 50 %"},
		{"what is in force", func(l *log) error {
			return l.apply(state.StartCanary{Spec: tried("1"), Base: l.Spec.Revision, Share: .1})[0]
		}, "nothing to try out"},
		{"made from an older revision", func(l *log) error {
			return l.apply(state.StartCanary{Spec: tried("2"), Base: l.Spec.Revision - 1, Share: .1})[0]
		}, "is in force"},
		{"beside a release on its way", func(l *log) error {
			l.apply(state.SetSpec{Spec: tried("3"), Base: l.Spec.Revision, By: "a test"})
			return l.apply(state.StartCanary{Spec: tried("2"), Base: l.Spec.Revision, Share: .1})[0]
		}, "is being rolled out"},
		{"beside another one", func(l *log) error {
			l.apply(state.StartCanary{Spec: tried("2"), Base: l.Spec.Revision, Share: .1})
			return l.apply(state.StartCanary{Spec: tried("3"), Base: l.Spec.Revision, Share: .1})[0]
		}, "promote or abort it first"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.do(public(t))
			if (tc.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestAPromotedCanaryIsARelease(t *testing.T) {
	l := public(t)
	before := l.Spec.Revision
	k := l.begin(t, .1)
	id := l.canary(t, 7)
	l.apply(state.Observe{ID: id, Phase: state.Ready, Container: "k"})
	if l.Spec.Revision != before {
		t.Fatal("a canary changes the spec in force")
	}
	if err := l.apply(state.Promote{Canary: k, By: "a test"})[0]; err != nil {
		t.Fatal(err)
	}
	i, _ := l.Instances.Get(id)
	if l.Spec.Revision != before+1 || l.Spec.Services["web"].Hash != "w-2" || l.Rollout.Good != before || i.Canary || l.Canary.State != state.CanaryPromoted {
		t.Errorf("revision %d, way back to %d, instance %+v, canary %s", l.Spec.Revision, l.Rollout.Good, i, l.Canary.State)
	}
	if err := l.apply(state.Promote{Canary: k})[0]; !errors.Is(err, state.ErrRefused) {
		t.Errorf("promoted twice: %v", err)
	}
}

func TestACanaryEndsWhenItsInstanceFails(t *testing.T) {
	l := public(t)
	l.begin(t, .1)
	id := l.canary(t, 7)
	l.apply(state.Fail{ID: id, Reason: "the engine is away", Blameless: true})
	if !l.Canary.Active() {
		t.Fatal("it ended for what it is not to blame for")
	}
	id = l.canary(t, 8)
	l.apply(state.Fail{ID: id, Reason: "exit 1"})
	if l.Canary.State != state.CanaryFailed || l.Canary.Why != "web-8 on a failed: exit 1" {
		t.Errorf("it is %s: %s", l.Canary.State, l.Canary.Why)
	}
	// What is in force has no part in it.
	if f, failing := l.Failures.Get("web"); failing {
		t.Errorf("web is held back: %+v", f)
	}
}

func TestAnEditEndsTheCanary(t *testing.T) {
	for _, tc := range []struct {
		name string
		cmd  func(l *log) state.Command
	}{
		{"an edit", func(l *log) state.Command {
			return state.SetSpec{Spec: tried("3"), Base: l.Spec.Revision, By: "a test"}
		}},
		{"a way back", func(l *log) state.Command { return state.RollBack{Revision: l.Spec.Revision, To: 1, By: "a test"} }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := public(t)
			l.begin(t, .1)
			if err := l.apply(tc.cmd(l))[0]; err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("revision %d came in between", l.Spec.Revision); l.Canary.State != state.CanaryAborted || l.Canary.Why != want {
				t.Errorf("it is %s: %s", l.Canary.State, l.Canary.Why)
			}
		})
	}
}
