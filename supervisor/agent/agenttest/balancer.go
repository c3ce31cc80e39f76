package agenttest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/supervisor/agent"
)

var _ agent.LoadBalancer = (*Balancer)(nil)

// Overlap is how long the workers of an older configuration may still accept
// connections after a reload, as measured.
const Overlap = 100 * time.Millisecond

// BalancerOptions say how a load balancer behaves; the zero value always does
// what it is told.
type BalancerOptions struct {
	// Dice draw the delays; nil for those of seed 0. Name is part of the names
	// that are drawn.
	Dice *Dice
	Name string
	// Fail is asked before each configuration; an error leaves all as it was.
	Fail func() error
	// Reject is asked about each site; a reason leaves the site as it was.
	Reject func(lbconfig.Site) string
	// Changed is called when another set of addresses gets requests, from the
	// goroutine that caused it and without any lock; nil for nobody.
	Changed func()
}

// Balancer is an nginx in memory: agents come and go, it stays.
type Balancer struct {
	o BalancerOptions
	// one configuration at a time.
	applying chan struct{}

	mu      sync.Mutex
	served  lbconfig.Config
	applied []lbconfig.Config
	old     []workers
}

// workers of an older configuration accept until then.
type workers struct {
	addresses []string
	until     time.Time
}

// NewBalancer makes a balancer that serves nothing yet.
func NewBalancer(o BalancerOptions) *Balancer {
	if o.Dice == nil {
		o.Dice = NewDice(0)
	}
	if o.Fail == nil {
		o.Fail = func() error { return nil }
	}
	if o.Reject == nil {
		o.Reject = func(lbconfig.Site) string { return "" }
	}
	if o.Changed == nil {
		o.Changed = func() {}
	}
	return &Balancer{o: o, applying: make(chan struct{}, 1)}
}

// Apply implements agent.LoadBalancer: test, reload, wait for the answer of
// the new generation. A caller whose context ends in between does not learn
// whether the reload came about.
func (b *Balancer) Apply(ctx context.Context, cfg lbconfig.Config) (lbconfig.Outcome, error) {
	select {
	case b.applying <- struct{}{}:
		defer func() { <-b.applying }()
	case <-ctx.Done():
		return lbconfig.Outcome{}, ctx.Err()
	}
	start := time.Now()
	if err := pause(ctx, b.o.Dice.Between(b.o.Name+"/test", 6*time.Millisecond, 20*time.Millisecond)); err != nil {
		return lbconfig.Outcome{}, err
	}
	if err := b.o.Fail(); err != nil {
		return lbconfig.Outcome{}, fmt.Errorf("reload nginx: %w", err)
	}
	out := b.put(cfg)
	if !out.Changed {
		return out, nil
	}
	b.o.Changed()
	if err := pause(ctx, b.o.Dice.Between(b.o.Name+"/reload", 5*time.Millisecond, 130*time.Millisecond)); err != nil {
		return lbconfig.Outcome{}, err
	}
	out.Answered = time.Since(start)
	return out, nil
}

// put puts in force what is accepted of a configuration.
func (b *Balancer) put(cfg lbconfig.Config) lbconfig.Outcome {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.applied = append(b.applied, cfg)
	next, out := cfg, lbconfig.Outcome{}
	next.Sites = nil
	for _, s := range cfg.Sites {
		if why := b.o.Reject(s); why != "" {
			if out.Rejected == nil {
				out.Rejected = map[string]string{}
			}
			out.Rejected[s.Service] = why
			last, had := site(b.served, s.Service)
			if !had {
				continue
			}
			s = last
		}
		next.Sites = append(next.Sites, s)
	}
	if slices.EqualFunc(next.Sites, b.served.Sites, sameServers) {
		out.Generation = b.served.Generation
		b.served.Sites = next.Sites
		return out
	}
	now := time.Now()
	b.old = slices.DeleteFunc(b.old, func(w workers) bool { return !now.Before(w.until) })
	b.old = append(b.old, workers{addresses(b.served), now.Add(Overlap)})
	b.served = next
	out.Generation, out.Changed = next.Generation, true
	return out
}

func sameServers(a, b lbconfig.Site) bool {
	return a.Service == b.Service && slices.Equal(a.Servers, b.Servers)
}

func site(c lbconfig.Config, service string) (lbconfig.Site, bool) {
	for _, s := range c.Sites {
		if s.Service == service {
			return s, true
		}
	}
	return lbconfig.Site{}, false
}

func addresses(c lbconfig.Config) []string {
	var all []string
	for _, s := range c.Sites {
		for _, server := range s.Servers {
			all = append(all, server.Address)
		}
	}
	return all
}

// Served are the addresses that the configuration in force sends to, by
// service.
func (b *Balancer) Served() map[string][]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := map[string][]string{}
	for _, s := range b.served.Sites {
		all[s.Service] = addresses(lbconfig.Config{Sites: []lbconfig.Site{s}})
	}
	return all
}

// Config is the configuration in force.
func (b *Balancer) Config() lbconfig.Config {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.served
}

// Applied are all configurations that it was given and did not fail, oldest
// first.
func (b *Balancer) Applied() []lbconfig.Config {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.applied)
}

// Accepting are the addresses that may get a new request at this moment: those
// in force, and those of workers that have not left yet.
func (b *Balancer) Accepting() map[string]bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := map[string]bool{}
	for _, a := range addresses(b.served) {
		all[a] = true
	}
	for _, w := range b.old {
		if time.Now().Before(w.until) {
			for _, a := range w.addresses {
				all[a] = true
			}
		}
	}
	return maps.Clone(all)
}
