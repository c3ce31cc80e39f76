package supervisor

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/supervisord/supervisord/supervisor/agent/agenttest"
	"github.com/supervisord/supervisord/supervisor/state"
)

// sim is one simulated cluster and what watches it.
type sim struct {
	t     *testing.T
	cfg   simConfig
	dice  *agenttest.Dice
	begin time.Time
	hosts []*simHost
	net   *simNet
	load  *simLoad
	check *checker

	mu    sync.Mutex
	trace []moment
	wrong []string
	// files are all that operators have written, by text.
	files map[string]simFile
}

// wrote notes what an operator has written.
func (s *sim) wrote(f simFile) {
	s.mu.Lock()
	s.files[f.text] = f
	s.mu.Unlock()
	if f.wrong == nil {
		s.check.mu.Lock()
		s.check.good[f.last.Spec.Hash] = true
		s.check.mu.Unlock()
	}
}

// moment is a line of the trace; it is put in words only when it is read.
type moment struct {
	at   time.Time
	what string
	args []any
}

const (
	traceKept  = 400
	traceShown = 80
)

func newSim(t *testing.T, cfg simConfig) *sim {
	s := &sim{t: t, cfg: cfg, dice: agenttest.NewDice(cfg.seed), begin: time.Now(), files: map[string]simFile{}}
	s.net = newSimNet(s)
	s.load = newSimLoad(s)
	s.check = newChecker(s)
	for n := range cfg.hosts {
		s.hosts = append(s.hosts, newSimHost(s, n))
	}
	s.bootstrap()
	return s
}

func (s *sim) close() {
	for _, h := range s.hosts {
		h.end(nil)
	}
	// The log's library leaves calls behind that end with their time-outs.
	time.Sleep(time.Minute)
}

// tell adds a line to the trace.
func (s *sim) tell(what string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.trace) == traceKept {
		s.trace = append(s.trace[:0], s.trace[traceKept/2:]...)
	}
	s.trace = append(s.trace, moment{time.Now(), what, args})
}

// violated says that an invariant is broken. The first one ends the run, with
// the trace up to it.
func (s *sim) violated(what string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.wrong) > 0 {
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d, %s: invariant "+what, append([]any{s.cfg.seed, s.clock(time.Now())}, args...)...)
	for _, m := range s.trace[max(0, len(s.trace)-traceShown):] {
		fmt.Fprintf(&b, "\n  %s "+m.what, append([]any{s.clock(m.at)}, m.args...)...)
	}
	s.wrong = append(s.wrong, b.String())
}

func (s *sim) clock(at time.Time) string { return fmt.Sprintf("%8.3fs", at.Sub(s.begin).Seconds()) }

func (s *sim) broken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.wrong) > 0
}

func (s *sim) verdict() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.wrong {
		s.t.Error(w)
	}
}

func leads(h *simHost) bool {
	p := h.process.Load()
	return p != nil && p.store.Stats().IsLeader
}

// leader is the host whose daemon leads; nil when none does.
func (s *sim) leader() *simHost {
	for _, h := range s.hosts {
		if leads(h) && s.net.majority(h) {
			return h
		}
	}
	return nil
}

// unsettled says what is not as it should be; "" when all is.
func (s *sim) unsettled() string {
	l := s.leader()
	if l == nil {
		return "nobody leads"
	}
	c, _ := l.process.Load().node.replica.Current()
	if c.Spec.Source != s.hosts[0].current().last.Spec.Source {
		return "the operator's last good file is not in force"
	}
	if why := unsettledServices(c); why != "" {
		return why
	}
	for _, h := range s.hosts {
		if why := h.unsettled(c); why != "" {
			return fmt.Sprintf("on %s %s", h.name, why)
		}
	}
	return ""
}

func unsettledServices(c state.Cluster) string {
	for name, service := range c.Spec.Services {
		scale, ok := c.Scales.Get(name)
		if !ok {
			return name + " has no count"
		}
		n := 0
		for i := range c.Of(name) {
			if i.Relimiting || i.Unfit != "" || i.Sick != "" {
				return fmt.Sprintf("%s has not come right: relimiting %v, unfit %q, sick %q", i.ID, i.Relimiting, i.Unfit, i.Sick)
			}
			if i.Phase != state.Ready || i.Revision != service.Hash {
				return fmt.Sprintf("%s is %s, its definition is current: %v (%s)", i.ID, i.Phase, i.Revision == service.Hash, i.Reason)
			}
			n++
		}
		if n != scale.Desired {
			return fmt.Sprintf("there are %d of %s and %d are wanted", n, name, scale.Desired)
		}
	}
	for i := range c.Instances.Values() {
		if _, ok := c.Spec.Services[i.Service]; !ok {
			return i.ID + " is there without its service"
		}
	}
	return ""
}
