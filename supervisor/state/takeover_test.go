package state_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/supervisord/supervisord/supervisor/state"
)

var (
	web1 = state.Foreign{Container: "c-web1", Name: "shop_web_1", Service: "web"}
	web2 = state.Foreign{Container: "c-web2", Name: "shop_web_2", Service: "web"}
	db1  = state.Foreign{Container: "c-db1", Name: "shop_db_1", Service: "db"}
	old1 = state.Foreign{Container: "c-old1", Name: "shop_old_1", Service: "old"}
)

func survey(found ...state.Foreign) state.Survey {
	return state.Survey{Host: "a", Project: "shop", Foreign: found}
}

func adopt(all ...state.Foreign) state.Adopt {
	cmd := state.Adopt{By: "root"}
	for _, f := range all {
		cmd.Containers = append(cmd.Containers, state.Adoptee{Service: f.Service, Host: "a", Container: f.Container, Name: f.Name,
			Restart: "unless-stopped", Address: "10.0.0.1:80"})
	}
	return cmd
}

// refused wants a command to be refused for a reason.
func (l *log) refused(t testing.TB, why string, cmd state.Command) {
	t.Helper()
	before := bytesOf(t, l.Cluster)
	errs := l.apply(cmd)
	if !errors.Is(errs[0], state.ErrRefused) || !strings.Contains(errs[0].Error(), why) {
		t.Errorf("%T: got %v, want a refusal with %q", cmd, errs[0], why)
	}
	l.Time, l.Index = l.now, l.index
	var was state.Cluster
	was, err := state.Read(bytes.NewReader(before))
	if err != nil {
		t.Fatal(err)
	}
	was.Time, was.Index = l.Time, l.Index
	if diff := cmp.Diff(string(bytesOf(t, was)), string(bytesOf(t, l.Cluster))); diff != "" {
		t.Errorf("%T was refused and changed the state (-was +is):\n%s", cmd, diff)
	}
}

// stands are the takeovers as "service:state".
func (l *log) stands() string {
	var all []string
	for t := range l.Takeovers.Values() {
		all = append(all, t.Service+":"+string(t.State))
	}
	return strings.Join(all, " ")
}

func (l *log) want(t *testing.T, stands string) {
	t.Helper()
	if got := l.stands(); got != stands {
		t.Errorf("the takeovers stand at %q, want %q", got, stands)
	}
}

func TestWhatNeverRanHereWaitsForADecision(t *testing.T) {
	l := founded(t)
	l.must(t, survey(web1, web2, old1))
	l.want(t, "web:waiting")
	// A later look changes nothing of what runs already, or has been decided.
	l.must(t, survey(web1, db1))
	l.want(t, "web:waiting")
	l.must(t, survey(db1))
	l.want(t, "")

	// Of another project it is nothing to us.
	l = founded(t)
	l.must(t, state.Survey{Host: "a", Project: "blog", Foreign: []state.Foreign{web1}})
	l.want(t, "")

	// What runs here already does not stop for it.
	l = founded(t)
	l.must(t, place("web", 1), survey(web1, db1))
	l.want(t, "db:waiting")

	// A service that comes with an edit waits too, and one that goes does not.
	l.must(t, survey(web1, old1, db1))
	next := spec("2")
	next.Services["old"] = state.Service{Name: "old", Hash: "o", Replicas: 1}
	delete(next.Services, "db")
	l.must(t, state.SetSpec{Spec: next, Base: 1})
	l.want(t, "old:waiting")
	l.must(t, state.IgnoreForeign{By: "root"})
	l.want(t, "old:ignored")
	l.must(t, survey())
	l.want(t, "old:ignored")
	l.refused(t, "waits for a decision", state.IgnoreForeign{By: "root"})
}

func TestAnAdoptedContainerIsAnInstance(t *testing.T) {
	l := founded(t)
	l.must(t, survey(web1, web2, db1), adopt(web1, web2), adopt(db1))
	l.want(t, "db:adopted web:adopted")
	i, ok := l.Instances.Get("web-2.3")
	want := state.Instance{ID: "web-2.3", Name: "web-2", Service: "web", Slot: 2, Host: "a", Revision: "w-1", Phase: state.Assigned,
		PhaseAt: l.now, PhaseIndex: 3, PlacedAt: l.now, Container: "c-web2", Address: "10.0.0.1:80", Reason: "adopted by root",
		Adopted: state.Adoption{Name: "shop_web_2", Restart: "unless-stopped"}}
	if diff := cmp.Diff(want, i); !ok || diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if home, _ := l.Homes.Get("db"); home.Host != "a" {
		t.Errorf("the data of db is on %q", home.Host)
	}
	if _, left := l.ForeignOf("web"); len(left) > 0 {
		t.Errorf("%v is still a stranger's", left)
	}
	l.refused(t, "is instance web-1 already", adopt(web1))
}

func TestWhatWouldNotStayIsNotAdopted(t *testing.T) {
	many := func(n int, service string) (all []state.Foreign) {
		for range n {
			f := state.Foreign{Container: "c" + strings.Repeat("x", len(all)), Name: "n", Service: service}
			all = append(all, f)
		}
		return all
	}
	l := founded(t)
	l.refused(t, "nothing to adopt", adopt())
	l.refused(t, `no service "old"`, adopt(web1, old1))
	l.refused(t, "named twice", adopt(web1, web1))
	l.refused(t, "x-autoscale.max of web is 8, with what is adopted there would be 9", adopt(many(9, "web")...))
	l.refused(t, "deploy.replicas of worker is 2, with what is adopted there would be 3", adopt(many(3, "worker")...))
	l.refused(t, "db owns data", adopt(many(2, "db")...))
	elsewhere := adopt(db1)
	elsewhere.Containers[0].Host = "b"
	l.refused(t, `host "b" is not part`, elsewhere)
	l.must(t, host("b"), state.Place{Service: "db", Slot: 1, Host: "b", Revision: "d"})
	l.refused(t, "the data of db is on b", adopt(db1))
	three := 3
	l.must(t, state.Hold{Service: "web", Count: &three})
	l.refused(t, "held at 3", adopt(many(4, "web")...))
	// The load decides about what is more than the first count.
	l.must(t, state.Hold{Service: "web"}, adopt(many(5, "web")...))
	if scale, _ := l.Scales.Get("web"); scale.Desired != 5 {
		t.Errorf("%d of web are wanted, 5 were adopted", scale.Desired)
	}
	l.must(t, state.LoseHost{Name: "a"})
	l.refused(t, "host a is lost", adopt(web1))
}

func TestFinishingAndGivingBack(t *testing.T) {
	begun := func() *log {
		l := founded(t)
		l.must(t, survey(web1, web2), adopt(web1, web2))
		for _, i := range l.OnHost("a") {
			l.must(t, state.Observe{ID: i.ID, Phase: state.Ready, Container: i.Container, Address: i.Address})
		}
		return l
	}
	l := begun()
	l.refused(t, `no service "old"`, state.FinishAdoption{Services: []string{"old"}})
	l.refused(t, "no adopted instance", state.FinishAdoption{Services: []string{"db"}})
	l.must(t, state.FinishAdoption{By: "root"})
	l.want(t, "web:finishing")
	l.refused(t, "no adopted instance", state.FinishAdoption{})
	l.must(t, state.Drain{ID: "web-1.3"}, state.Gone{ID: "web-1.3"})
	l.refused(t, "shop_web_1 cannot be given back", state.ReturnAdopted{})
	l.must(t, state.Drain{ID: "web-2.3"}, state.Gone{ID: "web-2.3"})
	l.want(t, "")
	l.refused(t, "no adopted instance", state.ReturnAdopted{})

	// Back, with our own one staying.
	l = begun()
	l.must(t, place("web", 3))
	l.must(t, state.ReturnAdopted{By: "root"})
	l.want(t, "web:returned")
	for _, i := range l.OnHost("a") {
		if i.IsAdopted() != (i.Phase == state.Draining && i.Adopted.Return) {
			t.Errorf("%s is %s, %+v", i.Name, i.Phase, i.Adopted)
		}
		if i.IsAdopted() {
			l.must(t, state.Gone{ID: i.ID})
		}
	}
	// Only an operator's word ends that.
	l.must(t, survey())
	l.want(t, "web:returned")
	l.must(t, survey(web1, web2), state.ReturnAdopted{By: "root", Own: true})
	for _, i := range l.OnHost("a") {
		if i.Phase != state.Draining {
			t.Errorf("our own %s is %s", i.ID, i.Phase)
		}
	}
	l.refused(t, "no adopted instance", state.ReturnAdopted{By: "root", Own: true})
	l.must(t, adopt(web1, web2))
	l.want(t, "web:adopted")
	l.must(t, state.ReturnAdopted{By: "root", Own: true})
	for _, i := range l.OnHost("a") {
		if i.Active() {
			t.Errorf("%s is %s", i.Name, i.Phase)
		}
	}

	// One that has died is replaced, and is not there to be given back.
	l = begun()
	l.must(t, state.Fail{ID: "web-1.3", Reason: "exit 1"})
	l.refused(t, "shop_web_1 cannot be given back", state.ReturnAdopted{})
	l.must(t, state.ReturnAdopted{Partly: true, By: "root"})
	l.want(t, "web:returned")
	if i, _ := l.Instances.Get("web-1.3"); i.Adopted.Return {
		t.Error("what has died is given back")
	}
}

func TestWhatDoesNotBecomeReadyIsGivenBack(t *testing.T) {
	l := founded(t)
	l.must(t, survey(db1), adopt(db1))
	l.must(t, state.Fail{ID: "db-1.3", Reason: "not ready within 1m0s", Return: true})
	l.want(t, "db:returned")
	i, _ := l.Instances.Get("db-1.3")
	if i.Phase != state.Failed || !i.Adopted.Return || l.Failures.Len() > 0 {
		t.Errorf("it is %+v, with %d failures", i, l.Failures.Len())
	}
}

var writeTakeoverLog = flag.Bool("write-takeover-log", false, "write testdata/v1-takeover, which must never change again")

// TestWriteTheLogOfTakeovers makes the old log of the commands of takeovers.
func TestWriteTheLogOfTakeovers(t *testing.T) {
	if !*writeTakeoverLog {
		t.Skip("it is written once: -write-takeover-log")
	}
	var written bytes.Buffer
	l := &log{Cluster: state.New(), now: epoch}
	commit := func(cmds ...state.Command) {
		t.Helper()
		entry, err := state.Encode(state.Proposal{At: l.now.Add(time.Second), Commands: cmds})
		if err != nil {
			t.Fatal(err)
		}
		written.Write(append(entry, '\n'))
		l.must(t, cmds...)
	}
	surveying := host("b")
	surveying.Surveys = true
	commit(state.Found{ID: "c1"}, host("a"), surveying, state.SetSpec{Spec: spec("1"), Host: "a", By: "an edit on a"})
	commit(survey(web1, web2, db1, old1), state.Survey{Host: "b", Project: "shop"})
	commit(adopt(web1, web2), adopt(db1))
	commit(state.Observe{ID: "web-1.3", Phase: state.Ready, Container: "c-web1", Address: "10.0.0.1:80"},
		state.Fail{ID: "web-2.3", Reason: "not ready within 1m0s", Return: true})
	commit(state.Gone{ID: "web-2.3"})
	commit(state.FinishAdoption{Services: []string{"db"}, By: "root"})
	commit(state.Drain{ID: "db-1.3", Why: "one of our own takes its place"}, state.Gone{ID: "db-1.3"})
	commit(state.ReturnAdopted{Services: []string{"web"}, By: "root"})
	commit(state.IgnoreForeign{Services: []string{"web"}, By: "root"})
	commit(adopt(web2))
	if err := os.WriteFile("testdata/v1-takeover.log", written.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("testdata/v1-takeover.state.json", []byte(indented(t, bytesOf(t, l.Cluster))+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}
