package compose

import (
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/supervisord/supervisord/supervisor/state"
)

// container is all that the engine needs to create an instance of a service.
func (b *builder) container(p place, s types.ServiceConfig) state.Container {
	c := state.Container{
		Image:       s.Image,
		Command:     s.Command,
		Entrypoint:  s.Entrypoint,
		Environment: b.environment(p, s, b.env, b.files),
		User:        s.User,
		WorkingDir:  s.WorkingDir,
		ReadOnly:    s.ReadOnly,
		Init:        s.Init,
		Tmpfs:       tmpfsMounts(s.Tmpfs),
		CapAdd:      s.CapAdd,
		CapDrop:     s.CapDrop,
		SecurityOpt: s.SecurityOpt,
		Ulimits:     b.ulimits(p, s.Ulimits),
		StopSignal:  s.StopSignal,
		StopGrace:   defaultGrace,
		Labels:      s.Labels,
		ExtraHosts:  hosts(s.ExtraHosts),
		Ports:       ports(s.Ports),
		Expose:      s.Expose,
		Networks:    b.attachments(p, s),
		Healthcheck: healthcheck(s.HealthCheck),
		Resources:   resources(s.Deploy),
	}
	if s.StopGracePeriod != nil {
		c.StopGrace = time.Duration(*s.StopGracePeriod)
	}
	if s.Logging != nil {
		c.Logging = &state.Logging{Driver: s.Logging.Driver, Options: s.Logging.Options}
	}
	if s.PidsLimit != 0 {
		if c.Resources.PidsLimit != 0 && c.Resources.PidsLimit != s.PidsLimit {
			b.path(p.child("pids_limit"), "differs from deploy.resources.limits.pids", "one of the two")
		}
		c.Resources.PidsLimit = s.PidsLimit
	}
	c.Mounts = b.mounts(p, s)
	b.checkTargets(p, c)
	return c
}

func tmpfsMounts(list []string) map[string]string {
	var out map[string]string
	for _, item := range list {
		target, options, _ := strings.Cut(item, ":")
		put(&out, path.Clean(target), options)
	}
	return out
}

func (b *builder) ulimits(p place, limits map[string]*types.UlimitsConfig) []state.Ulimit {
	var out []state.Ulimit
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		l := limits[name]
		u := state.Ulimit{Name: name, Soft: int64(l.Soft), Hard: int64(l.Hard)}
		if l.Single != 0 {
			u.Soft, u.Hard = int64(l.Single), int64(l.Single)
		}
		if u.Hard >= 0 && (u.Soft > u.Hard || u.Soft < 0) {
			b.path(p.child("ulimits", name), "soft is over hard", "soft up to hard")
		}
		out = append(out, u)
	}
	return out
}

func hosts(list types.HostsList) []string {
	var out []string
	for name, addresses := range list {
		for _, a := range addresses {
			out = append(out, name+":"+a)
		}
	}
	slices.Sort(out)
	return out
}

func ports(list []types.ServicePortConfig) []state.Port {
	var out []state.Port
	for _, p := range list {
		out = append(out, state.Port{HostIP: p.HostIP, Published: p.Published, Target: p.Target, Protocol: p.Protocol})
	}
	return out
}

func healthcheck(h *types.HealthCheckConfig) *state.Healthcheck {
	if h == nil {
		return nil
	}
	if h.Disable {
		return &state.Healthcheck{Test: []string{"NONE"}}
	}
	out := &state.Healthcheck{Test: h.Test}
	for _, d := range []struct {
		from *types.Duration
		into *time.Duration
	}{{h.Interval, &out.Interval}, {h.Timeout, &out.Timeout}, {h.StartPeriod, &out.StartPeriod}} {
		if d.from != nil {
			*d.into = time.Duration(*d.from)
		}
	}
	if h.Retries != nil {
		out.Retries = int(*h.Retries)
	}
	return out
}

func resources(d *types.DeployConfig) state.Resources {
	var out state.Resources
	if d == nil {
		return out
	}
	if l := d.Resources.Limits; l != nil {
		out.CPULimit, out.MemoryLimit, out.PidsLimit = coresOf(l.NanoCPUs), int64(l.MemoryBytes), l.Pids
	}
	if l := d.Resources.Reservations; l != nil {
		out.CPUReservation, out.MemoryReservation = coresOf(l.NanoCPUs), int64(l.MemoryBytes)
	}
	return out
}

// coresOf gives 0.1 for docker compose's float32(0.1), not 0.10000000149.
func coresOf(n types.NanoCPUs) float64 {
	text := strconv.FormatFloat(float64(n), 'g', -1, 32)
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return float64(n)
	}
	return f
}

// attachments joins the service under its name. Networks on which the engine
// can publish ports come first, then by name: the first one is the container's
// main network.
func (b *builder) attachments(p place, s types.ServiceConfig) []state.Attachment {
	if s.NetworkMode != "" {
		if len(s.Networks) > 0 {
			b.path(p.child("network_mode"), "does not go together with networks", "one of the two")
		}
		return []state.Attachment{{Network: s.NetworkMode}}
	}
	keys := slices.Sorted(maps.Keys(s.Networks))
	slices.SortStableFunc(keys, func(a, c string) int {
		return compareBool(b.project.Networks[a].Internal, b.project.Networks[c].Internal)
	})
	var out []state.Attachment
	for _, key := range keys {
		network, ok := b.project.Networks[key]
		if !ok {
			if b.root.get("networks").get(key) == nil {
				b.path(b.listed(p.child("networks"), key), "there is no network "+quote(key)+" in networks", "")
			}
			continue
		}
		aliases := []string{s.Name}
		if s.Networks[key] != nil {
			aliases = append(aliases, s.Networks[key].Aliases...)
		}
		slices.Sort(aliases)
		out = append(out, state.Attachment{Network: network.Name, Aliases: slices.Compact(aliases)})
	}
	return out
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// mounts are the service's volumes, then its secrets and configs as read-only
// files where docker compose puts them.
func (b *builder) mounts(p place, s types.ServiceConfig) []state.Mount {
	var out []state.Mount
	for _, v := range s.Volumes {
		out = append(out, b.volumeMount(p, v))
	}
	for _, ref := range s.Secrets {
		object, ok := b.project.Secrets[ref.Source]
		at := b.listed(p.child("secrets"), ref.Source)
		out = b.fileMount(out, at, "secrets", types.FileReferenceConfig(ref), types.FileObjectConfig(object), ok, "/run/secrets/")
	}
	for _, ref := range s.Configs {
		object, ok := b.project.Configs[ref.Source]
		at := b.listed(p.child("configs"), ref.Source)
		out = b.fileMount(out, at, "configs", types.FileReferenceConfig(ref), types.FileObjectConfig(object), ok, "/")
	}
	return out
}

func (b *builder) volumeMount(p place, v types.ServiceVolumeConfig) state.Mount {
	m := state.Mount{Type: v.Type, Source: v.Source, Target: v.Target, ReadOnly: v.ReadOnly}
	if v.Bind != nil {
		m.Propagation = v.Bind.Propagation
	}
	if v.Volume != nil {
		m.NoCopy = v.Volume.NoCopy
	}
	if v.Tmpfs != nil {
		m.TmpfsSize, m.TmpfsMode = int64(v.Tmpfs.Size), v.Tmpfs.Mode
	}
	if v.Type != types.VolumeTypeVolume || v.Source == "" {
		return m
	}
	volume, ok := b.project.Volumes[v.Source]
	if !ok {
		if b.root.get("volumes").get(v.Source) == nil {
			b.path(b.mountPath(p.child("volumes"), v), "there is no volume "+quote(v.Source)+" in volumes",
				"a volume of this file, or a path that begins with ./ or /")
		}
		return m
	}
	m.Source = volume.Name
	return m
}

// mountPath is the item of volumes that a mount comes from.
func (b *builder) mountPath(p place, v types.ServiceVolumeConfig) place {
	at := b.root.get(p[0]).get(p[1]).get(p[2])
	if at == nil {
		return p
	}
	for i, it := range at.items {
		if t := it.get("target"); t != nil && t.text == v.Target || it.kind == scalarKind && strings.HasPrefix(it.text, v.Source+":"+v.Target) {
			return p.child(index(i))
		}
	}
	return p
}

func (b *builder) fileMount(out []state.Mount, at place, kind string, ref types.FileReferenceConfig,
	object types.FileObjectConfig, ok bool, dir string,
) []state.Mount {
	if !ok {
		if b.root.get(kind).get(ref.Source) == nil {
			b.path(at, "there is no "+quote(ref.Source)+" in "+kind, "")
		}
		return out
	}
	target := ref.Target
	if target == "" {
		target = ref.Source
	}
	if !path.IsAbs(target) {
		target = dir + target
	}
	return append(out, state.Mount{
		Type: types.VolumeTypeBind, Source: object.File, Target: path.Clean(target), ReadOnly: true,
	})
}

// checkTargets refuses two mounts at one place.
func (b *builder) checkTargets(p place, c state.Container) {
	seen := map[string]bool{}
	for target := range c.Tmpfs {
		seen[target] = true
	}
	for _, m := range c.Mounts {
		target := path.Clean(m.Target)
		if seen[target] {
			b.path(p.child("volumes"), "two mounts at "+quote(target), "one mount at each path")
		}
		seen[target] = true
	}
}
