package supervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/compose"
	"github.com/supervisord/supervisord/supervisor/plan"
	"github.com/supervisord/supervisord/supervisor/state"
)

// Deploy puts a compose file in force: it reads the file as this host would its
// own, sees that the images are on the hosts that may need them and that there
// is room for the first new instances, and commits. The rollout is the
// leader's, and the hosts' files follow.
func (b backend) Deploy(ctx context.Context, d api.Deploy) (uint64, error) {
	c, _ := b.State()
	if !b.node.connected() {
		return 0, &api.Error{Status: http.StatusServiceUnavailable, Message: "this host is cut off from the cluster; nothing can be deployed from here"}
	}
	spec, err := b.specOf(ctx, c, d)
	if err != nil {
		return 0, err
	}
	if spec.Hash == c.Spec.Hash && (spec.Source == c.Spec.Source || d.Canary > 0) {
		return c.Spec.Revision, nil
	}
	if err := b.images(ctx, c, spec); err != nil {
		return 0, err
	}
	if short := plan.Short(c, spec); len(short) > 0 {
		var all []string
		for _, name := range slices.Sorted(maps.Keys(short)) {
			all = append(all, name+": "+short[name])
		}
		return 0, &api.Error{Status: http.StatusConflict, Message: "there is no room for the first new instance of " + strings.Join(all, "; "),
			Hint: "make room, or let the old ones stop first: deploy.update_config.order: stop-first"}
	}
	by := d.By
	if by == "" {
		by = "a deploy on " + b.options.Host
	}
	if !d.NoBackup {
		if err := b.backUpBefore(ctx, c, by); err != nil {
			return 0, err
		}
	}
	if d.Canary > 0 {
		refused, err := b.Propose(ctx, state.StartCanary{Spec: spec, Base: c.Spec.Revision, Share: d.Canary, By: by})
		return c.Spec.Revision, errors.Join(append(refused, err)...)
	}
	refused, err := b.Propose(ctx, state.SetSpec{Spec: spec, Base: c.Spec.Revision, Host: b.options.Host, By: by})
	if err := errors.Join(append(refused, err)...); err != nil {
		return 0, err
	}
	return c.Spec.Revision + 1, nil
}

// specOf reads what is to be deployed.
func (b backend) specOf(ctx context.Context, c state.Cluster, d api.Deploy) (state.Spec, error) {
	file, err := filepath.Abs(b.options.Config)
	if err != nil {
		return state.Spec{}, err
	}
	text := []byte(d.Text)
	if d.Text == "" {
		if text = []byte(c.Spec.Source); len(text) == 0 {
			return state.Spec{}, &api.Error{Status: http.StatusConflict, Message: "no compose file is in force whose text is known; give one with -f"}
		}
	}
	for _, service := range slices.Sorted(maps.Keys(d.Images)) {
		if text, err = compose.SetImage(file, text, service, d.Images[service]); err != nil {
			return state.Spec{}, notInOrder(err)
		}
	}
	p, err := compose.Parse(ctx, file, text, compose.Options{Environ: b.options.Environ, Dir: filepath.Dir(file), FS: os.DirFS("/")})
	if err != nil {
		return state.Spec{}, notInOrder(err)
	}
	for service, image := range d.Images {
		if got := p.Spec.Services[service].Container.Image; got != image {
			return state.Spec{}, notInOrder(fmt.Errorf("the image of %s is %q even so", service, got))
		}
	}
	return p.Spec, nil
}

func notInOrder(err error) error {
	return &api.Error{Status: http.StatusUnprocessableEntity, Message: err.Error(), Hint: "nothing was changed"}
}

// images sees that every host that may run a service whose definition is new
// has its image, and pulls it where it is not.
func (b backend) images(ctx context.Context, c state.Cluster, spec state.Spec) error {
	type errand struct{ host, image string }
	wanted := map[errand]bool{}
	for name, s := range spec.Services {
		if s.Hash == c.Spec.Services[name].Hash {
			continue
		}
		home := c.HomeOf(s)
		for h := range c.Hosts.Values() {
			_, against := s.Placement.Against(h)
			if against || h.IsLost() || home != "" && home != h.Name {
				continue
			}
			wanted[errand{h.Name, s.Container.Image}] = true
		}
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var failed []string
	for e := range wanted {
		wg.Go(func() {
			if err := b.fetch(ctx, c, e.host, e.image); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, fmt.Sprintf("%s: %v", e.host, err))
			}
		})
	}
	wg.Wait()
	if len(failed) == 0 {
		return nil
	}
	slices.Sort(failed)
	return &api.Error{Status: http.StatusConflict, Message: "not every host has the images: " + strings.Join(failed, "; "),
		Hint: "push them to a registry that the hosts can pull from, or load them there (docker load)"}
}

func (b backend) fetch(ctx context.Context, c state.Cluster, host, image string) error {
	if host == b.options.Host || b.node.peers == nil {
		return b.engine.Fetch(ctx, image)
	}
	h, _ := c.Hosts.Get(host)
	return b.node.peers.Fetch(ctx, h.Peer, image)
}
