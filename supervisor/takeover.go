package supervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/engine"
	"github.com/supervisord/supervisord/supervisor/state"
)

// foreigners are the containers of others, as the engine sees them.
type foreigners interface {
	Project(ctx context.Context, name string) ([]engine.Found, error)
	Foreign(ctx context.Context, ref string) (agent.Foreign, error)
}

// adoptedOn returns the containers that a host has adopted, as the state is then.
func adoptedOn(r *replica, host string) func() map[string]agent.Adopted {
	return func() map[string]agent.Adopted {
		c, _ := r.Current()
		return agent.AdoptedOn(c, host)
	}
}

// candidates looks which containers of this host could be adopted: those that
// docker compose runs of the project, and those that are named with a service.
func (n *node) candidates(ctx context.Context, named map[string]string) ([]state.Candidate, error) {
	c, _ := n.replica.Current()
	h, ok := c.Hosts.Get(n.self.Name)
	if !ok || n.foreigners == nil {
		return nil, errors.New("this host is not part of the cluster yet")
	}
	found, err := n.foreigners.Project(ctx, c.Spec.Project)
	if err != nil {
		return nil, err
	}
	var all []state.Candidate
	for _, f := range found {
		if _, byName := named[f.Name]; !f.Running || byName {
			continue
		}
		k, err := n.candidate(ctx, c, h, f.Container, f.Service)
		if errors.Is(err, agent.ErrNoContainer) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, k)
	}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		k, err := n.candidate(ctx, c, h, name, named[name])
		if errors.Is(err, agent.ErrNoContainer) {
			// It may be on another host.
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, k)
	}
	return all, nil
}

// candidate looks at one container, and asks it whether it is well.
func (n *node) candidate(ctx context.Context, c state.Cluster, h state.Host, ref, service string) (state.Candidate, error) {
	f, err := n.foreigners.Foreign(ctx, ref)
	if err != nil {
		return state.Candidate{}, err
	}
	s, ok := c.Spec.Services[service]
	if !ok {
		return state.Candidate{
			Adoptee: state.Adoptee{Service: service, Host: h.Name, Container: f.ID, Name: f.Name},
			Image:   f.Image, Cannot: fmt.Sprintf("the file has no service %q", service),
		}, nil
	}
	k := agent.Judge(c, h, s, f)
	for i := range c.Instances.Values() {
		if i.Container == f.ID {
			k.Adopted, k.Cannot = i.Name, ""
			return k, nil
		}
	}
	if k.Cannot != "" {
		return k, nil
	}
	as := agent.Container{ID: f.ID, Name: f.Name, Service: s.Name, Running: true, Address: k.Address}
	for _, name := range slices.Sorted(maps.Keys(f.Networks)) {
		if as.IP == "" {
			as.IP = f.Networks[name]
		}
	}
	if applies, err := n.prober.Probe(ctx, s, as); applies && err != nil {
		k.Sick = err.Error()
	}
	return k, nil
}

// Candidates implements peer.Node.
func (d desk) Candidates(ctx context.Context, named map[string]string) ([]state.Candidate, error) {
	return d.candidates(ctx, named)
}

// Candidates implements api.Backend.
func (b backend) Candidates(ctx context.Context, named map[string]string) ([]state.Candidate, error) {
	c, _ := b.State()
	if !b.node.connected() {
		return nil, &api.Error{Status: http.StatusServiceUnavailable, Message: "this host is cut off from the cluster; nothing can be adopted from here"}
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var all []state.Candidate
	var failed []string
	for h := range c.Hosts.Values() {
		if h.IsLost() {
			continue
		}
		wg.Go(func() {
			here, err := b.candidatesOf(ctx, h, named)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = append(failed, fmt.Sprintf("%s: %v", h.Name, err))
			}
			all = append(all, here...)
		})
	}
	wg.Wait()
	if len(failed) > 0 {
		slices.Sort(failed)
		return nil, &api.Error{Status: http.StatusServiceUnavailable, Message: "not every host can be asked what runs there: " + strings.Join(failed, "; ")}
	}
	return all, nil
}

func (b backend) candidatesOf(ctx context.Context, h state.Host, named map[string]string) ([]state.Candidate, error) {
	mine := map[string]string{}
	for ref, service := range named {
		// One may be named with its host.
		host, name, with := strings.Cut(ref, "/")
		switch {
		case !with:
			mine[ref] = service
		case host == h.Name:
			mine[name] = service
		}
	}
	if h.Name == b.options.Host || b.node.peers == nil {
		return b.node.candidates(ctx, mine)
	}
	return b.node.peers.Candidates(ctx, h.Peer, mine)
}

// HaveImages implements api.Backend.
func (b backend) HaveImages(ctx context.Context, services []string) error {
	c, _ := b.State()
	wanted := state.Spec{Services: map[string]state.Service{}}
	for _, name := range services {
		if s, ok := c.Spec.Services[name]; ok {
			wanted.Services[name] = s
		}
	}
	c.Spec.Services = nil
	return b.images(ctx, c, wanted)
}
