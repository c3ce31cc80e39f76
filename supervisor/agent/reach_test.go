package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/supervisor/state"
)

var errSilent = errors.New("no answer")

// network says what can be reached.
type network struct {
	pings, dials map[string]error
	// dialled counts: addresses are dialled beside each other.
	dialled atomic.Int32
}

func (n *network) agent() *Agent {
	return New(Options{
		Ping:    func(_ context.Context, h state.Host) error { return n.pings[h.Name] },
		Dial:    func(_ context.Context, address string) error { n.dialled.Add(1); return n.dials[address] },
		Replica: fixed{state.Cluster{}.Hosts},
	})
}

type fixed struct{ hosts state.Table[state.Host] }

func (f fixed) Current() (state.Cluster, <-chan struct{}) { return state.Cluster{Hosts: f.hosts}, nil }

func TestWhatCannotBeReachedIsLeftOutAndComesBack(t *testing.T) {
	refused := fmt.Errorf("dial: %w", syscall.ECONNREFUSED)
	synctest.Test(t, func(t *testing.T) {
		n := &network{pings: map[string]error{}, dials: map[string]error{}}
		a := n.agent()
		a.Ping = func(context.Context, state.Host) error { return n.pings["b"] }
		at := map[string][]string{"b": {"b:1", "b:2"}}
		step := func(name string, ping, one, two error, want ...string) {
			t.Helper()
			n.pings["b"], n.dials["b:1"], n.dials["b:2"] = ping, one, two
			a.reach.look(t.Context(), a, at)
			var out []string
			for address := range a.reach.out {
				out = append(out, address)
			}
			slices.Sort(out)
			if diff := cmp.Diff(want, out); diff != "" {
				t.Errorf("%s: left out (-want +got):\n%s", name, diff)
			}
		}
		step("all is well", nil, errSilent, errSilent)
		if n.dialled.Load() > 0 {
			t.Error("instances of a host that answers are not asked")
		}
		step("the daemon alone is down", errSilent, nil, nil)
		step("one instance refuses", errSilent, refused, nil, "b:1")
		step("the host is silent", errSilent, errSilent, errSilent, "b:1", "b:2")
		step("one is back", errSilent, nil, errSilent, "b:2")
		step("the host is back", nil, errSilent, errSilent)
	})
}

func TestASiteIsNeverLeftWithoutServers(t *testing.T) {
	r := newReacher()
	site := func(addresses ...string) lbconfig.Site {
		var s lbconfig.Site
		for _, a := range addresses {
			s.Servers = append(s.Servers, lbconfig.Server{Address: a})
		}
		return s
	}
	show := func(cfg lbconfig.Config) string {
		var sites []string
		for _, s := range cfg.Sites {
			var at []string
			for _, server := range s.Servers {
				at = append(at, server.Address)
			}
			sites = append(sites, strings.Join(at, ","))
		}
		return strings.Join(sites, " ")
	}
	cfg := lbconfig.Config{Sites: []lbconfig.Site{site("a:1", "b:1"), site("b:2"), site("a:3")}}
	r.note(map[string]error{"b:1": syscall.ECONNREFUSED, "b:2": syscall.ECONNREFUSED})
	if got, want := show(r.reachable(cfg)), "a:1 b:2 a:3"; got != want {
		t.Errorf("sites %q, want %q", got, want)
	}
	if got, want := show(cfg), "a:1,b:1 b:2 a:3"; got != want {
		t.Errorf("the state's own configuration has become %q", got)
	}
}

func TestOnlyOtherHostsThatCanBeAskedAreLookedAt(t *testing.T) {
	c := state.New()
	for _, h := range []state.Host{{Name: "a", Peer: "a:7946"}, {Name: "b", Peer: "b:7946"}, {Name: "alone"}} {
		c.Hosts = c.Hosts.Put(h.Name, h)
	}
	for n, i := range []state.Instance{
		{Host: "a", Phase: state.Ready, Address: "a:1"}, {Host: "b", Phase: state.Ready, Address: "b:1"},
		{Host: "b", Phase: state.Starting, Address: "b:2"}, {Host: "b", Phase: state.Ready},
		{Host: "alone", Phase: state.Ready, Address: "x:1"}, {Host: "gone", Phase: state.Ready, Address: "y:1"},
	} {
		c.Instances = c.Instances.Put(fmt.Sprint(n), i)
	}
	if diff := cmp.Diff(map[string][]string{"b": {"b:1"}}, routedElsewhere(c, "a")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRevivalsPauseLongerAndLonger(t *testing.T) {
	r := revivals{}
	now := time.Unix(0, 0)
	var at []int
	for s := range 200 {
		if r.due("k", now.Add(time.Duration(s)*time.Second)) {
			at = append(at, s)
		}
	}
	if diff := cmp.Diff([]int{0, 1, 3, 7, 15, 31, 63, 123, 183}, at); diff != "" {
		t.Errorf("started again at seconds (-want +got):\n%s", diff)
	}
	if !r.due("k", now.Add(time.Hour)) || !r.due("k", now.Add(time.Hour+time.Second)) {
		t.Error("after a long life the pauses do not begin anew")
	}
}

func TestAPhaseIsSeenFromItsFirstLook(t *testing.T) {
	p := phases{}
	c := state.New()
	now := time.Unix(100, 0)
	see := func(phase state.Phase, at time.Time) time.Time {
		c.Instances = c.Instances.Put("i", state.Instance{ID: "i", Host: "a", Phase: phase, PhaseAt: time.Unix(9999, 0)})
		return p.look(c, "a", at)["i"]
	}
	if got := see(state.Ready, now); !got.Equal(now) {
		t.Errorf("seen at %s", got)
	}
	if got := see(state.Ready, now.Add(time.Minute)); !got.Equal(now) {
		t.Errorf("seen again at %s", got)
	}
	if got := see(state.Draining, now.Add(time.Hour)); !got.Equal(now.Add(time.Hour)) {
		t.Errorf("the next phase at %s", got)
	}
	c.Instances = c.Instances.Delete("i")
	if p.look(c, "a", now); len(p) > 0 {
		t.Error("what is gone is remembered")
	}
}
