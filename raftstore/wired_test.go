package raftstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/supervisord/supervisord/raftstore"
	"github.com/supervisord/supervisord/raftstore/pki"
	"github.com/supervisord/supervisord/raftstore/wire"
)

// wired is a cluster as it is in production: each server has its log on the
// disk, and TLS on a port of loopback between them.
type wired struct {
	t       testing.TB
	ca      pki.Authority
	machine func(i int) raftstore.Machine
	servers []*wiredServer

	mu   sync.Mutex
	cuts map[[2]string]bool
}

type wiredServer struct {
	id, address, dir string
	identity         pki.Identity
	machine          raftstore.Machine
	store            *raftstore.Store // nil while it does not run
	wire             *wire.Wire
	stop             func()
}

// newWired makes n servers, of which the first has begun a cluster and leads
// it, and the others follow; with votes those that a steward gives them.
func newWired(t testing.TB, n int, machine func(i int) raftstore.Machine) *wired {
	t.Helper()
	ca, err := pki.NewAuthority("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c := &wired{t: t, ca: ca, machine: machine, cuts: map[[2]string]bool{}}
	t.Cleanup(func() {
		for i := range c.servers {
			c.crash(i)
		}
	})
	for i := range n {
		s := &wiredServer{id: fmt.Sprint("s", i), address: freePort(t), dir: filepath.Join(t.TempDir(), "state")}
		key, request, err := pki.NewRequest()
		if err != nil {
			t.Fatal(err)
		}
		cert, err := ca.Issue(request, s.id, s.id, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		s.identity = pki.Identity{CA: ca.Cert, Cert: cert, Key: key}
		c.servers = append(c.servers, s)
	}
	first := c.start(0)
	if err := first.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := first.WaitLeading(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < n; i++ {
		c.start(i)
		if err := first.AddNonvoter(t.Context(), c.servers[i].id, c.servers[i].address); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// start opens a server and has it tend the votes while it leads.
func (c *wired) start(i int) *raftstore.Store {
	c.t.Helper()
	s := c.servers[i]
	var err error
	s.wire, err = wire.Listen(wire.Options{
		Listen: s.address, Advertise: s.address, Identity: s.identity, Log: quiet(),
		Denied: func(other string) bool { return c.cut(s.id, other) },
	})
	if err != nil {
		c.t.Fatal(err)
	}
	s.machine = c.machine(i)
	store, err := raftstore.Open(c.t.Context(), raftstore.Config{
		Dir: s.dir, ID: s.id, Transport: s.wire.Transport(), Logger: quiet(), SnapshotEvery: 200,
	}, s.machine)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.t.Context()))
	done := make(chan error, 1)
	c.mu.Lock()
	s.store = store
	c.mu.Unlock()
	go func() {
		done <- store.Tend(ctx, raftstore.Steward{Servers: c.known, Stats: c.standing, Stable: 200 * time.Millisecond})
	}()
	s.stop = func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) && !errors.Is(err, raftstore.ErrClosed) {
			c.t.Errorf("tend: %v", err)
		}
	}
	return store
}

// crash ends a server; its disk stays.
func (c *wired) crash(i int) {
	c.t.Helper()
	s := c.servers[i]
	if s.store == nil {
		return
	}
	s.stop()
	if err := errors.Join(s.store.Close(context.WithoutCancel(c.t.Context())), s.wire.Close()); err != nil {
		c.t.Errorf("close %s: %v", s.id, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.store = nil
}

func (c *wired) cut(a, b string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cuts[[2]string{a, b}] || c.cuts[[2]string{b, a}]
}

func (c *wired) disconnect(i, k int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cuts[[2]string{c.servers[i].id, c.servers[k].id}] = true
}

func (c *wired) heal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.cuts)
}

// known and standing are what the application tells the steward.
func (c *wired) known() map[string]raftstore.ServerInfo {
	all := map[string]raftstore.ServerInfo{}
	for _, s := range c.servers {
		all[s.id] = raftstore.ServerInfo{Address: s.address}
	}
	return all
}

func (c *wired) standing(_ context.Context, ids []string) map[string]raftstore.ServerStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[string]raftstore.ServerStats{}
	for _, s := range c.servers {
		if s.store == nil {
			continue
		}
		st := s.store.Stats()
		all[s.id] = raftstore.ServerStats{LastContact: max(st.LastContact, 0), LastTerm: st.LastTerm, LastIndex: st.LastIndex}
	}
	return all
}

// leader waits for a server that leads and that is not the one given.
func (c *wired) leader(not int) int {
	c.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		for i, s := range c.servers {
			if i != not && s.store != nil && s.store.Stats().IsLeader {
				return i
			}
		}
	}
	c.t.Fatal("nobody leads for a minute")
	return -1
}

// voting waits until so many servers vote.
func (c *wired) voting(n int) {
	c.t.Helper()
	voters := 0
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		members, err := c.servers[c.leader(-1)].store.Members(c.t.Context())
		if err != nil {
			continue
		}
		voters = 0
		for _, m := range members {
			if m.Voter {
				voters++
			}
		}
		if voters == n {
			return
		}
	}
	c.t.Fatalf("%d servers vote after a minute, want %d", voters, n)
}

// TestOverTheRealPortReadsAndWritesAreLinearizable has servers with their logs
// on the disk, cut off from each other, stopped and started, and asked to hand
// over, while their votes move. Leaders change and snapshots are taken and
// sent meanwhile.
func TestOverTheRealPortReadsAndWritesAreLinearizable(t *testing.T) {
	if testing.Short() {
		t.Skip("runs some seconds")
	}
	machines := make([]*registers, 5)
	c := newWired(t, 5, func(i int) raftstore.Machine {
		machines[i] = &registers{}
		return machines[i]
	})
	c.voting(5)
	all := make(targets, len(c.servers))
	up := func(i int) { all[i].Store(&target{c.servers[i].store, machines[i]}) }
	for i := range all {
		up(i)
	}
	disturb(t, all, 1, func(dice *rand.Rand) {
		for range 24 {
			pause := time.Duration(dice.IntN(500)) * time.Millisecond
			switch i := dice.IntN(len(all)); dice.IntN(4) {
			case 0:
				// Away for long enough to lose its vote, now and then.
				for k := range all {
					c.disconnect(i, k)
				}
				time.Sleep(time.Duration(dice.IntN(1500)) * time.Millisecond)
				c.heal()
			case 1:
				c.disconnect(i, (i+1)%len(all))
			case 2:
				all[i].Store(nil)
				c.crash(i)
				time.Sleep(pause)
				c.start(i)
				up(i)
			case 3:
				c.heal()
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				// It may just have lost the leadership, or its followers.
				_ = c.servers[c.leader(-1)].store.HandOver(ctx)
				cancel()
			}
			time.Sleep(pause)
		}
		c.heal()
	}).check(t, 500)
	c.voting(5)
	// All have the same in the end, those too that were sent a snapshot.
	lead := c.servers[c.leader(-1)]
	if err := lead.store.Barrier(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, m := range machines {
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			want, got := machines[c.leader(-1)].all(), m.all()
			if want == got {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("server %d has %s, the leader %s", i, got, want)
			}
		}
	}
}

// TestAVoteMovesToAServerThatIsThere has a server without a vote, which takes
// over that of one that is gone.
func TestAVoteMovesToAServerThatIsThere(t *testing.T) {
	c := newWired(t, 4, func(int) raftstore.Machine { return &registers{} })
	c.voting(3)
	lead := c.leader(-1)
	members, err := c.servers[lead].store.Members(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	votes := map[string]bool{}
	for _, m := range members {
		votes[m.ID] = m.Voter
	}
	gone, spare := -1, -1
	for i, s := range c.servers {
		switch {
		case !votes[s.id]:
			spare = i
		case i != lead:
			gone = i
		}
	}
	c.crash(gone)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		members, err := c.servers[c.leader(-1)].store.Members(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		now := map[string]bool{}
		for _, m := range members {
			now[m.ID] = m.Voter
		}
		if now[c.servers[spare].id] && !now[c.servers[gone].id] {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the votes are %v, %s is gone", now, c.servers[gone].id)
		}
	}
}

// TestAServerThatHadToForgetEntriesStartsAgain has entries that only a leader
// without a majority had, which are cut off its log again.
func TestAServerThatHadToForgetEntriesStartsAgain(t *testing.T) {
	machines := make([]*registers, 3)
	c := newWired(t, 3, func(i int) raftstore.Machine {
		machines[i] = &registers{}
		return machines[i]
	})
	c.voting(3)
	propose(t, c.servers[c.leader(-1)].store, "a=1")
	old := c.leader(-1)
	for i := range c.servers {
		c.disconnect(old, i)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, _, err := c.servers[old].store.Propose(ctx, []byte("a=2")); err == nil {
		t.Fatal("an entry was committed by a minority")
	}
	propose(t, c.servers[c.leader(old)].store, "b=3")
	c.heal()
	want := "map[a:1 b:3]"
	follows := func() {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); machines[old].all() != want; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("it has %s, want %s", machines[old].all(), want)
			}
		}
	}
	follows()
	c.crash(old)
	c.start(old)
	follows()
}

func BenchmarkCommitOverTheWire1KiB(b *testing.B) {
	c := newWired(b, 3, func(int) raftstore.Machine { return &registers{} })
	c.voting(3)
	s := c.servers[c.leader(-1)].store
	data := make([]byte, 1024)
	var took []time.Duration
	for b.Loop() {
		begin := time.Now()
		if _, _, err := s.Propose(b.Context(), data); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begin))
	}
	report(b, took)
}

// BenchmarkFailover is the time from the loss of the leader to the first entry
// that its successor has committed. To the others a leader whose connections
// all end is one that was killed.
func BenchmarkFailover(b *testing.B) {
	benchmarkChange(b, func(c *wired, leader int) {
		for i := range c.servers {
			c.disconnect(leader, i)
		}
	})
}

// BenchmarkHandOver is the same where the leader gives the leadership away.
func BenchmarkHandOver(b *testing.B) {
	benchmarkChange(b, func(c *wired, leader int) {
		if err := c.servers[leader].store.HandOver(b.Context()); err != nil {
			b.Fatal(err)
		}
	})
}

// report tells the median and the 90th and 99th percentile.
func report(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	for _, p := range []int{50, 90, 99} {
		b.ReportMetric(took[len(took)*p/100].Seconds()*1e3, fmt.Sprintf("p%d-ms", p))
	}
}

func benchmarkChange(b *testing.B, end func(c *wired, leader int)) {
	c := newWired(b, 3, func(int) raftstore.Machine { return &registers{} })
	c.voting(3)
	var took []time.Duration
	for b.Loop() {
		b.StopTimer()
		old := c.leader(-1)
		b.StartTimer()
		begin := time.Now()
		end(c, old)
		for done := false; !done; {
			_, _, err := c.servers[c.leader(old)].store.Propose(b.Context(), []byte("k=v"))
			done = err == nil
		}
		took = append(took, time.Since(begin))
		b.StopTimer()
		c.heal()
		time.Sleep(500 * time.Millisecond)
		c.voting(3)
		b.StartTimer()
	}
	report(b, took)
}

// TestAServerGoesOnAloneFromItsLog is for when the others are lost for good.
func TestAServerGoesOnAloneFromItsLog(t *testing.T) {
	machines := make([]*registers, 3)
	c := newWired(t, 3, func(i int) raftstore.Machine {
		machines[i] = &registers{}
		return machines[i]
	})
	c.voting(3)
	for n := range 5 {
		propose(t, c.servers[c.leader(-1)].store, fmt.Sprint("k", n, "=v"))
	}
	lead := c.leader(-1)
	last := c.servers[lead].store.Stats()
	for i := range c.servers {
		c.crash(i)
	}
	s := c.servers[lead]
	config := raftstore.Config{Dir: s.dir, ID: s.id, Logger: quiet()}
	if index, term, err := raftstore.Peek(config); err != nil || index < last.LastIndex || term < last.LastTerm {
		t.Errorf("its log goes to entry %d of term %d (%v), want %d of %d", index, term, err, last.LastIndex, last.LastTerm)
	}
	if err := raftstore.Recover(t.Context(), config, &registers{}, []raftstore.Member{{ID: s.id, Address: s.address, Voter: true}}); err != nil {
		t.Fatal(err)
	}
	store := c.start(lead)
	if err := store.WaitLeading(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := machines[lead].all(), "map[k0:v k1:v k2:v k3:v k4:v]"; got != want {
		t.Errorf("it has %s, want %s", got, want)
	}
	propose(t, store, "k5=v")
}
