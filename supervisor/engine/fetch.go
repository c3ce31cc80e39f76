package engine

import (
	"context"

	cerrdefs "github.com/containerd/errdefs"
)

// Fetch makes an image be on this host: it is pulled where it is not, without
// credentials. The error is agent.ErrNoImage with the registry's words, or
// ErrUnavailable.
func (e *Engine) Fetch(ctx context.Context, ref string) error {
	short, cancel := e.within(ctx)
	defer cancel()
	_, err := e.api().ImageInspect(short, ref)
	switch {
	case err == nil:
		return nil
	case cerrdefs.IsNotFound(err):
		return e.pull(ctx, ref)
	}
	return failure(ctx, err, "look for image %s", ref)
}
