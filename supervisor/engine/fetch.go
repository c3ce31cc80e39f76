package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"

	"github.com/supervisord/supervisord/supervisor/agent"
)

// Has says whether an image is on this host.
func (e *Engine) Has(ctx context.Context, ref string) (bool, error) {
	short, cancel := e.within(ctx)
	defer cancel()
	_, err := e.api().ImageInspect(short, ref)
	switch {
	case err == nil:
		return true, nil
	case cerrdefs.IsNotFound(err):
		return false, nil
	}
	return false, failure(ctx, err, "look for image %s", ref)
}

// Fetch makes an image be on this host. The error is agent.ErrNoImage where it
// cannot be had, or ErrUnavailable.
func (e *Engine) Fetch(ctx context.Context, ref string) error {
	has, err := e.Has(ctx, ref)
	if err != nil || has {
		return err
	}
	return e.obtain(ctx, ref)
}

// ErrImageUsed says that a container uses an image, or another name is its.
var ErrImageUsed = errors.New("the image is used")

// RemoveImage removes an image from this host; one that is not there has been
// removed. The error is ErrImageUsed where it is still used.
func (e *Engine) RemoveImage(ctx context.Context, ref string) error {
	short, cancel := e.within(ctx)
	defer cancel()
	_, err := e.api().ImageRemove(short, ref, image.RemoveOptions{PruneChildren: true})
	switch {
	case err == nil, cerrdefs.IsNotFound(err):
		return nil
	case cerrdefs.IsConflict(err):
		return fmt.Errorf("%w: %w", ErrImageUsed, err)
	}
	return failure(ctx, err, "remove image %s", ref)
}

// Save writes an image in the form that Load reads. The error is
// agent.ErrNoImage where it is not on this host.
func (e *Engine) Save(ctx context.Context, ref string, to io.Writer) (err error) {
	has, err := e.Has(ctx, ref)
	if err != nil {
		return err
	}
	if !has {
		return fmt.Errorf("%w: %s", agent.ErrNoImage, ref)
	}
	from, err := e.api().ImageSave(ctx, []string{ref})
	if err != nil {
		return failure(ctx, err, "save image %s", ref)
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	if _, err := io.Copy(to, from); err != nil {
		return failure(ctx, err, "save image %s", ref)
	}
	return nil
}

// Load puts images that Save has written on this host.
func (e *Engine) Load(ctx context.Context, from io.Reader) (err error) {
	answer, err := e.api().ImageLoad(ctx, from, client.ImageLoadWithQuiet(true))
	if err != nil {
		return failure(ctx, err, "load an image")
	}
	defer func() { err = errors.Join(err, answer.Body.Close()) }()
	if err := readProgress(answer.Body, nil); err != nil {
		return failure(ctx, err, "load an image")
	}
	return nil
}

// progress is one line of the engine's answer to what takes a while.
type progress struct {
	Stream string `json:"stream"`
	Error  string `json:"error"`
	Aux    struct {
		ID string `json:"ID"`
	} `json:"aux"`
}

// readProgress reads the lines of an answer to their end. The answer's status
// is sent before the work begins, so a failure is one of them. Each other one
// is given to tell, where that is not nil.
func readProgress(from io.Reader, tell func(progress)) error {
	for lines := json.NewDecoder(from); ; {
		var line progress
		switch err := lines.Decode(&line); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read progress: %w", err)
		case line.Error != "":
			return errors.New(strings.TrimSpace(line.Error))
		case tell != nil:
			tell(line)
		}
	}
}
