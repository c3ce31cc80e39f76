package apitest

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/state"
)

// Runs adds a container that is not ours. One without a project is found by its
// name only: its service is the one that it is named with.
func (b *Backend) Runs(k state.Candidate) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.foreign = append(b.foreign, k)
}

// Candidates implements api.Backend.
func (b *Backend) Candidates(ctx context.Context, named map[string]string) ([]state.Candidate, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []state.Candidate
	for _, k := range slices.Clone(b.foreign) {
		for ref, service := range named {
			if ref == k.Name || strings.HasSuffix(ref, "/"+k.Name) {
				k.Service = service
			}
		}
		for i := range b.cluster.Instances.Values() {
			if i.Container == k.Container {
				k.Adopted = i.Name
			}
		}
		if k.Service != "" {
			all = append(all, k)
		}
	}
	return all, nil
}

// HaveImages implements api.Backend: an image named "nowhere" is not to be had.
func (b *Backend) HaveImages(_ context.Context, services []string) error {
	c, _ := b.State()
	for _, name := range services {
		if strings.HasPrefix(c.Spec.Services[name].Container.Image, "nowhere") {
			return &api.Error{Status: http.StatusConflict, Message: "not every host has the images"}
		}
	}
	return nil
}

// RunCompose has docker compose run what the example's file has: two backends
// that can be adopted, a database that cannot, and what the file does not have.
// Beside them is a plain container "old-backend".
func (b *Backend) RunCompose() {
	on := func(service, container, name, address string) state.Adoptee {
		return state.Adoptee{Service: service, Host: "alpha", Container: container, Name: name, Restart: "always", Address: address}
	}
	b.Runs(state.Candidate{Adoptee: on("backend", "c1", "acme_backend_1", "127.0.0.1:8001"), Image: "acme/backend:1.3",
		Differences: []string{"image acme/backend:1.3, the file says acme/backend:1.4", "without the variables API_KEY"}})
	b.Runs(state.Candidate{Adoptee: on("backend", "c2", "acme_backend_2", "127.0.0.1:8002"), Image: "acme/backend:1.4"})
	b.Runs(state.Candidate{Adoptee: on("postgres", "c3", "acme_postgres_1", ""), Image: "postgres:15"})
	b.Runs(state.Candidate{Adoptee: on("cache", "c4", "acme_cache_1", ""), Image: "redis:7", Cannot: `the file has no service "cache"`})
	b.Runs(state.Candidate{Adoptee: on("", "c5", "old-backend", "127.0.0.1:8009"), Image: "acme/backend:0.9"})
	b.Runs(state.Candidate{Adoptee: on("", "c6", "sick-backend", "127.0.0.1:8010"), Image: "acme/backend:0.8", Sick: "GET /health: connection refused"})
}

// Settle has every instance do what it is on its way to: those that start are
// ready, those that leave are gone.
func (b *Backend) Settle() {
	c, _ := b.State()
	for i := range c.Instances.Values() {
		if i.Active() && i.Phase != state.Ready {
			b.Must(state.Observe{ID: i.ID, Phase: state.Ready, Container: i.Container, Address: i.Address})
		}
		if !i.Active() {
			b.Must(state.Gone{ID: i.ID})
		}
	}
}
