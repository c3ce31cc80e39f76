package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"

	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/state"
)

// alone fails with agent.ErrHeld where a running container that is not ours
// writes to the data that a launch would own: two of it at once would ruin it.
// Other services of the launch's own compose project may share the data: the
// file says so.
func (e *Engine) alone(ctx context.Context, l agent.Launch) error {
	if !l.OwnsData {
		return nil
	}
	list, err := e.strangers(ctx)
	if err != nil {
		return fmt.Errorf("look who else has the data: %w", err)
	}
	for _, c := range list {
		if c.Labels[composeProject] == l.Project && l.Project != "" && c.Labels[composeService] != l.Service {
			continue
		}
		for _, m := range c.Mounts {
			if m.RW && writes(l.Spec.Mounts, m) {
				return fmt.Errorf("container %s (%.12s) runs on the same data (%s): stop it, or take it over (supervisord adopt): %w",
					nameOf(c), c.ID, cmp.Or(m.Name, m.Source), agent.ErrHeld)
			}
		}
	}
	return nil
}

// strangers are the running containers that are not ours.
func (e *Engine) strangers(ctx context.Context) ([]container.Summary, error) {
	short, cancel := e.within(ctx)
	defer cancel()
	list, err := e.api().ContainerList(short, container.ListOptions{})
	if err != nil {
		return nil, err
	}
	adopted := e.adoptedHere()
	return slices.DeleteFunc(list, func(c container.Summary) bool {
		_, ours := adopted[c.ID]
		return ours || c.Labels[LabelCluster] == e.cluster
	}), nil
}

// writes says whether one of a definition's writable mounts is the same place.
func writes(own []state.Mount, there container.MountPoint) bool {
	for _, m := range own {
		if m.ReadOnly || m.Source == "" || m.Type != string(there.Type) {
			continue
		}
		if m.Source == there.Name || m.Type == string(mount.TypeBind) && m.Source == there.Source && holdsData(m.Source) {
			return true
		}
	}
	return false
}

// holdsData says whether a bind's source may be data of the container's own.
// Sockets and single files, as the engine's socket and /etc/localtime, are
// shared by many, and so is what the machine itself has.
func holdsData(source string) bool {
	for _, dir := range []string{"/dev", "/proc", "/run", "/sys", "/var/run"} {
		if source == dir || strings.HasPrefix(source, dir+"/") {
			return false
		}
	}
	info, err := os.Stat(source)
	return source != "/" && source != "/tmp" && (err != nil || info.IsDir())
}

// holder names the container that has a port which a launch publishes by hand,
// as agent.ErrHeld; nil where none has.
func (e *Engine) holder(ctx context.Context, l agent.Launch) error {
	list, err := e.strangers(ctx)
	if err != nil {
		return errors.Join(errors.New("look who has the port"), err)
	}
	for _, c := range list {
		for _, p := range c.Ports {
			for _, own := range l.Spec.Ports {
				if p.PublicPort != 0 && own.Published == strconv.Itoa(int(p.PublicPort)) && cmp.Or(own.Protocol, "tcp") == p.Type {
					return fmt.Errorf("container %s (%.12s) publishes port %d: stop it, or take it over (supervisord adopt): %w",
						nameOf(c), c.ID, p.PublicPort, agent.ErrHeld)
				}
			}
		}
	}
	return nil
}
