package engine

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/go-connections/nat"
	"github.com/google/go-cmp/cmp"

	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/state"
)

func ptr[T any](v T) *T { return &v }

// full uses every field of a definition.
func full() agent.Launch {
	return agent.Launch{
		Cluster: "c1", Instance: "web-1.7", Name: "web-1", Service: "web", Revision: "r9",
		ContainerPort: 4000, HostIP: "10.0.0.5", HostPort: 4017,
		Spec: state.Container{
			Image: "acme/backend:1.4", Command: []string{"run"}, Entrypoint: []string{"/app"},
			Environment: []string{"A=1"}, User: "10:10", WorkingDir: "/srv", ReadOnly: true, Init: ptr(true),
			Tmpfs: map[string]string{"/run": "size=1m"}, CapAdd: []string{"NET_BIND_SERVICE"}, CapDrop: []string{"ALL"},
			SecurityOpt: []string{"no-new-privileges:true", "apparmor=unconfined", "seccomp=unconfined"},
			Ulimits:     []state.Ulimit{{Name: "nofile", Soft: 10, Hard: 20}},
			StopSignal:  "SIGQUIT", StopGrace: 1500 * time.Millisecond,
			Labels:     map[string]string{"team": "a", LabelCluster: "stolen", LabelPort: "1"},
			Logging:    &state.Logging{Driver: "json-file", Options: map[string]string{"max-size": "1m"}},
			ExtraHosts: []string{"db:10.0.0.9"},
			Ports:      []state.Port{{HostIP: "127.0.0.1", Published: "9000", Target: 4000, Protocol: "tcp"}, {Published: "53", Target: 53, Protocol: "udp"}},
			Expose:     []string{"7000", "7100-7101/udp"},
			Mounts: []state.Mount{
				{Type: "volume", Source: "shop_data", Target: "/data", NoCopy: true},
				{Type: "bind", Source: "/etc/acme", Target: "/etc/acme", ReadOnly: true, Propagation: "rslave"},
				{Type: "tmpfs", Target: "/cache", TmpfsSize: 1 << 20, TmpfsMode: 0o700},
			},
			Networks: []state.Attachment{{Network: "shop_default", Aliases: []string{"web"}}, {Network: "shop_db"}},
			Healthcheck: &state.Healthcheck{Test: []string{"CMD", "/app", "check"}, Interval: time.Second, Timeout: 2 * time.Second,
				StartPeriod: 3 * time.Second, Retries: 4},
			Resources: state.Resources{CPULimit: 1.5, CPUReservation: .25, MemoryLimit: 1 << 30, MemoryReservation: 1 << 29, PidsLimit: 100},
		},
	}
}

func TestEveryFieldOfADefinitionReachesTheEngine(t *testing.T) {
	got, err := translate(full())
	if err != nil {
		t.Fatal(err)
	}
	want := creation{
		config: &container.Config{
			Image: "acme/backend:1.4", Cmd: []string{"run"}, Entrypoint: []string{"/app"}, Env: []string{"A=1"},
			User: "10:10", WorkingDir: "/srv", StopSignal: "SIGQUIT", StopTimeout: ptr(2),
			Labels: map[string]string{"team": "a", LabelCluster: "c1", LabelService: "web", LabelInstance: "web-1.7",
				LabelRevision: "r9", LabelPort: "4000"},
			Healthcheck: &container.HealthConfig{Test: []string{"CMD", "/app", "check"}, Interval: time.Second,
				Timeout: 2 * time.Second, StartPeriod: 3 * time.Second, Retries: 4},
			ExposedPorts: nat.PortSet{"4000/tcp": {}, "53/udp": {}, "7000/tcp": {}, "7100/udp": {}, "7101/udp": {}},
		},
		host: &container.HostConfig{
			RestartPolicy: container.RestartPolicy{Name: "no"},
			PortBindings: nat.PortMap{
				"4000/tcp": {{HostIP: "10.0.0.5", HostPort: "4017"}, {HostIP: "127.0.0.1", HostPort: "9000"}},
				"53/udp":   {{HostPort: "53"}},
			},
			NetworkMode: "shop_default", ReadonlyRootfs: true, Init: ptr(true), Tmpfs: map[string]string{"/run": "size=1m"},
			CapAdd: []string{"NET_BIND_SERVICE"}, CapDrop: []string{"ALL"}, ExtraHosts: []string{"db:10.0.0.9"},
			SecurityOpt: []string{"no-new-privileges:true", "apparmor=unconfined", "seccomp=unconfined"},
			LogConfig:   container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "1m"}},
			Mounts: []mount.Mount{
				{Type: "volume", Source: "shop_data", Target: "/data", VolumeOptions: &mount.VolumeOptions{NoCopy: true}},
				{Type: "bind", Source: "/etc/acme", Target: "/etc/acme", ReadOnly: true, BindOptions: &mount.BindOptions{Propagation: "rslave"}},
				{Type: "tmpfs", Target: "/cache", TmpfsOptions: &mount.TmpfsOptions{SizeBytes: 1 << 20, Mode: 0o700}},
			},
			Resources: container.Resources{NanoCPUs: 1_500_000_000, CPUShares: 256, Memory: 1 << 30, MemoryReservation: 1 << 29,
				PidsLimit: ptr(int64(100)), Ulimits: []*container.Ulimit{{Name: "nofile", Soft: 10, Hard: 20}}},
		},
		network: &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{"shop_default": {Aliases: []string{"web"}}}},
		more:    []state.Attachment{{Network: "shop_db"}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(creation{})); diff != "" {
		t.Error(diff)
	}
}

func TestADefinitionWithoutAnythingLeavesTheEnginesDefaults(t *testing.T) {
	got, err := translate(agent.Launch{Cluster: "c1", Spec: state.Container{Image: "a"}})
	if err != nil {
		t.Fatal(err)
	}
	want := creation{
		config: &container.Config{Image: "a", ExposedPorts: nat.PortSet{},
			Labels: map[string]string{LabelCluster: "c1", LabelService: "", LabelInstance: "", LabelRevision: ""}},
		host: &container.HostConfig{RestartPolicy: container.RestartPolicy{Name: "no"}, PortBindings: nat.PortMap{}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(creation{})); diff != "" {
		t.Error(diff)
	}
}

func TestWhatTheEngineCannotDoIsRefused(t *testing.T) {
	for _, tc := range []struct {
		name string
		edit func(*agent.Launch)
		want string
	}{
		{"a published port on the host's network", func(l *agent.Launch) { l.Spec.Networks = []state.Attachment{{Network: "host"}} },
			`port 4000 cannot be published on network "host"`},
		{"no network and one more", func(l *agent.Launch) {
			l.ContainerPort = 0
			l.Spec.Networks = []state.Attachment{{Network: "none"}, {Network: "a"}}
		}, `network "none" cannot be combined`},
		{"a port without an address", func(l *agent.Launch) { l.HostIP = "" }, "the host's address and port"},
		{"an expose that is none", func(l *agent.Launch) { l.Spec.Expose = []string{"http"} }, `expose: "http"`},
		{"a mount of an unknown kind", func(l *agent.Launch) { l.Spec.Mounts = []state.Mount{{Type: "npipe", Target: "/a"}} }, `mount /a: type "npipe": want volume, bind or tmpfs`},
		{"a relative seccomp profile", func(l *agent.Launch) { l.Spec.SecurityOpt = []string{"seccomp=p.json"} }, `seccomp profile "p.json": want an absolute path`},
		{"a missing seccomp profile", func(l *agent.Launch) { l.Spec.SecurityOpt = []string{"seccomp=/nonexistent"} }, "no such file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := full()
			tc.edit(&l)
			if _, err := translate(l); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestSecurityOptionsOfTheCommandLineAreResolved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "profile.json")
	if err := os.WriteFile(path, []byte("{ \"defaultAction\":\n \"SCMP_ACT_ALLOW\" }"), 0o600); err != nil {
		t.Fatal(err)
	}
	var h container.HostConfig
	if err := secure(&h, []string{"seccomp:" + path, "systempaths=unconfined", "label=disable"}); err != nil {
		t.Fatal(err)
	}
	if want := []string{`seccomp={"defaultAction":"SCMP_ACT_ALLOW"}`, "label=disable"}; !slices.Equal(h.SecurityOpt, want) {
		t.Errorf("got %q, want %q", h.SecurityOpt, want)
	}
	if h.MaskedPaths == nil || h.ReadonlyPaths == nil {
		t.Error("systempaths=unconfined must hide nothing: empty lists, not the default")
	}
}

func TestAPortLabelOfTheOperatorIsNotOurs(t *testing.T) {
	l := full()
	l.ContainerPort = 0
	if port, ok := labels(l)[LabelPort]; ok {
		t.Errorf("it would be taken for the ingress port %s", port)
	}
}

func TestOnlyOurOwnPortCountsAsTaken(t *testing.T) {
	for _, tc := range []struct {
		text string
		want bool
	}{
		{"driver failed programming external connectivity on endpoint web-1 (ab): Bind for 127.0.0.1:4000 failed: port is already allocated", true},
		{"driver failed programming external connectivity on endpoint web-1 (ab): Error starting userland proxy: listen tcp4 127.0.0.1:4000: bind: address already in use", true},
		{"failed to set up container networking: failed to bind host port for 127.0.0.1:4000:172.17.0.2:80/tcp: address already in use", true},
		{"Bind for 127.0.0.1:40001 failed: port is already allocated", false},
		{"Bind for 0.0.0.0:9000 failed: port is already allocated", false},
		{"listen tcp4 127.0.0.1:4000: bind: cannot assign requested address", false},
		{"no space left on device", false},
	} {
		if got := portTaken(errors.New(tc.text), "127.0.0.1", 4000); got != tc.want {
			t.Errorf("%s: got %v", tc.text, got)
		}
	}
	if !portTaken(errors.New("listen tcp6 [::1]:4000: bind: address already in use"), "::1", 4000) {
		t.Error("an IPv6 address is not recognised")
	}
}
