package compose

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/supervisord/supervisord/supervisor/state"
)

// builder turns the loaded file into a Spec.
type builder struct {
	*report
	// project is nil where docker compose's loader has found a problem; our own
	// keys are checked all the same.
	project *types.Project
	env     variables
	files   *files
	// dir is what relative paths begin at.
	dir    string
	builds []Build
}

// defaultGrace is docker compose's time between stop signal and kill.
const defaultGrace = 10 * time.Second

func (b *builder) spec(name string) state.Spec {
	spec := state.Spec{Project: name, Services: map[string]state.Service{}}
	spec.Nginx, spec.Databases, spec.Backup = readSupervisor(b.report, place{"x-supervisor"}, b.root.get("x-supervisor"))
	spec.TLS = b.readTLS(place{"x-supervisor", "tls"}, b.root.get("x-supervisor").get("tls"))
	if b.root.get("version") != nil {
		b.warn(place{"version"}, "obsolete, has no effect")
	}
	for _, name := range b.serviceNames() {
		spec.Services[name] = b.service(name)
	}
	if b.project != nil {
		b.resources(&spec)
		b.fileObjects()
	}
	b.checkSpec(spec)
	return b.hashed(spec)
}

// serviceNames are the services with a valid name, in the order of the file.
func (b *builder) serviceNames() []string {
	all := b.root.get("services")
	if all == nil {
		return nil
	}
	var names []string
	for _, name := range all.names {
		if servicePattern.MatchString(name) && all.get(name).kind == mapKind {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		b.path(place{"services"}, "no services", "at least one service")
	}
	return names
}

func (b *builder) service(name string) state.Service {
	p := place{"services", name}
	v := b.root.get("services").get(name)
	s := state.Service{Name: name, Replicas: 1}
	if x := v.get("x-autoscale"); x != nil {
		s.Autoscale = readAutoscale(b.report, p.child("x-autoscale"), x)
	}
	var drain time.Duration
	if x := v.get("x-ingress"); x != nil {
		if in := readIngress(b.report, p.child("x-ingress"), x); in != nil {
			s.Ingress, drain = &in.Ingress, in.drain
		}
	}
	image := ""
	if v.get("image") != nil {
		image = v.get("image").text
	}
	s.Database = readDatabase(b.report, p.child("x-database"), v.get("x-database"), name, image)
	b.checkImage(p, v)
	if x := v.get("x-backup"); x != nil {
		s.Backup = readBackup(b.report, p.child("x-backup"), x, image)
		b.checkBackup(p.child("x-backup"), s.Backup)
	}
	if b.project == nil {
		return s
	}
	config, ok := b.project.Services[name]
	if !ok {
		return s
	}
	s.Container = b.container(p, config)
	s.Stateful = stateful(s.Container.Mounts)
	s.DependsOn = dependencies(config)
	if d := v.get("deploy"); d != nil {
		s.Placement = readPlacement(d.get("placement"))
		s.Update = readUpdate(d.get("update_config"))
	}
	if x := v.get("x-deploy"); x != nil {
		readDeploy(b.report, p.child("x-deploy"), x, &s.Update)
	}
	b.replicas(p, &s, config)
	if s.Drain = drain; drain == 0 && s.Ingress != nil {
		s.Drain = state.DefaultDrain
	}
	b.checkService(p, s, config)
	return s
}

var imagePattern = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9._:/@-]{0,500}[a-zA-Z0-9])?$`)

func (b *builder) checkImage(p place, v *value) {
	image, build := v.get("image"), v.get("build")
	at := p.child("image")
	switch {
	case image == nil && build != nil:
		b.key(p.child("build"), build, "what is built needs a name", "image next to build")
	case image == nil:
		b.path(at, "missing", "the name of an image")
	case b.isBad(at):
	case !imagePattern.MatchString(image.text):
		b.at(at, image, image.written(), "the name of an image such as acme/backend:1.4")
	}
	if image != nil && build != nil {
		b.builds = append(b.builds, b.readBuild(p[1], image.text, build))
	}
}

// replicas sets the count; that of an autoscaled service begins at its min
// where the file does not say it.
func (b *builder) replicas(p place, s *state.Service, config types.ServiceConfig) {
	said := config.Deploy != nil && config.Deploy.Replicas != nil
	if said {
		s.Replicas = *config.Deploy.Replicas
	}
	if s.Autoscale == nil {
		return
	}
	if !said {
		s.Replicas = s.Autoscale.Min
	}
	if s.Replicas < s.Autoscale.Min || s.Replicas > s.Autoscale.Max {
		b.outsideBounds(p.child("deploy", "replicas"), *s)
	}
}

// dependencies are in the order of their names.
func dependencies(config types.ServiceConfig) []state.Dependency {
	var out []state.Dependency
	for _, name := range slices.Sorted(maps.Keys(config.DependsOn)) {
		out = append(out, state.Dependency{
			Service: name,
			Healthy: config.DependsOn[name].Condition == types.ServiceConditionHealthy,
		})
	}
	return out
}

// stateful says whether the mounts hold data that outlives the container.
func stateful(mounts []state.Mount) bool {
	return slices.ContainsFunc(mounts, func(m state.Mount) bool {
		return !m.ReadOnly && m.Source != "" && (m.Type == types.VolumeTypeVolume || m.Type == types.VolumeTypeBind)
	})
}

// resources are the networks that services use, and all volumes, as docker
// compose creates them.
func (b *builder) resources(spec *state.Spec) {
	used := map[string]bool{}
	for _, s := range spec.Services {
		for _, a := range s.Container.Networks {
			used[a.Network] = true
		}
	}
	for _, key := range slices.Sorted(maps.Keys(b.project.Networks)) {
		n := b.project.Networks[key]
		if !used[n.Name] {
			b.warn(place{"networks", key}, "not used by any service")
			continue
		}
		b.checkEngineName(place{"networks", key, "name"}, n.Name)
		put(&spec.Networks, key, state.Network{
			Name: n.Name, External: bool(n.External), Internal: n.Internal,
			Driver: n.Driver, Options: n.DriverOpts, Labels: n.Labels,
		})
	}
	for _, key := range slices.Sorted(maps.Keys(b.project.Volumes)) {
		v := b.project.Volumes[key]
		b.checkEngineName(place{"volumes", key, "name"}, v.Name)
		put(&spec.Volumes, key, state.Volume{
			Name: v.Name, External: bool(v.External),
			Driver: v.Driver, Options: v.DriverOpts, Labels: v.Labels,
		})
	}
}

func (b *builder) checkEngineName(p place, name string) {
	if !containerPattern.MatchString(name) {
		b.path(p, quote(name), "letters, digits, dots, hyphens and underscores")
	}
}

func put[V any](m *map[string]V, key string, val V) {
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[key] = val
}

// fileObjects checks that the files of secrets and configs are there.
func (b *builder) fileObjects() {
	check := func(kind, key, file string) {
		if file == "" {
			return
		}
		if err := b.files.exists(file); err != nil {
			b.path(place{kind, key, "file"}, quote(file)+": "+reason(err), "")
		}
	}
	for _, key := range slices.Sorted(maps.Keys(b.project.Secrets)) {
		check("secrets", key, b.project.Secrets[key].File)
	}
	for _, key := range slices.Sorted(maps.Keys(b.project.Configs)) {
		check("configs", key, b.project.Configs[key].File)
	}
}

func (b *builder) hashed(spec state.Spec) state.Spec {
	for _, name := range slices.Sorted(maps.Keys(spec.Services)) {
		s := spec.Services[name]
		hash, err := serviceHash(s)
		if err != nil {
			b.path(place{"services", name}, err.Error(), "")
		}
		s.Hash = hash
		spec.Services[name] = s
	}
	hash, err := specHash(spec)
	if err != nil {
		b.path(nil, err.Error(), "")
	}
	spec.Hash = hash
	return spec
}

// listed is the place of name in a list of names, or of the key in a mapping.
func (b *builder) listed(p place, name string) place {
	v := b.root
	for _, part := range p {
		if v = v.get(part); v == nil {
			return p
		}
	}
	if v.kind != listKind {
		return p.child(name)
	}
	for i, it := range v.items {
		if it.text == name || strings.EqualFold(it.text, name) || it.get("source") != nil && it.get("source").text == name {
			return p.child(index(i))
		}
	}
	return p
}
