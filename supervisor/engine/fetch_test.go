package engine_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"

	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/engine"
	"github.com/supervisord/supervisord/supervisor/engine/enginetest"
)

// TestAnImageGoesFromOneEngineToAnother has one engine be both.
func TestAnImageGoesFromOneEngineToAnother(t *testing.T) {
	e := kit.New(t)
	ref := enginetest.Name("image") + ":1"
	if err := e.Docker.ImageTag(t.Context(), e.Image, ref); err != nil {
		t.Fatal(err)
	}
	remove := func(ctx context.Context) {
		if _, err := e.Docker.ImageRemove(ctx, ref, image.RemoveOptions{}); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() { remove(context.WithoutCancel(t.Context())) })
	var archive bytes.Buffer
	if err := e.Save(t.Context(), ref, &archive); err != nil {
		t.Fatal(err)
	}
	remove(t.Context())
	if has, err := e.Has(t.Context(), ref); has || err != nil {
		t.Fatalf("it is still there: %v, %v", has, err)
	}
	if err := e.Save(t.Context(), ref, &archive); !errors.Is(err, agent.ErrNoImage) {
		t.Errorf("saved though it is not there: %v", err)
	}
	// What was cut off is no image.
	half := bytes.NewReader(archive.Bytes()[:archive.Len()/2])
	if err := e.Load(t.Context(), half); err == nil {
		t.Error("half an archive was loaded")
	}
	if err := e.Load(t.Context(), &archive); err != nil {
		t.Fatal(err)
	}
	if has, err := e.Has(t.Context(), ref); !has || err != nil {
		t.Errorf("it is not there: %v, %v", has, err)
	}
	// Fetch has nothing to do, or says why it cannot.
	if err := e.Fetch(t.Context(), ref); err != nil {
		t.Error(err)
	}
	err := e.Fetch(t.Context(), "127.0.0.1:1/nobody/nothing:1")
	if !errors.Is(err, agent.ErrNoImage) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("got %v, want ErrNoImage with the registry's words", err)
	}
}

// TestAnImageThatIsUsedStays, and is removed when it no longer is.
func TestAnImageThatIsUsedStays(t *testing.T) {
	e := kit.New(t)
	dir, ref := t.TempDir(), enginetest.Name("image")+":1"
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nLABEL name="+ref+"\nENTRYPOINT [\"/none\"]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := engine.Build(t.Context(), "", engine.BuildOptions{Context: dir, Dockerfile: "Dockerfile", Tags: []string{ref}}); err != nil {
		t.Fatal(err)
	}
	made, err := e.Docker.ContainerCreate(t.Context(), &container.Config{Image: ref}, nil, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := e.RemoveImage(t.Context(), ref); !errors.Is(err, engine.ErrImageUsed) {
		t.Errorf("got %v, want ErrImageUsed", err)
	}
	if err := e.Docker.ContainerRemove(t.Context(), made.ID, container.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	// The second time it is not there.
	for range 2 {
		if err := e.RemoveImage(t.Context(), ref); err != nil {
			t.Error(err)
		}
	}
	if has, err := e.Has(t.Context(), ref); has || err != nil {
		t.Errorf("it is still there: %v, %v", has, err)
	}
}
