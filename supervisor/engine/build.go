package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	buildtypes "github.com/docker/docker/api/types/build"
	"github.com/moby/go-archive"
	"github.com/moby/patternmatcher/ignorefile"
)

// BuildOptions say what to build an image from.
type BuildOptions struct {
	// Context is the absolute directory that is sent to the engine, without
	// what its .dockerignore names. Dockerfile is the recipe, relative to it.
	Context    string
	Dockerfile string
	// Tags are the names that the image gets.
	Tags   []string
	Args   map[string]string
	Target string
	// NoCache builds every step anew.
	NoCache bool
	// Tell gets the engine's words as they come; nil for nobody.
	Tell func(text string)
}

// Build builds an image on the engine at a host, or at DOCKER_HOST where that
// is empty, and returns its id, "sha256:…".
func Build(ctx context.Context, host string, o BuildOptions) (id string, err error) {
	api, err := newClient(host)
	if err != nil {
		return "", fmt.Errorf("dial engine: %w", err)
	}
	defer func() { err = errors.Join(err, api.Close()) }()
	excluded, err := ignored(o.Context, o.Dockerfile)
	if err != nil {
		return "", err
	}
	source, err := archive.TarWithOptions(o.Context, &archive.TarOptions{ExcludePatterns: excluded})
	if err != nil {
		return "", fmt.Errorf("read %s: %w", o.Context, err)
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	args := make(map[string]*string, len(o.Args))
	for name, value := range o.Args {
		args[name] = &value
	}
	answer, err := api.ImageBuild(ctx, source, buildtypes.ImageBuildOptions{
		Tags: o.Tags, Dockerfile: filepath.ToSlash(o.Dockerfile), BuildArgs: args, Target: o.Target, NoCache: o.NoCache,
		Remove: true, ForceRemove: true,
	})
	if err != nil {
		return "", failure(ctx, err, "build %s", o.Context)
	}
	defer func() { err = errors.Join(err, answer.Body.Close()) }()
	if id, err = built(answer.Body, o.Tell); err != nil {
		return "", fmt.Errorf("build %s: %w", o.Context, err)
	}
	return id, nil
}

// Tag gives an image that is on the engine at a host another name.
func Tag(ctx context.Context, host, image, name string) (err error) {
	api, err := newClient(host)
	if err != nil {
		return fmt.Errorf("dial engine: %w", err)
	}
	defer func() { err = errors.Join(err, api.Close()) }()
	if err := api.ImageTag(ctx, image, name); err != nil {
		return failure(ctx, err, "name %s", name)
	}
	return nil
}

// ignored are the patterns of what is not sent: those of the .dockerignore, but
// for the two files that the engine itself needs.
func ignored(dir, dockerfile string) (patterns []string, err error) {
	f, err := os.Open(filepath.Join(dir, ".dockerignore"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if patterns, err = ignorefile.ReadAll(f); err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return append(patterns, "!.dockerignore", "!"+filepath.ToSlash(dockerfile)), nil
}

// built reads the answer to its end and returns the image's id.
func built(from io.Reader, tell func(string)) (id string, err error) {
	err = readProgress(from, func(line progress) {
		if line.Aux.ID != "" {
			id = line.Aux.ID
		}
		if tell != nil && line.Stream != "" {
			tell(line.Stream)
		}
	})
	if err == nil && id == "" {
		err = errors.New("the engine does not say what it has built")
	}
	return id, err
}
