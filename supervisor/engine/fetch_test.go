package engine_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

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
	// One that is used stays.
	spec := e.Container()
	spec.Image = ref
	c := e.Run(e.Launch(spec))
	if err := e.RemoveImage(t.Context(), ref); !errors.Is(err, engine.ErrImageUsed) {
		t.Errorf("remove one that is used: %v", err)
	}
	if now, err := e.Inspect(t.Context(), c.ID); err != nil || !now.Running {
		t.Errorf("its container: %+v, %v", now, err)
	}
	if err := e.Engine.Remove(t.Context(), c.ID); err != nil {
		t.Error(err)
	}
	if err := e.RemoveImage(t.Context(), enginetest.Name("nothing")); err != nil {
		t.Errorf("remove what is not there: %v", err)
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
