package agent_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/agent/agenttest"
	"github.com/supervisord/supervisord/supervisor/state"
)

// drainTime is that of the services in these tests.
const drainTime = 10 * time.Second

// shop is a spec with a public service, one that nobody can ask, and a
// database.
func shop() state.Spec {
	return state.Spec{Hash: "s1", Project: "shop", Services: map[string]state.Service{
		"web": {Name: "web", Hash: "w1", Replicas: 2, Drain: drainTime, Container: state.Container{Image: "web"},
			Ingress: &lbconfig.Ingress{Hosts: []string{"_"}, Port: 80, Health: lbconfig.Health{Path: "/health"}}},
		"worker": {Name: "worker", Hash: "k1", Replicas: 1, Drain: drainTime, Container: state.Container{Image: "worker"}},
		"db": {Name: "db", Hash: "d1", Replicas: 1, Stateful: true, Drain: drainTime, Container: state.Container{Image: "db",
			Healthcheck: &state.Healthcheck{Test: []string{"CMD", "true"}}}},
	}}
}

// replicated is the state as one process has it, with a log that is just a
// list.
type replicated struct {
	mu       sync.Mutex
	cluster  state.Cluster
	changed  chan struct{}
	leader   bool
	commands []state.Command
}

var errNoLeader = errors.New("no leader")

func newReplicated(t testing.TB) *replicated {
	r := &replicated{cluster: state.New(), changed: make(chan struct{}), leader: true}
	for _, cmd := range []state.Command{
		state.Found{ID: "c1"},
		state.RegisterHost{Name: "a", Address: "10.0.0.1", CPUs: 4, Memory: 8 << 30, Format: state.Format},
		state.SetSpec{Spec: shop()},
	} {
		r.must(t, cmd)
	}
	return r
}

func (r *replicated) Current() (state.Cluster, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cluster, r.changed
}

func (r *replicated) Propose(ctx context.Context, cmds ...state.Command) ([]error, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(2 * time.Millisecond):
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.leader {
		return nil, errNoLeader
	}
	return r.apply(cmds), nil
}

func (r *replicated) apply(cmds []state.Command) []error {
	next, errs := state.Apply(r.cluster, r.cluster.Index+1, state.Proposal{At: time.Now(), Commands: cmds})
	r.cluster = next
	r.commands = append(r.commands, cmds...)
	close(r.changed)
	r.changed = make(chan struct{})
	return errs
}

// must commits commands of the leader or an operator at once.
func (r *replicated) must(t testing.TB, cmds ...state.Command) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := errors.Join(r.apply(cmds)...); err != nil {
		t.Fatal(err)
	}
}

func (r *replicated) lead(leads bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leader = leads
}

// said are the commands of a kind so far.
func said[C state.Command](r *replicated) []C {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []C
	for _, cmd := range r.commands {
		if c, ok := cmd.(C); ok {
			all = append(all, c)
		}
	}
	return all
}

// rig is one host: what outlives a daemon, and the daemon's agent.
type rig struct {
	t       *testing.T
	state   *replicated
	engine  *agenttest.Engine
	balance *agenttest.Balancer
	// connections by address; the rest have none.
	mu          sync.Mutex
	connections map[string]int
	deeds       []agenttest.Deed

	agent *agent.Agent
	stop  func(cause error)
}

// newRig makes a host whose agent does not run yet.
func newRig(t *testing.T, e agenttest.Options, b agenttest.BalancerOptions) *rig {
	r := &rig{t: t, state: newReplicated(t), connections: map[string]int{}}
	e.Watch = func(d agenttest.Deed) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.deeds = append(r.deeds, d)
		if d.Kind == agenttest.Trespass {
			t.Errorf("the agent acted on %s, which is not its own", d.Container.Name)
		}
	}
	e.Adopted = func() map[string]agent.Adopted {
		c, _ := r.state.Current()
		return agent.AdoptedOn(c, "a")
	}
	r.engine, r.balance = agenttest.New(e), agenttest.NewBalancer(b)
	return r
}

// start runs the agent of a new daemon.
func (r *rig) start() {
	ctx, cancel := context.WithCancelCause(r.t.Context())
	a := agent.New(agent.Options{
		Host: "a", Address: "10.0.0.1", Engine: r.engine, Balance: r.balance, Prober: r.engine,
		Replica: r.state, Report: r.state, Listen: []string{"80"}, Status: "127.0.0.1:9371",
		Connections: func(address string) (int, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.connections[address], nil
		},
		Log: slog.New(slog.DiscardHandler),
	})
	r.agent = a
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stopped := false
	r.stop = func(cause error) {
		if stopped {
			return
		}
		stopped = true
		cancel(cause)
		if err := <-done; !errors.Is(err, context.Canceled) {
			r.t.Errorf("Run returned %v, want that its context ended", err)
		}
	}
}

// end stops the agent, if one runs. A bubble ends only with its goroutines, so
// tests defer it.
func (r *rig) end() {
	if r.stop != nil {
		r.stop(nil)
	}
}

func (r *rig) connect(address string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.connections[address] = n
}

// did are the deeds of a kind so far.
func (r *rig) did(kinds ...agenttest.DeedKind) []agenttest.Deed {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []agenttest.Deed
	for _, d := range r.deeds {
		if slices.Contains(kinds, d.Kind) {
			all = append(all, d)
		}
	}
	return all
}

// place puts an instance on this host and returns its id.
func (r *rig) place(service string, slot int) string {
	r.t.Helper()
	c, _ := r.state.Current()
	r.state.must(r.t, state.Place{Service: service, Slot: slot, Host: "a", Revision: c.Spec.Services[service].Hash})
	c, _ = r.state.Current()
	return state.InstanceID(service, slot, c.Index)
}

// ready places an instance and waits until it serves.
func (r *rig) ready(service string, slot int) state.Instance {
	r.t.Helper()
	id := r.place(service, slot)
	r.until(5*time.Second, "ready "+id, func() bool { return r.phase(id) == state.Ready })
	i := r.instance(id)
	if i.Address != "" {
		r.until(time.Second, "routed "+id, func() bool { return r.routed(i.Address) })
	}
	return i
}

func (r *rig) instance(id string) state.Instance {
	c, _ := r.state.Current()
	i, _ := c.Instances.Get(id)
	return i
}

// phase is "" for an instance that is gone.
func (r *rig) phase(id string) state.Phase { return r.instance(id).Phase }

func (r *rig) routed(address string) bool {
	return slices.Contains(r.balance.Served()["web"], address)
}

// until waits for something to come true.
func (r *rig) until(limit time.Duration, what string, is func() bool) {
	r.t.Helper()
	for end := time.Now().Add(limit); !is(); {
		if time.Now().After(end) {
			r.t.Fatalf("not within %s: %s\n%s", limit, what, r.dump())
		}
		time.Sleep(time.Millisecond)
	}
}

// dump says how things stand, for a failed test.
func (r *rig) dump() string {
	var b strings.Builder
	c, _ := r.state.Current()
	for i := range c.Instances.Values() {
		fmt.Fprintf(&b, "  %s %s container %q address %q: %s\n", i.ID, i.Phase, i.Container, i.Address, i.Reason)
	}
	for _, k := range r.engine.Containers() {
		fmt.Fprintf(&b, "  container %s %s of %s runs %v at %s\n", k.ID, k.Name, k.Instance, k.Running, k.Address)
	}
	fmt.Fprintf(&b, "  served: %v", r.balance.Served())
	return b.String()
}
