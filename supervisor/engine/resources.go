package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"

	"github.com/supervisord/supervisord/supervisor/state"
)

// Prepare makes the networks and volumes of a spec exist. What exists stays as
// it is, whoever made it; what is external and missing is an error. Nothing is
// ever removed.
func (e *Engine) Prepare(ctx context.Context, spec state.Spec) error {
	e.preparing.Lock()
	defer e.preparing.Unlock()
	short, cancel := e.within(ctx)
	defer cancel()
	for _, key := range slices.Sorted(maps.Keys(spec.Networks)) {
		if err := e.prepareNetwork(short, spec.Networks[key]); err != nil {
			return failure(ctx, err, "network %s", spec.Networks[key].Name)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(spec.Volumes)) {
		if err := e.prepareVolume(short, spec.Volumes[key]); err != nil {
			return failure(ctx, err, "volume %s", spec.Volumes[key].Name)
		}
	}
	return nil
}

func (e *Engine) prepareNetwork(ctx context.Context, n state.Network) error {
	// The engine's filter matches parts of names too.
	list, err := e.api().NetworkList(ctx, network.ListOptions{Filters: filters.NewArgs(filters.Arg("name", n.Name))})
	if err != nil {
		return fmt.Errorf("look for it: %w", err)
	}
	if slices.ContainsFunc(list, func(s network.Summary) bool { return s.Name == n.Name }) {
		return nil
	}
	if n.External {
		return fmt.Errorf("it is external and does not exist on this host: create it, or do without external")
	}
	_, err = e.api().NetworkCreate(ctx, n.Name, network.CreateOptions{
		Driver: n.Driver, Internal: n.Internal, Options: n.Options, Labels: e.withLabel(n.Labels),
	})
	if err != nil && !cerrdefs.IsConflict(err) {
		return fmt.Errorf("create it: %w", err)
	}
	return nil
}

func (e *Engine) prepareVolume(ctx context.Context, v state.Volume) error {
	_, err := e.api().VolumeInspect(ctx, v.Name)
	switch {
	case err == nil:
		return nil
	case !cerrdefs.IsNotFound(err):
		return fmt.Errorf("look for it: %w", err)
	case v.External:
		return fmt.Errorf("it is external and does not exist on this host: create it, or do without external")
	}
	_, err = e.api().VolumeCreate(ctx, volume.CreateOptions{
		Name: v.Name, Driver: v.Driver, DriverOpts: v.Options, Labels: e.withLabel(v.Labels),
	})
	if err != nil {
		return fmt.Errorf("create it: %w", err)
	}
	return nil
}

func (e *Engine) withLabel(own map[string]string) map[string]string {
	all := make(map[string]string, len(own)+1)
	maps.Copy(all, own)
	all[LabelCluster] = e.cluster
	return all
}
