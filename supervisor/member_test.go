package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/raftstore"
	"github.com/supervisord/supervisord/raftstore/pki"
	"github.com/supervisord/supervisord/raftstore/wire"
	"github.com/supervisord/supervisord/supervisor/agent/agenttest"
	"github.com/supervisord/supervisord/supervisor/peer"
	"github.com/supervisord/supervisord/supervisor/plan"
	"github.com/supervisord/supervisord/supervisor/state"
)

// testHost is a host with a real log, real certificates and a real port on
// loopback; its engine and nginx are in memory.
type testHost struct {
	t      *testing.T
	name   string
	dir    string
	engine *agenttest.Engine

	// equip adds to the parts of a daemon before each start, and returns what
	// else it runs; nil adds nothing.
	equip func(*parts) func(context.Context) error

	member *member
	cancel context.CancelFunc
	ended  chan error
}

func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func newTestHost(t *testing.T, name string) *testHost {
	return &testHost{t: t, name: name, dir: t.TempDir(), engine: agenttest.New(agenttest.Options{Host: name})}
}

// start runs the daemon from what is in the state directory, as Supervisor
// does.
func (h *testHost) start() {
	h.t.Helper()
	m, err := readMembership(h.dir)
	if err != nil || m == nil {
		h.t.Fatalf("%s is no member: %v", h.name, err)
	}
	log := slog.New(slog.DiscardHandler)
	r := newReplica()
	identity, err := pki.LoadIdentity(identityPath(h.dir))
	if err != nil {
		h.t.Fatal(err)
	}
	door := &gate{ctx: h.t.Context(), replica: r}
	w, err := wire.Listen(wire.Options{Listen: m.Advertise, Advertise: m.Advertise, Identity: identity, Denied: door.denied, Log: log})
	if err != nil {
		h.t.Fatal(err)
	}
	store, err := raftstore.Open(h.t.Context(), raftstore.Config{Dir: h.dir, Transport: w.Transport(), Logger: log}, r)
	if err != nil {
		h.t.Fatal(err)
	}
	door.store.Store(store)
	if store.Fresh() && m.first() {
		if err := store.Bootstrap(h.t.Context()); err != nil {
			h.t.Fatal(err)
		}
	}
	all := parts{
		self:   state.RegisterHost{Name: m.Host, Server: store.ID(), Peer: m.Advertise, Address: m.Address, CPUs: 2, Memory: 1 << 30, Format: state.Format},
		listen: []string{"80"}, status: "127.0.0.1:9371", grace: plan.DefaultGrace,
		store: store, replica: r, peers: peer.NewClient(w.Client()),
		engine: h.engine, balance: agenttest.NewBalancer(agenttest.BalancerOptions{Name: h.name}), prober: h.engine,
		sampler: noSamples{}, log: log, file: newSpecFile(h.dir+"/docker-compose.prod.yml", h.dir),
	}
	more := func(ctx context.Context) error { return nil }
	if h.equip != nil {
		more = h.equip(&all)
	}
	n := newNode(all)
	h.member = &member{node: n, stateDir: h.dir, membership: *m, store: store, wire: w}
	ctx, cancel := context.WithCancel(h.t.Context())
	h.cancel, h.ended = cancel, make(chan error, 1)
	go func() {
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return n.run(ctx, nil) })
		g.Go(func() error { return h.member.run(ctx) })
		g.Go(func() error { return more(ctx) })
		g.Go(func() error {
			return store.WhileLeader(ctx, func(ctx context.Context) error {
				if c, _ := r.Current(); c.ID == "" {
					if _, err := n.proposer.Propose(ctx, state.Found{ID: "tested"}); err != nil {
						return err
					}
				}
				<-ctx.Done()
				return ctx.Err()
			})
		})
		h.ended <- g.Wait()
	}()
	h.t.Cleanup(h.stop)
}

// stop ends the daemon without a word to the others.
func (h *testHost) stop() {
	if h.member == nil {
		return
	}
	h.cancel()
	if err := h.member.store.Close(context.Background()); err != nil {
		h.t.Errorf("close %s: %v", h.name, err)
	}
	<-h.ended
	if err := h.member.wire.Close(); err != nil {
		h.t.Errorf("close %s: %v", h.name, err)
	}
	h.member = nil
}

type noSamples struct{}

func (noSamples) Sample(context.Context, time.Time, []sampleTarget) ([]autoscale.Sample, error) {
	return nil, nil
}

// eventually waits for something to be true on real time.
func eventually(t *testing.T, what string, is func() string) {
	t.Helper()
	const patience = 30 * time.Second
	why := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if why = is(); why == "" {
			return
		}
	}
	t.Fatalf("%s: still %s", what, why)
}

func (h *testHost) sees(voters, servers int) string {
	members, err := h.member.store.Members(h.t.Context())
	if err != nil {
		return err.Error()
	}
	v := 0
	for _, m := range members {
		if m.Voter {
			v++
		}
	}
	c, _ := h.member.replica.Current()
	if v != voters || len(members) != servers || !h.member.connected() || c.ID == "" {
		return fmt.Sprintf("%s sees %d voters of %d servers, connected %v, cluster %q", h.name, v, len(members), h.member.connected(), c.ID)
	}
	return ""
}

// form makes a cluster of three hosts.
func form(t *testing.T) []*testHost {
	t.Helper()
	return formOf(t, newTestHost(t, "a"), newTestHost(t, "b"), newTestHost(t, "c"))
}

func formOf(t *testing.T, hosts ...*testHost) []*testHost {
	t.Helper()
	invitation, err := Init(t.Context(), InitOptions{StateDir: hosts[0].dir, Host: "a", Advertise: freeAddress(t), TokenTTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	hosts[0].start()
	eventually(t, "the first host alone", func() string { return hosts[0].sees(1, 1) })
	for _, h := range hosts[1:] {
		var err error
		eventually(t, h.name+" joins", func() string {
			// The token is in force a moment after the start.
			if _, err = Join(t.Context(), JoinOptions{StateDir: h.dir, Host: h.name, Advertise: freeAddress(t), To: invitation.Address, Token: invitation.Token}); err != nil {
				return err.Error()
			}
			return ""
		})
		h.start()
	}
	for _, h := range hosts {
		eventually(t, "three voters", func() string { return h.sees(3, 3) })
	}
	return hosts
}

func leading(t *testing.T, hosts []*testHost) (leader *testHost, others []*testHost) {
	t.Helper()
	eventually(t, "somebody leads", func() string {
		leader, others = nil, nil
		for _, h := range hosts {
			switch {
			case h.member == nil:
			case h.member.store.Stats().IsLeader:
				leader = h
			default:
				others = append(others, h)
			}
		}
		if leader == nil {
			return "nobody leads"
		}
		return ""
	})
	return leader, others
}

func TestThreeHostsFormAClusterAndOneMayDie(t *testing.T) {
	if testing.Short() {
		t.Skip("takes real time")
	}
	hosts := form(t)
	leader, others := leading(t, hosts)

	// A follower's proposal goes to the leader and is on the follower when it
	// returns.
	refused, err := others[0].member.proposer.Propose(t.Context(), state.DrainHost{Name: "a"}, state.DrainHost{Name: "nobody"})
	if err != nil || refused[0] != nil || !errors.Is(refused[1], state.ErrRefused) || !strings.Contains(refused[1].Error(), `"nobody" is not part`) {
		t.Fatalf("proposed on %s: %v %v", others[0].name, refused, err)
	}
	c, _ := others[0].member.replica.Current()
	if a, _ := c.Hosts.Get("a"); !a.Draining {
		t.Error("the proposer's own host does not have what it proposed")
	}

	leader.stop()
	next, _ := leading(t, others)
	if _, err := next.member.proposer.Propose(t.Context(), state.DrainHost{Name: "a", Off: true}); err != nil {
		t.Fatalf("without %s: %v", leader.name, err)
	}
	leader.start()
	for _, h := range hosts {
		eventually(t, "three again", func() string { return h.sees(3, 3) })
	}
	eventually(t, leader.name+" catches up", func() string {
		c, _ := leader.member.replica.Current()
		if a, _ := c.Hosts.Get("a"); a.Draining {
			return "it has the old state"
		}
		return ""
	})
}

func TestAHostThatIsRemovedEndsAndStaysOut(t *testing.T) {
	if testing.Short() {
		t.Skip("takes real time")
	}
	hosts := form(t)
	leader, others := leading(t, hosts)
	// The leader itself has to go; it gives the leadership away first.
	if refused, err := others[0].member.proposer.Propose(t.Context(), state.RemoveHost{Name: leader.name}); err != nil || refused[0] != nil {
		t.Fatalf("remove %s: %v %v", leader.name, refused, err)
	}
	select {
	case err := <-leader.ended:
		leader.ended <- err
		if !errors.Is(err, ErrLeft) {
			t.Fatalf("the removed host ended with %v, want ErrLeft", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the removed host goes on")
	}
	leader.stop()
	for _, h := range others {
		eventually(t, "one voter of two", func() string { return h.sees(1, 2) })
	}
	leader.start()
	defer leader.stop()
	time.Sleep(2 * time.Second)
	for _, h := range others {
		if why := h.sees(1, 2); why != "" {
			t.Errorf("after the removed host came back: %s", why)
		}
	}
}

func TestOneHostGoesOnAloneWhenAQuorumIsLostForGood(t *testing.T) {
	if testing.Short() {
		t.Skip("takes real time")
	}
	hosts := form(t)
	if _, err := hosts[2].member.proposer.Propose(t.Context(), state.DrainHost{Name: "b"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a has it", func() string {
		c, _ := hosts[0].member.replica.Current()
		if b, _ := c.Hosts.Get("b"); !b.Draining {
			return "not there"
		}
		return ""
	})
	if _, err := Recover(t.Context(), RecoverOptions{StateDir: hosts[0].dir, Log: slog.New(slog.DiscardHandler)}); !errors.Is(err, raftstore.ErrLocked) {
		t.Fatalf("recover a daemon that runs: %v, want ErrLocked", err)
	}
	for _, h := range hosts {
		h.stop()
	}
	got, err := Recover(t.Context(), RecoverOptions{StateDir: hosts[0].dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil || got.Host != "a" || strings.Join(got.Lost, " ") != "b c" || got.Index == 0 {
		t.Fatalf("recovered %+v: %v", got, err)
	}
	hosts[0].start()
	eventually(t, "a leads alone", func() string { return hosts[0].sees(1, 1) })
	c, _ := hosts[0].member.replica.Current()
	if b, _ := c.Hosts.Get("b"); !b.Draining || c.Hosts.Len() != 3 {
		t.Errorf("the state was lost: %+v", b)
	}
}

func TestWhoMayNotJoinIsTold(t *testing.T) {
	a := newTestHost(t, "a")
	invitation, err := Init(t.Context(), InitOptions{StateDir: a.dir, Host: "a", Advertise: freeAddress(t), TokenTTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Init(t.Context(), InitOptions{StateDir: a.dir, Host: "a"}); !errors.Is(err, ErrMember) {
		t.Errorf("init twice: %v, want ErrMember", err)
	}
	a.start()
	eventually(t, "the first host alone", func() string { return a.sees(1, 1) })
	token, err := pki.ParseToken(invitation.Token)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the token is in force", func() string {
		if c, _ := a.member.replica.Current(); c.Tokens.Len() == 0 {
			return "not there"
		}
		return ""
	})
	other := pki.NewToken(token.Fingerprint)
	foreign, err := pki.NewAuthority("other", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	print, err := pki.Fingerprint(foreign.Cert)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		host, token, want string
	}{
		"no token":            {"b", "hello", "this is no token"},
		"another secret":      {"b", pki.Token{ID: token.ID, Secret: other.Secret, Fingerprint: token.Fingerprint}.String(), "not in force"},
		"an unknown token":    {"b", other.String(), "not in force"},
		"another cluster's":   {"b", pki.Token{ID: token.ID, Secret: token.Secret, Fingerprint: print}.String(), "not of the cluster"},
		"a name that is used": {"a", invitation.Token, `there is a host "a" already`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Join(t.Context(), JoinOptions{StateDir: t.TempDir(), Host: tc.host, Advertise: freeAddress(t), To: invitation.Address, Token: tc.token})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
	if refused, err := a.member.proposer.Propose(t.Context(), state.RevokeToken{ID: token.ID}); err != nil || refused[0] != nil {
		t.Fatal(refused, err)
	}
	if _, err := Join(t.Context(), JoinOptions{StateDir: t.TempDir(), Host: "b", Advertise: freeAddress(t), To: invitation.Address, Token: invitation.Token}); err == nil || !strings.Contains(err.Error(), "not in force") {
		t.Errorf("with a revoked token: %v", err)
	}
}
