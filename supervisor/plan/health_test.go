package plan_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/supervisord/supervisord/supervisor/state"
)

// serving is a world in which n instances of web are ready.
func serving(t testing.TB, s state.Service) *world {
	w := newWorld(t, s)
	w.round()
	w.ready()
	w.now = w.now.Add(time.Minute)
	return w
}

// sicken makes instances sick by their names.
func (w *world) sicken(names ...string) {
	w.t.Helper()
	for _, name := range names {
		for i := range w.Instances.Values() {
			if i.Name == name && i.Phase == state.Ready {
				w.must(state.ReportHealth{ID: i.ID, Sick: "no answer"})
			}
		}
	}
}

// recover makes all that is sick well again.
func (w *world) recover() {
	w.t.Helper()
	for id, i := range w.Instances.All() {
		if i.Sick != "" {
			w.must(state.ReportHealth{ID: id})
		}
	}
}

// last is the message of the newest event of a kind.
func (w *world) last(kind state.EventKind) string {
	message := ""
	for e := range w.Events.Values() {
		if e.Kind == kind {
			message = e.Message
		}
	}
	return message
}

func TestOneSickInstanceAmongOthersIsReplacedAtOnce(t *testing.T) {
	w := serving(t, web("v1", 3))
	w.sicken("web-2")
	w.wants(w.round(), "state.Fail", "place web-4 v1 on a")
	if w.last(state.EventCheckSuspected) != "" {
		t.Error("one sick instance is no reason to suspect the check")
	}
}

func TestTheNextSickInstanceGoesWhenTheOneBeforeIsReplaced(t *testing.T) {
	w := serving(t, web("v1", 5))
	w.sicken("web-1", "web-2")
	w.wants(w.round(), "state.Fail", "place web-6 v1 on a")
	w.wants(w.round())
	w.ready()
	w.now = w.now.Add(time.Minute)
	w.wants(w.round(), "state.Fail", "place web-7 v1 on a")
}

func TestWhenMostAreSickTheyGoOnServingUntilNewOnesDo(t *testing.T) {
	w := serving(t, web("v1", 3))
	w.sicken("web-1", "web-2", "web-3")
	w.wants(w.round(), "state.Suspect", "place web-4 v1 on a")
	want := "3 of 3 instances of web are sick at once; its health check, or something that they share, is suspected: they go on serving, and each is replaced only by one that is well (web-1: no answer)"
	if got := w.last(state.EventCheckSuspected); got != want {
		t.Errorf("it says %q", got)
	}
	w.wants(w.round())
	w.ready()
	w.wants(w.round(), "drain web-3 v1", "place web-5 v1 on a")
	w.ready()
	// Half of them are well by now: what is still sick is sick by itself.
	w.wants(w.round(), "state.Suspect", "state.Fail")
	if got := w.last(state.EventCheckTrusted); got != "the health check of web is trusted again after 0s" {
		t.Errorf("it says %q", got)
	}
}

func TestTheOnlyInstanceServesUntilTheNewOneDoes(t *testing.T) {
	w := serving(t, web("v1", 1))
	w.sicken("web-1")
	w.wants(w.round(), "place web-2 v1 on a")
	w.must(state.Fail{ID: "web-2." + fmt.Sprint(w.Index), Reason: "not ready"})
	w.gone()
	w.wants(w.round(), "place web-2 v1 on a")
	w.ready()
	// Beside a well one it is just one that is sick.
	w.wants(w.round(), "drain web-1 v1")
}

func TestWhatIsWellAgainStays(t *testing.T) {
	w := serving(t, web("v1", 1))
	w.sicken("web-1")
	w.round()
	w.recover()
	w.wants(w.round(), "drain web-2 v1")
}

func TestASickInstanceThatOwnsDataIsStoppedFirst(t *testing.T) {
	s := web("v1", 1)
	s.Stateful = true
	w := serving(t, s)
	w.sicken("web-1")
	w.wants(w.round(), "state.Fail", "pending web: waits until the instance before it is gone")
}

func TestAReleaseOfWhichAllAreSickIsTakenBack(t *testing.T) {
	w := healthy(t, web("v1", 2))
	w.release(web("v2", 2))
	for range 2 {
		w.round()
		w.ready()
	}
	w.round()
	w.gone()
	w.now = w.now.Add(time.Minute)
	// Nothing is older any more, and the release is still being watched.
	w.sicken("web-2", "web-3", "web-1")
	said := strings.Join(w.round(), "; ")
	if !strings.Contains(said, "state.Fail") {
		t.Fatalf("the sick instances of a release are not given up: %s", said)
	}
	w.wants(w.round()[:1], "state.RollBack")
}

// Whatever is sick, and however often: a service is never taken below half of
// what it should have by its health checks.
func TestHealthChecksAloneNeverTakeMoreThanHalf(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := rapid.IntRange(2, 9).Draw(rt, "instances")
		w := serving(t, web("v1", want))
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			for id, i := range w.Instances.All() {
				if i.Phase != state.Ready {
					continue
				}
				switch rapid.IntRange(0, 3).Draw(rt, "health of "+i.Name) {
				case 0:
					w.must(state.ReportHealth{ID: id, Sick: "no answer"})
				case 1:
					w.must(state.ReportHealth{ID: id})
				}
			}
			w.round()
			routed := 0
			for i := range w.Of("web") {
				if i.Phase == state.Ready {
					routed++
				}
			}
			if 2*routed < want-1 {
				rt.Fatalf("only %d of %d serve", routed, want)
			}
			if rapid.Bool().Draw(rt, "new ones start") {
				w.ready()
			}
			w.gone()
			w.now = w.now.Add(time.Duration(rapid.IntRange(0, 90).Draw(rt, "seconds")) * time.Second)
		}
	})
}
