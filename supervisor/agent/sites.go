package agent

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/supervisor/state"
)

// Sites is what the load balancer of a host serves in a given state at a time
// of the cluster: every service with an ingress, with its ready instances on all
// hosts. The generation is the state's index. Next is when it changes with
// time alone, because fresh instances get more; zero where it does not.
func Sites(c state.Cluster, listen []string, status string, now time.Time) (cfg lbconfig.Config, next time.Time) {
	cfg = lbconfig.Config{Generation: c.Index, Listen: listen, Status: status}
	if len(c.Spec.Nginx.Listen) > 0 {
		cfg.Listen = c.Spec.Nginx.Listen
	}
	for _, name := range slices.Sorted(maps.Keys(c.Spec.Services)) {
		s := c.Spec.Services[name]
		if s.Ingress == nil {
			continue
		}
		servers, at := serversOf(c, s, now)
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
		cfg.Sites = append(cfg.Sites, lbconfig.Site{Service: name, Ingress: *s.Ingress, Servers: servers})
	}
	return cfg, next
}

// serversOf are the backends of a service, with their weights.
func serversOf(c state.Cluster, s state.Service, now time.Time) (servers []lbconfig.Server, next time.Time) {
	var all []served
	for i := range c.Of(s.Name) {
		if i.Phase != state.Ready || i.Address == "" {
			continue
		}
		steps, due := ramp(now.Sub(i.PhaseAt), s.Ingress.SlowStart)
		if at := i.PhaseAt.Add(due); due > 0 && (next.IsZero() || at.Before(next)) {
			next = at
		}
		all = append(all, served{i, lbconfig.Server{Instance: i.Name, Address: i.Address}, steps})
	}
	slices.SortFunc(all, func(a, b served) int {
		return cmp.Or(cmp.Compare(a.server.Instance, b.server.Instance), cmp.Compare(a.server.Address, b.server.Address))
	})
	weigh(all, c.Canary.Share, scaleOf(*s.Ingress))
	for _, one := range all {
		servers = append(servers, one.server)
	}
	return servers, next
}
