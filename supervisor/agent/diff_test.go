package agent_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/state"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// history is a cluster in the making: one command a second from the epoch, and
// later where a test says so.
type history struct {
	t testing.TB
	state.Cluster
	late time.Duration
}

func begin(t testing.TB) *history {
	h := &history{t: t, Cluster: state.New()}
	h.do(state.Found{ID: "c1"})
	h.do(state.RegisterHost{Name: "a", Address: "10.0.0.1", CPUs: 4, Memory: 8 << 30, Format: state.Format})
	h.do(state.SetSpec{Spec: shop()})
	return h
}

func (h *history) do(cmds ...state.Command) {
	h.t.Helper()
	var errs []error
	h.Cluster, errs = state.Apply(h.Cluster, h.Index+1, state.Proposal{At: epoch.Add(h.late + time.Duration(h.Index)*time.Second), Commands: cmds})
	if err := errors.Join(errs...); err != nil {
		h.t.Fatal(err)
	}
}

// instance brings the service's instance of a slot into a phase; its
// container is "k-<service>-<slot>".
func (h *history) instance(service string, slot int, p state.Phase) string {
	h.t.Helper()
	h.do(state.Place{Service: service, Slot: slot, Host: "a", Revision: h.Spec.Services[service].Hash})
	id := state.InstanceID(service, slot, h.Index)
	observe := state.Observe{ID: id, Phase: state.Starting, Container: "k-" + state.InstanceName(service, slot)}
	if service == "web" {
		observe.Address = fmt.Sprintf("10.0.0.1:%d", 4000+slot)
	}
	ready := observe
	ready.Phase = state.Ready
	for _, step := range []struct {
		to  []state.Phase
		cmd state.Command
	}{
		{[]state.Phase{state.Starting, state.Ready, state.Draining, state.Failed}, observe},
		{[]state.Phase{state.Ready, state.Draining, state.Failed}, ready},
		{[]state.Phase{state.Draining}, state.Drain{ID: id}},
		{[]state.Phase{state.Failed}, state.Fail{ID: id, Reason: "as the test wants"}},
	} {
		if slices.Contains(step.to, p) {
			h.do(step.cmd)
		}
	}
	return id
}

func running(id, instance string) agent.Container {
	return agent.Container{ID: id, Name: strings.Split(instance, ".")[0], Instance: instance, Running: true, PID: 7}
}

func ended(id, instance string, code int) agent.Container {
	return agent.Container{ID: id, Instance: instance, ExitCode: code, StartedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
}

// words says the work in short: "kind subject container: why".
func words(ops []agent.Op) []string {
	var all []string
	for _, op := range ops {
		s := string(op.Kind)
		for _, word := range []string{op.Instance.ID, op.Container.ID} {
			if word != "" {
				s += " " + word
			}
		}
		if op.Why != "" {
			s += ": " + op.Why
		}
		all = append(all, s)
	}
	return all
}

func TestDiffOfOneInstance(t *testing.T) {
	const id, k = "web-1.4", "k-web-1"
	runs := running(k, id)
	oom := ended(k, id, 137)
	oom.OOMKilled = true
	unhealthy := runs
	unhealthy.Health = agent.HealthUnhealthy
	unknownPID := runs
	unknownPID.PID = 0

	for _, tc := range []struct {
		name  string
		phase state.Phase
		have  []agent.Container
		sick  string
		// known is the sickness in the state; well says that the instance has
		// answered in this life of the daemon.
		known string
		well  bool
		// confirmed: this host's nginx serves the present state.
		confirmed bool
		// after is how long ago the phase began.
		after time.Duration
		want  []string
	}{
		{name: "assigned, nothing there", phase: state.Assigned, want: []string{"launch web-1.4"}},
		{name: "assigned and running already", phase: state.Assigned, have: []agent.Container{runs}, want: []string{"adopt web-1.4 k-web-1"}},
		{name: "assigned and ended already", phase: state.Assigned, have: []agent.Container{ended(k, id, 3)}, want: []string{"fail web-1.4 k-web-1: its container ended with exit code 3"}},
		{name: "assigned and never started", phase: state.Assigned, have: []agent.Container{{ID: k, Instance: id}}, want: []string{"launch web-1.4"}},
		{name: "starting, as it should be", phase: state.Starting, have: []agent.Container{runs}},
		{name: "starting, its process not known", phase: state.Starting, have: []agent.Container{unknownPID}, want: []string{"inspect web-1.4 k-web-1"}},
		{name: "starting, ended", phase: state.Starting, have: []agent.Container{ended(k, id, 1)}, want: []string{"fail web-1.4 k-web-1: its container ended with exit code 1"}},
		{name: "starting, gone", phase: state.Starting, want: []string{"fail web-1.4: its container is gone; somebody else removed it"}},
		{name: "starting and unhealthy so far", phase: state.Starting, have: []agent.Container{unhealthy}},
		{name: "ready, as it should be", phase: state.Ready, have: []agent.Container{runs}},
		{name: "ready, its process not known", phase: state.Ready, have: []agent.Container{unknownPID}, want: []string{"inspect web-1.4 k-web-1"}},
		{name: "ready, ended", phase: state.Ready, have: []agent.Container{ended(k, id, 0)}, want: []string{"fail web-1.4 k-web-1: its container ended with exit code 0"}},
		{name: "ready, out of memory", phase: state.Ready, have: []agent.Container{oom}, want: []string{"fail web-1.4 k-web-1: killed for lack of memory (exit code 137)"}},
		{name: "ready, gone", phase: state.Ready, want: []string{"fail web-1.4: its container is gone; somebody else removed it"}},
		{name: "ready, does not answer", phase: state.Ready, have: []agent.Container{runs}, sick: "no answer", want: []string{"health web-1.4 k-web-1: no answer"}},
		{name: "ready, does not answer, as is known", phase: state.Ready, have: []agent.Container{runs}, sick: "no answer at all", known: "no answer"},
		{name: "ready, answers again", phase: state.Ready, have: []agent.Container{runs}, well: true, known: "no answer", want: []string{"health web-1.4 k-web-1"}},
		{name: "ready, not asked since the daemon began", phase: state.Ready, have: []agent.Container{runs}, known: "no answer"},
		{name: "starting, does not answer", phase: state.Starting, have: []agent.Container{runs}, sick: "no answer"},
		{name: "ready, unhealthy by its own check", phase: state.Ready, have: []agent.Container{unhealthy}, want: []string{"health web-1.4 k-web-1: its container's own health check fails"}},
		{name: "draining, nginx not confirmed", phase: state.Draining, have: []agent.Container{runs}, after: drainTime - 1},
		{name: "draining, nginx confirmed", phase: state.Draining, have: []agent.Container{runs}, confirmed: true, want: []string{"retire web-1.4 k-web-1"}},
		{name: "draining, time is up", phase: state.Draining, have: []agent.Container{runs}, after: drainTime, want: []string{"retire web-1.4 k-web-1"}},
		{name: "draining, ended by itself", phase: state.Draining, have: []agent.Container{ended(k, id, 0)}, want: []string{"retire web-1.4 k-web-1"}},
		{name: "draining, gone", phase: state.Draining, want: []string{"retire web-1.4"}},
		{name: "failed, still running, nginx not confirmed", phase: state.Failed, have: []agent.Container{runs}, after: drainTime - 1},
		{name: "failed, still running, nginx confirmed", phase: state.Failed, have: []agent.Container{runs}, confirmed: true, want: []string{"clear web-1.4 k-web-1"}},
		{name: "failed, still running, time is up", phase: state.Failed, have: []agent.Container{runs}, after: drainTime, want: []string{"clear web-1.4 k-web-1"}},
		{name: "failed, ended", phase: state.Failed, have: []agent.Container{ended(k, id, 1)}, want: []string{"clear web-1.4 k-web-1"}},
		{name: "failed, nothing left", phase: state.Failed, want: []string{"clear web-1.4"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := begin(t)
			h.instance("web", 1, tc.phase)
			here := agent.Local{Host: "a", Containers: tc.have, Now: h.Time.Add(tc.after), Time: h.Time, Seen: map[string]time.Time{id: h.Time}}
			if tc.sick != "" {
				here.Sick = map[string]string{id: tc.sick}
			}
			here.Well = map[string]bool{id: tc.well}
			if tc.known != "" {
				h.do(state.ReportHealth{ID: id, Sick: tc.known})
			}
			if tc.confirmed {
				h.do(state.ConfirmRoutes{Host: "a", Index: h.Index})
			}
			if diff := cmp.Diff(tc.want, words(agent.Diff(h.Cluster, here))); diff != "" {
				t.Errorf("work (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDiffOfManyIsInTheOrderOfTheKeys(t *testing.T) {
	h := begin(t)
	one := h.instance("web", 1, state.Ready)
	h.instance("web", 2, state.Assigned)
	h.instance("db", 1, state.Assigned)
	here := agent.Local{Host: "a", Now: h.Time, Containers: []agent.Container{
		running("zz", "old-7.1"), ended("k-web-1", one, 9), running("aa", "gone-1.2"),
	}}
	want := []string{
		"launch " + state.InstanceID("db", 1, h.Index),
		"orphan aa",
		"orphan zz",
		"fail " + one + " k-web-1: its container ended with exit code 9",
		"launch " + state.InstanceID("web", 2, h.Index-1),
	}
	if diff := cmp.Diff(want, words(agent.Diff(h.Cluster, here))); diff != "" {
		t.Errorf("work (-want +got):\n%s", diff)
	}
	slices.Reverse(here.Containers)
	if diff := cmp.Diff(want, words(agent.Diff(h.Cluster, here))); diff != "" {
		t.Errorf("work depends on the order of the list:\n%s", diff)
	}
}

func TestDiffOfContainersThatShouldNotBeHere(t *testing.T) {
	h := begin(t)
	h.do(state.RegisterHost{Name: "b", Address: "10.0.0.2", CPUs: 4, Memory: 8 << 30, Format: state.Format})
	one := h.instance("web", 1, state.Ready)
	two := h.instance("web", 2, state.Assigned)
	h.do(state.Place{Service: "web", Slot: 3, Host: "b", Revision: "w1"})
	elsewhere := state.InstanceID("web", 3, h.Index)

	for _, tc := range []struct {
		name string
		have []agent.Container
		want []string
	}{
		{"unknown to the state", []agent.Container{running("k-web-1", one), running("x", "web-9.1"), running("k2", two)},
			[]string{"adopt " + two + " k2", "orphan x"}},
		{"another host's", []agent.Container{running("k-web-1", one), running("k2", two), running("x", elsewhere)},
			[]string{"adopt " + two + " k2", "orphan x"}},
		{"a second one beside the one that the state names", []agent.Container{running("a-first", one), running("k-web-1", one), running("k2", two)},
			[]string{"orphan a-first", "adopt " + two + " k2"}},
		{"a second one after the one that the state names", []agent.Container{running("k-web-1", one), running("z-last", one), running("k2", two)},
			[]string{"orphan z-last", "adopt " + two + " k2"}},
		{"two, and the state names none yet: the one that runs stays", []agent.Container{running("k-web-1", one), ended("a", two, 0), running("b", two)},
			[]string{"orphan a", "adopt " + two + " b"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := words(agent.Diff(h.Cluster, agent.Local{Host: "a", Now: h.Time, Containers: tc.have}))
			slices.Sort(got)
			slices.Sort(tc.want)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("work (-want +got):\n%s", diff)
			}
		})
	}
}
