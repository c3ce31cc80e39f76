package agent

import (
	"cmp"
	"maps"
	"slices"

	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/supervisor/state"
)

// Sites is what the load balancer of a host serves in a given state: every
// service with an ingress, with its ready instances on all hosts. The
// generation is the state's index.
func Sites(c state.Cluster, listen []string, status string) lbconfig.Config {
	cfg := lbconfig.Config{Generation: c.Index, Listen: listen, Status: status}
	if len(c.Spec.Nginx.Listen) > 0 {
		cfg.Listen = c.Spec.Nginx.Listen
	}
	for _, name := range slices.Sorted(maps.Keys(c.Spec.Services)) {
		s := c.Spec.Services[name]
		if s.Ingress == nil {
			continue
		}
		site := lbconfig.Site{Service: name, Ingress: *s.Ingress}
		for i := range c.Of(name) {
			if i.Phase == state.Ready && i.Address != "" {
				site.Servers = append(site.Servers, lbconfig.Server{Instance: i.Name, Address: i.Address})
			}
		}
		slices.SortFunc(site.Servers, func(a, b lbconfig.Server) int {
			return cmp.Or(cmp.Compare(a.Instance, b.Instance), cmp.Compare(a.Address, b.Address))
		})
		cfg.Sites = append(cfg.Sites, site)
	}
	return cfg
}
