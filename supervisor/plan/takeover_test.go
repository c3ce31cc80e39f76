package plan_test

import (
	"testing"
	"time"

	"github.com/supervisord/supervisord/supervisor/plan"
	"github.com/supervisord/supervisord/supervisor/state"
)

// surveyed is a world whose host says what docker compose runs on it.
func surveyed(t testing.TB, services ...state.Service) *world {
	w := &world{t: t, Cluster: state.New(), now: epoch}
	w.must(state.Found{ID: "c1"}, state.RegisterHost{Name: "a", Address: "10.0.0.1", CPUs: 4, Memory: 8 << 30, Surveys: true, Format: state.Format})
	w.spec(services...)
	// A spec of these tests has no project.
	s := w.Spec
	s.Project, s.Hash = "shop", "shop"
	w.must(state.SetSpec{Spec: s, Base: w.Spec.Revision})
	return w
}

func (w *world) sees(names ...string) {
	cmd := state.Survey{Host: "a", Project: "shop"}
	for _, name := range names {
		cmd.Foreign = append(cmd.Foreign, state.Foreign{Container: "c-" + name, Name: "shop_" + name + "_1", Service: name})
	}
	w.must(cmd)
}

func (w *world) adopts(names ...string) {
	cmd := state.Adopt{By: "root"}
	for _, name := range names {
		cmd.Containers = append(cmd.Containers, state.Adoptee{Service: name, Host: "a", Container: "c-" + name, Name: "shop_" + name + "_1"})
	}
	w.must(cmd)
}

var (
	webOf2 = state.Service{Name: "web", Hash: "w1", Replicas: 2}
	dbOf1  = state.Service{Name: "db", Hash: "d1", Replicas: 1, Stateful: true}
)

func TestNothingIsStartedBesideWhatDockerComposeRuns(t *testing.T) {
	w := surveyed(t, webOf2, dbOf1)
	const unknown = "waits until host a has looked what docker compose runs on it"
	w.wants(w.round(), "pending db: "+unknown, "pending web: "+unknown)
	w.sees("web")
	const waits = "pending web: docker compose runs it: shop_web_1 on a; take that over (supervisord adopt), or start beside it (supervisord adopt --ignore web)"
	w.wants(w.round(), "place db-1 d1 on a", waits)
	w.wants(w.round(), waits)
	w.must(state.IgnoreForeign{Services: []string{"web"}, By: "root"})
	w.wants(w.round(), "place web-1 w1 on a", "place web-2 w1 on a")
}

func TestItStartsWhenWhatDockerComposeRanIsGone(t *testing.T) {
	w := surveyed(t, webOf2)
	w.sees("web")
	w.round()
	w.sees()
	w.wants(w.round(), "place web-1 w1 on a", "place web-2 w1 on a")
}

// A host that is lost, or whose daemon is older, keeps nobody waiting.
func TestOnlyAHostThatWillLookIsWaitedFor(t *testing.T) {
	w := surveyed(t, webOf2)
	w.sees()
	w.must(state.RegisterHost{Name: "b", Address: "10.0.0.2", CPUs: 1, Memory: 1 << 30, Format: state.Format},
		state.RegisterHost{Name: "c", Address: "10.0.0.3", CPUs: 1, Memory: 1 << 30, Surveys: true, Format: state.Format}, state.LoseHost{Name: "c"})
	w.wants(w.round(), "place web-1 w1 on a", "place web-2 w1 on b")
}

func TestWhatIsAdoptedStaysUntilItIsFinished(t *testing.T) {
	w := surveyed(t, webOf2, dbOf1)
	w.sees("web", "db")
	w.adopts("web", "db")
	// One of the two that the file wants is there.
	w.wants(w.round(), "place web-2 w1 on a")
	// Not even another host makes it move.
	w.must(state.RegisterHost{Name: "b", Address: "10.0.0.2", CPUs: 9, Memory: 9 << 30, Format: state.Format})
	w.ready()
	w.now = w.now.Add(time.Minute)
	w.wants(w.round())
	w.must(state.FinishAdoption{By: "root"})
	// The data is never on two, and of the rest the new one is first.
	w.wants(w.round(), "drain db-1 adopted", "place web-3 w1 on b", "pending db: waits until the instance before it is gone")
	w.ready()
	w.wants(w.round(), "drain web-1 adopted", "pending db: waits until the instance before it is gone")
	w.gone()
	w.wants(w.round(), "place db-1 d1 on a")
	w.ready()
	w.wants(w.round())
}

// An edit in the moment before it is ready must not stop what serves.
func TestAnEditDoesNotStopWhatHasJustBeenAdopted(t *testing.T) {
	w := surveyed(t, state.Service{Name: "web", Hash: "w1", Replicas: 1})
	w.sees("web")
	w.adopts("web")
	s := w.Spec
	s.Hash, s.Services = "2", map[string]state.Service{"web": {Name: "web", Hash: "w2", Replicas: 1}}
	w.must(state.SetSpec{Spec: s, Base: w.Spec.Revision})
	w.wants(w.round(), "place web-2 w2 on a")
}

func TestShrinkingTakesOurOwnFirst(t *testing.T) {
	w := surveyed(t, webOf2)
	w.sees("web")
	w.adopts("web")
	w.round()
	w.ready()
	one := 1
	w.must(state.Hold{Service: "web", Count: &one})
	w.wants(w.round(), "drain web-2 w1")
}

func TestNothingIsStartedOfWhatWasGivenBack(t *testing.T) {
	w := surveyed(t, webOf2)
	w.sees("web")
	w.adopts("web")
	w.round()
	w.ready()
	w.must(state.ReturnAdopted{By: "root"})
	w.gone()
	r := plan.Round(plan.View{Now: w.now, Cluster: w.Cluster})
	if len(r.Steps) > 0 || r.Pending["web"] == "" {
		t.Errorf("%v, pending %v", r.Steps, r.Pending)
	}
}
