package raftstore_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/supervisord/supervisord/raftstore"
	"github.com/supervisord/supervisord/raftstore/rafttest"
)

// registers is a machine of named values.
type registers struct {
	mu     sync.Mutex
	values map[string]string
}

func (r *registers) Apply(e raftstore.Entry) any {
	r.mu.Lock()
	defer r.mu.Unlock()
	key, value, _ := strings.Cut(string(e.Data), "=")
	if r.values == nil {
		r.values = map[string]string{}
	}
	r.values[key] = value
	return nil
}

func (r *registers) read(key string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.values[key]
}

// all is everything, in an order.
func (r *registers) all() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprint(r.values)
}

func (r *registers) Snapshot() (io.WriterTo, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	data, err := json.Marshal(r.values)
	return text(data), err
}

func (r *registers) Restore(from io.Reader) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.values = nil
	return json.NewDecoder(from).Decode(&r.values)
}

// target is a server as its clients reach it.
type target struct {
	store *raftstore.Store
	*registers
}

// targets are the servers that run; nil while one does not.
type targets []atomic.Pointer[target]

// access is what a client wanted.
type access struct {
	key, value string
	read       bool
}

// register is what porcupine compares with: per key, a read sees the last
// write.
var register = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		by := map[string][]porcupine.Operation{}
		for _, o := range history {
			key := o.Input.(access).key
			by[key] = append(by[key], o)
		}
		var all [][]porcupine.Operation
		for _, part := range by {
			all = append(all, part)
		}
		return all
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		if a := input.(access); !a.read {
			return true, a.value
		}
		return output == state, state
	},
	DescribeOperation: func(input, output any) string {
		if a := input.(access); !a.read {
			return a.key + " ← " + a.value
		}
		return fmt.Sprintf("%s = %q", input.(access).key, output)
	},
}

// historian notes what clients saw.
type historian struct {
	clock atomic.Int64
	mu    sync.Mutex
	all   []porcupine.Operation
	open  []porcupine.Operation // their outcome is unknown
}

func (h *historian) note(o porcupine.Operation, known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if known {
		o.Return = h.clock.Add(1)
		h.all = append(h.all, o)
	} else {
		h.open = append(h.open, o)
	}
}

// client reads and writes through servers picked at random until the context
// ends.
func (h *historian) client(ctx context.Context, id int, all targets, dice *rand.Rand) {
	for n := 0; ctx.Err() == nil; n++ {
		time.Sleep(time.Duration(1+dice.IntN(20)) * time.Millisecond)
		a := access{key: fmt.Sprint("k", dice.IntN(3)), read: dice.IntN(2) == 0}
		to := all[dice.IntN(len(all))].Load()
		if to == nil {
			continue
		}
		// Whoever asks waits for longer than any election takes.
		within, cancel := context.WithTimeout(ctx, 3*time.Second)
		if !a.read {
			a.value = fmt.Sprintf("%d.%d", id, n)
		}
		o := porcupine.Operation{ClientId: id, Input: a, Call: h.clock.Add(1)}
		if a.read {
			if to.store.Barrier(within) == nil {
				o.Output = to.read(a.key)
				h.note(o, true)
			}
		} else {
			_, _, err := to.store.Propose(within, []byte(a.key+"="+a.value))
			// That this server does not lead means that nothing has happened;
			// of all else nobody knows.
			if !errors.Is(err, raftstore.ErrNotLeader) {
				h.note(o, err == nil)
			}
		}
		cancel()
	}
}

// check fails the test when no order of the operations explains what was read.
func (h *historian) check(t *testing.T, atLeast int) {
	t.Helper()
	for _, o := range h.open {
		o.Return = h.clock.Add(1)
		h.all = append(h.all, o)
	}
	t.Logf("%d operations, %d of them with an outcome that is unknown", len(h.all), len(h.open))
	if len(h.all) < atLeast {
		t.Errorf("only %d operations: the test tested little", len(h.all))
	}
	if got := porcupine.CheckOperationsTimeout(register, h.all, time.Minute); got != porcupine.Ok {
		t.Errorf("the history is not linearizable: %s", got)
	}
}

// disturb lets clients work while chaos cuts, crashes and heals.
func disturb(t *testing.T, all targets, seed uint64, chaos func(dice *rand.Rand)) *historian {
	t.Helper()
	h := &historian{}
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for id := range 4 {
		dice := rand.New(rand.NewPCG(seed, uint64(id)))
		clients.Go(func() { h.client(ctx, id, all, dice) })
	}
	chaos(rand.New(rand.NewPCG(seed, 99)))
	cancel()
	clients.Wait()
	return h
}

// TestReadsAndWritesAreLinearizable has a history of reads and writes, while
// servers are cut off, crash and come back, explained by porcupine. A failing
// seed is run again by its number.
func TestReadsAndWritesAreLinearizable(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			machines := make([]*registers, 5)
			bubbleOf(t, 3+2*int(seed%2), func(i int) raftstore.Machine {
				machines[i] = &registers{}
				return machines[i]
			}, func(t *testing.T, c *rafttest.Cluster) {
				all := make(targets, c.Len())
				up := func(i int) { all[i].Store(&target{c.Store(i), machines[i]}) }
				for i := range all {
					up(i)
				}
				c.Leader(time.Minute)
				disturb(t, all, seed, func(dice *rand.Rand) {
					for range 30 {
						switch i := dice.IntN(c.Len()); dice.IntN(4) {
						case 0:
							c.Isolate(i)
						case 1:
							c.Cut(i, (i+1)%c.Len())
						case 2:
							c.Heal()
						case 3:
							all[i].Store(nil)
							c.Crash(i)
							time.Sleep(time.Duration(dice.IntN(1000)) * time.Millisecond)
							c.Restart(i)
							up(i)
						}
						time.Sleep(time.Duration(dice.IntN(1500)) * time.Millisecond)
					}
				}).check(t, 200)
			})
		})
	}
}
