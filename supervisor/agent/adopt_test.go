package agent_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/state"
)

// judged is what comes of a container of the shop's web or db, changed.
func judged(t *testing.T, hosts int, service string, change func(*state.Service, *agent.Foreign)) state.Candidate {
	t.Helper()
	h := begin(t)
	if hosts > 1 {
		h.do(state.RegisterHost{Name: "b", Address: "10.0.0.2", CPUs: 4, Memory: 8 << 30})
	}
	s := h.Spec.Services[service]
	s.Container.Networks = []state.Attachment{{Network: "shop_default"}}
	f := agent.Foreign{
		ID: "f1", Name: "shop_" + service + "_1", Project: "shop", Service: service, Running: true, Restart: "always",
		Image: s.Container.Image, Networks: map[string]string{"shop_default": "172.18.0.2"},
		Own:       agent.Settings{Environment: []string{"PATH=/bin"}, Command: []string{"serve"}, WorkingDir: "/"},
		FromImage: agent.Settings{Environment: []string{"PATH=/bin"}, Command: []string{"serve"}, WorkingDir: "/"},
	}
	if service == "db" {
		s.Container.Mounts = []state.Mount{{Type: "volume", Source: "shop_data", Target: "/data"}}
		f.Mounts = []state.Mount{{Type: "volume", Source: "shop_data", Target: "/data"}}
	}
	change(&s, &f)
	host, _ := h.Hosts.Get("a")
	return agent.Judge(h.Cluster, host, s, f)
}

func TestWhereNginxFindsAnAdoptedContainer(t *testing.T) {
	published := func(ip, port string) func(*state.Service, *agent.Foreign) {
		return func(_ *state.Service, f *agent.Foreign) {
			f.Ports = []state.Port{{HostIP: "0.0.0.0", Published: "9999", Target: 81, Protocol: "tcp"}, {HostIP: ip, Published: port, Target: 80, Protocol: "tcp"}}
		}
	}
	for _, tc := range []struct {
		name         string
		hosts        int
		change       func(*state.Service, *agent.Foreign)
		address, why string
	}{
		{"its own address", 1, func(*state.Service, *agent.Foreign) {}, "172.18.0.2:80", ""},
		{"published everywhere", 1, published("0.0.0.0", "8080"), "10.0.0.1:8080", ""},
		{"published everywhere, IPv6", 1, published("::", "8080"), "10.0.0.1:8080", ""},
		{"published here", 1, published("127.0.0.1", "8080"), "127.0.0.1:8080", ""},
		{"published at an address", 2, published("10.0.0.1", "8080"), "10.0.0.1:8080", ""},
		{"the host's network", 2, func(_ *state.Service, f *agent.Foreign) { f.Networks = map[string]string{"host": ""} }, "10.0.0.1:80", ""},
		{"no network", 1, func(_ *state.Service, f *agent.Foreign) { f.Networks = nil }, "", "its port 80 is not published and it has no address of its own"},
		{"only here, for others", 2, published("127.0.0.1", "8080"), "", "its port 80 is not published where the other hosts' nginx reach it"},
		{"not published, for others", 2, func(*state.Service, *agent.Foreign) {}, "", "its port 80 is not published where the other hosts' nginx reach it"},
		{"no ingress", 2, func(s *state.Service, _ *agent.Foreign) { s.Ingress = nil }, "", ""},
		{"another port", 1, func(s *state.Service, _ *agent.Foreign) { s.Ingress = &lbconfig.Ingress{Port: 81} }, "172.18.0.2:81", ""},
	} {
		k := judged(t, tc.hosts, "web", tc.change)
		if k.Address != tc.address || k.Cannot != tc.why {
			t.Errorf("%s: at %q, %q; want %q, %q", tc.name, k.Address, k.Cannot, tc.address, tc.why)
		}
	}
}

func TestWhatCannotBeAdopted(t *testing.T) {
	for _, tc := range []struct {
		want   string
		change func(*state.Service, *agent.Foreign)
	}{
		{"", func(*state.Service, *agent.Foreign) {}},
		{"it belongs to supervisord's cluster other", func(_ *state.Service, f *agent.Foreign) { f.Cluster = "other" }},
		{"it does not run", func(_ *state.Service, f *agent.Foreign) { f.Running = false }},
		{"it is paused", func(_ *state.Service, f *agent.Foreign) { f.Busy = "paused" }},
		{"it was started with --rm: the engine removes it when it ends", func(_ *state.Service, f *agent.Foreign) { f.AutoRemove = true }},
		{"its host does not meet node.hostname == b", func(s *state.Service, _ *agent.Foreign) {
			s.Placement.Constraints = []state.Constraint{{Value: "b"}}
		}},
		{"its data at /data is blog_data, the file says shop_data", func(_ *state.Service, f *agent.Foreign) { f.Mounts[0].Source = "blog_data" }},
		{"its data at /data is its own, the file says shop_data", func(_ *state.Service, f *agent.Foreign) { f.Mounts = nil }},
	} {
		if k := judged(t, 1, "db", tc.change); k.Cannot != tc.want {
			t.Errorf("%q, want %q", k.Cannot, tc.want)
		}
	}
}

func TestWhatIsNotAsTheFileSays(t *testing.T) {
	if k := judged(t, 1, "db", func(*state.Service, *agent.Foreign) {}); len(k.Differences) > 0 {
		t.Errorf("the same: %q", k.Differences)
	}
	k := judged(t, 1, "db", func(s *state.Service, f *agent.Foreign) {
		s.Container.Environment = []string{"SAME=1", "MISSING=secret", "OTHER=secret"}
		s.Container.Ports = []state.Port{{Published: "5432", Target: 5432, Protocol: "tcp"}}
		s.Container.Networks = []state.Attachment{{Network: "shop_default"}, {Network: "shop_back"}}
		s.Container.Resources = state.Resources{CPULimit: 1.5, MemoryLimit: 64 << 20}
		s.Container.Mounts = append(s.Container.Mounts, state.Mount{Type: "bind", Source: "/etc/db", Target: "/etc/db", ReadOnly: true})
		f.Image = "db:old"
		f.Own.Environment = []string{"PATH=/bin", "SAME=1", "OTHER=another secret", "MORE=secret"}
		f.Own.Command, f.Own.Entrypoint, f.Own.User = []string{"serve", "--password=secret"}, []string{"/x"}, "root"
		f.Ports = []state.Port{{HostIP: "0.0.0.0", Published: "15432", Target: 5432, Protocol: "tcp"}, {HostIP: "::", Published: "15432", Target: 5432, Protocol: "tcp"}}
		f.Networks = map[string]string{"shop_default": "172.18.0.2", "bridge": "172.17.0.2"}
		f.Mounts = append(f.Mounts, state.Mount{Type: "volume", Source: "4f3a", Target: "/anonymous"})
		f.CPULimit = 1
	})
	want := []string{
		"image db:old, the file says db",
		"without the variables MISSING", "another value of OTHER", "the file does not set MORE",
		"another command", "another entrypoint", `user "root", the file says ""`,
		"nothing is mounted at /etc/db", "the file does not mount 4f3a at /anonymous",
		"without network shop_back", "network bridge is not in the file",
		"without published port 5432→5432/tcp", "published port 15432→5432/tcp is not in the file",
		"1 CPUs, the file says 1.5 CPUs", "no limit of memory, the file says 64 MiB",
	}
	if diff := cmp.Diff(want, k.Differences); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
