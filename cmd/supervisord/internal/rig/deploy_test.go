package rig_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/supervisord/supervisord/cmd/supervisord/internal/demo"
	"github.com/supervisord/supervisord/cmd/supervisord/internal/rig"
	"github.com/supervisord/supervisord/supervisor/state"
)

// command runs the program against the site's daemon.
func (s *site) command(stdin string, args ...string) (out string, code int) {
	s.t.Helper()
	binary, _ := build(s.t)
	cmd := exec.CommandContext(s.ctx, binary, append(args, "--socket", s.Socket())...)
	cmd.Stdin = strings.NewReader(stdin)
	text, err := cmd.CombinedOutput()
	if exit, failed := errors.AsType[*exec.ExitError](err); failed {
		return string(text), exit.ExitCode()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text), 0
}

// deploys wants a deploy to end with a code and to say something.
func (s *site) deploys(file string, code int, says string, args ...string) {
	s.t.Helper()
	begin := time.Now()
	if file != "" {
		args = append(args, "-f", "-")
	}
	out, got := s.command(file, append([]string{"deploy"}, args...)...)
	s.t.Logf("deploy %v took %s:\n%s", args, time.Since(begin).Round(time.Millisecond), out)
	if got != code || !strings.Contains(out, says) {
		s.t.Errorf("it ended with %d, want %d and %q", got, code, says)
	}
}

// serves wants all instances to be ready, and of one environment.
func (s *site) serves(n int, environment string) {
	s.t.Helper()
	for _, i := range s.ready(n) {
		env, err := rig.Docker(s.ctx, "inspect", "-f", "{{.Config.Env}}", i.Name)
		if err != nil || !strings.Contains(env, environment) {
			s.t.Errorf("%s has %s (%v), want %s", i.Name, env, err, environment)
		}
	}
}

const rolling = `    deploy: {replicas: 6, resources: {limits: {cpus: "0.2", memory: 64M}}, update_config: {monitor: 1s}}
    x-deploy: {ready_within: 3s}
`

// TestDeploysUnderLoad has releases that are well, that are not, and that are
// interrupted, under load that must not notice.
func TestDeploysUnderLoad(t *testing.T) {
	t.Parallel()
	s := start(t, rolling)
	s.ready(6)
	_, image := build(t)
	_, end := s.load(demo.LoadOptions{Open: true, Rate: 40, Fresh: 0.5})

	good := s.file(image, `WORK_MS: "6"`, rolling)
	s.deploys(good, 0, "revision 2 is healthy")
	s.serves(6, "WORK_MS=6")
	s.deploys(good, 0, "has all of it already")

	// It ends as soon as it starts, and says why.
	s.deploys(s.file(image, `WORK_MS: "many"`, rolling), 1, "revision 3 failed and was taken back")
	s.serves(6, "WORK_MS=6")
	s.event(state.EventInstanceLog, "WORK_MS")
	if text, err := os.ReadFile(s.Compose()); err != nil || string(text) != good {
		t.Errorf("the file does not follow the way back: %v\n%s", err, text)
	}
	// It runs and listens where nobody asks.
	s.deploys(s.file(image, `WORK_MS: "6", PORT: "5000"`, rolling), 1, "not ready within 3s")
	s.serves(6, "WORK_MS=6")

	// What cannot work is not begun.
	s.deploys("services: {backend: {imaeg: x}}", 2, "imaeg")
	s.deploys("", 4, "not every host has the images", "--image", "backend=supervisord.invalid/nowhere:1")
	s.deploys("", 2, "has no services.frontend.image", "--image", "frontend=acme/frontend:1")
	s.deploys(strings.Replace(good, "memory: 64M", "memory: 4000G", 1), 4, "no room for the first new instance of backend")

	// Another image, and back.
	other := strings.SplitN(image, ":", 2)[0] + ":other"
	if _, err := rig.Docker(s.ctx, "tag", image, other); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := rig.Docker(context.WithoutCancel(s.ctx), "rmi", other); err != nil {
			t.Error(err)
		}
	})
	s.deploys("", 0, "is healthy", "--image", "backend="+other)
	if text, err := os.ReadFile(s.Compose()); err != nil || string(text) != strings.Replace(good, image, other, 1) {
		t.Errorf("the file does not follow the deploy: %v\n%s", err, text)
	}
	if out, code := s.command("", "rollback"); code != 0 || !strings.Contains(out, "is healthy") {
		t.Errorf("rollback ended with %d: %s", code, out)
	}
	s.serves(6, "WORK_MS=6")

	// What is built on the way.
	dir := t.TempDir()
	recipe := "FROM " + image + "\nLABEL release=built\n"
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(recipe), 0o644); err != nil {
		t.Fatal(err)
	}
	mine := strings.SplitN(image, ":", 2)[0] + ":mine"
	source := filepath.Join(dir, "f.yml")
	if err := os.WriteFile(source, []byte(strings.Replace(good, image, mine+"\n    build: "+dir, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	out, code := s.command("", "deploy", "--build", "-f", source)
	if code != 0 || !strings.Contains(out, "backend | Step 1/2") || !strings.Contains(out, "revision 9 is healthy") {
		t.Errorf("deploy --build ended with %d: %s", code, out)
	}
	for _, i := range s.ready(6) {
		got, err := rig.Docker(s.ctx, "inspect", "-f", "{{.Config.Image}} {{.Config.Labels.release}}", i.Name)
		if err != nil || !strings.HasPrefix(got, mine+"-") || !strings.Contains(got, "built") {
			t.Errorf("%s runs %s (%v)", i.Name, got, err)
		}
		t.Cleanup(sync.OnceFunc(func() {
			for _, name := range []string{strings.Fields(got)[0], mine} {
				_, _ = rig.Docker(context.WithoutCancel(s.ctx), "rmi", "-f", name)
			}
		}))
	}

	// The daemon is killed on the way, and goes on.
	done := make(chan string, 1)
	go func() {
		out, code := s.command(s.file(image, `WORK_MS: "7"`, rolling), "deploy", "-f", "-")
		if code != 0 {
			out = "it failed: " + out
		}
		done <- out
	}()
	s.event(state.EventSpecAccepted, "spec revision 10")
	time.Sleep(700 * time.Millisecond)
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(s.ctx); err != nil {
		t.Fatal(err)
	}
	if out := <-done; !strings.Contains(out, "revision 10 is healthy") {
		t.Errorf("the deploy during which the daemon was killed: %s", out)
	}
	s.serves(6, "WORK_MS=7")
	out, _ = s.command("", "revisions")
	t.Logf("revisions:\n%s", out)
	lossless(t, end())
}
