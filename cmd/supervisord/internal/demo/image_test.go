package demo

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(context.WithoutCancel(t.Context()), "docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestTheBackendBecomesAnImageThatServes(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a real container engine")
	}
	var image Image // The test's directory is inside of the checkout.
	name, err := image.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 2 { // What is gone has been removed.
			if err := image.Remove(context.WithoutCancel(t.Context()), name); err != nil {
				t.Error(err)
			}
		}
		if left := docker(t, "images", "-q", name); left != "" {
			t.Errorf("image %s is still there", left)
		}
	})
	if got := docker(t, "image", "inspect", "-f", "{{json .Config.Labels}} {{.Config.User}}", name); !strings.Contains(got, `"com.supervisord.demo":"backend"`) || strings.HasSuffix(got, " ") {
		t.Errorf("labels and user: %s", got)
	}
	container := docker(t, "run", "-d", "--name", strings.ReplaceAll(name, ":", "-"), "-e", "INSTANCE=demo-1", "-p", "127.0.0.1::4000", name)
	t.Cleanup(func() { docker(t, "rm", "-f", container) })
	address := docker(t, "port", container, "4000/tcp")
	deadline := time.Now().Add(30 * time.Second)
	for {
		resp, err := http.Get("http://" + address + "/?ms=1")
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != 200 || resp.Header.Get("X-Instance") != "demo-1" {
				t.Errorf("%s from %q", resp.Status, resp.Header.Get("X-Instance"))
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestABuildOutsideOfACheckoutSaysSo(t *testing.T) {
	dir := t.TempDir()
	for name, files := range map[string]map[string]string{
		"no module":      nil,
		"another module": {"go.mod": "module example.com/other\n"},
	} {
		t.Run(name, func(t *testing.T) {
			for file, text := range files {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := (Image{Source: dir}).Build(t.Context()); !errors.Is(err, ErrNoSource) || !strings.Contains(err.Error(), dir) {
				t.Errorf("error %v, want %v with the directory", err, ErrNoSource)
			}
		})
	}
}

func TestAFailedBuildShowsWhatTheToolSaid(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the backend")
	}
	fake := filepath.Join(t.TempDir(), "docker")
	if err := os.WriteFile(fake, []byte("#!/bin/sh\necho no engine here >&2\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := Image{Docker: fake}.Build(t.Context())
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(err.Error(), "no engine here") {
		t.Errorf("error %v", err)
	}
	if err := (Image{Docker: fake}).Remove(t.Context(), "x"); err == nil {
		t.Error("a failed removal is no error")
	}
}
