package compose

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/go-units"

	"github.com/supervisord/supervisord/supervisor/state"
)

// What the keys of a file say together.

// checkService looks at one service by itself.
func (b *builder) checkService(p place, s state.Service, config types.ServiceConfig) {
	b.checkStateful(p, s)
	b.checkPorts(p, s)
	b.checkReservations(p, s.Container.Resources)
	if s.Autoscale != nil {
		b.checkLimits(p, s)
	}
	if s.Ingress != nil {
		b.checkReachable(p, config)
	}
}

func (b *builder) outsideBounds(p place, s state.Service) {
	b.path(p, strconv.Itoa(s.Replicas)+" is outside of x-autoscale",
		fmt.Sprintf("a number from min %d to max %d, or no replicas key to begin at min", s.Autoscale.Min, s.Autoscale.Max))
}

func (b *builder) checkStateful(p place, s state.Service) {
	if !s.Stateful {
		return
	}
	const why = "the service writes to a volume or to a directory of the host, so it runs once"
	if o := b.root.get("services").get(s.Name).get("deploy").get("update_config").get("order"); o != nil && o.text == "start-first" {
		b.at(p.child("deploy", "update_config", "order"), o, "the service owns data, of which there must never be two", "stop-first")
	}
	switch {
	case s.Autoscale != nil:
		b.path(p.child("x-autoscale"), why, "no x-autoscale, or mounts that are read-only")
	case s.Replicas > 1:
		b.path(p.child("deploy", "replicas"), strconv.Itoa(s.Replicas)+": "+why, "1, or mounts that are read-only")
	}
}

// checkPorts refuses host ports that a second instance could not have.
func (b *builder) checkPorts(p place, s state.Service) {
	most := s.Replicas
	if s.Autoscale != nil {
		most = s.Autoscale.Max
	}
	for _, port := range s.Container.Ports {
		if n := publishedCount(port); n > 0 && most > n {
			b.path(b.portPath(p.child("ports"), port),
				fmt.Sprintf("host port %s is for %d of up to %d instances", port.Published, n, most),
				"x-ingress, or the container's port alone")
		}
	}
}

// publishedCount is how many host ports a fixed port or range has; 0 where the
// engine chooses.
func publishedCount(p state.Port) int {
	if p.Published == "" {
		return 0
	}
	first, last, isRange := strings.Cut(p.Published, "-")
	from, err := strconv.Atoi(first)
	if err != nil || from == 0 {
		return 0
	}
	if !isRange {
		return 1
	}
	to, err := strconv.Atoi(last)
	if err != nil {
		return 1
	}
	return to - from + 1
}

// portPath is the item of ports that publishes a port.
func (b *builder) portPath(p place, port state.Port) place {
	v := b.value(p)
	if v == nil {
		return p
	}
	for i, it := range v.items {
		configs, err := types.ParsePortConfig(it.text)
		if it.kind == mapKind {
			if f := it.get("published"); f != nil && f.text == port.Published {
				return p.child(index(i))
			}
			continue
		}
		if err != nil {
			continue
		}
		for _, c := range configs {
			if c.Published == port.Published && c.Target == port.Target && c.Protocol == port.Protocol {
				return p.child(index(i))
			}
		}
	}
	return p
}

// value is the value at p; nil where there is none.
func (b *builder) value(p place) *value {
	v := b.root
	for _, part := range p {
		v = v.get(part)
	}
	return v
}

func (b *builder) checkReservations(p place, res state.Resources) {
	at := p.child("deploy", "resources", "reservations")
	if res.MemoryLimit > 0 && res.MemoryReservation > res.MemoryLimit {
		b.path(at.child("memory"), units.BytesSize(float64(res.MemoryReservation))+" is over the limit",
			"at most "+units.BytesSize(float64(res.MemoryLimit)))
	}
	if res.CPULimit > 0 && res.CPUReservation > res.CPULimit {
		b.path(at.child("cpus"), fmt.Sprintf("%g is over the limit", res.CPUReservation), fmt.Sprintf("at most %g", res.CPULimit))
	}
}

// checkLimits warns where percentages are of the host: other containers then
// move them, too.
func (b *builder) checkLimits(p place, s state.Service) {
	res := s.Container.Resources
	if s.Autoscale.CPU.Above > 0 && res.CPULimit == 0 {
		b.warn(p.child("x-autoscale", "cpu"), "without deploy.resources.limits.cpus the percentages are of the host")
	}
	if s.Autoscale.Memory.Above > 0 && res.MemoryLimit == 0 {
		b.warn(p.child("x-autoscale", "memory"), "without deploy.resources.limits.memory the percentages are of the host")
	}
}

// checkReachable refuses an ingress where the engine publishes no port.
func (b *builder) checkReachable(p place, config types.ServiceConfig) {
	at := p.child("x-ingress")
	if config.NetworkMode != "" {
		b.path(at, "the engine publishes no port with network_mode: "+config.NetworkMode, "networks instead")
		return
	}
	for key := range config.Networks {
		if network, ok := b.project.Networks[key]; !ok || !network.Internal {
			return
		}
	}
	b.path(at, "the engine publishes no port on networks with internal: true",
		"one more network in the service's networks, without internal")
}

// checkSpec looks at the services together.
func (b *builder) checkSpec(spec state.Spec) {
	b.checkNames(spec)
	b.checkHosts(spec)
	b.checkTLS(spec)
	b.checkHostPorts(spec)
	b.checkDependencies(spec)
	b.checkDatabases(spec)
	b.checkUnused()
}

var numbered = regexp.MustCompile(`^(.+)-[0-9]+$`)

// checkNames refuses a service whose name another one's instance would have.
func (b *builder) checkNames(spec state.Spec) {
	for _, name := range b.serviceNames() {
		m := numbered.FindStringSubmatch(name)
		if m == nil {
			continue
		}
		if _, ok := spec.Services[m[1]]; ok {
			line, col := b.root.get("services").get(name).keyPos()
			b.add(place{"services", name}, line, col,
				"the name is that of an instance of service "+quote(m[1]), "another name")
		}
	}
}

func (b *builder) checkHosts(spec state.Spec) {
	owner := map[string]string{}
	for _, name := range b.serviceNames() {
		in := spec.Services[name].Ingress
		if in == nil {
			continue
		}
		for i, host := range in.Hosts {
			key := strings.ToLower(host)
			if other, ok := owner[key]; ok && other != name {
				b.path(place{"services", name, "x-ingress", "hosts", index(i)},
					quote(host)+" is already a host of service "+quote(other), "")
				continue
			}
			owner[key] = name
		}
	}
}

// checkHostPorts refuses one host port for two services.
func (b *builder) checkHostPorts(spec state.Spec) {
	type taken struct{ ip, owner string }
	ports := map[string][]taken{}
	for _, name := range b.serviceNames() {
		for _, port := range spec.Services[name].Container.Ports {
			if publishedCount(port) != 1 {
				continue
			}
			key := port.Published + "/" + port.Protocol
			for _, t := range ports[key] {
				if t.ip == port.HostIP || everyAddress(t.ip) || everyAddress(port.HostIP) {
					b.path(b.portPath(place{"services", name, "ports"}, port),
						"host port "+key+" is already published by service "+quote(t.owner), "another port")
					break
				}
			}
			ports[key] = append(ports[key], taken{port.HostIP, name})
		}
	}
}

func everyAddress(ip string) bool { return ip == "" || ip == "0.0.0.0" || ip == "::" }

// checkDependencies refuses unknown services and circles.
func (b *builder) checkDependencies(spec state.Spec) {
	all := b.root.get("services")
	for _, name := range b.serviceNames() {
		at := place{"services", name, "depends_on"}
		for _, d := range spec.Services[name].DependsOn {
			if all.get(d.Service) == nil {
				b.path(b.listed(at, d.Service), "there is no service "+quote(d.Service), "")
			}
		}
		if circle := findCircle(spec, name); circle != nil {
			b.path(b.listed(at, circle[1]), "services wait for each other: "+strings.Join(circle, " → "), "")
		}
	}
}

// findCircle is a way from a service back to itself; nil where there is none.
func findCircle(spec state.Spec, start string) []string {
	seen := map[string]bool{}
	var walk func(name string) []string
	walk = func(name string) []string {
		for _, d := range spec.Services[name].DependsOn {
			if d.Service == start {
				return []string{name, start}
			}
			if seen[d.Service] {
				continue
			}
			seen[d.Service] = true
			if rest := walk(d.Service); rest != nil {
				return append([]string{name}, rest...)
			}
		}
		return nil
	}
	return walk(start)
}

// checkDatabases refuses two databases of one name. Backups are named by the
// service or the database outside, so there it may have no service's either.
func (b *builder) checkDatabases(spec state.Spec) {
	taken := map[string]bool{}
	for name, s := range spec.Services {
		taken[name] = s.Database != nil
	}
	for i, db := range spec.Databases {
		p := place{"x-supervisor", "databases", index(i)}
		_, service := spec.Services[db.Name]
		switch {
		case taken[db.Name]:
			b.path(p.child("name"), quote(db.Name)+" is already a database", "another name")
		case service && db.Backup != nil:
			b.path(p.child("name"), quote(db.Name)+" is already a service, and their backups would be taken for each other's", "another name")
		}
		taken[db.Name] = true
		b.checkBackup(p.child("backup"), db.Backup)
	}
}

// checkUnused warns of secrets and configs that no service uses.
func (b *builder) checkUnused() {
	if b.project == nil {
		return
	}
	used := map[string]bool{}
	for _, s := range b.project.Services {
		for _, ref := range s.Secrets {
			used["secrets/"+ref.Source] = true
		}
		for _, ref := range s.Configs {
			used["configs/"+ref.Source] = true
		}
	}
	warn := func(kind string, keys []string) {
		for _, key := range keys {
			if !used[kind+"/"+key] {
				b.warn(place{kind, key}, "not used by any service")
			}
		}
	}
	warn("secrets", slices.Sorted(maps.Keys(b.project.Secrets)))
	warn("configs", slices.Sorted(maps.Keys(b.project.Configs)))
}
