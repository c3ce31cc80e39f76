package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/go-connections/nat"

	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/state"
)

// creation is the engine's form of a launch.
type creation struct {
	config  *container.Config
	host    *container.HostConfig
	network *network.NetworkingConfig
	// more are the networks beyond the first, which engines before API 1.44
	// can only connect after the create.
	more []state.Attachment
}

// translate puts a launch into the engine's form. It reads no more than the
// seccomp profile that the definition names.
func translate(l agent.Launch) (creation, error) {
	s := l.Spec
	ports, bindings, err := translatePorts(l)
	if err != nil {
		return creation{}, err
	}
	c := creation{
		config: &container.Config{
			Image:        s.Image,
			Cmd:          s.Command,
			Entrypoint:   s.Entrypoint,
			Env:          s.Environment,
			User:         s.User,
			WorkingDir:   s.WorkingDir,
			StopSignal:   s.StopSignal,
			StopTimeout:  wholeSeconds(s.StopGrace),
			Labels:       labels(l),
			Healthcheck:  healthcheck(s.Healthcheck),
			ExposedPorts: ports,
		},
		host: &container.HostConfig{
			// The supervisor replaces what ends; two must not restart it.
			RestartPolicy:  container.RestartPolicy{Name: container.RestartPolicyDisabled},
			PortBindings:   bindings,
			ReadonlyRootfs: s.ReadOnly,
			Init:           s.Init,
			Tmpfs:          s.Tmpfs,
			CapAdd:         s.CapAdd,
			CapDrop:        s.CapDrop,
			ExtraHosts:     s.ExtraHosts,
			Resources:      resources(s),
		},
	}
	if s.Logging != nil {
		c.host.LogConfig = container.LogConfig{Type: s.Logging.Driver, Config: s.Logging.Options}
	}
	if err := secure(c.host, s.SecurityOpt); err != nil {
		return creation{}, err
	}
	if c.host.Mounts, err = mounts(s.Mounts); err != nil {
		return creation{}, err
	}
	return c, c.attach(l)
}

// attach sets the networks: the first at creation, whose address is the
// container's own, the others later.
func (c *creation) attach(l agent.Launch) error {
	if len(l.Spec.Networks) == 0 {
		return nil
	}
	first := l.Spec.Networks[0]
	mode := container.NetworkMode(first.Network)
	c.host.NetworkMode = mode
	if mode.IsHost() || mode.IsNone() {
		if len(l.Spec.Networks) > 1 {
			return fmt.Errorf("network %q cannot be combined with others", first.Network)
		}
		if l.ContainerPort != 0 {
			return fmt.Errorf("port %d cannot be published on network %q: the container needs a network of its own", l.ContainerPort, first.Network)
		}
		return nil
	}
	c.network = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{first.Network: {Aliases: first.Aliases}}}
	c.more = l.Spec.Networks[1:]
	return nil
}

func labels(l agent.Launch) map[string]string {
	all := make(map[string]string, len(l.Spec.Labels)+5)
	maps.Copy(all, l.Spec.Labels)
	all[LabelCluster] = l.Cluster
	all[LabelService] = l.Service
	all[LabelInstance] = l.Instance
	all[LabelRevision] = l.Revision
	delete(all, LabelPort)
	if l.ContainerPort != 0 {
		all[LabelPort] = strconv.Itoa(l.ContainerPort)
	}
	return all
}

// translatePorts returns the exposed ports and the published ones. The
// ingress port comes first among the bindings of its container port; address
// relies on it.
func translatePorts(l agent.Launch) (nat.PortSet, nat.PortMap, error) {
	exposed, bindings := nat.PortSet{}, nat.PortMap{}
	publish := func(port nat.Port, b nat.PortBinding) {
		exposed[port] = struct{}{}
		bindings[port] = append(bindings[port], b)
	}
	if l.ContainerPort != 0 {
		if l.HostIP == "" || l.HostPort == 0 {
			return nil, nil, fmt.Errorf("port %d: the host's address and port to publish it on are required", l.ContainerPort)
		}
		port, err := nat.NewPort("tcp", strconv.Itoa(l.ContainerPort))
		if err != nil {
			return nil, nil, fmt.Errorf("port %d: %w", l.ContainerPort, err)
		}
		publish(port, nat.PortBinding{HostIP: l.HostIP, HostPort: strconv.Itoa(l.HostPort)})
	}
	for _, p := range l.Spec.Ports {
		port, err := nat.NewPort(protocol(p.Protocol), strconv.FormatUint(uint64(p.Target), 10))
		if err != nil {
			return nil, nil, fmt.Errorf("ports: target %d: %w", p.Target, err)
		}
		publish(port, nat.PortBinding{HostIP: p.HostIP, HostPort: p.Published})
	}
	for _, text := range l.Spec.Expose {
		proto, ports := nat.SplitProtoPort(text)
		first, last, err := nat.ParsePortRange(ports)
		if err != nil {
			return nil, nil, fmt.Errorf("expose: %q: %w", text, err)
		}
		for n := first; n <= last; n++ {
			port, err := nat.NewPort(protocol(proto), strconv.FormatUint(n, 10))
			if err != nil {
				return nil, nil, fmt.Errorf("expose: %q: %w", text, err)
			}
			exposed[port] = struct{}{}
		}
	}
	return exposed, bindings, nil
}

func protocol(p string) string {
	if p == "" {
		return "tcp"
	}
	return p
}

// wholeSeconds rounds up: the engine knows no fractions, and a grace that is
// too short costs requests. Zero leaves the engine's own 10 s.
func wholeSeconds(d time.Duration) *int {
	if d <= 0 {
		return nil
	}
	n := int(math.Ceil(d.Seconds()))
	return &n
}

func healthcheck(h *state.Healthcheck) *container.HealthConfig {
	if h == nil {
		return nil
	}
	return &container.HealthConfig{Test: h.Test, Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.StartPeriod, Retries: h.Retries}
}

// sharesPerCore is the weight of a whole core, as in Kubernetes' requests.
const sharesPerCore = 1024

// resources: a CPU reservation is the container's weight when cores are
// short, since an engine can reserve none.
func resources(s state.Container) container.Resources {
	r := container.Resources{
		NanoCPUs:          int64(math.Round(s.Resources.CPULimit * 1e9)),
		CPUShares:         int64(math.Round(s.Resources.CPUReservation * sharesPerCore)),
		Memory:            s.Resources.MemoryLimit,
		MemoryReservation: s.Resources.MemoryReservation,
	}
	if s.Resources.PidsLimit != 0 {
		r.PidsLimit = &s.Resources.PidsLimit
	}
	if r.CPUShares > 0 {
		// The kernel takes no less.
		r.CPUShares = max(2, r.CPUShares)
	}
	for _, u := range s.Ulimits {
		r.Ulimits = append(r.Ulimits, &container.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	return r
}

func mounts(list []state.Mount) ([]mount.Mount, error) {
	var all []mount.Mount
	for _, m := range list {
		t := mount.Mount{Type: mount.Type(m.Type), Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly}
		switch t.Type {
		case mount.TypeBind:
			if m.Propagation != "" {
				t.BindOptions = &mount.BindOptions{Propagation: mount.Propagation(m.Propagation)}
			}
		case mount.TypeVolume:
			if m.NoCopy {
				t.VolumeOptions = &mount.VolumeOptions{NoCopy: true}
			}
		case mount.TypeTmpfs:
			if m.TmpfsSize != 0 || m.TmpfsMode != 0 {
				t.TmpfsOptions = &mount.TmpfsOptions{SizeBytes: m.TmpfsSize, Mode: os.FileMode(m.TmpfsMode)}
			}
		default:
			return nil, fmt.Errorf("mount %s: type %q: want volume, bind or tmpfs", m.Target, m.Type)
		}
		all = append(all, t)
	}
	return all, nil
}

// secure sets the security options. Two of them are not the engine's but are
// resolved by its command line, and so here: a seccomp profile is sent as its
// text, and systempaths=unconfined means that no path is hidden.
func secure(h *container.HostConfig, opts []string) error {
	for _, opt := range opts {
		key, value, found := strings.Cut(opt, "=")
		if !found {
			key, value, _ = strings.Cut(opt, ":")
		}
		switch {
		case key == "systempaths" && value == "unconfined":
			h.MaskedPaths, h.ReadonlyPaths = []string{}, []string{}
		case key == "seccomp" && value != "unconfined" && value != "builtin":
			profile, err := seccompProfile(value)
			if err != nil {
				return fmt.Errorf("security_opt: %w", err)
			}
			h.SecurityOpt = append(h.SecurityOpt, "seccomp="+profile)
		default:
			h.SecurityOpt = append(h.SecurityOpt, opt)
		}
	}
	return nil
}

func seccompProfile(path string) (string, error) {
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("seccomp profile %q: want an absolute path", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("seccomp profile: %w", err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return "", fmt.Errorf("seccomp profile %s: %w", path, err)
	}
	return compact.String(), nil
}
