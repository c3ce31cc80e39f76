package supervisor

import (
	"math"
	"sync"
	"time"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/agent/agenttest"
)

// simLoad is the demand on the public service, and the account of its
// requests: where they go, how long they last, and which are lost.
type simLoad struct {
	sim *sim

	mu sync.Mutex
	// demand is in cores, shared out over what is routed.
	demand float64
	// sparse requests come seldom: there may be no connection at the moment,
	// and one the next.
	sparse bool
	// served is what each host's nginx sends to; left is when an address was
	// taken out, busy while the last requests to it last.
	served map[string]map[string]bool
	left   map[string]time.Time
	busy   map[string]span
}

type span struct{ from, until time.Time }

func newSimLoad(s *sim) *simLoad {
	return &simLoad{sim: s, demand: 1, sparse: s.dice.Chance("sparse", 0.5), served: map[string]map[string]bool{}, left: map[string]time.Time{}, busy: map[string]span{}}
}

func (l *simLoad) set(demand float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.demand = demand
}

func (l *simLoad) get() float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.demand
}

// changed takes in what a host's nginx sends to now.
func (l *simLoad) changed(h *simHost) {
	now := map[string]bool{}
	for _, addresses := range h.balance.Served() {
		for _, a := range addresses {
			now[a] = true
		}
	}
	for a := range now {
		if !h.sim.serves(a) {
			l.lose("nginx on %s begins to send to %s, which does not serve", h.name, a)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for a := range l.served[h.name] {
		if now[a] {
			continue
		}
		// The last requests begin now, or while old workers leave.
		from := time.Now()
		l.left[a] = from
		if l.sim.dice.Chance("late/"+a, 0.3) {
			from = from.Add(agenttest.Overlap - time.Millisecond)
		}
		l.busy[a] = span{from, from.Add(l.sim.dice.Between("request/"+a, 0, 3*time.Second))}
	}
	l.served[h.name] = now
}

func (s *sim) serves(address string) bool {
	for _, h := range s.hosts {
		if h.engine.Serves(address) {
			return true
		}
	}
	return false
}

// lose notes a lost request; where only what was planned happens there is
// none.
func (l *simLoad) lose(why string, args ...any) {
	l.sim.tell("LOST "+why, args...)
	if l.sim.cfg.planned {
		l.sim.violated("9 requests: lost, and nothing happened that was not planned: "+why, args...)
	}
}

// use is what a container uses now.
func (l *simLoad) use(now time.Time, k agent.Container) autoscale.Sample {
	l.mu.Lock()
	defer l.mu.Unlock()
	routed := map[string]bool{}
	for _, served := range l.served {
		for a := range served {
			routed[a] = true
		}
	}
	cpu := 0.02
	if routed[k.Address] {
		cpu += l.demand / float64(len(routed)) / k.CPULimit
	}
	throttled := math.Min(1, math.Max(0, cpu-1))
	if now.Sub(k.StartedAt) < 1500*time.Millisecond {
		cpu = 1 // it compiles, and fills its caches
	}
	cpu = math.Min(cpu, 1)
	return autoscale.Sample{Instance: k.Instance, At: now, CPU: cpu, Memory: 0.2 + 0.1*cpu, Throttled: throttled,
		CPUCores: cpu * k.CPULimit, MemoryBytes: uint64(float64(k.MemoryLimit) * (0.2 + 0.1*cpu))}
}

// connections is agent.Options.Connections.
func (l *simLoad) connections(address string) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, served := range l.served {
		if served[address] && !l.sparse {
			return 2, nil
		}
	}
	if b := l.busy[address]; !time.Now().Before(b.from) && time.Now().Before(b.until) {
		return 1, nil
	}
	return 0, nil
}

// sends says whether a new request may go to an address at this moment, from a
// host of those that count, and working whether one is under way.
func (l *simLoad) sends(address string, counts func(host string) bool) (sends, working bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for host, served := range l.served {
		sends = sends || served[address] && counts(host)
	}
	if at, left := l.left[address]; left && !sends {
		sends = time.Since(at) < agenttest.Overlap
	}
	return sends, time.Now().Before(l.busy[address].until)
}
