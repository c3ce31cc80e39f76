package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Image is how the demo's backend becomes an image.
type Image struct {
	// Source is a directory inside the project's checkout, or its root.
	Source string
	// Go and Docker are the programs; "" means "go" and "docker".
	Go, Docker string
	// Environ is for both, as "NAME=value"; nil means this process's own.
	Environ []string
}

// imageLabel marks the images of demos, for whoever finds one.
const imageLabel = "com.supervisord.demo=backend"

// module is what must be in Source's go.mod.
const module = "github.com/supervisord/supervisord"

// ErrNoSource: the backend's source is not where it was looked for.
var ErrNoSource = errors.New("no checkout of supervisord")

// Build compiles examples/backend, puts it into an image from scratch by
// Dockerfile.scratch, and returns the image's name, which no other run has.
// Nothing is pulled. The engine is used through the docker command, since only
// supervisor/engine speaks its API and builds nothing; the context is a
// directory with two files, which the classic builder and BuildKit both take.
func (i Image) Build(ctx context.Context) (name string, err error) {
	root, err := i.root(ctx)
	if err != nil {
		return "", fmt.Errorf("build the backend: %w", err)
	}
	dir, err := os.MkdirTemp("", "supervisord-demo-image-")
	if err != nil {
		return "", fmt.Errorf("build the backend: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := i.compile(ctx, root, filepath.Join(dir, "backend")); err != nil {
		return "", err
	}
	recipe, err := os.ReadFile(filepath.Join(root, "examples", "backend", "Dockerfile.scratch"))
	if err != nil {
		return "", fmt.Errorf("build the backend: %w: %w", ErrNoSource, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), recipe, 0o644); err != nil {
		return "", fmt.Errorf("build the backend: %w", err)
	}
	name = "supervisord-demo-backend:" + strings.ToLower(rand.Text()[:12])
	if _, err := i.run(ctx, "", i.docker(), "build", "--quiet", "--label", imageLabel, "--tag", name, dir); err != nil {
		return "", fmt.Errorf("build the backend's image: %w", err)
	}
	return name, nil
}

// Remove removes an image that Build has made. One that is not there has been
// removed.
func (i Image) Remove(ctx context.Context, name string) error {
	_, err := i.run(ctx, "", i.docker(), "image", "rm", name)
	var failed *commandError
	if errors.As(err, &failed) && strings.Contains(failed.said, "No such image") {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove the backend's image: %w", err)
	}
	return nil
}

// root finds the checkout that Source is in.
func (i Image) root(ctx context.Context) (string, error) {
	out, err := i.run(ctx, i.Source, i.golang(), "list", "-m", "-f", "{{.Path}} {{.Dir}}")
	if err != nil {
		return "", fmt.Errorf("%w at %q: %w", ErrNoSource, i.Source, err)
	}
	path, dir, _ := strings.Cut(strings.TrimSpace(out), " ")
	if path != module {
		return "", fmt.Errorf("%w at %q: it belongs to %s", ErrNoSource, i.Source, path)
	}
	return dir, nil
}

func (i Image) compile(ctx context.Context, root, to string) error {
	static := i
	static.Environ = append(static.environ(), "CGO_ENABLED=0")
	if _, err := static.run(ctx, root, i.golang(), "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", to, "./examples/backend"); err != nil {
		return fmt.Errorf("compile the backend: %w", err)
	}
	return nil
}

func (i Image) golang() string {
	if i.Go == "" {
		return "go"
	}
	return i.Go
}

func (i Image) docker() string {
	if i.Docker == "" {
		return "docker"
	}
	return i.Docker
}

func (i Image) environ() []string {
	if i.Environ == nil {
		return os.Environ()
	}
	return slices.Clone(i.Environ)
}

// commandError is a program that failed, with what it said.
type commandError struct {
	command, said string
	cause         error
}

func (e *commandError) Error() string {
	return fmt.Sprintf("%s: %s: %s", e.command, e.cause, e.said)
}

func (e *commandError) Unwrap() error { return e.cause }

// run returns what a program wrote to its standard output.
func (i Image) run(ctx context.Context, dir, program string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, i.environ(), &stdout, &stderr
	// Go's and docker's own children may keep the streams open.
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return "", &commandError{command: program + " " + args[0], said: lastLines(&stderr, 20), cause: err}
	}
	return stdout.String(), nil
}

// lastLines is the end of a text, for an error.
func lastLines(r io.Reader, most int) string {
	text, err := io.ReadAll(r)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) > most {
		lines = append([]string{"…"}, lines[len(lines)-most:]...)
	}
	return strings.Join(lines, "\n")
}
