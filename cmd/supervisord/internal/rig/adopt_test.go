package rig_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/supervisord/supervisord/cmd/supervisord/internal/demo"
	"github.com/supervisord/supervisord/cmd/supervisord/internal/rig"
	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/state"
)

// project is what docker compose runs before there is a supervisor: two
// backends, and a store with a volume.
type project struct {
	*site
	name, file string
}

// composed brings a project up with the real docker-compose, and writes the
// daemon's file of the same project.
func composed(t *testing.T) *project {
	t.Helper()
	binary, image := build(t, "-race")
	if _, err := exec.LookPath("docker-compose"); err != nil {
		t.Skip("needs docker-compose: .ci/install test")
	}
	s := lay(t, binary, "1s")
	// The directory's name is one that no other has.
	p := &project{s, strings.ReplaceAll(filepath.Base(s.Dir), "-", ""), filepath.Join(s.Dir, "docker-compose.yml")}
	const text = `version: "2.4"
services:
  backend:
    image: %[1]s
    environment: {WORK_MS: "5"}
    restart: unless-stopped
    stop_grace_period: 20s
  store:
    image: %[1]s
    restart: "on-failure:3"
    volumes: ["data:/data"]
volumes: {data: {}}
`
	if err := os.WriteFile(p.file, fmt.Appendf(nil, text, image), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		// First the daemon, which would replace what goes.
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
		p.clear(ctx)
	})
	p.compose("up", "-d", "--scale", "backend=2")
	p.write(p.with(image, ""))
	return p
}

// with is the daemon's file.
func (p *project) with(image, more string) string {
	return "name: " + p.name + `
services:
  backend:
    image: ` + image + `
    environment: {WORK_MS: "5"}
    deploy: {replicas: 2, resources: {limits: {cpus: "0.4", memory: 64M}}}
` + more + `
    x-ingress:
      hosts: [_]
      port: 4000
      health: {path: /admin/monitoring/health, every: 1s}
      drain: 5s
  store:
    image: ` + image + `
    volumes: ["data:/data"]
volumes: {data: {}}
`
}

func (p *project) write(text string) {
	p.t.Helper()
	if err := p.WriteCompose(text); err != nil {
		p.t.Fatal(err)
	}
}

func (p *project) compose(args ...string) {
	p.t.Helper()
	cmd := exec.CommandContext(p.ctx, "docker-compose", append([]string{"-p", p.name, "-f", p.file}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("docker-compose %v: %v: %s", args, err, out)
	}
}

// clear removes what docker-compose has made.
func (p *project) clear(ctx context.Context) {
	for _, kind := range [][]string{{"ps", "-aq"}, {"network", "ls", "-q"}, {"volume", "ls", "-q"}} {
		out, err := rig.Docker(ctx, append(kind, "--filter", "label=com.docker.compose.project="+p.name)...)
		ids := strings.Fields(out)
		if err == nil && len(ids) > 0 {
			remove := []string{kind[0], "rm"}
			if kind[0] == "ps" {
				remove = []string{"rm", "-f"}
			}
			_, err = rig.Docker(ctx, append(remove, ids...)...)
		}
		if err != nil {
			p.t.Error(err)
		}
	}
}

// containers are what docker-compose runs, with their restart policies.
func (p *project) containers() string {
	p.t.Helper()
	out, err := rig.Docker(p.ctx, "ps", "-q", "--no-trunc", "--filter", "label=com.docker.compose.project="+p.name)
	if err != nil {
		p.t.Fatal(err)
	}
	ids := strings.Fields(out)
	if len(ids) == 0 {
		return ""
	}
	const what = "{{.Name}} {{.Id}} {{.State.Running}} {{.State.StartedAt}} {{.HostConfig.RestartPolicy.Name}}:{{.HostConfig.RestartPolicy.MaximumRetryCount}}"
	if out, err = rig.Docker(p.ctx, append([]string{"inspect", "-f", what}, ids...)...); err != nil {
		p.t.Fatal(err)
	}
	lines := strings.Split(out, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// does wants a command to end with a code and to say something.
func (p *project) does(code int, says string, args ...string) {
	p.t.Helper()
	begin := time.Now()
	out, got := p.command("", args...)
	p.t.Logf("%v took %s:\n%s", args, time.Since(begin).Round(time.Millisecond), out)
	if got != code || !strings.Contains(out, says) {
		p.t.Fatalf("%v ended with %d, want %d and %q", args, got, code, says)
	}
}

// pending waits until a service says what it waits for.
func (p *project) pending(service, says string) {
	p.t.Helper()
	p.eventually("wait for "+service+" to wait", func() string {
		d, err := p.Client.Service(p.ctx, service)
		if err != nil {
			return err.Error()
		}
		if !strings.Contains(d.Pending, says) {
			return fmt.Sprintf("it says %q", d.Pending)
		}
		return ""
	})
}

// copied writes a file into a container, or reads one from it.
func (p *project) copied(from, to string) {
	p.t.Helper()
	if _, err := rig.Docker(p.ctx, "cp", from, to); err != nil {
		p.t.Fatal(err)
	}
}

func TestAProjectOfDockerComposeIsTakenOverUnderLoad(t *testing.T) {
	t.Parallel()
	p := composed(t)
	before := p.containers()
	if err := p.Start(p.ctx); err != nil {
		t.Fatal(err)
	}
	// Nothing is begun beside it.
	p.pending("backend", p.name+"_backend_1 on demo")
	p.pending("store", "supervisord adopt")
	p.does(0, "Nothing was changed", "adopt")
	if got := p.instances(); len(got) > 0 || p.containers() != before {
		t.Fatalf("the daemon has begun by itself: %v\n%s", got, p.containers())
	}
	note := filepath.Join(p.Dir, "note")
	if err := os.WriteFile(note, []byte("what was there before"), 0o644); err != nil {
		t.Fatal(err)
	}
	p.copied(note, p.name+"_store_1:/data/note")

	p.does(0, "adopted: ", "adopt", "--yes")
	adopted := p.ready(3)
	for _, i := range adopted {
		if !strings.HasPrefix(i.Adopted.Name, p.name) {
			t.Errorf("%s is not adopted", i.Name)
		}
	}
	want := strings.NewReplacer("unless-stopped:0", "no:0", "on-failure:3", "no:0").Replace(before)
	if got := p.containers(); got != want {
		t.Errorf("docker compose's containers are\n%s\nwant\n%s", got, want)
	}
	_, end := p.load(demo.LoadOptions{Open: true, Rate: 60, Fresh: 0.5, Methods: []demo.Method{{Name: "GET", Weight: 3}, {Name: "POST", Weight: 1}}})
	// The daemon is killed, and knows them again.
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(p.ctx); err != nil {
		t.Fatal(err)
	}
	p.does(0, "held at 4", "scale", "backend", "4")
	all := p.ready(5)
	if own := slices.DeleteFunc(all, func(i api.Instance) bool { return i.IsAdopted() }); len(own) != 2 {
		t.Errorf("%d of our own beside what is adopted, want 2", len(own))
	}
	p.does(0, "replaced by our own", "adopt", "finish")
	for _, i := range p.ready(5) {
		if i.IsAdopted() || i.Container == "" {
			t.Errorf("%s is not our own", i.Name)
		}
	}
	if left := p.containers(); left != "" {
		t.Errorf("docker compose's containers run on:\n%s", left)
	}
	p.copied("store-1:/data/note", note+".after")
	if text, err := os.ReadFile(note + ".after"); err != nil || string(text) != "what was there before" {
		t.Errorf("the data is %q, %v", text, err)
	}
	lossless(t, end())
	p.event(state.EventTakeover, "nothing adopted is left of store")
	p.does(4, "no adopted instance", "adopt", "undo")
}

func TestWhatWasAdoptedIsGivenBackAsItWas(t *testing.T) {
	t.Parallel()
	p := composed(t)
	before := p.containers()
	if err := p.Start(p.ctx); err != nil {
		t.Fatal(err)
	}
	p.pending("backend", "supervisord adopt")
	p.does(0, "adopted: ", "adopt", "--yes")
	p.ready(3)
	// One of our own stays in nginx while the adopted ones leave it.
	p.does(0, "held at 3", "scale", "backend", "3")
	p.ready(4)
	_, end := p.load(demo.LoadOptions{Open: true, Rate: 40, Fresh: 0.5})
	p.does(0, "given back", "adopt", "undo")
	if got := p.containers(); got != before {
		t.Errorf("docker compose's containers are\n%s\nwant\n%s", got, before)
	}
	p.pending("backend", "were given back")
	p.ready(1)
	lossless(t, end())

	// Again, and one dies of it: it is replaced, and cannot be given back.
	p.does(0, "adopted: ", "adopt", "--yes")
	p.ready(4)
	if _, err := rig.Docker(p.ctx, "kill", p.name+"_backend_1"); err != nil {
		t.Fatal(err)
	}
	p.event(state.EventInstanceFailed, "exit code 137")
	p.ready(4)
	p.does(4, p.name+"_backend_1 cannot be given back", "adopt", "undo")
	p.does(0, "given back", "adopt", "undo", "--partly", "--own")
	if got := p.instances(); len(got) > 0 {
		t.Errorf("%v is left", got)
	}
	// What runs on the data keeps ours away, also from who insists.
	p.does(0, "store is started beside", "adopt", "--ignore", "store")
	p.event(state.EventInstanceFailed, "container "+p.name+"_store_1")
	p.compose("rm", "-sf", "store")
	p.ready(1)
}
