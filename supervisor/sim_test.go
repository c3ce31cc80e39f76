package supervisor

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// The simulation runs whole clusters in virtual time: the real log, state,
// plan, autoscaler and agents, with engines and load balancers in memory. A
// seed draws what happens; invariants are checked at every commit, at every
// deed of an engine and at the end. To look at a run that failed:
//
//	go test ./supervisor -run TestSim -sim.seed=N -v
//
// The environment's SIM_SEED and SIM_RUNS do the same as the flags. Goroutines
// that are due at the same moment run in no fixed order, so that now and then
// a seed takes more than one try; -sim.runs=M with a seed repeats it.
var (
	simSeed = flag.Int("sim.seed", fromEnv("SIM_SEED", -1), "simulate this seed only")
	simRuns = flag.Int("sim.runs", fromEnv("SIM_RUNS", 0), "how many runs; 0 for as many as fit into a test")
)

func fromEnv(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// defaultSimRuns take some seconds on two cores with the race detector.
const defaultSimRuns = 40

// TestSim runs clusters where anything may go wrong.
func TestSim(t *testing.T) { simulateSeeds(t, simConfig{hosts: 1, disturb: chaotic}) }

// TestSimPlanned runs clusters where only what operators and the load do
// happens, daemons that are stopped and killed included: not one request may
// be lost.
func TestSimPlanned(t *testing.T) {
	simulateSeeds(t, simConfig{hosts: 1, disturb: planned, planned: true})
}

// TestSimCluster runs clusters of three and five hosts where anything may go
// wrong, with the network and whole hosts too.
func TestSimCluster(t *testing.T) {
	simulateSeeds(t, simConfig{hosts: 3, disturb: clustered})
}

// TestSimClusterPlanned is TestSimPlanned for three hosts.
func TestSimClusterPlanned(t *testing.T) {
	simulateSeeds(t, simConfig{hosts: 3, disturb: clusteredPlan, planned: true})
}

func simulateSeeds(t *testing.T, cfg simConfig) {
	runs, first := *simRuns, 1
	if runs == 0 {
		runs = defaultSimRuns
		if testing.Short() {
			runs /= 8
		}
	}
	if *simSeed >= 0 {
		first = *simSeed
		runs = max(1, *simRuns)
	}
	for n := range runs {
		seed := first + n
		if *simSeed >= 0 {
			seed = first
		}
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			cfg := cfg
			cfg.seed = uint64(seed)
			synctest.Test(t, func(t *testing.T) { simulate(t, cfg) })
		})
	}
}

// simConfig is one run.
type simConfig struct {
	seed    uint64
	hosts   int
	disturb func(*chaos) []disturbance
	// planned says that no disturbance costs requests.
	planned bool
}

// settleWithin bounds how long a cluster may take to be as it should once
// nothing disturbs it: the longest back-off, the slowest start, a drain, and
// the scale-in of the tests' policies in single steps.
const settleWithin = 8 * time.Minute

func simulate(t *testing.T, cfg simConfig) {
	s := newSim(t, cfg)
	defer s.close()
	for _, h := range s.hosts {
		h.start()
	}
	s.settle("after the first start")
	newChaos(s).rage(cfg.disturb)
	s.settle("after the last disturbance")
	s.atRest()
	s.verdict()
}

// settle waits until everything is as it should be, and stays so.
func (s *sim) settle(when string) {
	const stays = 20 * time.Second
	var well time.Time
	why := ""
	for end := time.Now().Add(settleWithin); time.Now().Before(end); time.Sleep(time.Second) {
		if s.broken() {
			return
		}
		if why = s.unsettled(); why != "" {
			well = time.Time{}
			continue
		}
		if well.IsZero() {
			well = time.Now()
		}
		if time.Since(well) >= stays {
			return
		}
	}
	s.violated("6 liveness: %s, %s is over and still %s", when, settleWithin, why)
}
