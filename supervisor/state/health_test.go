package state_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/supervisord/supervisord/supervisor/state"
)

func TestSickInstancesAreGivenUpOneAtATime(t *testing.T) {
	l := founded(t)
	l.apply(place("web", 1), place("web", 2))
	one, two := fmt.Sprintf("web-1.%d", l.index), fmt.Sprintf("web-2.%d", l.index)
	ready := func(id string) {
		t.Helper()
		if err := l.apply(state.Observe{ID: id, Phase: state.Ready, Container: id})[0]; err != nil {
			t.Fatal(err)
		}
	}
	refused := func(why string) {
		t.Helper()
		if err := l.apply(state.Fail{ID: two, Reason: "no answer", Sick: true})[0]; !errors.Is(err, state.ErrRefused) {
			t.Fatalf("%s, and the second was given up too: %v", why, err)
		}
	}
	ready(one)
	ready(two)
	if err := l.apply(state.Fail{ID: one, Reason: "no answer", Sick: true})[0]; err != nil {
		t.Fatal(err)
	}
	refused("the first has just been given up")
	l.apply(place("web", 3))
	third := fmt.Sprintf("web-3.%d", l.index)
	l.now = l.now.Add(time.Minute)
	refused("the one in its place has not started")
	ready(third)
	if err := l.apply(state.Fail{ID: two, Reason: "no answer", Sick: true})[0]; err != nil {
		t.Errorf("the first has been replaced: %v", err)
	}
}

func TestADrainThatWasPlannedForFewerIsRefused(t *testing.T) {
	l := founded(t)
	l.apply(state.Hold{Service: "web", Count: ptr(2)})
	l.apply(place("web", 1), place("web", 2))
	id := fmt.Sprintf("web-1.%d", l.index)
	l.apply(state.Hold{Service: "web", Count: ptr(3)})
	if err := l.apply(state.Drain{ID: id, Desired: 2})[0]; !errors.Is(err, state.ErrRefused) {
		t.Errorf("3 are wanted by now: %v", err)
	}
	if err := l.apply(state.Drain{ID: id, Desired: 3})[0]; err != nil {
		t.Error(err)
	}
}

func TestSicknessIsKnownUntilItIsOver(t *testing.T) {
	l := founded(t)
	l.apply(place("web", 1))
	id := fmt.Sprintf("web-1.%d", l.index)
	sick := func(why string) error { return l.apply(state.ReportHealth{ID: id, Sick: why})[0] }
	if err := sick("no answer"); !errors.Is(err, state.ErrRefused) {
		t.Errorf("it does not serve yet: %v", err)
	}
	l.apply(state.Observe{ID: id, Phase: state.Ready, Container: "k"})
	if err := sick("no answer"); err != nil {
		t.Fatal(err)
	}
	l.now = l.now.Add(time.Minute)
	events := l.LastEvent
	if err := sick("no answer at all"); err != nil || l.LastEvent != events {
		t.Errorf("it is known to be sick: %v, %d events more", err, l.LastEvent-events)
	}
	if i, _ := l.Instances.Get(id); i.Sick != "no answer" || l.now.Sub(i.SickSince) < time.Minute {
		t.Errorf("it is %q since %s", i.Sick, i.SickSince)
	}
	if err := sick(""); err != nil {
		t.Fatal(err)
	}
	if i, _ := l.Instances.Get(id); i.Sick != "" || !i.SickSince.IsZero() {
		t.Errorf("it is %q since %s", i.Sick, i.SickSince)
	}
	sick("no answer")
	l.apply(state.Drain{ID: id})
	if i, _ := l.Instances.Get(id); i.Sick != "" {
		t.Errorf("it leaves, and is still %q", i.Sick)
	}
}
