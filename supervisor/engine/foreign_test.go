package engine_test

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/go-connections/nat"

	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/engine"
	"github.com/supervisord/supervisord/supervisor/engine/enginetest"
	"github.com/supervisord/supervisord/supervisor/state"
)

// compose runs a container as docker compose labels it.
func compose(t *testing.T, e *enginetest.Env, project, service string, h *container.HostConfig) string {
	t.Helper()
	name := project + "_" + service + "_1"
	seconds := 7
	made, err := e.Docker.ContainerCreate(t.Context(), &container.Config{
		Image: e.Image, Env: []string{"A=1"}, StopTimeout: &seconds,
		ExposedPorts: nat.PortSet{"80/tcp": {}},
		Volumes:      map[string]struct{}{"/anonymous": {}},
		Labels: map[string]string{
			"com.docker.compose.project": project, "com.docker.compose.service": service,
			"com.docker.compose.container-number": "1", "com.docker.compose.oneoff": "False",
		},
	}, h, nil, nil, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := e.Docker.ContainerRemove(context.WithoutCancel(t.Context()), made.ID, container.RemoveOptions{Force: true, RemoveVolumes: true})
		if err != nil && !strings.Contains(err.Error(), "No such container") {
			t.Error(err)
		}
	})
	if err := e.Docker.ContainerStart(t.Context(), made.ID, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	return made.ID
}

func TestWhatDockerComposeRunsIsSeen(t *testing.T) {
	e := kit.New(t)
	project := enginetest.Name("project")
	port := strconv.Itoa(enginetest.FreePort(t))
	id := compose(t, e, project, "web", &container.HostConfig{
		RestartPolicy: container.RestartPolicy{Name: "on-failure", MaximumRetryCount: 4},
		PortBindings:  nat.PortMap{"80/tcp": {{HostIP: "127.0.0.1", HostPort: port}}},
	})
	found, err := e.Project(t.Context(), project)
	want := engine.Found{Foreign: state.Foreign{Container: id, Name: project + "_web_1", Service: "web"}, Running: true}
	if err != nil || len(found) != 1 || found[0] != want {
		t.Fatalf("found %+v, %v; want %+v", found, err, want)
	}
	f, err := e.Foreign(t.Context(), project+"_web_1")
	if err != nil {
		t.Fatal(err)
	}
	if f.ID != id || f.Project != project || f.Service != "web" || !f.Running || f.Restart != "on-failure:4" || f.Image != e.Image {
		t.Errorf("it is %+v", f)
	}
	if f.Networks["bridge"] == "" || len(f.Ports) != 1 || f.Ports[0] != (state.Port{HostIP: "127.0.0.1", Published: port, Target: 80, Protocol: "tcp"}) {
		t.Errorf("it is reached at %v, %v", f.Networks, f.Ports)
	}
	if len(f.Mounts) != 1 || f.Mounts[0].Target != "/anonymous" || len(f.FromImage.Command) == 0 {
		t.Errorf("it mounts %v, its image runs %v", f.Mounts, f.FromImage.Command)
	}
	if _, err := e.Foreign(t.Context(), project+"_web_2"); !errors.Is(err, agent.ErrNoContainer) {
		t.Errorf("one that is not there: %v", err)
	}
	// What is our own is nothing of docker compose's, whatever its labels say.
	own := e.Container("serve", "80")
	own.Labels = map[string]string{"com.docker.compose.project": project}
	e.Run(e.Launch(own))
	if found, err = e.Project(t.Context(), project); err != nil || len(found) != 1 {
		t.Errorf("with our own %+v, %v", found, err)
	}
}

// adoptions are what a state has as adopted.
type adoptions struct {
	mu  sync.Mutex
	all map[string]agent.Adopted
}

func (a *adoptions) set(all map[string]agent.Adopted) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = all
}

func (a *adoptions) get() map[string]agent.Adopted {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.all
}

func TestWhatIsAdoptedIsOursUntilItIsGivenBack(t *testing.T) {
	e := kit.New(t)
	id := compose(t, e, enginetest.Name("project"), "web", &container.HostConfig{RestartPolicy: container.RestartPolicy{Name: "unless-stopped"}})
	var known adoptions
	ours, err := engine.Dial(t.Context(), engine.Options{Cluster: e.Cluster, Adopted: known.get, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ours.Close(); err != nil {
			t.Error(err)
		}
	})
	e.Engine = ours
	ctx := t.Context()
	strange := func() {
		t.Helper()
		list, err := ours.List(ctx)
		if err != nil || len(list) != 0 {
			t.Errorf("the list has %v, %v", list, err)
		}
		if _, err := ours.Inspect(ctx, id); !errors.Is(err, agent.ErrNoContainer) {
			t.Errorf("inspect: %v", err)
		}
		if err := ours.SetRestart(ctx, id, "no"); !errors.Is(err, agent.ErrNoContainer) {
			t.Errorf("set restart: %v", err)
		}
		if err := errors.Join(ours.Stop(ctx, id, time.Second), ours.Remove(ctx, id)); err != nil {
			t.Error(err)
		}
		c, err := e.Docker.ContainerInspect(ctx, id)
		if err != nil || !c.State.Running || c.HostConfig.RestartPolicy.Name != "unless-stopped" {
			t.Fatalf("a stranger's container was touched: %v", err)
		}
	}
	strange()
	known.set(map[string]agent.Adopted{id: {Instance: "web-1.9", Service: "web", Revision: "r1", Address: "127.0.0.1:4000"}})
	list, err := ours.List(ctx)
	if err != nil || len(list) != 1 || !list[0].Adopted || list[0].Instance != "web-1.9" || list[0].Address != "127.0.0.1:4000" || list[0].PID == 0 {
		t.Fatalf("the list has %+v, %v", list, err)
	}
	policy := func(want string, times int) {
		t.Helper()
		c, err := e.Docker.ContainerInspect(ctx, id)
		if err != nil || string(c.HostConfig.RestartPolicy.Name) != want || c.HostConfig.RestartPolicy.MaximumRetryCount != times {
			t.Errorf("the restart policy is %+v, %v", c.HostConfig.RestartPolicy, err)
		}
	}
	for _, p := range []struct {
		text, name string
		times      int
	}{{"no", "no", 0}, {"on-failure:3", "on-failure", 3}, {"unless-stopped", "unless-stopped", 0}} {
		if err := ours.SetRestart(ctx, id, p.text); err != nil {
			t.Fatal(err)
		}
		policy(p.name, p.times)
	}
	if err := ours.SetRestart(ctx, id, "sometimes"); err == nil {
		t.Error("there is no such policy")
	}
	known.set(nil)
	strange()

	// A launch of its name is not a reason to remove it.
	known.set(map[string]agent.Adopted{id: {Instance: "web-1.9", Service: "web"}})
	c, err := e.Docker.ContainerInspect(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	l := e.Launch(e.Container("serve", "80"))
	l.Name = strings.TrimPrefix(c.Name, "/")
	if _, err := ours.Launch(ctx, l); !errors.Is(err, agent.ErrNameTaken) {
		t.Errorf("launch of its name: %v", err)
	}
	// Its events come, and its anonymous volume stays when it goes.
	events := watching(t, e)
	if err := errors.Join(ours.Stop(ctx, id, time.Second), ours.Remove(ctx, id)); err != nil {
		t.Fatal(err)
	}
	if got := next(t, events); got.Kind != agent.Died || got.Container != id || got.Instance != "web-1.9" {
		t.Errorf("the event is %+v", got)
	}
	v := c.Mounts[0].Name
	if _, err := e.Docker.VolumeInspect(ctx, v); err != nil {
		t.Errorf("its anonymous volume: %v", err)
	}
	if err := e.Docker.VolumeRemove(ctx, v, true); err != nil {
		t.Error(err)
	}
}

func TestDataIsNeverOwnedTwice(t *testing.T) {
	e := kit.New(t)
	project, data := enginetest.Name("project"), enginetest.Name("data")
	if _, err := e.Docker.VolumeCreate(t.Context(), volume.CreateOptions{Name: data, Labels: map[string]string{engine.LabelCluster: e.Cluster}}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	id := compose(t, e, project, "db", &container.HostConfig{Mounts: []mount.Mount{
		{Type: mount.TypeVolume, Source: data, Target: "/data"}, {Type: mount.TypeBind, Source: dir, Target: "/dir"},
	}})
	launch := func(service string, owns bool, mounts ...state.Mount) error {
		t.Helper()
		l := e.Launch(e.Container("serve", "80"))
		l.Service, l.Project, l.OwnsData, l.Spec.Mounts = service, project, owns, mounts
		_, err := e.Engine.Launch(t.Context(), l)
		return err
	}
	on := state.Mount{Type: "volume", Source: data, Target: "/var/lib/db"}
	readOnly := on
	readOnly.ReadOnly = true
	for name, c := range map[string]struct {
		service string
		owns    bool
		mount   state.Mount
		held    bool
	}{
		"the same volume":          {"db", true, on, true},
		"the same directory":       {"db", true, state.Mount{Type: "bind", Source: dir, Target: "/x"}, true},
		"only to read":             {"db", true, readOnly, false},
		"what owns nothing":        {"db", false, on, false},
		"another of the project":   {"backup", true, on, false},
		"a file that many have":    {"db", true, state.Mount{Type: "bind", Source: "/etc/localtime", Target: "/etc/localtime"}, false},
		"a place of the machine's": {"db", true, state.Mount{Type: "bind", Source: "/tmp", Target: "/x"}, false},
	} {
		err := launch(c.service, c.owns, c.mount)
		if c.held != errors.Is(err, agent.ErrHeld) || !c.held && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.held && err != nil && !strings.Contains(err.Error(), project+"_db_1 ("+id[:12]+")") {
			t.Errorf("%s: it does not name the container: %v", name, err)
		}
	}
	if err := e.Docker.ContainerStop(t.Context(), id, container.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := launch("db", true, on); err != nil {
		t.Errorf("when it has stopped: %v", err)
	}
}

func TestWhoHasAPortIsNamed(t *testing.T) {
	e := kit.New(t)
	project, port := enginetest.Name("project"), strconv.Itoa(enginetest.FreePort(t))
	compose(t, e, project, "web", &container.HostConfig{PortBindings: nat.PortMap{"80/tcp": {{HostPort: port}}}})
	l := e.Launch(e.Container("serve", "80"))
	l.Spec.Ports = []state.Port{{Published: port, Target: 80, Protocol: "tcp"}}
	_, err := e.Engine.Launch(t.Context(), l)
	if !errors.Is(err, agent.ErrHeld) || !strings.Contains(err.Error(), project+"_web_1") || !strings.Contains(err.Error(), "publishes port "+port) {
		t.Errorf("got %v", err)
	}
}
