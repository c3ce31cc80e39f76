package plan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/supervisor/plan"
	"github.com/supervisord/supervisord/supervisor/state"
)

// release puts services in force as an operator's edit.
func (w *world) release(services ...state.Service) {
	w.t.Helper()
	s := state.Spec{Hash: fmt.Sprint(services), Services: map[string]state.Service{}}
	for _, service := range services {
		s.Services[service.Name] = service
	}
	w.must(state.SetSpec{Spec: s, Base: w.Spec.Revision, By: "a test"})
}

// healthy is a world whose revision 2, of the service, is healthy.
func healthy(t testing.TB, s state.Service) *world {
	t.Helper()
	w := newWorld(t)
	w.release(s)
	w.round()
	w.ready()
	w.now = w.now.Add(state.DefaultMonitor)
	w.wants(w.round(), "state.FinishRollout")
	return w
}

// failNew fails every instance of a definition that is on its way.
func (w *world) failNew(hash, reason string) {
	w.t.Helper()
	for id, i := range w.Instances.All() {
		if i.Revision == hash && i.Active() {
			w.must(state.Fail{ID: id, Reason: reason})
		}
	}
}

func (w *world) stands(revision uint64) (state.ReleaseState, string) {
	r, _ := w.Releases.Get(state.ReleaseKey(revision))
	return r.State, r.Why
}

func TestAReleaseIsHealthyWhenAllOfItHasServedAsLongAsIsWatched(t *testing.T) {
	w := healthy(t, web("v1", 3))
	next := web("v2", 3)
	next.Update.Monitor = 20 * time.Second
	w.release(next)
	for range 3 {
		w.round()
		w.ready()
		w.gone()
	}
	w.round()
	w.gone()
	if n := count(w.Cluster, state.Ready); n != 3 || w.Instances.Len() != 3 {
		t.Fatalf("%d are ready of %d", n, w.Instances.Len())
	}
	w.now = w.now.Add(20*time.Second - 1)
	w.wants(w.round())
	w.now = w.now.Add(1)
	w.wants(w.round(), "state.FinishRollout")
	if s, _ := w.stands(3); s != state.ReleaseHealthy || w.Rollout.Revision != 0 {
		t.Errorf("it is %s, the rollout %+v", s, w.Rollout)
	}
}

func TestAReleaseThatFailsIsTakenBackWithTheInstancesThatItReplaced(t *testing.T) {
	w := healthy(t, web("v1", 3))
	w.release(web("v2", 3))
	w.wants(w.round(), "place web-4 v2 on a")
	w.ready()
	w.wants(w.round(), "drain web-3 v1", "place web-5 v2 on a")
	w.failNew("v2", "exit 1")
	// One at a time: the two that are left of v1 stay, the third comes again.
	w.wants(w.round(), "state.RollBack", "place web-6 v1 on a")
	if s, why := w.stands(3); s != state.ReleaseFailed || !strings.Contains(why, "on a failed: exit 1") {
		t.Errorf("it is %s: %q", s, why)
	}
	if got := w.Spec.Services["web"].Hash; got != "v1" || w.Spec.Revision != 4 {
		t.Errorf("revision %d of %s is in force", w.Spec.Revision, got)
	}
	w.ready()
	w.gone()
	w.now = w.now.Add(state.DefaultMonitor)
	w.wants(w.round(), "state.FinishRollout")
	if s, _ := w.stands(4); s != state.ReleaseHealthy {
		t.Errorf("the way back is %s", s)
	}
}

func TestWhatIsDoneWhenAReleaseFails(t *testing.T) {
	for _, tc := range []struct {
		name   string
		update state.Update
		fail   func(*world)
		want   state.ReleaseState
	}{
		{"nothing failed", state.Update{}, func(*world) {}, state.ReleaseRolling},
		{"by default it is taken back", state.Update{}, func(w *world) { w.failNew("v2", "exit 1") }, state.ReleaseFailed},
		{"pause", state.Update{OnFailure: state.OnFailurePause}, func(w *world) { w.failNew("v2", "exit 1") }, state.ReleasePaused},
		{"continue", state.Update{OnFailure: state.OnFailureContinue}, func(w *world) { w.failNew("v2", "exit 1") }, state.ReleaseRolling},
		{"as many as are borne", state.Update{Parallelism: 2, MaxFailureRatio: 0.5}, func(w *world) { w.failNew("v2", "exit 1") }, state.ReleaseRolling},
		{"one more than is borne", state.Update{Parallelism: 2, MaxFailureRatio: 0.25}, func(w *world) { w.failNew("v2", "exit 1") }, state.ReleaseFailed},
		{"an old one failed", state.Update{}, func(w *world) { w.must(state.Fail{ID: "web-1.4", Reason: "exit 1"}) }, state.ReleaseRolling},
		{"the host was at fault", state.Update{}, func(w *world) {
			for id, i := range w.Instances.All() {
				if i.Revision == "v2" {
					w.must(state.Fail{ID: id, Reason: "the engine is away", Blameless: true})
				}
			}
		}, state.ReleaseRolling},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := healthy(t, web("v1", 4))
			next := web("v2", 4)
			next.Update = tc.update
			w.release(next)
			w.round()
			tc.fail(w)
			w.round()
			w.round()
			if got, why := w.stands(3); got != tc.want {
				t.Errorf("the release is %s (%s), want %s", got, why, tc.want)
			}
			serve := 4
			if tc.name == "an old one failed" {
				serve = 3
			}
			if n := count(w.Cluster, state.Ready); n != serve {
				t.Errorf("%d of v1 serve, want %d", n, serve)
			}
		})
	}
}

func TestTheFirstReleaseHasNothingToGoBackTo(t *testing.T) {
	w := &world{t: t, Cluster: state.New(), now: epoch}
	w.must(state.Found{ID: "c1"}, state.RegisterHost{Name: "a", Address: "10.0.0.1", CPUs: 4, Memory: 8 << 30, Format: state.Format})
	w.release(web("v1", 2))
	w.round()
	w.failNew("v1", "no such file")
	w.round()
	if s, why := w.stands(w.Spec.Revision); s != state.ReleasePaused || !strings.Contains(why, "no such file; there is no healthy revision to go back to") {
		t.Errorf("it is %s: %q", s, why)
	}
	// What it needed comes, and it is well after all.
	for range 4 {
		w.now = w.now.Add(time.Minute)
		w.gone()
		w.round()
		w.ready()
	}
	if s, _ := w.stands(w.Spec.Revision); s != state.ReleaseHealthy {
		t.Errorf("all of it serves, and it is %s", s)
	}
}

// TestThereIsNoWayBackFromTheWayBack: it goes on, whatever fails on it.
func TestThereIsNoWayBackFromTheWayBack(t *testing.T) {
	w := healthy(t, web("v1", 1))
	w.release(web("v2", 1))
	w.round()
	w.failNew("v2", "exit 1")
	w.round()
	w.failNew("v1", "exit 1")
	w.now = w.now.Add(time.Hour)
	w.round()
	if s, _ := w.stands(4); s != state.ReleaseRolling || w.Spec.Revision != 4 {
		t.Errorf("it is %s, revision %d is in force", s, w.Spec.Revision)
	}
	// The next release can go back to what the way back brought.
	w.release(web("v3", 1))
	if w.Rollout.Good != 2 {
		t.Errorf("revision %d would be gone back to", w.Rollout.Good)
	}
}

// TestAReleaseBeforeTheLastOneWasDoneGoesBackToWhatWasHealthy: what came in
// between was never found healthy.
func TestAReleaseBeforeTheLastOneWasDoneGoesBackToWhatWasHealthy(t *testing.T) {
	w := healthy(t, web("v1", 2))
	w.release(web("v2", 2))
	w.round()
	w.release(web("v3", 2))
	if s, _ := w.stands(3); s != state.ReleaseSuperseded {
		t.Errorf("the one before is %s", s)
	}
	w.round()
	w.failNew("v3", "exit 1")
	w.round()
	if got := w.Spec.Services["web"].Hash; got != "v1" {
		t.Errorf("%s is in force again", got)
	}
}

// TestHowManyAreReplacedAtOnce follows rollouts of six instances step by step:
// how many of the old and new serve, and how many are on their way.
func TestHowManyAreReplacedAtOnce(t *testing.T) {
	for _, tc := range []struct {
		name   string
		update state.Update
		pause  time.Duration
		// least serve at any time, most are there at once, in so many rounds.
		least, most, rounds int
	}{
		{"one at a time", state.Update{}, 0, 6, 7, 6},
		{"three at a time", state.Update{Parallelism: 3}, 0, 6, 9, 2},
		{"more than there are", state.Update{Parallelism: 20}, 0, 6, 12, 1},
		{"stop first", state.Update{StopFirst: true}, 0, 5, 6, 6},
		{"stop two first", state.Update{StopFirst: true, Parallelism: 2}, 0, 4, 6, 3},
		{"with a pause", state.Update{Delay: 10 * time.Second}, 10 * time.Second, 6, 7, 6},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := healthy(t, web("v1", 6))
			next := web("v2", 6)
			next.Update = tc.update
			next.Update.Monitor = time.Hour
			w.release(next)
			least, most, batches := 6, 6, 0
			for range 40 {
				said := w.round()
				if slices.ContainsFunc(said, func(s string) bool { return strings.HasPrefix(s, "place") }) {
					batches++
				} else if tc.pause > 0 {
					w.now = w.now.Add(tc.pause)
				}
				least = min(least, count(w.Cluster, state.Ready))
				most = max(most, count(w.Cluster, state.Assigned, state.Starting, state.Ready))
				w.ready()
				w.gone()
			}
			if least != tc.least || most != tc.most || batches != tc.rounds {
				t.Errorf("%d served at the least, %d were there at the most, in %d batches; want %d, %d, %d", least, most, batches, tc.least, tc.most, tc.rounds)
			}
			for i := range w.Instances.Values() {
				if i.Revision != "v2" {
					t.Errorf("%s is still of %s", i.Name, i.Revision)
				}
			}
		})
	}
}

// TestAPausedReleaseReplacesNothing, and keeps what serves.
func TestAPausedReleaseReplacesNothing(t *testing.T) {
	db := state.Service{Name: "db", Hash: "d1", Replicas: 1, Stateful: true}
	w := newWorld(t)
	w.release(web("v1", 3), db)
	w.round()
	w.ready()
	w.now = w.now.Add(time.Minute)
	w.round()
	bad := web("v2", 3)
	bad.Update.OnFailure = state.OnFailurePause
	w.release(bad, db)
	w.round()
	w.failNew("v2", "exit 1")
	w.wants(w.round(), "state.PauseRollout")
	w.gone()
	for range 3 {
		w.now = w.now.Add(time.Hour)
		w.wants(w.round())
	}
	if n := count(w.Cluster, state.Ready); n != 4 {
		t.Errorf("%d serve, want 4", n)
	}
}

func TestARolloutNeedsRoomForTheFirstNewInstance(t *testing.T) {
	sized := func(hash string, gib int64) state.Service {
		s := web(hash, 3)
		s.Container.Resources.MemoryLimit = gib << 30
		return s
	}
	stopFirst := sized("v2", 4)
	stopFirst.Update.StopFirst = true
	idle := sized("v2", 64)
	idle.Name, idle.Replicas = "idle", 0
	other := sized("v1", 9)
	other.Name = "other"
	// Three of 2 GiB leave 2 of 8.
	w := healthy(t, sized("v1", 2))
	for _, tc := range []struct {
		name string
		next []state.Service
		want map[string]string
	}{
		{"unchanged", []state.Service{sized("v1", 2)}, map[string]string{}},
		{"it fits", []state.Service{sized("v2", 2)}, map[string]string{}},
		{"too large", []state.Service{sized("v2", 3)}, map[string]string{"web": "no host fits: a has 2048 MiB of memory free, 3072 MiB are needed"}},
		{"the old one makes room", []state.Service{stopFirst}, map[string]string{}},
		{"none are wanted", []state.Service{sized("v1", 2), idle}, map[string]string{}},
		{"a new one", []state.Service{sized("v1", 2), other}, map[string]string{"other": "no host fits: a has 2048 MiB of memory free, 9216 MiB are needed"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			next := state.Spec{Services: map[string]state.Service{}}
			for _, s := range tc.next {
				next.Services[s.Name] = s
			}
			if diff := cmp.Diff(tc.want, plan.Short(w.Cluster, next)); diff != "" {
				t.Errorf("short (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAServiceDoesNotShrinkWhileItIsReplaced, and does once it is, though the
// rest of the release takes longer.
func TestAServiceDoesNotShrinkWhileItIsReplaced(t *testing.T) {
	idle := func(hash string) state.Service {
		s := web(hash, 4)
		p := autoscale.Policy{Min: 1, Max: 4, CPU: autoscale.Band{Above: .7, Below: .3}}.WithDefaults()
		s.Autoscale = &p
		return s
	}
	w := healthy(t, idle("v1"))
	w.now = w.now.Add(time.Hour)
	decide := func() autoscale.Decision {
		t.Helper()
		var frames []autoscale.Frame
		for at := w.now.Add(-10 * time.Minute); !at.After(w.now); at = at.Add(time.Second) {
			samples := map[string]autoscale.Sample{}
			var members []autoscale.Member
			for id, i := range w.Instances.All() {
				if i.Phase == state.Ready {
					members = append(members, autoscale.Member{ID: id, ReadySince: epoch})
					samples[id] = autoscale.Sample{Instance: id, At: at, CPU: .01}
				}
			}
			frames = append(frames, autoscale.Gather(at, *w.Spec.Services["web"].Autoscale, members, samples))
		}
		v := plan.View{Now: w.now, Cluster: w.Cluster, Frames: func(string) []autoscale.Frame { return frames }}
		return plan.Round(v).Decisions["web"]
	}
	if d := decide(); d.To >= 4 {
		t.Fatalf("idle, it does not shrink: %s", d.Sentence("web"))
	}
	never := state.Service{Name: "never", Hash: "n", Replicas: 1, Placement: state.Placement{Constraints: []state.Constraint{{Value: "nowhere"}}}}
	w.release(idle("v2"), never)
	w.round()
	if d := decide(); d.To != 4 || d.Reason != autoscale.ReasonDeploying {
		t.Errorf("while it is replaced: %s", d.Sentence("web"))
	}
	for range 8 {
		w.ready()
		w.gone()
		w.round()
	}
	if w.Rollout.Revision == 0 {
		t.Fatal("the release is done, though one service has no place")
	}
	w.now = w.now.Add(time.Hour)
	if d := decide(); d.To >= 4 {
		t.Errorf("replaced, it does not shrink: %s", d.Sentence("web"))
	}
}
