package state_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/supervisor/state"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// spec has an autoscaled service "web", a plain "worker" and a stateful "db".
func spec(hash string) state.Spec {
	return state.Spec{Hash: hash, Project: "shop", Services: map[string]state.Service{
		"web": {Name: "web", Hash: "w-" + hash, Replicas: 3, Drain: 30 * time.Second,
			Autoscale: &autoscale.Policy{Min: 2, Max: 8, CPU: autoscale.Band{Above: .7, Below: .3}},
			Ingress:   &lbconfig.Ingress{Hosts: []string{"_"}, Port: 80}},
		"worker": {Name: "worker", Hash: "k-" + hash, Replicas: 2},
		"db":     {Name: "db", Hash: "d", Replicas: 1, Stateful: true},
	}}
}

// log is a cluster with its history of indices.
type log struct {
	state.Cluster
	index uint64
	now   time.Time
}

func (l *log) apply(cmds ...state.Command) []error {
	l.index++
	l.now = l.now.Add(time.Second)
	var errs []error
	l.Cluster, errs = state.Apply(l.Cluster, l.index, state.Proposal{At: l.now, Commands: cmds})
	return errs
}

// founded is a cluster of one host with the spec in force: indices 1 and 2.
func founded(t testing.TB) *log {
	l := &log{Cluster: state.New(), now: epoch}
	for _, errs := range [][]error{
		l.apply(state.Found{ID: "c1"}, state.RegisterHost{Name: "a", Address: "127.0.0.1", CPUs: 2, Memory: 4 << 30}),
		l.apply(state.SetSpec{Spec: spec("1")}),
	} {
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func place(service string, slot int) state.Place {
	return state.Place{Service: service, Slot: slot, Host: "a", Revision: spec("1").Services[service].Hash}
}

func ptr(n int) *int { return &n }

func TestCommandsThatDoNotFitAreRefusedAndChangeNothing(t *testing.T) {
	// web-1.3 is ready, web-2.3 starting, db-1.3 draining, worker-1.3 failed.
	base := func(t *testing.T) *log {
		l := founded(t)
		l.apply(place("web", 1), place("web", 2), place("db", 1), place("worker", 1))
		l.apply(
			state.Observe{ID: "web-1.3", Phase: state.Ready, Container: "c", Address: "127.0.0.1:4000"},
			state.Observe{ID: "web-2.3", Phase: state.Starting, Container: "d"},
			state.Drain{ID: "db-1.3"}, state.Fail{ID: "worker-1.3", Reason: "exit 1"})
		return l
	}
	down := autoscale.Decision{From: 3, To: 2}
	for _, tc := range []struct {
		name string
		cmd  state.Command
		want string
	}{
		{"second cluster", state.Found{ID: "c2"}, "cluster c1 has begun already"},
		{"spec from an old revision", state.SetSpec{Spec: spec("2"), Base: 0}, "made from revision 0, revision 1 is in force"},
		{"spec error of a stranger", state.ReportSpecError{Host: "b", Problem: "x"}, `host "b" is not part`},
		{"routes of a stranger", state.ConfirmRoutes{Host: "b"}, `host "b" is not part`},
		{"scale an unknown service", state.ScaleTo{Service: "nope", Decision: down}, `no service "nope"`},
		{"scale from another count", state.ScaleTo{Service: "web", Decision: autoscale.Decision{From: 5, To: 6}}, "web stands at 3, the decision started from 5"},
		{"scale to the same", state.ScaleTo{Service: "web", Decision: autoscale.Decision{From: 3, To: 3}}, "changes nothing"},
		{"hold an unknown service", state.Hold{Service: "nope", Count: ptr(1)}, `no service "nope"`},
		{"hold below min", state.Hold{Service: "web", Count: ptr(1)}, "1 is outside of web's bounds: x-autoscale.min 2, max 8"},
		{"hold above max", state.Hold{Service: "web", Count: ptr(9)}, "9 is outside"},
		{"hold at a negative count", state.Hold{Service: "worker", Count: ptr(-1)}, "-1 is no count"},
		{"duplicate a database", state.Hold{Service: "db", Count: ptr(2)}, "db owns data and is never duplicated"},
		{"place an unknown service", state.Place{Service: "nope", Host: "a"}, `no service "nope"`},
		{"place on a stranger", state.Place{Service: "web", Slot: 9, Host: "b", Revision: "w-1"}, `host "b" is not part`},
		{"place an old definition", state.Place{Service: "web", Slot: 9, Host: "a", Revision: "w-0"}, "newer definition"},
		{"place in a used slot", place("web", 2), "web-2 is still there (starting)"},
		{"second database while the first drains", place("db", 2), "owns data and db-1 is still there (draining)"},
		{"observe an unknown instance", state.Observe{ID: "web-9.9", Phase: state.Ready}, `no instance "web-9.9"`},
		{"go back to starting", state.Observe{ID: "web-1.3", Phase: state.Starting}, "web-1 is ready and cannot become starting"},
		{"wake a draining one", state.Observe{ID: "db-1.3", Phase: state.Ready}, "db-1 is draining and cannot become ready"},
		{"observe a phase that is not observed", state.Observe{ID: "web-2.3", Phase: state.Draining}, "cannot become draining"},
		{"fail twice", state.Fail{ID: "worker-1.3"}, "worker-1 is failed and cannot fail"},
		{"drain twice", state.Drain{ID: "db-1.3"}, "db-1 is draining already"},
		{"drain one that is needed", state.Drain{ID: "web-1.3", KeepReady: 1}, "without web-1 only 0 of web would be ready, 1 must stay"},
		{"lose one that serves", state.Gone{ID: "web-1.3"}, "web-1 is ready; it must drain or fail before it goes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := base(t)
			before := bytesOf(t, l.Cluster)
			err := l.apply(tc.cmd)[0]
			if !errors.Is(err, state.ErrRefused) || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want a refusal with %q", err, tc.want)
			}
			l.Cluster.Index, l.Cluster.Time = l.Cluster.Index-1, l.Cluster.Time.Add(-time.Second)
			if after := bytesOf(t, l.Cluster); !bytes.Equal(before, after) {
				t.Errorf("refused, and yet it changed the state:\n%s", cmp.Diff(string(before), string(after)))
			}
		})
	}
}

func TestALifeFromPlacedToGone(t *testing.T) {
	l := founded(t)
	l.apply(place("web", 1))
	const id = "web-1.3"
	for _, step := range []struct {
		cmd  state.Command
		want state.Phase
	}{
		{state.Observe{ID: id, Phase: state.Starting, Container: "c1", Address: "127.0.0.1:4000"}, state.Starting},
		{state.Observe{ID: id, Phase: state.Ready, Container: "c1", Address: "127.0.0.1:4000"}, state.Ready},
		{state.Drain{ID: id, Why: "2 of web are wanted"}, state.Draining},
	} {
		if err := l.apply(step.cmd)[0]; err != nil {
			t.Fatal(err)
		}
		i, _ := l.Instances.Get(id)
		if i.Phase != step.want || i.PhaseIndex != l.index || !i.PhaseAt.Equal(l.now) {
			t.Fatalf("after %T: %s at %d %s, want %s at %d %s", step.cmd, i.Phase, i.PhaseIndex, i.PhaseAt, step.want, l.index, l.now)
		}
	}
	i, _ := l.Instances.Get(id)
	if l.Unrouted(i, "a") {
		t.Error("no host has confirmed yet that it left the instance out")
	}
	l.apply(state.ConfirmRoutes{Host: "a", Index: i.PhaseIndex - 1})
	if l.Unrouted(i, "a") {
		t.Error("the host's routes are older than the drain")
	}
	l.apply(state.ConfirmRoutes{Host: "a", Index: i.PhaseIndex, Rejected: map[string]string{"web": "bad"}})
	if l.Unrouted(i, "a") {
		t.Error("nginx keeps the site's last form, which names the instance")
	}
	l.apply(state.ConfirmRoutes{Host: "a", Index: i.PhaseIndex})
	if !l.Unrouted(i, "a") {
		t.Error("the only host has confirmed")
	}
	if err := l.apply(state.Gone{ID: id})[0]; err != nil {
		t.Fatal(err)
	}
	if n := l.Instances.Len(); n != 0 {
		t.Fatalf("%d instances are left", n)
	}
	if err := l.apply(state.Gone{ID: id})[0]; err != nil {
		t.Errorf("told twice: %v", err)
	}
	var kinds []state.EventKind
	for _, e := range l.EventsAfter(3) {
		kinds = append(kinds, e.Kind)
	}
	want := []state.EventKind{state.EventInstanceReady, state.EventInstanceDraining, state.EventSiteRejected, state.EventSiteAccepted, state.EventInstanceGone}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestAnEditKeepsTheLiveCountAndForgetsOldFailures(t *testing.T) {
	l := founded(t)
	if s, _ := l.Scales.Get("web"); s.Desired != 3 {
		t.Fatalf("web begins at its deploy.replicas 3, got %d", s.Desired)
	}
	l.apply(state.ScaleTo{Service: "web", Decision: autoscale.Decision{From: 3, To: 6, Reason: autoscale.ReasonAboveThreshold}})
	l.apply(place("worker", 1))
	l.apply(state.Fail{ID: fmt.Sprintf("worker-1.%d", l.index), Reason: "exit 1"})
	edited := spec("2")
	if err := l.apply(state.SetSpec{Spec: edited, Base: 1})[0]; err != nil {
		t.Fatal(err)
	}
	if s, _ := l.Scales.Get("web"); s.Desired != 6 || s.LastOut.IsZero() {
		t.Errorf("the edit reset the live count: %+v", s)
	}
	if _, failing := l.Failures.Get("worker"); failing {
		t.Error("worker has a new definition, its old failures do not count")
	}
	if l.Spec.Revision != 2 {
		t.Errorf("revision %d, want 2", l.Spec.Revision)
	}
	delete(edited.Services, "worker")
	edited.Hash = "3"
	l.apply(state.SetSpec{Spec: edited, Base: 2})
	if _, known := l.Scales.Get("worker"); known {
		t.Error("worker is no longer in the spec and still has a count")
	}
	events := l.LastEvent
	l.apply(state.SetSpec{Spec: edited, Base: 3})
	if l.Spec.Revision != 3 || l.LastEvent != events {
		t.Error("the same content again is no new revision and no event")
	}
}

func TestAHoldFollowsTheBoundsOfAnEdit(t *testing.T) {
	for _, tc := range []struct {
		name           string
		held, min, max int
		want           int
	}{
		{"inside", 4, 2, 8, 4},
		{"above the new max", 6, 2, 3, 3},
		{"below the new min", 2, 4, 8, 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := founded(t)
			l.apply(state.Hold{Service: "web", Count: &tc.held})
			edited := spec("2")
			web := edited.Services["web"]
			web.Autoscale = &autoscale.Policy{Min: tc.min, Max: tc.max, CPU: autoscale.Band{Above: .7, Below: .3}}
			edited.Services["web"] = web
			if err := l.apply(state.SetSpec{Spec: edited, Base: 1})[0]; err != nil {
				t.Fatal(err)
			}
			if s, _ := l.Scales.Get("web"); s.Hold == nil || *s.Hold != tc.want || s.Desired != tc.want {
				t.Errorf("it is %+v, want held at %d", s, tc.want)
			}
		})
	}
}

func TestAWrongEditIsShownUntilAGoodOneComes(t *testing.T) {
	l := founded(t)
	problem := "docker-compose.prod.yml:7:12: max: want a number"
	l.apply(state.ReportSpecError{Host: "a", Problem: problem})
	events := l.LastEvent
	l.apply(state.ReportSpecError{Host: "a", Problem: problem})
	if h, _ := l.Hosts.Get("a"); h.SpecError != problem || l.LastEvent != events {
		t.Errorf("want the problem once: %q, %d events more", h.SpecError, l.LastEvent-events)
	}
	l.apply(state.SetSpec{Spec: spec("1"), Base: 1, Host: "a"})
	if h, _ := l.Hosts.Get("a"); h.SpecError != "" {
		t.Errorf("the file is as it was, and still %q", h.SpecError)
	}
}

func TestHoldAndRelease(t *testing.T) {
	l := founded(t)
	l.apply(state.Hold{Service: "web", Count: ptr(5)}, state.Hold{Service: "worker", Count: ptr(0)})
	if s, _ := l.Scales.Get("web"); s.Desired != 5 || *s.Hold != 5 {
		t.Errorf("web: %+v", s)
	}
	err := l.apply(state.ScaleTo{Service: "web", Decision: autoscale.Decision{From: 5, To: 6}})[0]
	if !errors.Is(err, state.ErrRefused) {
		t.Errorf("the load moved a held service: %v", err)
	}
	l.apply(state.Hold{Service: "web"}, state.Hold{Service: "worker"})
	if s, _ := l.Scales.Get("web"); s.Desired != 5 || s.Hold != nil {
		t.Errorf("released, web stays where it is until the load says more: %+v", s)
	}
	if s, _ := l.Scales.Get("worker"); s.Desired != 2 {
		t.Errorf("released, worker goes back to deploy.replicas: %+v", s)
	}
}

func TestBackoffGrowsWithFailuresInARowAndEndsWhenOneServedLongEnough(t *testing.T) {
	for n, want := range map[int]time.Duration{0: 0, 1: 0, 2: time.Second, 3: 2 * time.Second, 4: 4 * time.Second, 8: time.Minute, 1000: time.Minute} {
		if got := state.Backoff(n); got != want {
			t.Errorf("after %d failures %s, want %s", n, got, want)
		}
	}
	l := founded(t)
	fail := func(served time.Duration) state.FailureStreak {
		l.apply(place("worker", 1))
		id := fmt.Sprintf("worker-1.%d", l.index)
		l.apply(state.Observe{ID: id, Phase: state.Ready})
		l.now = l.now.Add(served)
		l.apply(state.Fail{ID: id, Reason: "exit 1"}, state.Gone{ID: id})
		f, _ := l.Failures.Get("worker")
		return f
	}
	for want := 1; want <= 4; want++ {
		if f := fail(0); f.Count != want || f.Retry.Sub(f.Last) != state.Backoff(want) {
			t.Fatalf("failure %d: %+v", want, f)
		}
	}
	if f := fail(2 * time.Minute); f.Count != 1 {
		t.Errorf("it served two minutes, so the streak is over: %+v", f)
	}
}

func TestAProposersClockCannotTurnTimeBack(t *testing.T) {
	l := founded(t)
	before := l.Time
	l.now = l.now.Add(-time.Hour)
	l.apply(state.Note{Event: state.Event{Message: "from a host whose clock is behind"}})
	if l.Time.Before(before) {
		t.Errorf("time went from %s to %s", before, l.Time)
	}
}

func TestOldEventsGoFirst(t *testing.T) {
	l := founded(t)
	for n := range state.MaxEvents + 10 {
		l.apply(state.Note{Event: state.Event{Message: fmt.Sprint(n)}})
	}
	events := l.EventsAfter(0)
	if len(events) != state.MaxEvents || events[len(events)-1].Seq != l.LastEvent {
		t.Fatalf("%d events, the last is %d of %d", len(events), events[len(events)-1].Seq, l.LastEvent)
	}
	for n, e := range events {
		if want := l.LastEvent - uint64(len(events)-1-n); e.Seq != want {
			t.Fatalf("event %d has number %d, want %d", n, e.Seq, want)
		}
	}
}

func TestUnknownAndNewerEntriesAreErrors(t *testing.T) {
	for _, tc := range []struct{ entry, want string }{
		{`{"v":1,"at":"2026-01-02T03:04:05Z","c":[{"k":"conquer","b":{}}]}`, `unknown command "conquer"`},
		{`{"v":2}`, "version 2, this daemon knows 1"},
		{`{"v":1,"c":[{"k":"place","b":{"slot":"one"}}]}`, "decode place"},
		{`torn`, "decode proposal"},
	} {
		if _, err := state.Decode([]byte(tc.entry)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", tc.entry, err, tc.want)
		}
	}
	if _, err := state.Read(strings.NewReader(`{"schema": 99}`)); err == nil {
		t.Error("a snapshot of a later schema was read")
	}
}

func bytesOf(t testing.TB, c state.Cluster) []byte {
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// anyCommand draws a command that may or may not fit.
func anyCommand(t *rapid.T, c state.Cluster) state.Command {
	services := []string{"web", "worker", "db", "nope"}
	service := rapid.SampledFrom(services).Draw(t, "service")
	ids := []string{"nope-1.1"}
	for id := range c.Instances.All() {
		ids = append(ids, id)
	}
	id := rapid.SampledFrom(ids).Draw(t, "id")
	name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "host")
	switch rapid.IntRange(0, 14).Draw(t, "kind") {
	case 10:
		return host(name)
	case 11:
		return state.LoseHost{Name: name, Why: "drawn"}
	case 12:
		return state.FindHost{Name: name}
	case 13:
		return state.DrainHost{Name: name, Off: rapid.Bool().Draw(t, "off")}
	case 14:
		return state.RemoveHost{Name: name, Force: rapid.Bool().Draw(t, "force"), AbandonData: rapid.Bool().Draw(t, "abandon")}
	case 0:
		hash := rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "hash")
		return state.SetSpec{Spec: spec(hash), Base: c.Spec.Revision}
	case 1:
		from, _ := c.Scales.Get(service)
		return state.ScaleTo{Service: service, Decision: autoscale.Decision{From: from.Desired, To: rapid.IntRange(2, 8).Draw(t, "to")}}
	case 2:
		return state.Hold{Service: service, Count: ptr(rapid.IntRange(-1, 9).Draw(t, "hold"))}
	case 3, 4, 5:
		s := c.Spec.Services[service]
		return state.Place{Service: service, Slot: rapid.IntRange(1, 4).Draw(t, "slot"), Host: name, Revision: s.Hash}
	case 6:
		return state.Observe{ID: id, Phase: rapid.SampledFrom([]state.Phase{state.Starting, state.Ready}).Draw(t, "phase"), Container: id}
	case 7:
		return state.Fail{ID: id, Reason: "drawn"}
	case 8:
		return state.Drain{ID: id, Why: "drawn"}
	default:
		return state.Gone{ID: id}
	}
}

func TestWhateverIsAppliedTheStateStaysSound(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := founded(t)
		var entries [][]byte
		first := l.Cluster
		for range rapid.IntRange(1, 40).Draw(rt, "entries") {
			before, beforeBytes := l.Cluster, bytesOf(t, l.Cluster)
			p := state.Proposal{At: l.now.Add(time.Second), Commands: []state.Command{anyCommand(rt, l.Cluster), anyCommand(rt, l.Cluster)}}
			entry, err := state.Encode(p)
			if err != nil {
				rt.Fatal(err)
			}
			entries = append(entries, entry)
			l.apply(p.Commands...)
			if !bytes.Equal(beforeBytes, bytesOf(t, before)) {
				rt.Fatal("applying changed a snapshot that a reader may hold")
			}
			sound(rt, l.Cluster)
		}
		// Another host that reads the same log from its disk.
		other := first
		for n, entry := range entries {
			p, err := state.Decode(entry)
			if err != nil {
				rt.Fatal(err)
			}
			other, _ = state.Apply(other, uint64(n)+3, p)
		}
		got, want := bytesOf(t, other), bytesOf(t, l.Cluster)
		if !bytes.Equal(got, want) {
			rt.Fatalf("two hosts differ:\n%s", cmp.Diff(string(want), string(got)))
		}
		restored, err := state.Read(bytes.NewReader(want))
		if err != nil {
			rt.Fatal(err)
		}
		if !bytes.Equal(bytesOf(t, restored), want) {
			rt.Fatal("a restored snapshot is not what was written")
		}
	})
}

func sound(t *rapid.T, c state.Cluster) {
	names := map[string]bool{}
	stateful := 0
	for id, i := range c.Instances.All() {
		if id != i.ID || names[i.Name] {
			t.Fatalf("instance %s (%s) stands twice", id, i.Name)
		}
		names[i.Name] = true
		if i.Service == "db" {
			stateful++
			if home, _ := c.Homes.Get("db"); home.Host != i.Host {
				t.Fatalf("%s is on %s, its data on %q", i.Name, i.Host, home.Host)
			}
		}
		if _, known := c.Hosts.Get(i.Host); !known {
			t.Fatalf("%s is on %s, which is not part of the cluster", i.Name, i.Host)
		}
	}
	if stateful > 1 {
		t.Fatalf("%d instances own the same data", stateful)
	}
	if s, ok := c.Scales.Get("web"); ok && (s.Desired < 2 || s.Desired > 8) {
		t.Fatalf("web is wanted %d times, bounds are 2 and 8", s.Desired)
	}
}
