package agent

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/supervisord/supervisord/supervisor/state"
)

// Adopted is what the state knows of an adopted container, which has none of
// our labels.
type Adopted struct {
	Instance string
	Service  string
	Revision string
	Address  string
}

// AdoptedOn are the containers that a host's instances have adopted, by id.
func AdoptedOn(c state.Cluster, host string) map[string]Adopted {
	if c.Takeovers.Len() == 0 {
		return nil
	}
	all := map[string]Adopted{}
	for _, i := range c.OnHost(host) {
		if i.IsAdopted() {
			all[i.Container] = Adopted{Instance: i.ID, Service: i.Service, Revision: i.Revision, Address: i.Address}
		}
	}
	return all
}

// Foreign is a container that is not ours, as far as it matters to who wants to
// adopt it. It holds the values of variables: it stays on its host.
type Foreign struct {
	ID   string
	Name string
	// Project and Service are docker compose's; empty for a plain container.
	Project, Service string
	// Cluster is the id of another supervisord's cluster that it belongs to.
	Cluster string
	Running bool
	// Busy says in a word that it is paused or restarting.
	Busy string
	// AutoRemove: the engine removes it at its end.
	AutoRemove bool
	// Restart is its restart policy in the engine's form.
	Restart string
	Image   string
	// Own are its settings, FromImage those of its image, that Own has where
	// nobody said otherwise.
	Own, FromImage Settings
	Mounts         []state.Mount
	// Networks are the addresses by network; one that it shares with the host
	// is "host" and has none.
	Networks map[string]string
	Ports    []state.Port
	CPULimit float64
	Memory   int64
}

// Settings are what both an image and a container have.
type Settings struct {
	Environment         []string
	Command, Entrypoint []string
	User, WorkingDir    string
}

// Judge looks what would become of a container that a host's service adopts:
// how it differs from the service's definition, at which address nginx finds
// it, and what is against it.
func Judge(c state.Cluster, h state.Host, s state.Service, f Foreign) state.Candidate {
	k := state.Candidate{Adoptee: state.Adoptee{Service: s.Name, Host: h.Name, Container: f.ID, Name: f.Name, Restart: f.Restart}, Image: f.Image}
	k.Cannot = obstacle(c, h, s, f)
	if s.Ingress != nil {
		address, why := ingressAddress(h, c.Hosts.Len() > 1, s.Ingress.Port, f)
		k.Address, k.Cannot = address, cmp.Or(k.Cannot, why)
	}
	k.Differences = differences(s, f)
	return k
}

func obstacle(c state.Cluster, h state.Host, s state.Service, f Foreign) string {
	home := c.HomeOf(s)
	against, doesNotMeet := s.Placement.Against(h)
	switch {
	case f.Cluster != "":
		return "it belongs to supervisord's cluster " + f.Cluster
	case !f.Running:
		return "it does not run"
	case f.Busy != "":
		return "it is " + f.Busy
	case f.AutoRemove:
		return "it was started with --rm: the engine removes it when it ends"
	case home != "" && home != h.Name:
		return "the data of " + s.Name + " is on " + home
	case doesNotMeet:
		return "its host does not meet " + against.String()
	}
	if !s.Stateful {
		return ""
	}
	for _, m := range s.Container.Mounts {
		if m.ReadOnly || m.Type == "tmpfs" || m.Source == "" {
			continue
		}
		there, ok := mountAt(f.Mounts, m.Target)
		if !ok || there.Source != m.Source {
			// One of our own in its place would not have the same data.
			return fmt.Sprintf("its data at %s is %s, the file says %s", m.Target, cmp.Or(there.Source, "its own"), m.Source)
		}
	}
	return ""
}

func mountAt(all []state.Mount, target string) (state.Mount, bool) {
	for _, m := range all {
		if m.Target == target {
			return m, true
		}
	}
	return state.Mount{}, false
}

// ingressAddress is where nginx finds a container's port: published on the host,
// or else at the container's own address, which only its host reaches.
func ingressAddress(h state.Host, several bool, port int, f Foreign) (address, why string) {
	for _, p := range f.Ports {
		if int(p.Target) != port || cmp.Or(p.Protocol, "tcp") != "tcp" || p.Published == "" {
			continue
		}
		ip := net.ParseIP(p.HostIP)
		if ip == nil || ip.IsUnspecified() {
			return net.JoinHostPort(h.Address, p.Published), ""
		}
		if !several || !ip.IsLoopback() {
			return net.JoinHostPort(p.HostIP, p.Published), ""
		}
	}
	if _, shares := f.Networks["host"]; shares {
		return net.JoinHostPort(h.Address, strconv.Itoa(port)), ""
	}
	if several {
		return "", fmt.Sprintf("its port %d is not published where the other hosts' nginx reach it", port)
	}
	for _, name := range slices.Sorted(maps.Keys(f.Networks)) {
		if ip := f.Networks[name]; ip != "" {
			return net.JoinHostPort(ip, strconv.Itoa(port)), ""
		}
	}
	return "", fmt.Sprintf("its port %d is not published and it has no address of its own", port)
}

// differences are what is not as the file says, in words. Values of variables
// and command lines, which may be secret, are in none.
func differences(s state.Service, f Foreign) []string {
	want := s.Container
	var all []string
	say := func(differs bool, format string, args ...any) {
		if differs {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	say(f.Image != want.Image, "image %s, the file says %s", f.Image, want.Image)
	all = append(all, variables(want.Environment, f)...)
	say(!slices.Equal(overridden(want.Command, f.FromImage.Command), f.Own.Command), "another command")
	say(!slices.Equal(overridden(want.Entrypoint, f.FromImage.Entrypoint), f.Own.Entrypoint), "another entrypoint")
	say(cmp.Or(want.User, f.FromImage.User) != f.Own.User, "user %q, the file says %q", f.Own.User, want.User)
	say(cmp.Or(want.WorkingDir, f.FromImage.WorkingDir) != f.Own.WorkingDir, "working directory %s", f.Own.WorkingDir)
	all = append(all, mountDifferences(want.Mounts, f.Mounts)...)
	all = append(all, setDifferences("network", networksOf(want), slices.Collect(maps.Keys(f.Networks)))...)
	all = append(all, setDifferences("published port", portsOf(want.Ports), portsOf(f.Ports))...)
	say(want.Resources.CPULimit != f.CPULimit, "%s, the file says %s", cpus(f.CPULimit), cpus(want.Resources.CPULimit))
	say(want.Resources.MemoryLimit != f.Memory, "%s of memory, the file says %s", mebibytes(f.Memory), mebibytes(want.Resources.MemoryLimit))
	return all
}

// overridden is what holds of an image's and a file's: nil in the file is the
// image's.
func overridden(file, image []string) []string {
	if file == nil {
		return image
	}
	return file
}

func cpus(n float64) string {
	if n == 0 {
		return "no CPU limit"
	}
	return strconv.FormatFloat(n, 'g', 3, 64) + " CPUs"
}

func mebibytes(n int64) string {
	if n == 0 {
		return "no limit"
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

// variables names the variables that are missing, are more, or have another
// value. Those of the image itself are in both.
func variables(file []string, f Foreign) []string {
	want, image := environment(file), environment(f.FromImage.Environment)
	have := environment(f.Own.Environment)
	var missing, other, more []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		switch value, is := have[name]; {
		case !is:
			missing = append(missing, name)
		case value != want[name]:
			other = append(other, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		_, wanted := want[name]
		if value, fromImage := image[name]; !wanted && !(fromImage && value == have[name]) {
			more = append(more, name)
		}
	}
	var all []string
	for _, p := range []struct {
		word  string
		names []string
	}{{"without the variables", missing}, {"another value of", other}, {"the file does not set", more}} {
		if len(p.names) > 0 {
			all = append(all, p.word+" "+strings.Join(p.names, ", "))
		}
	}
	return all
}

func environment(list []string) map[string]string {
	all := make(map[string]string, len(list))
	for _, text := range list {
		name, value, _ := strings.Cut(text, "=")
		all[name] = value
	}
	return all
}

func mountDifferences(want, have []state.Mount) []string {
	var all []string
	for _, m := range want {
		there, ok := mountAt(have, m.Target)
		switch {
		case m.Type == "tmpfs":
		case !ok:
			all = append(all, "nothing is mounted at "+m.Target)
		case m.Source != "" && m.Source != there.Source:
			all = append(all, fmt.Sprintf("%s is mounted at %s, the file says %s", there.Source, m.Target, m.Source))
		case m.ReadOnly != there.ReadOnly:
			all = append(all, fmt.Sprintf("the mount at %s is %s", m.Target, mode(there.ReadOnly)))
		}
	}
	for _, m := range have {
		if _, wanted := mountAt(want, m.Target); !wanted {
			all = append(all, fmt.Sprintf("the file does not mount %s at %s", cmp.Or(m.Source, "a volume"), m.Target))
		}
	}
	return all
}

func mode(readOnly bool) string {
	if readOnly {
		return "read-only"
	}
	return "writable"
}

func networksOf(c state.Container) []string {
	var names []string
	for _, n := range c.Networks {
		names = append(names, n.Network)
	}
	if len(names) == 0 {
		return []string{"bridge"}
	}
	return names
}

func portsOf(list []state.Port) []string {
	var all []string
	for _, p := range list {
		ip := p.HostIP
		if parsed := net.ParseIP(ip); parsed != nil && parsed.IsUnspecified() {
			ip = ""
		}
		text := fmt.Sprintf("%s→%d/%s", p.Published, p.Target, cmp.Or(p.Protocol, "tcp"))
		if ip != "" {
			text = ip + ":" + text
		}
		if !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	return all
}

func setDifferences(what string, want, have []string) []string {
	slices.Sort(want)
	slices.Sort(have)
	var all []string
	for _, w := range want {
		if !slices.Contains(have, w) {
			all = append(all, "without "+what+" "+w)
		}
	}
	for _, h := range have {
		if !slices.Contains(want, h) {
			all = append(all, what+" "+h+" is not in the file")
		}
	}
	return all
}
