package state_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/supervisord/supervisord/supervisor/state"
)

func host(name string) state.RegisterHost {
	return state.RegisterHost{Name: name, Server: "s-" + name, Peer: name + ":7946", Address: name, CPUs: 2, Memory: 4 << 30}
}

// joined is a cluster of the hosts a, b and c with the spec in force, an
// authority and a token: indices 1 to 4.
func joined(t testing.TB) *log {
	t.Helper()
	l := founded(t)
	for _, errs := range [][]error{
		l.apply(
			state.RegisterHost{Name: "a", Server: "s-a", Peer: "a:7946", Address: "a", CPUs: 2, Memory: 4 << 30},
			state.OpenCluster{Authority: state.Authority{Cert: "cert", Key: "key"}},
			state.AddToken{ID: "t1", Hash: "h", Expires: epoch.Add(time.Hour)}),
		l.apply(host("b"), host("c")),
	} {
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func (l *log) must(t testing.TB, cmds ...state.Command) {
	t.Helper()
	if err := errors.Join(l.apply(cmds...)...); err != nil {
		t.Fatal(err)
	}
}

// on places an instance of a service on a host; it is ready.
func (l *log) on(t testing.TB, host, service string, slot int) (id string) {
	t.Helper()
	l.must(t, state.Place{Service: service, Slot: slot, Host: host, Revision: l.Spec.Services[service].Hash})
	id = fmt.Sprintf("%s-%d.%d", service, slot, l.index)
	l.must(t, state.Observe{ID: id, Phase: state.Ready, Container: id})
	return id
}

func TestCommandsOfHostsThatDoNotFitAreRefused(t *testing.T) {
	for _, tc := range []struct {
		name  string
		first []state.Command
		cmd   state.Command
		want  string
	}{
		{"another machine under a name that is taken", nil,
			state.RegisterHost{Name: "b", Server: "s-x"}, `there is a host "b" already`},
		{"a known machine under another name", nil,
			state.RegisterHost{Name: "x", Server: "s-b"}, `known as host "b"`},
		{"a machine that was removed", []state.Command{state.RemoveHost{Name: "c"}},
			state.RegisterHost{Name: "c", Server: "s-c"}, "s-c was removed"},
		{"lose a stranger", nil, state.LoseHost{Name: "x"}, `"x" is not part`},
		{"lose one twice", []state.Command{state.LoseHost{Name: "b"}}, state.LoseHost{Name: "b"}, "lost already"},
		{"find a stranger", nil, state.FindHost{Name: "x"}, `"x" is not part`},
		{"find one that is there", nil, state.FindHost{Name: "b"}, "is not lost"},
		{"drain a stranger", nil, state.DrainHost{Name: "x"}, `"x" is not part`},
		{"remove a stranger", nil, state.RemoveHost{Name: "x"}, `"x" is not part`},
		{"remove one that runs something", []state.Command{place("web", 1)}, state.RemoveHost{Name: "a"}, "1 instances; drain it first"},
		{"remove the only one", []state.Command{state.RemoveHost{Name: "b"}, state.RemoveHost{Name: "c"}},
			state.RemoveHost{Name: "a", Force: true}, "the only one"},
		{"remove one that holds data", []state.Command{place("db", 1)},
			state.RemoveHost{Name: "a", Force: true}, "holds the data of db"},
		{"a second authority", nil, state.OpenCluster{Authority: state.Authority{Cert: "c", Key: "k"}}, "has its authority already"},
		{"half an authority", nil, state.OpenCluster{Authority: state.Authority{Cert: "c"}}, "a certificate and a key"},
		{"a token without a secret", nil, state.AddToken{ID: "t", Expires: epoch.Add(time.Hour)}, "an id and a hash"},
		{"a token of the past", nil, state.AddToken{ID: "t", Hash: "h", Expires: epoch}, "would have expired"},
		{"revoke what is not there", nil, state.RevokeToken{ID: "t"}, `no token "t"`},
		{"come with a token that is not there", nil, state.Admit{Token: "t", Server: "s-x", Host: "x"}, "not in force"},
		{"come with one that was revoked", []state.Command{state.RevokeToken{ID: "t1"}},
			state.Admit{Token: "t1", Server: "s-x", Host: "x"}, "not in force"},
		{"come under a name that is taken", nil, state.Admit{Token: "t1", Server: "s-x", Host: "b"}, `there is a host "b" already`},
		{"come again after removal", []state.Command{state.RemoveHost{Name: "c"}},
			state.Admit{Token: "t1", Server: "s-c", Host: "c"}, "s-c was removed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := joined(t)
			if len(tc.first) > 0 {
				l.must(t, tc.first...)
			}
			err := l.apply(tc.cmd)[0]
			if !errors.Is(err, state.ErrRefused) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want a refusal with %q", err, tc.want)
			}
		})
	}
}

// TestATokenIsGoodUntilItExpires, and is forgotten when the next one is made.
func TestATokenIsGoodUntilItExpires(t *testing.T) {
	l := joined(t)
	admit := state.Admit{Token: "t1", Server: "s-d", Host: "d"}
	l.must(t, admit)
	l.now = epoch.Add(time.Hour)
	if err := l.apply(admit)[0]; !errors.Is(err, state.ErrRefused) {
		t.Errorf("an hour later: %v", err)
	}
	l.must(t, state.AddToken{ID: "t2", Hash: "h", Expires: l.now.Add(time.Hour)})
	if _, ok := l.Tokens.Get("t1"); ok || l.Tokens.Len() != 1 {
		t.Errorf("%d tokens, t1 among them: %v", l.Tokens.Len(), ok)
	}
}

// TestALostHostsInstancesHaveFailedButThoseWithData: they may still run there,
// and there must never be two.
func TestALostHostsInstancesHaveFailedButThoseWithData(t *testing.T) {
	l := joined(t)
	web, db := l.on(t, "b", "web", 1), l.on(t, "b", "db", 1)
	elsewhere := l.on(t, "c", "web", 2)
	l.must(t, state.LoseHost{Name: "b", Why: "silent for 10s"})
	want := map[string]state.Phase{web: state.Failed, db: state.Ready, elsewhere: state.Ready}
	got := map[string]state.Phase{}
	for id, i := range l.Instances.All() {
		got[id] = i.Phase
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("phases (-want +got):\n%s", diff)
	}
	if _, failing := l.Failures.Get("web"); failing {
		t.Error("that a host is lost is no failure of what ran on it: nothing backs off")
	}
	events := l.EventsAfter(l.LastEvent - 1)
	if m := events[len(events)-1].Message; !strings.Contains(m, "silent for 10s") || !strings.Contains(m, "db-1 cannot be") {
		t.Errorf("the event says %q", m)
	}
	l.must(t, state.FindHost{Name: "b"})
	if h, _ := l.Hosts.Get("b"); h.IsLost() {
		t.Error("it is back and still counts as lost")
	}
}

// TestARemovedHostTakesAllThatWasOnItAlong, and its server never comes back.
func TestARemovedHostTakesAllThatWasOnItAlong(t *testing.T) {
	l := joined(t)
	l.on(t, "b", "web", 1)
	l.on(t, "b", "db", 1)
	l.must(t, state.RemoveHost{Name: "b", Force: true, AbandonData: true})
	if n := l.Instances.Len(); n != 0 {
		t.Errorf("%d instances are left", n)
	}
	if _, home := l.Homes.Get("db"); home {
		t.Error("db's data is given up, and it still has its home there")
	}
	if d, ok := l.Denied.Get("s-b"); !ok || d.Host != "b" {
		t.Errorf("denied %+v", d)
	}
	// A new machine may have the name.
	l.must(t, state.RegisterHost{Name: "b", Server: "s-b2"})
}

func TestTheAuthoritysKeyIsInNoText(t *testing.T) {
	cmd := state.OpenCluster{Authority: state.Authority{Cert: "cert", Key: "hunter2"}}
	l := founded(t)
	l.must(t, cmd)
	for _, verb := range []string{"%v", "%+v", "%s", "%#v", "%q"} {
		for _, x := range []any{cmd, l.Cluster, l.Authority} {
			if text := fmt.Sprintf(verb, x); strings.Contains(text, "hunter2") {
				t.Errorf("%s of a %T has it", verb, x)
			}
		}
	}
}
