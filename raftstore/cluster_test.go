package raftstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/supervisord/supervisord/raftstore"
	"github.com/supervisord/supervisord/raftstore/rafttest"
)

// journals are the machines of a cluster's servers, as they are now.
type journals map[int]*journal

// bubble runs f with a cluster in virtual time.
func bubble(t *testing.T, n int, f func(t *testing.T, c *rafttest.Cluster, j journals)) {
	t.Helper()
	j := journals{}
	bubbleOf(t, n, func(i int) raftstore.Machine {
		j[i] = &journal{}
		return j[i]
	}, func(t *testing.T, c *rafttest.Cluster) { f(t, c, j) })
}

// bubbleOf is bubble with machines of any kind.
func bubbleOf(t *testing.T, n int, machine func(i int) raftstore.Machine, f func(t *testing.T, c *rafttest.Cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := rafttest.New(t, n, machine)
		defer c.Close()
		f(t, c)
	})
}

// commit proposes until some leader acknowledges; it returns how often an
// earlier attempt may have been committed too.
func commit(t *testing.T, c *rafttest.Cluster, data string) (unknown int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, _, err := c.Store(c.Leader(time.Minute)).Propose(ctx, []byte(data))
		cancel()
		switch {
		case err == nil:
			return unknown
		case errors.Is(err, raftstore.ErrLeadershipLost), errors.Is(err, context.DeadlineExceeded):
			unknown++
		case !errors.Is(err, raftstore.ErrNotLeader):
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("%q was not committed within a minute", data)
	return 0
}

// converge waits until all running machines hold the same, and returns it.
func converge(t *testing.T, c *rafttest.Cluster, j journals) string {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		texts := map[string]bool{}
		last := ""
		for i := range c.Len() {
			if c.Store(i) != nil {
				last = j[i].text()
				texts[last] = true
			}
		}
		if len(texts) == 1 {
			return last
		}
		if time.Now().After(end) {
			t.Fatalf("the servers hold different logs: %v", texts)
		}
	}
}

func TestALeaderThatDiesIsReplacedAndNothingAcknowledgedIsLost(t *testing.T) {
	bubble(t, 3, func(t *testing.T, c *rafttest.Cluster, j journals) {
		for n := range 5 {
			commit(t, c, fmt.Sprint("before ", n))
			old := c.Leader(time.Minute)
			died := time.Now()
			c.Crash(old)
			if next := c.Leader(5 * time.Second); next == old {
				t.Fatal("a dead server leads")
			}
			t.Logf("a new leader after %s", time.Since(died))
			commit(t, c, fmt.Sprint("after ", n))
			c.Restart(old)
		}
		want := 10
		if got := strings.Count(converge(t, c, j), "\n") + 1; got < want {
			t.Errorf("%d entries, want %d at least", got, want)
		}
	})
}

func TestAMinorityCommitsNothingAndSaysSo(t *testing.T) {
	bubble(t, 3, func(t *testing.T, c *rafttest.Cluster, j journals) {
		commit(t, c, "all")
		old := c.Leader(time.Minute)
		c.Isolate(old)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, _, err := c.Store(old).Propose(ctx, []byte("from the minority"))
		if !errors.Is(err, raftstore.ErrLeadershipLost) && !errors.Is(err, raftstore.ErrNotLeader) {
			t.Fatalf("got %v, want that leadership is lost", err)
		}
		if err := c.Store(old).Barrier(ctx); err == nil {
			t.Error("a read of the minority passed for the cluster's")
		}
		commit(t, c, "from the majority")
		c.Heal()
		if got := converge(t, c, j); strings.Contains(got, "minority") {
			t.Errorf("the entry that was refused is there:\n%s", got)
		}
	})
}

func TestDutiesEndWithLeadershipAndNeverOverlapForLong(t *testing.T) {
	bubble(t, 3, func(t *testing.T, c *rafttest.Cluster, _ journals) {
		ctx, cancel := context.WithCancel(t.Context())
		type span struct {
			server     int
			begin, end time.Time
			cause      error
		}
		spans := make(chan span, 100)
		done := make(chan error, 3)
		for i := range 3 {
			store := c.Store(i)
			go func() {
				done <- store.WhileLeader(ctx, func(ctx context.Context) error {
					begin := time.Now()
					<-ctx.Done()
					spans <- span{i, begin, time.Now(), context.Cause(ctx)}
					return ctx.Err()
				})
			}()
		}
		for range 5 {
			leads := c.Leader(time.Minute)
			time.Sleep(2 * time.Second)
			c.Isolate(leads)
			time.Sleep(2 * time.Second)
			c.Heal()
			time.Sleep(2 * time.Second)
		}
		cancel()
		for range 3 {
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want the context's error", err)
			}
		}
		close(spans)
		var all []span
		for s := range spans {
			all = append(all, s)
		}
		if len(all) < 5 {
			t.Fatalf("%d terms of duty, five leaders were cut off", len(all))
		}
		lost := 0
		for n, s := range all {
			if errors.Is(s.cause, raftstore.ErrLeadershipLost) {
				lost++
			}
			for _, o := range all[n+1:] {
				// A leader that is cut off does not know for as long as its
				// lease and one round of its watch take.
				overlap := min(s.end.UnixNano(), o.end.UnixNano()) - max(s.begin.UnixNano(), o.begin.UnixNano())
				if s.server != o.server && time.Duration(overlap) > 300*time.Millisecond {
					t.Errorf("servers %d and %d were both on duty for %s", s.server, o.server, time.Duration(overlap))
				}
			}
		}
		if lost < 4 {
			t.Errorf("%d of %d duties ended by the loss of leadership", lost, len(all))
		}
	})
}

// TestWhateverHappensTheServersAgreeAndKeepWhatTheyAcknowledged cuts, crashes
// and heals at random. A failing seed is run again by its number.
func TestWhateverHappensTheServersAgreeAndKeepWhatTheyAcknowledged(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			bubble(t, 3, func(t *testing.T, c *rafttest.Cluster, j journals) {
				dice := rand.New(rand.NewPCG(seed, 1))
				var acked []string
				unknown := 0
				for n := range 30 {
					switch dice.IntN(5) {
					case 0:
						c.Heal() // one at a time: two would leave no quorum
						c.Isolate(dice.IntN(3))
					case 1:
						c.Heal()
					case 2:
						i := dice.IntN(3)
						c.Crash(i)
						c.Restart(i)
					case 3:
						if s := c.Store(dice.IntN(3)); s != nil && dice.IntN(3) == 0 {
							if err := s.Snapshot(t.Context()); err != nil {
								t.Fatal(err)
							}
						}
					}
					data := fmt.Sprint("entry ", n)
					unknown += commit(t, c, data)
					acked = append(acked, data)
				}
				c.Heal()
				got := strings.Split(converge(t, c, j), "\n")
				at := 0
				for _, line := range got {
					if at < len(acked) && line == acked[at] {
						at++
					}
				}
				if at < len(acked) {
					t.Errorf("%q was acknowledged and is not there in order", acked[at])
				}
				if len(got) > len(acked)+unknown {
					t.Errorf("%d entries of %d acknowledged and %d unknown", len(got), len(acked), unknown)
				}
			})
		})
	}
}
