package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/engine"
	"github.com/supervisord/supervisord/supervisor/engine/enginetest"
	"github.com/supervisord/supervisord/supervisor/state"
)

// get asks until a server answers, and returns what it says.
func get(t *testing.T, address string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(req)
		if err == nil {
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			return strings.TrimSpace(string(body))
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// named are the names of all containers, anybody's, that contain a text.
func named(t *testing.T, e *enginetest.Env, text string) []string {
	t.Helper()
	list, err := e.Docker.ContainerList(t.Context(), container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("name", text))})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range list {
		names = append(names, c.Names...)
	}
	return names
}

func TestALaunchedContainerServesOnItsAddress(t *testing.T) {
	e := kit.New(t)
	spec := e.Container("serve", "80")
	spec.Resources = state.Resources{CPULimit: .5, MemoryLimit: 64 << 20}
	l := e.Published(spec)
	c := e.Run(l)
	if got := get(t, c.Address); !strings.HasPrefix(c.ID, got) {
		t.Errorf("%s answers %q, not container %s", c.Address, got, c.ID)
	}
	if c.PID <= 0 || net.ParseIP(c.IP) == nil || c.StartedAt.IsZero() {
		t.Errorf("process %d, address %q, started %s", c.PID, c.IP, c.StartedAt)
	}
	want := agent.Container{ID: c.ID, Name: l.Name, Instance: l.Instance, Service: "web", Revision: "r1", Running: true, PID: c.PID,
		Address: fmt.Sprintf("127.0.0.1:%d", l.HostPort), IP: c.IP, CPULimit: .5, MemoryLimit: 64 << 20, StartedAt: c.StartedAt}
	if c != want {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	for name, look := range map[string]func() (agent.Container, error){
		"inspect by id":   func() (agent.Container, error) { return e.Inspect(t.Context(), c.ID) },
		"inspect by name": func() (agent.Container, error) { return e.Inspect(t.Context(), l.Name) },
		"list": func() (agent.Container, error) {
			list, err := e.List(t.Context())
			if len(list) != 1 {
				return agent.Container{}, fmt.Errorf("%d containers: %w", len(list), err)
			}
			return list[0], err
		},
	} {
		if got, err := look(); err != nil || got != want {
			t.Errorf("%s: got  %+v, %v\nwant %+v", name, got, err, want)
		}
	}
}

func TestTheDefinitionIsInForce(t *testing.T) {
	e := kit.New(t)
	spec := e.Container("serve", "80")
	spec.User, spec.ReadOnly, spec.StopSignal = "1000:1000", true, "SIGINT"
	spec.Tmpfs = map[string]string{"/scratch": "size=1m"}
	spec.CapDrop, spec.CapAdd = []string{"ALL"}, []string{"NET_BIND_SERVICE"}
	spec.SecurityOpt = []string{"no-new-privileges:true"}
	spec.Ulimits = []state.Ulimit{{Name: "nofile", Soft: 512, Hard: 1024}}
	spec.Labels = map[string]string{"team": "a"}
	spec.Resources = state.Resources{CPULimit: .5, CPUReservation: .25, MemoryLimit: 64 << 20, MemoryReservation: 32 << 20, PidsLimit: 50}
	spec.Mounts = []state.Mount{{Type: "volume", Target: "/anonymous"}, {Type: "tmpfs", Target: "/cache", TmpfsSize: 1 << 20}}
	c, err := e.Docker.ContainerInspect(t.Context(), e.Run(e.Launch(spec)).ID)
	if err != nil {
		t.Fatal(err)
	}
	h := c.HostConfig
	for what, ok := range map[string]bool{
		"user":         c.Config.User == "1000:1000",
		"read only":    h.ReadonlyRootfs,
		"stop signal":  c.Config.StopSignal == "SIGINT",
		"tmpfs":        h.Tmpfs["/scratch"] == "size=1m",
		"cap_drop":     strings.Join(h.CapDrop, " ") == "ALL",
		"cap_add":      strings.Join(h.CapAdd, " ") == "CAP_NET_BIND_SERVICE",
		"security_opt": strings.Join(h.SecurityOpt, " ") == "no-new-privileges:true",
		"ulimits":      len(h.Ulimits) == 1 && *h.Ulimits[0] == container.Ulimit{Name: "nofile", Soft: 512, Hard: 1024},
		"labels":       c.Config.Labels["team"] == "a",
		"cpu":          h.NanoCPUs == 5e8 && h.CPUShares == 256,
		"memory":       h.Memory == 64<<20 && h.MemoryReservation == 32<<20,
		"pids":         h.PidsLimit != nil && *h.PidsLimit == 50,
		"mounts":       len(c.Mounts) == 2,
		"no restart":   h.RestartPolicy.IsNone(),
	} {
		if !ok {
			t.Errorf("%s is not in force: %+v %+v", what, c.Config, h)
		}
	}
}

func TestAContainerOnTwoNetworksIsReachedOverThePublicOne(t *testing.T) {
	e := kit.New(t)
	internal, public := enginetest.Name("a-internal"), enginetest.Name("b-public")
	err := e.Prepare(t.Context(), state.Spec{Networks: map[string]state.Network{
		"internal": {Name: internal, Internal: true}, "public": {Name: public}}})
	if err != nil {
		t.Fatal(err)
	}
	spec := e.Container("serve", "80")
	spec.Networks = []state.Attachment{{Network: internal, Aliases: []string{"web"}}, {Network: public, Aliases: []string{"web", "www"}}}
	c := e.Run(e.Published(spec))
	if got := get(t, c.Address); !strings.HasPrefix(c.ID, got) {
		t.Errorf("%q answers", got)
	}
	raw, err := e.Docker.ContainerInspect(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	networks := raw.NetworkSettings.Networks
	if len(networks) != 2 || networks[internal] == nil || c.IP != networks[internal].IPAddress {
		t.Errorf("address %s, want the one on the first of %v", c.IP, networks)
	}
	if got := strings.Join(networks[public].Aliases, " "); !strings.Contains(got, "web www") {
		t.Errorf("aliases on the second network: %q", got)
	}
}

func TestAPortOnlyOnInternalNetworksIsAnError(t *testing.T) {
	e := kit.New(t)
	internal := enginetest.Name("internal")
	if err := e.Prepare(t.Context(), state.Spec{Networks: map[string]state.Network{"a": {Name: internal, Internal: true}}}); err != nil {
		t.Fatal(err)
	}
	spec := e.Container("serve", "80")
	spec.Networks = []state.Attachment{{Network: internal}}
	l := e.Published(spec)
	_, err := e.Engine.Launch(t.Context(), l)
	if err == nil || !strings.Contains(err.Error(), "must not be internal") {
		t.Errorf("got %v", err)
	}
	if left := named(t, e, l.Name); len(left) > 0 {
		t.Errorf("%v stays behind", left)
	}
}

func TestAPortThatIsTakenIsToldAndNothingStaysBehind(t *testing.T) {
	e := kit.New(t)
	foreign, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	other := e.Run(e.Published(e.Container("serve", "80")))
	for name, address := range map[string]string{"by a program": foreign.Addr().String(), "by a container": other.Address} {
		t.Run(name, func(t *testing.T) {
			l := e.Published(e.Container("serve", "80"))
			if _, err := fmt.Sscanf(address, "127.0.0.1:%d", &l.HostPort); err != nil {
				t.Fatal(err)
			}
			if _, err := e.Engine.Launch(t.Context(), l); !errors.Is(err, agent.ErrPortTaken) {
				t.Errorf("got %v, want ErrPortTaken", err)
			}
			if left := named(t, e, l.Name); len(left) > 0 {
				t.Errorf("%v stays behind", left)
			}
		})
	}
}

func TestAPortOfTheOperatorThatIsTakenIsAnotherError(t *testing.T) {
	e := kit.New(t)
	other := e.Run(e.Published(e.Container("serve", "80")))
	spec := e.Container("serve", "80")
	_, port, err := net.SplitHostPort(other.Address)
	if err != nil {
		t.Fatal(err)
	}
	spec.Ports = []state.Port{{HostIP: "127.0.0.1", Published: port, Target: 81, Protocol: "tcp"}}
	if _, err := e.Engine.Launch(t.Context(), e.Published(spec)); err == nil || errors.Is(err, agent.ErrPortTaken) {
		t.Errorf("got %v: another port of ours would not help", err)
	}
}

func TestALeftoverOfOursMakesRoom(t *testing.T) {
	e := kit.New(t)
	old := e.Run(e.Launch(e.Container("serve", "80")))
	l := e.Launch(e.Container("serve", "80"))
	l.Name = old.Name
	if c := e.Run(l); c.Instance != l.Instance || !c.Running {
		t.Errorf("got %+v", c)
	}
	if _, err := e.Inspect(t.Context(), old.ID); !errors.Is(err, agent.ErrNoContainer) {
		t.Errorf("the leftover: %v", err)
	}
}

func TestANameOfSomebodyElseIsTold(t *testing.T) {
	e, other := kit.New(t), kit.New(t)
	theirs := other.Run(other.Launch(other.Container("serve", "80")))
	l := e.Launch(e.Container("serve", "80"))
	l.Name = theirs.Name
	if _, err := e.Engine.Launch(t.Context(), l); !errors.Is(err, agent.ErrNameTaken) {
		t.Errorf("got %v, want ErrNameTaken", err)
	}
	if c, err := other.Inspect(t.Context(), theirs.ID); err != nil || !c.Running {
		t.Errorf("the other's container: %+v, %v", c, err)
	}
}

func TestAnImageThatCannotBePulledIsTold(t *testing.T) {
	e := kit.New(t)
	spec := e.Container()
	spec.Image = "127.0.0.1:1/nobody/nothing:1"
	_, err := e.Engine.Launch(t.Context(), e.Launch(spec))
	if !errors.Is(err, agent.ErrNoImage) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("got %v, want ErrNoImage with the registry's words", err)
	}
}

func TestAContainerThatDoesNotStartStaysNotBehind(t *testing.T) {
	e := kit.New(t)
	spec := e.Container()
	spec.Entrypoint = []string{"/nonexistent"}
	l := e.Launch(spec)
	if _, err := e.Engine.Launch(t.Context(), l); err == nil || !strings.Contains(err.Error(), "nonexistent") {
		t.Errorf("got %v", err)
	}
	spec = e.Container("serve", "80")
	spec.Networks = []state.Attachment{{Network: "bridge"}, {Network: enginetest.Name("missing")}}
	m := e.Launch(spec)
	if _, err := e.Engine.Launch(t.Context(), m); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("got %v", err)
	}
	if left := append(named(t, e, l.Name), named(t, e, m.Name)...); len(left) > 0 {
		t.Errorf("%v stays behind", left)
	}
}

func TestALaunchThatIsGivenUpLeavesNothing(t *testing.T) {
	e := kit.New(t)
	for _, after := range []time.Duration{0, 5 * time.Millisecond, 40 * time.Millisecond, 120 * time.Millisecond} {
		t.Run(after.String(), func(t *testing.T) {
			l := e.Published(e.Container("serve", "80"))
			ctx, cancel := context.WithTimeout(t.Context(), after)
			defer cancel()
			_, err := e.Engine.Launch(ctx, l)
			if err == nil {
				t.Skip("it was faster than the context")
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			if left := named(t, e, l.Name); len(left) > 0 {
				t.Errorf("%v stays behind", left)
			}
		})
	}
}

func TestALaunchForAnotherClusterIsRefused(t *testing.T) {
	e := kit.New(t)
	l := e.Launch(e.Container("serve", "80"))
	l.Cluster = "other"
	if _, err := e.Engine.Launch(t.Context(), l); err == nil {
		t.Error("launched")
	}
}

func TestWhatIsNotOursCannotBeTouched(t *testing.T) {
	e, other := kit.New(t), kit.New(t)
	theirs := other.Run(other.Published(other.Container("serve", "80")))
	if list, err := e.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("list: %v, %v", list, err)
	}
	for _, ref := range []string{theirs.ID, theirs.Name, theirs.ID[:12]} {
		if _, err := e.Inspect(t.Context(), ref); !errors.Is(err, agent.ErrNoContainer) {
			t.Errorf("inspect: %v", err)
		}
		if err := e.Stop(t.Context(), ref, 0); err != nil {
			t.Errorf("stop: %v", err)
		}
		if err := e.Remove(t.Context(), ref); err != nil {
			t.Errorf("remove: %v", err)
		}
		if err := e.Signal(t.Context(), ref, "KILL"); !errors.Is(err, agent.ErrNoContainer) {
			t.Errorf("signal: %v", err)
		}
		if _, err := e.Exec(t.Context(), ref, []string{"/server", "exit", "0"}, nil, nil, nil); !errors.Is(err, agent.ErrNoContainer) {
			t.Errorf("exec: %v", err)
		}
		if _, err := e.Tail(t.Context(), ref, 1); !errors.Is(err, agent.ErrNoContainer) {
			t.Errorf("tail: %v", err)
		}
		if err := e.StatsStream(t.Context(), ref, func(engine.Stat) {}); !errors.Is(err, agent.ErrNoContainer) {
			t.Errorf("stats: %v", err)
		}
	}
	if c, err := other.Inspect(t.Context(), theirs.ID); err != nil || c != theirs {
		t.Errorf("the other's container was %+v\nand is %+v, %v", theirs, c, err)
	}
}

func TestStopAndRemove(t *testing.T) {
	e := kit.New(t)
	t.Run("the stop signal ends it", func(t *testing.T) {
		c := e.Run(e.Published(e.Container("serve", "80")))
		get(t, c.Address)
		if err := e.Stop(t.Context(), c.ID, 20*time.Second); err != nil {
			t.Fatal(err)
		}
		ended, err := e.Inspect(t.Context(), c.ID)
		if err != nil || ended.Running || ended.PID != 0 || ended.ExitCode != 0 || ended.EndedAt.Before(ended.StartedAt) {
			t.Errorf("got %+v, %v", ended, err)
		}
		if err := e.Stop(t.Context(), c.ID, time.Second); err != nil {
			t.Errorf("again: %v", err)
		}
	})
	t.Run("what does not listen is killed after its grace", func(t *testing.T) {
		c := e.Run(e.Published(e.Container("stubborn", "80")))
		get(t, c.Address)
		if err := e.Stop(t.Context(), c.ID, 500*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if ended, err := e.Inspect(t.Context(), c.ID); err != nil || ended.Running || ended.ExitCode != 137 || ended.OOMKilled {
			t.Errorf("got %+v, %v", ended, err)
		}
	})
	t.Run("removing kills, and takes anonymous volumes along", func(t *testing.T) {
		spec := e.Container("serve", "80")
		spec.Mounts = []state.Mount{{Type: "volume", Target: "/a"}}
		c := e.Run(e.Launch(spec))
		raw, err := e.Docker.ContainerInspect(t.Context(), c.ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Remove(t.Context(), c.ID); err != nil {
			t.Fatal(err)
		}
		if v, err := e.Docker.VolumeInspect(t.Context(), raw.Mounts[0].Name); err == nil {
			t.Errorf("volume %s stays behind", v.Name)
		}
		for range 2 {
			if err := e.Remove(t.Context(), c.ID); err != nil {
				t.Errorf("again: %v", err)
			}
		}
		if err := e.Stop(t.Context(), c.ID, 0); err != nil {
			t.Errorf("stop what is gone: %v", err)
		}
	})
}

func TestSeveralRemoveOneContainerAtOnce(t *testing.T) {
	e := kit.New(t)
	c := e.Run(e.Launch(e.Container("serve", "80")))
	errs := make(chan error, 4)
	for range cap(errs) {
		go func() { errs <- e.Remove(t.Context(), c.ID) }()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestLimitsAreChangedWhileAContainerRuns(t *testing.T) {
	e := kit.New(t)
	spec := e.Container("serve", "80")
	spec.Resources = state.Resources{CPULimit: .5, MemoryLimit: 64 << 20, PidsLimit: 50}
	c := e.Run(e.Published(spec))
	for _, to := range []state.Resources{
		{CPULimit: 1, MemoryLimit: 128 << 20, MemoryReservation: 32 << 20, PidsLimit: 60},
		{CPULimit: .25, MemoryLimit: 48 << 20, MemoryReservation: 32 << 20, PidsLimit: 40},
	} {
		now, err := e.Limit(t.Context(), c.ID, to)
		if err != nil {
			t.Fatal(err)
		}
		if now.ID != c.ID || now.PID != c.PID || now.CPULimit != to.CPULimit || now.MemoryLimit != to.MemoryLimit {
			t.Errorf("got %+v, want the same process with %+v", now, to)
		}
		d, err := e.Docker.ContainerInspect(t.Context(), c.ID)
		if err != nil {
			t.Fatal(err)
		}
		if h := d.HostConfig; *h.PidsLimit != to.PidsLimit || h.MemoryReservation != to.MemoryReservation {
			t.Errorf("in force are %+v", h.Resources)
		}
		if got := get(t, c.Address); !strings.HasPrefix(c.ID, got) {
			t.Errorf("it answers %q", got)
		}
	}
	_, err := e.Limit(t.Context(), c.ID, state.Resources{CPULimit: .25, MemoryLimit: 1 << 20})
	if !errors.Is(err, agent.ErrUnfit) {
		t.Errorf("the engine's least is 6 MiB: %v", err)
	}
	if _, err := e.Limit(t.Context(), "nobody", state.Resources{CPULimit: 1}); !errors.Is(err, agent.ErrNoContainer) {
		t.Errorf("a container that is not there: %v", err)
	}
	still, err := e.Inspect(t.Context(), c.ID)
	if err != nil || !still.Running || still.MemoryLimit != 48<<20 {
		t.Errorf("after what was refused it is %+v, %v", still, err)
	}
}
