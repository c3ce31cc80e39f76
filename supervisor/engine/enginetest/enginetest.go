// Package enginetest gives tests a real container engine: a small image that
// is built from nothing, and an Engine of a cluster of its own, whose
// containers, networks and volumes are removed at the test's end.
package enginetest

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"

	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/engine"
	"github.com/supervisord/supervisord/supervisor/state"
)

// Kit builds the image when it is first needed. Tests of one package share
// one; Close, called from TestMain, removes the image.
type Kit struct {
	once  sync.Once
	image string
	err   error
}

// Env is a real engine for one test.
type Env struct {
	*engine.Engine
	// Docker is the engine's own client, for what an Engine cannot do.
	Docker *client.Client
	// Cluster is this test's; Image runs the server of this directory.
	Cluster string
	Image   string
	t       testing.TB
}

const timeout = time.Minute

// New dials the engine for a new cluster. It skips short tests.
func (k *Kit) New(t testing.TB) *Env {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a real container engine")
	}
	docker, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := docker.Close(); err != nil {
			t.Error(err)
		}
	})
	k.once.Do(func() { k.image, k.err = build(docker) })
	if k.err != nil {
		t.Fatal(k.err)
	}
	e := &Env{Docker: docker, Cluster: Name("cluster"), Image: k.image, t: t}
	e.Engine, err = engine.Dial(t.Context(), engine.Options{Cluster: e.Cluster, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.clean)
	return e
}

// Close removes the image.
func (k *Kit) Close() error {
	if k.image == "" {
		return nil
	}
	docker, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return err
	}
	defer docker.Close()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	_, err = docker.ImageRemove(ctx, k.image, image.RemoveOptions{Force: true})
	return err
}

// Name is a name that nobody else has.
func Name(what string) string {
	return "supervisord-test-" + what + "-" + strings.ToLower(rand.Text()[:10])
}

// Container is the definition of a container that runs the server.
func (e *Env) Container(command ...string) state.Container {
	return state.Container{Image: e.Image, Command: command}
}

// Launch is one of a container with a fresh name, that publishes nothing.
func (e *Env) Launch(c state.Container) agent.Launch {
	name := Name("web")
	return agent.Launch{Cluster: e.Cluster, Instance: name + ".1", Name: name, Service: "web", Revision: "r1", Spec: c}
}

// Published is a Launch with port 80 published on a free port of 127.0.0.1.
func (e *Env) Published(c state.Container) agent.Launch {
	l := e.Launch(c)
	l.ContainerPort, l.HostIP, l.HostPort = 80, "127.0.0.1", FreePort(e.t)
	return l
}

// Run launches a container and fails the test if that fails.
func (e *Env) Run(l agent.Launch) agent.Container {
	e.t.Helper()
	c, err := e.Engine.Launch(e.t.Context(), l)
	if err != nil {
		e.t.Fatal(err)
	}
	return c
}

// FreePort is a port of 127.0.0.1 that was free a moment ago.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// clean removes everything that carries the cluster's label.
func (e *Env) clean() {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	ours := filters.NewArgs(filters.Arg("label", engine.LabelCluster+"="+e.Cluster))
	var errs []error
	containers, err := e.Docker.ContainerList(ctx, container.ListOptions{All: true, Filters: ours})
	errs = append(errs, err)
	for _, c := range containers {
		errs = append(errs, e.Docker.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true, RemoveVolumes: true}))
	}
	networks, err := e.Docker.NetworkList(ctx, network.ListOptions{Filters: ours})
	errs = append(errs, err)
	for _, n := range networks {
		errs = append(errs, e.Docker.NetworkRemove(ctx, n.ID))
	}
	volumes, err := e.Docker.VolumeList(ctx, volume.ListOptions{Filters: ours})
	errs = append(errs, err)
	for _, v := range volumes.Volumes {
		errs = append(errs, e.Docker.VolumeRemove(ctx, v.Name, true))
	}
	errs = append(errs, e.Engine.Close())
	if err := errors.Join(errs...); err != nil {
		e.t.Errorf("clean up: %v", err)
	}
}

// build compiles the server and imports it as an image of one layer.
func build(docker *client.Client) (tag string, err error) {
	dir, err := os.MkdirTemp("", "enginetest")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binary := filepath.Join(dir, "server")
	ctx, cancel := context.WithTimeout(context.Background(), 3*timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary,
		"github.com/supervisord/supervisord/supervisor/engine/enginetest/server")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the test server: %w: %s", err, out)
	}
	text, err := os.ReadFile(binary)
	if err != nil {
		return "", err
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	err = errors.Join(
		w.WriteHeader(&tar.Header{Name: "server", Mode: 0o755, Size: int64(len(text))}),
		write(w, text),
		w.WriteHeader(&tar.Header{Name: "tmp/", Mode: 0o777, Typeflag: tar.TypeDir}),
		w.Close())
	if err != nil {
		return "", fmt.Errorf("pack the test server: %w", err)
	}
	tag = Name("image") + ":1"
	answer, err := docker.ImageImport(ctx, image.ImportSource{Source: &layer, SourceName: "-"}, tag,
		image.ImportOptions{Changes: []string{`ENTRYPOINT ["/server"]`, `CMD ["serve", "80"]`}})
	if err != nil {
		return "", fmt.Errorf("import the test image: %w", err)
	}
	_, err = io.Copy(io.Discard, answer)
	return tag, errors.Join(err, answer.Close())
}

func write(w io.Writer, p []byte) error {
	_, err := w.Write(p)
	return err
}
