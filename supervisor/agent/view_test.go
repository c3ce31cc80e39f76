package agent

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// at is a moment after the epoch.
func at(ms int) time.Time { return epoch.Add(time.Duration(ms) * time.Millisecond) }

func up(id string) Container {
	return Container{ID: id, Instance: "web-1.4", Running: true, PID: 7}
}

// listed is a container as lists have it: without its process.
func listed(id string) Container {
	c := up(id)
	c.PID = 0
	return c
}

// died is a container as the view has it after its end.
func died(id string, code, ms int, oom bool) Container {
	return Container{ID: id, Instance: "web-1.4", ExitCode: code, EndedAt: at(ms), OOMKilled: oom}
}

func TestViewOfOneContainer(t *testing.T) {
	event := func(kind EventKind, ms int) Event {
		return Event{Kind: kind, At: at(ms), Container: "k", Instance: "web-1.4"}
	}
	dies := func(ms, code int) Event {
		e := event(Died, ms)
		e.ExitCode = code
		return e
	}
	put := func(c Container, ms int) func(*view) { return func(v *view) { v.put(c, at(ms)) } }
	happens := func(e Event) func(*view) { return func(v *view) { v.event(e, e.At) } }
	list := func(ms int, all ...Container) func(*view) {
		return func(v *view) { v.list(all, at(ms), at(ms+5)) }
	}

	for _, tc := range []struct {
		name string
		news []func(*view)
		want []Container
	}{
		{"a list", []func(*view){list(0, listed("k"))}, []Container{listed("k")}},
		{"a list keeps the process that is known", []func(*view){put(up("k"), 0), list(100, listed("k"))}, []Container{up("k")}},
		{"a death", []func(*view){list(0, up("k")), happens(dies(100, 3))}, []Container{died("k", 3, 100, false)}},
		{"a death beats a stale list", []func(*view){put(up("k"), 0), happens(dies(100, 3)), list(150, listed("k"))}, []Container{died("k", 3, 100, false)}},
		{"a death beats a stale list long after", []func(*view){put(up("k"), 0), happens(dies(100, 3)), list(60_000, listed("k"))}, []Container{died("k", 3, 100, false)}},
		{"a death before the launch returned", []func(*view){happens(dies(100, 3)), put(up("k"), 120)}, []Container{died("k", 3, 100, false)}},
		{"a death of what only a later list knows", []func(*view){happens(dies(100, 3)), list(110, listed("k"))}, []Container{died("k", 3, 100, false)}},
		{"a death told twice", []func(*view){put(up("k"), 0), happens(dies(100, 3)), happens(dies(100, 3))}, []Container{died("k", 3, 100, false)}},
		{"out of memory, then dead", []func(*view){put(up("k"), 0), happens(event(OOM, 99)), happens(dies(100, 137))}, []Container{died("k", 137, 100, true)}},
		{"out of memory before the launch returned", []func(*view){happens(event(OOM, 99)), happens(dies(100, 137)), put(up("k"), 120)}, []Container{died("k", 137, 100, true)}},
		{"out of memory and alive", []func(*view){put(up("k"), 0), happens(event(OOM, 99))}, []Container{up("k")}},
		{"a death whose event was lost", []func(*view){put(up("k"), 0), list(30_000, died("k", 1, 20_000, false))}, []Container{died("k", 1, 20_000, false)}},
		{"started again by hand", []func(*view){put(up("k"), 0), happens(event(OOM, 99)), happens(dies(100, 137)), happens(event(Started, 200))},
			[]Container{{ID: "k", Instance: "web-1.4", Running: true, ExitCode: 137, OOMKilled: true, EndedAt: at(100)}}},
		{"health changed", []func(*view){put(up("k"), 0), happens(Event{Kind: HealthChanged, At: at(100), Container: "k", Health: HealthUnhealthy})},
			[]Container{{ID: "k", Instance: "web-1.4", Running: true, PID: 7, Health: HealthUnhealthy}}},
		{"health of what is not known", []func(*view){happens(Event{Kind: HealthChanged, At: at(100), Container: "k", Health: HealthUnhealthy}), list(200)}, nil},
		{"removed", []func(*view){put(up("k"), 0), happens(event(Removed, 100))}, nil},
		{"removed, and a stale list still has it", []func(*view){put(up("k"), 0), happens(event(Removed, 100)), list(150, listed("k"))}, nil},
		{"a list made before the launch returned lacks it", []func(*view){list(0), put(up("k"), 100), list(101)}, []Container{up("k")}},
		{"a list made while it was only created does not end it", []func(*view){
			func(v *view) {
				v.put(up("k"), at(103))
				v.list([]Container{{ID: "k", Instance: "web-1.4"}}, at(100), at(105))
			}}, []Container{up("k")}},
		{"a list made before the death was told does not revive it", []func(*view){
			put(up("k"), 0), func(v *view) { v.event(dies(103, 1), at(103)); v.list([]Container{listed("k")}, at(100), at(105)) }}, []Container{died("k", 1, 103, false)}},
		{"gone from the lists for long", []func(*view){put(up("k"), 0), list(60_000)}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := newView()
			for _, n := range tc.news {
				n(v)
			}
			l, _ := v.local("a", at(0))
			if diff := cmp.Diff(tc.want, l.Containers); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestViewKnowsNothingBeforeTheFirstList(t *testing.T) {
	v := newView()
	v.put(up("k"), at(0))
	v.event(Event{Kind: Started, Container: "k"}, at(1))
	if _, synced := v.local("a", at(1)); synced {
		t.Error("it claims to know what runs before any list")
	}
	v.list(nil, at(2), at(3))
	if _, synced := v.local("a", at(3)); !synced {
		t.Error("it knows nothing after a list")
	}
}

func TestViewSaysWhenAListIsDue(t *testing.T) {
	v := newView()
	if !v.listDue(at(0)) {
		t.Error("none is due before the first")
	}
	if v.listDue(at(1)) || !v.listDue(at(0).Add(retryAfter)) {
		t.Error("one that came to nothing is due again after the pause, and not before")
	}
	v.list(nil, at(2000), at(2000))
	if v.listDue(at(1999).Add(relistEvery)) || !v.listDue(at(2000).Add(relistEvery)) {
		t.Error("after a list the next is due after the usual time")
	}
	v.list(nil, at(2000), at(2000))
	v.listBy(at(3000))
	v.listBy(at(9000))
	if v.listDue(at(2999)) || !v.listDue(at(3000)) {
		t.Error("it is due when it was asked for")
	}
}

func TestViewForgetsWhatIsLongGone(t *testing.T) {
	v := newView()
	v.event(Event{Kind: OOM, At: at(0), Container: "k"}, at(0))
	v.event(Event{Kind: Died, At: at(0), Container: "k"}, at(0))
	v.remove("k", at(0))
	v.list(nil, epoch.Add(2*time.Hour), epoch.Add(2*time.Hour))
	if n := len(v.ends) + len(v.ooms) + len(v.removed); n != 0 {
		t.Errorf("%d notes on a container that is gone for two hours", n)
	}
}

func TestViewMarksTheSick(t *testing.T) {
	v := newView()
	if !v.mark("web-1.4", "no answer") || v.mark("web-1.4", "no answer") {
		t.Error("want a change the first time only")
	}
	if l, _ := v.local("a", at(0)); l.Sick["web-1.4"] != "no answer" {
		t.Errorf("sick: %v", l.Sick)
	}
	if !v.mark("web-1.4", "") || v.mark("web-1.4", "") {
		t.Error("want a change when it is well again")
	}
	if l, _ := v.local("a", at(0)); len(l.Sick) != 0 || !l.Well["web-1.4"] {
		t.Errorf("sick %v, well %v", l.Sick, l.Well)
	}
	v.unmark("web-1.4")
	if l, _ := v.local("a", at(0)); len(l.Sick) != 0 || len(l.Well) != 0 {
		t.Errorf("it is gone: sick %v, well %v", l.Sick, l.Well)
	}
}
