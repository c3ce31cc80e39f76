package supervisor

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/probe"
	"github.com/supervisord/supervisord/supervisor/state"
)

// Levels of the host's own use over which its health is degraded, and over
// which it is bad.
const (
	degradedAbove  = 0.90
	unhealthyAbove = 0.98
	// healthKept is how many reports are kept: an hour's.
	healthKept = int(time.Hour / healthEvery)
	// suspectEvery is the interval while something is not well.
	suspectEvery = 2 * time.Second
)

// physician looks after everything this host needs, from time to time.
type physician struct {
	replica    agent.Replica
	containers func() []agent.Container
	machine    func(context.Context) (api.Machine, error)
	engine     func(context.Context) error
	probe      func(context.Context, probe.Check) error
	raft       func() api.Raft
	// now is the cluster's time, certProblems why host names are not served on
	// this host with what the state has.
	now          func() time.Time
	certProblems func() map[string]string
	// status is the address of nginx's local server.
	status string

	mu      sync.Mutex
	reports []api.HealthReport
	last    api.Machine
}

func (p *physician) run(ctx context.Context) error {
	// What is not well is looked at more often, so that the report follows
	// when it is; so is a start, when little is up yet.
	t := time.NewTimer(suspectEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
		r := p.look(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p.mu.Lock()
		p.reports = append(p.reports, r)
		if over := len(p.reports) - healthKept; over > 0 {
			p.reports = slices.Delete(p.reports, 0, over)
		}
		p.mu.Unlock()
		if t.Reset(healthEvery); r.Overall != api.Healthy {
			t.Reset(suspectEvery)
		}
	}
}

// all returns the reports, the newest last.
func (p *physician) all() []api.HealthReport {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.reports)
}

func (p *physician) use() api.Machine {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// look makes one report. The checks run side by side, because each may take
// as long as its timeout.
func (p *physician) look(ctx context.Context) api.HealthReport {
	checks := append([]check{
		{"system", p.system},
		{"engine", func(ctx context.Context) (string, string) { return answer(p.engine(ctx), "answers") }},
		{"nginx", p.nginx},
		{"raft", p.quorum},
	}, p.databases()...)
	if p.secures() {
		checks = append(checks, check{"certificates", p.certificates})
	}
	r := api.HealthReport{At: time.Now(), Overall: api.Healthy, Components: make([]api.Component, len(checks))}
	var wg sync.WaitGroup
	for n, c := range checks {
		wg.Go(func() {
			start := time.Now()
			ctx, cancel := context.WithTimeout(ctx, defaultProbeTimeout)
			defer cancel()
			status, detail := c.run(ctx)
			r.Components[n] = api.Component{Name: c.name, Status: status, Detail: detail,
				Milliseconds: float64(time.Since(start).Microseconds()) / 1000}
		})
	}
	wg.Wait()
	for _, c := range r.Components {
		if c.Status == api.Unhealthy || c.Status == api.Degraded && r.Overall == api.Healthy {
			r.Overall = c.Status
		}
	}
	return r
}

// check is one component's; run returns its status and a detail for people.
type check struct {
	name string
	run  func(context.Context) (status, detail string)
}

func answer(err error, well string) (status, detail string) {
	if err != nil {
		return api.Unhealthy, err.Error()
	}
	return api.Healthy, well
}

func (p *physician) system(ctx context.Context) (status, detail string) {
	m, err := p.machine(ctx)
	if err != nil {
		return api.Degraded, err.Error()
	}
	p.mu.Lock()
	p.last = m
	p.mu.Unlock()
	memory, disk := share(m.MemoryUsed, m.MemoryBytes), share(m.DiskUsed, m.DiskBytes)
	detail = fmt.Sprintf("cpu %.0f %%, memory %.0f %%, disk %.0f %%, load %.2f", 100*m.CPU, 100*memory, 100*disk, m.Load1)
	switch worst := max(memory, disk); {
	case worst >= unhealthyAbove:
		return api.Unhealthy, detail
	case worst >= degradedAbove || m.CPU >= unhealthyAbove:
		return api.Degraded, detail
	}
	return api.Healthy, detail
}

func share(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

func (p *physician) nginx(ctx context.Context) (status, detail string) {
	err := p.probe(ctx, probe.Check{Kind: probe.HTTP, Address: p.status, Path: "/health", Timeout: defaultProbeTimeout})
	if err != nil {
		return api.Unhealthy, err.Error()
	}
	c, _ := p.replica.Current()
	for h := range c.Hosts.Values() {
		if len(h.RejectedSites) > 0 {
			return api.Degraded, fmt.Sprintf("answers; %d sites keep their last good form", len(h.RejectedSites))
		}
	}
	return api.Healthy, "answers"
}

func (p *physician) quorum(context.Context) (status, detail string) {
	r := p.raft()
	if r.Leader == "" {
		return api.Unhealthy, "no leader is known"
	}
	return api.Healthy, fmt.Sprintf("%s leads term %d", r.Leader, r.Term)
}

// databases are the checks of the file's own database services on this host
// and of the databases outside.
func (p *physician) databases() []check {
	c, _ := p.replica.Current()
	var checks []check
	for _, d := range c.Spec.Databases {
		checks = append(checks, check{"database:" + d.Name, func(ctx context.Context) (string, string) {
			return answer(p.probe(ctx, probe.Check{Kind: probe.Kind(d.Engine), Address: d.Address, Timeout: defaultProbeTimeout}), "accepts connections")
		}})
	}
	running := p.containers()
	for i := range c.Instances.Values() {
		s, _ := c.ServiceOf(i)
		if s.Database == nil || !i.Active() {
			continue
		}
		checks = append(checks, check{"database:" + i.Name, func(ctx context.Context) (string, string) {
			return p.database(ctx, s, i, running)
		}})
	}
	return checks
}

func (p *physician) database(ctx context.Context, s state.Service, i state.Instance, running []agent.Container) (status, detail string) {
	for _, c := range running {
		if c.Instance != i.ID {
			continue
		}
		if at, ok := checkOf(s, c); ok {
			return answer(p.probe(ctx, at), "accepts connections")
		}
	}
	return api.Unhealthy, fmt.Sprintf("%s is %s and has no address yet", i.Name, i.Phase)
}
